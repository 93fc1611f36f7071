"""Optimal-transport distance of one observable: how far the distributions are apart, in its unit."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hepgan.metrics.moments import Measurement, Weighted, checked, mean, positive

__all__ = ["between_parts", "joined", "potential", "running_difference", "uncertainty", "wasserstein"]

Array = NDArray[np.float64]


def joined(first: Weighted, second: Weighted) -> Weighted:
    """Both samples one after the other; their weights add up to 1 in the first and to -1 in the second."""
    (x, v), (y, w) = first, second
    return np.concatenate([x, y]), np.concatenate([v / v.sum(), -w / w.sum()])


def running_difference(values: Array, signed: Array) -> tuple[NDArray[np.intp], Array, Array]:
    """What every one-dimensional distance begins with.

    Args:
        values: (N,) both samples.
        signed: (N,) their weights, of `joined`.

    Returns:
        (N,) order of the values, (N - 1,) gaps between neighbours, and (N - 1,) difference of the cumulative
        distributions in each gap.
    """
    order = np.argsort(values)
    return order, np.diff(values[order]), np.cumsum(signed[order])[:-1]


def potential(values: Array, signed: Array) -> tuple[float, Array]:
    r"""Distance of one observable, and its Kantorovich potential.

    :math:`W_1` is the largest difference of means of a function that nowhere rises faster than 1. In one dimension
    this function, the potential, has the slope :math:`-\mathrm{sign}(F_1 - F_2)`.

    Args:
        values: (N,) both samples.
        signed: (N,) their weights, of `joined`.

    Returns:
        Distance and (N,) potential at the events.
    """
    order, gaps, difference = running_difference(values, signed)
    heights = np.zeros(len(values))
    heights[order[1:]] = np.cumsum(-np.sign(difference) * gaps)
    return float(np.abs(difference) @ gaps), heights


def uncertainty(heights: Array, first: Weighted, second: Weighted) -> float:
    """That of a distance which is the difference of the means of a potential, (N1 + N2,), over both samples."""
    split = len(first[0])
    return math.hypot(mean(heights[:split], first[1])[1], mean(heights[split:], second[1])[1])


def wasserstein(
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    sample_weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
) -> Measurement:
    r"""Exact weighted one-dimensional Wasserstein-1 distance :math:`\int |F_1(x) - F_2(x)| \, dx`.

    A shift by :math:`\delta` gives :math:`\delta`. Between samples of the same distribution it falls as
    :math:`1 / \sqrt{N}` and is never zero: compare with the value between two halves of the reference.

    Args:
        reference: (N1,).
        sample: (N2,).
        reference_weights: (N1,), default ones; single negative weights are allowed.
        sample_weights: (N2,), default ones.

    Returns:
        Value and uncertainty, in the observable's unit. The distance is a difference of means of its `potential`
        over the events; the uncertainty is that of these two means, nothing is resampled. Right where the
        distributions differ. Between equal ones the potential is chance: the uncertainty is then about half of
        the value, and 1.4 times the scatter of repeated samples.

    Raises:
        ValueError: If a sample is empty or not finite, or its weights have no positive sum.

    References:
        Santambrogio, Optimal transport for applied mathematicians (2015), sections 1.6 and 2.1, and chapter 7 (the
        potential is the derivative of the distance).
    """
    first = checked(reference, reference_weights, name="reference")
    second = checked(sample, sample_weights, name="sample")
    distance, heights = potential(*joined(first, second))
    return distance, uncertainty(heights, first, second)


def between_parts(
    values: ArrayLike,
    parts: Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]],
    *,
    weights: ArrayLike | None = None,
) -> list[float]:
    """The distance of `wasserstein` between pairs of parts of one sample, which is sorted once for all.

    Args:
        values: (N,).
        parts: Pairs of arrays of indices; within a pair, none twice.
        weights: (N,), default ones; single negative weights are allowed.

    Raises:
        ValueError: If the sample is empty or not finite, or the weights of a part have no positive sum.
    """
    x, w = checked(values, weights, name="sample")
    order = np.argsort(x)
    gaps = np.diff(x[order])
    found = []
    for first, second in parts:
        signed = np.zeros(len(x))
        for part, sign in ((first, 1.0), (second, -1.0)):
            share = positive(w[part], name="part")
            signed[part] = sign * share / share.sum()
        found.append(float(np.abs(np.cumsum(signed[order])[:-1]) @ gaps))
    return found
