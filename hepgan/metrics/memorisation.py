"""Memorisation: are generated events copies of training events, or of each other?

A distance between distributions does not tell: the training sample itself would be the best generator. What tells is
the distance to the nearest neighbour, compared with what independent events have: of generated events to training
events against that of test events to training events (`memorisation`), and within the generated sample against within
the reference (`duplication`). Exact copies are found in any number of dimensions, and at once, by comparing rows
(`share_of_copies`, `share_of_repeats`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree
from scipy.stats import norm

from hepgan.metrics.classifier import area_under_curve
from hepgan.metrics.efficiency import efficiency
from hepgan.metrics.moments import Measurement, checked

__all__ = [
    "Memorisation",
    "duplication",
    "memorisation",
    "nearest_distances",
    "share_of_copies",
    "share_of_repeats",
]

Array = NDArray[np.float64]

TREE_DIMENSIONS = (
    8  # a k-d tree visits nearly every event in more dimensions: a matrix product is faster there
)
QUANTILE = 0.01  # of the expected distances: what is nearer is suspicious
QUERIES = 5000  # events whose neighbours are looked for: the cost is this times the number of events
_CHUNK = 1 << 25  # distances in memory at once (128 MB)
_ROWS = 4096  # rows hashed at once


@dataclass(frozen=True)
class Memorisation:
    """Outcome of `memorisation` and of `duplication`.

    Attributes:
        copies: Share of the sample's events that equal another to the last bit.
        expected_copies: The same of independent events.
        closer: Share of the sample's events nearer to another than the threshold, a low quantile of the distances
            of independent events.
        expected: Share of the independent events that are: the quantile, or more if distances are exactly equal.
        excess: ``(closer - expected) / (1 - expected)``: 0 for independent events; the share of copies if
            copies are added to a sample that is right otherwise.
        distance_ratio: Median distance over that of independent events: below 1 if the sample is nearer; None if
            more than half of the independent events have distance 0.
        nearer: Probability that an event of the sample is nearer than an independent one, 0.5 if they are alike.
        p_value: One-sided, of `nearer` (Mann and Whitney): small if the sample is too near.
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
    ((value, uncertainty),) = efficiency(passed, np.zeros(len(passed)), np.array([0.0, 1.0]), weights=weights)
    return float(value), float(uncertainty)


