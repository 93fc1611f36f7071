"""Spell nodes of a graph of fixed shapes so that onnx2c, too, turns them into right C; no number changes.

| node | what onnx2c (April 2026) does with it | spelled as |
|---|---|---|
| Relu of (1, 1, ...) | stops: "multidimensional Relu" | Clip from 0 on |
| Relu of (n,) | reads a second length, which there is not | Clip from 0 on |
| Reduce that drops an axis and leaves two or more | writes C that does not compile | Reduce, Reshape |
| Cast of booleans whose result several nodes read | crashes | Where(x, 1, 0) |
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx

from hepgan.inference.shapes import Shape, attribute, element_types, tensor_shapes

__all__ = ["spell"]

_ZERO, _ONE = "/zero", "/one"  # names of constants
_NUMBERS = {_ZERO: np.array(0, np.float32), _ONE: np.array(1, np.float32)}


def _reduced(node: Any, shape: Shape) -> Iterator[Any]:
    """A Reduce node that keeps its axes, and the Reshape that drops them; `shape`: of the result."""
    name = node.output[0]
    kept = [a for a in node.attribute if a.name != "keepdims"]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute("keepdims", 1)])
    node.output[0] = f"{name}/kept"
    yield node
    constant = onnx.numpy_helper.from_array(np.array(shape, np.int64))
    yield onnx.helper.make_node("Constant", [], [f"{name}/shape"], value=constant)
    yield onnx.helper.make_node(
        "Reshape", [node.output[0], f"{name}/shape"], [name], name=f"{node.name}/Reshape"
    )


def _spelled(node: Any, shapes: dict[str, Shape], types: dict[str, np.dtype[Any]]) -> Iterator[Any]:
    first = node.input[0] if node.input else ""
    shape, result = shapes.get(first, []), shapes.get(node.output[0], [])
    if node.op_type == "Relu" and (len(shape) == 1 or shape[:2] == [1, 1]):
        yield onnx.helper.make_node("Clip", [first, _ZERO], node.output, name=node.name)
    elif node.op_type == "Cast" and types.get(first) == np.bool_ and types.get(node.output[0]) == np.float32:
        yield onnx.helper.make_node("Where", [first, _ONE, _ZERO], node.output, name=node.name)
    elif node.op_type.startswith("Reduce") and not attribute(node, "keepdims", 1) and len(result) > 1:
        yield from _reduced(node, result)
    else:
        yield node


def spell(model: Any) -> None:
    """Replace in place the nodes of the module's table.

    Args:
        model: The ONNX model (`onnx.ModelProto`), of a fixed batch size and folded (`hepgan.exporting.folding.fold`).
    """
    graph = model.graph
    shapes, types = tensor_shapes(model), element_types(model)
    nodes = [new for node in graph.node for new in _spelled(node, shapes, types)]
    read = {name for node in nodes for name in node.input}
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(
        onnx.numpy_helper.from_array(number, name) for name, number in _NUMBERS.items() if name in read
    )
