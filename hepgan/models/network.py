"""A critic of layers and leaky ReLUs as one compiled function, and its derivatives.

All numbers of a pass are rows of one array (rows, B), the batch innermost: inputs, outputs of each layer, scores. A
layer reads and writes neighbouring rows, so nothing is copied or joined, and all layers work on a few events at a time,
whose rows stay in the cache (``network_output`` and others in ``cpp/layers.cpp``). Because such a network is linear
around almost every input, the derivatives of a gradient penalty follow from two further passes (`Trace.along`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from hepgan.models.locally_connected import struct_shape
from hepgan.models.piecewise import given
from hepgan.transforms.kernels import run, usable

__all__ = ["Network", "Placed"]


@dataclass(frozen=True)
class Placed:
    """A layer of a network, and the rows of its numbers.

    Attributes:
        layer: Dense or locally connected.
        input: First row of its input.
        output: First row of its output.
        slope: Slope of the leaky ReLU behind it; 1 for none.
        first: Whether its input is an input of the network.
    """

    layer: Any
    input: int
    output: int
    slope: float
    first: bool = False

    @property
    def parameters(self) -> tuple[Tensor, Tensor]:
        """Weight and bias."""
        return self.layer.weight, self.layer.bias


class _Layer(ctypes.Structure):
    """The struct Layer of ``cpp/layers.cpp``."""

    _fields_ = [
        ("shape", ctypes.c_long * 22),
        *((name, ctypes.c_long) for name in ("input", "output")),
        *((name, ctypes.c_void_p) for name in ("w", "bias", "by_w", "by_bias")),
        ("wanted", ctypes.c_long),
        ("slope", ctypes.c_float),
    ]


class Network:
    """Layers whose numbers are rows of one array, the scores last.

    Args:
        layers: In the order in which they are computed.
        inputs: First row, and rows, of each part of the input, in the order of its features.
        rows: Number of rows.
    """

    def __init__(self, layers: list[Placed], *, inputs: list[tuple[int, int]], rows: int) -> None:
        self.layers, self.inputs, self.rows = layers, inputs, rows
        self.scores = rows - layers[-1].output
        self._structs: dict[int, Any] = {}

    @property
    def parameters(self) -> list[Tensor]:
        """Weight and bias of each layer, in order."""
        return [p for placed in self.layers for p in placed.parameters]

    def usable(self, x: Tensor) -> bool:
        """Whether the compiled functions can compute with this input, outside of autocast."""
        return usable(x, self.layers[0].layer.weight) and not torch.is_autocast_enabled("cpu")

    def _passed(self, batch: int, *, inputs: bool = False, into: list[Tensor] | None = None) -> Any:
        """Array of structs: with the gradient of the input if it is wanted, and places for those of the parameters."""
        structs = self._structs.get(batch)
        if structs is None:
            structs = self._structs[batch] = (_Layer * len(self.layers))()
            for struct, placed in zip(structs, self.layers, strict=True):
                struct.shape = struct_shape(placed.layer, batch)
                struct.input, struct.output, struct.slope = placed.input, placed.output, placed.slope
        for k, (struct, placed) in enumerate(zip(structs, self.layers, strict=True)):
            struct.w, struct.bias = (p.data_ptr() for p in placed.parameters)
            struct.wanted = inputs or not placed.first
            dense = isinstance(placed.layer, nn.Linear)  # the weights of those follow from a large product
            struct.by_w = into[2 * k].data_ptr() if into and not dense else None
            struct.by_bias = into[2 * k + 1].data_ptr() if into else None
        return structs

    def filled(self, *parts: Tensor) -> Tensor:
        """Rows of a pass with its inputs: parts (F_k, B) of the features."""
        rows = parts[0].new_empty(self.rows, parts[0].shape[1])
        for (start, n), part in zip(self.inputs, parts, strict=True):
            rows[start : start + n] = part
        return rows

    def output(self, rows: Tensor, *, signs: Tensor | None = None) -> Tensor:
        """Compute all rows from the inputs; with `signs`, the rows of another pass, the derivative there along them.

        Returns:
            Scores (S, B), the last rows.
        """
        batch = rows.shape[1]
        run("network_output", ctypes.byref(self._passed(batch)), len(self.layers), batch, rows, signs)
        return rows[-self.scores :]

    def gradient(self, rows: Tensor, cotangent: Tensor, *, inputs: bool) -> Tensor:
        """Gradients of all rows from those of the scores (S, B), as cotangents of what is under the leaky ReLUs."""
        gradients, batch = torch.empty_like(rows), rows.shape[1]
        gradients[-self.scores :] = cotangent
        structs = self._passed(batch, inputs=inputs)
        run("network_gradient", ctypes.byref(structs), len(self.layers), batch, rows, gradients)
        return gradients

    def weights(self, rows: Tensor, gradients: Tensor) -> list[Tensor]:
        """Gradients of `parameters` from the rows of a pass and the cotangents of one."""
        made, batch = [torch.empty_like(p) for p in self.parameters], rows.shape[1]
        structs = self._passed(batch, into=made)
        run("network_weights", ctypes.byref(structs), len(self.layers), batch, rows, gradients)
        for placed, weight in zip(self.layers, made[::2], strict=True):
            if isinstance(placed.layer, nn.Linear):
                g = gradients[placed.output : placed.output + placed.layer.out_features]
                x = rows[placed.input : placed.input + placed.layer.in_features]
                torch.mm(g, x.T, out=weight)
        return made

    def __call__(self, *parts: Tensor) -> Tensor:
        """Scores (S, B) of inputs (F_k, B); first derivatives only."""
        made: Tensor = _Scores.apply(self, _Pass(), len(parts), *parts, *self.parameters)  # type: ignore[no-untyped-call]
        return made

    def traced(self, *parts: Tensor) -> tuple[Tensor, Callable[..., Tensor]]:
        """Scores (S, B) of inputs (F_k, B), and the function of directions (F_k, B) of `Trace.along`."""
        kept = _Pass()
        scores: Tensor = _Scores.apply(self, kept, len(parts), *parts, *self.parameters)  # type: ignore[no-untyped-call]

        @torch.no_grad()
        def along(*directions: Tensor) -> Tensor:
            rows = self.filled(*directions)
            self.output(rows, signs=kept.rows)
            if kept.gradients is None:
                raise RuntimeError(
                    "expected the gradient of the traced sum by the input, got none; take it first"
                )
            made = self.weights(rows, kept.gradients)
            with torch.enable_grad():
                return given(made[::2], [placed.layer.weight for placed in self.layers])

        return scores, along


@dataclass
class _Pass:
    """Rows of a pass, and their gradients once they are computed."""

    rows: Tensor | None = None
    gradients: Tensor | None = None


class _Scores(torch.autograd.Function):
    """Scores (S, B) of a network; arguments are what to keep, the number n of inputs, n inputs, and the parameters."""

    @staticmethod
    def forward(ctx: Any, network: Network, kept: _Pass, n: int, *tensors: Tensor) -> Tensor:
        rows = network.filled(*tensors[:n])
        scores = network.output(rows).clone()
        kept.rows = rows
        ctx.network, ctx.kept, ctx.n = network, kept, n
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        network, kept, n = ctx.network, ctx.kept, ctx.n
        wanted = ctx.needs_input_grad[3 : 3 + n]
        kept.gradients = gradients = network.gradient(kept.rows, grads[0], inputs=any(wanted))
        parts = [
            gradients[start : start + rows] if want else None
            for (start, rows), want in zip(network.inputs, wanted, strict=True)
        ]
        weights = any(ctx.needs_input_grad[3 + n :])
        made = network.weights(kept.rows, gradients) if weights else [None] * len(network.parameters)
        return (None, None, None, *parts, *made)
