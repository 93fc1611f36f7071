"""Reductions over axes, and softmax: calls of functions in export/include/hepgan/compiled.hpp for each row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hepgan.exporting.cpp.addresses import Addresses
from hepgan.exporting.cpp.graph import Node, Value
from hepgan.exporting.cpp.memory import Pointer
from hepgan.exporting.cpp.text import literal, row_loop, shape_text
from hepgan.exporting.cpp.writer import Writer

__all__ = ["REDUCTIONS", "reduction", "softmax"]


class _Reduction(NamedTuple):
    """A function of compiled.hpp, the expression applied to each number before it, and to its result after it.

    In `after`, {0} is the function's result and {1} the count of numbers.
    """

    function: str
    before: str = "{0}"
    after: str = "{0}"


REDUCTIONS = {
    "ReduceL2": _Reduction("total", "{0} * {0}", "std::sqrt({0})"),
    "ReduceMax": _Reduction("largest"),
    "ReduceMean": _Reduction("total", after="{0} / {1}"),
    "ReduceProd": _Reduction("multiplied"),
    "ReduceSum": _Reduction("total"),
    "ReduceSumSquare": _Reduction("total", "{0} * {0}"),
}
"""Reductions by operator."""


def _axes(node: Node, dimensions: int) -> list[int]:
    """Axes that a reduction goes over, from zero on; none if it leaves its input as it is."""
    as_input = node.constant(1)  # from opset 13 or 18 on; before, an attribute
    axes: list[int] = node.attribute("axes", [] if as_input is None else as_input.tolist())
    if not axes and not node.attribute("noop_with_empty_axes", 0):
        return list(range(dimensions))
    return sorted(axis % dimensions for axis in axes)


def _last(x: Addresses, axes: Sequence[int]) -> Addresses:
    """Move `axes` behind all others."""
    return np.moveaxis(x, axes, range(x.ndim - len(axes), x.ndim))


def reduction(node: Node, writer: Writer) -> list[Addresses]:
    """Compile an operator of `REDUCTIONS`."""
    function, before, after = REDUCTIONS[node.operator]
    x = writer.input(node, 0)
    axes = _axes(node, x.ndim)
    if not axes:
        return [x]
    numbers = _last(x, axes)
    n = math.prod(x.shape[axis] for axis in axes)
    rows = x.size // n
    if before != "{0}":
        operand = Value(numbers.ravel(), constant=False)
        waiting = writer.wait(node, (rows, n), template=before, operands=[operand], uses=1, suffix="_square")
        numbers = waiting.buffer.addresses
    source = writer.pointer(node, numbers)
    target = writer.memory.working(node, (rows,))
    value = after.format(f"{function}({source.row(n, rows)}, {n})", literal(n))
    lines = row_loop(rows, f"{target.name}[{'r' if rows > 1 else 0}] = {value};")
    comment = f"{shape_text((rows,))} {node.operator} over {n}"
    writer.add(node, lines, reads=[source.buffer], target=target, comment=comment)
    kept = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
    if not node.attribute("keepdims", 1):
        kept = [size for axis, size in enumerate(x.shape) if axis not in axes]
    return [target.addresses.reshape(kept)]


def softmax(node: Node, writer: Writer) -> list[Addresses]:
    """Compile Softmax along one axis."""
    x = writer.input(node, 0)
    axis = node.attribute("axis", -1) % x.ndim
    numbers = _last(x, [axis])
    n, rows = x.shape[axis], x.size // x.shape[axis]
    source = writer.pointer(node, numbers)
    target = writer.memory.working(node, (rows, n))
    to = Pointer(target, 0).row(n, rows)
    call = f"softmax({source.row(n, rows)}, {to}, {n});"
    comment = f"{shape_text((rows, n))} Softmax"
    writer.add(node, row_loop(rows, call), reads=[source.buffer], target=target, comment=comment)
    return [np.moveaxis(target.addresses.reshape(numbers.shape), -1, axis)]
