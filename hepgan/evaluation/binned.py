"""Distances in bins of each condition: a model may be right on average and wrong at the ends of a condition.

`IN_BINS` lists the distances; the area under the classifier's ROC curve is measured as well. A distance of single
observables is given for the observable that differs most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hepgan.evaluation.bins import Bins, number_of_bins
from hepgan.evaluation.distances import JOINT, JOINT_SPLITS, JointDistance, Points, in_spreads
from hepgan.evaluation.records import Array
from hepgan.evaluation.results import DistanceInBins, InBins
from hepgan.evaluation.sample import Halves, Sample, Setup, Step, scatter
from hepgan.evaluation.verdict import Row, format_measurement, row
from hepgan.metrics import (
    TwoSampleTest,
    area_under_curve,
    ks_distance,
    separation_power,
    spread,
    wasserstein,
)
from hepgan.metrics.moments import Measurement

__all__ = ["IN_BINS", "BinnedDistance", "measure_in_bins", "rows"]

BIN_EVENTS = 5000  # of either sample: as many events of a bin are used for a distance of all observables
COARSE_BINS = 20  # of a histogram in a bin of a condition
BIN_REPLICAS = 10  # of the bootstrap in a bin of a condition

InBin = Callable[[Sample, Sample, tuple[Points, Points], np.random.Generator], tuple[Measurement, int | None]]
"""Takes the sample and the reference in a bin, their points, and a source of random numbers; gives the distance, and
the column of its observable if it is of a single one."""


@dataclass(frozen=True)
class BinnedDistance:
    """One distance that is measured in bins of each condition.

    Attributes:
        title: Name in the report.
        axis: Name on the axis of a figure.
        measure: Measures one bin.
        thorough: Whether ``evaluation.fast`` leaves it out.
    """

    title: str
    axis: str
    measure: InBin
    thorough: bool = True


def _largest(metric: Callable[..., Measurement]) -> InBin:
    """Make a distance that is the largest of a metric over the observables, with the column of that observable."""

    def measure(
        sample: Sample, reference: Sample, points: tuple[Points, Points], rng: np.random.Generator
    ) -> tuple[Measurement, int | None]:
        distances = []
        for k in range(reference.features.shape[1]):
            (x, u), (y, v) = reference.observed(k), sample.observed(k)
            distances.append((metric(y, x, rng=rng, sample_weights=v, reference_weights=u), k))
        return max(distances)

    return measure


def _separation(*samples: Array, **options: Any) -> Measurement:
    return separation_power(*samples, bins=COARSE_BINS, n_bootstrap=BIN_REPLICAS, **options)


def _wasserstein(
    sample: Array,
    reference: Array,
    *,
    rng: np.random.Generator,
    sample_weights: Array,
    reference_weights: Array,
) -> Measurement:
    """Wasserstein distance in spreads of the reference; 0 if the reference has no spread."""
    size = spread(reference, reference_weights)[0]
    value, uncertainty = wasserstein(
        sample, reference, sample_weights=sample_weights, reference_weights=reference_weights
    )
    return (value / size, uncertainty / size) if size > 0 else (0.0, 0.0)


def _all_together(distance: JointDistance) -> InBin:
    """Make a distance of `JOINT` use at most `BIN_EVENTS` events of either sample."""

    def measure(
        sample: Sample, reference: Sample, points: tuple[Points, Points], rng: np.random.Generator
    ) -> tuple[Measurement, int | None]:
        def subset(part: Points) -> Points:
            return part if len(part) <= BIN_EVENTS else part[rng.choice(len(part), BIN_EVENTS, replace=False)]

        first, second = subset(points[1]), subset(points[0])  # the reference draws first
        return distance.measure(second, first, rng), None

    return measure


IN_BINS: dict[str, BinnedDistance] = {
    "ks": BinnedDistance(
        "KS distance of the worst observable",
        "KS, worst observable",
        _largest(lambda *samples, rng, **weights: ks_distance(*samples, **weights)),
        thorough=False,
    ),
    "separation": BinnedDistance(
        "Separation power of the worst observable", "separation, worst observable", _largest(_separation)
    ),
    "wasserstein": BinnedDistance(
        "Wasserstein distance of the worst observable, in spreads",
        "W, worst observable [spreads]",
        _largest(_wasserstein),
    ),
    **{
        key: BinnedDistance(distance.title, distance.axis, _all_together(distance))
        for key, distance in JOINT.items()
        if distance.binned
    },
}
"""The distances in bins, beside the area under the classifier's ROC curve (``auc``)."""


@dataclass(frozen=True)
class _Parts:
    """The sample and the reference in each used bin, and their points."""

    samples: list[Sample]
    references: list[Sample]
    points: list[tuple[Points, Points]]


def _split(bins: Bins, sample: Sample, reference: Sample, points: tuple[Points, Points]) -> _Parts:
    used = np.flatnonzero(bins.used)
    of_sample, of_reference = ([bins.number(s) == k for k in used] for s in (sample, reference))
    return _Parts(
        [sample[inside] for inside in of_sample],
        [reference[inside] for inside in of_reference],
        [(points[0][a], points[1][b]) for a, b in zip(of_sample, of_reference, strict=True)],
    )


