"""Copies: are generated events copies of training events, or of each other?

Distances between distributions cannot tell: by them, the training sample itself would be the best generator. Distances
to the nearest neighbour can, when compared with those of independent events. `memorisation` compares the distances of
generated events to training events with those of test events to training events; `duplication` compares the distances
within the generated sample with those within the reference. Exact copies are found much faster, in any number of
dimensions, by comparing rows (`share_of_copies`, `share_of_repeats`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree
from scipy.stats import norm

from hepgan.metrics.efficiencies import efficiency
from hepgan.metrics.moments import Measurement, checked
from hepgan.metrics.roc import area_under_curve

__all__ = [
    "Memorisation",
    "duplication",
    "memorisation",
    "nearest_distances",
    "share_of_copies",
    "share_of_repeats",
]

Array = NDArray[np.float64]

TREE_DIMENSIONS = 8  # in more dimensions a k-d tree visits nearly every event: a matrix product is faster
QUANTILE = 0.01  # of the distances of independent events: nearer events are suspicious
QUERIES = 5000  # events whose nearest neighbours are searched: the cost is this times the number of events
_CHUNK = 1 << 25  # distances in memory at once (128 MB)
_HASHED = 4096  # events hashed at once


@dataclass(frozen=True)
class Memorisation:
    """Outcome of `memorisation` and of `duplication`.

    Attributes:
        copies: Share of the sample's events that equal another event to the last bit.
        expected_copies: The same share of independent events.
        closer: Share of the sample's events that are nearer to another event than the threshold, a low quantile of the
            distances of independent events.
        expected: Share of independent events below the threshold: the quantile, or more if distances are equal.
        excess: ``(closer - expected) / (1 - expected)``: 0 for independent events; the share of copies if copies are
            added to a sample that is otherwise right.
        distance_ratio: Median distance over the median distance of independent events: below 1 if the sample is
            nearer; None if more than half of the independent events have distance 0.
        nearer: Probability that an event of the sample is nearer than an independent event; 0.5 if they are alike.
        p_value: One-sided p-value of `nearer` (Mann-Whitney test): small if the sample is too near.
    """

    copies: Measurement
    expected_copies: Measurement
    closer: Measurement
    expected: float
    excess: Measurement
    distance_ratio: Measurement | None
    nearer: Measurement
    p_value: float


def _share(passed: NDArray[np.bool_], weights: Array) -> Measurement:
    """Weighted share of events that pass, with binomial uncertainty (`efficiency` in a single bin)."""
    ((value, uncertainty),) = efficiency(passed, np.zeros(len(passed)), np.array([0.0, 1.0]), weights=weights)
    return float(value), float(uncertainty)


def _same_columns(**samples: Array) -> None:
    """Check that all samples (N, F) have the same number of columns."""
    widths = {name: x.shape[1] for name, x in samples.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(f"features: expected the same number of columns in all samples, got {widths}")


def _row_hashes(values: Array) -> NDArray[np.uint64]:
    """64-bit hashes (N,) of rows (N, F), equal for equal rows; a million different rows collide with chance 1e-7."""
    odd = np.random.default_rng(0).integers(2**63, size=(2, values.shape[1]), dtype=np.uint64) * 2 + 1
    hashes = np.empty(len(values), np.uint64)
    for start in range(0, len(values), _HASHED):
        bits = (values[start : start + _HASHED] + 0.0).view(np.uint64)  # + 0: -0 equals 0
        bits ^= bits >> np.uint64(32)  # the low bits of numbers that were single precision are zero
        bits *= odd[0]
        bits ^= bits >> np.uint64(29)
        bits *= odd[1]
        hashes[start : start + _HASHED] = bits.sum(axis=1)
    return hashes


def share_of_copies(
    sample: ArrayLike, training: ArrayLike, *, sample_weights: ArrayLike | None = None
) -> Measurement:
    """Share of a sample's events that equal a training event in every column, to the last bit.

    Compare with the value of a test sample: 0 for continuous features, more where point masses fill all features
    (empty showers). A copy that went through a change of units or of precision is not equal any more; `memorisation`
    finds it. Cost: sorting, 1 s for 100,000 events of 504 cells in either sample.

    Args:
        sample: (N1, F).
        training: (N2, F) events that the generator was trained on; their weights play no role.
        sample_weights: (N1,), default ones; single negative weights are allowed.

    Returns:
        Share from 0 to 1 (beyond with negative weights) and binomial uncertainty, as in `efficiency`.

    Raises:
        ValueError: If a sample is empty or not finite, its weights have no positive sum, or the numbers of columns
            differ.
    """
    x1, w1 = checked(sample, sample_weights, name="sample", ndim=2)
    x2, _ = checked(training, None, name="training", ndim=2)
    _same_columns(sample=x1, training=x2)
    return _share(np.isin(_row_hashes(x1), _row_hashes(x2)), w1)


def share_of_repeats(sample: ArrayLike, *, sample_weights: ArrayLike | None = None) -> Measurement:
    """Share of a sample's events that equal an earlier event of the sample in every column, to the last bit.

    Args:
        sample: (N, F).
        sample_weights: (N,), default ones; single negative weights are allowed. An event of weight 2 is one event, not
            a repetition.

    Returns:
        Share from 0 to 1 (beyond with negative weights) and binomial uncertainty, as in `efficiency`.

    Raises:
        ValueError: If the sample is empty or not finite, or its weights have no positive sum.
    """
    x, w = checked(sample, sample_weights, name="sample", ndim=2)
    repeated = np.ones(len(x), bool)
    repeated[np.unique(_row_hashes(x), return_index=True)[1]] = False
    return _share(repeated, w)


def nearest_distances(queries: ArrayLike, base: ArrayLike, *, within: bool = False) -> Array:
    """Euclidean distance of each query to the nearest event of a base sample.

    Exact, by a k-d tree, for up to 8 features. For more, the neighbour is chosen by distances in single precision
    (errors of 3e-4 of the distance of an event from zero) and its distance is computed in double precision: a copy has
    distance 0. Cost: 5000 queries among 100,000 events take 1 s for 35 features and 8 s for 504 (one thread).

    Args:
        queries: (M, F).
        base: (N, F).
        within: The queries are the first M events of the base, and an event is not its own neighbour.

    Returns:
        (M,) distances, in the unit of the features.

    Raises:
        ValueError: If a sample is empty or not finite, the numbers of columns differ, or there is no neighbour.
    """
    asked, _ = checked(queries, None, name="queries", ndim=2)
    events, _ = checked(base, None, name="base", ndim=2)
    _same_columns(queries=asked, base=events)
    if within and len(events) < 2:
        raise ValueError("base: expected at least two events, got one; an event is not its own neighbour")
    if events.shape[1] <= TREE_DIMENSIONS:
        distances, _ = cKDTree(events).query(asked, k=[2 if within else 1])
        result: Array = distances[:, 0]
        return result
    # |b|^2 / 2 - q b, of a query q and an event b, is smallest where the distance is
    table = np.empty((len(events), events.shape[1] + 1), np.float32)
    np.negative(events, out=table[:, :-1], casting="same_kind")
    table[:, -1] = 0.5 * np.einsum("ij,ij->i", events, events)
    block = max(1, _CHUNK // len(events))
    result = np.empty(len(asked))
    for start in range(0, len(asked), block):
        part = asked[start : start + block]
        scores = np.column_stack([part, np.ones(len(part))]).astype(np.float32) @ table.T
        if within:
            here = np.arange(len(part))
            scores[here, start + here] = np.inf
        nearest = events[scores.argmin(axis=1)]
        result[start : start + block] = np.sqrt(np.square(part - nearest).sum(axis=1))
    return result


def _quantile(values: Array, weights: Array, level: float) -> float:
    """Smallest value up to which the weights add up to a share (level) of their sum."""
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    return float(values[order][np.argmax(cumulative >= level * cumulative[-1])])


@dataclass(frozen=True)
class _Neighbours:
    """Distances (N,) of events to their nearest neighbours, weights (N,) of these events, and share of copies."""

    distances: Array
    weights: Array
    copies: Measurement


def _compared(
    sample: _Neighbours,
    independent: _Neighbours,
    *,
    quantile: float,
    inflation: float,
    n_bootstrap: int,
    rng: np.random.Generator,
) -> Memorisation:
    """Compare the neighbours of a sample with those of independent events; `inflation` multiplies uncertainties."""
    (d1, w1), (d2, w2) = ((n.distances, n.weights) for n in (sample, independent))
    threshold = _quantile(d2, w2, quantile)
    below, expected = _share(d1 <= threshold, w1), _share(d2 <= threshold, w2)
    closer = below[0], inflation * math.hypot(below[1], expected[1])
    rest = 1 - expected[0]
    excess = ((closer[0] - expected[0]) / rest, closer[1] / rest) if rest > 0 else (0.0, 0.0)

    def ratio(weights1: Array, weights2: Array) -> float | None:
        median = _quantile(d2, weights2, 0.5)
        return _quantile(d1, weights1, 0.5) / median if median > 0 else None

    replicas = []
    for _ in range(n_bootstrap):
        weights2, weights1 = (w * rng.poisson(1.0, len(w)) for w in (w2, w1))
        if weights1.sum() > 0 and weights2.sum() > 0:
            replicas.append(ratio(weights1, weights2))
    value = ratio(w1, w2)
    defined = [r for r in replicas if r is not None]
    distance_ratio = None
    if value is not None:
        distance_ratio = value, inflation * float(np.std(defined)) if defined else 0.0
    # P(independent > sample): as scores, the distances of the independent events take the role of the sample
    area, error = area_under_curve(d2, d1, sample_weights=w2, reference_weights=w1)
    error *= inflation
    p_value = float(norm.sf((area - 0.5) / error)) if error > 0 else float(area <= 0.5)
    return Memorisation(
        copies=sample.copies,
        expected_copies=independent.copies,
        closer=closer,
        expected=expected[0],
        excess=excess,
        distance_ratio=distance_ratio,
        nearer=(area, error),
        p_value=p_value,
    )


def _check_settings(quantile: float, queries: int) -> None:
    """Check the settings that `memorisation` and `duplication` share."""
    if not 0 < quantile < 1:
        raise ValueError(
            f"quantile: expected a number between 0 and 1, got {quantile}; {QUANTILE} is a good one"
        )
    if queries < 2:
        raise ValueError(f"queries: expected at least 2, got {queries}; {QUERIES} is a good number")


def _spread(values: Array) -> Array:
    """Standard deviations (F,) of (N, F) values; 1 for a constant feature, whose differences then count as they are."""
    deviation: Array = values.std(axis=0)
    return np.where(deviation > 0, deviation, 1.0)


def memorisation(
    sample: ArrayLike,
    test: ArrayLike,
    *,
    training: ArrayLike,
    rng: np.random.Generator,
    sample_weights: ArrayLike | None = None,
    test_weights: ArrayLike | None = None,
    quantile: float = QUANTILE,
    queries: int = QUERIES,
    n_bootstrap: int = 50,
) -> Memorisation:
    """Nearest-neighbour distances of generated events to training events, compared with those of test events.

    An independent event of the same distribution is as far from the training events as a test event is; a copy is
    nearer. If part of the sample is copied, `closer` and `excess` rise: with 5000 queries, 1 % of copies are three
    standard deviations. If the whole sample is nearer, `distance_ratio`, `nearer` and the p-value show it, but only for
    a sample that is otherwise right: a bad generator is FAR from the training events, its p-value is near 1, and its
    copies show in `excess` alone. Blind to: copies of properties that are not among the features, and variations of
    training events that are farther away than test events are. A generator that follows the density of the training
    sample too closely is suspicious only if it is nearer than the test sample.

    Features are divided by their standard deviation in the training sample. Cost: `nearest_distances`, twice.

    Args:
        sample: (N1, F) features of generated events, at conditions distributed as those of the test events.
        test: (N2, F) features of independent events of the same distribution as the training events: the reference.
        training: (N0, F) features of the events that the generator was trained on. Their weights play no role: an
            event is remembered whatever its weight.
        rng: Draws the queries and the bootstrap replicas (those of the test events first).
        sample_weights: (N1,), default ones; single negative weights are allowed. With fewer queries than events, the
            queries are drawn without regard to weights, which then count in all shares.
        test_weights: (N2,), default ones.
        quantile: Quantile of the distances of the test events that is the threshold of `closer`.
        queries: Largest number of events of either sample whose distance is computed.
        n_bootstrap: Replicas for the uncertainty of the ratio of medians.

    Returns:
        Shares of near events, their expectation and the p-value; `copies` are computed from all events.

    Raises:
        ValueError: If a sample is empty or not finite, weights have no positive sum, the numbers of columns differ, or
            the quantile is not between 0 and 1.

    References:
        Meehan, Chaudhuri and Dasgupta, arXiv:2004.05675 (data copying: a Mann-Whitney test of these distances).
    """
    _check_settings(quantile, queries)
    weighted_sample = checked(sample, sample_weights, name="sample", ndim=2)
    weighted_test = checked(test, test_weights, name="test", ndim=2)
    base, _ = checked(training, None, name="training", ndim=2)
    _same_columns(sample=weighted_sample[0], test=weighted_test[0], training=base)
    known = _row_hashes(base)
    scale = _spread(base)
    scaled = base / scale

    def neighbours(x: Array, w: Array) -> _Neighbours:
        asked = rng.permutation(len(x))[:queries]
        distances = nearest_distances(x[asked] / scale, scaled)
        return _Neighbours(distances, w[asked], _share(np.isin(_row_hashes(x), known), w))

    independent = neighbours(*weighted_test)  # its queries are drawn first
    return _compared(
        neighbours(*weighted_sample),
        independent,
        quantile=quantile,
        inflation=1.0,
        n_bootstrap=n_bootstrap,
        rng=rng,
    )


def duplication(
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    rng: np.random.Generator,
    sample_weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
    quantile: float = QUANTILE,
    queries: int = QUERIES,
    n_bootstrap: int = 50,
) -> Memorisation:
    """Nearest-neighbour distances within a sample, compared with those within a reference of the same size.

    Sees a generator that repeats itself: exact and near duplicates, and, by the birthday paradox, a small number of
    different events. `copies` counts each repetition once; in `closer` and `excess` both twins count, so that 5 % of
    repetitions give an excess of 10 %. Blind to: copies of training events (`memorisation`).

    The distances depend on the number of events, so the larger sample is cut at random to the size of the smaller.
    Small distances come in pairs, which makes the uncertainties up to sqrt(2) larger if all events are queried.
    Features are divided by their standard deviation in the reference. Cost: `nearest_distances`, twice.

    Args:
        sample: (N1, F) features.
        reference: (N2, F) features.
        rng: Draws the events and the bootstrap replicas (those of the reference first).
        sample_weights: (N1,), default ones; single negative weights are allowed. Weights count in shares, not in
            distances: an event of weight 2 is one event, but an event written twice is a duplicate.
        reference_weights: (N2,), default ones.
        quantile: Quantile of the distances within the reference that is the threshold of `closer`.
        queries: Largest number of events of either sample whose distance is computed.
        n_bootstrap: Replicas for the uncertainty of the ratio of medians.

    Returns:
        Shares of near events, their expectation and the p-value.

    Raises:
        ValueError: As `memorisation`, or if a sample has one event only.

    References:
        Arora and Zhang, arXiv:1706.08224 (the birthday paradox test).
    """
    _check_settings(quantile, queries)
    weighted_sample = checked(sample, sample_weights, name="sample", ndim=2)
    weighted_reference = checked(reference, reference_weights, name="reference", ndim=2)
    _same_columns(sample=weighted_sample[0], reference=weighted_reference[0])
    size = min(len(weighted_sample[0]), len(weighted_reference[0]))
    asked = min(size, queries)
    scale = _spread(weighted_reference[0])

    def neighbours(x: Array, w: Array) -> _Neighbours:
        chosen = rng.permutation(len(x))[:size]
        kept = np.sort(chosen)  # in the order of the file: of equal events the first is no repetition
        copies = share_of_repeats(x[kept], sample_weights=w[kept])
        scaled = x[chosen] / scale
        return _Neighbours(nearest_distances(scaled[:asked], scaled, within=True), w[chosen][:asked], copies)

    independent = neighbours(*weighted_reference)  # its events are drawn first
    return _compared(
        neighbours(*weighted_sample),
        independent,
        quantile=quantile,
        inflation=math.sqrt(1 + asked / size),
        n_bootstrap=n_bootstrap,
        rng=rng,
    )
