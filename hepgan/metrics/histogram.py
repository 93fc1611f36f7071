"""Distances between binned, weighted distributions of one observable.

The binning is chosen from the reference alone, so that a table of many samples against one reference is
consistent. Values outside the edges are counted in the first and last bin: nothing is lost.
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

UNIFORM_COVERAGE = (0.002, 0.998)  # the range of uniform bins: these quantiles of the reference
UNIFORM_MARGIN = 0.1  # and this part of it more on either side


def quantiles(values: Edges, weights: Edges, levels: Edges) -> Edges:
    """Values at (L,) levels of the cumulative weights of (N,) values; negative weights count as zero."""
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(np.maximum(weights[order], 0.0))
    place = np.searchsorted(cumulative, levels * cumulative[-1], side="left")
    result: Edges = values[order][np.minimum(place, len(values) - 1)]
    return result


def quantile_edges(reference: ArrayLike, bins: int, *, weights: ArrayLike | None = None) -> Edges:
    """Edges between which the reference has equal shares.

    A value that fills more than one bin by itself (a point mass, such as the exact zeros of an empty layer)
    gets a narrow bin of its own, so a sample that smears it is seen. Negative weights count as zero here:
    they choose the edges only.

    Args:
        reference: (N,).
        bins: Wanted number of bins; point masses may change it.
        weights: (N,), default ones.

    Returns:
        At least two increasing edges.
    """
    values, w = checked(reference, weights, name="reference")
    edges = quantiles(values, w, np.linspace(0, 1, bins + 1))
    repeated = np.unique(edges[1:][edges[1:] == edges[:-1]])
    edges = np.unique(np.concatenate([edges, np.nextafter(repeated, np.inf)]))
    return edges if len(edges) > 1 else np.array([edges[0], np.nextafter(edges[0], np.inf)])


def uniform_edges(reference: ArrayLike, bins: int, *, weights: ArrayLike | None = None) -> Edges:
    """Equally wide bins over the central 99.6 % of the reference and 10 % more on either side.

    Args:
        reference: (N,).
        bins: Number of bins.
        weights: (N,), default ones.

    Returns:
        ``bins + 1`` edges.
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
    """In which bin each of (N,) values is: bins include their left edge, what lies outside is in the first or last."""
    return np.searchsorted(edges[1:-1], values, side="right")


def _sums(place: NDArray[np.intp], weights: Edges, n: int) -> tuple[Edges, Edges]:
    """Sums of weights and of squared weights of what is in each of `n` bins."""
    content, variance = (np.bincount(place, u, n).astype(np.float64) for u in (weights, weights**2))
    return content, variance


