r"""A Wasserstein critic between two fixed samples: the earth mover's distance as a trained function sees it.

A critic of WGAN-GP's kind, trained for this measurement only: a generator was never adapted to it, as it was to the
critic of its own training, and both samples stand still, so that it can be trained to the end.

What it is not: the distance :math:`\sup_{\|f\|_L \le 1} E_1 f - E_2 f` itself. It is the difference of means of ONE
function f, measured on events that did not train it. A network of finite size, trained for a finite time on finitely
many events, is not the best function, which makes the value too small. And the gradient penalty holds its slope below
1 only softly (a shift by :math:`\delta` pays for a slope of :math:`1 + \delta / 2\lambda`), which would make it too
large: what the slopes exceed 1 on average is therefore divided out, and a lower bound with the steepest ones divided
out is given besides.

The penalty is one-sided, unlike that of the training: the two-sided one also forbids a slope below 1, and a critic can
be caught in a useless function (Gaussians of spreads 1 and 1.5 in two dimensions, 0.63 apart, a critic of 2 x 64
units, 300 steps: 0.61 with one seed, 0.03 with another; one-sided 0.61 with the first).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from hepgan.metrics.histogram import quantiles
from hepgan.metrics.moments import Measurement, checked, mean
from hepgan.metrics.transport import standardised
from hepgan.objectives import expectation

__all__ = ["CriticEstimate", "wasserstein_critic"]

Array = NDArray[np.float64]

STEEP = 0.99  # quantile of the slopes that stands for the Lipschitz constant; the largest one is chance
PROBES = 10_000  # lines on which the slopes of each critic are taken
LEAK = 0.2  # slope of LeakyReLU below zero, as usual in critics since arXiv:1511.06434
MOMENTA = (0.5, 0.9)  # of Adam; (0, 0.9) in arXiv:1704.00028, where the generator moves: here nothing does
FEWEST = 20  # events of a sample: below, a half has too few to train a function and to judge it


@dataclass(frozen=True)
class CriticEstimate:
    """Outcome of `wasserstein_critic`, in spreads of the reference.

    Attributes:
        value: Difference of a critic's means on events that did not train it, over the mean of its slopes with
            those below 1 counted as 1; mean of two critics.
        uncertainty: The larger of the standard error of that difference and the spread between the two critics. It
            does not contain what the critics failed to learn.
        excess: The mean that was divided by: 1 for a critic that is nowhere steeper than allowed.
        gradient_norm: Mean slope of the critics on lines between events that did not train them. At most
            `excess`; well below it where the samples agree, and the critic has no reason to rise.
        steepest: 99 % quantile of the slopes.
        halves: Value and standard error of either critic.
    """

    value: float
    uncertainty: float
    excess: float
    gradient_norm: float
    steepest: float
    halves: tuple[Measurement, Measurement]

    @property
    def measurement(self) -> Measurement:
        """Value and uncertainty."""
        return self.value, self.uncertainty

    @property
    def bound(self) -> Measurement:
        """What is left when the steepest slopes, not the mean ones, are divided out: a lower bound of the distance.

        Conservative, not strict: one line in a hundred is steeper.
        """
        factor = self.excess / max(self.steepest, 1.0)
        return self.value * factor, self.uncertainty * factor


def _network(features: int, width: int, depth: int, rng: torch.Generator) -> nn.Sequential:
    """Dense network from (B, F) to (B, 1), with parameters from `generator` alone."""
    sizes = [features, *[width] * depth, 1]
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        linear = nn.Linear(n_in, n_out, device="meta").to_empty(
            device="cpu"
        )  # draws nothing from torch's generator
        nn.init.kaiming_uniform_(linear.weight, a=LEAK, generator=rng)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.LeakyReLU(LEAK)]
    return nn.Sequential(*layers[:-1])


@dataclass(frozen=True)
class _Part:
    """Half of a sample: (N, F) events, and weights (N,) of mean one."""

    events: Tensor
    weights: Tensor


def _batch(
    sample: _Part, reference: _Part, size: int, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Events drawn uniformly from both, with their weights: weights of either sign keep their meaning."""
    i, j = (torch.randint(len(part.events), (size,), generator=rng) for part in (reference, sample))
    return reference.events[i], reference.weights[i], sample.events[j], sample.weights[j]


def _pair_weights(v: Tensor, w: Tensor) -> Tensor:
    """Weights of pairs by magnitude, of mean one: the constraint holds for events of either sign."""
    product = (v * w).abs()
    return product / product.mean().clamp_min(torch.finfo(product.dtype).tiny)


