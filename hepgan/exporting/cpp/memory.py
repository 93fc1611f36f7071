"""Buffers: inputs, weights, working memory and output of the compiled network, and the addresses of their numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hepgan.exporting.cpp.addresses import STRIDE, ZERO, Addresses
from hepgan.exporting.cpp.graph import Array, Node, Value
from hepgan.exporting.cpp.text import identifier, shape_text

__all__ = ["Buffer", "Memory", "Pointer", "Waiting"]


@dataclass
class Waiting:
    """An expression, number by number, that is not computed yet.

    Attributes:
        buffer: The buffer of the result.
        node: The node that asks for it.
        template: C++ expression with the operands {0}, {1}, ...
        operands: Constants or addresses (size,) of each operand, in the order of the buffer.
        uses: Reads by steps that are still to come.
        depth: Expressions within each other.
    """

    buffer: Buffer = field(repr=False)
    node: Node
    template: str
    operands: list[Value]
    uses: int
    depth: int = 0


@dataclass
class Buffer:
    """Consecutive numbers.

    Attributes:
        number: Position in `Memory.buffers`.
        name: Name in C++.
        size: Count of numbers.
        base: C++ array that holds them: condition, latent, weights, memory or out.
        shape: Shape for comments.
        waiting: The expression of the numbers as long as they are not computed.
        rectified: Whether many numbers may be zero.
    """

    number: int
    name: str
    size: int
    base: str
    shape: str = ""
    waiting: Waiting | None = None
    rectified: bool = False

    @property
    def addresses(self) -> Addresses:
        """Addresses (size,) of the numbers."""
        return self.number * STRIDE + np.arange(self.size, dtype=np.int64)


@dataclass(frozen=True)
class Pointer:
    """A buffer and an offset; as text, a pointer in C++."""

    buffer: Buffer
    offset: int

    def __str__(self) -> str:
        return f"{self.buffer.name} + {self.offset}" if self.offset else self.buffer.name

    def row(self, length: int, rows: int) -> str:
        """The pointer to row r of `rows` rows of `length` numbers."""
        return f"{self} + {length} * r" if rows > 1 else str(self)


class Memory:
    """All buffers.

    Attributes:
        buffers: Buffers by number; the first one holds the number zero.
        weights: Numbers of each buffer of weights, by its number.
    """

    def __init__(self) -> None:
        self.buffers = [Buffer(0, "zero", 1, "zero")]
        self.weights: dict[int, NDArray[np.float32]] = {}
        self._names: Counter[str] = Counter()
        self._same: dict[bytes, Buffer] = {}

    def new(self, name: str, size: int, base: str, shape: str = "") -> Buffer:
        """Add a buffer, with a number after its name if another one has that name."""
        wanted = name = identifier(name)
        while name in self._names:
            self._names[wanted] += 1
            name = f"{wanted}_{self._names[wanted]}"
        self._names[name] += 1
        self.buffers.append(Buffer(len(self.buffers), name, size, base, shape))
        return self.buffers[-1]

    def working(self, node: Node, shape: Sequence[int], suffix: str = "") -> Buffer:
        """Add a buffer of working memory, named after a node."""
        name = node.name or node.operator
        return self.new(name + suffix, math.prod(shape), "memory", shape_text(shape))

    def constant(self, node: Node, values: Array, suffix: str) -> Buffer:
        """Add a buffer of weights with these numbers, or find the one that has them already."""
        numbers = np.ascontiguousarray(values, np.float32).ravel()
        key = numbers.tobytes()
        if key not in self._same:
            name = (node.name or node.operator) + suffix
            self._same[key] = self.new(name, len(numbers), "weights", shape_text(values.shape))
            self.weights[self._same[key].number] = numbers
        return self._same[key]

    def addresses(self, node: Node, value: Value) -> Addresses:
        """Addresses of a tensor's numbers; constants become weights."""
        if not value.constant:
            return value.array
        if not value.array.any():
            return np.full(value.array.shape, ZERO, np.int64)
        return self.constant(node, value.array, "_constant").addresses.reshape(value.array.shape)

    def owners(self, addresses: Addresses) -> list[Buffer]:
        """Buffers that hold the numbers, in the order in which they were added."""
        return [self.buffers[number] for number in np.unique(addresses // STRIDE)]

    def pointer(self, address: int) -> Pointer:
        """The buffer of an address, and the offset in it."""
        return Pointer(self.buffers[address // STRIDE], address % STRIDE)
