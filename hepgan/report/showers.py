"""Figures of showers for the report: closure against energy, images, profiles, shower shapes, cells, correlations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hepgan.evaluation.cells import rings
from hepgan.evaluation.closures import (
    CellCorrelations,
    CellProfiles,
    EnergyBins,
    ResolutionFits,
    ShowerClosure,
    Spectrum,
)
from hepgan.evaluation.records import Curves, to_array
from hepgan.evaluation.sample import Sample
from hepgan.evaluation.showers import ShowerSetup
from hepgan.evaluation.verdict import format_measurement
from hepgan.geometry import AXES, Calorimeter
from hepgan.report import figures as plots
from hepgan.report.page import KindReport, Section
from hepgan.report.shower_conditions import condition_sections

__all__ = ["SHOWER_REPORT", "sections"]

MAX_LAYERS_DRAWN = 8  # the layers with most energy; nobody reads a figure of forty layers
MATRIX_LAYERS = 3  # layers in the correlation matrix of shapes; with more it cannot be read
SMALL_CORRELATION = 0.02  # least height of a panel of differences
_WHOLE = ("response", "depth", "depth_width", "jet_mass", "jet_pt")  # shapes of the whole shower
CURVE_POINTS = 60  # of a fitted curve


def _label(name: str, unit: str) -> str:
    pretty = {
        "response": r"E_tot / E_inc",
        "depth": "shower depth [layers]",
        "depth_width": "depth width [layers]",
    }
    return pretty.get(name) or name.replace("_", " ") + (f" [{unit}]" if unit else "")


def sections(sample: Sample, reference: Sample, setup: ShowerSetup, closure: ShowerClosure) -> list[Section]:
    """Draw the figures of showers, in order.

    Args:
        sample: The sample to judge.
        reference: The sample that is right.
        setup: Geometry and settings.
        closure: The numbers of showers.
    """
    names = plots.Names(sample=sample.name, reference=reference.name)
    calorimeter, shapes, limits = setup.calorimeter, setup.shapes, setup.config.limits
    image, expected = (np.average(s.events.cells, axis=0, weights=s.weights) for s in (sample, reference))
    by_energy = sorted(
        range(calorimeter.n_layers), key=lambda k: -float(expected[calorimeter.slices()[k]].sum())
    )
    drawn = sorted(by_energy[:MAX_LAYERS_DRAWN])
    few = (
        f" Drawn: the {len(drawn)} of {calorimeter.n_layers} layers with most energy."
        if len(drawn) < calorimeter.n_layers
        else ""
    )
    layers = [calorimeter.names[k] for k in drawn]
    energy = np.asarray(closure.energy.mean)
    axis = f"{setup.data.calo.incident_energy.replace('_', ' ')} [{closure.energy.unit}]"
    against: Any = {"label": axis, "names": names, "logarithmic": bool(energy.max() > 3 * energy.min())}

    def profile(label: str, values: Curves, **more: Any) -> plots.Profile:
        return plots.Profile(
            label, sample=to_array(values.sample), reference=to_array(values.reference), **more
        )

    whole = ("energy_", "fraction_", "overflow_")  # of a layer as a whole; the others are its shapes

    def overlay(quantity: str, layer: str = "") -> plots.Overlay:
        name = quantity + layer
        k = shapes.names.index(name)
        return plots.Overlay(
            _label(name, shapes.units[k]),
            sample=sample.features[:, k],
            reference=reference.features[:, k],
            sample_weights=sample.weights,
            reference_weights=reference.weights,
            decades=quantity in whole,
        )

    fitted, curves = _resolution_fits(closure.resolution.fit, closure.energy, names)
    first = calorimeter.names[0]
    quantities = [name.removesuffix(first) for name in shapes.names if name.endswith(f"_{first}")]
    return [
        Section(
            "response",
            "Response and resolution",
            "Mean and relative spread of the total energy over the incident energy. Good: the points of the "
            f"response ratio lie in the blue band (± {100 * limits['response']:g} %) at every energy, those "
            f"of the resolution agree within their errors with 1.{fitted}",
            plots.profiles(
                energy,
                [
                    profile("response E_tot / E_inc", closure.response, band=limits["response"]),
                    profile("resolution (spread / mean)", closure.resolution, curves=curves),
                ],
                **against,
            ),
        ),
        Section(
            "fractions",
            "Energy fraction of each layer",
            "Mean share of the deposited energy. Good: flat at 1 within the blue band "
            f"(± {100 * limits['fractions']:g} %); a slope means that showers do not grow deeper with energy "
            f"as they should.{few}",
            plots.profiles(
                energy,
                [
                    profile(layer, closure.fractions[layer].by_energy, band=limits["fractions"])
                    for layer in layers
                ],
                **against,
            ),
        ),
        Section(
            "occupancy",
            "Occupancy of each layer",
            f"Share of cells above {setup.config.threshold:g} {calorimeter.unit}. Good: within the blue band "
            f"(± {100 * limits['occupancy']:g} %). A slope against energy is typical of a generator that "
            f"cuts cells at a fraction of the energy instead of at an absolute one.{few}",
            plots.profiles(
                energy,
                [
                    profile(layer, closure.occupancy[layer].by_energy, band=limits["occupancy"])
                    for layer in layers
                ],
                **against,
            ),
        ),
        *condition_sections(setup, closure, names=names, layers=layers),
        Section(
            "images",
            "Mean shower",
            "Mean energy of each cell. Good: the ratio is white where there is energy; colour at the far "
            f"edge is statistics of few hits. Grey cells are empty.{few}",
            plots.layer_images(calorimeter, sample=image, reference=expected, names=names, layers=drawn),
        ),
        _profiles(closure.profiles, setup, names=names, layers=drawn),
        Section(
            "energies",
            "Energies",
            "Good: the red line covers the grey area, the ratios scatter around 1 within their errors, and the pulls "
            f"(difference over uncertainty) within the blue band (± {plots.PULL_BAND:g}) without a pattern. The first "
            f"and last bin include everything outside the range; triangles are ratios beyond the drawn range.{few}",
            plots.overlays(
                [overlay(name) for name in _WHOLE if name in shapes.names]
                + [overlay(kind, layer) for kind in quantities if kind in whole for layer in layers],
                names=names,
            ),
        ),
        *(
            Section(
                f"shapes-{k}",
                f"Shower shapes, {layer}",
                "Centre and width along both axes, occupancy, share of the brightest cell and energy ratio "
                "of the two brightest: the shapes that particle identification uses, and where generators fail first. "
                "Good: as above.",
                plots.overlays(
                    [overlay(kind, layer) for kind in quantities if kind not in whole], names=names
                ),
            )
            for k, layer in enumerate(layers)
        ),
        *_spectra(closure.spectrum, setup, names=names, layers=drawn),
        *_correlations(closure.correlations, setup, names=names, layers=drawn),
        _matrices(sample, reference, setup, layers=sorted(by_energy[:MATRIX_LAYERS]), quantities=quantities),
    ]


def _resolution_fits(
    fits: ResolutionFits, bins: EnergyBins, names: plots.Names
) -> tuple[str, list[plots.Curve] | None]:
    """Sentence and curves of the fits to the resolution; nothing where there were too few energies."""
    if fits.sample is None or fits.reference is None:
        return "", None
    energy = np.geomspace(bins.mean[0], bins.mean[-1], CURVE_POINTS)
    words = []
    for name, fit in ((names.reference, fits.reference), (names.sample, fits.sample)):
        stochastic, constant = (
            format_measurement(term, percent=True) for term in (fit.stochastic, fit.constant)
        )
        words.append(
            f"{name} a = ({stochastic}) √{bins.unit}, b = {constant}, χ²/ndf = {fit.chi2_per_ndf:.1f}"
        )
    curves = [(energy, fit.at(energy)) for fit in (fits.sample, fits.reference)]
    return f" Dotted: fit of a / √E ⊕ b ({'; '.join(words)}).", curves


def _depths(calorimeter: Calorimeter) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Edges of the layers in depth, with gaps as bins, and the bin of each layer; None if layers overlap."""
    order = sorted(calorimeter.layers, key=lambda layer: layer.z)
    if any(front.z[1] > back.z[0] for front, back in pairwise(order)):
        return None
    edges = np.unique([layer.z for layer in calorimeter.layers])
    return edges, np.searchsorted(edges, [layer.z[0] for layer in calorimeter.layers])


