"""Uncertainties and floors of numbers that are functions of sums over events.

A correlation matrix of cells, a spectrum of cells and a profile are functions of sums over events. With the sums kept
separately for a few random groups of events, one reading of the events gives the number itself (all groups), its
uncertainty (`jackknife`: all groups but one) and its floor (`between_halves`: half of the groups against the other
half). Groups consist of whole events, so the numbers of one event may depend on each other.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hepgan.metrics.moments import Measurement

__all__ = ["GROUPS", "between_halves", "jackknife", "random_groups"]

GROUPS = 20  # uncertainties are known to 1 / sqrt(2 (groups - 1)) = 16 %
HALVINGS = 10  # ways to halve the groups behind each floor

Array = NDArray[np.float64]
Statistic = Callable[..., ArrayLike]


def random_groups(n: int, rng: np.random.Generator, *, groups: int = GROUPS) -> NDArray[np.intp]:
    """Assign each of `n` events to a group at random; sizes of groups differ by one at most.

    Args:
        n: Number of events.
        rng: Draws the groups.
        groups: Number of groups; at most one for each event.

    Returns:
        (n,) numbers of the groups, from 0.

    Raises:
        ValueError: If there is no event or no group.
    """
    if min(n, groups) < 1:
        raise ValueError(
            f"groups: expected at least one event and one group, got {n} and {groups}; give more events"
        )
    return (rng.permutation(n) % min(groups, n)).astype(np.intp)


def jackknife(statistic: Statistic, *samples: Array) -> tuple[Array, Array]:
    r"""Jackknife: a statistic of independent samples and its uncertainty, from sums over groups of events.

    :math:`\sigma^2 = \frac{G - 1}{G} \sum_g (t_g - \bar{t})^2` for each sample, where :math:`t_g` is the statistic
    without group :math:`g`; the samples add in quadrature. Valid for smooth functions of sums; an absolute value is
    not smooth at zero, nor a maximum where another entry becomes the largest. The statistic is computed once for each
    group.

    Args:
        statistic: From the sums over all events of each sample to a number or an array (...).
        samples: For each argument of the statistic, (G, ...) sums over each group; G may differ.

    Returns:
        Values and uncertainties, each of the statistic's shape; NaN where it is not defined. A sample of one group
        adds no uncertainty.

    References:
        Efron, "The jackknife, the bootstrap and other resampling plans" (1982), section 3; groups: Kuensch,
        Ann. Statist. 17 (1989) 1217.
    """
    totals = [sums.sum(axis=0) for sums in samples]
    value = np.asarray(statistic(*totals), dtype=np.float64)
    variance = np.zeros_like(value)
    for k, sums in enumerate(samples):
        if len(sums) < 2:
            continue
        replicas = np.array([statistic(*totals[:k], totals[k] - part, *totals[k + 1 :]) for part in sums])
        variance = variance + (len(sums) - 1) * replicas.var(axis=0)
    return value, np.sqrt(variance)


def between_halves(
    statistic: Statistic, sums: Array, *, rng: np.random.Generator, halvings: int = HALVINGS
) -> Measurement | None:
    """Floor of a statistic that compares two samples: its value between random halves of the reference.

    A perfect sample of half the size would give this value.

    Args:
        statistic: From the sums over all events of a sample and of a reference to a number.
        sums: (G, ...) sums over each group of the reference.
        rng: Draws the halves.
        halvings: Number of times that the groups are halved.

    Returns:
        Mean and standard deviation over the halvings; None with fewer than two groups, or if the statistic is never
        defined.
    """
    half = len(sums) // 2
    if half < 1:
        return None
    values = []
    for _ in range(halvings):
        order = rng.permutation(len(sums))
        reference, sample = (sums[chosen].sum(axis=0) for chosen in (order[:half], order[half : 2 * half]))
        values.append(float(np.asarray(statistic(sample, reference))))
    defined = [value for value in values if np.isfinite(value)]
    return (float(np.mean(defined)), float(np.std(defined))) if defined else None
