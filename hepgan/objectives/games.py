"""Games, scores, and the table of objectives that is made of them; see `hepgan.objectives`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, relu, softplus

from hepgan.config import ObjectiveConfig
from hepgan.errors import ConfigError
from hepgan.files import near
from hepgan.objectives.penalties import REGULARISERS, Regulariser, expectation
from hepgan.transforms.kernels import usable
from hepgan.transforms.track_kernels import energy_scores

__all__ = [
    "DIVERGENCES_F",
    "OBJECTIVES",
    "Game",
    "Objective",
    "alpha_divergence",
    "chosen",
    "energy_distance",
    "energy_score",
    "first_score",
    "kernel_score",
    "power_ratio",
]

_LEAST = 1e-8  # of a squared length: what is shorter is the rounding of equal events, and counts as zero
_LEAST_PROBABILITY = 1e-3  # lower limit of 1 - v in the ratio v / (1 - v), for a v that can leave 0 to 1
_BANDWIDTHS = (
    0.125,
    0.25,
    0.5,
    1.0,
    2.0,
)  # widths of the kernels, in the distance of two standard normal events

# -- scores, which need no critic


def _length(x: Tensor) -> Tensor:
    """Euclidean norm of each row, (B, F) -> (B,)."""
    square = x.square().sum(1)
    apart = square > _LEAST  # the slope of a root at zero is undefined
    return torch.where(apart, square, 1).sqrt() * apart


def energy_distance(real: Tensor, fake: Tensor, other: Tensor, weights: Tensor) -> Tensor:
    r"""Energy distance between data and model, up to a constant of the data: () weighted mean over the batch.

    :math:`E\|x - g\| + E\|x - g'\| - E\|g - g'\|`, with two independent generated events of the condition of x, is
    smallest when, at every condition, generated events are distributed as the real ones (a strictly proper score).

    Args:
        real: (B, F) real events x.
        fake: (B, F) generated events g.
        other: (B, F) generated events g'.
        weights: (B,) weights.

    References:
        Gneiting and Raftery, J. Am. Stat. Assoc. 102 (2007) 359, equation 22; Bellemare et al., arXiv:1705.10743.
    """
    return expectation(_length(real - fake) + _length(real - other) - _length(fake - other), weights)


def energy_score(real: Tensor, fake: Tensor, other: Tensor, weights: Tensor) -> Tensor:
    """Energy distance in all coordinates together, plus the one in each coordinate (the CRPS); () weighted mean.

    The distance in many dimensions depends only weakly on the distribution of a single coordinate. Arguments are those
    of `energy_distance`.
    """
    if usable(real, fake, other, weights) and not (real.requires_grad or weights.requires_grad):
        return energy_scores(real.T, fake.T, other.T, weights, least=_LEAST).mean()
    each = (real - fake).abs() + (real - other).abs() - (fake - other).abs()
    return energy_distance(real, fake, other, weights) + expectation(each.sum(1), weights)


def kernel_score(real: Tensor, fake: Tensor, other: Tensor, weights: Tensor) -> Tensor:
    r"""Squared kernel distance between data and model, up to a constant of the data: () weighted mean over the batch.

    :math:`E k(g, g') - E k(x, g) - E k(x, g')`, where k is the mean of Gaussian kernels of five widths; smallest when
    both distributions agree at every condition. It matches moments within each condition. Arguments are those of
    `energy_distance`.

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
"""(B, S) scores that a critic gives to events."""

Each = Callable[[Tensor], Tensor]
"""Function of one number for each event, (B,) -> (B,)."""


@dataclass(frozen=True)
class Game:
    """Value that the critic maximises, a function of the witness v of real and of generated events.

    Attributes:
        gain: Gain of a real event as a function of v. For an f-divergence, the output activation.
        cost: Cost of a generated event as a function of v. For an f-divergence, the conjugate of the output activation.
        ratio: Ratio of the data's density to the model's as a function of the optimal critic's v; None if v does not
            determine it.
        value: Name of the value in the log.
        signed: Whether weights of both signs are allowed, because gain and cost are linear. Any other cost has no lower
            bound once it is multiplied by a negative weight, and the critic's loss diverges at such an event.
        labels: Whether gain and cost are logarithms of probabilities of the labels "real" and "generated", which may be
            smoothed.
    """

    gain: Each
    cost: Each
    ratio: Each | None = None
    value: str = "divergence"
    signed: bool = False
    labels: bool = False

    def __call__(self, real: Tensor, fake: Tensor, weights: Tensor, *, smoothing: float = 0.0) -> Tensor:
        """Value E gain(real) - E cost(fake), (), from (B,) witnesses of real and of generated events, and weights.

        Real events count as generated ones with the probability `smoothing` (arXiv:1606.03498, section 3.4).
        """
        gain = self.gain(real)
        if smoothing:
            gain = (1 - smoothing) * gain - smoothing * self.cost(real)
        return expectation(gain, weights) - expectation(self.cost(fake), weights)


