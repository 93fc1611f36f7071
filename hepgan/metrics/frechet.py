r"""Fréchet and kernel physics distance: the numbers by which published fast simulations are compared.

Both compare features (shower shapes, not cells). The Fréchet distance sees means and covariances only, so a wrong shape
with the right first two moments is invisible to it; the kernel distance sees moments up to the fourth. Features are
divided by their largest magnitude in the reference, as JetNet does: an outlier in the reference hides differences in
the bulk of that feature, and values are comparable only for the same features and the same reference.

The definitions are those of arXiv:2211.10295. `PhysicsDistance.jetnet` is the number that the authors' program (JetNet
0.2.5, ``jetnet.evaluation.fpd`` and ``kpd``) gives, and that published tables contain, times 1000; its Fréchet distance
is not always extrapolated as defined, and is then larger.

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

CENTRAL = (16.275, 83.725)  # percentiles within one standard deviation of a Gaussian, as in JetNet
MEDIAN_VARIANCE = 0.5 * math.pi  # variance of the median of Gaussian numbers, relative to that of their mean
ROUNDING = 1e-9  # negative eigenvalues this small, relative to the largest, are rounding
_ROWS = 1_000  # of a kernel matrix at a time: stays in the cache


@dataclass(frozen=True)
class PhysicsDistance:
    """Outcome of `frechet_physics_distance` and `kernel_physics_distance`.

    Attributes:
        value: The distance.
        uncertainty: One standard deviation, from the finite samples and from the batches.
        jetnet: Value and uncertainty as JetNet 0.2.5 gives them, for comparison with published numbers: for the Fréchet
            distance the result of its fit (see `frechet_physics_distance`), for the kernel distance the same value with
            the spread of single batches.
        floor: Mean value for equal distributions and samples of these sizes: a value not much larger is good.
        small: Whether a sample has fewer (effective) events than the 50000 that JetNet recommends. The value follows
            the definition, but its floor is higher: do not compare it with published values.
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
    """Symmetric square root of a covariance (F, F)."""
    values, vectors = np.linalg.eigh(covariance)
    if values[0] < -ROUNDING * max(values[-1], 0.0) or values[-1] < 0:
        raise ValueError(
            f"{name}: expected a covariance without negative variances, got {values[0]:.3g} in one direction of the "
            "features, from negative weights; take more events or a distance that allows them (mmd)"
        )
    result: Array = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return result


def frechet_distance(
    sample_mean: Array, sample_covariance: Array, reference_mean: Array, reference_covariance: Array
) -> float:
    r"""Squared Wasserstein-2 distance of two Gaussians.

    :math:`|\mu_1 - \mu_2|^2 + tr(C_1 + C_2 - 2 (C_1^{1/2} C_2 C_1^{1/2})^{1/2})` with means :math:`\mu` and covariances
    :math:`C`; symmetric in the two Gaussians.

    Args:
        sample_mean: (F,).
        sample_covariance: (F, F).
        reference_mean: (F,).
        reference_covariance: (F, F).

    Returns:
        The distance, from 0, in the squared unit of the features.

    Raises:
        ValueError: If a covariance has a negative eigenvalue.

    References:
        Dowson and Landau, J. Multivar. Anal. 12 (1982) 450, eq. 4.
    """
    # The trace of the root of a product of covariances is the sum of the singular values of the product of roots.
    roots = _root(reference_covariance, "reference") @ _root(sample_covariance, "sample")
    overlap = np.linalg.svd(roots, compute_uv=False).sum()
    shift = np.sum((reference_mean - sample_mean) ** 2)
    return float(shift + np.trace(reference_covariance) + np.trace(sample_covariance) - 2 * overlap)


@dataclass(frozen=True)
class _Drawn:
    """A sample from which events are drawn with probabilities proportional to the magnitudes of their weights.

    Attributes:
        features: (N, F), divided by the largest magnitudes in the reference.
        signs: (N,) signs of the weights.
        cumulative: (N,) cumulative probabilities; empty if all are the same.
        events: Number of unweighted events that fluctuate like these.
    """

    features: Array
    signs: Array
    cumulative: Array
    events: float

    def draw(self, size: int, rng: np.random.Generator) -> NDArray[np.intp]:
        """Draw `size` indices of events, with replacement."""
        if self.cumulative.size:
            return np.searchsorted(self.cumulative, rng.random(size), side="right")
        return rng.integers(0, len(self.features), size)


