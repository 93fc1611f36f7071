r"""Spectrum, mean energies and correlations of the cells of a calorimeter.

Functions of the first kind (`spectrum_sums`, `cell_energy_sums`, `correlation_sums`) read the cells once and give sums
over groups of showers (`hepgan.metrics.groups`). Functions of the second kind turn such sums into differences between
a sample and its reference; pass them to `jackknife` for uncertainties and to `between_halves` for floors. Sums are
weighted: an event of weight 2 counts as two events. Single weights may be negative.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hepgan.metrics.groups import jackknife, random_groups
from hepgan.metrics.moments import Measurement

if TYPE_CHECKING:
    from torch import Tensor

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

DECADES = 7.0  # largest range of a spectrum; smaller deposits, relative to the largest, do not matter
BINS_PER_DECADE = 8
DEGREE = 3  # of the polynomial in each condition that is removed from the correlations
RISE = 0.15  # relative width of the outer rings of a lateral profile
FAR = 0.75  # largest distance of pairs of cells, in lengths of the axis: beyond there are too few pairs
NEGLIGIBLE = 1e-3  # share of the energy below which a bin of a profile is not judged
_CONSTANT = 1e-5  # variance over mean square below which a cell does not vary: rounding in single precision
_BLOCK = 5000  # showers at once
_OFFSET = 2000  # showers whose mean is subtracted first, to reduce rounding

Array = NDArray[np.float64]
Groups = NDArray[np.intp]


def _checked(cells: ArrayLike, group: Groups, weights: ArrayLike | None) -> tuple[NDArray[np.float32], Array]:
    """Check cells, groups and weights; cells in single precision, weights in double."""
    x = np.asarray(cells, dtype=np.float32)
    if x.ndim != 2 or len(x) == 0:
        raise ValueError(f"cells: expected (N, C) energies of at least one shower, got shape {x.shape}")
    if not np.isfinite([x.min(), x.max()]).all():  # min and max are NaN if any cell is
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
    """Blocks of at most `_BLOCK` showers of the same group: number of the group, indices of the showers."""
    order = np.argsort(group, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(group))[:-1])
    return [(g, part[k : k + _BLOCK]) for g, part in enumerate(members) for k in range(0, len(part), _BLOCK)]


def _ratio(numerator: Array, denominator: Array) -> Array:
    """Ratio of two arrays, NaN where the denominator is not positive."""
    nothing = np.full(np.shape(numerator), np.nan)
    result: Array = np.divide(numerator, denominator, out=nothing, where=denominator > 0)
    return result


# Spectrum


def spectrum_edges(cells: ArrayLike, *, threshold: float = 0.0) -> Array | None:
    """Logarithmic bins for the spectrum of cell energies, from the smallest deposit to the largest.

    Args:
        cells: (N, C) energies of the reference.
        threshold: Only cells above this energy count.

    Returns:
        Edges with eight bins per decade and at most `DECADES`, with a spare bin at either end; None if no cell has
        energy.
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
        cells: (N, C) energies.
        edges: (B + 1,) with equal ratios, from `spectrum_edges`; energies outside count in the first or last bin.
        group: (N,) group of each shower.
        weights: (N,), default ones; single negative weights are allowed.
        threshold: Only cells above this energy count.

    Returns:
        (G, B + 1): sum of weights of the cells in each bin, then the sum of weights of the showers.

    Raises:
        ValueError: If there is no shower, cells are not finite, or weights or groups do not fit or weights have no
            positive sum.
    """
    x, w = _checked(cells, group, weights)
    bins = len(edges) - 1
    low, scale = np.log(edges[0]), bins / np.log(edges[-1] / edges[0])
    sums = np.zeros((int(group.max()) + 1, bins + 1))
    for g, members in _blocks(group):
        block = x[members]
        hit = block > max(threshold, 0.0)
        place = (np.log(block[hit]) - np.float32(low)) * np.float32(scale)
        number = np.clip(place, 0, bins - 1).astype(np.intp)
        sums[g, :-1] += np.bincount(number, np.repeat(w[members], hit.sum(axis=1)), bins)
        sums[g, -1] += w[members].sum()
    return sums


def spectrum_separation(sample: Array, reference: Array) -> float:
    """Separation power of two spectra (see `hepgan.metrics.separation_power`).

    Args:
        sample: (B + 1,) `spectrum_sums` over all showers; bins with negative sums of weights count as empty.
        reference: (B + 1,).

    Returns:
        0 (equal shapes) to 1 (no overlap); NaN if a spectrum has no cells.
    """
    h1, h2 = (np.maximum(h[:-1], 0.0) for h in (sample, reference))
    if min(h1.sum(), h2.sum()) <= 0:
        return float("nan")
    h1, h2 = h1 / h1.sum(), h2 / h2.sum()
    both = h1 + h2
    return float(0.5 * np.divide((h1 - h2) ** 2, both, out=np.zeros_like(both), where=both > 0).sum())


def median_energy(sums: Array, edges: Array) -> float:
    """Median energy of the cells above threshold, to the precision of a bin.

    Args:
        sums: (B + 1,) `spectrum_sums` over all showers.
        edges: (B + 1,).

    Returns:
        Geometric centre of the median's bin, in the unit of the edges.
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
        cells: (N, C) energies.
        group: (N,) group of each shower.
        weights: (N,), default ones; single negative weights are allowed.
        scale: (N,) divisor of the energies of each shower, such as its incident energy; default ones.

    Returns:
        (G, C + 1): sums of weighted energies, then the sum of weights.

    Raises:
        ValueError: As `spectrum_sums`.
    """
    x, w = _checked(cells, group, weights)
    factor = w if scale is None else w / np.asarray(scale, dtype=np.float64)
    sums = np.zeros((int(group.max()) + 1, x.shape[1] + 1))
    for g, members in _blocks(group):
        sums[g, :-1] += factor[members] @ x[members].astype(np.float64)
        sums[g, -1] += w[members].sum()
    return sums


def means(sums: Array) -> Array:
    """Mean of each cell or bin, (B,), from its sum and the sum of weights, (B + 1,); NaN if that is not positive."""
    return _ratio(sums[:-1], np.broadcast_to(sums[-1], len(sums) - 1))


def profile_differences(sample: Array, reference: Array) -> Array:
    """Relative difference of the means of each bin, sample / reference - 1.

    Args:
        sample: (B + 1,) sums, as in `means`.
        reference: (B + 1,) sums.

    Returns:
        (B,) differences; NaN where the mean of the reference is not positive.
    """
    return _ratio(means(sample), means(reference)) - 1


def largest_difference(sample: Array, reference: Array, *, judged: NDArray[np.bool_]) -> float:
    """Largest magnitude of `profile_differences` in some of the bins.

    Args:
        sample: (B + 1,) sums, as in `means`.
        reference: (B + 1,) sums.
        judged: (B,) whether a bin counts.

    Returns:
        The magnitude; NaN if no difference is defined.
    """
    sizes = np.abs(profile_differences(sample, reference)[judged])
    return float(np.nanmax(sizes)) if np.isfinite(sizes).any() else float("nan")


def radial_edges(radii: ArrayLike, step: float) -> Array:
    """Edges of rings around the axis: as narrow as the cells inside, wider outside; each ring holds a cell.

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
    """A constant and polynomials of each condition up to the third degree, whose influence `correlations` removes.

    Args:
        conditions: (N, K); (N, 0) gives the constant alone.

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
    r"""Sums of all products of pairs of columns, :math:`\log(1 + e / s)` of the cells and smooth terms, for each group.

    The logarithm makes small deposits count beside large ones. Cost: one matrix product of N C^2 multiplications, one
    second for 100,000 showers of 500 cells.

    Args:
        cells: (N, C) energies, or any other numbers with ``scale=0``.
        terms: (N, K) `smooth_terms`, of which the first is 1.
        group: (N,) group of each shower.
        scale: Energy s above which the logarithm sets in; 0: no logarithm.
        weights: (N,), default ones; single negative weights are allowed.

    Returns:
        (G, C + K, C + K).

    Raises:
        ValueError: As `spectrum_sums`.
    """
    import torch  # its matrix product is up to ten times faster here than NumPy's

    x, w = _checked(cells, group, weights)
    smooth = np.asarray(terms, dtype=np.float32)

    def values(showers: NDArray[np.intp] | slice) -> Tensor:
        block = torch.from_numpy(x[showers])
        return torch.log1p(block.clamp_min(0.0) / scale) if scale > 0 else block

    offset = values(slice(_OFFSET)).mean(dim=0)
    n = x.shape[1] + smooth.shape[1]
    sums = np.zeros((int(group.max()) + 1, n, n))
    for g, members in _blocks(group):
        block = torch.cat([values(members) - offset, torch.from_numpy(smooth[members])], 1)
        weighted = block * torch.from_numpy(w[members].astype(np.float32))[:, None]
        sums[g] += (weighted.T @ block).numpy()
    return sums


def correlations(total: Array, n: int) -> tuple[Array, NDArray[np.bool_]]:
    r"""Correlation coefficients of cells at fixed conditions (partial correlations, given the smooth terms).

    Without fixed conditions, every cell would be correlated with every other, only because a shower of high energy is
    large everywhere.

    Args:
        total: (C + K, C + K) `correlation_sums` over all showers.
        n: Number of cells C.

    Returns:
        (C, C) coefficients, 0 with a cell that does not vary; (C,) whether a cell varies.

    References:
        Kendall and Stuart, "The Advanced Theory of Statistics", vol. 2, chapter 27 (partial correlation).
    """
    mixed = total[:n, n:]
    covariance = total[:n, :n] - mixed @ np.linalg.pinv(total[n:, n:], hermitian=True) @ mixed.T
    variance = np.diagonal(covariance)
    varies = (variance > _CONSTANT * np.diagonal(total)[:n]) & (variance > 0)
    inverse = np.where(varies, 1 / np.sqrt(np.where(varies, variance, 1.0)), 0.0)
    return covariance * inverse[:, None] * inverse, varies


def correlation_difference(sample: Array, reference: Array, *, n: int) -> float:
    """Mean absolute difference of the correlation coefficients of all pairs of cells that vary in the reference.

    Args:
        sample: (C + K, C + K) `correlation_sums` over all showers.
        reference: (C + K, C + K).
        n: Number of cells C.

    Returns:
        Between 0 and 2; NaN if fewer than two cells of the reference vary.
    """
    (r1, _), (r2, varies) = correlations(sample, n), correlations(reference, n)
    pairs = np.triu(np.outer(varies, varies), 1)
    return float(np.abs(r1 - r2)[pairs].mean()) if pairs.any() else float("nan")


def correlations_by_distance(
    total: Array, shape: tuple[int, int], *, periodic: bool = False
) -> tuple[Array, Array]:
    """Mean correlation of two cells of a layer against their distance along one axis, at distance 0 along the other.

    Args:
        total: (C + K, C + K) `correlation_sums` over all showers, C = n_x n_y.
        shape: (n_x, n_y).
        periodic: Whether the first axis is a circle, on which cells n_x - 1 apart are neighbours.

    Returns:
        Coefficients at distances of 1, 2, ... cells, along x and along y, up to three quarters of the axis or half of
        the circle. NaN where no cell varies.
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
        furthest = size // 2 if wrapped else int(FAR * size)
        flat = apart.ravel()
        total_r, number = (
            np.bincount(flat, m.ravel(), size)[1 : furthest + 1].astype(np.float64) for m in (sums, counts)
        )
        curves.append(_ratio(total_r, number))
    return curves[0], curves[1]


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
    """Mean absolute difference of the correlation coefficients of all pairs of cells that vary in the reference.

    Sees a generator that makes the right mean shower of cells that fluctuate independently. Blind to: dependences that
    leave the linear correlations of the (logarithms of the) energies unchanged. Fluctuation alone gives about
    0.8 sqrt(1 / N1 + 1 / N2): compare with two halves of the reference.

    Args:
        sample: (N1, C) energies.
        reference: (N2, C) energies.
        rng: Draws the groups of the jackknife (those of the reference first).
        sample_conditions: (N1, K) conditions whose smooth influence is removed; default none.
        reference_conditions: (N2, K).
        sample_weights: (N1,), default ones; single negative weights are allowed.
        reference_weights: (N2,), default ones.
        scale: Energy above which the logarithm sets in; 0: no logarithm.

    Returns:
        Value from 0 to 2 (NaN if fewer than two cells vary) and its uncertainty, without unit.

    Raises:
        ValueError: If a sample is empty or not finite, or weights do not fit or have no positive sum.
    """

    def sums(cells: ArrayLike, conditions: ArrayLike | None, weights: ArrayLike | None) -> Array:
        n = len(np.asarray(cells))
        group = random_groups(n, rng)
        terms = smooth_terms(np.empty((n, 0)) if conditions is None else conditions)
        return correlation_sums(cells, terms, group, scale=scale, weights=weights)

    of_reference = sums(reference, reference_conditions, reference_weights)  # its groups are drawn first
    of_sample = sums(sample, sample_conditions, sample_weights)
    difference = functools.partial(correlation_difference, n=np.asarray(reference).shape[1])
    value, uncertainty = jackknife(difference, of_sample, of_reference)
    return float(value), float(uncertainty)