def _profiles(
    profiles: CellProfiles, setup: ShowerSetup, *, names: plots.Names, layers: Sequence[int]
) -> Section:
    """Draw the energy in depth, and in the distance from the axis for each layer."""
    calorimeter = setup.calorimeter
    cartesian = calorimeter.layers[0].coordinates == "cartesian"  # polar geometries may count layers, not mm
    depths = _depths(calorimeter)
    edges, place = depths or (np.arange(calorimeter.n_layers + 1.0) - 0.5, np.arange(calorimeter.n_layers))
    label = ("depth z [mm]" if cartesian else "depth z") if depths else "layer"
    sample, reference = np.full((2, len(edges) - 1, 2), np.nan)
    sample[place], reference[place] = (
        to_array(values) / np.diff(edges)[place, None]
        for values in (profiles.longitudinal.sample, profiles.longitudinal.reference)
    )
    panels = [
        plots.Binned(
            label,
            edges=edges,
            sample=sample,
            reference=reference,
            axis=r"$\mathrm{d}E\,/\,E_\mathrm{inc}\,\mathrm{d}z$",
            tails=True,
        )
    ]
    for k in layers:
        unit = AXES[calorimeter.layers[k].coordinates].across
        around, profile = rings(calorimeter.layers[k]), profiles.lateral[calorimeter.names[k]]
        sample, reference = (
            to_array(values) / around.areas[:, None] for values in (profile.sample, profile.reference)
        )
        if (reference[:, 0] > 0).any():
            edges = around.edges.copy()
            edges[0] = max(edges[0], 0.5 * edges[1])  # a logarithmic axis does not begin at 0
            panels.append(
                plots.Binned(
                    _label(f"r {calorimeter.names[k]}", unit),
                    edges=edges,
                    sample=sample,
                    reference=reference,
                    axis=r"$\mathrm{d}E\,/\,E_\mathrm{inc}\,\mathrm{d}A$"
                    + (f" [{unit}$^{{-2}}$]" if unit else ""),
                    logarithmic=True,
                    tails=True,
                )
            )
    return Section(
        "profiles",
        "Profiles in depth and radius",
        "Mean energy over incident energy, per depth and per area of the cells at a distance r from the axis; cells "
        "count where their centre is, and the first ring begins at 0. Good: ratios at 1 where most of the energy is, "
        "which is at the left of each lateral profile; a slope of the ratio means that showers are too narrow or too "
        "wide. The bins of one layer depend on each other, and so do their pulls.",
        plots.overlays(panels, names=names),
    )


