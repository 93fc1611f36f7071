"""Distances between samples as a whole: all observables and conditions together.

A model may be right in each observable and wrong in their correlations; the distances of `JOINT` detect this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hepgan.evaluation.records import Array, Compared
from hepgan.evaluation.sample import Halves, Sample, Setup, Step, scatter
from hepgan.evaluation.verdict import Row, row
from hepgan.metrics import (
    earth_movers_distance,
    frechet_physics_distance,
    kernel_physics_distance,
    mean,
    mmd,
    sliced_wasserstein,
    spread,
    wasserstein_critic,
)
from hepgan.metrics.frechet import KERNEL_SIZE, LARGEST_SIZE, SMALLEST_SIZE
from hepgan.metrics.moments import Measurement

__all__ = ["JOINT", "JOINT_SPLITS", "JointDistance", "Points", "in_spreads", "measure_joint", "rows"]

MOST_SPREADS = 10.0  # values are clipped here; otherwise a sentinel at -999 would dominate every distance
JOINT_SPLITS = 3  # halvings of the reference behind a floor; one if it has to be fast
EVENTS_A_STEP = 10  # of either sample, for each step of the critic
CRITIC_STEPS = (200, 1000)  # least and most


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
class JointDistance:
    """One distance between samples as a whole.

    Attributes:
        title: Name in the report.
        measure: Takes the sample, the reference and a source of random numbers.
        thorough: Whether ``evaluation.fast`` leaves it out.
        binned: Whether it is measured in bins of conditions too.
        unit: Unit of the distance; empty for a pure number.
        remark: Hint for the reader.
        axis: Name on the axis of a figure.
    """

    title: str
    measure: Callable[[Points, Points, np.random.Generator], Measurement]
    thorough: bool = False
    binned: bool = False
    unit: str = ""
    remark: str = ""
    axis: str = ""


def _weighted(metric: Callable[..., Any], **options: Any) -> Callable[..., Measurement]:
    """Make a metric of arrays and weights take points."""

    def measure(sample: Points, reference: Points, rng: np.random.Generator) -> Measurement:
        result = metric(
            sample.values,
            reference.values,
            rng=rng,
            sample_weights=sample.weights,
            reference_weights=reference.weights,
            **options,
        )
        measurement: Measurement = getattr(result, "measurement", result)
        return measurement

    return measure


def _frechet(sample: Points, reference: Points, rng: np.random.Generator) -> Measurement:
    """FPD, extrapolated from JetNet's sizes, or from smaller ones where there are fewer events."""
    n = min(len(reference), len(sample))
    sizes = {"smallest_size": min(SMALLEST_SIZE, n), "largest_size": min(LARGEST_SIZE, 3 * n)}
    return _weighted(frechet_physics_distance, **sizes)(sample, reference, rng)


def _kernel(sample: Points, reference: Points, rng: np.random.Generator) -> Measurement:
    """KPD with JetNet's batches, or smaller ones where there are fewer events."""
    size = min(KERNEL_SIZE, min(len(reference), len(sample)) // 2)
    return _weighted(kernel_physics_distance, size=size)(sample, reference, rng)


def _critic(sample: Points, reference: Points, rng: np.random.Generator) -> Measurement:
    """Wasserstein critic, with fewer steps where there are fewer events."""
    events = min(len(reference), len(sample))
    steps = int(np.clip(events / EVENTS_A_STEP, *CRITIC_STEPS))
    return _weighted(wasserstein_critic, steps=steps)(sample, reference, rng)


JOINT: dict[str, JointDistance] = {
    "sliced_wasserstein": JointDistance(
        "Sliced Wasserstein distance",
        _weighted(sliced_wasserstein),
        binned=True,
        unit="spreads",
        remark="in spreads, mean of random directions",
        axis="sliced W [spreads]",
    ),
    "mmd": JointDistance(
        "Maximum mean discrepancy, squared",
        _weighted(mmd),
        binned=True,
        remark="Gaussian kernels",
        axis="MMD²",
    ),
    "fpd": JointDistance("Fréchet physics distance (FPD)", _frechet, remark="assumes Gaussians"),
    "kpd": JointDistance("Kernel physics distance (KPD)", _kernel),
    "emd": JointDistance(
        "Earth mover's distance",
        _weighted(earth_movers_distance),
        thorough=True,
        unit="spreads",
        remark="of subsets: large by itself, compare with the floor",
    ),
    "critic": JointDistance(
        "Wasserstein distance, independent critic",
        _critic,
        thorough=True,
        unit="spreads",
        remark="of a critic that no generator was trained against",
    ),
}
"""The distances, in the order of the report."""


def in_spreads(sample: Sample, reference: Sample, setup: Setup[Any]) -> tuple[Points, Points]:
    """Observables and conditions of the sample and of the reference, in spreads of the reference."""
    columns = [reference.observed(k) for k in range(len(setup.names))]
    columns += [(c.astype(np.float64), reference.weights) for c in reference.events.conditions.T]
    centre = np.array([mean(*column)[0] for column in columns])
    scale = np.array([spread(*column)[0] for column in columns])
    scale = np.where(scale > 0, scale, 1.0)

    def points(events: Sample) -> Points:
        values = (setup.classifier_inputs(events) - centre) / scale
        return Points(np.clip(values, -MOST_SPREADS, MOST_SPREADS), events.weights)

    return points(sample), points(reference)


def measure_joint(
    sample: Sample,
    reference: Sample,
    setup: Setup[Any],
    *,
    halves: Halves,
    rng: np.random.Generator,
    step: Step,
) -> dict[str, Compared]:
    """Measure the distances of `JOINT`, each with its floor.

    Args:
        sample: The sample to judge.
        reference: The sample that is right.
        setup: The kind of data and settings.
        halves: Halvings of the reference.
        rng: Source of random numbers.
        step: Called with the name of each step.
    """
    second, first = in_spreads(sample, reference, setup)
    result = {}
    for key, distance in JOINT.items():
        if distance.thorough and setup.config.fast:
            continue
        step(distance.title)
        try:
            value = distance.measure(second, first, rng)
            floors = [
                distance.measure(first[b], first[a], rng)
                for a, b in halves[: 1 if distance.thorough or setup.config.fast else JOINT_SPLITS]
            ]
        except ValueError as error:  # negative weights, too few events: the others can still be measured
            result[key] = Compared(value=None, floor=None, reason=str(error))
            continue
        floor = floors[0] if len(floors) == 1 else scatter([v for v, _ in floors])
        result[key] = Compared(value=value, floor=floor)
    return result


def rows(joint: Mapping[str, Compared]) -> list[Row]:
    """Make the rows of the verdict, for information."""
    return [
        row(
            key,
            JOINT[key].title,
            section="joint",
            value=distance.value,
            floor=distance.floor,
            unit=JOINT[key].unit,
            remark=distance.reason or JOINT[key].remark,
        )
        for key, distance in joint.items()
    ]