def _prepared(
    sample: ArrayLike,
    reference: ArrayLike,
    sample_weights: ArrayLike | None,
    reference_weights: ArrayLike | None,
) -> tuple[_Drawn, _Drawn]:
    """Sample and reference to draw from, with features divided by their largest magnitude in the reference."""
    weighted_sample, weighted_reference = checked_pair(
        sample,
        reference,
        sample_weights=sample_weights,
        reference_weights=reference_weights,
        what="physics distance",
    )
    largest = np.abs(weighted_reference[0]).max(axis=0)
    largest[largest == 0] = 1.0

    def drawn(x: Array, w: Array, name: str) -> _Drawn:
        size = np.abs(w)
        # A draw is worth less when signs cancel: (sum w)^2 / sum w^2 events fluctuate like this many draws.
        events = float(size.sum() ** 2 / np.sum(w**2))
        if events <= 1:
            raise ValueError(
                f"{name}: expected at least two events, got {events:.3g} effective ones; take more"
            )
        cumulative = np.cumsum(size) if np.ptp(size) > 0 else np.empty(0)
        cumulative /= cumulative[-1:]
        return _Drawn(x / largest, np.sign(w), cumulative, events)

    return drawn(*weighted_sample, "sample"), drawn(*weighted_reference, "reference")


def _events(sample: _Drawn, reference: _Drawn) -> float:
    """Harmonic mean of the effective numbers of events of both samples."""
    return 2 / (1 / reference.events + 1 / sample.events)


def _moments(drawn: _Drawn, size: int, rng: np.random.Generator, name: str) -> tuple[Array, Array]:
    """Mean (F,) and covariance (F, F) of a batch of `size` events."""
    chosen = drawn.draw(size, rng)
    x, sign = drawn.features[chosen], drawn.signs[chosen]
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
    """Fréchet physics distance (FPD): `frechet_distance` of Gaussian fits to the features, for infinite batches.

    Batches of events are drawn with replacement from both samples. The mean of their Fréchet distances at several sizes
    N is fitted with a straight line in 1/N, with slope and intercept not negative; the intercept is the value. The
    extrapolation removes the bias of the batches, but not that of the samples themselves, which is the `floor`.

    JetNet 0.2.5 fits the same line, but its optimiser uses 1/N (about 1e-5) without scaling and, depending on the data,
    may stop before the slope has changed. Its result is then close to the mean over the sizes, which is larger: up to
    twice, for nearly equal samples. Published tables contain that result; here it is `jetnet`, from the same call of
    scipy, and the only number to put beside published ones.

    The cost is linear in `points` x `batches` x `largest_size`, and does not depend on the size of the samples.

    Args:
        sample: (N1, F) features.
        reference: (N2, F) features.
        rng: Draws the batches (those of the reference first).
        sample_weights: (N1,), default ones: events are drawn with probabilities proportional to the magnitudes of
            their weights, and count with their signs. Negative weights are refused where they make a variance negative.
        reference_weights: (N2,), default ones.
        smallest_size: Events of the smallest batch.
        largest_size: Events of the largest batch. It needs no change for smaller samples, whose events are drawn more
            often.
        points: Number of sizes, in equal steps of 1/N.
        batches: Number of batches of each size.

    Returns:
        Value (from 0, without unit), uncertainties and floor. The statistical part of the uncertainty is the spread of
        the batches (a bootstrap), scaled to the size of the samples; for equal distributions it is rather too large
        than too small.

    Raises:
        ValueError: If a sample is empty or not finite, has no positive sum of weights or a negative variance, the
            numbers of features differ, or the sizes are not increasing.

    References:
        Kansal et al., arXiv:2211.10295, section III.
    """
    if not 1 < smallest_size < largest_size or points < 2 or batches < 2:
        raise ValueError(
            "Fréchet physics distance: expected at least two points and batches, and 1 < smallest_size < largest_size, "
            f"got {points} points, {batches} batches, sizes {smallest_size} and {largest_size}"
        )
    of_sample, of_reference = _prepared(sample, reference, sample_weights, reference_weights)
    sizes = (1 / np.linspace(1 / smallest_size, 1 / largest_size, points)).astype(np.int64)
    values, null, before = np.empty((batches, points)), [], None
    for k in range(batches):
        for n, size in enumerate(sizes.tolist()):
            reference_moments = _moments(of_reference, size, rng, "reference")  # drawn first
            sample_moments = _moments(of_sample, size, rng, "sample")
            values[k, n] = frechet_distance(*sample_moments, *reference_moments)
        if before is not None:
            null.append(frechet_distance(*reference_moments, *before))
        before = reference_moments
    line = np.column_stack([np.ones(points), smallest_size / sizes])
    means = values.mean(axis=0)
    value = nnls(line, means)[0][0]
    intercepts = np.linalg.lstsq(line, values.T, rcond=None)[0][0]
    extrapolation = float(intercepts.std(ddof=1)) / math.sqrt(batches)
    events = _events(of_sample, of_reference)
    statistical = float(values[:, -1].std(ddof=1)) * math.sqrt(largest_size / events)
    return PhysicsDistance(
        float(value),
        math.hypot(statistical, extrapolation),
        _jetnet_intercept(sizes, means),
        float(np.mean(null)) * largest_size / events,
        _is_small(of_sample, of_reference),
    )


