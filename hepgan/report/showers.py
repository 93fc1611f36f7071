"""Figures of showers for the report: closure against energy, images, profiles, shower shapes, cells, correlations."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hepgan.evaluation.cells import rings
from hepgan.evaluation.sample import Sample
from hepgan.evaluation.showers import LIMITS, ShowerSetup
from hepgan.evaluation.verdict import format_measurement
from hepgan.geometry import AXES, Calorimeter
from hepgan.metrics import ResolutionFit
from hepgan.report import figures as plots
from hepgan.report import images as plots_showers
from hepgan.report.page import Section

__all__ = ["NOTE", "sections"]

NOTE = "Biases are relative: generated over reference, less 1; their floors have no sign."
"""What the verdict table of showers needs to be understood."""

MAX_LAYERS_DRAWN = 8  # the layers with most energy; a figure of forty layers is read by nobody
MATRIX_LAYERS = 3  # whose shapes are in the correlation matrix: more cannot be read
SMALL_CORRELATION = 0.02  # least height of a panel of differences: less is of no interest
_WHOLE = ("response", "depth", "depth_width", "jet_mass", "jet_pt")  # of the shower, not of a layer
CURVE_POINTS = 60  # of a fitted curve: smooth to the eye

Json = dict[str, Any]


def _label(name: str, unit: str) -> str:
    pretty = {
        "response": r"E_tot / E_inc",
        "depth": "shower depth [layers]",
        "depth_width": "depth width [layers]",
    }
    return pretty.get(name) or name.replace("_", " ") + (f" [{unit}]" if unit else "")


def sections(reference: Sample, sample: Sample, setup: ShowerSetup, *, metrics: Json) -> list[Section]:
    """The figures, in order.

    Args:
        reference: What is right.
        sample: What is judged.
        setup: Geometry and settings.
        metrics: The content of ``metrics.json``.
    """
    names = (reference.name, sample.name)
    wx, wy = reference.weights, sample.weights
    calorimeter, shapes = setup.calorimeter, setup.shapes
    images = [np.average(s.events.cells, axis=0, weights=s.weights) for s in (reference, sample)]
    by_energy = sorted(
        range(calorimeter.n_layers), key=lambda k: -float(images[0][calorimeter.slices()[k]].sum())
    )
    drawn = sorted(by_energy[:MAX_LAYERS_DRAWN])
    few = (
        f" Drawn: the {len(drawn)} of {calorimeter.n_layers} layers with most energy."
        if len(drawn) < calorimeter.n_layers
        else ""
    )
    layers = [calorimeter.names[k] for k in drawn]
    closure = metrics["closure"]
    energy = np.asarray(closure["energy"]["mean"])
    axis = f"{setup.data.calo.incident_energy.replace('_', ' ')} [{closure['energy']['unit']}]"
    against: Any = {"label": axis, "names": names, "logarithmic": bool(energy.max() > 3 * energy.min())}

    def profile(label: str, numbers: Json, **more: Any) -> plots.Profile:
        return plots.Profile(
            label, np.asarray(numbers["reference"]), np.asarray(numbers["generated"]), **more
        )

    whole = ("energy_", "fraction_", "overflow_")  # of a layer as a whole; the other kinds are its shapes

    def overlay(kind: str, layer: str = "") -> plots.Overlay:
        name = kind + layer
        k = shapes.names.index(name)
        return plots.Overlay(
            _label(name, shapes.units[k]),
            reference.features[:, k],
            sample.features[:, k],
            wx,
            wy,
            decades=kind in whole,
        )

    def profiles(key: str) -> list[plots.Profile]:
        return [profile(layer, closure[key][layer]["by_energy"], band=LIMITS[key]) for layer in layers]

    fitted, curves = _resolution_fits(closure, names)
    first = calorimeter.names[0]
    kinds = [name.removesuffix(first) for name in shapes.names if name.endswith(f"_{first}")]
    return [
        Section(
            "response",
            "Response and resolution",
            "Mean and relative spread of the total energy over the incident energy. Good: the points of the "
            f"response ratio lie in the blue band (± {100 * LIMITS['response']:g} %) at every energy, those "
            f"of the resolution agree within their errors with 1.{fitted}",
            plots.profiles(
                energy,
                [
                    profile("response E_tot / E_inc", closure["response"], band=LIMITS["response"]),
                    profile("resolution (spread / mean)", closure["resolution"], curves=curves),
                ],
                **against,
            ),
        ),
        Section(
            "fractions",
            "Energy fraction of each layer",
            "Mean share of the deposited energy. Good: flat at 1 within the blue band "
            f"(± {100 * LIMITS['fractions']:g} %); a slope means that showers do not grow deeper with energy "
            f"as they should.{few}",
            plots.profiles(energy, profiles("fractions"), **against),
        ),
        Section(
            "occupancy",
            "Occupancy of each layer",
            f"Share of cells above {setup.config.threshold:g} {calorimeter.unit}. Good: within the blue band "
            f"(± {100 * LIMITS['occupancy']:g} %). A slope against energy is typical of a generator that "
            f"cuts cells at a fraction of the energy instead of at an absolute one.{few}",
            plots.profiles(energy, profiles("occupancy"), **against),
        ),
        Section(
            "images",
            "Mean shower",
            "Mean energy of each cell. Good: the ratio is white where there is energy; colour at the far "
            f"edge is statistics of few hits. Grey cells are empty.{few}",
            plots_showers.layer_images(calorimeter, *images, names=names, layers=drawn),
        ),
        _profiles(closure["profiles"], setup, names=names, layers=drawn),
        Section(
            "energies",
            "Energies",
            "Good: the red line covers the grey area, the ratios scatter around 1 within their errors, and the pulls "
            f"(difference over uncertainty) within the blue band (± {plots.PULL_BAND:g}) without a pattern. The first "
            f"and last bin hold what lies outside; triangles are ratios beyond the drawn range.{few}",
            plots.overlays(
                [overlay(name) for name in _WHOLE if name in shapes.names]
                + [overlay(kind, layer) for kind in kinds if kind in whole for layer in layers],
                names=names,
            ),
        ),
        *(
            Section(
                f"shapes-{k}",
                f"Shower shapes, {layer}",
                "Centre and width along both axes, occupancy, share of the brightest cell and energy ratio "
                "of the two brightest: what particle identification uses, and where generators fail first. "
                "Good: as above.",
                plots.overlays([overlay(kind, layer) for kind in kinds if kind not in whole], names=names),
            )
            for k, layer in enumerate(layers)
        ),
        *_spectra(closure["spectrum"], setup, names=names, layers=drawn),
        *_correlations(closure["correlations"], setup, names=names, layers=drawn),
        _matrices(reference, sample, setup, layers=sorted(by_energy[:MATRIX_LAYERS]), kinds=kinds),
    ]


def _resolution_fits(closure: Json, names: tuple[str, str]) -> tuple[str, list[plots.Curve] | None]:
    """Sentence and curves of the fits to the resolution; nothing where there were too few energies."""
    unit = closure["energy"]["unit"]
    low, high = closure["energy"]["mean"][0], closure["energy"]["mean"][-1]
    energy = np.geomspace(low, high, CURVE_POINTS)
    words, curves = [], []
    for name, numbers in zip(names, closure["resolution"]["fit"].values(), strict=True):
        if numbers is None:
            return "", None
        fit = ResolutionFit(**numbers)
        stochastic, constant = (
            format_measurement(term, percent=True) for term in (fit.stochastic, fit.constant)
        )
        words.append(f"{name} a = ({stochastic}) √{unit}, b = {constant}, χ²/ndf = {fit.chi2_per_ndf:.1f}")
        curves.append((energy, fit.at(energy)))
    return f" Dotted: fit of a / √E ⊕ b ({'; '.join(words)}).", curves


def _numbers(values: Sequence[Any]) -> NDArray[np.float64]:
    """Values and uncertainties of a JSON table, (B, 2): null is NaN."""
    return np.array([value or (np.nan, np.nan) for value in values], dtype=np.float64).reshape(-1, 2)


def _depths(calorimeter: Calorimeter) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Edges of the layers in depth, gaps being bins too, and the bin of each layer; None if layers overlap."""
    order = sorted(calorimeter.layers, key=lambda layer: layer.z)
    if any(front.z[1] > back.z[0] for front, back in pairwise(order)):
        return None
    edges = np.unique([layer.z for layer in calorimeter.layers])
    return edges, np.searchsorted(edges, [layer.z[0] for layer in calorimeter.layers])


