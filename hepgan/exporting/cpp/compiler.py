"""Compiles an ONNX graph of fixed shapes to steps in C++, which `hepgan.exporting.cpp.header` writes into a header.

`compile_graph` goes once through the nodes. A tensor is an array of addresses (`hepgan.exporting.cpp.addresses`): where
each of its numbers lies, in an input, among the weights or in working memory. Hence

- operators that only move numbers (Reshape, Slice, Concat, Pad, Gather, ...) are applied to the addresses at compile
  time, by ONNX's own reference implementation, and cost nothing at run time; numbers are copied only where a step
  needs them contiguous;
- element-wise operators are delayed until a step needs their result, and then fused with the delayed operators before
  them into one loop (`hepgan.exporting.cpp.writer`);
- products with weights, sums and softmax are calls of functions in export/include/hepgan/compiled.hpp.

`_HANDLERS` has the function that compiles a node for each operator.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from hepgan.exporting.cpp.addresses import Addresses
from hepgan.exporting.cpp.expressions import EXPRESSIONS, wait
from hepgan.exporting.cpp.graph import MOVES, Array, Graph, Node, Value
from hepgan.exporting.cpp.products import convolution, gemm, matmul
from hepgan.exporting.cpp.program import Program, arrange
from hepgan.exporting.cpp.reductions import REDUCTIONS, reduction, softmax
from hepgan.exporting.cpp.writer import Writer

__all__ = ["compile_graph"]

_SETTINGS = {"Concat": (), "Pad": (1, 3), "Where": (0,)}
"""Inputs of a move that are constant settings, where these are not all but the first one."""


def _move(node: Node, writer: Writer) -> list[Addresses]:
    """Run the operator on addresses."""
    settings = _SETTINGS.get(node.operator, range(1, len(node.inputs)))
    arrays = [
        node.constant(index) if index in settings or value is None else writer.input(node, index)
        for index, value in enumerate(node.inputs)
    ]
    outputs = node.evaluate(arrays)
    source = node.given[0]
    if node.operator in ("Expand", "Gather") and outputs[0].size > source.array.size:
        # numbers are repeated: all read a contiguous copy from now on, so that to put them together takes few loops
        source.array = writer.contiguous(node, source.array)
        outputs = node.evaluate([source.array, *arrays[1:]])
    return outputs


def _where(node: Node, writer: Writer) -> list[Addresses]:
    """Compile Where: with a constant condition it only moves numbers, otherwise it computes them."""
    condition = node.inputs[0]
    return _move(node, writer) if condition is not None and condition.constant else wait(node, writer)


_HANDLERS: dict[str, Callable[[Node, Writer], list[Addresses]]] = {
    **dict.fromkeys(MOVES, _move),
    **dict.fromkeys(EXPRESSIONS, wait),
    **dict.fromkeys(REDUCTIONS, reduction),
    "Conv": convolution,
    "Gemm": gemm,
    "MatMul": matmul,
    "Softmax": softmax,
    "Where": _where,
}
"""Functions that compile a node whose inputs depend on the event, by operator; they return addresses of its outputs."""


def _constant_outputs(node: Node) -> list[Array] | None:
    """Outputs of a node that do not depend on the event; None if they do."""
    if node.operator == "Shape":
        shape = np.array(node.given[0].array.shape, np.int64)
        end: int | None = node.attribute("end", None)
        return [shape[node.attribute("start", 0) : end]]
    if all(value.constant for value in node.given):
        return node.evaluate([None if value is None else value.array for value in node.inputs])
    return None


def _compile(node: Node, writer: Writer) -> list[Value]:
    """Values of a node's outputs, after its steps are written."""
    if (constants := _constant_outputs(node)) is not None:
        return [Value(array, constant=True) for array in constants]
    if node.operator not in _HANDLERS:
        raise node.refused(f"one of {', '.join(sorted(_HANDLERS))}", node.operator)
    return [Value(addresses, constant=False) for addresses in _HANDLERS[node.operator](node, writer)]


def compile_graph(model: Any) -> Program:
    """Compile a model whose shapes are all known.

    Args:
        model: ONNX model with the inputs ``condition`` and ``latent`` of one row.

    Raises:
        ConfigError: If an operator, or what it is asked for, is not implemented; names operator and node.
    """
    graph, writer = Graph(model), Writer()
    values = {name: Value(array, constant=True) for name, array in graph.constants.items()}
    for name, shape in graph.inputs.items():
        buffer = writer.memory.new(name, math.prod(shape), name)
        values[name] = Value(buffer.addresses.reshape(shape), constant=False)
    for node in graph.nodes(values):
        values.update(zip(node.proto.output, _compile(node, writer), strict=True))
    return _finished(writer, [values[name] for name in graph.outputs])


def _finished(writer: Writer, outputs: list[Value]) -> Program:
    """Copy the outputs of an event together, one after the other, and give every buffer its place."""
    node = Node(onnx.helper.make_node("Outputs", [], [], name="/outputs/Outputs"))
    addresses = np.concatenate([writer.memory.addresses(node, value).ravel() for value in outputs])
    writer.copy(node, addresses, writer.memory.new("out", len(addresses), "out"))
    return arrange(writer.steps, writer.memory, len(addresses))
