r"""Objectives: the losses of critic and generator, in one table, `OBJECTIVES`; regularisers in `REGULARISERS`.

A critic gives each event one or more scores, which the objective's witness function turns into one number :math:`v`.
The critic maximises the value of a `Game`,

.. math:: E_{data}[gain(v)] - E_{model}[cost(v)].

With an output activation as gain and its conjugate as cost, the value is the lower bound of an f-divergence
(arXiv:1606.00709, equation 4); with the identity for both it is the Wasserstein distance. The generator minimises a
loss of its own choice, which each objective names. Objectives without a critic compare generated events with the data
directly, and a model may bring its own loss (`Objective.own`).

Use "wgan-gp": its value falls with the distance between the samples even if they do not overlap, it takes weights of
both signs, and it loses no modes. "energy-score" is faster for few observables. The others are for comparison; see
docs/objectives.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, relu, softplus

from hepgan.config import ObjectiveConfig
from hepgan.data.draws import normal, uniform
from hepgan.errors import ConfigError
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
    "first_score",
    "gradient_penalty",
    "kernel_score",
    "linear_gradient_penalty",
    "power_ratio",
]

_TINY = 1e-12  # added under the square root of a norm, so that its slope at zero is zero instead of undefined
_DRAGAN_SPREAD = 0.5  # spread of the noise around real events, in their own spreads (arXiv:1705.07215)
_LEAST_PROBABILITY = 1e-3  # lower limit of 1 - v in the ratio v / (1 - v), for a v that can leave 0 to 1
_BANDWIDTHS = (
    0.125,
    0.25,
    0.5,
    1.0,
    2.0,
)  # widths of the kernels, in the distance of two standard normal events


def expectation(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean, for weights of mean one over the sample (of either sign): (B,), (B,) -> ()."""
    return (weights * values).mean()


# -- regularisers: places where the slope of the critic is taken, and the cost of a slope


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

    Returns:
        () penalty, before it is multiplied by lambda.

    References:
        Gulrajani et al., arXiv:1704.00028, equation 3 and algorithm 1.
    """
    x = at(real, fake, rng).detach().requires_grad_()
    (slope,) = torch.autograd.grad(function(x).sum(), x, create_graph=True)
    return expectation(cost(torch.linalg.vector_norm(slope.flatten(1), dim=1)), weights.abs())


def linear_gradient_penalty(
    function: Callable[[Tensor], tuple[Tensor, Callable[[Tensor], Tensor]]],
    real: Tensor,
    fake: Tensor,
    weights: Tensor,
    *,
    rng: torch.Generator,
    at: Callable[[Tensor, Tensor, torch.Generator], Tensor] = between,
    cost: Callable[[Tensor], Tensor] = two_sided,
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

    Returns:
        () penalty, before it is multiplied by lambda; only its derivatives by weights of the function are right.
    """
    x = at(real, fake, rng).detach().requires_grad_()
    value, along = function(x)
    (slope,) = torch.autograd.grad(value.sum(), x)
    with torch.enable_grad():
        slope.requires_grad_()
        penalty = expectation(cost(torch.linalg.vector_norm(slope.flatten(1), dim=1)), weights.abs())
    (direction,) = torch.autograd.grad(penalty, slope)
    return penalty.detach() + along(direction)


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

# -- scores, which need no critic


def _length(x: Tensor) -> Tensor:
    """Euclidean norm of each row, (B, F) -> (B,)."""
    return (x.square().sum(1) + _TINY).sqrt()


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
            normalisation or with smoothed labels.
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
    if settings.label_smoothing and not (objective.game and objective.game.labels):
        smooth = [key for key, row in OBJECTIVES.items() if row.game and row.game.labels]
        raise ConfigError(
            f"objective.label_smoothing: expected an objective with probabilities of labels, one of {smooth}, got "
            f"{settings.name!r}; leave it out"
        )
    return objective, REGULARISERS[name]
