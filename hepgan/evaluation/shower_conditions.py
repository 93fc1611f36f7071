r"""Showers in bins of every condition: response, layer fractions, and whether centre and axis follow the conditions.

The centre of a shower is the mean position of its energy. Its axis has the slope of a straight line through the
centres of the layers against their depths,
:math:`\sum_l E_l (z_l - \bar z)(x_l - \bar x) / \sum_l E_l (z_l - \bar z)^2`. What the conditions let expect of them is
a polynomial of second order in the conditions (angles as cosine and sine), fitted to the reference. A sample is
compared with the reference after both have lost the expectation: bins may be wide, and only the difference counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hepgan.config import ConditionConfig, DataConfig
from hepgan.evaluation.biases import Binned, biases, differences, largest, worst_floor
from hepgan.evaluation.bins import MIN_IN_BIN, Bins, number_of_bins
from hepgan.evaluation.closures import ConditionClosure, Following, Offsets
from hepgan.evaluation.records import Array, BinRanges
from hepgan.evaluation.sample import Halves, Sample
from hepgan.geometry import Calorimeter
from hepgan.metrics import bin_number, profile, quantile_edges
from hepgan.metrics.moments import effective_size
from hepgan.transforms.conditions import ConditionScaling

__all__ = ["AXIS", "Shape", "in_bins_of_conditions"]

AXIS = {"centre_x": "mm", "centre_y": "mm", "slope_x": "mm/m", "slope_y": "mm/m"}
"""Coordinates of centre and axis, and their units."""

_EXPLAINED = 0.05  # share of the variance of a coordinate from which on the conditions count as moving it
_CHANCE = 5.0  # and this multiple of the share that as many terms explain by chance
_PER_METRE = 1000.0  # mm
_TINY = 1e-12


@dataclass(frozen=True)
class Shape:
    """Where the numbers of a shower stand among its features.

    Attributes:
        calorimeter: The geometry.
        names: Names of the features.
        data: Names the conditions, and the one that is the incident energy, which has numbers of its own.
    """

    calorimeter: Calorimeter
    names: Sequence[str]
    data: DataConfig

    def columns(self, sample: Sample, quantity: str) -> Array:
        """A quantity of every layer, (N, L)."""
        names = list(self.names)
        return sample.features[:, [names.index(f"{quantity}_{layer}") for layer in self.calorimeter.names]]


def _axis(sample: Sample, shape: Shape) -> dict[str, Array]:
    """Coordinates `AXIS` of each shower, (N,); NaN for the slope of a shower in one layer."""
    energy = shape.columns(sample, "energy")
    depth = np.array([layer.depth for layer in shape.calorimeter.layers])
    share = energy / np.maximum(energy.sum(1), _TINY)[:, None]
    lever = depth - (share @ depth)[:, None]
    strength = (share * lever**2).sum(1)
    result = {}
    for axis in "xy":
        centres = shape.columns(sample, f"centre_{axis}")
        result[f"centre_{axis}"] = (share * centres).sum(1)
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = (share * lever * centres).sum(1) / np.where(strength > 0, strength, np.nan)
            result[f"slope_{axis}"] = _PER_METRE * slope
    return {name: result[name] for name in AXIS}


class _Terms:
    """Products of second order of the conditions, (N, T)."""

    def __init__(self, conditions: Sequence[ConditionConfig], reference: Sample) -> None:
        self._scaling = ConditionScaling(conditions, periodic=True)
        self._scaling.fit(*(torch.from_numpy(x) for x in (reference.events.conditions, reference.weights)))

    def __call__(self, sample: Sample) -> Array:
        x = self._scaling(torch.from_numpy(sample.events.conditions)).numpy().astype(np.float64)
        first, second = np.triu_indices(x.shape[1])
        return np.column_stack([np.ones(len(x)), x, x[:, first] * x[:, second]])


@dataclass(frozen=True)
class _Coordinate:
    """A coordinate of the showers of both samples, sample first: values, expectation, and which are defined."""

    values: tuple[Array, Array]
    expected: tuple[Array, Array]

    def rest(self, k: int) -> Array:
        """Values less the expectation, 0 where they are not defined."""
        return np.nan_to_num(self.values[k] - self.expected[k])

    def weights(self, samples: tuple[Sample, Sample], k: int) -> Array:
        """Weights, 0 where the coordinate is not defined."""
        return np.where(np.isfinite(self.values[k]), samples[k].weights, 0.0)

    def offsets(
        self,
        samples: tuple[Sample, Sample],
        inside: tuple[Sequence[NDArray[np.bool_]], Sequence[NDArray[np.bool_]]],
        halves: Halves,
        *,
        unit: str,
    ) -> Offsets:
        """Compare in bins."""
        weights = [self.weights(samples, k) for k in (0, 1)]
        curves = [Binned(np.nan_to_num(self.values[k]), weights[k], inside[k])() for k in (0, 1)]
        rest = [Binned(self.rest(k), weights[k], inside[k]) for k in (0, 1)]
        found = differences(rest[0](), rest[1]())
        return Offsets(
            unit=unit,
            sample=curves[0],
            reference=curves[1],
            difference=found,
            worst=largest(found),
            worst_floor=worst_floor(rest[1], halves, compared="difference"),
        )


def _moved(samples: tuple[Sample, Sample], shape: Shape) -> dict[str, _Coordinate]:
    """The coordinates that depend on the conditions in the reference."""
    if any(layer.coordinates == "eta-phi" for layer in shape.calorimeter.layers):
        return {}
    reference = samples[1]
    terms = _Terms(shape.data.conditions, reference)
    design = [terms(s) for s in samples]
    values = [_axis(s, shape) for s in samples]
    result = {}
    for name in AXIS:
        y, w = values[1][name], np.maximum(reference.weights, 0)
        good = np.isfinite(y) & (w > 0)
        if good.sum() <= 2 * design[1].shape[1]:
            continue
        root = np.sqrt(w[good])
        solution = np.linalg.lstsq(design[1][good] * root[:, None], y[good] * root, rcond=None)[0]
        expected = (design[0] @ solution, design[1] @ solution)
        left = np.average((y[good] - expected[1][good]) ** 2, weights=w[good])
        total = np.average((y[good] - np.average(y[good], weights=w[good])) ** 2, weights=w[good])
        chance = _CHANCE * design[1].shape[1] / effective_size(w[good])
        if total > 0 and 1 - left / total > max(_EXPLAINED, chance):
            result[name] = _Coordinate((values[0][name], y), expected)
    return result


def _following(
    coordinate: _Coordinate, samples: tuple[Sample, Sample], halves: Halves, *, unit: str, number: int
) -> Following | None:
    """Compare a coordinate in bins of its expectation; None if no bin has enough showers."""
    weights = [coordinate.weights(samples, k) for k in (0, 1)]
    edges = quantile_edges(coordinate.expected[1], number, weights=weights[1])
    bins = [bin_number(x, edges) for x in coordinate.expected]
    used = [
        k
        for k in range(len(edges) - 1)
        if all(effective_size(w[b == k]) >= MIN_IN_BIN for w, b in zip(weights, bins, strict=True))
    ]
    if not used:
        return None
    inside = ([bins[0] == k for k in used], [bins[1] == k for k in used])
    centre = profile(coordinate.expected[1], coordinate.expected[1], edges, weights=weights[1])[:, 0]
    ranges = BinRanges(
        edges=[(float(edges[k]), float(edges[k + 1])) for k in used],
        mean=[float(centre[k]) for k in used],
        left_out=len(edges) - 1 - len(used),
    )
    offsets = coordinate.offsets(samples, inside, halves, unit=unit)
    return Following(bins=ranges, **vars(offsets))


def in_bins_of_conditions(
    sample: Sample, reference: Sample, shape: Shape, *, halves: Halves, most: int
) -> tuple[dict[str, ConditionClosure], dict[str, Following]]:
    """Measure showers in bins of each condition but the incident energy.

    Args:
        sample: The sample to judge.
        reference: The sample that is right.
        shape: Geometry, features and conditions.
        halves: Halvings of the reference.
        most: Largest number of bins.

    Returns:
        By condition, without those that have no bin with enough showers; coordinates of centre and axis that the
        conditions move, in bins of what the conditions let expect.
    """
    samples = (sample, reference)
    energy = shape.data.calo.incident_energy
    others = [(k, c) for k, c in enumerate(shape.data.conditions) if c.name != energy]
    if not others:
        return {}, {}
    number = number_of_bins(sample, reference, most=most)
    moved = _moved(samples, shape)
    response = list(shape.names).index("response")
    fractions = [shape.columns(s, "fraction") for s in samples]
    result = {}
    for column, condition in others:
        bins = Bins.of(shape.data, column, sample, reference, pairs=(), number=number)
        used = np.flatnonzero(bins.used)
        if not len(used):
            continue
        numbers = [bins.number(s) for s in samples]
        inside = ([numbers[0] == k for k in used], [numbers[1] == k for k in used])

        def compared(
            values: Sequence[Array], inside: Sequence[Sequence[NDArray[np.bool_]]] = inside
        ) -> tuple[Binned, Binned]:
            first, second = (Binned(v, s.weights, i) for v, s, i in zip(values, samples, inside, strict=True))
            return first, second

        result[condition.name] = ConditionClosure(
            bins=bins.ranges(),
            response=biases(*compared([s.features[:, response] for s in samples]), halves=halves),
            fractions={
                layer: biases(*compared([f[:, k] for f in fractions]), halves=halves)
                for k, layer in enumerate(shape.calorimeter.names)
            },
            centre={
                name: coordinate.offsets(samples, inside, halves, unit=AXIS[name])
                for name, coordinate in moved.items()
                if name.startswith("centre")
            },
        )
    following = {
        name: found
        for name, coordinate in moved.items()
        if (found := _following(coordinate, samples, halves, unit=AXIS[name], number=number)) is not None
    }
    return result, following
