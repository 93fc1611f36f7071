"""Weighted histograms of one observable, and the separation power of two of them.

The bins are chosen from the reference alone, so that many samples can be compared with one reference. Values outside
the edges count in the first or last bin: nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hepgan.metrics.moments import Measurement, checked, positive

__all__ = [
    "bin_number",
    "histogram",
    "histogram_pair",
    "poisson_replicas",
    "profile",
    "quantile_edges",
    "quantiles",
    "separation_power",
    "separations_of_parts",
    "uniform_edges",
]

Edges = NDArray[np.float64]

UNIFORM_COVERAGE = (0.002, 0.998)  # quantiles of the reference between which uniform bins lie
UNIFORM_MARGIN = 0.1  # extension of this range on either side, relative to its length


def quantiles(values: Edges, weights: Edges, levels: Edges) -> Edges:
    """Quantiles (L,) of values (N,) with weights (N,) at levels (L,) from 0 to 1; negative weights count as zero."""
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(np.maximum(weights[order], 0.0))
    place = np.searchsorted(cumulative, levels * cumulative[-1], side="left")
    result: Edges = values[order][np.minimum(place, len(values) - 1)]
    return result


def quantile_edges(reference: ArrayLike, bins: int, *, weights: ArrayLike | None = None) -> Edges:
    """Edges of bins with equal shares of the reference.

    A value that fills more than one bin by itself (a point mass, such as the exact zeros of an empty layer) gets a
    narrow bin of its own, so that a sample that smears it is seen.

    Args:
        reference: (N,).
        bins: Number of bins; point masses may change it.
        weights: (N,), default ones; negative weights count as zero, for the edges only.

    Returns:
        At least two increasing edges, in the unit of the reference.

    Raises:
        ValueError: If the sample is empty or not finite, or its weights have no positive sum.
    """
    values, w = checked(reference, weights, name="reference")
    edges = quantiles(values, w, np.linspace(0, 1, bins + 1))
    repeated = np.unique(edges[1:][edges[1:] == edges[:-1]])
    edges = np.unique(np.concatenate([edges, np.nextafter(repeated, np.inf)]))
    return edges if len(edges) > 1 else np.array([edges[0], np.nextafter(edges[0], np.inf)])


def uniform_edges(reference: ArrayLike, bins: int, *, weights: ArrayLike | None = None) -> Edges:
    """Edges of equally wide bins over the central 99.6 % of the reference and 10 % more on either side.

    Args:
        reference: (N,).
        bins: Number of bins.
        weights: (N,), default ones; negative weights count as zero.

    Returns:
        ``bins + 1`` edges, in the unit of the reference.

    Raises:
        ValueError: If the sample is empty or not finite, or its weights have no positive sum.
    """
    values, w = checked(reference, weights, name="reference")
    low, high = quantiles(values, w, np.asarray(UNIFORM_COVERAGE))
    smallest, largest = values.min(), values.max()
    margin = UNIFORM_MARGIN * (high - low)
    low, high = max(low - margin, smallest), min(high + margin, largest)
    if high <= low:
        pad = 0.5 * abs(low) or 0.5
        low, high = low - pad, high + pad
    return np.linspace(low, high, bins + 1)


def bin_number(values: Edges, edges: Edges) -> NDArray[np.intp]:
    """Number (N,) of the bin of each value; bins include their left edge, values outside are in the first or last."""
    return np.searchsorted(edges[1:-1], values, side="right")


def _sums(number: NDArray[np.intp], weights: Edges, n: int) -> tuple[Edges, Edges]:
    """Sums of weights and of squared weights, (n,) each, of events in given bins (N,)."""
    content, variance = (np.bincount(number, u, n).astype(np.float64) for u in (weights, weights**2))
    return content, variance


def histogram(values: ArrayLike, edges: Edges, *, weights: ArrayLike | None = None) -> tuple[Edges, Edges]:
    """Weighted histogram.

    Args:
        values: (N,).
        edges: (B + 1,), increasing; values outside count in the first or last bin.
        weights: (N,), default ones; single negative weights are allowed.

    Returns:
        Contents (B,) and variances (B,): sums of weights and of squared weights in each bin.

    Raises:
        ValueError: If the sample is empty or not finite, or its weights have no positive sum.
    """
    x, w = checked(values, weights, name="sample")
    return _sums(bin_number(x, edges), w, len(edges) - 1)


def profile(
    values: ArrayLike, condition: ArrayLike, edges: Edges, *, weights: ArrayLike | None = None
) -> Edges:
    r"""Weighted mean :math:`m = \sum w x / \sum w` in each bin of a condition.

    Args:
        values: (N,).
        condition: (N,).
        edges: (B + 1,), increasing; values outside count in the first or last bin.
        weights: (N,), default ones; single negative weights are allowed.

    Returns:
        (B, 2) means and uncertainties :math:`\sqrt{\sum w^2 (x - m)^2} / \sum w`, in the unit of the values; NaN where
        the weights have no positive sum.

    Raises:
        ValueError: If the sample is empty or not finite, or its weights have no positive sum.
    """
    x, w = checked(values, weights, name="sample")
    n, number = len(edges) - 1, bin_number(checked(condition, None, name="condition")[0], edges)
    sums = np.bincount(number, w, n)
    sums = np.where(sums > 0, sums, np.nan)
    means = np.bincount(number, w * x, n) / sums
    return np.column_stack([means, np.sqrt(np.bincount(number, (w * (x - means[number])) ** 2, n)) / sums])


def _not_negative(h1: Edges, v1: Edges, h2: Edges, v2: Edges) -> tuple[Edges, Edges, Edges, Edges]:
    """Contents h and variances v of two histograms in which each bin that is negative in one is joined in both."""
    begins = np.arange(len(h1))
    while True:
        joined = tuple(np.add.reduceat(x, begins) for x in (h1, v1, h2, v2))
        negative = (joined[0] < 0) | (joined[2] < 0)
        if not negative.any():
            return joined[0], joined[1], joined[2], joined[3]
        # join with the bin before it, the first bin with the second
        begins = np.delete(begins, max(int(negative.argmax()), 1))


def histogram_pair(
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    sample_weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
    bins: int = 40,
    edges: Edges | None = None,
) -> tuple[Edges, Edges, Edges, Edges]:
    """Histograms of both samples in the same bins, none of which is negative.

    Where negative weights make a bin of either sample negative, it is joined with its neighbour in both samples. Less
    is seen with fewer bins, but the contents remain those of distributions.

    Args:
        sample: (N1,).
        reference: (N2,).
        sample_weights: (N1,), default ones; single negative weights are allowed.
        reference_weights: (N2,), default ones.
        bins: Number of quantile bins of the reference, if no edges are given.
        edges: (B + 1,) edges to use instead, increasing.

    Returns:
        Contents and variances of the sample, contents and variances of the reference, (B,) each.

    Raises:
        ValueError: If a sample is empty or not finite, or its weights have no positive sum.
    """
    if edges is None:
        edges = quantile_edges(reference, bins, weights=reference_weights)
    of_sample = histogram(sample, edges, weights=sample_weights)
    return _not_negative(*of_sample, *histogram(reference, edges, weights=reference_weights))


def poisson_replicas(content: Edges, variance: Edges, number: int, rng: np.random.Generator) -> Edges:
    """Draw bootstrap replicas of the contents of a histogram.

    The Poisson bootstrap of events, applied to bins: a bin of weighted events fluctuates like a scaled Poisson number
    of the same mean and variance (exact for equal weights).

    Args:
        content: (B,), not negative.
        variance: (B,) sums of squared weights.
        number: Number of replicas.
        rng: Draws the replicas.

    Returns:
        (number, B) contents.

    References:
        Bohm and Zech, arXiv:1309.1287.
    """
    scale = np.divide(variance, content, out=np.ones_like(content), where=content > 0)
    return rng.poisson(np.maximum(content, 0.0) / scale, (number, len(content))).astype(np.float64) * scale


def _separation(sample: Edges, reference: Edges) -> Edges:
    """Separation power (...) of contents (..., B)."""
    h1, h2 = (
        content / np.maximum(content.sum(-1, keepdims=True), np.finfo(float).tiny)
        for content in (sample, reference)
    )
    both = h1 + h2
    result: Edges = 0.5 * np.divide((h1 - h2) ** 2, both, out=np.zeros_like(both), where=both > 0).sum(-1)
    return result


def separation_power(
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    rng: np.random.Generator,
    sample_weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
    bins: int = 40,
    edges: Edges | None = None,
    n_bootstrap: int = 50,
) -> Measurement:
    r"""Separation power (triangular discrimination) of two samples of one observable.

    :math:`\frac{1}{2} \sum_i \frac{(h_{1i} - h_{2i})^2}{h_{1i} + h_{2i}}` with unit-sum histograms :math:`h`. The order
    of the bins plays no role. Statistical fluctuation alone gives about B/4 (1/N1 + 1/N2): compare with the value
    between two halves of the reference.

    Args:
        sample: (N1,).
        reference: (N2,).
        rng: Draws the bootstrap replicas (those of the reference first).
        sample_weights: (N1,), default ones; where negative weights make a bin negative, it is joined with its
            neighbour, which sees less but keeps the value between 0 and 1.
        reference_weights: (N2,), default ones.
        bins: Number of quantile bins of the reference, if no edges are given.
        edges: (B + 1,) edges to use instead, increasing.
        n_bootstrap: Replicas for the uncertainty; 0 gives an uncertainty of 0.

    Returns:
        Value, from 0 (equal histograms) to 1 (no overlap), and bootstrap uncertainty.

    Raises:
        ValueError: If a sample is empty or not finite, or its weights have no positive sum.

    References:
        CaloChallenge, arXiv:2410.21611, section on one-dimensional histograms.
    """
    h1, v1, h2, v2 = histogram_pair(
        sample,
        reference,
        sample_weights=sample_weights,
        reference_weights=reference_weights,
        bins=bins,
        edges=edges,
    )
    reference_replicas = poisson_replicas(h2, v2, n_bootstrap, rng)  # drawn first
    replicas = _separation(poisson_replicas(h1, v1, n_bootstrap, rng), reference_replicas)
    return float(_separation(h1, h2)), float(replicas.std()) if n_bootstrap else 0.0


def separations_of_parts(
    values: ArrayLike,
    parts: Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]],
    edges: Edges,
    *,
    weights: ArrayLike | None = None,
) -> list[float]:
    """Values of `separation_power` between pairs of parts of one sample, which is binned only once.

    Args:
        values: (N,).
        parts: Pairs of arrays of indices; which part comes first plays no role.
        edges: (B + 1,), increasing.
        weights: (N,), default ones; single negative weights are allowed.

    Returns:
        The separation power of each pair.

    Raises:
        ValueError: If the sample is empty or not finite, or the weights of a part have no positive sum.
    """
    x, w = checked(values, weights, name="sample")
    number, n = bin_number(x, edges), len(edges) - 1
    separations = []
    for pair in parts:
        (h1, v1), (h2, v2) = (_sums(number[part], positive(w[part], name="part"), n) for part in pair)
        h1, _, h2, _ = _not_negative(h1, v1, h2, v2)
        separations.append(float(_separation(h1, h2)))
    return separations
