"""Weighted means and spreads with statistical uncertainties, and the checks of arguments that all metrics share.

An event of weight 2 counts twice in a value, but as one event in the uncertainty (sums of squared weights).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Measurement",
    "Weighted",
    "checked",
    "checked_pair",
    "effective_size",
    "mean",
    "positive",
    "relative_difference",
    "relative_spread",
    "spread",
]

Measurement = tuple[float, float]
"""A value and its uncertainty (one standard deviation)."""
Weighted = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Values and the weights of their events."""


def checked(
    values: ArrayLike,
    weights: ArrayLike | None,
    *,
    name: str,
    ndim: int = 1,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Convert values and weights to finite double-precision arrays; missing weights become ones.

    Args:
        values: (N,) or, with ``ndim=2``, (N, F).
        weights: (N,) or None; single weights may be negative, their sum must be positive.
        name: Name of the values in messages.
        ndim: Number of dimensions that `values` must have.

    Returns:
        Values, and weights (N,).

    Raises:
        ValueError: If the sample is empty, has another shape or is not finite, or the weights have no positive sum.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != ndim:
        raise ValueError(f"{name}: expected an array of {ndim} dimension(s), got shape {array.shape}")
    if len(array) == 0:
        raise ValueError(f"{name}: expected at least one event, got none; loosen the selection")
    bad = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{name}: {int(bad.sum())} of {len(array)} events are not finite (first: event "
            f"{int(bad.argmax())}); remove or repair them"
        )
    if weights is None:
        return array, np.ones(len(array))
    weight = np.asarray(weights, dtype=np.float64)
    if weight.shape != (len(array),):
        raise ValueError(
            f"{name}: expected one weight for each of {len(array)} events, got shape {weight.shape}"
        )
    if not np.isfinite(weight).all():
        raise ValueError(f"{name}: {int((~np.isfinite(weight)).sum())} weights are not finite; repair them")
    return array, positive(weight, name=name)


def positive(weights: NDArray[np.float64], *, name: str) -> NDArray[np.float64]:
    """Check that weights (N,) have a positive sum, and return them.

    Raises:
        ValueError: If the sum is zero or negative.
    """
    if weights.sum() <= 0:
        raise ValueError(
            f"{name}: expected weights with a positive sum, got {weights.sum():g}; take more events, or check "
            "the weights"
        )
    return weights


def checked_pair(
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    sample_weights: ArrayLike | None,
    reference_weights: ArrayLike | None,
    what: str,
) -> tuple[Weighted, Weighted]:
    """Check two samples as `checked` does, and that they have the same number of features.

    Args:
        sample: (N1, F).
        reference: (N2, F).
        sample_weights: (N1,) or None.
        reference_weights: (N2,) or None.
        what: Name of the comparison, for the message.

    Returns:
        Features and weights of the sample, then of the reference.

    Raises:
        ValueError: As `checked`, or if the numbers of features differ.
    """
    x1, w1 = checked(sample, sample_weights, name="sample", ndim=2)
    x2, w2 = checked(reference, reference_weights, name="reference", ndim=2)
    if x1.shape[1] != x2.shape[1]:
        raise ValueError(
            f"{what}: expected the same features in both samples, got {x1.shape[1]} columns in the sample and "
            f"{x2.shape[1]} in the reference; select the same features"
        )
    return (x1, w1), (x2, w2)


def effective_size(weights: ArrayLike) -> float:
    r"""Kish's effective sample size :math:`(\sum w)^2 / \sum w^2`.

    So many events of weight 1 have the same relative fluctuation.

    Args:
        weights: (N,).

    Returns:
        The number, 0 if the weights have no positive sum.
    """
    w = np.asarray(weights, dtype=np.float64)
    return float(max(w.sum(), 0.0) ** 2 / np.sum(w**2)) if w.any() else 0.0


def mean(values: ArrayLike, weights: ArrayLike | None = None, *, name: str = "sample") -> Measurement:
    r"""Weighted mean :math:`m = \sum w x / \sum w`, uncertainty :math:`\sqrt{\sum w^2 (x - m)^2} / \sum w`.

    Args:
        values: (N,).
        weights: (N,), default ones; single negative weights are allowed.
        name: Name of the sample in messages.

    Returns:
        Mean and uncertainty, in the unit of the values.

    Raises:
        ValueError: If the sample is empty or not finite, or its weights have no positive sum.
    """
    x, w = checked(values, weights, name=name)
    centre = float(np.average(x, weights=w))
    return centre, float(np.sqrt(np.sum((w * (x - centre)) ** 2)) / w.sum())


def spread(values: ArrayLike, weights: ArrayLike | None = None, *, name: str = "sample") -> Measurement:
    r"""Weighted standard deviation :math:`s = \sqrt{\sum w (x - m)^2 / \sum w}`.

    Args:
        values: (N,).
        weights: (N,), default ones; single negative weights are allowed.
        name: Name of the sample in messages.

    Returns:
        Standard deviation, and its uncertainty from the fourth moment (delta method), in the unit of the values.

    Raises:
        ValueError: As `mean`, or if negative weights make the variance negative.
    """
    x, w = checked(values, weights, name=name)
    square = (x - np.average(x, weights=w)) ** 2
    variance = float(np.average(square, weights=w))
    if variance < 0:
        raise ValueError(f"{name}: negative weights give a negative variance ({variance:g}); use more events")
    if variance == 0:
        return 0.0, 0.0
    deviation = math.sqrt(variance)
    uncertainty = np.sqrt(np.sum((w * (square - variance)) ** 2)) / w.sum()
    return deviation, float(uncertainty / (2 * deviation))


def relative_spread(
    values: ArrayLike, weights: ArrayLike | None = None, *, name: str = "sample"
) -> Measurement:
    """Standard deviation over magnitude of the mean; the resolution, if the values are responses.

    Args:
        values: (N,).
        weights: (N,), default ones; single negative weights are allowed.
        name: Name of the sample in messages.

    Returns:
        Ratio and uncertainty, without unit.

    Raises:
        ValueError: As `spread`, or if the mean is zero.
    """
    centre, centre_error = mean(values, weights, name=name)
    width, width_error = spread(values, weights, name=name)
    if centre == 0:
        raise ValueError(f"{name}: the mean is zero, a relative spread is not defined")
    return width / abs(centre), math.hypot(width_error / centre, width * centre_error / centre**2)


def relative_difference(sample: Measurement, reference: Measurement) -> Measurement | None:
    """Relative difference ``sample / reference - 1`` of two independent measurements.

    Args:
        sample: Value and uncertainty.
        reference: Value and uncertainty.

    Returns:
        Difference and uncertainty, without unit; None if only the reference is zero. Two zeros agree: 0 +- 0.
    """
    if reference[0] == 0:
        return (0.0, 0.0) if sample[0] == 0 else None
    ratio = sample[0] / reference[0]
    return ratio - 1, math.hypot(sample[1] / reference[0], ratio * reference[1] / reference[0])
