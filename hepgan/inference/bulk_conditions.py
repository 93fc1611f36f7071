"""Conditions of bulk generation: drawn between limits, or read from ROOT files, row after row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hepgan.errors import ConditionRangeError, DataError
from hepgan.inference import noise
from hepgan.inference.conditions import check_names, condition_values
from hepgan.inference.excursions import Excursions, OutOfRange
from hepgan.inference.generator import Generator
from hepgan.inference.metadata import Condition

__all__ = ["Drawn", "Stored", "Value", "parse_condition"]

Float32 = NDArray[np.float32]
Value = float | tuple[float, float] | str
"""Value of a condition: a number, a range to draw from, or the name of a category."""


def parse_condition(text: str) -> tuple[str, Value]:
    """Read ``name=value``, ``name=low:high`` or ``name=category``.

    Raises:
        ValueError: If it is none of these.
    """
    name, sign, value = text.partition("=")
    name, value = name.strip(), value.strip()
    numbers: tuple[float, ...] = ()
    with suppress(ValueError):
        numbers = tuple(float(part) for part in value.split(":"))
    if not sign or not name or not value or len(numbers) > 2:
        raise ValueError(
            f"condition: expected name=value or name=low:high, got {text!r}; write incident_energy=10"
        )
    if not numbers:
        return name, value
    if len(numbers) == 1:
        return name, numbers[0]
    if not numbers[0] < numbers[1]:
        raise ValueError(f"condition {name!r}: expected low < high, got {value}; exchange them")
    return name, (numbers[0], numbers[1])


def _interval(condition: Condition, value: Value) -> tuple[float, float]:
    """(low, high) of a condition; the same number twice for one value or a category.

    Raises:
        ValueError: If the value is not of the kind that the condition takes.
    """
    name = condition.name
    if isinstance(value, tuple):
        if condition.categories:
            got = f"the range {' to '.join(f'{end:g}' for end in value)}"
            raise ValueError(
                f"condition {name!r}: expected one category, got {got}; choose of {[*condition.categories]}"
            )
        ends = condition_values(condition, list(value)).tolist()
        if len(ends) != 2:
            raise ValueError(
                f"condition {name!r}: expected a range (low, high), got {value}; give two numbers"
            )
        if not ends[0] < ends[1]:
            raise ValueError(f"condition {name!r}: expected low < high, got {value}; exchange them")
        return ends[0], ends[1]
    if isinstance(value, str) and not condition.categories:
        raise ValueError(
            f"condition {name!r}: expected a number, or a range low:high, got {value!r}; write {name}=VALUE"
        )
    if (
        condition.categories
        and isinstance(value, float | int)
        and (word := f"{value:.17g}") in condition.categories
    ):
        value = word  # the name of a category that is a number
    number = condition_values(condition, value)
    if number.ndim:
        raise ValueError(
            f"condition {name!r}: expected a number, or a range (low, high), got {value}; write the conditions of each "
            "event to a ROOT file and take them from there"
        )
    return float(number), float(number)


class Drawn:
    """Conditions drawn between limits, by the noise's key and the number of the event.

    Args:
        model: The generator.
        conditions: For each of its conditions a value, or a range to draw from.
        n: Number of rows.
        out_of_range: If this is ``error``, values outside the trained range are refused.
        key: Seed and run.
        first_event: Event number of row 0.

    Attributes:
        n: Number of rows.
        identity: What decides the conditions, for JSON.

    Raises:
        ValueError: If a name or value does not fit.
        ConditionRangeError: If a value is outside its trained range, and that is refused.
    """

    def __init__(
        self,
        model: Generator,
        conditions: Mapping[str, Value],
        *,
        n: int,
        out_of_range: OutOfRange,
        key: tuple[int, int],
        first_event: int,
    ) -> None:
        check_names(conditions, model.conditions, option="--condition ")
        self._limits = [_interval(condition, conditions[condition.name]) for condition in model.conditions]
        for end in zip(*self._limits, strict=True):
            model.check_range(np.asarray([end], np.float32), extrapolate=out_of_range != "error")
        self.n = n
        self._conditions, self._key, self._first = model.conditions, key, first_event
        self.identity: dict[str, Any] = {
            c.name: [*ends] for c, ends in zip(model.conditions, self._limits, strict=True)
        }

    def __call__(self, start: int, stop: int) -> Float32:
        """Conditions (stop - start, n_conditions): log-uniform where the network takes the logarithm, else uniform.

        Counts are whole numbers.
        """
        events = np.arange(start, stop, dtype=np.uint64) + np.uint64(self._first)
        rows = noise.uniform(*self._key, events, size=len(self._limits))
        for k, (condition, (low, high)) in enumerate(zip(self._conditions, self._limits, strict=True)):
            half = 0.5 if condition.integer else 0.0  # so that the ends are as frequent as the others
            a, b = low - half, high + half
            if condition.transform == "log":
                rows[:, k] = np.exp(np.log(a) + rows[:, k] * np.log(b / a))
            else:
                rows[:, k] = a + rows[:, k] * (b - a)
            rows[:, k] = (np.rint(rows[:, k]) if condition.integer else rows[:, k]).clip(low, high)
        return rows.astype(np.float32)


class Stored:
    """Conditions in ROOT files, one file after the other, without the cut.

    All of them are read once before anything is generated, to count them and to refuse what cannot be used.

    Args:
        model: The generator.
        files: The files.
        n: Take only the first rows.
        excursions: Refuses conditions, or counts rows that it admits.

    Attributes:
        n: Number of rows.
        identity: What decides the conditions, for JSON.

    Raises:
        NotFoundError: If a file is missing.
        DataError: If there are too few entries, or branches that cannot be used.
        ConditionRangeError: If a condition is outside its trained range, and that is refused; or if all are skipped.
    """

    def __init__(
        self, model: Generator, files: Sequence[str], *, n: int | None, excursions: Excursions
    ) -> None:
        from hepgan.data.root import open_file

        self._model, self._files = model, files
        left, admitted = n, 0
        for chunk in self._chunks():
            admitted += len(excursions.admit(chunk[:left])[1])
            if left is not None and (left := max(0, left - len(chunk))) == 0:
                break
        if not excursions.n or left:
            raise DataError(
                f"{', '.join(files)}: expected {n or 'some'} entries to take conditions from, got {excursions.n}; "
                "ask for fewer or name another file"
            )
        if not admitted:
            raise ConditionRangeError(f"nothing to write; {'; '.join(excursions.sentences())}")
        self.n = excursions.n
        self.identity: dict[str, Any] = {"files": []}
        for name in files:
            with open_file(name) as file:
                self.identity["files"].append(file.file.hex_uuid)
        self._next, self._rows = 0, np.empty((0, len(model.conditions)), np.float32)
        self._rest = self._chunks()

    def _chunks(self) -> Iterator[Float32]:
        from hepgan.data.reading import iterate_conditions

        for file in self._files:
            yield from iterate_conditions(self._model.data, file)

    def __call__(self, start: int, stop: int) -> Float32:
        """Conditions (stop - start, n_conditions); `start` is the `stop` of the last call."""
        while len(self._rows) < stop - start:
            self._rows = np.concatenate([self._rows, next(self._rest)])
        rows, self._rows = np.split(self._rows, [stop - start])
        return rows
