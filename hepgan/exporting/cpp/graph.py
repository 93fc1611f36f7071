"""An ONNX graph of fixed shapes: its constants and inputs, and each node with the values of its inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from hepgan.errors import ConfigError

__all__ = ["MOVES", "Array", "Graph", "Node", "Value"]

Array = NDArray[Any]
_T = TypeVar("_T")

MOVES = frozenset(
    {"Concat", "Expand", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Slice", "Split", "Squeeze"}
    | {"Transpose", "Unsqueeze"}
)
"""Operators that move numbers and compute none."""


@dataclass
class Value:
    """A tensor: constants, or the addresses of numbers that depend on the event.

    Attributes:
        array: The constants, or addresses (int64) as `hepgan.exporting.cpp.addresses` defines them.
        constant: Whether the tensor is constant.
    """

    array: Array
    constant: bool


@dataclass(frozen=True)
class Node:
    """A node of the graph.

    Attributes:
        proto: The node in ONNX.
        inputs: Values of the inputs; None for one that is left out.
        uses: Number of later nodes that read the first output, also through nodes that only move numbers; the graph's
            output counts as one.
    """

    proto: Any
    inputs: tuple[Value | None, ...] = ()
    uses: int = 0

    @property
    def operator(self) -> str:
        """Type of the node, such as MatMul."""
        return str(self.proto.op_type)

    @property
    def name(self) -> str:
        """Name in the file, such as /generator/trunk/MatMul; may be empty."""
        return str(self.proto.name)

    @property
    def given(self) -> list[Value]:
        """Values of the inputs that are not left out."""
        return [value for value in self.inputs if value is not None]

    def attribute(self, name: str, default: _T) -> _T:
        """An attribute of the node, or `default` if it has none of that name."""
        for attribute in self.proto.attribute:
            if attribute.name == name:
                value: _T = onnx.helper.get_attribute_value(attribute)
                return value
        return default

    def constant(self, index: int) -> Array | None:
        """An input that has to be constant; None if it is left out.

        Raises:
            ConfigError: If the input depends on the event.
        """
        value = self.inputs[index] if index < len(self.inputs) else None
        if value is None:
            return None
        if not value.constant:
            raise self.refused(f"input {index} to be constant", "one that depends on the event")
        return value.array

    def evaluate(self, arrays: Sequence[Array | None]) -> list[Array]:
        """Run ONNX's own reference implementation of the node on `arrays`, one for each input."""
        inputs = dict(zip(self.proto.input, arrays, strict=True))
        inputs.pop("", None)
        return [np.asarray(array) for array in ReferenceEvaluator(self.proto).run(None, inputs)]

    def refused(self, expected: str, got: str) -> ConfigError:
        """The error for a node that cannot be compiled."""
        return ConfigError(
            f"{self.operator} (node {self.name!r}): expected {expected}, got {got}; use --format onnx"
        )


class Graph:
    """The graph of a model.

    Args:
        model: ONNX model of which all shapes are known.

    Attributes:
        constants: Constants of the file by name.
        inputs: Shapes of the inputs by name.
        outputs: Names of the outputs.
    """

    def __init__(self, model: Any) -> None:
        graph = model.graph
        self.constants: dict[str, Array] = {
            tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer
        }
        self.inputs = {
            value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
            for value in graph.input
        }
        self.outputs = [str(value.name) for value in graph.output]
        self._nodes: list[Any] = list(graph.node)

    def nodes(self, values: Mapping[str, Value]) -> Iterator[Node]:
        """Yield the nodes in order.

        Args:
            values: Values of all tensors by name; the caller adds each node's outputs before the next node.
        """
        uses = self._uses()
        for proto in self._nodes:
            inputs = tuple(values[name] if name else None for name in proto.input)
            yield Node(proto, inputs, uses[proto.output[0]])

    def _uses(self) -> Counter[str]:
        """Count the reads of each tensor's numbers, also through moves; reading only the shape does not count."""
        uses = Counter(dict.fromkeys(self.outputs, 1))
        for proto in reversed(self._nodes):
            reads = sum(uses[name] for name in proto.output) if proto.op_type in MOVES else 1
            if proto.op_type != "Shape":
                uses.update({name: reads * count for name, count in Counter(proto.input).items()})
        return uses
