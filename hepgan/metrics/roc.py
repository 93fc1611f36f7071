"""ROC curves of given scores, and the areas under them.

The sample (generated events) is the positive class: an area of 0.5 means that the scores do not tell the samples
apart, 1 that they always do.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hepgan.metrics.moments import Measurement, checked

__all__ = ["area_under_curve", "placements", "roc_curve", "weighted_area"]

Array = NDArray[np.float64]


def area_under_curve(
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    sample_weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
) -> Measurement:
    r"""Weighted area under the ROC curve, :math:`P(s_{sample} > s_{reference}) + \frac{1}{2} P(=)`.

    Args:
        sample: (N1,) scores, higher if more like the sample.
        reference: (N2,) scores.
        sample_weights: (N1,), default ones; single negative weights are allowed.
        reference_weights: (N2,), default ones.

    Returns:
        Area (0.5: the scores do not tell the samples apart, 1: always) and DeLong's uncertainty, with weights.

    Raises:
        ValueError: If a sample is empty or not finite, or its weights have no positive sum.

    References:
        DeLong et al., Biometrics 44 (1988) 837.
    """
    s1, w1 = checked(sample, sample_weights, name="sample")
    s2, w2 = checked(reference, reference_weights, name="reference")
    return weighted_area(placements(s1, w1, s2, w2), w1, w2)


def roc_curve(
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    sample_weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
    points: int = 201,
) -> tuple[Array, Array]:
    """ROC curve: the shares of the sample and of the reference above each score threshold.

    Args:
        sample: (N1,) scores.
        reference: (N2,) scores.
        sample_weights: (N1,), default ones; single negative weights are allowed.
        reference_weights: (N2,), default ones.
        points: Number of thresholds: quantiles of both samples together.

    Returns:
        False-positive rate (share of the reference) and true-positive rate (share of the sample), (points,) each, from
        (0, 0) to (1, 1).

    Raises:
        ValueError: If a sample is empty or not finite, or its weights have no positive sum.
    """
    s1, w1 = checked(sample, sample_weights, name="sample")
    s2, w2 = checked(reference, reference_weights, name="reference")
    inner = np.quantile(np.concatenate([s1, s2]), np.linspace(1, 0, points - 1))
    thresholds = np.concatenate([[np.inf], inner])

    def share_above(scores: Array, weights: Array) -> Array:
        order = np.argsort(scores)
        below = np.concatenate([[0.0], np.cumsum(weights[order])])
        result: Array = 1 - below[np.searchsorted(scores[order], thresholds, side="left")] / below[-1]
        return result

    return share_above(s2, w2), share_above(s1, w1)


def placements(s1: Array, w1: Array, s2: Array, w2: Array) -> tuple[Array, Array]:
    """Placements of each event of a sample and of a reference with scores s and weights w.

    Returns:
        (N1,) share of the reference below each event of the sample, (N2,) share of the sample above each event of the
        reference. The weighted mean of either array is the area under the curve.
    """

    def share_below(scores: Array, others: Array, weights: Array) -> Array:
        order = np.argsort(others)
        cumulative = np.concatenate([[0.0], np.cumsum(weights[order])]) / weights.sum()
        left = np.searchsorted(others[order], scores, side="left")
        right = np.searchsorted(others[order], scores, side="right")
        result: Array = 0.5 * (cumulative[left] + cumulative[right])
        return result

    return share_below(s1, s2, w2), 1 - share_below(s2, s1, w1)


def weighted_area(places: tuple[Array, Array], w1: Array, w2: Array) -> Measurement:
    """Weighted mean of placements (or of differences of placements) and DeLong's uncertainty."""
    of_sample, of_reference = places
    area = float(np.average(of_sample, weights=w1))
    variances = [
        np.sum((w * (share - area)) ** 2) / w.sum() ** 2 for share, w in ((of_sample, w1), (of_reference, w2))
    ]
    return area, math.sqrt(sum(variances))
