r"""Maximum mean discrepancy (MMD): distance of two samples in all features at once, by a kernel k.

:math:`MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y)` for events x, x' of the sample and y, y' of the reference. With
the RBF kernel it is zero only for equal distributions, and sensitive to differences at the scale of the bandwidths; the
polynomial kernel compares moments up to its degree, and nothing else. The value has no unit and depends on the kernel:
compare only values of the same kernel and reference, or read the p-value. MMD is weak if one feature of many
is wrong, and for rare events.

References:
    Gretton et al., J. Mach. Learn. Res. 13 (2012) 723, eq. 3; Kansal et al., arXiv:2211.10295.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hepgan.metrics.moments import Measurement, checked_pair

__all__ = ["BANDWIDTHS", "KernelTest", "median_distance", "mmd", "pair_mean"]

Array = NDArray[np.float64]

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Bandwidths of the mixture of RBF kernels, in median distances (as in arXiv:1502.02761); powers of 2."""
MEDIAN_EVENTS = 1000  # half a million pairs, which determine the median distance to a per cent
ROUNDING = 1e-12  # spread over largest magnitude below which a feature is constant, in double precision


@dataclass(frozen=True)
class KernelTest:
    """Outcome of `mmd`.

    Attributes:
        value: Unbiased estimate of the squared discrepancy; for equal distributions it scatters around zero.
        uncertainty: One standard deviation.
        p_value: Probability of at least this value for equal distributions; 1 without permutations.
    """

    value: float
    uncertainty: float
    p_value: float

    @property
    def measurement(self) -> Measurement:
        """Value and uncertainty."""
        return self.value, self.uncertainty


def _squared_distances(x: Array, y: Array) -> Array:
    """Squared Euclidean distances (N, M) of events x (N, F) and y (M, F)."""
    result: Array = x @ y.T
    result *= -2
    result += (x**2).sum(1)[:, None]
    result += (y**2).sum(1)
    return np.maximum(result, 0.0, out=result)


def median_distance(values: Array) -> float:
    """Median of the distances between events, without those of identical events: the scale of an RBF kernel.

    Args:
        values: (N, F).

    Returns:
        The distance, in the unit of the features.

    Raises:
        ValueError: If all events are the same.
    """
    distances = _squared_distances(values, values)[np.triu_indices(len(values), 1)]
    distances = distances[distances > ROUNDING * max(1.0, float(np.max(values**2, initial=0.0)))]
    if not len(distances):
        raise ValueError(
            f"median distance: expected different events, got {len(values)} equal ones; give a bandwidth"
        )
    return math.sqrt(float(np.median(distances)))


def _rbf(values: Array, bandwidth: float) -> Array:
    """Mean (N, N) of the RBF kernels of the mixture, for events (N, F)."""
    kernel = _squared_distances(values, values)
    kernel *= -0.5 / (BANDWIDTHS[-1] * bandwidth) ** 2
    np.exp(kernel, out=kernel)
    result = kernel.copy()
    for _ in BANDWIDTHS[1:]:  # the kernel of half the bandwidth is the fourth power
        np.square(kernel, out=kernel)
        np.square(kernel, out=kernel)
        result += kernel
    result /= len(BANDWIDTHS)
    return result


def _polynomial(values: Array, degree: int) -> Array:
    """Polynomial kernel (N, N) of events (N, F)."""
    result: Array = values @ values.T
    result /= values.shape[1]
    result += 1
    return result**degree


def pair_mean(kernel: Array, weights: Array) -> float:
    r"""Weighted mean over pairs of different events, :math:`\sum_{i \ne j} w_i w_j k_{ij} / \sum_{i \ne j} w_i w_j`.

    This is the unbiased estimate of :math:`E k(x, x')`: an event is not a pair with itself. An event of weight 2 is one
    event that counts twice; the mean over a sample in which it is written twice would take the two copies for
    independent events, and be too large by about k / N.

    Args:
        kernel: (N, N).
        weights: (N,), of either sign.
    """
    pairs = weights.sum() ** 2 - (weights**2).sum()
    return float((weights @ kernel @ weights - np.diagonal(kernel) @ weights**2) / pairs)


