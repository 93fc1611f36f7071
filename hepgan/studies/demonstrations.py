r"""The classic demonstrations of adversarial learning, as numbers: what notebooks/objectives.ipynb draws.

- `parallel_lines`: samples that do not overlap. The Jensen-Shannon divergence says :math:`\ln 2` however far they are
  apart, the Wasserstein distance says how far (arXiv:1701.07875, example 1).
- `trained_value`: what a critic that is trained on two samples says of them, for any game of `OBJECTIVES`.
- `value`: the same for a critic that is known, without samples: the best discriminator's is
  :math:`-\ln 4 + 2\,JS` (arXiv:1406.2661, theorem 1).
- `generator_slope`: how hard the best critic pulls at a generator that is far away.
- `DYNAMICS`, `xy_path`: the game of :math:`x y`, which gradient descent does not end, and what ends it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from hepgan.files import near
from hepgan.objectives import OBJECTIVES, REGULARISERS, Game, gradient_penalty

__all__ = [
    "DYNAMICS",
    "Dynamics",
    "generator_slope",
    "line_distances",
    "parallel_lines",
    "trained_value",
    "value",
    "xy_path",
]

Array = NDArray[np.float64]

_RATE = 3e-3  # learning rate of a trained critic at the beginning; falls to zero
_GAMMA = 0.5  # strength of the penalty in the game of x y
_NODES = 64  # of the quadrature over a Gaussian: exact for polynomials up to twice this degree


def _game(name: str) -> Game:
    """The game of a row of `OBJECTIVES` whose critic gives one number.

    Raises:
        ValueError: If there is none of this name, or it has no such critic.
    """
    if name not in OBJECTIVES:
        raise ValueError(f"objective: there is no {name!r}; {near(name, OBJECTIVES)}")
    objective = OBJECTIVES[name]
    if objective.game is None or objective.scores > 1:
        usable = [key for key, row in OBJECTIVES.items() if row.game and row.scores == 1]
        raise ValueError(f"objective: expected one whose critic gives one number, {usable}, got {name!r}")
    return objective.game


# -- samples that do not overlap


def parallel_lines(n: int, distance: float, *, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points (0, u) of the data and (distance, u) of the model, u uniform from 0 to 1: (n, 2) each."""
    data, model = torch.rand(2, n, 1, generator=rng)
    return nn.functional.pad(data, (1, 0)), nn.functional.pad(model, (1, 0), value=distance)


def line_distances(distance: float) -> dict[str, float]:
    """Exact divergences of the two lines: all but the last jump where the lines meet, and are constant elsewhere.

    References:
        Arjovsky, Chintala and Bottou, arXiv:1701.07875, example 1 and figure 1.
    """
    apart = distance != 0
    return {
        "jensen_shannon": math.log(2) if apart else 0.0,
        "kl": math.inf if apart else 0.0,
        "total_variation": 1.0 if apart else 0.0,
        "wasserstein": abs(distance),
    }


# -- what critics say


