r"""Objectives: what critic and generator minimise.

An objective is a small object in `OBJECTIVES`, a regulariser of the critic one in `REGULARISERS`; the training loop
knows none of them by name. A critic gives each event one or more scores; the objective's witness makes one number
:math:`v` of them. The critic maximises the value of a `Game`,

.. math:: E_{data}[gain(v)] - E_{model}[cost(v)],

whatever the game is: with an output activation as gain and the conjugate as cost this is the lower bound of an
f-divergence (arXiv:1606.00709, equation 4), with both the identity the Wasserstein distance. What the generator
minimises stands beside it. Scores that need no critic compare with the data directly, and a model may bring a loss of
its own (`Objective.own`).

Which one to use: "wgan-gp". Its value falls with the distance between the samples even where they do not overlap, it
takes weights of both signs, and it loses no modes; "energy-score" is faster where the observables are few. The others
are here to be compared with: docs/objectives.md says what each one is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, relu, softplus

from hepgan.config import ObjectiveConfig
from hepgan.files import near

__all__ = [
    "DIVERGENCES_F",
    "OBJECTIVES",
    "REGULARISERS",
    "Game",
    "Objective",
    "Regulariser",
    "alpha_divergence",
    "chosen",
    "energy_distance",
    "energy_score",
    "expectation",
    "gradient_penalty",
    "kernel_score",
    "power_ratio",
]

_TINY = 1e-12  # under the square root of a norm: its slope at zero is zero instead of undefined
_DRAGAN_SPREAD = 0.5  # of the noise around real events, in their spreads (arXiv:1705.07215)
_LEAST_CHANCE = 1e-3  # of an event to be generated, where a probability that may leave 0..1 gives a ratio
_BANDWIDTHS = (0.125, 0.25, 0.5, 1.0, 2.0)  # of the kernels, in the distance of two standard normal events


def expectation(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean, for weights of mean one over the sample (of either sign): (B,), (B,) -> ()."""
    return (weights * values).mean()


# -- regularisers: where the slope of the critic is taken, and what it costs


