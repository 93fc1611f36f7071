"""Random expressions with their values, computed number by number in plain Python with the rules of TTree formulas.

Each expression is made together with the function that computes it, so nothing of the package's parser, precedences or
arrays is used. The brackets follow C's table of precedences.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Row = Mapping[str, float]

COMPARISON, SHIFT, SUM, PRODUCT, SIGN, POWER, ATOM = 6, 7, 8, 9, 10, 11, 12
WHOLE = ("us", "ub")
REAL = ("x", "y", "f", "n", "c", "u", "us", "ub", "o")


@dataclass(frozen=True)
class Formula:
    """Text, precedence of its outermost operator, and value for one event."""

    text: str
    level: int
    value: Callable[[Row], float]

    def inside(self, level: int) -> str:
        """The text as an operand: in brackets if it binds less tightly."""
        return self.text if self.level >= level else f"({self.text})"


def _quotient(a: float, b: float) -> float:
    return a / b if b else 0.0


def _c_remainder(a: float, b: float) -> float:
    return math.copysign(abs(int(a)) % abs(int(b)), a)


BINARY: dict[str, tuple[int, Callable[[float, float], float]]] = {
    "||": (1, lambda a, b: float(a != 0 or b != 0)),
    "&&": (2, lambda a, b: float(a != 0 and b != 0)),
    "|": (4, lambda a, b: float(int(a) | int(b))),
    "&": (5, lambda a, b: float(int(a) & int(b))),
    "==": (COMPARISON, lambda a, b: float(a == b)),
    "!=": (COMPARISON, lambda a, b: float(a != b)),
    "<": (COMPARISON, lambda a, b: float(a < b)),
    "<=": (COMPARISON, lambda a, b: float(a <= b)),
    ">": (COMPARISON, lambda a, b: float(a > b)),
    ">=": (COMPARISON, lambda a, b: float(a >= b)),
    "<<": (SHIFT, lambda a, b: float(int(a) << int(b))),
    ">>": (SHIFT, lambda a, b: float(int(a) >> int(b))),
    "+": (SUM, lambda a, b: a + b),
    "-": (SUM, lambda a, b: a - b),
    "*": (PRODUCT, lambda a, b: a * b),
    "/": (PRODUCT, _quotient),
    "%": (PRODUCT, _c_remainder),
    "^": (POWER, lambda a, b: a**b),
}
FUNCTIONS: dict[str, Callable[..., float]] = {
    "abs": abs,
    "sqrt": lambda a: math.sqrt(abs(a)),
    "log": lambda a: math.log(a) if a > 0 else 0.0,
    "sin": lambda a: math.sin(a) if math.isfinite(a) else math.nan,
    "atan": math.atan,
    "atan2": math.atan2,
    "min": lambda a, b: b if b < a else a,
    "max": lambda a, b: b if b > a else a,
    "TMath::Abs": abs,
    "floor": lambda a: float(math.floor(a)) if math.isfinite(a) else a,
}


def binary(symbol: str, a: Formula, b: Formula) -> Formula:
    """Two operands, with brackets where the precedence asks for them."""
    level, compute = BINARY[symbol]
    left, right = a.inside(level), b.inside(level + 1)
    if symbol == "%" or level in (SHIFT, COMPARISON, POWER):  # those that hepgan wants in brackets
        tight = SUM if level == COMPARISON else ATOM
        left, right = a.inside(tight), b.inside(tight)
    space = " " if level < POWER else ""
    return Formula(
        f"{left}{space}{symbol}{space}{right}", level, lambda row: compute(a.value(row), b.value(row))
    )


class Maker:
    """Makes random formulas, with or without ``x ? y : z``."""

    def __init__(self, seed: int, *, choices: bool = True) -> None:
        self.rng = np.random.default_rng(seed)
        self.kinds = ("binary", "binary", "binary", "function", "sign", "power", "remainder", "whole")
        self.kinds += ("choice",) * choices

    def one(self, *choices: str) -> str:
        """One of some texts."""
        return str(self.rng.choice(choices))

    def leaf(self, *names: str) -> Formula:
        """A branch or a constant."""
        if self.rng.random() < 0.7:
            name = self.one(*names)
            return Formula(name, ATOM, lambda row: row[name])
        whole = names == WHOLE
        number = int(self.rng.integers(1, 9)) if whole else float(self.rng.integers(0, 40)) / 8
        return Formula(f"{number:g}", ATOM, lambda _: float(number))

    def whole(self, depth: int) -> Formula:
        """Whole numbers that are not negative."""
        if depth == 0:
            return self.leaf(*WHOLE)
        symbol = self.one("&", "|", "<<", ">>")
        second = self.whole(depth - 1)
        if symbol in ("<<", ">>"):
            shift = int(self.rng.integers(0, 4))
            second = Formula(str(shift), ATOM, lambda _: float(shift))
        return binary(symbol, self.whole(depth - 1), second)

    def number(self, depth: int) -> Formula:
        """Any number."""
        if depth == 0:
            return self.leaf(*REAL)
        kind = self.one(*self.kinds)
        if kind == "binary":
            return binary(self.one("+", "-", "*", "/"), self.number(depth - 1), self.number(depth - 1))
        if kind == "sign":
            a = self.number(depth - 1)
            return Formula(f"(-{a.inside(POWER)})", ATOM, lambda row: -a.value(row))
        if kind == "power":
            two = Formula("2", ATOM, lambda _: 2.0)
            return binary("^", self.leaf(*REAL), two)
        if kind == "remainder":
            seven = Formula("7", ATOM, lambda _: 7.0)
            remainder = binary("%", self.leaf("n", "us", "c", "x"), seven)
            return Formula(f"({remainder.text})", ATOM, remainder.value)
        if kind == "whole":
            return self.whole(min(depth, 2))
        if kind == "choice":
            c, a, b = self.truth(depth - 1), self.number(depth - 1), self.number(depth - 1)
            text = f"({c.inside(1)} ? {a.inside(1)} : {b.inside(1)})"
            return Formula(text, ATOM, lambda row: a.value(row) if c.value(row) else b.value(row))
        name = self.one(*FUNCTIONS)
        arguments = [self.number(depth - 1) for _ in range(2 if name in ("atan2", "min", "max") else 1)]
        text = f"{name}({', '.join(a.text for a in arguments)})"
        return Formula(text, ATOM, lambda row: FUNCTIONS[name](*(a.value(row) for a in arguments)))

    def truth(self, depth: int) -> Formula:
        """A condition."""
        kind = self.one("comparison", "comparison", "logic", "not", "bits")
        if depth == 0 or kind == "comparison":
            symbol = self.one("==", "!=", "<", "<=", ">", ">=")
            return binary(symbol, self.number(max(depth - 1, 0)), self.number(max(depth - 1, 0)))
        if kind == "not":
            a = self.truth(depth - 1)
            return Formula(f"!({a.text})", SIGN, lambda row: float(not a.value(row)))
        a, b = self.truth(depth - 1), self.truth(depth - 1)
        if kind == "bits":  # both operands are comparisons, as & and | do not take numbers beside them
            a, b = (binary("<", self.number(depth - 1), self.number(depth - 1)) for _ in range(2))
            return binary(self.one("&", "|"), a, b)
        return binary(self.one("&&", "||"), a, b)