def _jetnet_intercept(sizes: NDArray[np.int64], means: Array) -> Measurement:
    """Intercept and error of JetNet's fit: curve_fit with bounds, in 1/N without scaling."""

    def line(x: Array, intercept: float, slope: float) -> Array:
        return intercept + slope * x

    fitted, covariance = curve_fit(line, 1 / sizes, means, bounds=(0, np.inf))
    return float(fitted[0]), math.sqrt(covariance[0, 0])


def _is_small(sample: _Drawn, reference: _Drawn) -> bool:
    """Whether a sample has fewer events than JetNet recommends."""
    return min(sample.events, reference.events) < RECOMMENDED_EVENTS


def _kernel_sum(x: Array, y: Array, a: Array, b: Array) -> float:
    """Sum of a_i b_j (x_i y_j / F + 1)^4 over all pairs of events x (N, F) and y (M, F), with weights a and b."""
    total = 0.0
    for start in range(0, len(x), _ROWS):
        block = slice(start, start + _ROWS)
        kernel = x[block] @ y.T
        kernel /= x.shape[1]
        kernel += 1
        for _ in range(KERNEL_SQUARINGS):
            np.square(kernel, out=kernel)
        total += float(a[block] @ kernel @ b)
    return total


def _kernel_discrepancy(sample: _Drawn, reference: _Drawn, size: int, rng: np.random.Generator) -> float:
    """Unbiased squared discrepancy of two batches; an event that is drawn twice is not a pair with itself."""
    batches, same = [], 0.0
    for drawn in (reference, sample):  # random numbers for the reference are drawn first
        chosen, times = np.unique(drawn.draw(size, rng), return_counts=True)
        x, w = drawn.features[chosen], drawn.signs[chosen] * times
        own = w**2 @ ((x**2).sum(axis=1) / x.shape[1] + 1) ** KERNEL_DEGREE
        same += (_kernel_sum(x, x, w, w) - own) / (w.sum() ** 2 - (w**2).sum())
        batches.append((x, w / w.sum()))
    (x2, w2), (x1, w1) = batches
    return float(same - 2 * _kernel_sum(x2, x1, w2, w1))


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

    The value is the median over batches drawn with replacement. Each batch is unbiased, so the floor is zero. For
    nearly equal samples the batches scatter asymmetrically: the median is below the mean by part of its uncertainty.
    JetNet also counts the pairs of an event with its own copy in the same batch, which adds about
    :math:`2 (E k(x, x) - E k(x, x')) / N`; here they are left out, which matters only for samples much smaller than
    50000.

    The cost is quadratic in `size` and linear in `batches`, and does not depend on the size of the samples.

    Args:
        sample: (N1, F) features.
        reference: (N2, F) features.
        rng: Draws the batches (those of the reference first).
        sample_weights: (N1,), default ones: events are drawn with probabilities proportional to the magnitudes of
            their weights, and count with their signs.
        reference_weights: (N2,), default ones.
        size: Events of a batch.
        batches: Number of batches.

    Returns:
        Value (without unit; for equal distributions it may be below zero by chance), uncertainties and floor.

    Raises:
        ValueError: If a sample is empty or not finite or has no positive sum of weights, the numbers of features
            differ, or there are fewer than two batches of two events.

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
