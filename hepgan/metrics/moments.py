"""Weighted means and spreads with their statistical uncertainties, and the checks that all metrics share.

Uncertainties are those of weighted events: an event of weight 2 counts twice in the value, but is one
event in the uncertainty (sums of squared weights).
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
    """Values and weights as finite double-precision arrays; missing weights are ones.

    Args:
        values: (N,) or, with ``ndim=2``, (N, F).
        weights: (N,) or None; single ones may be negative, their sum may not.
        name: What the values are called in messages.
        ndim: Number of dimensions that `values` must have.

    Returns:
        Values and weights (N,).

    Raises:
        ValueError: If the sample is empty, has another shape, is not finite, or the weights do not add up to
            something positive.
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
    """The weights, (N,), if they can be those of a sample.

    Raises:
        ValueError: If they do not add up to something positive.
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
    """Features and weights of two samples (see `checked`) that must have the same features.

    Args:
        reference: (N1, F).
        sample: (N2, F).
        reference_weights: (N1,) or None.
        sample_weights: (N2,) or None.
        what: What compares them, for the message.

    Returns:
        Those of the sample, those of the reference.

    Raises:
        ValueError: As `checked`, or if the numbers of features differ.
    """
    first = checked(reference, reference_weights, name="reference", ndim=2)
    second = checked(sample, sample_weights, name="sample", ndim=2)
    if first[0].shape[1] != second[0].shape[1]:
        raise ValueError(
            f"{what}: expected the same features in both samples, got {first[0].shape[1]} and "
            f"{second[0].shape[1]} columns"
        )
    return second, first


def effective_size(weights: ArrayLike) -> float:
    r"""Kish's :math:`(\sum w)^2 / \sum w^2`: as many events of weight 1 have the same relative fluctuation.

    Args:
        weights: (N,); 0 if they have no positive sum.
    """
    w = np.asarray(weights, dtype=np.float64)
    return float(max(w.sum(), 0.0) ** 2 / np.sum(w**2)) if w.any() else 0.0


def mean(values: ArrayLike, weights: ArrayLike | None = None, *, name: str = "sample") -> Measurement:
    r"""Weighted mean :math:`m = \sum w x / \sum w`, uncertainty :math:`\sqrt{\sum w^2 (x - m)^2} / \sum w`.

    Args:
        values: (N,).
        weights: (N,), default ones.
        name: Name of the sample in messages.
    """
    x, w = checked(values, weights, name=name)
    centre = float(np.average(x, weights=w))
    return centre, float(np.sqrt(np.sum((w * (x - centre)) ** 2)) / w.sum())


def spread(values: ArrayLike, weights: ArrayLike | None = None, *, name: str = "sample") -> Measurement:
    r"""Weighted standard deviation :math:`s`; uncertainty from the fourth moment (delta method).

    Args:
        values: (N,).
        weights: (N,), default ones.
        name: Name of the sample in messages.

    Raises:
        ValueError: If negative weights make the variance negative.
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
    """Standard deviation over mean: the resolution, when the values are responses.

    Args:
        values: (N,).
        weights: (N,), default ones.
        name: Name of the sample in messages.

    Raises:
        ValueError: If the mean is zero.
    """
    centre, centre_error = mean(values, weights, name=name)
    width, width_error = spread(values, weights, name=name)
    if centre == 0:
        raise ValueError(f"{name}: the mean is zero, a relative spread is not defined")
    return width / abs(centre), math.hypot(width_error / centre, width * centre_error / centre**2)


def relative_difference(value: Measurement, reference: Measurement) -> Measurement | None:
    """``value / reference - 1`` of two independent measurements; None where the reference is zero.

    Two zeros agree: 0 +- 0.
    """
    if reference[0] == 0:
        return (0.0, 0.0) if value[0] == 0 else None
    ratio = value[0] / reference[0]
    return ratio - 1, math.hypot(value[1] / reference[0], ratio * reference[1] / reference[0])
