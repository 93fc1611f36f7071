"""The numbers of single cells: profiles in depth and radius, spectra, and correlations at fixed conditions.

A profile is the mean of deposited over incident energy in each bin. Its bias is sample / reference - 1; the worst bias
is taken over bins with more than a thousandth of the energy. Correlations are computed from log(1 + energy / median
energy), after a cubic polynomial in each condition is subtracted. Uncertainties come from a jackknife over groups of
showers, floors from halves of the reference's groups.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hepgan.evaluation.closures import CellCorrelations, CellProfiles, Profile, Spectrum
from hepgan.evaluation.records import Array, Curves, Number, number, numbers
from hepgan.geometry import CaloLayer, Calorimeter
from hepgan.metrics import bin_number
from hepgan.metrics import cells as metric
from hepgan.metrics.groups import between_halves, jackknife, random_groups

__all__ = ["CellNumbers", "CellSample", "Rings", "cell_closure", "furthest", "rings"]

MULTIPLICATIONS = (
    1e11  # of the correlations of a sample: some seconds; with more cells, fewer showers are used
)
FEWEST = 1000  # showers, however many cells there are


@dataclass(frozen=True)
class CellSample:
    """The parts of a sample that the numbers of cells need.

    Attributes:
        cells: (N, n_cells) energies.
        energy: (N,) incident energies, unit of the cells.
        conditions: (N, K) conditions, with which correlations may vary smoothly.
        weights: (N,) event weights.
    """

    cells: NDArray[np.float32]
    energy: Array
    conditions: Array
    weights: Array


@dataclass(frozen=True)
class Rings:
    """Cells of a layer by their distance from the axis x = y = 0.

    Attributes:
        edges: (B + 1,) mm.
        areas: (B,) of the cells of each ring together, mm^2.
        number: (n_cells,) ring of each cell.
    """

    edges: Array
    areas: Array
    number: NDArray[np.intp]


def rings(layer: CaloLayer) -> Rings:
    """The rings of a layer: its own if it is polar, else as narrow as its cells, and wider outside."""
    x, y = np.asarray(layer.x), np.asarray(layer.y)
    radii = np.hypot(*layer.cell_centres[:, :2].T)
    if layer.coordinates == "polar":
        edges, areas = y, np.outer(np.diff(x), 0.5 * np.diff(y**2)).ravel()
    else:
        edges = metric.radial_edges(radii, float(min(np.diff(x).min(), np.diff(y).min())))
        areas = np.outer(np.diff(x), np.diff(y)).ravel()
    ring = bin_number(radii, edges)
    return Rings(edges, np.bincount(ring, areas, len(edges) - 1).astype(np.float64), ring)


def furthest(measured: Mapping[str, tuple[Number | None, Number | None]]) -> str | None:
    """Name of the number that is furthest above its floor; None if no number is defined.

    Args:
        measured: Numbers and their floors, by name.
    """
    sizes = {
        name: abs(value.value) / floor.value if floor and floor.value > 0 else abs(value.value)
        for name, (value, floor) in measured.items()
        if value is not None
    }
    return max(sizes, key=lambda name: sizes[name], default=None)


def _profile(
    second: Array, first: Array, *, rng: np.random.Generator, edges: list[float] | None = None
) -> Profile:
    """Compare two profiles, from (G, B + 1) sums of the sample and of the reference."""
    shares = metric.means(first.sum(axis=0))
    judged = shares > metric.NEGLIGIBLE * shares.sum()
    bias = numbers(*jackknife(metric.profile_differences, second, first))
    considered = [b for b, chosen in zip(bias, judged, strict=True) if chosen and b is not None]
    return Profile(
        reference=numbers(*jackknife(metric.means, first)),
        sample=numbers(*jackknife(metric.means, second)),
        bias=bias,
        worst=max(considered, key=lambda b: abs(b.value), default=None),
        worst_floor=between_halves(
            functools.partial(metric.largest_difference, judged=judged), first, rng=rng
        ),
        edges=edges,
    )


def _binned(sums: Array, number: NDArray[np.intp]) -> Array:
    """Join sums (G, C + 1) of cells to those of bins, (G, B + 1)."""
    bins = np.zeros((len(sums), int(number.max()) + 2))
    np.add.at(bins.T, number, sums[:, :-1].T)
    bins[:, -1] = sums[:, -1]
    return bins


def _profiles(
    sample: _Grouped, reference: _Grouped, calorimeter: Calorimeter, rng: np.random.Generator
) -> CellProfiles:
    first, second = (
        metric.cell_energy_sums(s.cells.cells, s.group, weights=s.cells.weights, scale=s.cells.energy)
        for s in (reference, sample)
    )
    layer_of = np.repeat(np.arange(calorimeter.n_layers), [layer.n_cells for layer in calorimeter.layers])
    lateral = {}
    for layer, place in zip(calorimeter.layers, calorimeter.slices(), strict=True):
        around = rings(layer)
        columns = np.r_[place, -1]
        lateral[layer.name] = _profile(
            _binned(second[:, columns], around.number),
            _binned(first[:, columns], around.number),
            rng=rng,
            edges=around.edges.tolist(),
        )
    longitudinal = _profile(_binned(second, layer_of), _binned(first, layer_of), rng=rng)
    return CellProfiles(longitudinal=longitudinal, lateral=lateral)


def _spectrum(second: Array, first: Array, edges: Array, *, rng: np.random.Generator) -> Spectrum:
    return Spectrum(
        edges=edges.tolist(),
        reference=numbers(*jackknife(metric.means, first)),
        sample=numbers(*jackknife(metric.means, second)),
        separation=number(*jackknife(metric.spectrum_separation, second, first)),
        separation_floor=between_halves(metric.spectrum_separation, first, rng=rng),
    )


def _correlations(
    second: Array, first: Array, layer: CaloLayer, *, rng: np.random.Generator
) -> CellCorrelations:
    difference = functools.partial(metric.correlation_difference, n=layer.n_cells)
    circle = bool(layer.coordinates == "polar" and np.isclose(layer.x[-1] - layer.x[0], 2 * np.pi))
    along = functools.partial(metric.correlations_by_distance, shape=layer.shape, periodic=circle)
    split = len(along(first[0])[0])

    def curves(total: Array) -> Array:
        return np.concatenate(along(total))

    value = number(*jackknife(difference, second, first))
    floor = between_halves(difference, first, rng=rng)
    of_reference, of_sample = (numbers(*jackknife(curves, sums)) for sums in (first, second))
    return CellCorrelations(
        difference=value,
        difference_floor=floor,
        x=Curves(sample=of_sample[:split], reference=of_reference[:split]),
        y=Curves(sample=of_sample[split:], reference=of_reference[split:]),
    )


@dataclass(frozen=True)
class CellNumbers:
    """Outcome of `cell_closure`: see `ShowerClosure`."""

    profiles: CellProfiles
    spectrum: dict[str, Spectrum | None]
    correlations: dict[str, CellCorrelations | None]


@dataclass(frozen=True)
class _Grouped:
    """A sample and the random group of each of its showers.

    Attributes:
        cells: The sample.
        group: (N,).
        terms: (N, K) terms in which correlations vary smoothly with the conditions.
        every: Showers that are used for correlations.
    """

    cells: CellSample
    group: NDArray[np.intp]
    terms: NDArray[np.float32]
    every: slice

    def spectrum_sums(self, place: slice, edges: Array, *, threshold: float) -> Array:
        """Sums of the spectrum of a layer, by group."""
        return metric.spectrum_sums(
            self.cells.cells[:, place],
            edges,
            self.group,
            weights=self.cells.weights,
            threshold=threshold,
        )

    def correlation_sums(self, place: slice, *, scale: float) -> Array:
        """Sums of products of the cells of a layer, by group."""
        e = self.every
        return metric.correlation_sums(
            self.cells.cells[e, place],
            self.terms[e],
            self.group[e],
            scale=scale,
            weights=self.cells.weights[e],
        )


def cell_closure(
    sample: CellSample,
    reference: CellSample,
    calorimeter: Calorimeter,
    *,
    threshold: float,
    rng: np.random.Generator,
) -> CellNumbers:
    """Measure all numbers of single cells.

    Args:
        sample: The sample to judge.
        reference: The sample that is right.
        calorimeter: The geometry.
        threshold: A cell counts as hit above this energy (cell unit).
        rng: Draws groups and halves.
    """
    work = sum(layer.n_cells**2 for layer in calorimeter.layers)
    most = max(int(MULTIPLICATIONS / work), FEWEST)
    groups = [random_groups(len(s.cells), rng) for s in (reference, sample)]
    first, second = (
        _Grouped(s, group, metric.smooth_terms(s.conditions), slice(None, None, -(-len(s.cells) // most)))
        for s, group in zip((reference, sample), groups, strict=True)
    )
    result = CellNumbers(_profiles(second, first, calorimeter, rng), {}, {})
    for layer, place in zip(calorimeter.layers, calorimeter.slices(), strict=True):
        result.spectrum[layer.name] = result.correlations[layer.name] = None
        edges = metric.spectrum_edges(reference.cells[:, place], threshold=threshold)
        if edges is None:
            continue
        of_sample, of_reference = (
            s.spectrum_sums(place, edges, threshold=threshold) for s in (second, first)
        )
        result.spectrum[layer.name] = _spectrum(of_sample, of_reference, edges, rng=rng)
        if layer.n_cells > 1:
            scale = metric.median_energy(of_reference.sum(axis=0), edges)
            of_sample, of_reference = (s.correlation_sums(place, scale=scale) for s in (second, first))
            result.correlations[layer.name] = _correlations(of_sample, of_reference, layer, rng=rng)
    return result