def _itself(v: Tensor) -> Tensor:
    return v


def alpha_divergence(alpha: float) -> Game:
    """Game of an alpha-divergence (`hepgan.metrics.DIVERGENCES`), alpha not 0 or 1; v is the log ratio."""
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
r"""Games whose largest value is an f-divergence of `hepgan.metrics.DIVERGENCES`.

With :math:`P` the data, :math:`Q` the model and :math:`D = \int q f(p/q)`, gain is an output activation
:math:`g_f(v)` onto the domain of the conjugate :math:`f^*`, and cost is :math:`f^*(g_f(v))`, written out. The optimal
critic has :math:`g_f(v) = f'(p/q)`; where activations are a free choice, its v is the logarithm of the ratio. "pearson"
and "neyman" follow the integrals of the paper's table 1, which lists the two functions f the other way round;
"jensen-shannon" is half of the paper's. Weighted Jensen-Shannon is "gan" with unequal numbers of events.

References:
    Nowozin et al., arXiv:1606.00709, equation 4, tables 1 and 2.
"""


def _positive(v: Tensor) -> Tensor:
    """Ratio that grows linearly with v: softplus, shifted to 1 at v = 0."""
    return softplus(v + math.log(math.e - 1))


def power_ratio(beta: float) -> Game:
    r"""Game whose critic fits a density ratio r, by the Bregman divergence of :math:`(r^{1+\beta} - r)/\beta(1+\beta)`.

    With f for this function, the critic minimises :math:`E_Q[f'(r) r - f(r)] - E_P[f'(r)]`. beta = 1 is least squares
    (LSIF), the limit beta = 0 is KLIEP; the smaller beta, the less do events of a very large ratio weigh.

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


def first_score(scores: Scores, other: Scores) -> Tensor:
    """Witness of a critic with one score: the score itself, (B,)."""
    return scores[:, 0]


@dataclass(frozen=True)
class Objective:
    """Losses of generator and critic: a game, a score without a critic, or the model's own loss.

    Attributes:
        source: Publication.
        generator: Loss of the generator, a function of scores (B, S) of the real events, of scores of each set of
            generated ones, and of weights (B,); without a critic the scores are the events themselves. None: the
            generator has only its own loss.
        game: Value that the critic maximises; None for no critic.
        regulariser: Name of the critic's regulariser in `REGULARISERS`.
        scores: Number S of scores that the critic gives an event.
        fakes: Number of independent generated events for each real one.
        witness: Function of scores (B, S) of events and scores of the last set of generated ones; gives v, (B,).
        own: Whether the model's own loss is added: ``generator.loss(events, rng=...)``, (B,) numbers for a batch
            (`TensorEvents`), such as minus a log likelihood.
        compares: Whether the generator's loss needs the critic's scores of the real events; otherwise they are not
            computed, and the loss gets the events in their place.
    """

    source: str
    generator: Callable[[Scores, Sequence[Scores], Tensor], Tensor] | None = None
    game: Game | None = None
    regulariser: str = "none"
    scores: int = 1
    fakes: int = 1
    witness: Callable[[Scores, Scores], Tensor] = first_score
    own: bool = False
    compares: bool = False

    @property
    def signed(self) -> bool:
        """Whether weights of both signs are allowed."""
        return not self.own and (self.game is None or self.game.signed)


def _each(loss: Each) -> Callable[[Scores, Sequence[Scores], Tensor], Tensor]:
    """Loss of the generator that is the mean of a function of v over generated events."""
    return lambda real, fakes, weights: expectation(loss(fakes[0][:, 0]), weights)


def _bound(game: Game, source: str, regulariser: str = "none") -> Objective:
    """Objective whose generator minimises the value that its critic maximises."""
    return Objective(source, _each(lambda v: -game.cost(v)), game, regulariser)


def _ratio(game: Game, source: str, regulariser: str = "none") -> Objective:
    """Objective whose generator minimises E_Q[-ln r], the reverse KL divergence with the critic's ratio r."""
    ratio = game.ratio or torch.exp
    return Objective(source, _each(lambda v: -torch.log(ratio(v))), game, regulariser)


