r"""Parzen-window log-likelihood: how probable held-out events are under a kernel density of the generated ones.

The number that the first GAN papers compare (arXiv:1406.2661, table 1), kept for that comparison and for that only.

Do not select models by it (Theis et al., arXiv:1511.01844, section 3): in more than a few dimensions the kernel
density of any affordable number of events is far from the density that the events are from, whatever the bandwidth.
Even events of the true distribution then get a value below the true log-likelihood, by more than models differ; and
worse samples can get a better value than true ones, as those do that are too narrow by just the width of the kernel.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hepgan.metrics.moments import Measurement, checked, checked_pair, mean

__all__ = ["ParzenEstimate", "parzen_log_likelihood"]

logger = logging.getLogger(__name__)

Array = NDArray[np.float64]
Weighted = tuple[Array, Array]

VALIDATION = 1000  # events that choose the bandwidth: one number is fitted
STEPS_PER_DECADE = 10  # of the default grid; next to the best bandwidth the likelihood is flat
SMALLEST = (
    1e-6  # bandwidth in spreads of the sample; at this one, events coincide rather than resemble each other
)
BLOCK = 500  # events at a time: 500 x 10 000 distances are 40 MB


@dataclass(frozen=True)
class ParzenEstimate:
    """Outcome of `parzen_log_likelihood`; see there for what it does not mean.

    Attributes:
        value: Mean log-likelihood of a held-out event, in nats.
        uncertainty: Its standard error, from the spread of the held-out events alone.
        bandwidth: Standard deviation of the kernel, in the unit of the features.
        at_edge: Whether the bandwidth is the smallest or largest that was allowed: a better one lies beyond.
    """

    value: float
    uncertainty: float
    bandwidth: float
    at_edge: bool

    @property
    def measurement(self) -> Measurement:
        """Value and uncertainty."""
        return self.value, self.uncertainty


def _log_density(events: Array, centres: Array, log_weights: Array, bandwidth: float) -> Array:
    """Log of the kernel density at (N, F) events: (N,)."""
    result = np.empty(len(events))
    squares = np.sum(centres**2, axis=1)
    for start in range(0, len(events), BLOCK):
        x = events[start : start + BLOCK]
        square = np.maximum(np.sum(x**2, axis=1)[:, None] - 2 * x @ centres.T + squares, 0.0)
        exponent = log_weights - square / (2 * bandwidth**2)
        highest = exponent.max(axis=1, keepdims=True)
        np.exp(np.subtract(exponent, highest, out=exponent), out=exponent)
        result[start : start + BLOCK] = highest[:, 0] + np.log(exponent.sum(axis=1))
    result -= events.shape[1] * math.log(bandwidth * math.sqrt(2 * math.pi))
    return result


def _subset(sample: Weighted, order: NDArray[np.int64], *, name: str) -> Weighted:
    return checked(sample[0][order], sample[1][order], name=name, ndim=2)


def _climbed(score: Callable[[float], float], unit: float, *, start: float) -> float:
    """Highest score on a grid of ten bandwidths a decade, reached from `start`; both in units of `unit`."""

    def bandwidth(step: int) -> float:
        return unit * math.exp(step * math.log(10) / STEPS_PER_DECADE)

    step = round(STEPS_PER_DECADE * math.log10(start))
    best = score(bandwidth(step))
    for direction in (1, -1):
        while (beyond := score(bandwidth(step + direction))) > best:
            best, step = beyond, step + direction
            if bandwidth(step) < SMALLEST * unit:
                raise ValueError(
                    "Parzen window: the likelihood grows without limit as the bandwidth shrinks, because held-out "
                    "events are also in the sample; compare with events that the sample was not made from, and leave "
                    "out features with few values"
                )
    return bandwidth(step)


def parzen_log_likelihood(
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    rng: np.random.Generator,
    sample_weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
    bandwidths: ArrayLike | None = None,
    most: int = 10_000,
) -> ParzenEstimate:
    r"""Mean of :math:`\ln \sum_j w_j N(x; c_j, h^2 1) / \sum_j w_j` over reference events x, for generated centres c.

    The bandwidth h is the one under which validation events of the reference are most probable; the value is that of
    other events. Larger is better, with the reservations above; there is no absolute scale, since the value changes
    with the unit of the features (`standardised` gives them a common one, which the kernel needs). Compare with the
    value of a second sample of the reference of the same size: it is below the negative entropy as well.

    Cost: `most` squared exponentials for the value and a tenth of that for each bandwidth; seconds by default.

    Args:
        reference: (N1, F), not used to train the generator.
        sample: (N2, F).
        rng: Draws subsets and the validation split.
        reference_weights: (N1,), default ones; single negative weights are allowed.
        sample_weights: (N2,), default ones; not negative.
        bandwidths: Those to choose from, in the unit of the features; default: ten a decade, from Silverman's rule
            in whichever direction the likelihood rises, as far as it does.
        most: At most so many centres, and so many held-out events.

    Returns:
        Estimate in nats an event.

    Raises:
        ValueError: If a sample is empty or not finite, its weights have no positive sum, a weight of the sample is
            negative, the numbers of features differ, a bandwidth is not positive, the sample does not vary, or the
            likelihood grows without limit (held-out events that are also in the sample).

    References:
        Parzen, Ann. Math. Stat. 33 (1962) 1065; Goodfellow et al., arXiv:1406.2661, section 5; Theis et al.,
        arXiv:1511.01844; Silverman, Density estimation (1986), equation 4.14 (first bandwidth).
    """
    (centres, weights), held_out = checked_pair(
        sample,
        reference,
        reference_weights=reference_weights,
        sample_weights=sample_weights,
        what="Parzen window",
    )
    features = centres.shape[1]
    if (weights < 0).any():
        raise ValueError(
            f"sample: {int((weights < 0).sum())} of {len(weights)} weights are negative, which makes the kernel "
            "density negative somewhere, where it has no logarithm; use a distance that takes them "
            "(sliced_wasserstein, the Wasserstein critic)"
        )
    if len(held_out[0]) < 2:
        raise ValueError(
            "reference: expected at least two events, one to choose the bandwidth, got one; take more events"
        )
    order = rng.permutation(len(held_out[0]))
    split = min(VALIDATION, len(order) // 2)
    validation = _subset(held_out, order[:split], name="validation events of the reference")
    test = _subset(held_out, order[split : split + most], name="held-out events of the reference")
    kept = rng.permutation(len(centres))[:most] if len(centres) > most else np.arange(len(centres))
    centres, weights = _subset((centres, weights), kept, name="centres of the sample")
    centres, weights = centres[weights > 0], weights[weights > 0]
    log_weights = np.log(weights / weights.sum())
    origin = np.average(centres, axis=0, weights=weights)  # rounding of squares is least around it

    def score(bandwidth: float) -> float:
        densities = _log_density(validation[0] - origin, centres - origin, log_weights, bandwidth)
        return float(np.average(densities, weights=validation[1]))

    if bandwidths is None:
        variance = float(np.average((centres - origin) ** 2, axis=0, weights=weights).mean())
        if variance == 0:
            raise ValueError(
                "sample: all events are the same, expected some that differ; there is no bandwidth"
            )
        silverman = (4 / ((features + 2) * len(centres))) ** (1 / (features + 4))
        bandwidth = _climbed(score, math.sqrt(variance), start=silverman)
        at_edge = False
    else:
        grid = np.unique(np.asarray(bandwidths, dtype=np.float64))
        if len(grid) == 0 or not (np.isfinite(grid).all() and grid[0] > 0):
            raise ValueError(f"bandwidths: expected positive numbers, got {bandwidths}")
        best = int(np.argmax([score(h) for h in grid]))
        bandwidth, at_edge = float(grid[best]), len(grid) > 1 and best in (0, len(grid) - 1)
        if at_edge:
            logger.warning(
                "the best bandwidth, %g, is at the edge of those given, %g..%g; give a wider range",
                bandwidth,
                grid[0],
                grid[-1],
            )
    densities = _log_density(test[0] - origin, centres - origin, log_weights, bandwidth)
    value, uncertainty = mean(densities, test[1])
    return ParzenEstimate(value, uncertainty, bandwidth, at_edge)
