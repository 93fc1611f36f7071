r"""Fréchet and kernel physics distance: the numbers by which published fast simulations are compared.

Both compare features (shower shapes, not cells). The Fréchet distance sees means and covariances only, so a wrong shape
with the right first two moments is invisible to it; the kernel distance sees moments up to the fourth. Features are
divided by their largest magnitude in the reference, as JetNet does: an outlier in the reference hides what is wrong
in the bulk of that feature, and a value has a meaning only with the same features and the same reference.

The definitions are those of arXiv:2211.10295. What the program of the same authors quotes (JetNet 0.2.5,
``jetnet.evaluation.fpd`` and ``kpd``), and published tables with it, is `PhysicsDistance.jetnet`; its Fréchet distance
is not always extrapolated as defined, and then larger. Published tables quote the values times 1000.

References:
    Kansal et al., arXiv:2211.10295, sections III and IV; Chong and Forsyth, arXiv:1911.07023 (extrapolation to infinite
    size); CaloChallenge, arXiv:2410.21611.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import curve_fit, nnls

from hepgan.metrics.moments import Measurement, checked_pair

__all__ = ["PhysicsDistance", "frechet_distance", "frechet_physics_distance", "kernel_physics_distance"]

Array = NDArray[np.float64]

# JetNet's defaults; the CaloChallenge used 10000 as the smallest size
SMALLEST_SIZE = 20_000
LARGEST_SIZE = 50_000
POINTS = 10
FRECHET_BATCHES = 20
KERNEL_SIZE = 5_000
KERNEL_BATCHES = 10
KERNEL_SQUARINGS = 2
KERNEL_DEGREE = 2**KERNEL_SQUARINGS
RECOMMENDED_EVENTS = 50_000

CENTRAL = (16.275, 83.725)  # per cent: within one standard deviation of a Gaussian, as JetNet counts it
MEDIAN_VARIANCE = 0.5 * math.pi  # of the median of Gaussian numbers, relative to that of their mean
ROUNDING = 1e-9  # a negative eigenvalue this far below the largest one is rounding
ROWS = 1_000  # of a kernel matrix at a time: stays in the cache


@dataclass(frozen=True)
class PhysicsDistance:
    """Outcome of `frechet_physics_distance` and `kernel_physics_distance`.

    Attributes:
        value: The distance.
        uncertainty: One standard deviation, from the finite samples and from the batches.
        jetnet: Value and uncertainty as JetNet 0.2.5 quotes them, for comparison with published numbers: of the Fréchet
            distance from its fit (see there), of the kernel distance the same value with the spread of single batches.
        floor: What equal distributions would give on average with samples of these sizes: the value is good when it is
            not much larger.
        small: Whether a sample has fewer (effective) events than the 50000 that JetNet recommends. The value is that of
            the definition all the same, but its floor is higher: do not compare it with published ones.
    """

    value: float
    uncertainty: float
    jetnet: Measurement
    floor: float
    small: bool

    @property
    def measurement(self) -> Measurement:
        """Value and uncertainty."""
        return self.value, self.uncertainty


def _root(covariance: Array, name: str) -> Array:
    """Symmetric square root of a covariance."""
    values, vectors = np.linalg.eigh(covariance)
    if values[0] < -ROUNDING * max(values[-1], 0.0) or values[-1] < 0:
        raise ValueError(
            f"{name}: expected a covariance without negative variances, got {values[0]:.3g} in one direction of the "
            "features, from negative weights; take more events or a distance that allows them (mmd)"
        )
    result: Array = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return result


def frechet_distance(mean1: Array, covariance1: Array, mean2: Array, covariance2: Array) -> float:
    r"""Squared Wasserstein-2 distance of two Gaussians.

    :math:`|\mu_1 - \mu_2|^2 + tr(C_1 + C_2 - 2 (C_1^{1/2} C_2 C_1^{1/2})^{1/2})`.

    Args:
        mean1: (F,).
        covariance1: (F, F).
        mean2: (F,).
        covariance2: (F, F).

    Raises:
        ValueError: If a covariance has a negative eigenvalue.

    References:
        Dowson and Landau, J. Multivar. Anal. 12 (1982) 450, eq. 4.
    """
    # The trace of the root of a product of covariances is the sum of the singular values of the product of roots.
    overlap = np.linalg.svd(
        _root(covariance1, "reference") @ _root(covariance2, "sample"), compute_uv=False
    ).sum()
    distance = np.sum((mean1 - mean2) ** 2) + np.trace(covariance1) + np.trace(covariance2) - 2 * overlap
    return float(distance)


@dataclass(frozen=True)
class _Drawn:
    """A sample from which events are drawn with a probability that is the magnitude of their weight."""

    features: Array
    signs: Array
    cumulative: Array
    events: float  # as many unweighted events as fluctuate like these

    def draw(self, size: int, rng: np.random.Generator) -> NDArray[np.intp]:
        if self.cumulative.size:
            return np.searchsorted(self.cumulative, rng.random(size), side="right")
        return rng.integers(0, len(self.features), size)


def _prepared(
    sample: ArrayLike,
    reference: ArrayLike,
    sample_weights: ArrayLike | None,
    reference_weights: ArrayLike | None,
) -> tuple[_Drawn, _Drawn]:
    second, first = checked_pair(
        sample,
        reference,
        reference_weights=reference_weights,
        sample_weights=sample_weights,
        what="physics distance",
    )
    largest = np.abs(first[0]).max(axis=0)
    largest[largest == 0] = 1.0
    result = []
    for name, (x, w) in (("reference", first), ("sample", second)):
        size = np.abs(w)
        # A draw is worth less when signs cancel: (sum w)^2 / sum w^2 events fluctuate like this many draws.
        events = float(size.sum() ** 2 / np.sum(w**2))
        if events <= 1:
            raise ValueError(
                f"{name}: expected at least two events, got {events:.3g} effective ones; take more"
            )
        cumulative = np.cumsum(size) if np.ptp(size) > 0 else np.empty(0)
        cumulative /= cumulative[-1:]
        result.append(_Drawn(x / largest, np.sign(w), cumulative, events))
    return result[0], result[1]


def _events(first: _Drawn, second: _Drawn) -> float:
    return 2 / (1 / first.events + 1 / second.events)


def _moments(features: Array, signs: Array, chosen: NDArray[np.intp], name: str) -> tuple[Array, Array]:
    x, sign = features[chosen], signs[chosen]
    count = sign.sum()
    if count <= 1:
        raise ValueError(
            f"{name}: expected weights with a positive sum in each batch, got {count:g} in {len(chosen)} events, whose "
            "signs cancel; take larger batches or a distance that allows them (mmd)"
        )
    mean = sign @ x / count
    x -= mean
    return mean, (x * sign[:, None]).T @ x / (count - 1)


def frechet_physics_distance(
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    rng: np.random.Generator,
    sample_weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
    smallest_size: int = SMALLEST_SIZE,
    largest_size: int = LARGEST_SIZE,
    points: int = POINTS,
    batches: int = FRECHET_BATCHES,
) -> PhysicsDistance:
    """Fréchet physics distance (FPD): Gaussian fits to the features, extrapolated to infinite size.

    Batches of events are drawn with replacement from both samples; the mean of their Fréchet distances (see
    `frechet_distance`) at several sizes N is fitted with a straight line in 1/N, slope and intercept not negative, and
    the intercept is the value. The extrapolation removes the bias of the batches, not that of the samples themselves:
    that is the `floor`.

    JetNet 0.2.5 fits the same line, but its optimiser sees 1/N (about 1e-5) without a scale and, depending on the data,
    may stop before it has moved the slope. What it quotes is then close to the mean over the sizes, which is larger: up
    to twice, for nearly equal samples. Published tables contain that number; it is `jetnet` here, from the same call of
    scipy, and the only one to put next to them.

    The cost is linear in `points` x `batches` x `largest_size`, and does not depend on the size of the samples.

    Args:
        reference: (N1, F) features.
        sample: (N2, F) features.
        rng: Draws the batches.
        reference_weights: (N1,), default ones: events are drawn with a probability that is the magnitude of their
            weight, and count with its sign. Negative weights are refused where they make a variance negative.
        sample_weights: (N2,), default ones.
        smallest_size: Events of the smallest batch.
        largest_size: Events of the largest batch. Smaller samples are drawn from more often: the size needs no change.
        points: Number of sizes, in equal steps of 1/N.
        batches: Number of batches of each size.

    Returns:
        Value, uncertainties and floor. The statistical part of the uncertainty is the spread of the batches (a
        bootstrap), scaled to the size of the samples: for equal distributions rather too large than too small.

    Raises:
        ValueError: If the samples are empty or not finite, have different numbers of features, no positive sum of
            weights or a negative variance, or if the sizes are no range.

    References:
        Kansal et al., arXiv:2211.10295, section III.
    """
    if not 1 < smallest_size < largest_size or points < 2 or batches < 2:
        raise ValueError(
            "Fréchet physics distance: expected at least two points and batches, and 1 < smallest_size < largest_size, "
            f"got {points} points, {batches} batches, sizes {smallest_size} and {largest_size}"
        )
    samples = _prepared(sample, reference, sample_weights, reference_weights)
    sizes = (1 / np.linspace(1 / smallest_size, 1 / largest_size, points)).astype(np.int64)
    values, null, before = np.empty((batches, points)), [], None
    for k in range(batches):
        for n, size in enumerate(sizes.tolist()):
            first, second = (
                _moments(drawn.features, drawn.signs, drawn.draw(size, rng), name)
                for name, drawn in zip(("reference", "sample"), samples, strict=True)
            )
            values[k, n] = frechet_distance(*first, *second)
        if before is not None:
            null.append(frechet_distance(*before, *first))
        before = first
    line = np.column_stack([np.ones(points), smallest_size / sizes])
    means = values.mean(axis=0)
    value = nnls(line, means)[0][0]
    intercepts = np.linalg.lstsq(line, values.T, rcond=None)[0][0]
    extrapolation = float(intercepts.std(ddof=1)) / math.sqrt(batches)
    events = _events(*samples)
    statistical = float(values[:, -1].std(ddof=1)) * math.sqrt(largest_size / events)
    return PhysicsDistance(
        float(value),
        math.hypot(statistical, extrapolation),
        _jetnet_intercept(sizes, means),
        float(np.mean(null)) * largest_size / events,
        _is_small(*samples),
    )


def _jetnet_intercept(sizes: NDArray[np.int64], means: Array) -> Measurement:
    """Intercept and error as JetNet's fit leaves them: curve_fit with bounds, in 1/N without a scale."""

    def line(x: Array, intercept: float, slope: float) -> Array:
        return intercept + slope * x

    fitted, covariance = curve_fit(line, 1 / sizes, means, bounds=(0, np.inf))
    return float(fitted[0]), math.sqrt(covariance[0, 0])


