r"""What is measured on each of hundreds of cells: their spectrum, their mean energies, their correlations.

All functions give sums over groups of showers (`hepgan.metrics.groups`), in one pass over the cells and in double
precision, and small functions of such sums: differences between samples, with uncertainties and floors from
`jackknife` and `between_halves`. A sum is that of weighted events: an event of weight 2 is an event twice. Single
weights may be negative.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from hepgan.metrics.groups import jackknife, random_groups
from hepgan.metrics.moments import Measurement

__all__ = [
    "cell_correlation_difference",
    "cell_energy_sums",
    "correlation_difference",
    "correlation_sums",
    "correlations",
    "correlations_by_distance",
    "largest_difference",
    "means",
    "median_energy",
    "profile_differences",
    "radial_edges",
    "smooth_terms",
    "spectrum_edges",
    "spectrum_separation",
    "spectrum_sums",
]

DECADES = 7.0  # of a spectrum, at most; below that part of the largest deposit a cell has next to nothing
BINS_PER_DECADE = 8
DEGREE = 3  # of the polynomial in a condition that is taken out of the correlations
RISE = 0.15  # relative width of the outer rings of a lateral profile
FAR = 0.75  # of the cells along an axis: further apart there are too few pairs
NEGLIGIBLE = 1e-3  # share of the energy below which a bin of a profile is not judged
_CONSTANT = 1e-5  # variance over mean square below which a cell does not vary: rounding in single precision
_BLOCK = 5000  # showers at once
_OFFSET = 2000  # showers that fix the offset against rounding

Array = NDArray[np.float64]
Groups = NDArray[np.intp]


def _checked(cells: ArrayLike, group: Groups, weights: ArrayLike | None) -> tuple[NDArray[np.float32], Array]:
    """Cells in single precision, weights in double."""
    x = np.asarray(cells, dtype=np.float32)
    if x.ndim != 2 or len(x) == 0:
        raise ValueError(f"cells: expected (N, C) energies of at least one shower, got shape {x.shape}")
    if not np.isfinite([x.min(), x.max()]).all():  # NaN is the smallest and the largest of what holds one
        raise ValueError("cells: expected finite energies, got others; remove or repair these showers")
    w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)
    for name, got in (("weights", w.shape), ("groups", group.shape)):
        if got != (len(x),):
            raise ValueError(f"{name}: expected one for each of {len(x)} showers, got shape {got}")
    if not np.isfinite(w).all() or w.sum() <= 0:
        raise ValueError(
            f"weights: expected finite ones with a positive sum, got {w.sum():g}; check the weights"
        )
    return x, w


def _blocks(group: Groups) -> list[tuple[int, NDArray[np.intp]]]:
    """Rows of each group, some thousand at once."""
    order = np.argsort(group, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(group))[:-1])
    return [(g, part[k : k + _BLOCK]) for g, part in enumerate(rows) for k in range(0, len(part), _BLOCK)]


def _ratio(first: Array, second: Array) -> Array:
    """The ratio; NaN where the divisor is not positive."""
    result: Array = np.divide(first, second, out=np.full(np.shape(first), np.nan), where=second > 0)
    return result


# Spectrum


def spectrum_edges(cells: ArrayLike, *, threshold: float = 0.0) -> Array | None:
    """Logarithmic bins for the spectrum of cell energies: from the smallest deposit to the largest, or `DECADES`.

    Args:
        cells: (N, C) energies of the reference.
        threshold: Cells count above this energy only.

    Returns:
        Edges with eight bins a decade, one bin to spare on either side; None if no cell has energy.
    """
    x = np.asarray(cells)
    hits = x[x > max(threshold, 0.0)]
    if len(hits) == 0:
        return None
    high = float(hits.max())
    low = max(float(hits.min()), high * 10**-DECADES)
    first, last = np.floor(BINS_PER_DECADE * np.log10(low)), np.ceil(BINS_PER_DECADE * np.log10(high))
    return np.asarray(10 ** (np.arange(first - 1, last + 2) / BINS_PER_DECADE))


def spectrum_sums(
    cells: ArrayLike, edges: Array, group: Groups, *, weights: ArrayLike | None = None, threshold: float = 0.0
) -> Array:
    """Histogram of the cell energies above threshold, for each group.

    Args:
        cells: (N, C).
        edges: (B + 1,) with equal ratios, as of `spectrum_edges`; what lies outside is in the first or last bin.
        group: (N,).
        weights: (N,), default ones.
        threshold: Cells count above this energy only.

    Returns:
        (G, B + 1): sums of weights of cells in each bin, and of showers.

    Raises:
        ValueError: If there is no shower, or weights or groups do not fit or have no positive sum.
    """
    x, w = _checked(cells, group, weights)
    bins = len(edges) - 1
    low, scale = np.log(edges[0]), bins / np.log(edges[-1] / edges[0])
    sums = np.zeros((int(group.max()) + 1, bins + 1))
    for g, rows in _blocks(group):
        block = x[rows]
        hit = block > max(threshold, 0.0)
        place = (np.log(block[hit]) - np.float32(low)) * np.float32(scale)
        number = np.clip(place, 0, bins - 1).astype(np.intp)
        sums[g, :-1] += np.bincount(number, np.repeat(w[rows], hit.sum(axis=1)), bins)
        sums[g, -1] += w[rows].sum()
    return sums


def spectrum_separation(first: Array, second: Array) -> float:
    """Separation power of two spectra: 0 (equal shapes) to 1 (no overlap).

    Args:
        first: (B + 1,) sums over all showers; bins that negative weights make negative count as empty.
        second: (B + 1,).

    Returns:
        The number, NaN if one has no cells.
    """
    h1, h2 = (np.maximum(h[:-1], 0.0) for h in (first, second))
    if min(h1.sum(), h2.sum()) <= 0:
        return float("nan")
    h1, h2 = h1 / h1.sum(), h2 / h2.sum()
    both = h1 + h2
    return float(0.5 * np.divide((h1 - h2) ** 2, both, out=np.zeros_like(both), where=both > 0).sum())


def median_energy(sums: Array, edges: Array) -> float:
    """Energy of the median cell above threshold, to the width of a bin.

    Args:
        sums: (B + 1,) of `spectrum_sums`.
        edges: (B + 1,).
    """
    cumulative = np.cumsum(np.maximum(sums[:-1], 0.0))
    k = int(np.searchsorted(cumulative, 0.5 * cumulative[-1]))
    return float(np.sqrt(edges[k] * edges[k + 1]))


# Mean energies: profiles


def cell_energy_sums(
    cells: ArrayLike, group: Groups, *, weights: ArrayLike | None = None, scale: ArrayLike | None = None
) -> Array:
    """Sums of the energy of each cell, for each group.

    Args:
        cells: (N, C).
        group: (N,).
        weights: (N,), default ones.
        scale: (N,) what the energies of each shower are divided by, such as its incident energy; default: ones.

    Returns:
        (G, C + 1): sums of weighted energies, and of weights.

    Raises:
        ValueError: As `spectrum_sums`.
    """
    x, w = _checked(cells, group, weights)
    factor = w if scale is None else w / np.asarray(scale, dtype=np.float64)
    sums = np.zeros((int(group.max()) + 1, x.shape[1] + 1))
    for g, rows in _blocks(group):
        sums[g, :-1] += factor[rows] @ x[rows].astype(np.float64)
        sums[g, -1] += w[rows].sum()
    return sums


def means(sums: Array) -> Array:
    """Mean of each cell or bin: sums (B + 1,) over the sum of weights; NaN if that is not positive."""
    return _ratio(sums[:-1], np.broadcast_to(sums[-1], len(sums) - 1))


def profile_differences(first: Array, second: Array) -> Array:
    """Relative difference of the means of each bin, second over first less 1; NaN where the first is not positive.

    Args:
        first: (B + 1,) sums of the reference.
        second: (B + 1,).
    """
    return _ratio(means(second), means(first)) - 1


def largest_difference(first: Array, second: Array, *, judged: NDArray[np.bool_]) -> float:
    """Size of the largest of `profile_differences` in the bins that are judged, (B,); NaN if none is defined."""
    sizes = np.abs(profile_differences(first, second)[judged])
    return float(np.nanmax(sizes)) if np.isfinite(sizes).any() else float("nan")


def radial_edges(radii: ArrayLike, step: float) -> Array:
    """Edges of rings for cells at given distances from the axis: narrow inside, wider outside, none without a cell.

    Args:
        radii: (C,) distance of each cell's centre from the axis.
        step: Smallest width of a ring: the pitch of the cells.

    Returns:
        At least two increasing edges, from 0.

    Raises:
        ValueError: If the step is not positive.
    """
    if step <= 0:
        raise ValueError(f"step: expected a positive width of the rings, got {step:g}")
    distinct = np.unique(np.asarray(radii, dtype=np.float64))
    edges, outer = [0.0], 0.0
    while outer <= distinct[-1]:
        outer += max(step, RISE * outer)
        if ((distinct >= edges[-1]) & (distinct < outer)).any():
            edges.append(outer)
    return np.asarray(edges)


# Correlations


def smooth_terms(conditions: ArrayLike) -> NDArray[np.float32]:
    """Polynomials of each condition up to the third degree, and a constant: what correlations are freed from.

    Args:
        conditions: (N, K), or (N, 0): the constant alone.

    Returns:
        (N, 1 + 3 K) Legendre polynomials over the range of the sample.
    """
    values = np.asarray(conditions, dtype=np.float64)
    columns = [np.ones((len(values), 1))]
    for condition in values.T:
        low, high = condition.min(), condition.max()
        place = 2 * (condition - low) / (high - low) - 1 if high > low else np.zeros(len(condition))
        columns.append(np.polynomial.legendre.legvander(place, DEGREE)[:, 1:])
    return np.concatenate(columns, axis=1).astype(np.float32)


def correlation_sums(
    cells: ArrayLike,
    terms: ArrayLike,
    group: Groups,
    *,
    scale: float = 0.0,
    weights: ArrayLike | None = None,
) -> Array:
    r"""Sums of all products of :math:`\log(1 + e / s)` of the cells and of smooth terms, for each group.

    The logarithm gives small and large deposits a say. One matrix product, N C^2 multiplications: one second for
    100,000 showers of 500 cells.

    Args:
        cells: (N, C) energies, or whatever is to be correlated with ``scale=0``.
        terms: (N, K) what the correlations are freed from, the first being 1: `smooth_terms`.
        group: (N,).
        scale: Energy s at which the logarithm sets in; 0: no logarithm.
        weights: (N,), default ones.

    Returns:
        (G, C + K, C + K).

    Raises:
        ValueError: As `spectrum_sums`.
    """
    x, w = _checked(cells, group, weights)
    smooth = np.asarray(terms, dtype=np.float32)

    def values(rows: NDArray[np.intp] | slice) -> torch.Tensor:
        block = torch.from_numpy(x[rows])
        return torch.log1p(block.clamp_min(0.0) / scale) if scale > 0 else block

    offset = values(slice(_OFFSET)).mean(dim=0)
    n = x.shape[1] + smooth.shape[1]
    sums = np.zeros((int(group.max()) + 1, n, n))
    for g, rows in _blocks(group):
        block = torch.cat([values(rows) - offset, torch.from_numpy(smooth[rows])], 1)
        weighted = block * torch.from_numpy(w[rows].astype(np.float32))[:, None]
        sums[g] += (
            weighted.T @ block
        ).numpy()  # torch: up to ten times faster here than NumPy's own libraries
    return sums


def correlations(total: Array, n: int) -> tuple[Array, NDArray[np.bool_]]:
    r"""Correlation coefficients of cells at fixed conditions (partial correlations, given the smooth terms).

    What the conditions explain is taken out: of showers of all energies every cell is correlated with every other,
    only because a large shower is large everywhere.

    Args:
        total: (C + K, C + K) sums of products.
        n: Number of cells C.

    Returns:
        (C, C) coefficients, 0 with a cell that does not vary; (C,) which cells vary.

    References:
        Kendall and Stuart, "The Advanced Theory of Statistics", vol. 2, chapter 27 (partial correlation).
    """
    mixed = total[:n, n:]
    covariance = total[:n, :n] - mixed @ np.linalg.pinv(total[n:, n:], hermitian=True) @ mixed.T
    variance = np.diagonal(covariance)
    varies = (variance > _CONSTANT * np.diagonal(total)[:n]) & (variance > 0)
    inverse = np.where(varies, 1 / np.sqrt(np.where(varies, variance, 1.0)), 0.0)
    return covariance * inverse[:, None] * inverse, varies


def correlation_difference(first: Array, second: Array, *, n: int) -> float:
    """Mean absolute difference of the correlation coefficients of all pairs of cells that vary in the reference.

    Args:
        first: (C + K, C + K) sums of the reference.
        second: (C + K, C + K).
        n: Number of cells C.

    Returns:
        Between 0 and 2; NaN if fewer than two cells vary.
    """
    (a, varies), (b, _) = correlations(first, n), correlations(second, n)
    pairs = np.triu(np.outer(varies, varies), 1)
    return float(np.abs(a - b)[pairs].mean()) if pairs.any() else float("nan")


def correlations_by_distance(
    total: Array, shape: tuple[int, int], *, periodic: bool = False
) -> tuple[Array, Array]:
    """Mean correlation of cells of a layer that are some cells apart along one axis, and not along the other.

    Args:
        total: (C + K, C + K) sums of products, C = n_x n_y.
        shape: (n_x, n_y).
        periodic: Whether the first axis is a circle: n_x - 1 apart is next to each other.

    Returns:
        Coefficients at 1, 2, ... cells apart along x and along y; as far as three quarters of the axis, half of a
        circle. NaN where no cell varies.
    """
    r, varies = correlations(total, shape[0] * shape[1])
    pairs = np.outer(varies, varies).reshape(*shape, *shape)
    r = np.where(pairs, r.reshape(*shape, *shape), 0.0)
    curves = []
    for axis, wrapped in ((0, periodic), (1, False)):
        other = 1 - axis
        sums, counts = (
            np.diagonal(m, axis1=other, axis2=2 + other).sum(axis=-1, dtype=np.float64) for m in (r, pairs)
        )
        size = shape[axis]
        apart = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
        apart = np.minimum(apart, size - apart) if wrapped else apart
        most = size // 2 if wrapped else int(FAR * size)
        flat = apart.ravel()
        total_r, number = (
            np.bincount(flat, m.ravel(), size)[1 : most + 1].astype(np.float64) for m in (sums, counts)
        )
        curves.append(_ratio(total_r, number))
    return curves[0], curves[1]


# One number, straight from arrays


def cell_correlation_difference(
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    rng: np.random.Generator,
    sample_conditions: ArrayLike | None = None,
    reference_conditions: ArrayLike | None = None,
    sample_weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
    scale: float = 0.0,
) -> Measurement:
    """Mean absolute difference of the correlation coefficients of all pairs of cells.

    Fluctuation alone gives about 0.8 sqrt(1 / N1 + 1 / N2): compare with two halves of the reference. Sees a generator
    that paints the right mean shower with cells that fluctuate on their own; cannot see dependences that leave the
    linear correlations of the (logarithms of the) energies alone.

    Args:
        reference: (N1, C) energies.
        sample: (N2, C).
        rng: Draws the groups of the jackknife.
        reference_conditions: (N1, K), whose smooth influence is taken out; default: none.
        sample_conditions: (N2, K).
        reference_weights: (N1,), default ones.
        sample_weights: (N2,), default ones.
        scale: Energy at which the logarithm sets in; 0: no logarithm.

    Returns:
        Value, NaN if fewer than two cells vary, and its uncertainty.

    Raises:
        ValueError: If a sample is empty, or weights do not fit or have no positive sum.
    """
    sums = []
    for cells, conditions, weights in (
        (reference, reference_conditions, reference_weights),
        (sample, sample_conditions, sample_weights),
    ):
        n = len(np.asarray(cells))
        group = random_groups(n, rng)
        terms = smooth_terms(np.empty((n, 0)) if conditions is None else conditions)
        sums.append(correlation_sums(cells, terms, group, scale=scale, weights=weights))
    size = np.asarray(reference).shape[1]
    value, uncertainty = jackknife(functools.partial(correlation_difference, n=size), *sums)
    return float(value), float(uncertainty)
