"""What compiled kernels compute of tracks (``cpp/tracks.cpp``), with first derivatives.

Callers ask `hepgan.transforms.kernels.usable` before. Arrays have the batch innermost, features do not.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hepgan.transforms.kernels import run

__all__ = ["energy_scores", "sparse_sums", "tents", "whitened"]


def tents(x: Tensor, place: Tensor) -> Tensor:
    """`hepgan.transforms.conditions.Tents` (B, C * H) of numbers (B, C) with nodes at (C, H); no derivatives."""
    conditions, nodes = place.shape
    made = x.new_empty(len(x), conditions * nodes)
    run("tents", conditions, nodes, len(x), x.contiguous(), place, made)
    return made


class _SparseSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, first: int) -> Tensor:
        made = x.new_empty(len(weight), len(x))
        run("sparse_sums", *weight.shape, first, x.shape[1], len(x), weight, x, made)
        ctx.save_for_backward(x)
        ctx.settings = *weight.shape, first, *reversed(x.shape)
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        by_weight = x.new_empty(ctx.settings[:2])
        run("sparse_sums_gradient", *ctx.settings, grads[0].contiguous(), x, by_weight)
        return None, by_weight, None


def sparse_sums(x: Tensor, weight: Tensor, *, first: int = 0) -> Tensor:
    """Sums (S, B) of features (B, F) times F columns of weights (S, columns), from the `first` on.

    The work is that of the features that are not zero. There are no derivatives by the features.
    """
    made: Tensor = _SparseSums.apply(x.contiguous(), weight.contiguous(), first)  # type: ignore[no-untyped-call]
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
        scores, slopes = torch.empty_like(weights), [None, None]
        if any(ctx.needs_input_grad):
            slopes = [torch.empty_like(real), torch.empty_like(real)]
            ctx.save_for_backward(*slopes)
        run("energy_score", *real.shape, least, real, fake, other, weights, scores, *slopes)
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
        least: Added under each square root.
    """
    arguments = (x.contiguous() for x in (real, fake, other, weights))
    made: Tensor = _EnergyScores.apply(*arguments, least)  # type: ignore[no-untyped-call]
    return made
