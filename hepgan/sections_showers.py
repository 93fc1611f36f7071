"""Figures of showers for the report: response, fractions and occupancy against energy, images, shower shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hepgan import plots
from hepgan.comparison import Sample
from hepgan.comparison_showers import LIMITS, ShowerSetup
from hepgan.metrics import ResolutionFit
from hepgan.report import Section
from hepgan.tables import format_measurement

__all__ = ["NOTE", "sections"]

NOTE = "Biases are relative: generated over reference, less 1; their floors have no sign."
"""What the verdict table of showers needs to be understood."""

MAX_LAYERS_DRAWN = 8  # the layers with most energy; a figure of forty layers is read by nobody
SPECTRUM_SHOWERS = 5000  # enough for the spectrum of single cells
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
            plots.layer_images(calorimeter, *images, names=names, layers=drawn),
        ),
        Section(
            "energies",
            "Energies",
            "Good: the red line covers the grey area, and the ratios scatter around 1 within their errors. "
            "The first and last bin hold what lies outside; triangles are ratios beyond the drawn "
            f"range.{few}",
            plots.overlays(
                [overlay(name) for name in ("response", "depth", "depth_width")]
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
        *_cell_spectra(reference, sample, setup, layers=drawn),
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


def _cell_spectra(
    reference: Sample, sample: Sample, setup: ShowerSetup, *, layers: Sequence[int]
) -> list[Section]:
    """Spectra of single cells, of the layers that both samples hit."""
    panels = []
    for k in layers:
        place = setup.calorimeter.slices()[k]
        values, weights, totals = [], [], []
        for which in (reference, sample):
            every = slice(None, None, -(-len(which) // SPECTRUM_SHOWERS))  # a file may be sorted by energy
            cells, w = which.events.cells[every, place], which.weights[every]
            hit = cells > max(setup.config.threshold, 0.0)
            values.append(cells[hit].astype(np.float64))
            weights.append(np.broadcast_to(w[:, None], cells.shape)[hit])
            totals.append(float(w.sum()))
        if all(len(v) > 1 for v in values):
            label = f"cell energy {setup.calorimeter.names[k]} [{setup.calorimeter.unit}]".replace("_", " ")
            panels.append(
                plots.Overlay(
                    label, values[0], values[1], weights[0], weights[1], (totals[0], totals[1]), decades=True
                )
            )
    if not panels:
        return []
    section = Section(
        "cells",
        "Cell energies",
        "Spectrum of the energy of single cells, cells per shower. Good: agreement over all decades; the "
        "smallest deposits decide the occupancy, the largest the brightest share.",
        plots.overlays(panels, names=(reference.name, sample.name)),
    )
    return [section]