_LOGISTIC = DIVERGENCES_F["gan"]
_UP = _each(torch.neg)  # the generator raises v

OBJECTIVES: dict[str, Objective] = {
    "wgan-gp": Objective("arXiv:1704.00028, algorithm 1", _UP, _WASSERSTEIN, "wgan-gp"),
    "wgan-gp-one-sided": Objective("arXiv:1709.08894", _UP, _WASSERSTEIN, "one-sided"),
    "wgan-clip": Objective("arXiv:1701.07875, algorithm 1", _UP, _WASSERSTEIN, "clip"),
    "cramer": Objective(  # real and generated events have the same condition
        "arXiv:1705.10743, algorithm 1",
        lambda real, fakes, weights: energy_distance(real, fakes[0], fakes[1], weights),
        _WASSERSTEIN,
        "wgan-gp",
        scores=256,
        fakes=2,
        witness=lambda scores, other: _length(scores - other) - _length(scores),
        compares=True,
    ),
    "minimax": _bound(_LOGISTIC, "arXiv:1406.2661, equation 1"),
    "non-saturating": Objective("arXiv:1406.2661, section 3", _each(lambda v: softplus(-v)), _LOGISTIC),
    "least-squares": Objective(  # Brier score of v as the probability that the event is real
        "arXiv:1611.04076, labels 0 and 1",
        _each(lambda v: (v - 1) ** 2),
        Game(
            lambda v: -((v - 1) ** 2), torch.square, lambda v: relu(v) / (1 - v).clamp(min=_LEAST_PROBABILITY)
        ),
    ),
    "hinge": Objective("arXiv:1705.02894", _UP, Game(lambda v: -relu(1 - v), lambda v: relu(1 + v))),
    **{
        f"f-{name}": _bound(game, "arXiv:1606.00709, equations 4 and 6")
        for name, game in DIVERGENCES_F.items()
        if name != "gan"  # this one is "minimax"
    },
    # without r1 the critic saturates once the samples no longer overlap, and the generator gets no gradient
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
    # no ratio: the critic compares with generated events and reconstructions together, which are not the model
    "alpha-gan": Objective("arXiv:1706.04987, section 3", _UP, replace(_LOGISTIC, ratio=None), own=True),
}


def chosen(settings: ObjectiveConfig) -> tuple[Objective, Regulariser]:
    """Look up the objective and the regulariser of a configuration.

    Raises:
        ConfigError: If there is none of this name, or the objective does not go with the regulariser, with spectral
            normalisation, with the energy score beside it or with smoothed labels.
    """
    if settings.name not in OBJECTIVES:
        raise ConfigError(f"objective.name: there is no {settings.name!r}; {near(settings.name, OBJECTIVES)}")
    objective = OBJECTIVES[settings.name]
    name = objective.regulariser if settings.regulariser == "own" else settings.regulariser
    if name not in REGULARISERS:
        raise ConfigError(
            f"objective.regulariser: there is no {name!r}; {near(name, ['own', *REGULARISERS])}"
        )
    if objective.game is None and (name != "none" or settings.spectral_norm):
        raise ConfigError(
            f"objective.{'spectral_norm' if name == 'none' else 'regulariser'}: expected none for {settings.name!r}, "
            "which has no critic; leave it out"
        )
    if settings.score and (objective.game is None or objective.own):
        reason = (
            "which has no critic" if objective.game is None else "whose generator reconstructs real events"
        )
        raise ConfigError(
            f"objective.score: expected 0 for {settings.name!r}, {reason}, got {settings.score:g}; leave it out"
        )
    if settings.label_smoothing and not (objective.game and objective.game.labels):
        smooth = [key for key, row in OBJECTIVES.items() if row.game and row.game.labels]
        raise ConfigError(
            f"objective.label_smoothing: expected an objective with probabilities of labels, one of {smooth}, got "
            f"{settings.name!r}; leave it out"
        )
    return objective, REGULARISERS[name]
