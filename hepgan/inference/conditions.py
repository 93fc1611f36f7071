"""Conditions by name -> rows of numbers for the generator: names, shapes, categories, counts and units checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hepgan.errors import ConditionRangeError
from hepgan.files import near
from hepgan.geometry import ENERGY_UNITS, energy_factor
from hepgan.inference.metadata import Condition

__all__ = ["check_names", "condition_rows", "condition_values"]

Float32 = NDArray[np.float32]


def check_names(given: Iterable[str], conditions: Sequence[Condition], *, option: str = "") -> None:
    """Refuse unknown names of conditions, and missing ones.

    Args:
        given: Names that have a value.
        conditions: Conditions of the model.
        option: Written before ``name=VALUE`` in the remedy.

    Raises:
        ValueError: Naming the first unknown one with the nearest names, or all missing ones.
    """
    names, given = [condition.name for condition in conditions], list(given)
    for name in given:
        if name not in names:
            raise ValueError(f"condition {name!r}: the model has none of this name; {near(name, names)}")
    missing = [name for name in names if name not in given]
    if missing:
        raise ValueError(
            f"conditions: expected a value for each of {names}, got none for {missing}; "
            f"add {option}{missing[0]}=VALUE"
        )


def category_value(condition: Condition, category: str) -> float:
    """The value of a category.

    Raises:
        ConditionRangeError: If there is none of this name.
    """
    if category not in condition.categories:
        raise ConditionRangeError(
            f"condition {condition.name!r}: there is no category {category!r}; "
            f"{near(category, condition.categories)}"
        )
    return condition.categories[category]


def _factor(condition: Condition, unit: str) -> float:
    """Factor from a given unit to the condition's.

    Energies convert, also in units such as MeV/c and MeV/c^2 if both have the same divisor; other units must be equal.

    Raises:
        ValueError: If there is none.
    """
    if unit == condition.unit:
        return 1.0
    (energy, *divisor), (own, *own_divisor) = unit.split("/"), condition.unit.split("/")
    if energy in ENERGY_UNITS and own in ENERGY_UNITS and divisor == own_divisor:
        return energy_factor(energy, own)
    known = [condition.unit]
    if own in ENERGY_UNITS:
        known = ["/".join([name, *own_divisor]) for name in ENERGY_UNITS]
    raise ValueError(
        f"unit of condition {condition.name!r}: expected one of {known}, got {unit!r}; convert the values, or correct "
        "the unit"
    )


def condition_values(condition: Condition, value: Any, unit: str | None = None) -> NDArray[np.float64]:
    """The values of a condition as numbers in its unit, with the shape in which they were given.

    Raises:
        ValueError: If they are not one number or a list of numbers, or not of the kind that the condition takes.
    """
    name = condition.name
    try:
        values = np.asarray(np.ma.filled(value, np.nan) if isinstance(value, np.ma.MaskedArray) else value)
    except (ValueError, TypeError):  # of lists of several lengths, or with values missing
        raise ValueError(
            f"condition {name!r}: expected a number or a list of numbers, got {type(value).__name__} that is no array; "
            "give one value a row"
        ) from None
    if condition.categories and values.dtype.kind in "UO":
        values = np.asarray(value, object)  # names and codes may be mixed
        codes = [category_value(condition, v) if isinstance(v, str) else v for v in values.ravel().tolist()]
        values = np.asarray(codes).reshape(values.shape)
    if values.ndim > 1 or values.dtype.kind not in "iuf":
        got = f"an array of shape {values.shape}" if values.ndim > 1 else repr(value)
        expected = "a category or a list of them" if condition.categories else "a number or a list of numbers"
        raise ValueError(f"condition {name!r}: expected {expected}, got {got}; give one value a row")
    factor = 1.0 if unit is None else _factor(condition, unit)
    numbers = values.astype(np.float64) * factor
    whole = np.rint(numbers) == numbers
    if condition.integer and not whole.all():
        got = f"{numbers[~whole].ravel()[0]:g}" if numbers.ndim else f"{numbers:g}"
        raise ValueError(f"condition {name!r}: expected whole numbers (it is a count), got {got}; round them")
    return numbers


def condition_rows(
    conditions: Sequence[Condition],
    values: Mapping[str, ArrayLike],
    *,
    n: int | None = None,
    units: Mapping[str, str] | None = None,
) -> Float32:
    """Broadcast the values of named conditions to rows (N, n_conditions), in the model's units and order.

    Args:
        conditions: Conditions of the model.
        values: A number or a list of numbers for each name; of a category its name or its value.
        n: Number of rows N; default: the length of the lists, or 1 if there is none.
        units: Unit of the values by name; default: the condition's own. Energies are converted.

    Raises:
        ValueError: If a name is unknown or missing, lengths differ, a unit cannot be converted, or values are not of
            the kind that the condition takes.
        ConditionRangeError: If there is no category of a name.
    """
    units = units or {}
    check_names(values, conditions)
    names = [condition.name for condition in conditions]
    for name in units:
        if name not in names:
            raise ValueError(f"units: the model has no condition {name!r}; {near(name, names)}")
    if n is not None and n < 0:
        raise ValueError(
            f"n: expected a number from 0 on, got {n}; leave it out to take the length of the lists"
        )
    columns = [condition_values(c, values[c.name], units.get(c.name)) for c in conditions]
    lengths = {c.name: len(column) for c, column in zip(conditions, columns, strict=True) if column.ndim}
    several = {name: length for name, length in lengths.items() if length != 1}
    rows = n if n is not None else next(iter(several.values()), 1)
    wrong = {name: length for name, length in several.items() if length != rows}
    if wrong:
        name, length = next(iter(wrong.items()))
        why = "n" if n is not None else f"condition {next(iter(several))!r}"
        raise ValueError(
            f"condition {name!r}: expected one value or {rows} (as {why}), got {length}; give all of the same length"
        )
    return np.stack([np.broadcast_to(column, rows) for column in columns], axis=1).astype(np.float32)
