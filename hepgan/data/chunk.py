"""One chunk of a ROOT file: values of expressions, and checks that name the branch and the first bad entry."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgan.config import ConditionConfig, TargetConfig
from hepgan.data.events import Float32
from hepgan.data.expressions import Expression, quoted
from hepgan.errors import ConfigError, DataError

__all__ = ["Chunk", "fixed_length", "is_jagged", "value_type"]

# Finite numbers >= 0 are those of which the bits, as a whole number, are at most these (but for -0).
_LARGEST_BITS = int(np.float32(np.finfo(np.float32).max).view(np.uint32))
_ROUNDING = 1e-3  # of the range of whole numbers: what single precision may lose


@dataclass(frozen=True)
class Chunk:
    """Values of expressions in consecutive entries of a tree.

    Args:
        path: The file.
        entries: (N,) entry numbers in the tree, for messages.
        values: One array for each branch or expression, axis 0 = rows: NumPy's for numbers of a fixed shape, else
            awkward's.
        row: What messages call a row: "event" or "track".
    """

    path: str
    entries: NDArray[np.int64]
    values: Mapping[str, Any]
    row: str = "event"

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: slice | NDArray[Any]) -> Chunk:
        values = {name: v[index] for name, v in self.values.items()}
        return replace(self, entries=self.entries[index], values=values)

    def evaluate(self, expressions: Iterable[Expression]) -> Chunk:
        """Replace the values of branches by those of expressions.

        Raises:
            DataError: If an expression combines variable-length branches of different lengths.
            ConfigError: If an expression does not fit the types of its branches.
        """
        values = {}
        for expression in expressions:
            try:
                values[expression.text] = expression(self.values)
            except ValueError:
                jagged = [name for name in sorted(expression.names) if is_jagged(self.values[name])]
                if jagged:
                    self.counts(
                        jagged[1:], first=jagged[0]
                    )  # the more precise message, if lengths are the cause
                raise
        return replace(self, values=values)

    def select(self, cut: Expression, result: Any) -> Chunk:
        """Keep the rows for which a cut is true; a number that is computed is true if it is not zero.

        Args:
            cut: The cut, for messages.
            result: Its value for each row.

        Raises:
            ConfigError: If the result is not one truth value for each row.
        """
        try:
            passed = ak.to_numpy(result, allow_missing=False)
        except ValueError:
            passed = np.empty((0, 0))
        if passed.shape != self.entries.shape or passed.dtype.kind not in ("bui" if cut.is_name else "buif"):
            raise ConfigError(
                f"{self.path}: {cut}: expected true or false for each {self.row}, got "
                f"{value_type(result)} for each; compare it with a number, or reduce it with any() or all()"
            )
        return self[np.asarray(passed, dtype=np.bool_)]

    def counts(self, names: Collection[str], *, first: str) -> NDArray[np.int64]:
        """Count the tracks of each event.

        Args:
            names: Variable-length values that must have as many numbers as the first.
            first: Variable-length values.

        Returns:
            (N,) numbers.

        Raises:
            DataError: If the numbers differ; with the first entry.
        """
        expected: NDArray[np.int64] = ak.to_numpy(ak.num(self.values[first]))
        for name in names:
            got = ak.to_numpy(ak.num(self.values[name]))
            if (got != expected).any():
                row = int(np.argmax(got != expected))
                raise DataError(
                    f"{self.path}: {name!r}: expected as many numbers as {first!r} has in each event, got "
                    f"{(got != expected).sum()} events that differ, the first in entry {self.entries[row]}: {got[row]} "
                    f"of {name!r} for {expected[row]} of {first!r}; name branches of the same tracks"
                )
        return expected

    def dense(self, name: str, shape: tuple[int, ...]) -> Float32:
        """Convert values of a fixed shape in each row to a flat array.

        That shape is accepted, with or without axes of length 1, and so are as many numbers in C order, in branches of
        fixed or variable length.

        Args:
            name: The expression.
            shape: Shape of the values of one row.

        Returns:
            (N, prod(shape)).

        Raises:
            DataError: If the values have another shape or are not numbers.
        """
        values = self.values[name]
        size = int(np.prod(shape))
        try:
            dense = values if isinstance(values, np.ndarray) else np.ma.filled(ak.to_numpy(values), np.nan)
        except (ValueError, TypeError):
            self._reject_lengths(name, size)
            dense = np.empty(0, object)
        if dense.dtype.kind not in "biuf":
            raise DataError(
                f"{self.path}: {name!r}: expected numbers, got {value_type(values)}; name another branch"
            )
        got = dense.shape[1:]
        if got not in (shape, (size,)) and [n for n in got if n != 1] != [n for n in shape if n != 1]:
            expected = f"shape {list(shape)} an event" if shape else f"one number for each {self.row}"
            one = f"{name}[0]" if quoted(name) == name else "by an index, [0]"
            remedy = "change the shape in data.calorimeter.layers" if shape else f"take one of them ({one})"
            raise DataError(
                f"{self.path}: {name!r}: expected {expected}, got {list(got)}; {remedy} or name another branch"
            )
        with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which is reported as such
            return dense.reshape(len(self), size).astype(np.float32, copy=False)

    def _reject_lengths(self, name: str, size: int) -> None:
        """Stop at a variable-length branch if it has rows without exactly `size` numbers."""
        values = self.values[name]
        while values.ndim > 2:
            values = ak.flatten(values, axis=2)
        if values.ndim == 2:
            counts = ak.to_numpy(ak.num(values))
            self.reject(
                (counts != size)[:, None],
                name=name,
                expected=f"{size} numbers an event" if size > 1 else f"one number for each {self.row}",
                got=f"{self.row}s with other lengths",
            )

    def conditions(self, conditions: Sequence[ConditionConfig]) -> Float32:
        """Checked values of conditions, (N, n_conditions).

        Raises:
            DataError: If a value is not finite, has no logarithm, or is not a known category or a whole number where
                the condition asks for one.
        """
        return np.concatenate([self._condition(condition) for condition in conditions], axis=1)

    def targets(self, targets: Sequence[TargetConfig]) -> Float32:
        """Checked values of targets, (N, n_targets).

        Raises:
            DataError: If a value is not finite, or has no logarithm where the target asks for it.
        """
        return np.concatenate([self._column(target, atoms=target.atoms) for target in targets], axis=1)

    def numbers(self, conditions: Sequence[ConditionConfig]) -> Float32:
        """Values of conditions as they are, (N, n_conditions): NaN, not positive or of no known category too.

        Raises:
            DataError: If a value is no number, or not whole where the condition asks for a whole number.
        """
        columns = [self.dense(condition.expression, ()).copy() for condition in conditions]
        for column, condition in zip(columns, conditions, strict=True):
            self._reject_fractions(column, condition, remedy="round them in the file")
            if condition.categories:  # nuclei, for example, that become a known one in single precision
                known = np.isin(column, np.asarray([*condition.categories.values()], np.float32))
                column[known & self._unknown(column, condition)] = np.nan
        return np.concatenate(columns, axis=1)

    def _condition(self, condition: ConditionConfig) -> Float32:
        column = self._column(condition)
        leave_out = f"leave such {self.row}s out with data.cut"
        self._reject_fractions(column, condition, remedy=f"leave integer out, or {leave_out}")
        if condition.categories:
            known = ", ".join(f"{name} = {value:.10g}" for name, value in condition.categories.items())
            bad = self._unknown(column, condition)
            self._reject_values(
                bad,
                column,
                condition,
                expected=f"one of the categories {known}",
                remedy=f"add it to them, or {leave_out}",
            )
        return column

    def _unknown(self, column: Float32, condition: ConditionConfig) -> NDArray[np.bool_]:
        """Whether values, (N, 1), are those of no category; whole numbers count with the digits that float32 loses."""
        exact = np.ma.filled(ak.to_numpy(self.values[condition.expression]), np.nan)
        exact = exact.astype(np.float64).reshape(column.shape)
        codes = np.asarray([*condition.categories.values()])
        whole = np.rint(exact) == exact
        known: NDArray[np.bool_] = np.isin(column, codes.astype(np.float32))
        known &= np.isin(exact, codes) | ~whole
        return ~known

    def _reject_fractions(self, column: Float32, condition: ConditionConfig, *, remedy: str) -> None:
        """Stop at finite numbers that are not whole, if the condition is a count."""
        if condition.integer:
            bad = np.isfinite(column) & (column != np.rint(column))
            expected = "whole numbers (integer = true)"
            self._reject_values(bad, column, condition, expected=expected, remedy=remedy)

    def _reject_values(
        self,
        bad: NDArray[np.bool_],
        column: Float32,
        condition: ConditionConfig,
        *,
        expected: str,
        remedy: str,
    ) -> None:
        if bad.any():
            self.reject(
                bad,
                name=condition.expression,
                expected=expected,
                got=f"other values such as {column[bad][0]:.10g}",
                remedy=remedy,
            )

    def _reject_rounded(self, column: Float32, name: str) -> None:
        """Stop at whole numbers, such as times in seconds, of whose differences float32 leaves nothing.

        Raises:
            DataError: If there are such numbers.
        """
        stored = np.ma.filled(ak.to_numpy(self.values[name]), 0)
        if np.can_cast(stored.dtype, np.float32):
            return
        exact = stored.astype(np.float64, copy=False).reshape(column.shape)
        lost = np.abs(exact - column).max(initial=0)
        if not lost or lost <= _ROUNDING * np.ptp(exact) or (exact != np.rint(exact)).any():
            return
        low, high = exact.min(), exact.max()
        if low < high:
            raise DataError(
                f"{self.path}: {name!r}: expected numbers that single precision tells apart, got whole numbers from "
                f"{low:.20g} to {high:.20g}, which it rounds by up to {lost:g}; subtract a constant: branch = "
                f'"{name} - {low:.20g}"'
            )

    def _column(self, number: ConditionConfig | TargetConfig, *, atoms: Sequence[float] = ()) -> Float32:
        """Finite values of a condition or target, (N, 1); positive or an atom if the logarithm is taken."""
        column = self.dense(number.expression, ())
        self.reject_infinite(column, name=number.expression)
        if not (isinstance(number, ConditionConfig) and number.categories):
            self._reject_rounded(column, number.expression)
        if number.transform == "log" and column.min(initial=np.inf) <= 0:
            self.reject(
                (column <= 0) & ~np.isin(column, np.asarray(atoms, np.float32)),
                name=number.expression,
                expected='values > 0 (transform = "log")',
                got="values <= 0",
            )
        return column

    def reject(
        self,
        bad: NDArray[np.bool_],
        *,
        name: str | Callable[[int], str],
        expected: str,
        got: str,
        remedy: str = "",
    ) -> None:
        """Stop at bad values.

        Args:
            bad: (N, columns), true where a value is bad.
            name: The branch, or a function that gives the branch of a column.
            expected: Description of good values.
            got: Description of the bad values.
            remedy: What to do; default: exclude them with the cut.

        Raises:
            DataError: If any value is bad; with their number and the first entry.
        """
        if not bad.any():
            return
        bad_rows = bad.any(axis=1)
        row = int(np.argmax(bad_rows))
        if callable(name):
            name = name(int(np.argmax(bad[row])))
        raise DataError(
            f"{self.path}: {name!r}: expected {expected}, got {bad.sum()} {got} in {bad_rows.sum()} {self.row}s of "
            f"entries {self.entries[0]} to {self.entries[-1]}, the first in entry {self.entries[row]}; "
            f"{remedy or f'leave such {self.row}s out with data.cut or repair the file'}"
        )

    def reject_infinite(self, values: Float32, *, name: str | Callable[[int], str]) -> None:
        """Stop at NaN and infinity; arguments as in `reject`."""
        with np.errstate(all="ignore"):
            total = values.sum()  # not finite if a value is not, and if it overflows
        if not np.isfinite(total):
            self.reject(~np.isfinite(values), name=name, expected="finite values", got="NaN or infinite")

    def reject_energies(self, values: Float32, *, name: str | Callable[[int], str]) -> None:
        """Stop at energies that are negative or not finite; arguments as in `reject`."""
        if values.view(np.uint32).max(initial=0) <= _LARGEST_BITS:  # all, in one pass
            return
        self.reject_infinite(values, name=name)
        if values.min(initial=0) < 0:
            self.reject(values < 0, name=name, expected="energies >= 0", got="negative values")


def value_type(values: Any) -> str:
    """Type of the value in one row of an array, for messages."""
    return str(ak.type(values).content)


def is_jagged(values: Any) -> bool:
    """Whether the number of values differs from row to row (a text counts as one value)."""
    if isinstance(values, np.ndarray):
        return False
    row = values.type.content
    return isinstance(row, ak.types.ListType) and "__array__" not in row.parameters


def fixed_length(values: Any) -> int:
    """Number of values in each row of an array of fixed length; 0 for numbers and for variable lengths."""
    row = ak.type(values).content
    return int(row.size) if isinstance(row, ak.types.RegularType) and "__array__" not in row.parameters else 0
