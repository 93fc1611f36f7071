"""Which numbers of an event a network computes from which others.

Draw a network with `Wiring`: numbers, and what is computed of them, in order. `hepgan.models.tables` makes the lists of
sums of it that compiled functions read.

In half precision two neighbouring numbers share a word. Numbers of a place of an image, or of a vector, are neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from hepgan.models.locally_connected import LocallyConnected2d

__all__ = ["FIRST", "ONE", "ZERO", "Average", "Layer", "Numbers", "Product", "Products", "Wiring"]

Numbers = NDArray[np.int64]
"""Places of numbers in an event: (H, W, C) of an image, (F,) of a vector."""

ZERO, ONE, FIRST = 0, 1, 2
"""Places of constants, and of the first parameter, among the weights."""


class Products(NamedTuple):
    """Number `to` gets `weight` (a place among all weights) times number `source`; arrays of one length."""

    to: Numbers
    source: Numbers
    weight: Numbers

    @classmethod
    def joined(cls, parts: Sequence[Products]) -> Products:
        """All of several lists."""
        return cls(*(np.concatenate([np.zeros(0, np.int64), *column]) for column in zip(*parts, strict=True)))


@dataclass
class Layer:
    """A layer: dense on vectors (F,), or locally connected on images (H, W, C)."""

    layer: Any
    source: Numbers
    to: Numbers
    slope: float
    sigmoid: bool
    first: int  # place of its weight among all weights

    def products(self) -> Products:
        """All its products."""
        if isinstance(self.layer, nn.Linear):
            to, source = np.broadcast_arrays(self.to[:, None], self.source[None])
            return Products(to.ravel(), source.ravel(), self.first + np.arange(to.size))
        layer: LocallyConnected2d = self.layer
        shape = tuple(layer.weight.shape)
        h, i, v, o, j, c = np.indices(shape, sparse=True)
        row = h * layer.stride[0] + i - layer.padding[0]
        row = row % layer.size[0] if layer.wrapped else row
        column = v * layer.stride[1] + j - layer.padding[1]
        inside = (row >= 0) & (row < layer.size[0]) & (column >= 0) & (column < layer.size[1])
        inside = np.broadcast_to(inside, shape)
        source = self.source[row.clip(0, layer.size[0] - 1), column.clip(0, layer.size[1] - 1), c]
        to = np.broadcast_to(self.to[h, v, o], shape)
        weight = self.first + np.arange(math.prod(shape)).reshape(shape)
        return Products(to[inside], np.broadcast_to(source, shape)[inside], weight[inside])


@dataclass
class Average:
    """Fixed averages: place p of `to` (P, C) gets factor times place q of `source` (Q, C), for all (p, q, factor)."""

    source: Numbers
    to: Numbers
    factors: list[tuple[int, int, float]]
    back: Numbers  # of the derivatives by `source`


@dataclass
class Product:
    """Numbers `to` (P, C): a sigmoid times other numbers, each by each."""

    sigmoid: Numbers
    other: Numbers
    to: Numbers
    back: Numbers  # of the derivatives by `other`


@dataclass
class Wiring:
    """A network as it is drawn.

    Args:
        per: Numbers of a word.

    Attributes:
        n_numbers: Number of numbers of an event.
        n_weights: Number of weights and constants.
        steps: What is computed, in order.
        layers: The layers among the steps.
        inputs: Numbers of each part of the input, and whether derivatives by it are wanted.
        outputs: Numbers of the output.
    """

    per: int
    n_numbers: int = 0
    n_weights: int = FIRST
    steps: list[Layer | Average | Product] = field(default_factory=list)
    layers: list[Any] = field(default_factory=list)
    inputs: list[tuple[Numbers, bool]] = field(default_factory=list)
    outputs: Numbers = field(default_factory=lambda: np.zeros(0, np.int64))

    def numbers(self, *shape: int) -> Numbers:
        """Places for the numbers of a vector (F,) or an image (H, W, C)."""
        *places, channels = shape
        padded = -(-channels // self.per) * self.per
        made = self.n_numbers + np.arange(math.prod(places) * padded).reshape(*places, padded)
        self.n_numbers += made.size
        return made[..., :channels]

    def input(self, numbers: Numbers, *, wanted: bool = True) -> None:
        """Say that the next part of the input, (F, B), is these numbers, and if derivatives by it are wanted."""
        self.inputs.append((numbers.ravel(), wanted))

    def output(self, numbers: Numbers) -> None:
        """Say which numbers are the output, (S, B); of layers without a curve, read by nothing."""
        self.outputs = numbers.ravel()

    def apply(
        self, layer: Any, source: Numbers, *, to: Numbers | None = None, slope: float = 1.0, sigmoid: bool = False
    ) -> Numbers:  # fmt: skip
        """Numbers that a layer, with a leaky ReLU or a sigmoid, computes of others; at places `to`, or new ones."""
        dense = isinstance(layer, nn.Linear)
        shape = (layer.out_features,) if dense else (*layer.output_size, layer.out_channels)
        if to is None:
            to = self.numbers(*shape)
        shaped = to if dense else to.reshape(shape)
        self.steps.append(Layer(layer, source, shaped, slope, sigmoid, self.n_weights))
        self.layers.append(layer)
        self.n_weights += layer.weight.numel() + layer.bias.numel()
        return to

    def average(self, rows: NDArray[Any], columns: NDArray[Any], source: Numbers) -> Numbers:
        """Image (H', W', C) of averages over one of (H, W, C), with factors rows (H', H) times columns (W', W)."""
        height, width, channels = source.shape
        to = self.numbers(len(rows), len(columns), channels)
        factors = [
            (int(a * len(columns) + b), int(c * width + d), float(rows[a, c] * columns[b, d]))
            for a, c in np.argwhere(rows)
            for b, d in np.argwhere(columns)
        ]
        back = self.numbers(height, width, channels).reshape(-1, channels)
        self.steps.append(
            Average(source.reshape(-1, channels), to.reshape(-1, channels), sorted(factors), back)
        )
        return to

    def product(self, sigmoid: Numbers, other: Numbers, *, to: Numbers) -> None:
        """Numbers `to`: a sigmoid, which nothing else reads, times other numbers, each by each."""
        shape = (-1, other.shape[-1])
        back = self.numbers(*other.shape).reshape(shape)
        self.steps.append(Product(sigmoid.reshape(shape), other.reshape(shape), to.reshape(shape), back))
