"""Compute the parts of an ONNX graph that do not depend on the event: constants, shapes, and tensors without numbers.

The tracer writes shape arithmetic (Shape, Slice, Concat, Reshape) and slices of size zero into the graph. ONNX Runtime
computes or skips them; programs that turn a graph into C or C++ stop at them. No number of the outputs changes.

Such programs need a fixed batch size. A graph for any batch size keeps its shape arithmetic, and so its digest: two
versions of hepgan write the same one from a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from hepgan.inference.shapes import Shape, element_types, tensor_shapes

__all__ = ["fold"]


def _is_empty(shape: Shape) -> bool:
    return None not in shape and 0 in shape


def _evaluated(node: Any, known: dict[str, NDArray[Any]], shapes: dict[str, Shape]) -> Sequence[NDArray[Any]]:
    """The outputs of a node that does not depend on the event; none if it does."""
    if known.keys() >= {*node.input}:
        inputs = {name: known[name] for name in node.input}
    elif node.op_type == "Shape" and None not in (shape := shapes.get(node.input[0], [None])):
        inputs = {node.input[0]: np.broadcast_to(np.float32(0), [n or 0 for n in shape])}
    else:
        return []
    return [np.asarray(value) for value in ReferenceEvaluator(node).run(None, inputs)]


def _fold_once(model: Any, *, with_shapes: bool) -> bool:
    """Replace nodes that do not depend on the inputs by their values. Returns whether there were any."""
    graph = model.graph
    shapes, types = (tensor_shapes(model), element_types(model)) if with_shapes else ({}, {})
    known = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    outputs = {value.name for value in graph.output}
    renamed: dict[str, str] = {}
    nodes = []
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        inner = [name for name in node.output if name in types and name not in outputs]
        empty = [name for name in inner if _is_empty(shapes.get(name, []))]
        known |= {name: np.empty([n or 0 for n in shapes[name]], types[name]) for name in empty}
        if not outputs & {*node.output}:
            if known.keys() >= {*node.output}:
                continue
            if values := _evaluated(node, known, shapes):
                known |= zip(node.output, values, strict=True)
                continue
        if node.op_type == "Concat":
            parts = [name for name in node.input if 0 not in shapes.get(name, [])]
            node.input[:] = parts or node.input[:1]
            if len(node.input) == 1 and node.output[0] not in outputs:
                renamed[node.output[0]] = node.input[0]
                continue
        nodes.append(node)
    kept = _used(nodes, outputs)
    read = outputs.union(*(node.input for node in kept))
    for node in kept:
        if with_shapes and node.op_type == "Split" and len(node.input) > 1 and node.input[1] in known:
            read |= _without_empty_parts(node, known, read)
    changed = len(kept) < len(graph.node)
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in known.items() if name in read
    )
    return changed


def _without_empty_parts(node: Any, known: dict[str, NDArray[Any]], read: set[str]) -> set[str]:
    """Leave out the parts of a Split that have size zero and that no node reads. Returns names of new constants."""
    sizes = known[node.input[1]]
    parts = [(name, n) for name, n in zip(node.output, sizes, strict=True) if n or name in read]
    if len(parts) == len(sizes):
        return set()
    node.input[1] = f"{node.output[0]}/sizes"
    node.output[:] = [name for name, _ in parts]
    known[node.input[1]] = np.array([n for _, n in parts], np.int64)
    return {node.input[1]}


def _used(nodes: Sequence[Any], outputs: set[str]) -> list[Any]:
    """The nodes on which the outputs depend, in the same order."""
    needed, used = {*outputs}, []
    for node in reversed(nodes):
        if needed & {*node.output}:
            needed |= {*node.input}
            used.append(node)
    return used[::-1]


def fold(model: Any) -> None:
    """Replace in place what does not depend on the inputs by its values.

    With a fixed batch size that includes all shapes, and tensors without numbers are left out.

    Args:
        model: The ONNX model (`onnx.ModelProto`).
    """
    del model.graph.value_info[:]
    fixed = model.graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_value")
    while _fold_once(model, with_shapes=fixed):
        pass
    for node in model.graph.node:
        node.doc_string = ""  # the tracer's source lines, with paths of this machine
