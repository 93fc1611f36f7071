"""Operators and functions of expressions, as one table: notation, meaning, and a line of documentation.

They mean what they mean in a TTree formula of ROOT (``TTree::Draw``): numbers are float64 whatever the type of the
branch, ``/`` is the division of real numbers, ``%``, ``&``, ``|``, ``<<`` and ``>>`` use whole numbers. Comparisons of
integers with each other are exact, also those of 64 bits.

Where a number does not exist (``x / 0``, ``log(-1)``), a TTree formula silently puts another one (``0``). Inside a
comparison that is done here too, so that a cut selects the same events; everywhere else the number is infinite or NaN,
which the reader reports with its entry. `Operation.formula` holds these numbers.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import awkward as ak
import numpy as np

__all__ = ["BINARY", "CONDITIONAL", "FUNCTIONS", "MIXED", "NOT", "PREFIX", "Operation", "element_type"]

_REAL_64 = 2.0**64


@dataclass(frozen=True)
class Operation:
    """An operator or a function.

    Args:
        notation: One or more ways to write it, the operands called x, y, ...: ``("x && y", "x and y")``.
        meaning: The function of its operands: awkward arrays, or numbers.
        words: Description for the documentation.
        undefined: True where the operands give no number.
        formula: The number that a TTree formula has there.
        decides: For each operand (the last flag for all that follow) whether it decides about events, so that undefined
            numbers in it become those of a TTree formula; None: as for the result.
    """

    notation: tuple[str, ...]
    meaning: Callable[..., Any]
    words: str
    undefined: Callable[..., Any] | None = None
    formula: Callable[..., Any] = lambda *_: np.float64(0)
    decides: tuple[bool | None, ...] = (None,)

    def __call__(self, *values: Any, decides: bool = False) -> Any:
        """Compute the result; `decides`: with the numbers of a TTree formula where it is undefined."""
        result = self.meaning(*values)
        if decides and self.undefined is not None:
            values = tuple(_real(value) for value in values)
            return _where(_apply(self.undefined, *values), _apply(self.formula, *values), result)
        return result

    @property
    def names(self) -> list[str]:
        """Symbols of an operator, or names of a function."""
        if "(" in self.notation[0]:
            return [text.partition("(")[0] for text in self.notation]
        return [next(word for word in text.split() if word not in ("x", "y")) for text in self.notation]

    @property
    def arguments(self) -> int:
        """Number of arguments of a function."""
        inside = self.notation[0].partition("(")[2].rstrip(")")
        return len(inside.split(",")) if inside else 0


def element_type(value: Any) -> np.dtype[Any]:
    """Type of the numbers in an array (events first, any depth), or of a number.

    Raises:
        TypeError: If they are no numbers; with their type in words.
    """
    if not isinstance(value, ak.Array):
        return (
            np.dtype(np.int64)
            if isinstance(value, int) and not isinstance(value, bool)
            else np.dtype(type(value))
        )
    inner = value.type.content
    while isinstance(inner, (ak.types.ListType, ak.types.RegularType, ak.types.OptionType)):
        if "__array__" in inner.parameters:
            break
        inner = inner.content
    if isinstance(inner, ak.types.UnknownType):  # only empty lists
        return np.dtype(np.float64)
    if not isinstance(inner, ak.types.NumpyType) or inner.primitive.startswith(("complex", "date", "time")):
        raise TypeError(f"expected numbers, got {inner}")
    kind: np.dtype[Any] = np.dtype(inner.primitive)
    return kind


def _cast(value: Any, kind: type[np.generic]) -> Any:
    if not isinstance(value, ak.Array):
        return np.asarray(value).astype(kind)[()]
    return ak.values_astype(value, kind, including_unknown=True)


def _real(value: Any) -> Any:
    """Numbers as float64."""
    return _cast(value, np.float64)


def _apply(function: Callable[..., Any], *values: Any) -> Any:
    """Apply a function element by element; numbers of an event are repeated for each of its lists."""
    arrays = [value for value in values if isinstance(value, ak.Array)]
    if (
        len({array.ndim for array in arrays}) > 1
    ):  # regular axes would be aligned at the last one, as in NumPy
        values = tuple(ak.from_regular(v, axis=None) if isinstance(v, ak.Array) else v for v in values)
    return function(*values)


def _reals(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *values: _apply(function, *(_real(value) for value in values))


def _choose(condition: Any, first: Any, second: Any) -> Any:
    if not isinstance(condition, ak.Array):
        condition = np.bool_(condition)
        arrays = [value for value in (first, second) if isinstance(value, ak.Array)]
        if not arrays:
            return first if condition else second
        condition = _apply(np.logical_or, condition, np.zeros_like(arrays[0], dtype=np.bool_))
    else:
        condition = condition != 0
    return ak.where(condition, first, second)


def _where(condition: Any, first: Any, second: Any) -> Any:
    """The first value where a condition is true (not zero), else the second."""
    if not all(element_type(value) == np.bool_ for value in (first, second)):
        first, second = _real(first), _real(second)
    element_type(condition)
    return _apply(_choose, condition, first, second)


def _compare(function: Callable[[Any, Any], Any], x: Any, y: Any) -> Any:
    """Compare integers exactly, other numbers as float64."""
    kinds = [element_type(value) for value in (x, y)]
    if any(kind.kind == "f" for kind in kinds):
        return _apply(function, _real(x), _real(y))
    if not isinstance(x, ak.Array) and not isinstance(y, ak.Array):
        return np.bool_(function(int(x), int(y)))
    for value, other, kind in ((x, y, kinds[1]), (y, x, kinds[0])):
        if not isinstance(value, ak.Array):  # a constant, which the type of the array need not hold
            limits = (0, 1) if kind == np.bool_ else (np.iinfo(kind).min, np.iinfo(kind).max)
            if limits[0] <= value <= limits[1]:
                constant: Any = kind.type(value)
            else:
                constant, other = np.float64(1 if value > 0 else -1), _real(other) * 0
            return function(constant, other) if value is x else function(other, constant)
    if {kind.kind for kind in kinds} == {"u", "i"} and any(kind == np.uint64 for kind in kinds):
        if kinds[1] == np.uint64:
            negative, order = _apply(np.less, x, np.int64(0)), np.bool_(function(-1, 0))
        else:
            negative, order = _apply(np.less, y, np.int64(0)), np.bool_(function(0, -1))
        equal_signs = _apply(function, _cast(x, np.uint64), _cast(y, np.uint64))
        return _apply(_choose, negative, order, equal_signs)
    return _apply(function, x, y)


def _not(value: Any) -> Any:
    return np.logical_not(_truth(value))


def _logic(function: Callable[..., Any], *values: Any) -> Any:
    return _apply(function, *(_truth(value) for value in values))


def _truth(value: Any) -> Any:
    element_type(value)
    return value if isinstance(value, ak.Array) else np.bool_(bool(value))


def _unsigned(value: Any) -> Any:
    """Whole parts as unsigned 64-bit integers; negative ones modulo 2^64, as in C."""
    kind = element_type(value)
    if kind.kind != "f":
        return _cast(
            value if isinstance(value, ak.Array) else np.int64(value) if value < 0 else value, np.uint64
        )
    whole = np.trunc(_real(value))
    return _choose(whole < 2.0**63, _cast(_cast(whole, np.int64), np.uint64), _cast(whole, np.uint64))


def _bits(function: Callable[..., Any], *values: Any) -> Any:
    """Apply an operator to the bits of whole numbers; truth values stay such, a number without whole part gives NaN."""
    kinds = [element_type(value) for value in values]
    if all(kind == np.bool_ for kind in kinds):
        logical = {np.bitwise_and: np.logical_and, np.bitwise_or: np.logical_or, np.invert: np.logical_not}
        if function in logical:
            return _apply(logical[function], *values)
    result = _apply(function, *(_unsigned(value) for value in values))
    for value, kind in zip(values, kinds, strict=True):
        if kind.kind == "f":
            real = _real(value)
            fits = np.logical_and(real > -(2.0**63), real < _REAL_64)
            result = _where(_apply(np.logical_and, fits, np.True_), result, np.float64(np.nan))
    return result


def _shift(function: Callable[..., Any]) -> Callable[..., Any]:
    return partial(_bits, lambda x, y: function(x, np.bitwise_and(y, np.uint64(63))))


def _truths_only(function: Callable[..., Any], *values: Any) -> Any:
    if any(element_type(value) != np.bool_ for value in values):
        raise TypeError(
            "& and | between a comparison and a number: write && and || if both are conditions, or brackets as in "
            "(flags & 4) > 0"
        )
    return _bits(function, *values)


def _remainder(x: Any, y: Any) -> Any:
    """Remainder of the whole parts, with the sign of x; NaN if y is zero."""
    if all(element_type(value).kind != "f" for value in (x, y)):
        x_size, y_size = (_unsigned(_magnitude(value)) for value in (x, y))
        size = _real(_apply(np.remainder, x_size, y_size))
        sign = _compare(np.less, x, 0)
        size = _where(_compare(np.equal, y, 0), np.float64(np.nan), size)
        return _where(sign, _reals(np.negative)(size), size)
    return _apply(np.fmod, np.trunc(_real(x)), np.trunc(_real(y)))


def _magnitude(value: Any) -> Any:
    return np.abs(_cast(value, np.int64)) if element_type(value).kind == "i" else value


def _reduction(function: Callable[..., Any], prepare: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Apply a reduction over every axis but the first, that is to all numbers of an event."""

    def reduce(values: Any) -> Any:
        values = prepare(values)
        while isinstance(values, ak.Array) and values.ndim > 1:
            values = function(values, axis=-1, mask_identity=False)
        return values

    return reduce


