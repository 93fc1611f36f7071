"""What compiled kernels compute of tracks (``cpp/tracks.cpp``), with first derivatives.

Callers ask `hepgan.transforms.kernels.usable` before. Arrays have the batch innermost, features do not.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hepgan.transforms.kernels import addresses, run

__all__ = ["Pass", "energy_scores", "residual", "sparse_sums", "tents", "whitened"]

_EVENTS, _LANES = 64, 16  # of a block, and the largest number of floats of a vector


def tents(x: Tensor, place: Tensor) -> Tensor:
    """`hepgan.transforms.conditions.Tents` (B, C * H) of numbers (B, C) with nodes at (C, H); no derivatives."""
    conditions, nodes = place.shape
    made = x.new_empty(len(x), conditions * nodes)
    run("tents", conditions, nodes, len(x), x.contiguous(), place, made)
    return made


def sparse_sums(x: Tensor, weight: Tensor) -> Tensor:
    """Sums (S, B) of features (B, F), most of which are zero, times weights (S, F); no derivatives."""
    made = x.new_empty(len(weight), len(x))
    run("sparse_sums", *weight.shape, len(x), weight, x.contiguous(), made)
    return made


class _Sizes(ctypes.Structure):
    """The struct Residual of ``cpp/tracks.cpp``."""

    _fields_ = [
        *(
            (name, ctypes.c_long)
            for name in ("inputs", "context", "begins", "width", "depth", "outputs", "batch", "pitch")
        ),
        ("slope", ctypes.c_float),
    ]


class _Residual(torch.autograd.Function):
    """Outputs (S, B) of inputs (F, B) and contexts (B, C); further arguments as in `residual`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, context: Tensor, begins: int, slope: float, passed: Pass, *parameters: Tensor
    ) -> Tensor:
        depth, outputs, width = len(parameters) // 2 - 2, len(parameters[-1]), len(parameters[1])
        batch, pitch = x.shape[1], x.stride(0)
        passed.sizes = _Sizes(len(x), context.shape[1], begins, width, depth, outputs, batch, pitch, slope)
        passed.tensors = x, context, *parameters
        padded = -(-width // _LANES) * _LANES
        passed.kept = x.new_empty(-(-batch // _EVENTS) * (depth + 1) * _EVENTS * padded)
        made = x.new_empty(outputs, batch)
        at = ctypes.addressof(passed.sizes)
        run("residual_outputs", at, addresses(parameters), x, context, made, passed.kept)
        ctx.passed = passed
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        passed, wanted = ctx.passed, ctx.needs_input_grad
        passed.cotangent = grads[0].contiguous()
        x, parameters = passed.tensors[0], passed.tensors[2:]
        by_x = torch.empty(x.shape) if wanted[0] else None
        made = [torch.empty_like(p) for p in parameters] if any(wanted[5:]) else None
        passed.gradient(by_x, made)
        return by_x, None, None, None, None, *([None] * len(parameters) if made is None else made)


class Pass:
    """What is kept of a pass through a residual network, and of its gradient."""

    sizes: _Sizes
    tensors: tuple[Tensor, ...]
    kept: Tensor
    cotangent: Tensor | None = None

    def gradient(
        self, by_x: Tensor | None, made: list[Tensor] | None, *, along: Tensor | None = None
    ) -> None:
        """Compute derivatives by the inputs, and by the parameters; or, by these, of the former along a direction."""
        x, context, *parameters = self.tensors
        to = None if made is None else addresses(made)
        at = ctypes.addressof(self.sizes), addresses(parameters), x, context, self.kept
        run("residual_gradient", *at, self.cotangent, along, by_x, to)

    def along(self, direction: Tensor) -> list[Tensor]:
        """Derivatives by all parameters of (gradient of the outputs' sum by the inputs) * direction (F, B), summed.

        Raises:
            RuntimeError: If that gradient was not taken before.
        """
        if self.cotangent is None:
            raise RuntimeError(
                "expected the gradient of the traced sum by the input, got none; take it first"
            )
        made = [torch.empty_like(p) for p in self.tensors[2:]]
        self.gradient(None, made, along=direction.contiguous())
        return made


def residual(
    x: Tensor,
    context: Tensor,
    parameters: Sequence[Tensor],
    *,
    begins: int,
    slope: float,
    passed: Pass | None = None,
) -> Tensor:
    """Outputs (S, B) of a `hepgan.models.dense.ResidualNetwork`, with first derivatives by inputs and parameters.

    Args:
        x: (F, B) inputs without context.
        context: (B, C) inputs that are mostly zero; no derivatives by them.
        parameters: Weight and bias of each layer.
        begins: Place of the context among the inputs.
        slope: Of the leaky ReLUs.
        passed: Keeps what `Pass.along` needs.
    """
    x = x if x.stride(1) == 1 else x.contiguous()
    made: Tensor = _Residual.apply(x, context.contiguous(), begins, slope, passed or Pass(), *parameters)  # type: ignore[no-untyped-call]
    return made


class _Whitened(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, free: Tensor, coefficients: Tensor, most: float) -> Tensor:
        n, batch = z.shape
        made = z.new_empty(2 * n, batch)
        run("whitened", n, batch, most, z, free, coefficients, made)
        ctx.save_for_backward(free, coefficients, made)
        ctx.most = most
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        free, coefficients, made = ctx.saved_tensors
        to = torch.empty_like(free)
        g = grads[0].contiguous()
        run("whitened_gradient", *free.shape, ctx.most, free, coefficients, made, g, to)
        return to, None, None, None


def whitened(z: Tensor, free: Tensor, coefficients: Tensor, *, most: float) -> Tensor:
    """Numbers and whitened numbers (2 V, B), zero where they are not free; see `hepgan.models.whitening.Whitening`.

    Args:
        z: (V, B) numbers.
        free: (V, B) ones for numbers that are free, zeros for others.
        coefficients: ((V + 2) V, B) the table's rows at each event: mean, log spread, mixing.
        most: Whitened numbers are clipped to +- this value.
    """
    made: Tensor = _Whitened.apply(*(x.contiguous() for x in (z, free, coefficients)), most)  # type: ignore[no-untyped-call]
    return made


class _EnergyScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, real: Tensor, fake: Tensor, other: Tensor, weights: Tensor, least: float) -> Tensor:
        scores = torch.empty_like(weights)
        slopes = [torch.empty_like(real) for _ in range(2 * any(ctx.needs_input_grad))]
        ctx.save_for_backward(*slopes)
        run("energy_score", *real.shape, least, real, fake, other, weights, scores, *(slopes or (None, None)))
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return None, *(slope * grads[0] for slope in ctx.saved_tensors), None, None


def energy_scores(real: Tensor, fake: Tensor, other: Tensor, weights: Tensor, *, least: float) -> Tensor:
    """Weighted energy score (B,) of each event; derivatives by generated events only.

    Args:
        real: (F, B) real events.
        fake: (F, B) generated events.
        other: (F, B) generated events, independent of the first ones.
        weights: (B,) weights.
        least: Squared distances up to it count as zero.
    """
    arguments = (x.contiguous() for x in (real, fake, other, weights))
    made: Tensor = _EnergyScores.apply(*arguments, least)  # type: ignore[no-untyped-call]
    return made
