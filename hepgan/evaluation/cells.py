"""The numbers of single cells: profiles in depth and radius, spectra, and correlations at fixed conditions.

Keys of ``closure`` in ``metrics.json``; profiles are means of energy over incident energy, their biases generated /
reference - 1, of which the worst is that of the bins with more than a thousandth of the energy:

* ``profiles.longitudinal``, by layer, and ``profiles.lateral.<layer>``, by ring of the distance between a cell's
  centre and the axis x = y = 0: ``edges`` (lateral only), ``reference``, ``generated``, ``bias``, ``worst``,
  ``worst_floor``;
* ``spectrum.<layer>``: ``edges`` (logarithmic; the first and last bin hold what lies outside), ``reference`` and
  ``generated`` (cells above threshold of a shower), ``separation`` and ``separation_floor`` of the shapes; null if no
  cell of the reference has energy;
* ``correlations.<layer>``: ``difference`` and ``difference_floor`` (mean absolute difference of the coefficients of
  all pairs of cells), ``x`` and ``y`` (``reference`` and ``generated``: mean coefficient at 1, 2, ... cells apart);
  null for a layer of one cell. Correlated are logarithms of 1 + energy / median energy, less what a cubic of each
  condition explains.

Uncertainties are those of a jackknife of groups of showers, floors those of halves of the groups of the reference.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hepgan.geometry import CaloLayer, Calorimeter
from hepgan.metrics import bin_number
from hepgan.metrics import cells as metric
from hepgan.metrics.groups import between_halves, jackknife, random_groups
from hepgan.metrics.moments import Measurement

__all__ = ["CellSample", "Rings", "cell_closure", "furthest", "rings"]

MULTIPLICATIONS = (
    1e11  # of the correlations of a sample: some seconds; with more cells fewer showers are used
)
FEWEST = 1000  # showers, however many cells there are

Array = NDArray[np.float64]
Json = dict[str, Any]


@dataclass(frozen=True)
class CellSample:
    """What is needed of a sample.

    Attributes:
        cells: (N, n_cells) energies.
        energy: (N,) incident energies, unit of the cells.
        conditions: (N, K) in which correlations may vary smoothly.
        weights: (N,).
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
    number = bin_number(radii, edges)
    return Rings(edges, np.bincount(number, areas, len(edges) - 1).astype(np.float64), number)


def furthest(measured: Mapping[str, tuple[Measurement | None, Measurement | None]]) -> str | None:
    """Which of several numbers, with their floors, is furthest above its floor; None if none is defined."""
    sizes = {
        name: abs(value[0]) / floor[0] if floor and floor[0] > 0 else abs(value[0])
        for name, (value, floor) in measured.items()
        if value is not None
    }
    return max(sizes, key=lambda name: sizes[name], default=None)


def _measurement(value: float, uncertainty: float) -> Measurement | None:
    return (float(value), float(uncertainty)) if np.isfinite([value, uncertainty]).all() else None


def _measurements(values: Array, uncertainties: Array) -> list[Measurement | None]:
    return [_measurement(*pair) for pair in zip(values, uncertainties, strict=True)]


def _profile(first: Array, second: Array, *, rng: np.random.Generator) -> Json:
    """Comparison of two profiles, from (G, B + 1) sums."""
    shares = metric.means(first.sum(axis=0))
    judged = shares > metric.NEGLIGIBLE * shares.sum()
    bias = _measurements(*jackknife(metric.profile_differences, second, first))
    considered = [b for b, chosen in zip(bias, judged, strict=True) if chosen and b is not None]
    return {
        "reference": _measurements(*jackknife(metric.means, first)),
        "generated": _measurements(*jackknife(metric.means, second)),
        "bias": bias,
        "worst": max(considered, key=lambda b: abs(b[0]), default=None),
        "worst_floor": between_halves(
            functools.partial(metric.largest_difference, judged=judged), first, rng=rng
        ),
    }


def _binned(sums: Array, number: NDArray[np.intp]) -> Array:
    """Sums (G, C + 1) of cells joined to those of bins, (G, B + 1)."""
    bins = np.zeros((len(sums), int(number.max()) + 2))
    np.add.at(bins.T, number, sums[:, :-1].T)
    bins[:, -1] = sums[:, -1]
    return bins