_count = _reduction(ak.sum, lambda values: _real(ak.ones_like(values)))


def _is_true(value: Any) -> Any:
    return _compare(np.not_equal, value, 0)


def _real_function(*notation: str, function: Callable[..., Any], words: str, **domain: Any) -> Operation:
    return Operation(notation, _reals(function), words, **domain)


_OUTSIDE_1 = {"undefined": lambda x: np.abs(x) > 1}
_BY_ZERO: dict[str, Any] = {"undefined": lambda x, y: y == 0}
_EMPTY: dict[str, Any] = {"undefined": lambda x: _count(x) == 0}
_NEGATIVE_LOG = {"undefined": lambda x: ~(x > 0)}

CONDITIONAL = Operation(("x ? y : z",), _where, "y where x is true, else z", decides=(True, None))
"""The loosest operator; the only one with three operands."""

NOT = Operation(("not x",), _not, "not, of a whole comparison: `not x > 1` is `not (x > 1)`", decides=(True,))
"""The prefix that is looser than comparisons."""

BINARY: tuple[tuple[Operation, ...], ...] = (
    (Operation(("x || y", "x or y"), partial(_logic, np.logical_or), "or", decides=(True,)),),
    (Operation(("x && y", "x and y"), partial(_logic, np.logical_and), "and", decides=(True,)),),
    (Operation(("x | y",), partial(_bits, np.bitwise_or), "or of each bit; of truth values: or"),),
    (Operation(("x & y",), partial(_bits, np.bitwise_and), "and of each bit; of truth values: and"),),
    (
        Operation(("x == y",), partial(_compare, np.equal), "equal", decides=(True,)),
        Operation(("x != y",), partial(_compare, np.not_equal), "not equal", decides=(True,)),
        Operation(
            ("x < y",), partial(_compare, np.less), "less; `1 < x < 3` is `1 < x && x < 3`", decides=(True,)
        ),
        Operation(("x <= y",), partial(_compare, np.less_equal), "less or equal", decides=(True,)),
        Operation(("x > y",), partial(_compare, np.greater), "greater", decides=(True,)),
        Operation(("x >= y",), partial(_compare, np.greater_equal), "greater or equal", decides=(True,)),
    ),
    (
        Operation(("x << y",), _shift(np.left_shift), "x, its bits shifted to the left by y (modulo 64)"),
        Operation(("x >> y",), _shift(np.right_shift), "x, its bits shifted to the right by y (modulo 64)"),
    ),
    (
        Operation(("x + y",), _reals(np.add), "sum"),
        Operation(("x - y",), _reals(np.subtract), "difference"),
    ),
    (
        Operation(("x * y",), _reals(np.multiply), "product"),
        Operation(("x / y",), _reals(np.divide), "quotient of real numbers: `5 / 2` is 2.5", **_BY_ZERO),
        Operation(("x // y",), _reals(np.floor_divide), "quotient, rounded down", **_BY_ZERO),
        Operation(
            ("x % y",), _remainder, "remainder of the whole parts, with the sign of x: `-7.9 % 4` is -3"
        ),
    ),
    (Operation(("x ^ y", "x ** y"), _reals(np.power), "power; before a sign: `-x^2` is `-(x^2)`"),),
)
"""Operators with two operands by precedence, the loosest first."""