def _spectra(
    spectra: Mapping[str, Spectrum | None], setup: ShowerSetup, *, names: plots.Names, layers: Sequence[int]
) -> list[Section]:
    """Draw spectra of single cells, of the layers that both samples hit."""
    panels = []
    for k in layers:
        layer = setup.calorimeter.names[k]
        spectrum = spectra[layer]
        if spectrum is None or spectrum.separation is None:
            continue
        panels.append(
            plots.Binned(
                f"cell energy {layer} [{setup.calorimeter.unit}]".replace("_", " "),
                edges=np.asarray(spectrum.edges),
                sample=to_array(spectrum.sample),
                reference=to_array(spectrum.reference),
                axis="cells per shower",
                logarithmic=True,
                tails=True,
            )
        )
    if not panels:
        return []
    section = Section(
        "cells",
        "Cell energies",
        "Spectrum of the energy of single cells, cells per shower. Good: agreement over all decades; the "
        "smallest deposits decide the occupancy, the largest the brightest share. The first and last bin "
        "include everything outside the range.",
        plots.overlays(panels, names=names),
    )
    return [section]


def _correlations(
    correlations: Mapping[str, CellCorrelations | None],
    setup: ShowerSetup,
    *,
    names: plots.Names,
    layers: Sequence[int],
) -> list[Section]:
    """Draw the correlation of two cells against their distance."""
    panels = []
    for k in layers:
        layer = setup.calorimeter.layers[k]
        coefficients = correlations[layer.name]
        if coefficients is None:
            continue
        for curves, axis in zip((coefficients.x, coefficients.y), AXES[layer.coordinates].short, strict=True):
            second, first = to_array(curves.sample), to_array(curves.reference)
            if np.isfinite(first).any() and np.isfinite(second).any():
                offset = np.abs(second[:, 0] - first[:, 0]) + second[:, 1]
                reach = max(1.2 * float(np.nanmax(offset)), SMALL_CORRELATION)
                panels.append(
                    plots.Profile(
                        f"{layer.name.replace('_', ' ')}, along {axis}",
                        sample=second,
                        reference=first,
                        limits=(-reach, reach),
                        difference=True,
                        x=np.arange(1.0, len(first) + 1),
                        axis=f"cells apart along {axis}",
                    )
                )
    if not panels:
        return []
    section = Section(
        "correlations",
        "Correlations of cells",
        "Mean correlation coefficient of the (logarithmic) energies of two cells of a layer, at fixed conditions, "
        "against their distance. Good: the differences below scatter around 0 within their errors. A red line below "
        "the grey one means cells that fluctuate too independently of each other, one above means showers that are too "
        "much alike, up to a factor.",
        plots.profiles(np.arange(1.0), panels, label="cells apart", names=names, logarithmic=False),
    )
    return [section]


def _matrices(
    sample: Sample,
    reference: Sample,
    setup: ShowerSetup,
    *,
    layers: Sequence[int],
    quantities: Sequence[str],
) -> Section:
    """Draw the correlation coefficients of the shower shapes."""
    kept = [q for q in quantities if q not in ("energy_", "overflow_")]  # at fixed energy like the fraction
    shown = [quantity + setup.calorimeter.names[k] for k in layers for quantity in kept]
    columns = [setup.names.index(name) for name in (*_WHOLE, *shown) if name in setup.names]
    second, first = (setup.correlations(s)[np.ix_(columns, columns)] for s in (sample, reference))
    return Section(
        "observables",
        "Correlations of shower shapes",
        "Linear correlation coefficients at fixed conditions. Good: the difference is pale everywhere and without "
        "blocks; its scale of colours ends at the largest difference.",
        plots.matrices(
            [setup.names[k].replace("_", " ") for k in columns],
            sample=second,
            reference=first,
            names=plots.Names(sample=sample.name, reference=reference.name),
        ),
    )


SHOWER_REPORT = KindReport(
    "Biases are relative: sample over reference, less 1; their floors have no sign.", sections
)
"""The report of showers."""