def _slopes(network: nn.Sequential, real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
    """Norms of the gradient, one at a random place on each line between (B, F) events: (B,), differentiable."""
    u = torch.rand(len(real), 1, generator=rng)
    x = (u * real + (1 - u) * fake).requires_grad_()
    (gradient,) = torch.autograd.grad(network(x).sum(), x, create_graph=True)
    norms: Tensor = torch.linalg.vector_norm(gradient, dim=1)
    return norms


def wasserstein_critic(
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    rng: np.random.Generator,
    sample_weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
    steps: int = 1000,
    batch_size: int = 512,
    width: int = 128,
    depth: int = 3,
    penalty: float = 10.0,
    learning_rate: float = 1e-3,
    progress: Callable[[int, int], None] | None = None,
) -> CriticEstimate:
    r"""Train critics on halves of two samples, and take the difference of their means on the other halves.

    A critic maximises :math:`E_1 f - E_2 f - \lambda E \max(\|\nabla f\| - 1, 0)^2`. Two of them are trained, each on
    one half of both samples and judged on the other, so that every event is used once, by a critic that never saw it.
    The value is 0 within its uncertainty, of either sign, between samples of the same distribution: unlike the exact
    distance of a finite sample it has no floor. It cannot see what a smooth function learnt in so many steps cannot:
    fine structure, rare modes, differences smaller than the uncertainty. Between 100 000 events of 35 features it gives
    0.26 for a shift by 0.3 spreads, and 0.60 for a correlation of 0.9 in two of them, where the truth
    is between 0.55 (the worst projection) and 0.65 (the exact distance of 3000 events, which is above it).

    Cost: (100 000, 35) against the same, half a minute on one core.

    The features are put in spreads of the reference first (`standardised`), the value is in this unit. Conditions may
    be features like others. The result is reproducible with the same seed, number of threads and version of torch.

    Args:
        reference: (N1, F).
        sample: (N2, F).
        rng: Seeds halves, initial parameters and batches.
        reference_weights: (N1,), default ones; single negative weights are allowed, and make the value noisier.
        sample_weights: (N2,), default ones.
        steps: Batches for each critic.
        batch_size: Events of either sample in a batch; small ones make the function rough, and the value too small.
        width: Units of a hidden layer.
        depth: Number of hidden layers.
        penalty: :math:`\lambda`.
        learning_rate: Of Adam at the beginning; falls to zero along half a cosine.
        progress: Called with the number of batches done, and of all, after each.

    Raises:
        ValueError: If a sample has fewer than 20 events or is not finite, its weights or those of a half have no
            positive sum, or the numbers of features differ.

    References:
        Arjovsky et al., arXiv:1701.07875, equation 2; Gulrajani et al., arXiv:1704.00028 (gradient penalty); Petzka
        et al., arXiv:1709.08894 (one-sided penalty); Danihelka et al., arXiv:1705.05263 (independent critic as a
        measure of quality).
    """
    _, v = checked(reference, reference_weights, name="reference", ndim=2)
    _, w = checked(sample, sample_weights, name="sample", ndim=2)
    y, x = standardised(sample, reference, reference_weights=v)
    splits: list[list[_Part]] = []
    for events, weights, name in ((x, v, "reference"), (y, w, "sample")):
        if len(events) < FEWEST:
            raise ValueError(
                f"{name}: expected at least {FEWEST} events, of which one half trains a critic and the other judges "
                f"it, got {len(events)}; take more events"
            )
        halves = []
        for chosen in np.array_split(rng.permutation(len(events)), 2):
            checked(events[chosen], weights[chosen], name=f"half of the {name}", ndim=2)
            scaled = weights[chosen] / weights[chosen].mean()
            halves.append(_Part(torch.from_numpy(events[chosen]).float(), torch.from_numpy(scaled).float()))
        splits.append(halves)

    values: list[Measurement] = []
    probes: list[tuple[Array, Array]] = []
    for k in range(2):
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        network = _network(x.shape[1], width, depth, generator)
        optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, betas=MOMENTA)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for step in range(steps):
            real, v1, fake, w1 = _batch(splits[1][k], splits[0][k], batch_size, generator)
            scores = network(torch.cat([real, fake]))[:, 0]
            gap = expectation(scores[:batch_size], v1) - expectation(scores[batch_size:], w1)
            pairs = _pair_weights(v1, w1)
            slopes = _slopes(network, real, fake, generator)
            excess = expectation((slopes - 1).clamp_min(0) ** 2, pairs)
            optimizer.zero_grad()
            (penalty * excess - gap).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            if progress is not None:
                progress(k * steps + step + 1, 2 * steps)

        real, v1, fake, w1 = _batch(splits[1][1 - k], splits[0][1 - k], PROBES, generator)
        probed = _slopes(network, real, fake, generator).detach().double().numpy()
        counts = _pair_weights(v1, w1).double().numpy()
        probes.append((probed, counts))
        unit = float(np.average(np.maximum(probed, 1.0), weights=counts))
        with torch.no_grad():
            (a, u), (b, t) = (
                mean(network(part.events)[:, 0].numpy() / unit, part.weights.numpy())
                for part in (splits[0][1 - k], splits[1][1 - k])
            )
        values.append((a - b, math.hypot(u, t)))

    (a, u), (b, t) = values
    probed, counts = (np.concatenate(column) for column in zip(*probes, strict=True))
    return CriticEstimate(
        value=0.5 * (a + b),
        uncertainty=0.5 * max(math.hypot(u, t), abs(a - b)),
        excess=float(np.average(np.maximum(probed, 1.0), weights=counts)),
        gradient_norm=float(np.average(probed, weights=counts)),
        steepest=float(quantiles(probed, counts, np.array([STEEP]))[0]),
        halves=(values[0], values[1]),
    )