def _profiles(samples: list[CellSample], groups: list[Any], calorimeter: Calorimeter, rng: Any) -> Json:
    first, second = (
        metric.cell_energy_sums(s.cells, g, weights=s.weights, scale=s.energy)
        for s, g in zip(samples, groups, strict=True)
    )
    layer_of = np.repeat(np.arange(calorimeter.n_layers), [layer.n_cells for layer in calorimeter.layers])
    lateral = {}
    for layer, place in zip(calorimeter.layers, calorimeter.slices(), strict=True):
        around = rings(layer)
        columns = np.r_[place, -1]
        sums = (_binned(s[:, columns], around.number) for s in (first, second))
        lateral[layer.name] = {"edges": around.edges.tolist(), **_profile(*sums, rng=rng)}
    longitudinal = _profile(_binned(first, layer_of), _binned(second, layer_of), rng=rng)
    return {"longitudinal": longitudinal, "lateral": lateral}


def _spectrum(first: Array, second: Array, edges: Array, *, rng: np.random.Generator) -> Json:
    return {
        "edges": edges.tolist(),
        "reference": _measurements(*jackknife(metric.means, first)),
        "generated": _measurements(*jackknife(metric.means, second)),
        "separation": _measurement(*map(float, jackknife(metric.spectrum_separation, second, first))),
        "separation_floor": between_halves(metric.spectrum_separation, first, rng=rng),
    }


def _correlations(first: Array, second: Array, layer: CaloLayer, *, rng: np.random.Generator) -> Json:
    difference = functools.partial(metric.correlation_difference, n=layer.n_cells)
    circle = bool(layer.coordinates == "polar" and np.isclose(layer.x[-1] - layer.x[0], 2 * np.pi))
    along = functools.partial(metric.correlations_by_distance, shape=layer.shape, periodic=circle)
    split = len(along(first[0])[0])

    def curves(total: Array) -> Array:
        return np.concatenate(along(total))

    result: Json = {
        "difference": _measurement(*map(float, jackknife(difference, second, first))),
        "difference_floor": between_halves(difference, first, rng=rng),
        "x": {},
        "y": {},
    }
    for name, sums in (("reference", first), ("generated", second)):
        measured = _measurements(*jackknife(curves, sums))
        result["x"][name], result["y"][name] = measured[:split], measured[split:]
    return result


def cell_closure(
    reference: CellSample,
    sample: CellSample,
    calorimeter: Calorimeter,
    *,
    threshold: float,
    rng: np.random.Generator,
) -> Json:
    """All numbers of single cells.

    Args:
        reference: What is right.
        sample: What is judged.
        calorimeter: The geometry.
        threshold: A cell counts as hit above this energy (cell unit).
        rng: Draws groups and halves.
    """
    samples = [reference, sample]
    groups = [random_groups(len(s.cells), rng) for s in samples]
    work = sum(layer.n_cells**2 for layer in calorimeter.layers)
    most = max(int(MULTIPLICATIONS / work), FEWEST)
    every = [slice(None, None, -(-len(s.cells) // most)) for s in samples]
    terms = [metric.smooth_terms(s.conditions) for s in samples]
    result: Json = {
        "profiles": _profiles(samples, groups, calorimeter, rng),
        "spectrum": {},
        "correlations": {},
    }
    for layer, place in zip(calorimeter.layers, calorimeter.slices(), strict=True):
        result["spectrum"][layer.name] = result["correlations"][layer.name] = None
        edges = metric.spectrum_edges(reference.cells[:, place], threshold=threshold)
        if edges is None:
            continue
        first, second = (
            metric.spectrum_sums(s.cells[:, place], edges, g, weights=s.weights, threshold=threshold)
            for s, g in zip(samples, groups, strict=True)
        )
        result["spectrum"][layer.name] = _spectrum(first, second, edges, rng=rng)
        if layer.n_cells > 1:
            scale = metric.median_energy(first.sum(axis=0), edges)
            first, second = (
                metric.correlation_sums(s.cells[e, place], t[e], g[e], scale=scale, weights=s.weights[e])
                for s, g, t, e in zip(samples, groups, terms, every, strict=True)
            )
            result["correlations"][layer.name] = _correlations(first, second, layer, rng=rng)
    return result
