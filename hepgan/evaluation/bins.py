"""Bins of a condition in which two samples are compared, and the axis along which they are drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hepgan.config import ConditionConfig, DataConfig
from hepgan.evaluation.records import Array, BinRanges
from hepgan.evaluation.sample import Sample
from hepgan.metrics import bin_number, histogram, profile, quantile_edges
from hepgan.metrics.moments import effective_size

__all__ = ["MIN_IN_BIN", "Axis", "Bins", "Pairs", "axes", "number_of_bins"]

MIN_IN_BIN = 30  # effective events of either sample below which a bin is left out
LEAST_IN_BIN = 500  # effective events of either sample in a bin, if there are enough

Pairs = Sequence[tuple[Sample, Sample]]
"""The halves of the reference; the first plays the reference, the second the sample."""


def number_of_bins(sample: Sample, reference: Sample, *, most: int) -> int:
    """Number of bins of a condition: at most `most`, and fewer where there are few events."""
    events = min(effective_size(s.weights) for s in (sample, reference))
    return min(most, max(int(events / LEAST_IN_BIN), 1))


def _condition(sample: Sample, column: int) -> Array:
    return sample.events.conditions[:, column].astype(np.float64)


def _short(value: float) -> str:
    """Four digits, without an exponent below a million."""
    return f"{float(f'{value:.4g}'):g}"


@dataclass(frozen=True)
class Bins:
    """Bins of one condition; those that a sample hardly fills are left out.

    Attributes:
        condition: The condition.
        column: Its column.
        edges: (B + 1,), of all bins.
        used: (B,) whether the bin is used.
        mean: (B,) mean of the condition in the reference.
        withheld: Number of the bin of which the training saw no event (``data.withheld``), if there is one.
    """

    condition: ConditionConfig
    column: int
    edges: Array
    used: NDArray[np.bool_]
    mean: Array
    withheld: int | None = None

    @classmethod
    def of(
        cls,
        data: DataConfig,
        column: int,
        sample: Sample,
        reference: Sample,
        *,
        pairs: Pairs,
        number: int,
    ) -> Bins:
        """Make bins with equal shares of the reference, or one for each category, and one for what was withheld."""
        condition = data.conditions[column]
        x, w = _condition(reference, column), reference.weights
        withheld = None
        if condition.categories:
            codes = np.array(sorted(condition.categories.values()))
            edges = np.concatenate([codes[:1] - 0.5, 0.5 * (codes[1:] + codes[:-1]), codes[-1:] + 0.5])
        else:
            edges = quantile_edges(x, number, weights=w)
            if window := data.withheld.get(condition.name):
                low, high = window[0], float(np.nextafter(window[1], np.inf))
                outside = edges[(edges < low) | (edges > high)]
                if len(outside) and outside[0] < low and high < outside[-1]:
                    edges = np.unique([*outside, low, high])
                    withheld = int(np.searchsorted(edges, low))

        def sums(events: Sample) -> tuple[Array, Array]:
            """Sums of weights and of squared weights in the bins."""
            return histogram(_condition(events, column), edges, weights=events.weights)

        used = np.ones(len(edges) - 1, bool)
        for events in (reference, sample):
            first, second = sums(events)
            used &= first**2 >= MIN_IN_BIN * np.maximum(second, np.finfo(float).tiny)
        for events in (reference, sample, *(half for pair in pairs for half in pair)):
            used &= sums(events)[0] > 0
        return cls(condition, column, edges, used, profile(x, x, edges, weights=w)[:, 0], withheld)

    def of_sample(self, sample: Sample) -> Array:
        """The condition of each event, (N,)."""
        return _condition(sample, self.column)

    def number(self, sample: Sample) -> NDArray[np.intp]:
        """Number of the bin of each event, counting all bins, (N,)."""
        return bin_number(self.of_sample(sample), self.edges)

    def ranges(self) -> BinRanges:
        """The used bins as a record."""
        pairs = np.column_stack([self.edges[:-1], self.edges[1:]])
        return BinRanges(
            edges=pairs[self.used].tolist(),
            mean=self.mean[self.used].tolist(),
            left_out=int((~self.used).sum()),
            withheld=self._withheld_of_used(),
        )

    def _withheld_of_used(self) -> int | None:
        """Number of the withheld bin among the used ones."""
        if self.withheld is None or not self.used[self.withheld]:
            return None
        return int(self.used[: self.withheld].sum())

    def words(self, number: int) -> str:
        """One of the used bins in words."""
        low, high = np.column_stack([self.edges[:-1], self.edges[1:]])[self.used][number]
        names = [name for name, code in self.condition.categories.items() if low < code < high]
        unit = f" {self.condition.unit}" if self.condition.unit else ""
        words = f"{self.condition.name} {names[0] if names else f'{_short(low)} to {_short(high)}{unit}'}"
        return f"{words}, withheld" if number == self._withheld_of_used() else words


@dataclass(frozen=True)
class Axis:
    """The axis of a condition: label, places of the bins, names of categories, and the range that was withheld."""

    name: str
    label: str
    x: Array
    logarithmic: bool
    ticks: list[str] | None
    withheld: tuple[float, float] | None = None


def axes(conditions: Sequence[ConditionConfig], bins: Mapping[str, BinRanges]) -> Iterator[Axis]:
    """Give the axis of each condition that has bins."""
    for condition in conditions:
        ranges = bins.get(condition.name)
        if ranges is None:
            continue
        label = condition.name + (f" [{condition.unit}]" if condition.unit else "")
        x, ticks = np.asarray(ranges.mean), None
        if condition.categories:
            ticks = [
                name
                for low, high in ranges.edges
                for name, code in condition.categories.items()
                if low < code < high
            ]
            x = np.arange(len(ticks), dtype=np.float64)
        withheld = None if ranges.withheld is None else ranges.edges[ranges.withheld]
        yield Axis(condition.name, label, x, condition.transform == "log", ticks, withheld)
