"""Conditions outside the trained range: refused, clamped, skipped or extrapolated, and counted.

The same actions as ``hepgan::Options::out_of_range`` in C++, where the first one is called ``fail``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from hepgan.errors import ConditionRangeError
from hepgan.inference.metadata import Condition

__all__ = ["Excursions", "OutOfRange", "chosen"]

Float32 = NDArray[np.float32]
OutOfRange = Literal["error", "clamp", "skip", "extrapolate"]
"""Refuse all rows; move the condition to the nearest end of its range; leave the row out; generate it outside."""

_SKIP = "; --out-of-range skip leaves such rows out"
_DONE = {"clamp": "clamped to the nearest end", "skip": "skipped", "extrapolate": "extrapolated"}


def chosen(out_of_range: OutOfRange, *, extrapolate: bool) -> OutOfRange:
    """The action for two options that may name it.

    Raises:
        ValueError: If there is no such action, or if the options contradict each other.
    """
    if out_of_range not in get_args(OutOfRange):
        raise ValueError(
            f"out_of_range: expected one of {[*get_args(OutOfRange)]}, got {out_of_range!r}; choose one"
        )
    if extrapolate and out_of_range in ("clamp", "skip"):
        raise ValueError(
            f"out_of_range: expected one action, got {out_of_range!r} and extrapolate; leave one out"
        )
    return "extrapolate" if extrapolate else out_of_range


@dataclass
class Excursions:
    """Applies an action to rows of conditions, and counts.

    Args:
        conditions: Conditions of the model.
        action: What to do with values outside the trained range. A category that is not known can only be refused or
            skipped, a number with which the network cannot compute cannot be extrapolated, NaN cannot be clamped.
        rows: Name of the rows, for messages.

    Attributes:
        n: Number of rows so far.
        outside: Of each condition that was outside: number of rows, smallest and largest value.
    """

    conditions: Sequence[Condition]
    action: OutOfRange
    rows: str = "rows"
    n: int = 0
    outside: dict[str, tuple[int, float, float]] = field(default_factory=dict)

    def admit(self, condition: Float32) -> tuple[Float32, NDArray[np.int64]]:
        """Apply the action to the next rows.

        Args:
            condition: (B, n_conditions), physical units.

        Returns:
            The conditions to generate at, (N, n_conditions), and their rows, (N,), among all rows so far; N < B if
            rows are skipped.

        Raises:
            ConditionRangeError: Naming the first condition that is refused.
        """
        kept = np.ones(len(condition), np.bool_)
        admitted = condition
        for k, c in enumerate(self.conditions):
            values = condition[:, k]
            outside = ~c.accepts(values)
            if not outside.any():
                continue
            self._refuse(c, values, outside)
            if self.action == "skip":
                kept &= ~outside
            elif self.action == "clamp":
                admitted = admitted.copy() if admitted is condition else admitted
                admitted[:, k] = values.clip(np.float32(c.low), np.float32(c.high))
            number, low, high = self.outside.get(c.name, (0, np.nan, np.nan))
            self.outside[c.name] = (
                number + int(outside.sum()),
                float(np.fmin.reduce(values[outside], initial=low)),
                float(np.fmax.reduce(values[outside], initial=high)),
            )
        rows = np.flatnonzero(kept)
        admitted = admitted[rows] if len(rows) < len(kept) else admitted
        self.n += len(condition)
        return admitted, rows + (self.n - len(condition))

    def _refuse(self, c: Condition, values: Float32, outside: NDArray[np.bool_]) -> None:
        """Stop at values outside the range for which the action is not possible."""
        possible = np.isfinite(values) & ((values > 0) | (c.transform != "log"))
        bad = outside
        if self.action == "skip":
            return
        if not c.categories and self.action == "extrapolate":
            bad = outside & ~possible
        elif not c.categories and self.action == "clamp":
            bad = outside & np.isnan(values)
        if not bad.any():
            return
        row = int(np.argmax(bad))
        remedy = "stay inside, or choose --out-of-range clamp, skip or extrapolate (in code: out_of_range)"
        if c.categories:
            remedy = f"the generator was trained with no other{_SKIP}"
        elif not possible[row]:
            clamp = "" if np.isnan(values[row]) else ", clamp moves them to the nearest end of the range"
            remedy = (
                "extrapolation needs a finite number, and a positive one where the logarithm is taken"
                f"{_SKIP}{clamp}"
            )
        raise ConditionRangeError(
            f"condition {c.name!r}: expected {c.expected}, got {values[row]:g}{c.unit and ' '}{c.unit} in row "
            f"{self.n + row}; {remedy}"
        )

    def sentences(self) -> list[str]:
        """What was done, in a sentence for each condition that was outside."""
        by_name = {condition.name: condition for condition in self.conditions}
        return [
            f"condition {name!r}: {number} of {self.n} {self.rows} {_DONE[self.action]}: expected "
            f"{by_name[name].expected}, got {low:g}{f' to {high:g}' if high > low else ''}"
            for name, (number, low, high) in self.outside.items()
        ]