def _profiles(
    profiles: Json, setup: ShowerSetup, *, names: tuple[str, str], layers: Sequence[int]
) -> Section:
    """Energy in depth, and in the distance from the axis for each layer."""
    calorimeter = setup.calorimeter
    cartesian = calorimeter.layers[0].coordinates == "cartesian"  # polar geometries may count layers, not mm
    depths = _depths(calorimeter)
    edges, place = depths or (np.arange(calorimeter.n_layers + 1.0) - 0.5, np.arange(calorimeter.n_layers))
    label = ("depth z [mm]" if cartesian else "depth z") if depths else "layer"
    along = np.full((2, len(edges) - 1, 2), np.nan)
    for curve, name in zip(along, ("reference", "generated"), strict=True):
        curve[place] = _numbers(profiles["longitudinal"][name]) / np.diff(edges)[place, None]
    panels = [
        plots.Binned(
            label,
            edges,
            along[0],
            along[1],
            axis=r"$\mathrm{d}E\,/\,E_\mathrm{inc}\,\mathrm{d}z$",
            tails=True,
        )
    ]
    for k in layers:
        unit = AXES[calorimeter.layers[k].coordinates].across
        around, numbers = rings(calorimeter.layers[k]), profiles["lateral"][calorimeter.names[k]]
        first, second = (
            _numbers(numbers[name]) / around.areas[:, None] for name in ("reference", "generated")
        )
        if (first[:, 0] > 0).any():
            edges = around.edges.copy()
            edges[0] = max(edges[0], 0.5 * edges[1])  # a logarithmic axis does not begin at 0
            panels.append(
                plots.Binned(
                    _label(f"r {calorimeter.names[k]}", unit),
                    edges,
                    first,
                    second,
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
    spectra: Json, setup: ShowerSetup, *, names: tuple[str, str], layers: Sequence[int]
) -> list[Section]:
    """Spectra of single cells, of the layers that both samples hit."""
    panels = []
    for k in layers:
        layer = setup.calorimeter.names[k]
        if spectra[layer] is None or spectra[layer]["separation"] is None:
            continue
        first, second = (_numbers(spectra[layer][name]) for name in ("reference", "generated"))
        label = f"cell energy {layer} [{setup.calorimeter.unit}]".replace("_", " ")
        edges = np.asarray(spectra[layer]["edges"])
        panels.append(
            plots.Binned(label, edges, first, second, "cells per shower", logarithmic=True, tails=True)
        )
    if not panels:
        return []
    section = Section(
        "cells",
        "Cell energies",
        "Spectrum of the energy of single cells, cells per shower. Good: agreement over all decades; the "
        "smallest deposits decide the occupancy, the largest the brightest share. The first and last bin hold what "
        "lies outside.",
        plots.overlays(panels, names=names),
    )
    return [section]


def _correlations(
    correlations: Json, setup: ShowerSetup, *, names: tuple[str, str], layers: Sequence[int]
) -> list[Section]:
    """How the correlation of two cells falls with their distance."""
    panels = []
    for k in layers:
        layer = setup.calorimeter.layers[k]
        for key, axis in zip("xy", AXES[layer.coordinates].short, strict=True):
            curves = (correlations[layer.name] or {key: {"reference": [], "generated": []}})[key]
            first, second = (_numbers(curves[name]) for name in ("reference", "generated"))
            if np.isfinite(first).any() and np.isfinite(second).any():
                offset = np.abs(second[:, 0] - first[:, 0]) + second[:, 1]
                reach = max(1.2 * float(np.nanmax(offset)), SMALL_CORRELATION)
                title = f"{layer.name.replace('_', ' ')}, along {axis}"
                apart = np.arange(1.0, len(first) + 1)
                panels.append(
                    plots.Profile(
                        title,
                        first,
                        second,
                        limits=(-reach, reach),
                        difference=True,
                        x=apart,
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
    reference: Sample, sample: Sample, setup: ShowerSetup, *, layers: Sequence[int], kinds: Sequence[str]
) -> Section:
    """Correlation coefficients of the shower shapes; at fixed energy, that of a layer is its fraction."""
    kinds = [kind for kind in kinds if kind not in ("energy_", "overflow_")]
    shown = [kind + setup.calorimeter.names[k] for k in layers for kind in kinds]
    columns = [setup.names.index(name) for name in (*_WHOLE, *shown) if name in setup.names]
    first, second = (setup.correlations(which)[np.ix_(columns, columns)] for which in (reference, sample))
    return Section(
        "observables",
        "Correlations of shower shapes",
        "Linear correlation coefficients at fixed conditions. Good: the difference is pale everywhere and without "
        "blocks; its scale of colours ends at the largest difference.",
        plots.matrices(
            [setup.names[k].replace("_", " ") for k in columns],
            first,
            second,
            names=(reference.name, sample.name),
        ),
    )
