"""Weighted Kolmogorov-Smirnov distances of one observable, in bins of a condition, and of projections of several.

The largest difference of two cumulative distributions is the same for an observable and any increasing function of it,
so no bins and no scale are chosen. For equal distributions it is about 0.87 sqrt(1/N1 + 1/N2), never zero: compare with
the value between two halves of the reference.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hepgan.metrics.histograms import bin_number
from hepgan.metrics.moments import Measurement, checked, checked_pair

__all__ = ["ks_distance", "ks_in_bins", "ks_projected"]

Array = NDArray[np.float64]

PROJECTIONS = 100  # as usual for these observables (arXiv:1905.11825 and later work)
MOST_SPREADS = 5.0  # values are cut here: a sentinel at -999 would squeeze all others into one point


def ks_in_bins(
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    sample_condition: ArrayLike,
    reference_condition: ArrayLike,
    edges: Array,
    sample_weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
) -> Array:
    r"""Weighted Kolmogorov-Smirnov distance :math:`\sup_x |F_1(x) - F_2(x)|` in each bin of a condition.

    :math:`F(x) = \sum_{x_i \le x} w_i / \sum w_i`. Events of negative weight are subtracted: the background that they
    should remove cancels on average, but F is not monotone, and the distance fluctuates more (and may exceed 1).

    Args:
        sample: (N1,).
        reference: (N2,).
        sample_condition: (N1,).
        reference_condition: (N2,).
        edges: (B + 1,) of the condition, increasing; values outside count in the first or last bin.
        sample_weights: (N1,), default ones; single negative weights are allowed.
        reference_weights: (N2,), default ones.

    Returns:
        (B, 2) distances, from 0 to 1, and uncertainties; NaN where the weights of a sample have no positive sum. The
        uncertainty is that of :math:`F_1 - F_2` at the x of the distance: valid where the distributions differ, only a
        guide where they do not and x is chance.

    Raises:
        ValueError: If a sample is empty or not finite, or its weights have no positive sum.

    References:
        Raghavachari, Ann. Statist. 1 (1973) 67 (limiting distribution for different distributions).
    """
    n = len(edges) - 1
    values, weights, bins, sums = [], [], [], []  # of the reference, then of the sample
    for name, x, condition, w in (
        ("reference", reference, reference_condition, reference_weights),
        ("sample", sample, sample_condition, sample_weights),
    ):
        x, w = checked(x, w, name=name)
        number = bin_number(checked(condition, None, name=f"condition of the {name}")[0], edges)
        total = np.bincount(number, w, n)
        values.append(x)
        bins.append(number)
        sums.append(np.where(total > 0, total, np.nan))
        weights.append(w / sums[-1][number])
    defined = np.isfinite(sums[0] + sums[1])

    both, where = np.concatenate(values), np.concatenate(bins)
    order = np.argsort(both)
    order = order[np.argsort(where[order].astype(np.min_scalar_type(n)), kind="stable")]  # radix sort
    x, number = both[order], where[order]
    signed = np.concatenate([weights[0], -weights[1]])[order]
    # the signed weights of each bin add up to zero, so one running sum serves all bins
    difference = np.abs(np.cumsum(np.where(defined[number], signed, 0.0)))
    last = np.append((x[1:] != x[:-1]) | (number[1:] != number[:-1]), True)  # of equal values
    difference[~last] = 0.0
    starts = np.searchsorted(number, np.arange(n))
    filled = np.diff(np.append(starts, len(number))) > 0
    result = np.full((n, 2), np.nan)
    result[filled, 0] = np.maximum.reduceat(difference, starts[filled])
    at = np.flatnonzero(difference == result[number, 0])[::-1]
    place = np.zeros(n)
    place[number[at]] = x[at]
    variance = np.zeros(n)
    for x, w, number in zip(values, weights, bins, strict=True):
        below = x <= place[number]
        share = np.bincount(number, w * below, n)
        variance += np.bincount(number, (w * (below - share[number])) ** 2, n)
    result[:, 1] = np.sqrt(variance)
    result[~defined] = np.nan
    return result


def ks_distance(
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    sample_weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
) -> Measurement:
    """Weighted Kolmogorov-Smirnov distance of two samples of one observable: `ks_in_bins` with a single bin.

    Args:
        sample: (N1,).
        reference: (N2,).
        sample_weights: (N1,), default ones; single negative weights are allowed.
        reference_weights: (N2,), default ones.

    Returns:
        Distance, from 0 to 1, and its uncertainty.

    Raises:
        ValueError: If a sample is empty or not finite, or its weights have no positive sum.
    """
    ((value, uncertainty),) = ks_in_bins(
        sample,
        reference,
        sample_condition=np.zeros(len(np.atleast_1d(sample))),
        reference_condition=np.zeros(len(np.atleast_1d(reference))),
        edges=np.array([0.0, 1.0]),
        sample_weights=sample_weights,
        reference_weights=reference_weights,
    )
    return float(value), float(uncertainty)


def ks_projected(
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    rng: np.random.Generator,
    centre: Array | float = 0.0,
    scale: Array | float = 1.0,
    sample_weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
    projections: int = PROJECTIONS,
) -> Measurement:
    """Largest weighted Kolmogorov-Smirnov distance of random projections of several observables.

    Sees correlations that no single observable shows. It is the largest of many distances: compare with the value
    between two halves of the reference.

    Args:
        sample: (N1, F).
        reference: (N2, F).
        rng: Draws the directions.
        centre: (F,) subtracted from the observables.
        scale: (F,) divisor of the differences; the result is cut at +-5, so that a distant sentinel does not hide other
            values.
        sample_weights: (N1,), default ones; single negative weights are allowed.
        reference_weights: (N2,), default ones.
        projections: Number of directions, uniform on the sphere.

    Returns:
        Distance along the worst direction, from 0 to 1, and its uncertainty.

    Raises:
        ValueError: As `ks_distance`, or if the numbers of features differ.
    """
    (x1, w1), (x2, w2) = checked_pair(
        sample,
        reference,
        sample_weights=sample_weights,
        reference_weights=reference_weights,
        what="projections",
    )
    x1, x2 = (np.clip((x - centre) / scale, -MOST_SPREADS, MOST_SPREADS) for x in (x1, x2))
    directions = rng.standard_normal((projections, x2.shape[1]))
    return max(ks_distance(x1 @ d, x2 @ d, sample_weights=w1, reference_weights=w2) for d in directions)
