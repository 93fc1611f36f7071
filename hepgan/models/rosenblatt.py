r"""Learn how targets are distributed at the conditions, alone and given the targets before them, and rank events in it.

Whitening (`hepgan.models.whitening`) makes a straight ridge between two targets as wide as everything else. A mixture,
such as tracks in one or in two detectors, has several ridges at the same conditions, and generated events between them
differ by much less than the whitened spread. `Rosenblatt` learns the density of each target y_v at the conditions c,
and the one given the earlier targets, as mixtures of logistic distributions with cumulative distributions F, and maps

.. math:: y_v \mapsto \frac{1}{1.7} \ln\frac{F_v}{1 - F_v}, \quad F_v(y_v \mid c) \text{ and } F_v(y_v \mid y_{<v}, c),

ranks of the event among all at its conditions, and among those that share the targets before it. Ranks of real events
have nearly the same distribution everywhere, about as wide as a normal one. Generated events that miss a ridge, or an
edge with a cut on it, stand out by their whole width, to a score as well as to a critic.

References:
    Rosenblatt, Ann. Math. Stat. 23 (1952) 470 (the map); Uria, Murray and Larochelle, arXiv:1306.0186 (mixtures that a
    network predicts, one target after the other).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, linear, logsigmoid

from hepgan.models.piecewise import SLOPE

__all__ = ["Rosenblatt"]

_WIDTH, _DEPTH = 48, 2  # units and hidden layers for each rank
_PARTS = 6  # logistic distributions of a mixture
_FIRST = 2.0  # the means of the parts begin between +- this value, in whitened numbers
_NARROWEST, _WIDEST = -6.0, 4.0  # logarithms of the scale of a part
_SPREAD = 1.7  # spread of a logistic distribution that resembles a standard normal one
_MOST = 6.0  # ranks are clipped to +- this value
_RATE, _DECAY, _BETAS = 3e-3, 0.01, (0.9, 0.99)  # Adam: learning rate, the part of it at the end, moments
_LONGEST = 5.0  # of a gradient


class Rosenblatt(nn.Module):
    """Map V numbers of an event, plain and whitened, to 2 V ranks at its context: alone, and given those before.

    All arrays are buffers, since no game changes them.

    Args:
        targets: Number V of numbers.
        n_context: Number C of context features.
    """

    context: Tensor  # (2 V width, C), of the first layer
    first: Tensor  # (2 V, 2 V, width), of the first layer, for the numbers
    bias: Tensor
    last: Tensor  # (2 V, width, 3 parts): shares, means, scales
    parts: Tensor
    before: Tensor  # (2 V, 2 V, 1) ones where a rank may depend on a number

    def __init__(self, targets: int, n_context: int) -> None:
        super().__init__()
        self.ranks = v = 2 * targets
        before = torch.zeros(v, v)
        before[targets:] = torch.tril(torch.ones(targets, targets), -1).repeat(1, 2)
        arrays = {
            "context": torch.randn(v * _WIDTH, n_context) / math.sqrt(_WIDTH),
            "first": torch.randn(v, v, _WIDTH) / math.sqrt(v),
            "bias": torch.zeros(v, 1, _WIDTH),
            **{f"layer_{k}": torch.randn(v, _WIDTH, _WIDTH) / math.sqrt(2 * _WIDTH) for k in range(_DEPTH)},
            **{f"bias_{k}": torch.zeros(v, 1, _WIDTH) for k in range(_DEPTH)},
            "last": torch.zeros(v, _WIDTH, 3 * _PARTS),
            "parts": torch.zeros(v, 1, 3 * _PARTS),
        }
        arrays["parts"][..., _PARTS : 2 * _PARTS] = torch.linspace(-_FIRST, _FIRST, _PARTS)
        for name, array in arrays.items():
            self.register_buffer(name, array)
        self.register_buffer("before", before[:, :, None], persistent=False)

    def at(self, context: Tensor, free: Tensor) -> Callable[[Tensor], Tensor]:
        """Function that ranks events of a given context.

        Args:
            context: (B, C).
            free: (B, V) ones for targets that are generated; the ranks of the others are zero.

        Returns:
            Function from (B, 2 V) numbers, plain and whitened, to (B, 2 V) ranks.
        """
        known, free = self._known(context), free.repeat(1, 2)

        def rank(x: Tensor) -> Tensor:
            share, u, _ = self._mixture(known, x)
            below, above = (torch.logsumexp(share + logsigmoid(side), 2) for side in (u, -u))
            return ((below - above).T / _SPREAD).clamp(-_MOST, _MOST) * free

        return rank

    def surprise(self, x: Tensor, context: Tensor, free: Tensor) -> Tensor:
        """Minus the log densities (B,), summed, of the numbers in (B, 2 V) that are free."""
        share, u, scale = self._mixture(self._known(context), x)
        densities = torch.logsumexp(share + logsigmoid(u) + logsigmoid(-u) - scale, 2)
        return -(free.repeat(1, 2) * densities.T).sum(1)

    def _known(self, context: Tensor) -> Tensor:
        """The part (2 V, B, width) of the first layer that depends on the context (B, C)."""
        hidden = linear(context, self.context).reshape(len(context), self.ranks, _WIDTH)
        return hidden.transpose(0, 1) + self.bias

    def _mixture(self, known: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logarithms of shares, distances to means in scales, and logarithms of scales, of parts (2 V, B, parts)."""
        h = leaky_relu(known + torch.asinh(x) @ (self.first * self.before), SLOPE)
        for k in range(_DEPTH):
            bias, layer = self.get_buffer(f"bias_{k}"), self.get_buffer(f"layer_{k}")
            h = h + leaky_relu(torch.baddbmm(bias, h, layer), SLOPE)
        share, mean, scale = torch.split(torch.baddbmm(self.parts, h, self.last), _PARTS, 2)
        scale = scale.clamp(_NARROWEST, _WIDEST)
        return torch.log_softmax(share, 2), (x.T[:, :, None] - mean) * torch.exp(-scale), scale

    def fit(
        self,
        draw: Callable[[], tuple[Tensor, Tensor, Tensor, Tensor]],
        *,
        steps: int,
        update: Callable[[int], object],
    ) -> None:
        """Maximise the likelihood of real events.

        Args:
            draw: Draws a batch: numbers (B, 2 V), contexts (B, C), ones for free targets (B, V), weights (B,).
            steps: Number of batches.
            update: Called with the number of steps done.
        """
        learnt = [array.requires_grad_() for name, array in self.named_buffers() if name != "before"]
        optimizer = torch.optim.Adam(learnt, lr=_RATE, betas=_BETAS, fused=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=_DECAY * _RATE)
        for step in range(steps):
            x, context, free, weights = draw()
            loss = (weights.clamp(min=0) * self.surprise(x, context, free)).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(learnt, _LONGEST)
            optimizer.step()
            schedule.step()
            update(step + 1)
        for array in learnt:
            array.requires_grad_(False).grad = None