def histogram(values: ArrayLike, edges: Edges, *, weights: ArrayLike | None = None) -> tuple[Edges, Edges]:
    """Sums of weights and of squared weights in each bin (see `bin_number`).

    Args:
        values: (N,).
        edges: (B + 1,), increasing.
        weights: (N,), default ones.

    Returns:
        Two arrays (B,): contents and variances.
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
        edges: (B + 1,), increasing; what lies outside goes to the first and last bin.
        weights: (N,), default ones.

    Returns:
        (B, 2) means and uncertainties :math:`\sqrt{\sum w^2 (x - m)^2} / \sum w`; NaN where the weights have no
        positive sum.

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
    """The same histograms with each bin that is negative in either joined with its neighbour in both."""
    begins = np.arange(len(h1))
    while True:
        joined = tuple(np.add.reduceat(x, begins) for x in (h1, v1, h2, v2))
        negative = (joined[0] < 0) | (joined[2] < 0)
        if not negative.any():
            return joined[0], joined[1], joined[2], joined[3]
        begins = np.delete(begins, max(int(negative.argmax()), 1))  # with the bin before, or the second


def histogram_pair(
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    sample_weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
    bins: int = 40,
    edges: Edges | None = None,
) -> tuple[Edges, Edges, Edges, Edges]:
    """Both samples in the same bins, none of them negative.

    Where negative weights make a bin of either sample negative, it is joined with its neighbour in both: that sees
    less, and keeps the contents what a distance between distributions needs.

    Args:
        reference: (N1,).
        sample: (N2,).
        reference_weights: (N1,), default ones.
        sample_weights: (N2,), default ones.
        bins: Number of quantile bins of the reference, when no edges are given.
        edges: (B + 1,) edges to use instead, increasing.

    Returns:
        Contents and variances of the reference, contents and variances of the sample, (B,) each.

    Raises:
        ValueError: If a sample is empty or not finite, or its weights have no positive sum.
    """
    if edges is None:
        edges = quantile_edges(reference, bins, weights=reference_weights)
    first = histogram(reference, edges, weights=reference_weights)
    return _not_negative(*first, *histogram(sample, edges, weights=sample_weights))


def poisson_replicas(content: Edges, variance: Edges, number: int, rng: np.random.Generator) -> Edges:
    """Bootstrap replicas (number, B) of a histogram.

    The Poisson bootstrap of events, done on the bins: a bin of weighted events fluctuates as a scaled Poisson
    number with the same mean and variance (exact for equal weights; Bohm and Zech, arXiv:1309.1287).

    Args:
        content: (B,), not negative.
        variance: (B,) sums of squared weights.
        number: How many.
        rng: Draws them.
    """
    scale = np.divide(variance, content, out=np.ones_like(content), where=content > 0)
    return rng.poisson(np.maximum(content, 0.0) / scale, (number, len(content))).astype(np.float64) * scale


def _separation(first: Edges, second: Edges) -> Edges:
    h1 = first / np.maximum(first.sum(-1, keepdims=True), np.finfo(float).tiny)
    h2 = second / np.maximum(second.sum(-1, keepdims=True), np.finfo(float).tiny)
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

    :math:`\frac{1}{2} \sum_i \frac{(h_{1i} - h_{2i})^2}{h_{1i} + h_{2i}}` with unit-sum histograms: 0 for
    equal histograms, 1 without overlap. Statistical fluctuation alone gives about B/4 (1/N1 + 1/N2): compare
    with the value between two halves of the reference.

    Args:
        reference: (N1,).
        sample: (N2,).
        rng: Draws the bootstrap replicas.
        reference_weights: (N1,), default ones; where negative weights make a bin negative, it is joined with its
            neighbour, which sees less but stays between 0 and 1.
        sample_weights: (N2,), default ones.
        bins: Number of quantile bins of the reference, when no edges are given.
        edges: (B + 1,) edges to use instead.
        n_bootstrap: Replicas for the uncertainty; 0 gives an uncertainty of 0.

    Returns:
        Value and bootstrap uncertainty.

    Raises:
        ValueError: If a sample is empty or not finite, or its weights have no positive sum.

    References:
        CaloChallenge, arXiv:2410.21611, section on one-dimensional histograms.
    """
    h1, v1, h2, v2 = histogram_pair(
        sample,
        reference,
        reference_weights=reference_weights,
        sample_weights=sample_weights,
        bins=bins,
        edges=edges,
    )
    replicas = _separation(
        poisson_replicas(h1, v1, n_bootstrap, rng), poisson_replicas(h2, v2, n_bootstrap, rng)
    )
    return float(_separation(h1, h2)), float(replicas.std()) if n_bootstrap else 0.0


def separations_of_parts(
    values: ArrayLike,
    parts: Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]],
    edges: Edges,
    *,
    weights: ArrayLike | None = None,
) -> list[float]:
    """The value of `separation_power` between pairs of parts of one sample, which is binned once for all.

    Args:
        values: (N,).
        parts: Pairs of arrays of indices.
        edges: (B + 1,), increasing.
        weights: (N,), default ones.

    Raises:
        ValueError: If the sample is empty or not finite, or the weights of a part have no positive sum.
    """
    x, w = checked(values, weights, name="sample")
    place, n = bin_number(x, edges), len(edges) - 1
    found = []
    for pair in parts:
        (h1, v1), (h2, v2) = (_sums(place[part], positive(w[part], name="part"), n) for part in pair)
        first, _, second, _ = _not_negative(h1, v1, h2, v2)
        found.append(float(_separation(first, second)))
    return found