def _standardised(sample: Array, reference: Array, reference_weights: Array) -> tuple[Array, Array]:
    """Sample and reference, minus the mean of the reference and divided by its spread (magnitudes of weights)."""
    share = np.abs(reference_weights) / np.abs(reference_weights).sum()
    centre = share @ reference
    spread = np.sqrt(share @ (reference - centre) ** 2)
    spread[spread <= ROUNDING * np.abs(reference).max(axis=0)] = 1.0
    return (sample - centre) / spread, (reference - centre) / spread


def _subsample(
    values: Array, weights: Array, most: int, name: str, rng: np.random.Generator
) -> tuple[Array, Array]:
    """At most `most` random events with their weights."""
    if len(values) > most:
        chosen = rng.choice(len(values), most, replace=False)
        values, weights = values[chosen], weights[chosen]
    effective = weights.sum() ** 2 / (weights**2).sum()
    if weights.sum() <= 0 or effective <= 1:
        raise ValueError(
            f"{name}: expected at least two events and weights with a positive sum among the {len(values)} that are "
            f"compared, got {effective:.3g} effective events with a sum of {weights.sum():g}; take more events or "
            "raise `most`"
        )
    return values, weights


def _discrepancy(kernel: Array, split: int, weights: Array) -> float:
    """Unbiased MMD^2 from the kernel (N, N) and weights (N,) of `split` reference events, then the sample's events."""
    w2, w1 = weights[:split], weights[split:]
    cross = w2 @ kernel[:split, split:] @ w1 / (w2.sum() * w1.sum())
    same = pair_mean(kernel[:split, :split], w2) + pair_mean(kernel[split:, split:], w1)
    return float(same - 2 * cross)


def _permuted(kernel: Array, split: int, permutations: int, rng: np.random.Generator) -> Array:
    """MMD^2 (permutations,) of random divisions of all events into two samples of the same sizes, without weights."""
    n = len(kernel)
    first = np.zeros((n, permutations))
    for column in first.T:
        column[rng.permutation(n)[:split]] = 1.0
    diagonal, to_any = np.diagonal(kernel), kernel.sum(1)
    products = kernel @ first
    same = np.einsum("ip,ip->p", first, products)
    to_all = to_any @ first  # pairs of an event of the first sample with any event
    cross = to_all - same
    rest = to_any.sum() - to_all - cross
    size = n - split
    own = diagonal @ first
    result: Array = (
        (same - own) / (split * (split - 1))
        + (rest - diagonal.sum() + own) / (size * (size - 1))
        - 2 * cross / (split * size)
    )
    return result


def _centre(kernel: Array, split: int, share: Array) -> float:
    r"""Centre the embedding :math:`\phi` of each event on the mean :math:`\mu` of its sample, and zero the diagonal.

    Args:
        kernel: (N, N) of the reference, then the sample; changed in place to
            :math:`\langle \phi_i - \mu_{s(i)}, \phi_j - \mu_{s(j)} \rangle`.
        split: Number of events of the reference.
        share: (N,) weights, with a sum of 1 in the reference and -1 in the sample.

    Returns:
        First-order variance of MMD^2, :math:`4 \sum_i a_i^2 \langle \phi_i - \mu_{s(i)}, \mu_1 - \mu_2 \rangle^2`.
    """
    shares = np.zeros((2, len(share)))
    shares[0, :split], shares[1, split:] = share[:split], -share[split:]
    means = kernel @ shares.T  # (N, 2): mean kernel of each event with either sample
    between = shares @ means  # (2, 2)
    parts = (slice(0, split), slice(split, None))
    influence = means[:, 0] - means[:, 1]
    for a, one in enumerate(parts):
        influence[one] -= between[a, 0] - between[a, 1]
        for b, other in enumerate(parts):
            kernel[one, other] -= means[one, b][:, None]
            kernel[one, other] -= means[other, a] - between[a, b]
    np.fill_diagonal(kernel, 0.0)
    return 4 * float(np.sum((share * influence) ** 2))


