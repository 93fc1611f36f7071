"""Penalties on the slope of a critic, in one table, `REGULARISERS`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import relu

from hepgan.data.draws import normal, uniform

__all__ = [
    "REGULARISERS",
    "Regulariser",
    "around",
    "between",
    "expectation",
    "gradient_penalty",
    "linear_gradient_penalty",
    "one_sided",
    "two_sided",
]

_LEAST = 1e-30  # length of a slope; the direction of none is zero
_DRAGAN_SPREAD = 0.5  # spread of the noise around real events, in their own spreads (arXiv:1705.07215)


def expectation(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean, for weights of mean one over the sample (of either sign): (B,), (B,) -> ()."""
    return (weights * values).mean()


def between(real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
    """Events on lines between real and generated ones, u x + (1 - u) G(z), u uniform in (0, 1): (B, F)."""
    u = uniform(len(real), 1, rng=rng).to(real)
    return u * real + (1 - u) * fake


def around(real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
    """Real events with Gaussian noise added, half of each feature's spread wide: (B, F)."""
    return real + _DRAGAN_SPREAD * real.std(0) * normal(*real.shape, rng=rng).to(real)


def two_sided(slope: Tensor) -> Tensor:
    """Cost of a slope that differs from 1."""
    return (slope - 1) ** 2


def one_sided(slope: Tensor) -> Tensor:
    """Cost of a slope above 1."""
    return relu(slope - 1) ** 2


def gradient_penalty(
    function: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    weights: Tensor,
    *,
    rng: torch.Generator,
    at: Callable[[Tensor, Tensor, torch.Generator], Tensor] = between,
    cost: Callable[[Tensor], Tensor] = two_sided,
    blocks: Sequence[int] = (),
) -> Tensor:
    r"""Mean cost of the slopes :math:`\|\nabla_{\hat x} D(\hat x)\|_2`; with the default arguments, of WGAN-GP.

    Real and generated events of a row have the same condition, and so have the events on the line between them. Weights
    enter by magnitude: the penalty is a constraint on the critic that holds for events of negative weight too.

    Args:
        function: D, maps (B, F) events to (B,) numbers.
        real: (B, F) real events.
        fake: (B, F) generated events.
        weights: (B,) weights.
        rng: Source of the random numbers of `at`.
        at: Places of the slopes, from real and generated events.
        cost: Cost of slopes, (B,) -> (B,).
        blocks: Numbers of features of parts of D, a sum of functions that see a block each: each has its own slope, and
            the costs are added. Default: one block of all.

    Returns:
        () penalty, before it is multiplied by lambda.

    References:
        Gulrajani et al., arXiv:1704.00028, equation 3 and algorithm 1.
    """
    x = at(real, fake, rng).detach().requires_grad_()
    (slope,) = torch.autograd.grad(function(x).sum(), x, create_graph=True)
    return _mean_cost(_lengths(slope, blocks), weights, cost)


def linear_gradient_penalty(
    function: Callable[[Tensor], tuple[Tensor, Callable[[Tensor], Tensor]]],
    real: Tensor,
    fake: Tensor,
    weights: Tensor,
    *,
    rng: torch.Generator,
    at: Callable[[Tensor, Tensor, torch.Generator], Tensor] = between,
    cost: Callable[[Tensor], Tensor] = two_sided,
    blocks: Sequence[int] = (),
) -> Tensor:
    r"""Gradient penalty of a function that is linear around almost every event, such as a network of leaky ReLUs.

    With :math:`g = \nabla_x D` and :math:`r = \partial P / \partial g`, the derivative of the penalty P by a weight is
    that of :math:`r \cdot g`, the derivative of D along the fixed direction r. It takes half the operations of
    `gradient_penalty`, which differentiates twice. The second derivatives that it leaves out are zero.

    Args:
        function: Maps (B, F) events to (B,) numbers D and a second function. Once the gradient of the sum of D is
            taken, that one maps directions r (B, F) to a zero whose derivatives are those of the sum of r * gradient.
        real: (B, F) real events.
        fake: (B, F) generated events.
        weights: (B,) weights.
        rng: Source of the random numbers of `at`.
        at: Places of the slopes, from real and generated events.
        cost: Cost of slopes, (B,) -> (B,).
        blocks: Numbers of features of parts of D, a sum of functions that see a block each: each has its own slope, and
            the costs are added. Default: one block of all.

    Returns:
        () penalty, before it is multiplied by lambda; only its derivatives by weights of the function are right.
    """
    x = at(real, fake, rng).detach().requires_grad_()
    value, along = function(x)
    (slope,) = torch.autograd.grad(value.sum(), x)
    lengths = _lengths(slope, blocks)
    with torch.enable_grad():
        penalty = _mean_cost(lengths.requires_grad_(), weights, cost)
    (by_length,) = torch.autograd.grad(penalty, lengths)
    factors = by_length / lengths.detach().clamp(min=_LEAST)
    sizes = torch.tensor(blocks or [slope[0].numel()], device=slope.device)
    direction = slope * factors.T.repeat_interleave(sizes, 1).reshape(slope.shape)
    return penalty.detach() + along(direction)


def _lengths(slope: Tensor, blocks: Sequence[int]) -> Tensor:
    """Lengths (K, B) of each of K blocks of (B, F) slopes."""
    parts = torch.split(slope.flatten(1), list(blocks), 1) if blocks else [slope.flatten(1)]
    return torch.stack([torch.linalg.vector_norm(part, dim=1) for part in parts])


def _mean_cost(lengths: Tensor, weights: Tensor, cost: Callable[[Tensor], Tensor]) -> Tensor:
    """Mean over events, with the magnitudes of (B,) weights, of the costs of (K, B) lengths, summed over blocks: ()."""
    return torch.stack([expectation(cost(length), weights.abs()) for length in lengths]).sum()


@dataclass(frozen=True)
class Regulariser:
    """A penalty or limit that keeps a critic from becoming too steep.

    Attributes:
        source: Publication.
        at: Places where slopes are taken; None for no penalty.
        cost: Cost of a slope.
        clip: Whether the critic's parameters are kept within +-`objective.clip` after each of its steps.
        whole_batch: Whether the place for an event depends on the whole batch, so that workers cannot share it.
    """

    source: str
    at: Callable[[Tensor, Tensor, torch.Generator], Tensor] | None = None
    cost: Callable[[Tensor], Tensor] = two_sided
    clip: bool = False
    whole_batch: bool = False


REGULARISERS: dict[str, Regulariser] = {
    "none": Regulariser("-"),
    "wgan-gp": Regulariser("arXiv:1704.00028, equation 3", between),
    "one-sided": Regulariser("arXiv:1709.08894", between, one_sided),
    "dragan": Regulariser("arXiv:1705.07215", around, whole_batch=True),
    "r1": Regulariser("arXiv:1801.04406", lambda real, *_: real, torch.square),
    "clip": Regulariser("arXiv:1701.07875, algorithm 1", clip=True),
}