PREFIX = (
    Operation(("- x",), _reals(np.negative), "minus"),
    Operation(("+ x",), _reals(operator.pos), "plus"),
    Operation(("! x",), _not, "not, of what follows directly: `!x > 1` is `(!x) > 1`", decides=(True,)),
    Operation(("~ x",), partial(_bits, np.invert), "not of each bit; of truth values: not"),
)
"""Operators before their only operand; signs are looser than powers."""

MIXED = {
    name: Operation(operation.notation, partial(_truths_only, function), operation.words, decides=(True,))
    for operation, name, function in ((BINARY[2][0], "|", np.bitwise_or), (BINARY[3][0], "&", np.bitwise_and))
}
"""``|`` and ``&`` with a comparison beside them, as in ``x > 1 & y < 2``: of truth values only."""

_TABLE = (
    Operation(("where(x, y, z)",), _where, "y where x is true, else z", decides=(True, None)),
    _real_function("abs(x)", "fabs(x)", "TMath::Abs(x)", function=np.abs, words="magnitude"),
    _real_function(
        *("sqrt(x)",),
        function=np.sqrt,
        words="square root",
        undefined=lambda x: x < 0,
        formula=lambda x: np.sqrt(np.abs(x)),
    ),
    _real_function("TMath::Sqrt(x)", function=np.sqrt, words="square root"),
    _real_function("cbrt(x)", function=np.cbrt, words="cubic root"),
    _real_function("pow(x, y)", "TMath::Power(x, y)", function=np.power, words="x to the power of y"),
    _real_function("sq(x)", "TMath::Sq(x)", function=np.square, words="square"),
    _real_function(
        *("exp(x)",),
        function=np.exp,
        words="exponential function",
        undefined=lambda x: np.abs(x) > 700,
        formula=lambda x: np.exp(np.float64(700)) * (x > 0),
    ),
    _real_function("TMath::Exp(x)", function=np.exp, words="exponential function"),
    _real_function("log(x)", function=np.log, words="natural logarithm", **_NEGATIVE_LOG),
    _real_function("TMath::Log(x)", function=np.log, words="natural logarithm"),
    _real_function("log10(x)", function=np.log10, words="logarithm to the base 10", **_NEGATIVE_LOG),
    _real_function("TMath::Log10(x)", function=np.log10, words="logarithm to the base 10"),
    _real_function("log2(x)", "TMath::Log2(x)", function=np.log2, words="logarithm to the base 2"),
    _real_function("log1p(x)", function=np.log1p, words="natural logarithm of 1 + x"),
    _real_function("expm1(x)", function=np.expm1, words="exponential function minus 1"),
    _real_function("sin(x)", "TMath::Sin(x)", function=np.sin, words="sine (x in rad)"),
    _real_function("cos(x)", "TMath::Cos(x)", function=np.cos, words="cosine (x in rad)"),
    _real_function("tan(x)", "TMath::Tan(x)", function=np.tan, words="tangent (x in rad)"),
    _real_function("asin(x)", "arcsin(x)", function=np.arcsin, words="inverse sine (rad)", **_OUTSIDE_1),
    _real_function("TMath::ASin(x)", function=np.arcsin, words="inverse sine (rad)"),
    _real_function("acos(x)", "arccos(x)", function=np.arccos, words="inverse cosine (rad)", **_OUTSIDE_1),
    _real_function("TMath::ACos(x)", function=np.arccos, words="inverse cosine (rad)"),
    _real_function(
        *("atan(x)", "arctan(x)", "TMath::ATan(x)"), function=np.arctan, words="inverse tangent (rad)"
    ),
    _real_function(
        *("atan2(y, x)", "arctan2(y, x)", "TMath::ATan2(y, x)"),
        function=np.arctan2,
        words="angle of the point (x, y) from -pi to pi (rad)",
    ),
    _real_function("hypot(x, y)", "TMath::Hypot(x, y)", function=np.hypot, words="square root of x^2 + y^2"),
    _real_function("sinh(x)", "TMath::SinH(x)", function=np.sinh, words="hyperbolic sine"),
    _real_function("cosh(x)", "TMath::CosH(x)", function=np.cosh, words="hyperbolic cosine"),
    _real_function("tanh(x)", "TMath::TanH(x)", function=np.tanh, words="hyperbolic tangent"),
    _real_function(
        *("asinh(x)", "arcsinh(x)", "TMath::ASinH(x)"), function=np.arcsinh, words="inverse hyperbolic sine"
    ),
    _real_function(
        *("acosh(x)", "arccosh(x)"),
        function=np.arccosh,
        words="inverse hyperbolic cosine",
        undefined=lambda x: x < 1,
    ),
    _real_function("TMath::ACosH(x)", function=np.arccosh, words="inverse hyperbolic cosine"),
    _real_function(
        "atanh(x)", "arctanh(x)", function=np.arctanh, words="inverse hyperbolic tangent", **_OUTSIDE_1
    ),
    _real_function("TMath::ATanH(x)", function=np.arctanh, words="inverse hyperbolic tangent"),
    _real_function("floor(x)", "TMath::Floor(x)", function=np.floor, words="rounded down"),
    _real_function("ceil(x)", "TMath::Ceil(x)", function=np.ceil, words="rounded up"),
    _real_function("int(x)", "trunc(x)", function=np.trunc, words="rounded towards zero"),
    _real_function(
        *("round(x)",),
        function=lambda x: np.copysign(np.floor(np.abs(x) + 0.5), x),
        words="rounded to the nearest whole number, halves away from zero",
    ),
    _real_function("TMath::Nint(x)", function=np.rint, words="rounded, halves to the nearest even number"),
    _real_function("fmod(x, y)", function=np.fmod, words="remainder of real numbers, with the sign of x"),
    _real_function(
        "sign(x)", function=lambda x: np.float64(1) - 2.0 * (x < 0), words="-1 if x is negative, else 1"
    ),
    _real_function(
        *("min(x, y)", "TMath::Min(x, y)"),
        function=lambda x, y: _choose(y < x, y, x),
        words="the smaller one",
    ),
    _real_function(
        *("max(x, y)", "TMath::Max(x, y)"),
        function=lambda x, y: _choose(y > x, y, x),
        words="the larger one",
    ),
    Operation(
        ("isfinite(x)", "TMath::Finite(x)"), _reals(np.isfinite), "neither infinite nor NaN", decides=(False,)
    ),
    Operation(("isnan(x)", "TMath::IsNaN(x)"), _reals(np.isnan), "not a number", decides=(False,)),
    Operation(("isinf(x)",), _reals(np.isinf), "infinite", decides=(False,)),
    Operation(("sum(x)", "Sum$(x)"), _reduction(ak.sum, _real), "sum of the numbers of an event"),
    Operation(("len(x)", "Length$(x)"), _count, "how many numbers an event has"),
    Operation(
        ("min(x)",), _reduction(ak.min, _real), "smallest number of an event; infinite if there is none"
    ),
    Operation(
        ("Min$(x)",), _reduction(ak.min, _real), "the same; 0 in comparisons if there is none", **_EMPTY
    ),
    Operation(
        ("max(x)",), _reduction(ak.max, _real), "largest number of an event; -infinite if there is none"
    ),
    Operation(
        ("Max$(x)",), _reduction(ak.max, _real), "the same; 0 in comparisons if there is none", **_EMPTY
    ),
    Operation(("any(x)",), _reduction(ak.any, _is_true), "whether one of an event is true", decides=(True,)),
    Operation(("all(x)",), _reduction(ak.all, _is_true), "whether all of an event are true", decides=(True,)),
    Operation(("TMath::Pi()",), lambda: np.float64(np.pi), "3.14159..."),
    Operation(("TMath::TwoPi()",), lambda: np.float64(2 * np.pi), "6.28318..."),
    Operation(("TMath::PiOver2()",), lambda: np.float64(np.pi / 2), "1.57079..."),
    Operation(("TMath::DegToRad()",), lambda: np.float64(np.pi / 180), "an angle of 1 degree (rad)"),
    Operation(("TMath::RadToDeg()",), lambda: np.float64(180 / np.pi), "an angle of 1 rad (degrees)"),
)

FUNCTIONS: dict[str, dict[int, Operation]] = {}
"""Functions by name and number of arguments."""
for _function in _TABLE:
    for _name in _function.names:
        FUNCTIONS.setdefault(_name, {})[_function.arguments] = _function
