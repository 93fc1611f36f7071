"""Adversarial objectives: what critic and generator minimise.

An objective is a small object in `OBJECTIVES`; the training loop knows none of them by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["OBJECTIVES", "Objective", "expectation", "gradient_penalty"]

Critic = Callable[[Tensor], Tensor]


def expectation(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean, for weights of mean one over the sample (of either sign): (B,), (B,) -> ()."""
    return (weights * values).mean()


def gradient_penalty(
    critic: Critic, real: Tensor, fake: Tensor, weights: Tensor, *, generator: torch.Generator
) -> Tensor:
    r"""Mean of :math:`(\|\nabla_{\hat x} D(\hat x)\|_2 - 1)^2` on lines between real and generated events.

    :math:`\hat x = u\,x + (1 - u)\,G(z)` with u uniform in (0, 1), one for each event; real and generated events of a
    row share their condition, so the line does not leave it. Weights enter by magnitude: the penalty is a
    constraint on the critic, which an event of negative weight must obey as well.

    Args:
        critic: Score of (B, F) events.
        real: (B, F).
        fake: (B, F).
        weights: (B,).
        generator: Source of u.

    Returns:
        () penalty, without lambda.

    References:
        Gulrajani et al., arXiv:1704.00028, equation 3 and algorithm 1.
    """
    u = torch.rand(len(real), 1, generator=generator, device=generator.device).to(real)
    x = (u * real + (1 - u) * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return expectation((torch.linalg.vector_norm(slope.flatten(1), dim=1) - 1) ** 2, weights.abs())


@dataclass(frozen=True)
class Objective:
    """One adversarial game.

    Attributes:
        critic: Loss of the critic from scores of real and generated events and weights, each (B,).
        generator: Loss of the generator from scores of generated events and weights.
        distance: What the critic's scores estimate (for WGAN the Wasserstein distance).
    """

    critic: Callable[[Tensor, Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    distance: Callable[[Tensor, Tensor, Tensor], Tensor]


def _wasserstein(real: Tensor, fake: Tensor, weights: Tensor) -> Tensor:
    """E D(x) - E D(G(z)): the Wasserstein distance if D is the best 1-Lipschitz function (arXiv:1701.07875, eq. 2)."""
    return expectation(real, weights) - expectation(fake, weights)


OBJECTIVES: dict[str, Objective] = {
    "wgan-gp": Objective(
        critic=lambda real, fake, weights: -_wasserstein(real, fake, weights),
        generator=lambda fake, weights: -expectation(fake, weights),
        distance=_wasserstein,
    ),
}
