"""What is known of an ONNX graph before it runs: shapes and element types of its tensors, attributes of its nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx

__all__ = ["Shape", "attribute", "element_types", "tensor_shapes"]

Shape = list[int | None]
"""Lengths of the axes; None for one that the graph leaves open, such as the batch."""


def attribute(node: Any, name: str, default: int) -> int:
    """A whole number among the attributes of a node."""
    return next((int(a.i) for a in node.attribute if a.name == name), default)


def _values(model: Any) -> Iterator[Any]:
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    yield from (*graph.input, *graph.value_info, *graph.output)


def tensor_shapes(model: Any) -> dict[str, Shape]:
    """The shape of each tensor of known rank, by name."""
    shapes: dict[str, Shape] = {tensor.name: [*tensor.dims] for tensor in model.graph.initializer}
    for value in _values(model):
        tensor = value.type.tensor_type
        if tensor.HasField("shape"):
            shapes[value.name] = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
    return shapes


def element_types(model: Any) -> dict[str, np.dtype[Any]]:
    """The element type of each tensor as that of NumPy, by name."""
    return {
        value.name: np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
        for value in _values(model)
        if value.type.tensor_type.elem_type
    }