def trained_value(
    name: str,
    sample: Callable[[int, torch.Generator], tuple[Tensor, Tensor]],
    *,
    seed: int = 0,
    steps: int = 400,
    batch_size: int = 512,
    width: int = 32,
    penalty: float = 10.0,
) -> float:
    """Value of a game for a critic trained on samples, measured on events that did not train it.

    A gradient penalty is soft: where the samples are a shift by d apart, a slope of 1 + d / (2 penalty) pays best, and
    the value of "wgan-gp" is that much too large.

    Args:
        name: Row of `OBJECTIVES`, with its own regulariser.
        sample: From a number n of events to as many of data and of the model, (n, F) each.
        seed: Of the critic and of the events.
        steps: Of the critic.
        batch_size: Events of each step.
        width: Units of its two hidden layers.
        penalty: Strength of the regulariser.

    Returns:
        The estimate of what the game stands for: a divergence, or the Wasserstein distance.

    Raises:
        ValueError: If there is no such objective, it has no critic of one number, or the critic's weights are clipped.
    """
    game, regulariser = _game(name), REGULARISERS[OBJECTIVES[name].regulariser]
    if regulariser.clip:
        raise ValueError(f"objective: expected one without clipping of weights, got {name!r}; try 'wgan-gp'")
    generator = torch.Generator().manual_seed(seed)
    features = sample(1, generator)[0].shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        critic = nn.Sequential(
            nn.Linear(features, width),
            nn.LeakyReLU(0.1),
            nn.Linear(width, width),
            nn.LeakyReLU(0.1),
            nn.Linear(width, 1),
            nn.Flatten(0),
        )
    optimizer = torch.optim.Adam(critic.parameters(), lr=_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    ones = torch.ones(batch_size)
    for _ in range(steps):
        real, fake = sample(batch_size, generator)
        loss = -game(critic(real), critic(fake), ones)
        if regulariser.at is not None:
            loss = loss + penalty * gradient_penalty(
                critic, real, fake, ones, rng=generator, at=regulariser.at, cost=regulariser.cost
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        real, fake = sample(20 * batch_size, generator)
        return float(game(critic(real), critic(fake), torch.ones(len(real))))


def value(name: str, witness: ArrayLike, data: ArrayLike, model: ArrayLike) -> float:
    """Value of a game for a known critic: sum of data * gain(v) - model * cost(v).

    Args:
        name: Row of `OBJECTIVES`.
        witness: (B,) what the critic says in each bin. For "minimax" the best is the logarithm of data over model.
        data: (B,) probabilities of the data, sum 1.
        model: (B,) the same of the model.

    Raises:
        ValueError: If there is no such objective, or it has no critic of one number.
    """
    game = _game(name)
    v, p, q = (torch.from_numpy(np.asarray(a, np.float64)) for a in (witness, data, model))
    return float((p * game.gain(v) - q * game.cost(v)).sum())


def generator_slope(name: str, distance: float) -> float:
    r"""Change of the generator's loss with the distance, for the best critic of two unit Gaussians this far apart.

    The data are normal around 0, the model around `distance` d; what the generator feels is the slope at a critic that
    stands still. The best critic is :math:`v = \ln(p/q) = d^2/2 - d x`, or, for a Wasserstein distance, :math:`v = -x`.

    Args:
        name: Row of `OBJECTIVES`, of a Wasserstein distance or one whose critic tells the logarithm of the ratio.
        distance: Of the model from the data, not negative.

    Raises:
        ValueError: If there is no such objective, or its critic says something else.
    """
    game, minimised = _game(name), OBJECTIVES[name].generator
    if minimised is None or (not game.signed and game.ratio is not torch.exp):
        raise ValueError(
            "objective: expected one whose critic tells a Wasserstein distance or the logarithm of the ratio, got "
            f"{name!r}; try 'minimax' or 'wgan-gp'"
        )
    nodes, mass = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(_NODES))
    place = torch.tensor(distance, dtype=torch.float64, requires_grad=True)

    def critic(x: Tensor) -> Tensor:
        return (-x if game.signed else distance**2 / 2 - distance * x)[:, None]

    loss = minimised(critic(nodes), [critic(place + nodes)], len(nodes) * mass / mass.sum())
    (slope,) = torch.autograd.grad(loss, place)
    return float(slope)


# -- a game that does not end


def _simultaneous(eta: float) -> Array:
    return np.array([[1, -eta], [eta, 1]])


def _alternating(eta: float) -> Array:
    return np.array([[1, -eta], [eta, 1 - eta**2]])


def _extragradient(eta: float) -> Array:
    return np.array([[1 - eta**2, -eta], [eta, 1 - eta**2]])


def _optimistic(eta: float) -> Array:  # of x, y and what they were before
    return np.array([[1, -2 * eta, 0, eta], [2 * eta, 1, -eta, 0], [1, 0, 0, 0], [0, 1, 0, 0]])


def _penalised(eta: float) -> Array:
    return np.array([[1, -eta], [eta, 1 - eta * _GAMMA]])


@dataclass(frozen=True)
class Dynamics:
    """How two players move who differ about x y: one chooses x to make it small, the other y to make it large.

    Attributes:
        step: From the rate eta to the matrix of one step: all of these rules are linear.
        rule: The step in words.
        source: Where it comes from.
    """

    step: Callable[[float], Array]
    rule: str
    source: str

    def factor(self, rate: float) -> float:
        """By which the distance to the solution (0, 0) changes with each step, after many: the spectral radius."""
        return float(np.abs(np.linalg.eigvals(self.step(rate))).max())


DYNAMICS: dict[str, Dynamics] = {
    "simultaneous": Dynamics(
        _simultaneous, "x - eta y and y + eta x: outwards, whatever eta is", "arXiv:1801.04406"
    ),
    "alternating": Dynamics(
        _alternating, "the same, but y answers to the new x: around for ever", "arXiv:1801.04406"
    ),
    "extragradient": Dynamics(
        _extragradient, "with the slopes at the place where a first step would lead", "arXiv:1802.10551"
    ),
    "optimistic": Dynamics(
        _optimistic, "with twice the slopes, less those of the step before", "arXiv:1711.00141"
    ),
    "penalised": Dynamics(
        _penalised, "y pays gamma y^2 / 2 for its steepness, gamma = 1/2", "arXiv:1801.04406"
    ),
}
"""Ways to play f(x, y) = x y; x is a generator of one number, y the slope of a linear critic.

The bilinear game is what every adversarial game looks like near its solution, apart from what is curved.
"""


def xy_path(
    name: str, *, rate: float = 0.1, steps: int = 500, start: tuple[float, float] = (1.0, 1.0)
) -> Array:
    """Where the players of x y are: (steps + 1, 2).

    The running mean of the places, ``path.cumsum(0) / numbers``, is another remedy: it comes to rest where the players
    go around ("alternating"), and runs away where they do.

    Args:
        name: Row of `DYNAMICS`.
        rate: Learning rate of both.
        steps: Number of steps.
        start: First x and y.

    Raises:
        ValueError: If there is no such row.
    """
    if name not in DYNAMICS:
        raise ValueError(f"dynamics: there is none named {name!r}; {near(name, DYNAMICS)}")
    matrix = DYNAMICS[name].step(rate)
    state = np.resize(np.asarray(start, np.float64), len(matrix))  # before the first step they stood still
    path = [state]
    for _ in range(steps):
        path.append(matrix @ path[-1])
    return np.stack(path)[:, :2]