def _areas(bins: Bins, sample: Sample, reference: Sample, test: TwoSampleTest) -> Array:
    """Area under the ROC curve in each used bin, from the scores of the classifier of all events, (B, 2)."""
    areas = []
    for k in np.flatnonzero(bins.used):
        (s2, w2), (s1, w1) = (
            (scores[bins.number(events) == k], events.weights[bins.number(events) == k])
            for scores, events in ((test.sample_scores, sample), (test.reference_scores, reference))
        )
        areas.append(area_under_curve(s2, s1, sample_weights=w2, reference_weights=w1))
    return np.array(areas)


def measure_in_bins(
    sample: Sample,
    reference: Sample,
    setup: Setup[Any],
    *,
    tests: tuple[TwoSampleTest, TwoSampleTest],
    halves: Halves,
    rng: np.random.Generator,
    step: Step,
) -> dict[str, InBins]:
    """Measure every distance in bins of each condition, with its floor.

    Args:
        sample: The sample to judge.
        reference: The sample that is right.
        setup: The kind of data and settings.
        tests: The classifier between the samples, and the one between the first of the halves.
        halves: Halvings of the reference.
        rng: Source of random numbers.
        step: Called with the name of each step.

    Returns:
        By condition, without those that have no bin with enough events.
    """
    second, first = sample.without_outputs(), reference.without_outputs()
    points = in_spreads(second, first, setup)
    splits = halves[:JOINT_SPLITS]
    pairs = [(first[a], first[b]) for a, b in splits]
    compared = [(second, first, points)]
    compared += [(first[b], first[a], (points[1][b], points[1][a])) for a, b in splits]
    number = number_of_bins(second, first, most=setup.config.condition_bins)
    result = {}
    for column, condition in enumerate(setup.data.conditions):
        bins = Bins.of(setup.data, column, second, first, pairs=pairs, number=number)
        if not bins.used.any():
            continue
        step(f"in bins of {condition.name}")
        (a, b) = pairs[0]
        areas, floors = _areas(bins, second, first, tests[0]), _areas(bins, b, a, tests[1])
        distances = {"auc": _summed_up(areas, floors[None], None, bins, setup, ideal=0.5)}
        parts = [_split(bins, *both) for both in compared]
        for key, metric in IN_BINS.items():
            if metric.thorough and setup.config.fast:
                continue
            measured = [
                [
                    metric.measure(*both, rng)
                    for both in zip(part.samples, part.references, part.points, strict=True)
                ]
                for part in parts
            ]
            values = np.array([[value for value, _ in of_part] for of_part in measured])
            columns = [place for _, place in measured[0]]
            distances[key] = _summed_up(values[0], values[1:], columns, bins, setup)
        result[condition.name] = InBins(bins=bins.ranges(), distances=distances)
    return result


def _summed_up(
    values: Array,
    floors: Array,
    columns: list[int | None] | None,
    bins: Bins,
    setup: Setup[Any],
    *,
    ideal: float = 0.0,
) -> DistanceInBins:
    """The record of a distance in bins: (B, 2) values, (splits, B, 2) floors."""
    worst = int(np.abs(values[:, 0] - ideal).argmax())
    column = columns[worst] if columns else None
    observable = "" if column is None else f"{setup.names[column]}, "
    between = ideal + np.abs(floors[..., 0] - ideal)
    by_bin = floors[0] if len(floors) == 1 else np.stack([floors[..., 0].mean(0), floors[..., 0].std(0)], -1)
    largest = between.argmax(1)
    worst_floor = (
        (float(between[0, largest[0]]), float(floors[0, largest[0], 1]))
        if len(floors) == 1
        else scatter(between.max(1))
    )
    return DistanceInBins(
        value=values.tolist(),
        floor=by_bin.tolist(),
        worst=values[worst].tolist(),
        worst_floor=worst_floor,
        worst_at=observable + bins.words(worst),
    )


def rows(in_bins: Mapping[str, InBins]) -> list[Row]:
    """Make the rows of the verdict, for information."""
    result = []
    for key, title, ideal in (("auc", "Classifier AUC", 0.5), ("ks", IN_BINS["ks"].title, 0.0)):
        for condition, table in in_bins.items():
            distance = table.distances[key]
            result.append(
                row(
                    f"{key}_worst_{condition}",
                    f"{title}, worst bin of {condition}",
                    section="in-bins",
                    value=distance.worst,
                    floor=distance.worst_floor,
                    ideal=ideal,
                    remark=distance.worst_at,
                )
            )
    return [*result, *_withheld(in_bins)]


def _withheld(in_bins: Mapping[str, InBins]) -> list[Row]:
    """Make the rows of the ranges that the training did not see, beside the bins next to them."""
    result = []
    for condition, table in in_bins.items():
        number, distance = table.bins.withheld, table.distances["auc"]
        if number is None:
            continue
        beside = [distance.value[k] for k in (number - 1, number + 1) if 0 <= k < len(distance.value)]
        low, high = table.bins.edges[number]
        result.append(
            row(
                f"auc_withheld_{condition}",
                f"Classifier AUC, {condition} {low:.4g} to {high:.4g}, withheld from the training",
                section="in-bins",
                value=distance.value[number],
                floor=distance.floor[number],
                ideal=0.5,
                remark=f"in the bins beside it: {', '.join(map(format_measurement, beside)) or 'none'}",
            )
        )
    return result
