r"""Classic demonstrations of adversarial learning, as numbers; notebooks/objectives.ipynb draws them.

- `parallel_lines`: samples that do not overlap. Their Jensen-Shannon divergence is :math:`\ln 2` at any distance, their
  Wasserstein distance is the distance (arXiv:1701.07875, example 1).
- `trained_value`: value of a game of `OBJECTIVES` for a critic that is trained on two samples.
- `value`: value of a game for a known critic, from histograms; for the best discriminator it is
  :math:`-\ln 4 + 2\,JS` (arXiv:1406.2661, theorem 1).
- `generator_slope`: gradient that a generator far from the data gets from the best critic.
- `DYNAMICS`, `xy_path`: the game of :math:`x y`, in which gradient descent does not converge, and remedies.
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
_NODES = 64  # nodes of the quadrature over a Gaussian: exact for polynomials of less than twice this degree


def _game(name: str) -> Game:
    """Look up the game of an objective whose critic gives one number.

    Raises:
        ValueError: If there is no such objective, or it has no such critic.
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
    """Exact divergences of the two lines by name: constant except at distance 0; only "wasserstein" is continuous.

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


# -- values of critics


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
    """Value of a game for a critic trained on samples, measured on events that were not used in training.

    A gradient penalty does not bound the slope exactly: for samples that differ by a shift d, a slope of
    1 + d / (2 penalty) is best, and the value of "wgan-gp" is too large by this factor.

    Args:
        name: Name in `OBJECTIVES`; trained with its default regulariser.
        sample: Draws events: called with a number n and a random source, returns n events of the data and n of the
            model, (n, F) each.
        seed: Seed of the critic and of the events.
        steps: Number of steps of the critic.
        batch_size: Number of events in each step.
        width: Units in each of its two hidden layers.
        penalty: Strength of the regulariser.

    Returns:
        Estimate of the divergence, or of the Wasserstein distance, that belongs to the game.

    Raises:
        ValueError: If there is no such objective, it has no critic of one number, or the critic's weights are clipped.
    """
    game, regulariser = _game(name), REGULARISERS[OBJECTIVES[name].regulariser]
    if regulariser.clip:
        raise ValueError(f"objective: expected one without clipping of weights, got {name!r}; try 'wgan-gp'")
    rng = torch.Generator().manual_seed(seed)
    features = sample(1, rng)[0].shape[1]
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
        real, fake = sample(batch_size, rng)
        loss = -game(critic(real), critic(fake), ones)
        if regulariser.at is not None:
            loss = loss + penalty * gradient_penalty(
                critic, real, fake, ones, rng=rng, at=regulariser.at, cost=regulariser.cost
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        real, fake = sample(20 * batch_size, rng)
        return float(game(critic(real), critic(fake), torch.ones(len(real))))


def value(name: str, witness: ArrayLike, data: ArrayLike, model: ArrayLike) -> float:
    """Value of a game for a known critic: sum of data * gain(v) - model * cost(v).

    Args:
        name: Name in `OBJECTIVES`.
        witness: (B,) output v of the critic in each bin. For "minimax" the best v is the logarithm of data over model.
        data: (B,) probabilities of the data, with sum 1.
        model: (B,) probabilities of the model, with sum 1.

    Raises:
        ValueError: If there is no such objective, or it has no critic of one number.
    """
    game = _game(name)
    v, p, q = (torch.from_numpy(np.asarray(a, np.float64)) for a in (witness, data, model))
    return float((p * game.gain(v) - q * game.cost(v)).sum())


def generator_slope(name: str, distance: float) -> float:
    r"""Change of the generator's loss with the distance, for the best critic of two unit Gaussians this far apart.

    The data are normal around 0, the model around `distance` d. The critic is held fixed while the generator moves. The
    best critic is :math:`v = \ln(p/q) = d^2/2 - d x`, or, for a Wasserstein distance, :math:`v = -x`.

    Args:
        name: Name in `OBJECTIVES`; a Wasserstein distance, or a game whose v is the logarithm of the ratio.
        distance: Distance of the model from the data, not negative.

    Raises:
        ValueError: If there is no such objective, or its v is something else.
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


# -- a game that gradient descent does not solve


def _simultaneous(eta: float) -> Array:
    return np.array([[1, -eta], [eta, 1]])


def _alternating(eta: float) -> Array:
    return np.array([[1, -eta], [eta, 1 - eta**2]])


def _extragradient(eta: float) -> Array:
    return np.array([[1 - eta**2, -eta], [eta, 1 - eta**2]])


def _optimistic(eta: float) -> Array:  # acts on x, y, and the x and y of the step before
    return np.array([[1, -2 * eta, 0, eta], [2 * eta, 1, -eta, 0], [1, 0, 0, 0], [0, 1, 0, 0]])


def _penalised(eta: float) -> Array:
    return np.array([[1, -eta], [eta, 1 - eta * _GAMMA]])


@dataclass(frozen=True)
class Dynamics:
    """Update rule of two players: one changes x to make x y small, the other changes y to make it large.

    Attributes:
        step: Matrix of one step, as a function of the rate eta: all of these rules are linear.
        rule: The step in words.
        source: Publication.
    """

    step: Callable[[float], Array]
    rule: str
    source: str

    def factor(self, rate: float) -> float:
        """Factor of the distance to the solution (0, 0) with each step, in the long run: the spectral radius."""
        return float(np.abs(np.linalg.eigvals(self.step(rate))).max())


DYNAMICS: dict[str, Dynamics] = {
    "simultaneous": Dynamics(
        _simultaneous, "x - eta y and y + eta x: diverges for any eta", "arXiv:1801.04406"
    ),
    "alternating": Dynamics(
        _alternating, "the same, but y answers to the new x: circles for ever", "arXiv:1801.04406"
    ),
    "extragradient": Dynamics(
        _extragradient, "with the slopes at the point that a simultaneous step leads to", "arXiv:1802.10551"
    ),
    "optimistic": Dynamics(
        _optimistic, "with twice the slopes, minus the slopes of the step before", "arXiv:1711.00141"
    ),
    "penalised": Dynamics(
        _penalised, "with a penalty gamma y^2 / 2 on the slope y, gamma = 1/2", "arXiv:1801.04406"
    ),
}
"""Update rules for f(x, y) = x y; x is a generator of one number, y the slope of a linear critic.

Near its solution, every adversarial game looks like this bilinear game, apart from curvature.
"""


def xy_path(
    name: str, *, rate: float = 0.1, steps: int = 500, start: tuple[float, float] = (1.0, 1.0)
) -> Array:
    """Positions (x, y) of the players before each step and after the last: (steps + 1, 2).

    Averaging is another remedy: the running mean of the positions converges if the players circle ("alternating"), but
    not if they diverge.

    Args:
        name: Name in `DYNAMICS`.
        rate: Learning rate of both players.
        steps: Number of steps.
        start: First x and y.

    Raises:
        ValueError: If there is no such rule.
    """
    if name not in DYNAMICS:
        raise ValueError(f"dynamics: there is none named {name!r}; {near(name, DYNAMICS)}")
    matrix = DYNAMICS[name].step(rate)
    state = np.resize(
        np.asarray(start, np.float64), len(matrix)
    )  # the step before the first did not move them
    path = [state]
    for _ in range(steps):
        path.append(matrix @ path[-1])
    return np.stack(path)[:, :2]
