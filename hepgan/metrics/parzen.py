r"""Parzen-window log-likelihood: log-likelihood of reference events under a kernel density of the generated events.

It is the number of the first GAN papers (arXiv:1406.2661, table 1), and only for comparison with them.

Do not select models by it (Theis et al., arXiv:1511.01844, section 3). In more than a few dimensions the kernel density
of any affordable number of events is far from their true density, for any bandwidth. Even a sample of the true
distribution then gets a value below the true log-likelihood, by more than the difference between models. Worse samples
can get a better value than true ones, for example samples that are too narrow by the width of the kernel.
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

VALIDATION = 1000  # events that choose the bandwidth: enough to fit one number
STEPS_PER_DECADE = 10  # of the default grid; near the best bandwidth the likelihood is flat
SMALLEST = (
    1e-6  # bandwidth in spreads of the sample: events this close coincide rather than resemble each other
)
BLOCK = 500  # events at a time: 500 x 10 000 distances are 40 MB


@dataclass(frozen=True)
class ParzenEstimate:
    """Outcome of `parzen_log_likelihood`; for its limits see the module's docstring.

    Attributes:
        value: Mean log-likelihood of a reference event, in nats.
        uncertainty: Standard error of the mean, from the spread of the reference events alone.
        bandwidth: Standard deviation of the kernel, in the unit of the features.
        at_edge: Whether the bandwidth is the smallest or largest of the given ones: a better one lies beyond.
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
    """Logarithm (N,) of the kernel density at events (N, F), from centres (M, F) with normalised weights (M,)."""
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


def _subset(sample: Weighted, chosen: NDArray[np.int64], *, name: str) -> Weighted:
    """Chosen events and their weights, checked."""
    return checked(sample[0][chosen], sample[1][chosen], name=name, ndim=2)


def _best_bandwidth(score: Callable[[float], float], unit: float, *, start: float) -> float:
    """Bandwidth of the highest score on a grid of ten per decade, reached by climbing from ``start * unit``."""

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
                    "events are also in the sample; compare with a reference that shares no events with the sample, "
                    "and leave out features with few values"
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
    r"""Mean of :math:`\ln \sum_j w_j N(x; c_j, h^2 1) / \sum_j w_j` over reference events x, with generated centres c.

    The bandwidth h maximises the likelihood of validation events, which are part of the reference; the value is that of
    other reference events. Larger is better, with the limits of the module's docstring. There is no absolute scale: the
    value changes with the unit of the features (`standardised` gives them a common unit, which the kernel needs).
    Compare with the value of a second sample of the reference of the same size, which is below the negative entropy as
    well.

    Cost: the square of `most` exponentials for the value and a tenth of it for each bandwidth; seconds by default.

    Args:
        sample: (N1, F).
        reference: (N2, F), not used to train the generator.
        rng: Draws the validation events, then the centres.
        sample_weights: (N1,), default ones; not negative.
        reference_weights: (N2,), default ones; single negative weights are allowed.
        bandwidths: Bandwidths to choose from, in the unit of the features; default ten per decade, beginning at
            Silverman's rule and continuing as long as the likelihood rises.
        most: Largest number of centres, and of reference events besides those of validation.

    Returns:
        Estimate, in nats per event.

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
        sample_weights=sample_weights,
        reference_weights=reference_weights,
        what="Parzen window",
    )
    features = centres.shape[1]
    if (weights < 0).any():
        raise ValueError(
            f"sample: {int((weights < 0).sum())} of {len(weights)} weights are negative: where the kernel density is "
            "negative it has no logarithm; use a distance that takes negative weights (sliced_wasserstein, the "
            "Wasserstein critic)"
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
    origin = np.average(centres, axis=0, weights=weights)  # around it the rounding of squares is smallest

    def score(bandwidth: float) -> float:
        densities = _log_density(validation[0] - origin, centres - origin, log_weights, bandwidth)
        return float(np.average(densities, weights=validation[1]))

    if bandwidths is None:
        variance = float(np.average((centres - origin) ** 2, axis=0, weights=weights).mean())
        if variance == 0:
            raise ValueError(
                "sample: all events are the same, expected some that differ; without spread there is no bandwidth"
            )
        silverman = (4 / ((features + 2) * len(centres))) ** (1 / (features + 4))
        bandwidth = _best_bandwidth(score, math.sqrt(variance), start=silverman)
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