def _is_small(first: _Drawn, second: _Drawn) -> bool:
    return min(first.events, second.events) < RECOMMENDED_EVENTS


def _kernel_sum(x: Array, y: Array, a: Array, b: Array) -> float:
    total = 0.0
    for start in range(0, len(x), ROWS):
        rows = slice(start, start + ROWS)
        kernel = x[rows] @ y.T
        kernel /= x.shape[1]
        kernel += 1
        for _ in range(KERNEL_SQUARINGS):
            np.square(kernel, out=kernel)
        total += float(a[rows] @ kernel @ b)
    return total


def _kernel_discrepancy(first: _Drawn, second: _Drawn, size: int, rng: np.random.Generator) -> float:
    """Unbiased squared discrepancy of two batches; an event that was drawn twice is no pair with itself."""
    batches, same = [], 0.0
    for drawn in (first, second):
        chosen, times = np.unique(drawn.draw(size, rng), return_counts=True)
        x, w = drawn.features[chosen], drawn.signs[chosen] * times
        own = w**2 @ ((x**2).sum(axis=1) / x.shape[1] + 1) ** KERNEL_DEGREE
        same += (_kernel_sum(x, x, w, w) - own) / (w.sum() ** 2 - (w**2).sum())
        batches.append((x, w / w.sum()))
    (x1, w1), (x2, w2) = batches
    return float(same - 2 * _kernel_sum(x1, x2, w1, w2))


