"""Expressions of branches: cuts, weights and derived conditions, as text in the configuration.

The language is arithmetic, comparisons, ``and``/``or``/``not`` (also ``&&``, ``||``, ``!`` and, between
brackets, ``&``, ``|``, ``~``), an index (``overflow[0]`` or ``overflow[:, 0]`` is the first
number of each event) and the functions of `FUNCTIONS`. The text is never executed as Python code, so a
configuration from somebody else can do no harm.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import awkward as ak
import numpy as np

from hepgan.errors import ConfigError

__all__ = ["FUNCTIONS", "Expression"]


def _reduction(function: Callable[..., Any]) -> Callable[[Any], Any]:
    """Apply a reduction over every axis but the first, that is to all numbers of an event."""

    def reduce(values: Any) -> Any:
        values = ak.Array(values)
        while values.ndim > 1:
            values = function(values, axis=-1, mask_identity=False)
        return values

    return reduce


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in ("sqrt", "exp", "log", "log10", "sin", "cos", "tan", "arctan2")},
    **{name: getattr(np, name) for name in ("sinh", "cosh", "tanh", "arcsinh", "floor", "isfinite", "hypot")},
    "abs": np.abs,
    **{name: _reduction(getattr(ak, name)) for name in ("sum", "min", "max", "any", "all")},
}

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.Not: np.logical_not,
    ast.Invert: operator.invert,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_C_OPERATORS = ((r"&&", " and "), (r"\|\|", " or "), (r"!(?!=)", " not "))


def _is_bitwise(node: ast.AST) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, (ast.BitAnd, ast.BitOr, ast.BitXor))


class Expression:
    """An expression of branches, evaluated on whole chunks of events.

    Args:
        text: The expression; a branch name is one, even if it is no identifier (``track-pt``).
        branches: Names of the branches that exist; only used to recognise such names.
        label: Key of the configuration that holds the expression (``data.cut``), for messages.

    Attributes:
        names: Names of the branches in it (not checked to exist).

    Raises:
        ConfigError: If the text is not an expression of the language.
    """

    def __init__(self, text: str, *, branches: Collection[str] = (), label: str = "expression") -> None:
        self.text = text
        self.label = label
        self._tree: ast.expr | None = None
        if text in branches:
            self.names = {text}
            return
        source = text
        for pattern, replacement in _C_OPERATORS:
            source = re.sub(pattern, replacement, source)
        try:
            self._tree = ast.parse(source.strip(), mode="eval").body
        except SyntaxError as error:
            raise ConfigError(
                f"{label} {text!r}: expected an expression of branches such as "
                f"'incident_energy > 1 and overflow[0] < 5', got something else ({error.msg}); correct it"
            ) from None
        self.names = set()
        self._collect(self._tree)

    def __call__(self, arrays: Mapping[str, Any]) -> Any:
        """Evaluate on a chunk.

        Args:
            arrays: One array for each branch, first axis events.

        Returns:
            The values, first axis events.

        Raises:
            ConfigError: If an operation does not fit the types of the branches.
        """
        if self._tree is None:
            return arrays[self.text]
        try:
            with np.errstate(all="ignore"):  # log(-1) is NaN, which the reader reports with its entry number
                return self._value(self._tree, arrays)
        except (TypeError, ValueError, IndexError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ConfigError(
                f"{self.label} {self.text!r}: cannot be evaluated ({reason}); expected operations that fit "
                "the types and shapes of the branches (hepgan inspect shows them)"
            ) from error

    def _refuse(self, node: ast.AST) -> ConfigError:
        return ConfigError(
            f"{self.label} {self.text!r}: {ast.unparse(node)!r} is not allowed; expected branches, numbers, "
            f"arithmetic, comparisons, and/or/not, an index, and the functions {', '.join(sorted(FUNCTIONS))}"
        )

    def _collect(self, node: ast.AST) -> None:
        """Check each node against the language and gather the branches."""
        if isinstance(node, (ast.Name, ast.Attribute)):
            self.names.add(self._name(node))
            return
        children: list[ast.AST] = []
        if isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float)):
            pass
        elif isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            children = [node.left, node.right]
        elif isinstance(node, ast.UnaryOp):
            children = [node.operand]
        elif isinstance(node, ast.BoolOp):
            children = [*node.values]
        elif isinstance(node, ast.Compare) and all(type(op) in _COMPARE for op in node.ops):
            children = [node.left, *node.comparators]
            if len(children) > 2 and any(_is_bitwise(child) for child in children):
                raise ConfigError(
                    f"{self.label} {self.text!r}: & and | bind stronger than comparisons; expected brackets, "
                    f"as in (a > 1) & (b < 2), got {ast.unparse(node)!r}; add brackets or write 'and', 'or'"
                )
        elif isinstance(node, ast.Subscript) and self._index(node) is not None:
            children = [node.value]
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in FUNCTIONS
            and not node.keywords
        ):
            children = [*node.args]
        else:
            raise self._refuse(node)
        for child in children:
            self._collect(child)

    def _name(self, node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.Attribute):
            return f"{self._name(node.value)}.{node.attr}"
        raise self._refuse(node)

    @staticmethod
    def _index(node: ast.Subscript) -> tuple[int, ...] | None:
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if (
            len(parts) > 1 and ast.unparse(parts[0]) == ":"
        ):  # in uproot's notation the first axis is the event
            parts = parts[1:]
        values = [part.value for part in parts if isinstance(part, ast.Constant)]
        index = tuple(value for value in values if isinstance(value, int))
        return index if len(index) == len(parts) else None

    def _value(self, node: ast.expr, arrays: Mapping[str, Any]) -> Any:
        if isinstance(node, (ast.Name, ast.Attribute)):
            return arrays[self._name(node)]
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.BinOp):
            return _BINARY[type(node.op)](self._value(node.left, arrays), self._value(node.right, arrays))
        if isinstance(node, ast.UnaryOp):
            return _UNARY[type(node.op)](self._value(node.operand, arrays))
        if isinstance(node, ast.BoolOp):
            join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            result = self._value(node.values[0], arrays)
            for value in node.values[1:]:
                result = join(result, self._value(value, arrays))
            return result
        if isinstance(node, ast.Compare):
            sides = [self._value(side, arrays) for side in (node.left, *node.comparators)]
            result = _COMPARE[type(node.ops[0])](sides[0], sides[1])
            for k, op in enumerate(node.ops[1:], start=1):
                result = np.logical_and(result, _COMPARE[type(op)](sides[k], sides[k + 1]))
            return result
        if isinstance(node, ast.Subscript):
            return self._value(node.value, arrays)[(slice(None), *(self._index(node) or ()))]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return FUNCTIONS[node.func.id](*(self._value(argument, arrays) for argument in node.args))
        raise self._refuse(node)
