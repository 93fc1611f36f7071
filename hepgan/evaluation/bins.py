"""Bins of a condition, in which two samples are compared, and the axis along which they are drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hepgan.config import ConditionConfig
from hepgan.evaluation.sample import Sample
from hepgan.metrics import bin_number, histogram, profile, quantile_edges

__all__ = ["MIN_IN_BIN", "Axis", "Bins", "Pairs", "axes"]

MIN_IN_BIN = 30  # effective events of either sample below which a bin is left out

Array = NDArray[np.float64]
Json = dict[str, Any]
Pairs = Sequence[tuple[Sample, Sample]]
"""The halves of the reference."""


def _condition(sample: Sample, column: int) -> Array:
    return sample.events.conditions[:, column].astype(np.float64)


def _short(value: float) -> str:
    """Four digits, without an exponent below a million."""
    return f"{float(f'{value:.4g}'):g}"


@dataclass(frozen=True)
class Bins:
    """Bins of one condition; those that a sample hardly fills are left out.

    Attributes:
        condition: Which one.
        column: Its column.
        edges: (B + 1,), of all bins.
        used: (B,) whether the bin is used.
        mean: (B,) mean of the condition in the reference.
    """

    condition: ConditionConfig
    column: int
    edges: Array
    used: NDArray[np.bool_]
    mean: Array

    @classmethod
    def of(
        cls,
        condition: ConditionConfig,
        column: int,
        reference: Sample,
        sample: Sample,
        *,
        pairs: Pairs,
        number: int,
    ) -> Bins:
        """Bins with equal shares of the reference, or one for each category."""
        x, w = _condition(reference, column), reference.weights
        if condition.categories:
            codes = np.array(sorted(condition.categories.values()))
            edges = np.concatenate([codes[:1] - 0.5, 0.5 * (codes[1:] + codes[:-1]), codes[-1:] + 0.5])
        else:
            edges = quantile_edges(x, number, weights=w)

        def sums(which: Sample, power: int = 1) -> Array:
            return histogram(_condition(which, column), edges, weights=which.weights)[power - 1]

        used = np.ones(len(edges) - 1, bool)
        for which in (reference, sample):
            used &= sums(which) ** 2 >= MIN_IN_BIN * np.maximum(sums(which, 2), np.finfo(float).tiny)
        for which in (reference, sample, *(half for pair in pairs for half in pair)):
            used &= sums(which) > 0
        return cls(condition, column, edges, used, profile(x, x, edges, weights=w)[:, 0])

    def of_sample(self, sample: Sample) -> Array:
        """The condition of each track, (N,)."""
        return _condition(sample, self.column)

    def number(self, sample: Sample) -> NDArray[np.intp]:
        """In which of all bins each event is, (N,)."""
        return bin_number(self.of_sample(sample), self.edges)

    def plain(self) -> Json:
        """What ``metrics.json`` says of them."""
        pairs = np.column_stack([self.edges[:-1], self.edges[1:]])
        return {
            "edges": pairs[self.used].tolist(),
            "mean": self.mean[self.used].tolist(),
            "left_out": int((~self.used).sum()),
        }

    def words(self, number: int) -> str:
        """One of the used bins in words."""
        low, high = np.column_stack([self.edges[:-1], self.edges[1:]])[self.used][number]
        names = [name for name, code in self.condition.categories.items() if low < code < high]
        unit = f" {self.condition.unit}" if self.condition.unit else ""
        return f"{self.condition.name} {names[0] if names else f'{_short(low)} to {_short(high)}{unit}'}"


@dataclass(frozen=True)
class Axis:
    """The axis of a condition: label, places of the bins, and the names of categories."""

    name: str
    label: str
    x: Array
    logarithmic: bool
    ticks: list[str] | None


def axes(conditions: Sequence[ConditionConfig], bins: Json) -> Iterator[Axis]:
    """The conditions that have bins in a table of ``metrics.json``."""
    for condition in conditions:
        found = bins.get(condition.name)
        if found is None:
            continue
        label = condition.name + (f" [{condition.unit}]" if condition.unit else "")
        x, ticks = np.asarray(found["mean"]), None
        if condition.categories:
            ticks = [
                name
                for low, high in found["edges"]
                for name, code in condition.categories.items()
                if low < code < high
            ]
            x = np.arange(len(ticks), dtype=np.float64)
        yield Axis(condition.name, label, x, condition.transform == "log", ticks)