def kernel_physics_distance(
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    rng: np.random.Generator,
    sample_weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
    size: int = KERNEL_SIZE,
    batches: int = KERNEL_BATCHES,
) -> PhysicsDistance:
    r"""Kernel physics distance (KPD): squared maximum mean discrepancy with the kernel :math:`(x \cdot y / F + 1)^4`.

    The median over batches that are drawn with replacement. Each batch is unbiased, so the floor is zero; for nearly
    equal samples their scatter is skewed, and the median lies below the mean by a part of its uncertainty. JetNet also
    counts the pairs of an event with its own copy in the same batch, which adds about
    :math:`2 (E k(x, x) - E k(x, x')) / N`; that is left out here, and matters for samples much smaller than 50000 only.

    The cost is quadratic in `size` and linear in `batches`, and does not depend on the size of the samples.

    Args:
        reference: (N1, F) features.
        sample: (N2, F) features.
        rng: Draws the batches.
        reference_weights: (N1,), default ones: events are drawn with a probability that is the magnitude of their
            weight, and count with its sign.
        sample_weights: (N2,), default ones.
        size: Events of a batch.
        batches: Number of batches.

    Returns:
        Value (below zero by chance, for equal distributions), uncertainties and floor.

    Raises:
        ValueError: If the samples are empty or not finite, have different numbers of features or no positive sum of
            weights, or if there are fewer than two batches of two events.

    References:
        Kansal et al., arXiv:2211.10295, section III.
    """
    if size < 2 or batches < 2:
        raise ValueError(
            f"kernel physics distance: expected at least 2 batches of 2 events, got {batches} of {size}; take more"
        )
    samples = _prepared(sample, reference, sample_weights, reference_weights)
    values = np.array([_kernel_discrepancy(*samples, size, rng) for _ in range(batches)])
    low, high = np.percentile(values, CENTRAL)
    spread = float(high - low) / 2
    relative = math.sqrt(size / _events(*samples) + MEDIAN_VARIANCE / batches)
    value = float(np.median(values))
    return PhysicsDistance(value, spread * relative, (value, spread), 0.0, _is_small(*samples))
