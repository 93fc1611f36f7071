"""Distances between samples as a whole: all observables and conditions together, and everything again in bins.

A model may be right in each observable and wrong in how they hang together, or right on average and wrong at the ends
of a condition. `JOINT` is the table of distances that see the first; `in_bins` measures in bins of each condition.

Keys of ``metrics.json``:

* ``joint.<key>`` for each row of `JOINT`: ``value`` and ``floor`` (halves of the reference); null where the row
  could not be measured, with ``reason``;
* ``in_bins.<condition>``: ``bins`` (``edges``, ``mean``, ``left_out``) and for ``auc`` and each of `IN_BINS` ``value``
  and ``floor`` by bin, ``worst``, ``worst_floor`` and ``worst_at`` (in words). Where a distance is of single
  observables, it is that of the worst one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hepgan.evaluation.bins import Bins
from hepgan.evaluation.sample import Halves, Sample, Setup, Step, row, scatter
from hepgan.metrics import (
    TwoSampleTest,
    area_under_curve,
    earth_movers_distance,
    frechet_physics_distance,
    kernel_physics_distance,
    ks_distance,
    mean,
    mmd,
    separation_power,
    sliced_wasserstein,
    spread,
    wasserstein,
    wasserstein_critic,
)
from hepgan.metrics.frechet import KERNEL_SIZE, LARGEST_SIZE, SMALLEST_SIZE
from hepgan.metrics.moments import Measurement, effective_size

__all__ = ["IN_BINS", "JOINT", "Joint", "Points", "in_bins", "joint", "rows"]

MOST_SPREADS = 10.0  # further out counts as this far: a sentinel at -999 would be all that a distance sees
JOINT_SPLITS = 3  # halvings of the reference behind a floor; one if it has to be fast
EVENTS_A_STEP = 10  # of either sample, for each step of the critic
CRITIC_STEPS = (200, 1000)  # least and most
BIN_EVENTS = 5000  # of either sample: what a distance of all observables takes of a bin
LEAST_IN_BIN = 500  # effective events of either sample, if they are to be had
COARSE_BINS = 20  # of a histogram in a bin of a condition
BIN_REPLICAS = 10  # of the bootstrap in a bin of a condition

Array = NDArray[np.float64]
Json = dict[str, Any]


@dataclass(frozen=True)
class Points:
    """Observables and conditions in spreads of the reference.

    Attributes:
        values: (N, F).
        weights: (N,).
    """

    values: Array
    weights: Array

    def __getitem__(self, index: NDArray[Any] | slice) -> Points:
        return Points(self.values[index], self.weights[index])

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Joint:
    """One distance between samples as a whole.

    Attributes:
        title: What it is called.
        measure: From the reference, the sample and a source of random numbers.
        thorough: Whether ``evaluation.fast`` leaves it out.
        binned: Whether it is measured in bins of conditions too.
        remark: What it sees.
        axis: Its name on the axis of a figure.
    """

    title: str
    measure: Callable[[Points, Points, np.random.Generator], Measurement]
    thorough: bool = False
    binned: bool = False
    remark: str = ""
    axis: str = ""


def _weighted(metric: Callable[..., Any], **options: Any) -> Callable[..., Measurement]:
    """The metric with points for arguments."""

    def measure(reference: Points, sample: Points, rng: np.random.Generator) -> Measurement:
        result = metric(
            sample.values,
            reference.values,
            rng=rng,
            sample_weights=sample.weights,
            reference_weights=reference.weights,
            **options,
        )
        found: Measurement = getattr(result, "measurement", result)
        return found

    return measure


def _frechet(reference: Points, sample: Points, rng: np.random.Generator) -> Measurement:
    """FPD, extrapolated from JetNet's sizes, or from smaller ones where there are fewer events."""
    n = min(len(reference), len(sample))
    sizes = {"smallest_size": min(SMALLEST_SIZE, n), "largest_size": min(LARGEST_SIZE, 3 * n)}
    return _weighted(frechet_physics_distance, **sizes)(reference, sample, rng)


