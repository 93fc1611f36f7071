"""Building blocks of typed results: a number with its uncertainty, and the same quantity in both samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict

__all__ = [
    "Array",
    "BinRanges",
    "Compared",
    "Curves",
    "Number",
    "Numbers",
    "Pair",
    "Record",
    "number",
    "numbers",
    "to_array",
]

Array = NDArray[np.float64]


class Number(NamedTuple):
    """A measured number; ``[value, uncertainty]`` in JSON."""

    value: float
    uncertainty: float
    """One standard deviation."""


Numbers = list[Number | None]
"""Numbers in bins; None where a bin has none."""


class Record(BaseModel):
    """A part of the results: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Pair(Record):
    """A number of the sample and of the reference."""

    sample: Number
    reference: Number


class Curves(Record):
    """Numbers of the sample and of the reference, one for each bin."""

    sample: Numbers
    reference: Numbers


class Compared(Record):
    """A number that compares the two samples."""

    value: Number | None
    """Null if it could not be measured."""
    floor: Number | None
    """The same number between two halves of the reference."""
    reason: str | None = None
    """Why it could not be measured."""


class BinRanges(Record):
    """Bins of a condition, without those that a sample hardly fills."""

    edges: list[tuple[float, float]]
    mean: list[float]
    """Mean of the condition in each bin, in the reference."""
    left_out: int
    """Number of bins that are left out."""
    withheld: int | None = None
    """Number, from 0, of the bin of which the training saw no event (``data.withheld``); null if there is none."""


def number(value: ArrayLike, uncertainty: ArrayLike) -> Number | None:
    """Make a number of two floats; None if one of them is not finite."""
    pair = Number(float(np.asarray(value)), float(np.asarray(uncertainty)))
    return pair if np.isfinite(pair).all() else None


def numbers(values: ArrayLike, uncertainties: ArrayLike) -> Numbers:
    """Make a list of numbers from values (B,) and uncertainties (B,); None where one is not finite."""
    return [number(*pair) for pair in zip(np.asarray(values), np.asarray(uncertainties), strict=True)]


def to_array(values: Sequence[Number | None]) -> Array:
    """Values and uncertainties as an array (B, 2), NaN where there is none."""
    return np.array([value or (np.nan, np.nan) for value in values], dtype=np.float64).reshape(-1, 2)
