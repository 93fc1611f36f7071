"""Objectives: what critic and generator minimise.

An objective is a small object in `OBJECTIVES`; the training loop knows none of them by name. A critic gives each event
one or more scores; the objective's witness makes one number of them, the function whose mean differs between real
and generated events. The energy score needs no critic: it compares with the data directly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["OBJECTIVES", "Objective", "energy_distance", "energy_score", "expectation", "gradient_penalty"]

_TINY = 1e-12  # under the square root of a norm: its slope at zero is zero instead of undefined


def expectation(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean, for weights of mean one over the sample (of either sign): (B,), (B,) -> ()."""
    return (weights * values).mean()


def gradient_penalty(
    function: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    weights: Tensor,
    *,
    generator: torch.Generator,
) -> Tensor:
    r"""Mean of :math:`(\|\nabla_{\hat x} D(\hat x)\|_2 - 1)^2` on lines between real and generated events.

    :math:`\hat x = u\,x + (1 - u)\,G(z)` with u uniform in (0, 1), one for each event; real and generated events of a
    row share their condition, so the line does not leave it. Weights enter by magnitude: the penalty is a
    constraint on the critic, which an event of negative weight must obey as well.

    Args:
        function: D, from (B, F) events to (B,).
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
    (slope,) = torch.autograd.grad(function(x).sum(), x, create_graph=True)
    return expectation((torch.linalg.vector_norm(slope.flatten(1), dim=1) - 1) ** 2, weights.abs())


def _length(x: Tensor) -> Tensor:
    """Euclidean norm of each row, (B, F) -> (B,)."""
    return (x.square().sum(1) + _TINY).sqrt()


def energy_distance(real: Tensor, fake: Tensor, other: Tensor, weights: Tensor) -> Tensor:
    r"""Energy distance to two independent generated events of the same condition, less what the data alone give.

    :math:`E\|x - g\| + E\|x - g'\| - E\|g - g'\|` is smallest when, at every condition, generated events are
    distributed as the real ones (a strictly proper score).

    Args:
        real: (B, F).
        fake: (B, F).
        other: (B, F).
        weights: (B,).

    References:
        Gneiting and Raftery, J. Am. Stat. Assoc. 102 (2007) 359, equation 22; Bellemare et al., arXiv:1705.10743.
    """
    return expectation(_length(real - fake) + _length(real - other) - _length(fake - other), weights)


def energy_score(real: Tensor, fake: Tensor, other: Tensor, weights: Tensor) -> Tensor:
    """`energy_distance` of all coordinates together, plus that of each (the CRPS); arguments as there.

    The distance in many dimensions sees a single coordinate's distribution only weakly.
    """
    each = (real - fake).abs() + (real - other).abs() - (fake - other).abs()
    return energy_distance(real, fake, other, weights) + expectation(each.sum(1), weights)


Scores = Tensor
"""(B, S): what the critic says of events."""


@dataclass(frozen=True)
class Objective:
    """One game, or a score.

    Attributes:
        scores: Numbers S that the critic gives of an event.
        fakes: Independent generated events that the game needs for each real one.
        witness: (B,) function of scores (B, S) of events, and of scores of the last of the generated ones.
        critic: Loss of the critic from the witness of real and generated events and weights, each (B,); None where
            there is no critic, and the scores are the events themselves.
        generator: Loss of the generator from scores of the real events, scores of the generated ones and weights.
        distance: What the witness estimates (for WGAN the Wasserstein distance), from the arguments of `critic`.
    """

    scores: int
    fakes: int
    witness: Callable[[Scores, Scores], Tensor]
    critic: Callable[[Tensor, Tensor, Tensor], Tensor] | None
    generator: Callable[[Scores, Sequence[Scores], Tensor], Tensor]
    distance: Callable[[Tensor, Tensor, Tensor], Tensor]


def _gap(real: Tensor, fake: Tensor, weights: Tensor) -> Tensor:
    """E D(x) - E D(G(z)): the Wasserstein distance if D is the best 1-Lipschitz function (arXiv:1701.07875, eq. 2)."""
    return expectation(real, weights) - expectation(fake, weights)


OBJECTIVES: dict[str, Objective] = {
    "wgan-gp": Objective(
        scores=1,
        fakes=1,
        witness=lambda scores, other: scores[:, 0],
        critic=lambda real, fake, weights: -_gap(real, fake, weights),
        generator=lambda real, fakes, weights: -expectation(fakes[0][:, 0], weights),
        distance=_gap,
    ),
    "cramer": Objective(  # Bellemare et al., arXiv:1705.10743, algorithm 1, with events of one condition
        scores=256,
        fakes=2,
        witness=lambda scores, other: _length(scores - other) - _length(scores),
        critic=lambda real, fake, weights: -_gap(real, fake, weights),
        generator=lambda real, fakes, weights: energy_distance(real, fakes[0], fakes[1], weights),
        distance=_gap,
    ),
    "energy-score": Objective(
        scores=1,
        fakes=2,
        witness=lambda scores, other: scores[:, 0],
        critic=None,
        generator=lambda real, fakes, weights: energy_score(real, fakes[0], fakes[1], weights),
        distance=_gap,
    ),
}
