"""Expressions of branches: cuts, weights and derived conditions, as text in the configuration.

The language is that of TTree formulas (``TTree::Draw``), with ``and``/``or``/``not`` and reductions beside it;
docs/expressions.md shows all of it. `hepgan.data.operations` holds the operators and functions,
`hepgan.data.syntax` the grammar. The text is never executed as code, so a configuration from somebody else can do no
harm.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import awkward as ak
import numpy as np

from hepgan.data.operations import Operation, element_type
from hepgan.data.syntax import Chain, Index, Name, Node, Number, SyntaxProblem, parse, quoted
from hepgan.errors import ConfigError

__all__ = ["Expression", "quoted"]

_SHOWN = 300  # characters of a text in a message


class Expression:
    """An expression of branches, evaluated on whole chunks of events.

    Args:
        text: The expression. A text that is the name of a branch is that branch, whatever is in it (``track-pt``);
            within an expression such a name stands in backticks.
        branches: Names of the branches that exist; only used to recognise such names, and paths (``trk/P``).
        label: Key of the configuration that holds the expression (``data.cut``), for messages.
        cut: Whether the result decides about events: numbers that do not exist (``x / 0``) are then those of a TTree
            formula, as they always are in comparisons.

    Attributes:
        names: Names of the branches in it (not checked to exist).

    Raises:
        ConfigError: If the text is not an expression of the language.
    """

    def __init__(
        self, text: str, *, branches: Collection[str] = (), label: str = "expression", cut: bool = False
    ) -> None:
        self.text = text
        self.label = label
        self.cut = cut
        try:
            self._tree, self.names = (Name(name=text), {text}) if text in branches else parse(text, branches)
        except SyntaxProblem as error:
            raise ConfigError(
                f"{self}: expected an expression of branches such as 'incident_energy > 1 and overflow[0] < 5', got "
                f"something else ({error}); correct it{_advice(text, branches)} (docs/expressions.md shows the "
                "language)"
            ) from None

    def __str__(self) -> str:
        """Key of the configuration and text, for messages."""
        text = self.text if len(self.text) <= _SHOWN else f"{self.text[:_SHOWN]}..."
        return f"{self.label} {text!r}"

    @property
    def is_name(self) -> bool:
        """Whether it is a branch alone."""
        return isinstance(self._tree, Name)

    def advice(self, branches: Collection[str]) -> str:
        """Say which names of branches in it need backticks and have none, for messages; may be empty.

        Args:
            branches: Names of the branches that exist.
        """
        return _advice(self.text, branches)

    def __call__(self, arrays: Mapping[str, Any]) -> Any:
        """Evaluate on a chunk.

        Args:
            arrays: One array for each branch, first axis events.

        Returns:
            The values, first axis events: an awkward array, or, for a branch alone, what is in `arrays`.

        Raises:
            ConfigError: If an operation does not fit the types of the branches.
        """
        if isinstance(self._tree, Name):
            return arrays[self._tree.name]
        try:
            with np.errstate(all="ignore"):  # log(-1) is NaN, which the reader reports with its entry number
                result = _value(self._tree, arrays, decides=self.cut)
        except (TypeError, ValueError, IndexError, OverflowError, RuntimeError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ConfigError(
                f"{self}: cannot be evaluated ({reason}); expected operations that fit the types and shapes of the "
                "branches (hepgan inspect shows them)"
            ) from error
        if isinstance(result, ak.Array):
            return result
        constant = np.float64(result) if isinstance(result, int) and not isinstance(result, bool) else result
        return ak.Array(np.full(len(next(iter(arrays.values()))), constant))


def _advice(text: str, branches: Collection[str]) -> str:
    """Names of branches in a text that need backticks and have none."""
    bare = sorted((name for name in branches if name in text and quoted(name) != name), key=len)
    missing = [quoted(name) for name in bare if quoted(name) not in text]
    return f"; a branch with such a name stands in backticks: {missing[-1]}" if missing else ""


def _value(node: Node, arrays: Mapping[str, Any], *, decides: bool) -> Any:
    if isinstance(node, Chain):
        return _chain(node, arrays, decides=decides)
    if isinstance(node, Name):
        value = ak.Array(arrays[node.name])
        try:
            element_type(value)
        except TypeError as error:
            raise TypeError(f"{node.name!r}: {error}") from None
        return value
    if isinstance(node, Number):
        return node.value
    if not isinstance(node, Index):
        raise TypeError(f"expected a part of an expression, got {type(node).__name__}")
    value = _value(node.of, arrays, decides=decides)
    if not isinstance(value, ak.Array):
        raise TypeError("a constant has no index")
    return value[(slice(None), *node.index)]


def _chain(node: Chain, arrays: Mapping[str, Any], *, decides: bool) -> Any:
    def operand(operation: Operation, k: int, child: Node) -> Any:
        flag = operation.decides[min(k, len(operation.decides) - 1)]
        return _value(child, arrays, decides=decides if flag is None else flag)

    first, *others = node.operations
    if not others:
        values = [operand(first, k, child) for k, child in enumerate(node.operands)]
        return first(*values, decides=decides)
    value = operand(first, 0, node.operands[0])
    for operation, child in zip(node.operations, node.operands[1:], strict=True):
        value = operation(value, operand(operation, 1, child), decides=decides)
    return value
