"""Optimal-transport distance of one observable: how far the distributions are apart, in its unit."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hepgan.metrics.moments import Measurement, checked

__all__ = ["wasserstein"]


def wasserstein(
    reference: ArrayLike,
    sample: ArrayLike,
    *,
    rng: np.random.Generator,
    reference_weights: ArrayLike | None = None,
    sample_weights: ArrayLike | None = None,
    n_bootstrap: int = 50,
) -> Measurement:
    r"""Exact weighted one-dimensional Wasserstein-1 distance :math:`\int |F_1(x) - F_2(x)| \, dx`.

    A shift by :math:`\delta` gives :math:`\delta`. Between samples of the same distribution it falls as
    :math:`1 / \sqrt{N}` and is never zero: compare with the value between two halves of the reference.

    Args:
        reference: (N1,).
        sample: (N2,).
        rng: Draws the bootstrap replicas.
        reference_weights: (N1,), default ones; single negative weights are allowed.
        sample_weights: (N2,), default ones.
        n_bootstrap: Replicas for the uncertainty (Poisson bootstrap: every event counts 0, 1, 2, ... times);
            0 gives an uncertainty of 0.

    Returns:
        Value and bootstrap uncertainty, in the observable's unit.

    Raises:
        ValueError: If a sample is empty or not finite, or its weights have no positive sum.
    """
    x1, w1 = checked(reference, reference_weights, name="reference")
    x2, w2 = checked(sample, sample_weights, name="sample")
    values = np.concatenate([x1, x2])
    order = np.argsort(values, kind="stable")
    gaps = np.diff(values[order])
    split = len(x1)

    def distance(first: np.ndarray, second: np.ndarray) -> float:
        signed = np.concatenate([first / first.sum(), -second / second.sum()])[order]
        return float(np.abs(np.cumsum(signed)[:-1]) @ gaps)

    replicas = []
    for _ in range(n_bootstrap):
        weights = np.concatenate([w1, w2]) * rng.poisson(1.0, len(values))
        if weights[:split].sum() > 0 and weights[split:].sum() > 0:
            replicas.append(distance(weights[:split], weights[split:]))
    return distance(w1, w2), float(np.std(replicas)) if replicas else 0.0