def between(real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
    """Events on lines between real and generated ones, u x + (1 - u) G(z), u uniform in (0, 1): (B, F)."""
    u = torch.rand(len(real), 1, generator=rng, device=rng.device).to(real)
    return u * real + (1 - u) * fake


def around(real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
    """Real events with noise of half of each feature's spread: (B, F)."""
    noise = torch.randn(real.shape, generator=rng, device=rng.device).to(real)
    return real + _DRAGAN_SPREAD * real.std(0) * noise


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
) -> Tensor:
    r"""Mean cost of the slopes :math:`\|\nabla_{\hat x} D(\hat x)\|_2`; as it stands that of WGAN-GP.

    Real and generated events of a row share their condition, so the line between them does not leave it. Weights enter
    by magnitude: the penalty is a constraint on the critic, which an event of negative weight must obey as well.

    Args:
        function: D, from (B, F) events to (B,).
        real: (B, F).
        fake: (B, F).
        weights: (B,).
        rng: Source of the random numbers of `at`.
        at: Where the slopes are taken.
        cost: What a slope costs, (B,) -> (B,).

    Returns:
        () penalty, without lambda.

    References:
        Gulrajani et al., arXiv:1704.00028, equation 3 and algorithm 1.
    """
    x = at(real, fake, rng).detach().requires_grad_()
    (slope,) = torch.autograd.grad(function(x).sum(), x, create_graph=True)
    return expectation(cost(torch.linalg.vector_norm(slope.flatten(1), dim=1)), weights.abs())


@dataclass(frozen=True)
class Regulariser:
    """What keeps a critic from becoming too steep.

    Attributes:
        source: Where it comes from.
        at: Where slopes are taken; None: they are not.
        cost: What a slope costs.
        clip: Whether the critic's parameters are kept within `objective.clip` after each of its steps.
    """

    source: str
    at: Callable[[Tensor, Tensor, torch.Generator], Tensor] | None = None
    cost: Callable[[Tensor], Tensor] = two_sided
    clip: bool = False


REGULARISERS: dict[str, Regulariser] = {
    "none": Regulariser("-"),
    "wgan-gp": Regulariser("arXiv:1704.00028, equation 3", between),
    "one-sided": Regulariser("arXiv:1709.08894", between, one_sided),
    "dragan": Regulariser("arXiv:1705.07215", around),
    "r1": Regulariser("arXiv:1801.04406", lambda real, *_: real, torch.square),
    "clip": Regulariser("arXiv:1701.07875, algorithm 1", clip=True),
}

# -- scores: no critic


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


def kernel_score(real: Tensor, fake: Tensor, other: Tensor, weights: Tensor) -> Tensor:
    r"""Squared kernel distance to two generated events of the same condition, less what the data alone give.

    :math:`E k(g, g') - E k(x, g) - E k(x, g')` with the mean of Gaussian kernels of five widths: as `energy_distance`,
    smallest where both distributions agree at every condition. Moment matching within one condition, that is.

    Args:
        real: (B, F).
        fake: (B, F).
        other: (B, F).
        weights: (B,).

    References:
        Li, Swersky and Zemel (GMMN), arXiv:1502.02761; Gneiting and Raftery, J. Am. Stat.
        Assoc. 102 (2007) 359, section 5 (a kernel as a proper score).
    """
    scale = 2 * real.shape[1]  # mean squared distance of two standard normal events

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        distance = (a - b).square().sum(1) / scale
        return torch.stack([torch.exp(-0.5 * distance / width**2) for width in _BANDWIDTHS]).mean(0)

    return expectation(kernel(fake, other) - kernel(real, fake) - kernel(real, other), weights)


# -- games

Scores = Tensor
"""(B, S): what the critic says of events."""

Each = Callable[[Tensor], Tensor]
"""One number for each event, (B,) -> (B,)."""


@dataclass(frozen=True)
class Game:
    """What the critic maximises, from the witness v of real and of generated events.

    Attributes:
        gain: Of a real event. For an f-divergence the output activation.
        cost: Of a generated event. For an f-divergence the conjugate of the output activation.
        ratio: Density of the data over that of the model that v stands for, once the critic is the best one; None
            where it tells no ratio.
        value: Name of the value in the log: what it estimates.
        signed: Whether it is defined for weights of both signs: gain and cost are linear. Any other cost is unbounded
            below where it is multiplied by a negative weight, and a critic that finds such an event runs away with it.
        labels: Whether gain and cost are logarithms of the probabilities of two labels, which may be smoothed.
    """

    gain: Each
    cost: Each
    ratio: Each | None = None
    value: str = "divergence"
    signed: bool = False
    labels: bool = False

    def __call__(self, real: Tensor, fake: Tensor, weights: Tensor, *, smoothing: float = 0.0) -> Tensor:
        """Value: E gain(real) - E cost(fake), from (B,) witnesses and weights.

        With `smoothing` real events count as generated ones with this probability (arXiv:1606.03498, section 3.4).
        """
        gain = self.gain(real)
        if smoothing:
            gain = (1 - smoothing) * gain - smoothing * self.cost(real)
        return expectation(gain, weights) - expectation(self.cost(fake), weights)


def _itself(v: Tensor) -> Tensor:
    return v


def alpha_divergence(alpha: float) -> Game:
    """The alpha-divergence of `hepgan.metrics.DIVERGENCES`, for alpha other than 0 and 1; v is the log ratio."""
    return Game(
        lambda v: -torch.expm1(-alpha * v) / alpha,
        lambda v: torch.expm1((1 - alpha) * v) / (1 - alpha),
        torch.exp,
    )


_LN_2 = math.log(2)

DIVERGENCES_F: dict[str, Game] = {
    "kl": Game(lambda v: 1 + v, torch.exp, torch.exp),
    "reverse-kl": Game(lambda v: -torch.exp(-v), lambda v: v - 1, torch.exp),
    "pearson": Game(
        lambda v: -torch.expm1(-v), lambda v: -2 * torch.expm1(-v / 2), lambda v: torch.exp(v / 2)
    ),
    "neyman": Game(_itself, lambda v: v + v**2 / 4, lambda v: relu(1 + v / 2)),
    "squared-hellinger": Game(lambda v: -torch.expm1(-v / 2), lambda v: torch.expm1(v / 2), torch.exp),
    "jensen-shannon": Game(
        lambda v: (_LN_2 + logsigmoid(v)) / 2, lambda v: (softplus(v) - _LN_2) / 2, torch.exp
    ),
    "gan": Game(logsigmoid, softplus, torch.exp, labels=True),
    "jeffrey": Game(lambda v: 1 + v - torch.exp(-v), lambda v: torch.expm1(v) + v, torch.exp),
    "total-variation": Game(lambda v: torch.tanh(v) / 2, lambda v: torch.tanh(v) / 2),
    "alpha": alpha_divergence(0.75),
}
r"""f-divergences of `hepgan.metrics.DIVERGENCES` that are the largest value of a game.

With :math:`P` the data, :math:`Q` the model and :math:`D = \int q f(p/q)`, gain is an output activation
:math:`g_f(v)` onto the domain of the conjugate :math:`f^*`, and cost is :math:`f^*(g_f(v))`, written out. At best,
:math:`g_f(v) = f'(p/q)`; where the choice was free, v is the logarithm of the ratio then. "pearson" and "neyman" are
the integrals of the paper's table 1, beside which their functions f are exchanged; "jensen-shannon" is half of the
paper's. Weighted Jensen-Shannon is left out: it is "gan" with unequal numbers of real and generated events.

References:
    Nowozin et al., arXiv:1606.00709, equation 4, tables 1 and 2.
"""


_UNIT = math.log(math.e - 1)  # softplus of it is 1


def _positive(v: Tensor) -> Tensor:
    """A ratio that grows linearly: softplus, 1 at v = 0."""
    return softplus(v + _UNIT)


def power_ratio(beta: float) -> Game:
    r"""Bregman divergence between the true ratio and r, by :math:`f(r) = (r^{1+\beta} - r) / \beta (1 + \beta)`.

    The critic minimises :math:`E_Q[f'(r) r - f(r)] - E_P[f'(r)]`; beta = 1 is least squares (LSIF), the limit 0 KLIEP,
    and between the two a ratio that is large in a few events weighs less than in the first.

    References:
        Sugiyama, Suzuki and Kanamori, Ann. Inst. Stat. Math. 64 (2012) 1009, sections 3 and 4; Mohamed and
        Lakshminarayanan, arXiv:1610.03483, section 3.3.
    """
    return Game(
        lambda v: torch.log(_positive(v)) if beta == 0 else (_positive(v) ** beta - 1) / beta,
        lambda v: (_positive(v) ** (1 + beta) - 1) / (1 + beta),
        _positive,
    )


_WASSERSTEIN = Game(_itself, _itself, value="wasserstein", signed=True)


@dataclass(frozen=True)
class Objective:
    """One game, a score, or a loss of the model's own.

    Attributes:
        source: Where it comes from.
        generator: What the generator minimises, from scores (B, S) of the real events, those of the generated ones, and
            weights (B,); without a critic the scores are the events themselves. None: nothing but its own.
        game: What the critic maximises; None: there is no critic.
        regulariser: Of the critic, in `REGULARISERS`.
        scores: Numbers S that the critic gives of an event.
        fakes: Independent generated events for each real one.
        witness: (B,) function of scores (B, S) of events, and of scores of the last of the generated ones.
        own: Whether the generator adds a loss of its own: ``generator.loss(events, generator=...)``, (B,) numbers of a
            batch (`TensorEvents`) with random numbers from the generator, such as minus a log likelihood.
    """

    source: str
    generator: Callable[[Scores, Sequence[Scores], Tensor], Tensor] | None = None
    game: Game | None = None
    regulariser: str = "none"
    scores: int = 1
    fakes: int = 1
    witness: Callable[[Scores, Scores], Tensor] = lambda scores, other: scores[:, 0]
    own: bool = False

    @property
    def signed(self) -> bool:
        """Whether it is defined for weights of both signs."""
        return not self.own and (self.game is None or self.game.signed)


def _each(loss: Each) -> Callable[[Scores, Sequence[Scores], Tensor], Tensor]:
    """Loss of a generator that is a mean over generated events."""
    return lambda real, fakes, weights: expectation(loss(fakes[0][:, 0]), weights)


def _bound(game: Game, source: str, regulariser: str = "none") -> Objective:
    """Both play for the same value, the generator against it."""
    return Objective(source, _each(lambda v: -game.cost(v)), game, regulariser)


def _ratio(game: Game, source: str, regulariser: str = "none") -> Objective:
    """The generator minimises E_Q[-ln r], the reverse Kullback-Leibler divergence with the critic's ratio in it."""
    ratio = game.ratio or torch.exp
    return Objective(source, _each(lambda v: -torch.log(ratio(v))), game, regulariser)


_LOGISTIC = DIVERGENCES_F["gan"]
_UP = _each(torch.neg)  # the generator raises what the critic says

OBJECTIVES: dict[str, Objective] = {
    "wgan-gp": Objective("arXiv:1704.00028, algorithm 1", _UP, _WASSERSTEIN, "wgan-gp"),
    "wgan-gp-one-sided": Objective("arXiv:1709.08894", _UP, _WASSERSTEIN, "one-sided"),
    "wgan-clip": Objective("arXiv:1701.07875, algorithm 1", _UP, _WASSERSTEIN, "clip"),
    "cramer": Objective(  # with events of one condition
        "arXiv:1705.10743, algorithm 1",
        lambda real, fakes, weights: energy_distance(real, fakes[0], fakes[1], weights),
        _WASSERSTEIN,
        "wgan-gp",
        scores=256,
        fakes=2,
        witness=lambda scores, other: _length(scores - other) - _length(scores),
    ),
    "minimax": _bound(_LOGISTIC, "arXiv:1406.2661, equation 1"),
    "non-saturating": Objective("arXiv:1406.2661, section 3", _each(lambda v: softplus(-v)), _LOGISTIC),
    "least-squares": Objective(  # the Brier score of v as the probability that the event is real
        "arXiv:1611.04076, labels 0 and 1",
        _each(lambda v: (v - 1) ** 2),
        Game(lambda v: -((v - 1) ** 2), torch.square, lambda v: relu(v) / (1 - v).clamp(min=_LEAST_CHANCE)),
    ),
    "hinge": Objective("arXiv:1705.02894", _UP, Game(lambda v: -relu(1 - v), lambda v: relu(1 + v))),
    **{
        f"f-{name}": _bound(game, "arXiv:1606.00709, equations 4 and 6")
        for name, game in DIVERGENCES_F.items()
        if name != "gan"  # "minimax"
    },
    # without, the critic saturates where the samples part, and the generator stands still
    "f-total-variation": _bound(DIVERGENCES_F["total-variation"], "arXiv:1606.00709, equation 4", "r1"),
    "ratio-class-probability": _ratio(_LOGISTIC, "arXiv:1610.03483, section 3.1"),
    "ratio-kliep": _ratio(power_ratio(0), "Ann. Inst. Stat. Math. 60 (2008) 699"),
    "ratio-lsif": _ratio(power_ratio(1), "J. Mach. Learn. Res. 10 (2009) 1391", "r1"),
    "ratio-power": _ratio(power_ratio(0.5), "Ann. Inst. Stat. Math. 64 (2012) 1009"),
    "energy-score": Objective(
        "J. Am. Stat. Assoc. 102 (2007) 359, equation 22",
        lambda real, fakes, weights: energy_score(real, fakes[0], fakes[1], weights),
        fakes=2,
    ),
    "mmd": Objective(
        "arXiv:1502.02761",
        lambda real, fakes, weights: kernel_score(real, fakes[0], fakes[1], weights),
        fakes=2,
    ),
    "likelihood": Objective("the model's loss", own=True, fakes=0),
    # the ratio is to generated events and reconstructions together: not the model's
    "alpha-gan": Objective("arXiv:1706.04987, section 3", _UP, replace(_LOGISTIC, ratio=None), own=True),
}


def chosen(settings: ObjectiveConfig) -> tuple[Objective, Regulariser]:
    """The objective and the regulariser that a configuration asks for.

    Raises:
        ValueError: If there is none of this name, or the two, or smoothed labels, have no meaning together.
    """
    if settings.name not in OBJECTIVES:
        raise ValueError(f"objective.name: there is no {settings.name!r}; {near(settings.name, OBJECTIVES)}")
    objective = OBJECTIVES[settings.name]
    name = objective.regulariser if settings.regulariser == "own" else settings.regulariser
    if name not in REGULARISERS:
        raise ValueError(f"objective.regulariser: there is no {name!r}; {near(name, ['own', *REGULARISERS])}")
    if objective.game is None and (name != "none" or settings.spectral_norm):
        raise ValueError(
            f"objective.{'spectral_norm' if name == 'none' else 'regulariser'}: expected none for {settings.name!r}, "
            "which has no critic; leave it out"
        )
    if settings.label_smoothing and not (objective.game and objective.game.labels):
        smooth = [key for key, row in OBJECTIVES.items() if row.game and row.game.labels]
        raise ValueError(
            f"objective.label_smoothing: expected an objective with probabilities of labels, one of {smooth}, got "
            f"{settings.name!r}; leave it out"
        )
    return objective, REGULARISERS[name]
