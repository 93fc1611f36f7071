"""Compute the parts of an ONNX graph that do not depend on the event: constants, shapes, and tensors without numbers.

The tracer writes shape arithmetic (Shape, Slice, Concat, Reshape) and slices of size zero into the graph. ONNX Runtime
computes or skips them; programs that turn a graph into C or C++ stop at them. No number of the outputs changes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

__all__ = ["element_types", "fold", "tensor_shapes"]

Shape = list[int | None]


def tensor_shapes(model: Any) -> dict[str, Shape]:
    """The shape of each tensor of known rank, by name; None for a length that the graph leaves open."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes: dict[str, Shape] = {tensor.name: [*tensor.dims] for tensor in inferred.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape"):
            shapes[value.name] = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
    return shapes


def element_types(model: Any) -> dict[str, Any]:
    """The element type of each tensor as that of NumPy, by name."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    return {
        value.name: onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        for value in inferred.value_info
    }


def _evaluated(node: Any, known: dict[str, NDArray[Any]], shapes: dict[str, Shape]) -> Sequence[NDArray[Any]]:
    """The outputs of a node that does not depend on the event; none if it does."""
    if known.keys() >= {*node.input}:
        inputs = {name: known[name] for name in node.input}
    elif node.op_type == "Shape" and None not in (shape := shapes.get(node.input[0], [None])):
        inputs = {node.input[0]: np.broadcast_to(np.float32(0), [n or 0 for n in shape])}
    else:
        return []
    return [np.asarray(value) for value in ReferenceEvaluator(node).run(None, inputs)]


def _fold_once(model: Any) -> bool:
    """Replace nodes that do not depend on the inputs by their values. Returns whether there were any."""
    graph = model.graph
    shapes, types = tensor_shapes(model), element_types(model)
    known = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    outputs = {value.name for value in graph.output}
    renamed: dict[str, str] = {}
    nodes = []
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        for name in node.output:
            shape = shapes.get(name, [None])
            if name in types and None not in shape and math.prod(n or 0 for n in shape) == 0 and shape:
                known[name] = np.empty([n or 0 for n in shape], types[name])
        if known.keys() >= {*node.output}:
            continue
        if values := _evaluated(node, known, shapes):
            known |= zip(node.output, values, strict=True)
            continue
        if node.op_type == "Concat":
            node.input[:] = [name for name in node.input if 0 not in shapes.get(name, [])]
            if len(node.input) == 1 and node.output[0] not in outputs:
                renamed[node.output[0]] = node.input[0]
                continue
        nodes.append(node)
    kept = _used(nodes, outputs)
    changed = len(kept) < len(graph.node)
    read = {name for node in kept for name in node.input}
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in known.items() if name in read
    )
    return changed


def _used(nodes: Sequence[Any], outputs: set[str]) -> list[Any]:
    """The nodes on which the outputs depend, in the same order."""
    needed, used = {*outputs}, []
    for node in reversed(nodes):
        if needed & {*node.output}:
            needed |= {*node.input}
            used.append(node)
    return used[::-1]


def fold(model: Any) -> None:
    """Replace in place what does not depend on the inputs by its values, and leave out tensors without numbers.

    Args:
        model: The ONNX model (`onnx.ModelProto`). With a fixed batch size all shapes are known, and none are computed
            in the graph that is left.
    """
    del model.graph.value_info[:]
    while _fold_once(model):
        pass
    for node in model.graph.node:
        node.doc_string = ""  # the tracer's source lines, with paths of this machine
