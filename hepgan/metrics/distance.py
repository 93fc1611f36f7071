"""Optimal-transport distance of one observable: how far two distributions are apart, in the observable's unit."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hepgan.metrics.moments import Measurement, Weighted, checked, mean, positive

__all__ = ["between_parts", "joined", "potential", "running_difference", "uncertainty", "wasserstein"]

Array = NDArray[np.float64]


def joined(sample: Weighted, reference: Weighted) -> Weighted:
    """Concatenate two samples with signed weights.

    Args:
        sample: Values (N1, ...) and weights (N1,).
        reference: Values (N2, ...) and weights (N2,).

    Returns:
        Values of the reference, then of the sample, (N2 + N1, ...), and their weights, scaled to a sum of 1 in the
        reference and -1 in the sample.
    """
    (x1, w1), (x2, w2) = sample, reference
    return np.concatenate([x2, x1]), np.concatenate([w2 / w2.sum(), -w1 / w1.sum()])


def running_difference(values: Array, signed: Array) -> tuple[NDArray[np.intp], Array, Array]:
    """Sort the values of two samples, and compute the difference of their cumulative distributions.

    Args:
        values: (N,) values of both samples, from `joined`.
        signed: (N,) their signed weights.

    Returns:
        (N,) order of the values, (N - 1,) gaps between neighbours, and (N - 1,) cumulative distribution of the
        reference minus that of the sample in each gap.
    """
    order = np.argsort(values)
    return order, np.diff(values[order]), np.cumsum(signed[order])[:-1]


def potential(values: Array, signed: Array) -> tuple[float, Array]:
    r"""Wasserstein distance of one observable and its Kantorovich potential.

    :math:`W_1` is the largest difference of the means of a function whose slope is nowhere steeper than 1. In one
    dimension this function, the potential, has the slope :math:`\mathrm{sign}(F_1 - F_2)`, with the cumulative
    distributions :math:`F_1` of the sample and :math:`F_2` of the reference.

    Args:
        values: (N,) values of both samples, from `joined`.
        signed: (N,) their signed weights.

    Returns:
        Distance, and (N,) potential at the values.
    """
    order, gaps, difference = running_difference(values, signed)
    heights = np.zeros(len(values))
    heights[order[1:]] = np.cumsum(-np.sign(difference) * gaps)
    return float(np.abs(difference) @ gaps), heights


def uncertainty(heights: Array, sample: Weighted, reference: Weighted) -> float:
    """Uncertainty of a distance that is the difference of the means of a potential over both samples.

    Args:
        heights: (N2 + N1,) potential at the values of the reference, then of the sample, as in `joined`.
        sample: Values (N1, ...) and weights (N1,).
        reference: Values (N2, ...) and weights (N2,).
    """
    split = len(reference[0])
    return math.hypot(mean(heights[:split], reference[1])[1], mean(heights[split:], sample[1])[1])


def wasserstein(
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    sample_weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
) -> Measurement:
    r"""Exact weighted one-dimensional Wasserstein-1 distance :math:`\int |F_1(x) - F_2(x)| \, dx`.

    A shift by :math:`\delta` gives :math:`\delta`. Between samples of the same distribution the value falls as
    :math:`1 / \sqrt{N}` and is never zero: compare with the value between two halves of the reference.

    Args:
        sample: (N1,).
        reference: (N2,).
        sample_weights: (N1,), default ones; single negative weights are allowed.
        reference_weights: (N2,), default ones.

    Returns:
        Value (from 0) and uncertainty, in the observable's unit. The distance is the difference of the means of its
        `potential` over the two samples; the uncertainty is that of these two means, without resampling. It is valid
        where the distributions differ. Between equal distributions the potential is chance: the uncertainty is then
        about half of the value, and 1.4 times the scatter of repeated samples.

    Raises:
        ValueError: If a sample is empty or not finite, or its weights have no positive sum.

    References:
        Santambrogio, Optimal transport for applied mathematicians (2015), sections 1.6 and 2.1, and chapter 7 (the
        potential is the derivative of the distance).
    """
    weighted_sample = checked(sample, sample_weights, name="sample")
    weighted_reference = checked(reference, reference_weights, name="reference")
    distance, heights = potential(*joined(weighted_sample, weighted_reference))
    return distance, uncertainty(heights, weighted_sample, weighted_reference)


def between_parts(
    values: ArrayLike,
    parts: Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]],
    *,
    weights: ArrayLike | None = None,
) -> list[float]:
    """Values of `wasserstein` between pairs of parts of one sample, which is sorted only once.

    Args:
        values: (N,).
        parts: Pairs of arrays of indices, none twice in a pair; which part comes first plays no role.
        weights: (N,), default ones; single negative weights are allowed.

    Returns:
        The distance of each pair, in the unit of the values.

    Raises:
        ValueError: If the sample is empty or not finite, or the weights of a part have no positive sum.
    """
    x, w = checked(values, weights, name="sample")
    order = np.argsort(x)
    gaps = np.diff(x[order])
    distances = []
    for pair in parts:
        signed = np.zeros(len(x))
        for part, sign in zip(pair, (1.0, -1.0), strict=True):
            share = positive(w[part], name="part")
            signed[part] = sign * share / share.sum()
        distances.append(float(np.abs(np.cumsum(signed[order])[:-1]) @ gaps))
    return distances