def mmd(
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    rng: np.random.Generator,
    kernel: Literal["rbf", "polynomial"] = "rbf",
    sample_weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
    standardise: bool = True,
    bandwidth: float | None = None,
    degree: int = 4,
    most: int = 2000,
    permutations: int = 200,
) -> KernelTest:
    r"""Unbiased squared maximum mean discrepancy of two samples, with a test of equality.

    Kernels: ``rbf`` is the mean of :math:`\exp(-|x - y|^2 / 2 (m b)^2)` over the multiples :math:`m` in `BANDWIDTHS` of
    the bandwidth :math:`b`; ``polynomial`` is :math:`(x \cdot y / F + 1)^{degree}`.

    Without weights, the p-value comes from random divisions of all events into two samples (exact for any size). Events
    of different weights cannot be exchanged between the samples; then the centred terms of the estimate get random
    signs instead (wild bootstrap, valid for many events).

    The cost is quadratic in `most`: 2 x 2000 events take about a second and 0.5 GB, for samples of any size.

    Args:
        sample: (N1, F) features.
        reference: (N2, F) features.
        rng: Draws the subsamples (those of the reference first), the permutations and the signs.
        kernel: Name of the kernel.
        sample_weights: (N1,), default ones; single negative weights are allowed, because embeddings are linear in them.
        reference_weights: (N2,), default ones.
        standardise: Whether to subtract the mean of the reference and divide by its spread, feature by feature.
            Otherwise the features with the largest numbers dominate.
        bandwidth: Bandwidth of the RBF kernel, in the unit of the (standardised) features; default the median distance
            between events of the reference, without weights.
        degree: Degree of the polynomial kernel.
        most: Largest number of events of either sample that are compared; larger samples are subsampled.
        permutations: Number of permutations for the p-value, a multiple of 1 / (permutations + 1); with 0 it is 1.

    Returns:
        Value (without unit), uncertainty (first and second order of the U-statistic, valid for equal and for different
        distributions) and p-value.

    Raises:
        ValueError: If the kernel is unknown, a sample is empty or not finite or has no positive sum of weights, the
            numbers of features differ, or a bandwidth is not positive.

    References:
        Gretton et al., J. Mach. Learn. Res. 13 (2012) 723, eq. 3; wild bootstrap: Chwialkowski et al.,
        arXiv:1408.5404.
    """
    if kernel not in ("rbf", "polynomial"):
        raise ValueError(f"mmd: expected kernel 'rbf' or 'polynomial', got {kernel!r}; choose one of the two")
    (x1, w1), (x2, w2) = checked_pair(
        sample,
        reference,
        sample_weights=sample_weights,
        reference_weights=reference_weights,
        what="mmd",
    )
    if standardise:
        x1, x2 = _standardised(x1, x2, w2)
    if kernel == "rbf" and bandwidth is None:
        bandwidth = median_distance(
            x2 if len(x2) <= MEDIAN_EVENTS else rng.choice(x2, MEDIAN_EVENTS, replace=False)
        )
    x2, w2 = _subsample(x2, w2, most, "reference", rng)  # drawn first
    x1, w1 = _subsample(x1, w1, most, "sample", rng)
    values, weights, split = np.concatenate([x2, x1]), np.concatenate([w2, w1]), len(x2)
    if bandwidth is None:
        matrix = _polynomial(values, degree)
    elif bandwidth > 0:
        matrix = _rbf(values, bandwidth)
    else:
        raise ValueError(f"mmd: expected a positive bandwidth, got {bandwidth:g}; leave it to the default")
    value = _discrepancy(matrix, split, weights)
    # The permutations need the kernel as it is, all that follows the centred kernel.
    exchangeable = np.ptp(w1) == 0 and np.ptp(w2) == 0
    null = _permuted(matrix, split, permutations, rng) if exchangeable else np.empty(0)
    share = np.concatenate([w2 / w2.sum(), -w1 / w1.sum()])
    first_order = _centre(matrix, split, share)
    second_order = 2 * float(share**2 @ matrix**2 @ share**2)
    if not exchangeable:
        signed = share[:, None] * rng.choice([-1.0, 1.0], (len(share), permutations))
        null = np.einsum("ip,ip->p", signed, matrix @ signed)
    p_value = (1 + int((null >= value).sum())) / (1 + permutations)
    # The estimate of the first order contains twice the second order, as noise.
    uncertainty = math.sqrt(max(first_order - second_order, second_order))
    return KernelTest(value, uncertainty, p_value)