def _kernel(reference: Points, sample: Points, rng: np.random.Generator) -> Measurement:
    """KPD with JetNet's batches, or smaller ones where there are fewer events."""
    size = min(KERNEL_SIZE, min(len(reference), len(sample)) // 2)
    return _weighted(kernel_physics_distance, size=size)(reference, sample, rng)


def _critic(reference: Points, sample: Points, rng: np.random.Generator) -> Measurement:
    """The critic, with fewer steps where there is less to learn from."""
    events = min(len(reference), len(sample))
    steps = int(np.clip(events / EVENTS_A_STEP, *CRITIC_STEPS))
    return _weighted(wasserstein_critic, steps=steps)(reference, sample, rng)


JOINT: dict[str, Joint] = {
    "sliced_wasserstein": Joint(
        "Sliced Wasserstein distance",
        _weighted(sliced_wasserstein),
        binned=True,
        remark="in spreads, mean of random directions",
        axis="sliced W [spreads]",
    ),
    "mmd": Joint(
        "Maximum mean discrepancy, squared",
        _weighted(mmd),
        binned=True,
        remark="Gaussian kernels",
        axis="MMD²",
    ),
    "fpd": Joint("Fréchet physics distance (FPD)", _frechet, remark="assumes Gaussians"),
    "kpd": Joint("Kernel physics distance (KPD)", _kernel),
    "emd": Joint(
        "Earth mover's distance",
        _weighted(earth_movers_distance),
        thorough=True,
        remark="of subsets: large by itself, compare with the floor",
    ),
    "critic": Joint(
        "Wasserstein distance, independent critic",
        _critic,
        thorough=True,
        remark="of a critic that no generator was trained against",
    ),
}
"""The distances, in the order of the report."""


def _points(reference: Sample, sample: Sample, setup: Setup) -> tuple[Points, Points]:
    """Both samples in spreads of the reference."""
    columns = [reference.observed(k) for k in range(len(setup.names))]
    columns += [(c.astype(np.float64), reference.weights) for c in reference.events.conditions.T]
    centre = np.array([mean(*column)[0] for column in columns])
    scale = np.array([spread(*column)[0] for column in columns])
    scale = np.where(scale > 0, scale, 1.0)

    def points(which: Sample) -> Points:
        return Points(
            np.clip((setup.looked_at(which) - centre) / scale, -MOST_SPREADS, MOST_SPREADS), which.weights
        )

    return points(reference), points(sample)


def joint(
    reference: Sample,
    sample: Sample,
    setup: Setup,
    *,
    halves: Halves,
    rng: np.random.Generator,
    step: Step,
) -> Json:
    """The distances of `JOINT`, each with its floor.

    Args:
        reference: What is right.
        sample: What is judged.
        setup: The kind of data and settings.
        halves: Halvings of the reference.
        rng: Source of everything random.
        step: Called with the name of each step.
    """
    first, second = _points(reference, sample, setup)
    result: Json = {}
    for key, distance in JOINT.items():
        if distance.thorough and setup.config.fast:
            continue
        step(distance.title)
        try:
            value = distance.measure(first, second, rng)
            floors = [
                distance.measure(first[a], first[b], rng)
                for a, b in halves[: 1 if distance.thorough or setup.config.fast else JOINT_SPLITS]
            ]
        except ValueError as error:  # negative weights, too few events: the others can still be measured
            result[key] = {"value": None, "floor": None, "reason": str(error)}
            continue
        floor = floors[0] if len(floors) == 1 else scatter([v for v, _ in floors])
        result[key] = {"value": value, "floor": floor}
    return result


@dataclass(frozen=True)
class InBins:
    """One distance that is measured in bins of each condition.

    Attributes:
        title: What it is called.
        axis: The same, short enough for the axis of a figure.
        measure: From reference and sample in a bin, their points, and a source of random numbers: the distance, and
            the column of the observable that it is of, if it is of one.
        thorough: Whether ``evaluation.fast`` leaves it out.
    """

    title: str
    axis: str
    measure: Callable[
        [Sample, Sample, tuple[Points, Points], np.random.Generator], tuple[Measurement, int | None]
    ]
    thorough: bool = True


def _largest(metric: Callable[..., Measurement]) -> Any:
    """The metric of the observable in which it is largest."""

    def measure(
        reference: Sample, sample: Sample, points: tuple[Points, Points], rng: np.random.Generator
    ) -> tuple[Measurement, int | None]:
        found = []
        for k in range(reference.features.shape[1]):
            (x, u), (y, v) = (which.observed(k) for which in (reference, sample))
            found.append((metric(y, x, rng=rng, sample_weights=v, reference_weights=u), k))
        return max(found)

    return measure


def _separation(*samples: Array, **options: Any) -> Measurement:
    return separation_power(*samples, bins=COARSE_BINS, n_bootstrap=BIN_REPLICAS, **options)


def _in_spreads(
    sample: Array,
    reference: Array,
    *,
    rng: np.random.Generator,
    reference_weights: Array,
    sample_weights: Array,
) -> Measurement:
    """Wasserstein distance in spreads of the reference; 0 where it has none."""
    size = spread(reference, reference_weights)[0]
    value, uncertainty = wasserstein(
        sample, reference, reference_weights=reference_weights, sample_weights=sample_weights
    )
    return (value / size, uncertainty / size) if size > 0 else (0.0, 0.0)


def _all_together(distance: Joint) -> Any:
    """A row of `JOINT` on at most `BIN_EVENTS` events."""

    def measure(
        reference: Sample, sample: Sample, points: tuple[Points, Points], rng: np.random.Generator
    ) -> tuple[Measurement, int | None]:
        first, second = (
            p if len(p) <= BIN_EVENTS else p[rng.choice(len(p), BIN_EVENTS, replace=False)] for p in points
        )
        return distance.measure(first, second, rng), None

    return measure


IN_BINS: dict[str, InBins] = {
    "ks": InBins(
        "KS distance of the worst observable",
        "KS, worst observable",
        _largest(lambda *samples, rng, **weights: ks_distance(*samples, **weights)),
        thorough=False,
    ),
    "separation": InBins(
        "Separation power of the worst observable", "separation, worst observable", _largest(_separation)
    ),
    "wasserstein": InBins(
        "Wasserstein distance of the worst observable, in spreads",
        "W, worst observable [spreads]",
        _largest(_in_spreads),
    ),
    **{
        key: InBins(distance.title, distance.axis, _all_together(distance))
        for key, distance in JOINT.items()
        if distance.binned
    },
}
"""What is measured in bins, beside the area under the classifier's ROC curve (``auc``)."""


@dataclass(frozen=True)
class _Cut:
    """Two samples in the bins of a condition, with their points and the classifier's scores."""

    samples: tuple[list[Sample], list[Sample]]
    points: tuple[list[Points], list[Points]]


def _split(bins: Bins, samples: tuple[Sample, Sample], points: tuple[Points, Points]) -> _Cut:
    numbers = [bins.number(which) for which in samples]
    used = np.flatnonzero(bins.used)

    def parts(things: tuple[Any, Any]) -> Any:
        return tuple(
            [thing[number == k] for k in used] for thing, number in zip(things, numbers, strict=True)
        )

    return _Cut(parts(samples), parts(points))


def _areas(bins: Bins, samples: tuple[Sample, Sample], test: TwoSampleTest) -> Array:
    """Area under the curve of the events in each used bin, with the scores of the classifier of all, (B, 2)."""
    numbers = [bins.number(which) for which in samples]
    scores = (test.reference_scores, test.sample_scores)
    found = []
    for k in np.flatnonzero(bins.used):
        (s1, w1), (s2, w2) = (
            (score[number == k], which.weights[number == k])
            for score, number, which in zip(scores, numbers, samples, strict=True)
        )
        found.append(area_under_curve(s2, s1, reference_weights=w1, sample_weights=w2))
    return np.array(found)


def in_bins(
    reference: Sample,
    sample: Sample,
    setup: Setup,
    *,
    tests: tuple[TwoSampleTest, TwoSampleTest],
    halves: Halves,
    rng: np.random.Generator,
    step: Step,
) -> Json:
    """Every distance in bins of each condition, with its floor.

    Args:
        reference: What is right.
        sample: What is judged.
        setup: The kind of data and settings.
        tests: The classifier between the samples, and the one between the first of the halves.
        halves: Halvings of the reference.
        rng: Source of everything random.
        step: Called with the name of each step.
    """
    first, second = reference.bare(), sample.bare()
    points = _points(first, second, setup)
    pairs = [(first[a], first[b]) for a, b in halves[:JOINT_SPLITS]]
    of_pairs = [(points[0][a], points[0][b]) for a, b in halves[:JOINT_SPLITS]]
    events = min(effective_size(which.weights) for which in (first, second))
    result: Json = {}
    for column, condition in enumerate(setup.data.conditions):
        number = min(setup.config.condition_bins, max(int(events / LEAST_IN_BIN), 1))
        bins = Bins.of(condition, column, first, second, pairs=pairs, number=number)
        if not bins.used.any():
            continue
        step(f"in bins of {condition.name}")
        found: Json = {"bins": bins.plain()}
        areas, floors = _areas(bins, (first, second), tests[0]), _areas(bins, pairs[0], tests[1])
        found["auc"] = _entry(areas, floors[None], None, bins, setup, ideal=0.5)
        cuts = [
            _split(bins, *both) for both in zip([(first, second), *pairs], [points, *of_pairs], strict=True)
        ]
        for key, metric in IN_BINS.items():
            if metric.thorough and setup.config.fast:
                continue
            measured = [
                [
                    metric.measure(a, b, (p, q), rng)
                    for a, b, p, q in zip(*cut.samples, *cut.points, strict=True)
                ]
                for cut in cuts
            ]
            values = np.array([[value for value, _ in of_cut] for of_cut in measured])
            found[key] = _entry(values[0], values[1:], [c for _, c in measured[0]], bins, setup)
        result[condition.name] = found
    return result


def _entry(
    values: Array,
    floors: Array,
    columns: list[int | None] | None,
    bins: Bins,
    setup: Setup,
    *,
    ideal: float = 0.0,
) -> Json:
    """What ``metrics.json`` says of a distance in bins: (B, 2) values, (splits, B, 2) floors."""
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
    return {
        "value": values.tolist(),
        "floor": by_bin.tolist(),
        "worst": tuple(values[worst].tolist()),
        "worst_floor": worst_floor,
        "worst_at": observable + bins.words(worst),
    }


def rows(metrics: Json) -> list[Json]:
    """Rows of the verdict, for information."""
    found = [
        row(
            key,
            JOINT[key].title,
            section="joint",
            value=numbers["value"],
            floor=numbers["floor"],
            remark=numbers.get("reason", JOINT[key].remark),
        )
        for key, numbers in metrics["joint"].items()
    ]
    for key, title in (("auc", "Classifier AUC"), ("ks", IN_BINS["ks"].title)):
        for condition, table in metrics["in_bins"].items():
            found.append(
                row(
                    f"{key}_worst_{condition}",
                    f"{title}, worst bin of {condition}",
                    section="in-bins",
                    value=table[key]["worst"],
                    floor=table[key]["worst_floor"],
                    remark=table[key]["worst_at"],
                )
            )
    return found
