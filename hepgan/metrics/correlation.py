"""Weighted linear correlations of several observables."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hepgan.metrics.moments import checked

__all__ = ["correlation_matrix"]

ROUNDING = (
    1e-24  # variance over mean square below which an observable is constant: rounding in double precision
)


def correlation_matrix(
    values: ArrayLike, weights: ArrayLike | None = None, *, name: str = "sample"
) -> NDArray[np.float64]:
    r"""Weighted Pearson correlation coefficients :math:`r = \sum w z_x z_y / \sum w` of all pairs of observables.

    :math:`z` are observables standardised to mean 0 and variance 1. The uncertainty follows from the influence of each
    event, :math:`z_x z_y - r (z_x^2 + z_y^2) / 2` (delta method); for Gaussians it is :math:`(1 - r^2) / \sqrt{N}`.

    Args:
        values: (N, F).
        weights: (N,), default ones; single negative weights are allowed.
        name: Name of the sample in messages.

    Returns:
        (F, F, 2) coefficients from -1 to 1 and uncertainties; 0 for pairs with an observable that does not vary.

    Raises:
        ValueError: If the sample is empty or not finite, or its weights have no positive sum.
    """
    x, w = checked(values, weights, name=name, ndim=2)
    w = w / w.sum()
    size = np.abs(w) @ x**2
    x = x - w @ x
    variance = w @ x**2
    z = x / np.sqrt(np.where(variance > ROUNDING * size, variance, np.inf))
    r = z.T @ (w[:, None] * z)
    squares = z**2
    u, n = w**2, z.shape[1]
    # sum of w^2 (z_x z_y - r (z_x^2 + z_y^2) / 2)^2, expanded to avoid an array of all events and pairs
    fourth = squares.T @ (u[:, None] * squares)
    third = (z**3).T @ (u[:, None] * z)
    own = np.broadcast_to(np.diagonal(fourth), (n, n))
    error = fourth - r * (third + third.T) + 0.25 * r**2 * (own + own.T + 2 * fourth)
    return np.stack([r, np.sqrt(np.maximum(error, 0.0))], axis=-1)