def _same_columns(**samples: Array) -> None:
    widths = {name: x.shape[1] for name, x in samples.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(f"features: expected the same number of columns in all samples, got {widths}")


def _row_hashes(values: Array) -> NDArray[np.uint64]:
    """(N,) numbers of 64 bits, equal for equal rows; two of a million different rows agree with chance 1e-7."""
    odd = np.random.default_rng(0).integers(2**63, size=(2, values.shape[1]), dtype=np.uint64) * 2 + 1
    hashes = np.empty(len(values), np.uint64)
    for start in range(0, len(values), _ROWS):
        bits = (values[start : start + _ROWS] + 0.0).view(np.uint64)  # + 0: -0 equals 0
        bits ^= bits >> np.uint64(32)  # the low bits of numbers that were single precision are zero
        bits *= odd[0]
        bits ^= bits >> np.uint64(29)
        bits *= odd[1]
        hashes[start : start + _ROWS] = bits.sum(axis=1)
    return hashes


def share_of_copies(
    training: ArrayLike, sample: ArrayLike, *, sample_weights: ArrayLike | None = None
) -> Measurement:
    """Share of a sample's events that equal a training event in every column, to the last bit.

    Expected is what a test sample gives: 0 for continuous features, more where point masses fill all of them
    (empty showers). A copy that went through a change of units or of precision is no longer equal; `memorisation`
    finds it. Cost: sorting; 1 s for twice 100,000 events of 504 cells.

    Args:
        training: (N1, F).
        sample: (N2, F).
        sample_weights: (N2,), default ones; single negative weights are allowed. Weights of the training events
            play no role.

    Returns:
        Share and binomial uncertainty, as in `efficiency`.

    Raises:
        ValueError: If a sample is empty or not finite, or the numbers of columns differ.
    """
    x, _ = checked(training, None, name="training", ndim=2)
    y, w = checked(sample, sample_weights, name="sample", ndim=2)
    _same_columns(training=x, sample=y)
    return _share(np.isin(_row_hashes(y), _row_hashes(x)), w)


def share_of_repeats(sample: ArrayLike, *, sample_weights: ArrayLike | None = None) -> Measurement:
    """Share of a sample's events that equal an earlier one of it in every column, to the last bit.

    Args:
        sample: (N, F).
        sample_weights: (N,), default ones; an event of weight 2 is one event and no repetition.

    Returns:
        Share and binomial uncertainty, as in `efficiency`.

    Raises:
        ValueError: If the sample is empty or not finite.
    """
    x, w = checked(sample, sample_weights, name="sample", ndim=2)
    repeated = np.ones(len(x), bool)
    repeated[np.unique(_row_hashes(x), return_index=True)[1]] = False
    return _share(repeated, w)


def nearest_distances(base: ArrayLike, queries: ArrayLike, *, within: bool = False) -> Array:
    """Euclidean distance of each query to the nearest event of a base sample.

    Up to 8 features by a k-d tree, exactly. Beyond, all distances are computed in single precision (3e-4 of the
    distance of an event from zero) to choose the neighbour, then its own in double precision: a copy has distance 0.
    Cost: 5000 queries among 100,000 events take 1 s for 35 features and 8 s for 504 (one thread).

    Args:
        base: (N, F).
        queries: (M, F).
        within: The queries are the first M events of the base, and an event is not its own neighbour.

    Returns:
        (M,).

    Raises:
        ValueError: If a sample is empty or not finite, or the numbers of columns differ, or there is no neighbour.
    """
    events, _ = checked(base, None, name="base", ndim=2)
    asked, _ = checked(queries, None, name="queries", ndim=2)
    _same_columns(base=events, queries=asked)
    if within and len(events) < 2:
        raise ValueError("base: expected at least two events, got one; an event is not its own neighbour")
    if events.shape[1] <= TREE_DIMENSIONS:
        distances, _ = cKDTree(events).query(asked, k=[2 if within else 1])
        result: Array = distances[:, 0]
        return result
    # |b|^2 / 2 - q b has its minimum where the distance has
    table = np.empty((len(events), events.shape[1] + 1), np.float32)
    np.negative(events, out=table[:, :-1], casting="same_kind")
    table[:, -1] = 0.5 * np.einsum("ij,ij->i", events, events)
    rows = max(1, _CHUNK // len(events))
    result = np.empty(len(asked))
    for start in range(0, len(asked), rows):
        part = asked[start : start + rows]
        scores = np.column_stack([part, np.ones(len(part))]).astype(np.float32) @ table.T
        if within:
            here = np.arange(len(part))
            scores[here, start + here] = np.inf
        nearest = events[scores.argmin(axis=1)]
        result[start : start + rows] = np.sqrt(np.square(part - nearest).sum(axis=1))
    return result


def _quantile(values: Array, weights: Array, level: float) -> float:
    """The first value below or at which the weights sum up to a level."""
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    return float(values[order][np.argmax(cumulative >= level * cumulative[-1])])


def _compared(
    expected: tuple[Array, Array],
    found: tuple[Array, Array],
    copies: tuple[Measurement, Measurement],
    *,
    quantile: float,
    inflation: float,
    n_bootstrap: int,
    rng: np.random.Generator,
) -> Memorisation:
    """Distances and weights of independent events and of the sample; `inflation` multiplies the uncertainties."""
    (d1, w1), (d2, w2) = expected, found
    threshold = _quantile(d1, w1, quantile)
    below, of_test = _share(d2 <= threshold, w2), _share(d1 <= threshold, w1)
    closer = below[0], inflation * math.hypot(below[1], of_test[1])
    rest = 1 - of_test[0]
    excess = ((closer[0] - of_test[0]) / rest, closer[1] / rest) if rest > 0 else (0.0, 0.0)

    def ratio(first: Array, second: Array) -> float | None:
        median = _quantile(d1, first, 0.5)
        return _quantile(d2, second, 0.5) / median if median > 0 else None

    replicas = []
    for _ in range(n_bootstrap):
        first, second = (w * rng.poisson(1.0, len(w)) for w in (w1, w2))
        if first.sum() > 0 and second.sum() > 0:
            replicas.append(ratio(first, second))
    value = ratio(w1, w2)
    spreads = [r for r in replicas if r is not None]
    distance_ratio = None
    if value is not None:
        distance_ratio = value, inflation * float(np.std(spreads)) if spreads else 0.0
    area, error = area_under_curve(d1, d2, reference_weights=w2, sample_weights=w1)
    error *= inflation
    p_value = float(norm.sf((area - 0.5) / error)) if error > 0 else float(area <= 0.5)
    return Memorisation(
        copies=copies[1],
        expected_copies=copies[0],
        closer=closer,
        expected=of_test[0],
        excess=excess,
        distance_ratio=distance_ratio,
        nearer=(area, error),
        p_value=p_value,
    )


def _check_quantile(quantile: float, queries: int) -> None:
    if not 0 < quantile < 1:
        raise ValueError(
            f"quantile: expected a number between 0 and 1, got {quantile}; {QUANTILE} is a good one"
        )
    if queries < 2:
        raise ValueError(f"queries: expected at least 2, got {queries}; {QUERIES} is a good number")


def _spread(values: Array) -> Array:
    """(F,) standard deviations; 1 for a constant feature, in which only a difference counts."""
    deviation: Array = values.std(axis=0)
    return np.where(deviation > 0, deviation, 1.0)


def memorisation(
    training: ArrayLike,
    test: ArrayLike,
    sample: ArrayLike,
    *,
    rng: np.random.Generator,
    test_weights: ArrayLike | None = None,
    sample_weights: ArrayLike | None = None,
    quantile: float = QUANTILE,
    queries: int = QUERIES,
    n_bootstrap: int = 50,
) -> Memorisation:
    """Nearest-neighbour distance of generated events to training events, against that of test events.

    An independent event of the same distribution is as far from the training events as a test event is; a copy is
    nearer. Copies of a part are seen in `closer` and `excess`: 1 % of them, with 5000 queries, at three standard
    deviations. `distance_ratio`, `nearer` and the p-value see a sample that is nearer as a whole, and only if it is
    right otherwise: a bad generator is FAR from the training events, its p-value is near 1, and its copies show in
    `excess` alone. Not seen: copies of what distinguishes events if features do not hold it, and a model that
    repeats what it learnt in other words. A generator that follows the training sample's density too closely is
    suspicious only when it is nearer than the test sample.

    Features are divided by their standard deviation in the training sample. Costs: see `nearest_distances`, twice.

    Args:
        training: (N0, F) features of the events that the generator was trained on. Their weights play no role: an
            event is remembered whatever its weight.
        test: (N1, F) of independent events of the same distribution.
        sample: (N2, F) of generated events, at conditions distributed as those of the test events.
        rng: Draws the queries and the bootstrap replicas.
        test_weights: (N1,), default ones; single negative weights are allowed.
        sample_weights: (N2,), default ones. With fewer queries than events, the queries are drawn without regard to
            weights, which then count in all shares.
        quantile: Of the distances of the test events: the threshold of `closer`.
        queries: Largest number of events of either sample whose distance is computed.
        n_bootstrap: Replicas for the uncertainty of the ratio of medians.

    Returns:
        What is near, what would be expected, and how likely that is; `copies` are computed from all events.

    Raises:
        ValueError: If a sample is empty or not finite, weights have no positive sum, the numbers of columns differ, or
            the quantile is not between 0 and 1.

    References:
        Meehan, Chaudhuri and Dasgupta, arXiv:2004.05675 (data copying: a Mann-Whitney test of these distances).
    """
    _check_quantile(quantile, queries)
    base, _ = checked(training, None, name="training", ndim=2)
    samples = [
        checked(values, weights, name=name, ndim=2)
        for name, values, weights in (("test", test, test_weights), ("sample", sample, sample_weights))
    ]
    _same_columns(training=base, test=samples[0][0], sample=samples[1][0])
    known = _row_hashes(base)
    scale = _spread(base)
    scaled = base / scale
    copies, distances = [], []
    for x, w in samples:
        copies.append(_share(np.isin(_row_hashes(x), known), w))
        asked = rng.permutation(len(x))[:queries]
        distances.append((nearest_distances(scaled, x[asked] / scale), w[asked]))
    return _compared(
        distances[0],
        distances[1],
        (copies[0], copies[1]),
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
    """Nearest-neighbour distance within a sample, against that within an equally large reference.

    Sees a generator that repeats itself: duplicates of any number, near ones, and, by the birthday paradox, a small
    number of different events. `copies` counts each repetition once; in `closer` and `excess` either twin is near, so
    that 5 % of repetitions give an excess of 10 %. Not seen: copies of training events (`memorisation`).

    The distance depends on the number of events, so the larger sample is cut at random to the size of the smaller.
    Small distances come in pairs, which makes the uncertainties up to sqrt(2) larger if all events are queried.
    Features are divided by their standard deviation in the reference. Costs: see `nearest_distances`, twice.

    Args:
        reference: (N1, F) features.
        sample: (N2, F).
        rng: Draws the events and the bootstrap replicas.
        reference_weights: (N1,), default ones; single negative weights are allowed. Weights count in shares, not in
            distances: an event of weight 2 is one event, its two copies would be duplicates.
        sample_weights: (N2,), default ones.
        quantile: Of the distances within the reference: the threshold of `closer`.
        queries: Largest number of events of either sample whose distance is computed.
        n_bootstrap: Replicas for the uncertainty of the ratio of medians.

    Returns:
        What is near, what would be expected, and how likely that is.

    Raises:
        ValueError: As `memorisation`, or if a sample has one event only.

    References:
        Arora and Zhang, arXiv:1706.08224 (the birthday paradox test).
    """
    _check_quantile(quantile, queries)
    samples = [
        checked(reference, reference_weights, name="reference", ndim=2),
        checked(sample, sample_weights, name="sample", ndim=2),
    ]
    _same_columns(reference=samples[0][0], sample=samples[1][0])
    size = min(len(x) for x, _ in samples)
    asked = min(size, queries)
    scale = _spread(samples[0][0])
    copies, distances = [], []
    for x, w in samples:
        chosen = rng.permutation(len(x))[:size]
        kept = np.sort(chosen)  # the first of several equal events is that of the file
        copies.append(share_of_repeats(x[kept], sample_weights=w[kept]))
        x, w = x[chosen], w[chosen]
        scaled = x / scale
        distances.append((nearest_distances(scaled, scaled[:asked], within=True), w[:asked]))
    return _compared(
        distances[0],
        distances[1],
        (copies[0], copies[1]),
        quantile=quantile,
        inflation=math.sqrt(1 + asked / size),
        n_bootstrap=n_bootstrap,
        rng=rng,
    )
