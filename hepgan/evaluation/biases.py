"""A quantity of both samples in bins, its relative difference, and the floor of the largest one.

Bins are masks of the events, one each. Biases are sample / reference - 1; their floors are the mean of the absolute
value between halves of the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hepgan.evaluation.closures import Biases
from hepgan.evaluation.records import Array, Number, Numbers
from hepgan.evaluation.sample import Halves, scatter
from hepgan.metrics import mean, relative_difference
from hepgan.metrics.moments import Measurement

__all__ = [
    "Binned",
    "Statistic",
    "bias",
    "bias_floor",
    "biases",
    "by_bin",
    "differences",
    "largest",
    "worst_floor",
]

Statistic = Callable[[Array, Array], Measurement | None]
"""Takes values and weights (N,) each; None where it is not defined."""
Masks = Sequence[NDArray[np.bool_]]


class Binned(NamedTuple):
    """A quantity of a sample, and the bins of its events.

    Attributes:
        values: (N,).
        weights: (N,).
        inside: For each bin whether an event is in it, (N,).
    """

    values: Array
    weights: Array
    inside: Masks

    def __call__(self, statistic: Statistic = mean) -> list[Measurement | None]:
        """The statistic in each bin; None where it is not defined."""
        return by_bin(*self, statistic)

    def part(self, index: NDArray[np.int64]) -> Binned:
        """Some of the events."""
        return Binned(self.values[index], self.weights[index], [mask[index] for mask in self.inside])


def by_bin(values: Array, weights: Array, inside: Masks, statistic: Statistic) -> list[Measurement | None]:
    """The statistic in each bin; None where it is not defined."""
    return [statistic(values[i], weights[i]) if weights[i].sum() > 0 else None for i in inside]


def bias(value: Measurement, reference: Measurement) -> Number | None:
    """Relative difference; None if the reference is zero."""
    difference = relative_difference(value, reference)
    return None if difference is None else Number(*difference)


def _relative(values: Sequence[Measurement | None], reference: Sequence[Measurement | None]) -> Numbers:
    """Relative difference in each bin; None where it is not defined."""
    pairs = zip(values, reference, strict=True)
    return [None if value is None or other is None else bias(value, other) for value, other in pairs]


def differences(values: Sequence[Measurement | None], reference: Sequence[Measurement | None]) -> Numbers:
    """Difference in each bin; None where it is not defined."""
    return [
        None if a is None or b is None else Number(a[0] - b[0], float(np.hypot(a[1], b[1])))
        for a, b in zip(values, reference, strict=True)
    ]


def largest(numbers: Numbers) -> Number | None:
    """The number of largest absolute value."""
    return max((n for n in numbers if n is not None), key=lambda n: abs(n.value), default=None)


def bias_floor(values: Array, weights: Array, halves: Halves) -> Measurement | None:
    """Size of the bias of the mean between halves of the reference."""
    found = [bias(mean(values[b], weights[b]), mean(values[a], weights[a])) for a, b in halves]
    defined = [abs(one.value) for one in found if one is not None]
    return scatter(defined) if defined else None


def worst_floor(
    reference: Binned,
    halves: Halves,
    *,
    statistic: Statistic = mean,
    compared: Literal["relative", "difference"] = "relative",
) -> Measurement | None:
    """Size of the largest number in the bins, between halves of the reference."""
    compare = _relative if compared == "relative" else differences
    sizes = []
    for a, b in halves:
        worst = largest(compare(reference.part(b)(statistic), reference.part(a)(statistic)))
        if worst is not None:
            sizes.append(abs(worst.value))
    return scatter(sizes) if sizes else None


def biases(sample: Binned, reference: Binned, *, statistic: Statistic = mean, halves: Halves) -> Biases:
    """Compare a statistic in bins."""
    second, first = sample(statistic), reference(statistic)
    found = _relative(second, first)
    return Biases(
        sample=second,
        reference=first,
        bias=found,
        worst=largest(found),
        worst_floor=worst_floor(reference, halves, statistic=statistic),
    )
