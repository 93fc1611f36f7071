"""Element-wise operators: a table of their C++ expressions, and `wait`, which delays their computation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx

from hepgan.exporting.cpp.addresses import Addresses
from hepgan.exporting.cpp.graph import Array, Node, Value
from hepgan.exporting.cpp.text import literal
from hepgan.exporting.cpp.writer import Writer

__all__ = ["EXPRESSIONS", "wait"]

_DEEPEST = 60  # expressions within each other; a deeper one becomes a loop of its own


def _folded(template: str) -> Callable[[Node], str]:
    """An expression of two operands, repeated for any number of them."""

    def text(node: Node) -> str:
        result = "{0}"
        for k in range(1, len(node.inputs)):
            result = template.replace("{0}", "\0").replace("{1}", f"{{{k}}}").replace("\0", result)
        return result

    return text


def _mean(node: Node) -> str:
    return f"({_folded('{0} + {1}')(node)}) / {len(node.inputs)}.0F"


def _number(values: Array | None) -> float | None:
    return None if values is None else float(values)


def _clip(node: Node) -> str:
    low, high = (_number(node.constant(k)) for k in (1, 2))
    if low is None:
        return "{0}" if high is None else f"smaller({{0}}, {literal(high)})"
    if high is None:
        return f"larger({{0}}, {literal(low)})"
    return f"clip({{0}}, {literal(low)}, {literal(high)})"


def _cast(node: Node) -> str:
    to = node.attribute("to", 0)
    if to == onnx.TensorProto.BOOL:
        return "{0} != 0 ? 1.0F : 0.0F"
    if to != onnx.TensorProto.FLOAT:
        raise node.refused("numbers of type float or bool", onnx.TensorProto.DataType.Name(to))
    return "{0}"


def _with(template: str, **defaults: float) -> Callable[[Node], str]:
    """An expression with attributes of the node as numbers; `defaults` gives their names and defaults."""

    def text(node: Node) -> str:
        result = template
        for name, default in defaults.items():
            result = result.replace(f"<{name}>", literal(node.attribute(name, default)))
        return result

    return text


def _leaky_relu(node: Node) -> str:
    if (slope := node.attribute("alpha", 0.01)) > 1:
        raise node.refused("a slope of at most 1", f"{slope:g}")
    return f"leaky_relu({{0}}, {literal(slope)})"


_SELU = {"alpha": 1.6732632423543772, "gamma": 1.0507009873554805}  # of the ONNX standard

EXPRESSIONS: dict[str, str | Callable[[Node], str]] = {
    "Abs": "std::abs({0})",
    "Add": "{0} + {1}",
    "Atan": "std::atan({0})",
    "Cast": _cast,
    "Clip": _clip,
    "Cos": "std::cos({0})",
    "Div": "{0} / {1}",
    "Elu": _with("elu({0}, <alpha>)", alpha=1.0),
    "Equal": "{0} == {1} ? 1.0F : 0.0F",
    "Erf": "std::erf({0})",
    "Exp": "std::exp({0})",
    "Floor": "std::floor({0})",
    "Greater": "{0} > {1} ? 1.0F : 0.0F",
    "GreaterOrEqual": "{0} >= {1} ? 1.0F : 0.0F",
    "LeakyRelu": _leaky_relu,
    "Less": "{0} < {1} ? 1.0F : 0.0F",
    "LessOrEqual": "{0} <= {1} ? 1.0F : 0.0F",
    "Log": "std::log({0})",
    "Max": _folded("larger({0}, {1})"),
    "Mean": _mean,
    "Min": _folded("smaller({0}, {1})"),
    "Mul": "{0} * {1}",
    "Neg": "-{0}",
    "Not": "{0} == 0 ? 1.0F : 0.0F",
    "Pow": "std::pow({0}, {1})",
    "Reciprocal": "1 / {0}",
    "Relu": "relu({0})",
    "Selu": _with("<gamma> * elu({0}, <alpha>)", **_SELU),
    "Sigmoid": "sigmoid({0})",
    "Sin": "std::sin({0})",
    "Softplus": "softplus({0})",
    "Sqrt": "std::sqrt({0})",
    "Sub": "{0} - {1}",
    "Sum": _folded("{0} + {1}"),
    "Tanh": "std::tanh({0})",
    "Where": "{0} != 0 ? {1} : {2}",
}
"""C++ expression of the operands {0}, {1}, ... by operator, or the function that gives it for a node."""


def wait(node: Node, writer: Writer) -> list[Addresses]:
    """Let the result of an operator of `EXPRESSIONS` wait to be computed.

    The result has the memory order of the first operand that depends on the event, without repeated numbers, so that
    a transposed operand is read sequentially.
    """
    expression = EXPRESSIONS[node.operator]
    template = expression if isinstance(expression, str) else expression(node)
    given = (
        node.given[:1] if node.operator == "Clip" else node.given
    )  # the other inputs of Clip are in its template
    shape = np.broadcast_shapes(*(value.array.shape for value in given))
    operands = [Value(np.broadcast_to(value.array, shape).ravel(), value.constant) for value in given]
    size = math.prod(shape)
    order = np.arange(size)
    for operand in operands:
        if not operand.constant and len(np.unique(operand.array)) == size:
            order = np.argsort(operand.array, kind="stable")
            break
    operands = [
        Value(o.array[order].astype(np.float64) if o.constant else o.array[order], o.constant)
        for o in operands
    ]
    waiting = writer.wait(node, shape, template=template, operands=operands, uses=node.uses)
    waiting.buffer.rectified = node.operator == "Relu"
    waiting.depth = 1 + max((w.depth for _, w in writer.inlined(waiting) if w is not None), default=0)
    addresses = np.empty(size, np.int64)
    addresses[order] = waiting.buffer.addresses
    if waiting.depth > _DEEPEST:
        writer.finish(waiting.buffer)
    return [addresses.reshape(shape)]
