"""Efficiency of a cut: the share of events that pass, in bins of a condition."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hepgan.metrics.histograms import histogram, profile

__all__ = ["efficiency"]


def efficiency(
    passed: ArrayLike,
    condition: ArrayLike,
    edges: NDArray[np.float64],
    *,
    weights: ArrayLike | None = None,
) -> NDArray[np.float64]:
    r"""Weighted share of events that pass a cut, in each bin of a condition.

    :math:`\epsilon = \sum_{passed} w / \sum w`, uncertainty :math:`\sqrt{\sum w^2 (p - \epsilon)^2} / \sum w` with
    :math:`p` = 1 or 0 (binomial for equal weights), but at least :math:`1 / (n + 2)` with the effective number
    :math:`n = (\sum w)^2 / \sum w^2` of events, because an efficiency is not certain if no event passes, or all do.

    Args:
        passed: (N,) whether the event passes.
        condition: (N,).
        edges: (B + 1,), increasing; values outside count in the first or last bin.
        weights: (N,), default ones; negative weights may make an efficiency negative or greater than 1.

    Returns:
        (B, 2) efficiencies and uncertainties; NaN where the weights have no positive sum.

    Raises:
        ValueError: If the sample is empty or not finite, or its weights have no positive sum.
    """
    result = profile(np.asarray(passed, dtype=np.float64), condition, edges, weights=weights)
    content, variance = histogram(condition, edges, weights=weights)
    with np.errstate(invalid="ignore"):  # 0 / 0 in an empty bin, which is NaN already
        smallest = variance / (content**2 + 2 * variance)
    result[:, 1] = np.maximum(result[:, 1], smallest)
    return result
