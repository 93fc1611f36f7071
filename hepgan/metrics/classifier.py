"""Classifier two-sample tests: can a machine tell the samples apart?

All areas under the ROC curve have the sample (generated showers) as the positive class: 0.5 means that the
classifier guesses, 1 that it is always right.

Negative weights (NLO generators, sWeights): a classifier learns with their magnitude, and its scores, fixed then,
are judged with their sign. If the signed distributions are equal, so are those of any fixed score, and the area is
0.5 whatever was learnt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hepgan.metrics.correlation import correlation_matrix
from hepgan.metrics.histogram import bin_number, histogram, quantile_edges
from hepgan.metrics.moments import Measurement, Weighted, checked, checked_pair

__all__ = [
    "BOOSTING",
    "TwoSampleTest",
    "area_under_curve",
    "correlated_groups",
    "over_folds",
    "roc_curve",
    "single_feature_auc",
    "two_sample_test",
]

Array = NDArray[np.float64]

BOOSTING: dict[str, Any] = {
    "max_iter": 150,
    "learning_rate": 0.1,
    "max_leaf_nodes": 8,
    "min_samples_leaf": 40,
    "l2_regularization": 1.0,
    "max_bins": 255,
    "early_stopping": False,
}
"""Settings of scikit-learn's HistGradientBoostingClassifier; fixed, so that numbers can be compared.

Small trees: with a few thousand showers they tell more apart than scikit-learn's default of 31 leaves, which
over-trains (unit Gaussians shifted by 1: 0.749 against 0.731 of 0.760 possible)."""

PERMUTATIONS = 3  # of each feature and fold; their scatter is part of the uncertainty
PERMUTED_EVENTS = 2000  # of either sample in each fold; 35 features, 5 folds: 5 s

SINGLE_BINS = 25  # quantile bins of one feature: fine enough for shapes, coarse enough for a thousand events


@dataclass(frozen=True)
class TwoSampleTest:
    """Outcome of `two_sample_test`.

    Attributes:
        auc: Area under the ROC curve and its uncertainty.
        fold_aucs: The area of each fold.
        reference_scores: (N1,) probability, given by a classifier that never saw the event, that it comes
            from the sample.
        sample_scores: (N2,) the same for the sample.
        reference_weights: (N1,) weights that the test was made with.
        sample_weights: (N2,) the same for the sample.
        reference_folds: (N1,) fold of each event: scored by the classifier that was trained without this fold.
        sample_folds: (N2,) the same for the sample.
        importances: Drop of the area when a feature (or a group) is permuted between events, and its
            uncertainty, one for each; empty if not asked for.
    """

    auc: Measurement
    fold_aucs: tuple[float, ...]
    reference_scores: Array
    sample_scores: Array
    reference_weights: Array
    sample_weights: Array
    reference_folds: NDArray[np.int64]
    sample_folds: NDArray[np.int64]
    importances: tuple[Measurement, ...] = ()


def _placements(s1: Array, w1: Array, s2: Array, w2: Array) -> tuple[Array, Array]:
    """Share of the reference below each event of the sample (N2,), and of the sample above each of the reference (N1,).

    The area under the curve is the weighted mean of either.
    """

    def share_below(scores: Array, others: Array, weights: Array) -> Array:
        order = np.argsort(others)
        cumulative = np.concatenate([[0.0], np.cumsum(weights[order])]) / weights.sum()
        left = np.searchsorted(others[order], scores, side="left")
        right = np.searchsorted(others[order], scores, side="right")
        result: Array = 0.5 * (cumulative[left] + cumulative[right])
        return result

    return share_below(s2, s1, w1), 1 - share_below(s1, s2, w2)


def _area(placements: tuple[Array, Array], w1: Array, w2: Array) -> Measurement:
    """Weighted mean of the placements and DeLong's uncertainty; also of differences of placements."""
    of_sample, of_reference = placements
    area = float(np.average(of_sample, weights=w2))
    variances = [
        np.sum((w * (share - area)) ** 2) / w.sum() ** 2 for share, w in ((of_sample, w2), (of_reference, w1))
    ]
    return area, math.sqrt(sum(variances))


def area_under_curve(
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    sample_weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
) -> Measurement:
    r"""Weighted area under the ROC curve, :math:`P(s_{sample} > s_{reference}) + \frac{1}{2} P(=)`.

    Args:
        reference: (N1,) scores, higher meaning more like the sample.
        sample: (N2,) scores.
        reference_weights: (N1,), default ones.
        sample_weights: (N2,), default ones.

    Returns:
        Value, and the uncertainty of DeLong et al., Biometrics 44 (1988) 837, with weights.
    """
    s1, w1 = checked(reference, reference_weights, name="reference")
    s2, w2 = checked(sample, sample_weights, name="sample")
    return _area(_placements(s1, w1, s2, w2), w1, w2)


def roc_curve(
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    sample_weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
    points: int = 201,
) -> tuple[Array, Array]:
    """Share of the reference and of the sample above each score threshold.

    Args:
        reference: (N1,) scores.
        sample: (N2,) scores.
        reference_weights: (N1,), default ones.
        sample_weights: (N2,), default ones.
        points: Number of thresholds: quantiles of both samples together.

    Returns:
        False-positive and true-positive rate, (points,) each, from (0, 0) to (1, 1).
    """
    s1, w1 = checked(reference, reference_weights, name="reference")
    s2, w2 = checked(sample, sample_weights, name="sample")
    inner = np.quantile(np.concatenate([s1, s2]), np.linspace(1, 0, points - 1))
    thresholds = np.concatenate([[np.inf], inner])

    def share_above(scores: Array, weights: Array) -> Array:
        order = np.argsort(scores)
        below = np.concatenate([[0.0], np.cumsum(weights[order])])
        result: Array = 1 - below[np.searchsorted(scores[order], thresholds, side="left")] / below[-1]
        return result

    return share_above(s1, w1), share_above(s2, w2)


def _fold_numbers(n: int, folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rng.permutation(np.arange(n) % folds)


Score = Callable[[Array], Array]
"""(N, ...) features -> (N,) probability to come from the sample."""


def over_folds(measurements: Sequence[Measurement]) -> Measurement:
    """Mean over folds; the larger of their statistical uncertainty and of their scatter."""
    values, uncertainties = np.array(measurements).T
    statistical = math.sqrt(np.sum(uncertainties**2)) / len(values)
    between = float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()), max(statistical, between)


def _cross_validated(
    sample: Weighted,
    reference: Weighted,
    fit: Callable[[Array, Array, Array, Array], Score],
    *,
    folds: int,
    paired: bool,
    rng: np.random.Generator,
    inspect: Callable[[Score, Weighted, Weighted], list[Measurement]] = lambda *_: [],
) -> TwoSampleTest:
    """Train without each fold, score it, and inspect each classifier with the events that it never saw."""
    (x1, w1), (x2, w2) = reference, sample
    if min(len(x1), len(x2)) < 2 * folds:
        raise ValueError(
            f"classifier test: {folds} folds need at least {2 * folds} events in either sample, got "
            f"{len(x1)} and {len(x2)}; take more events or fewer folds"
        )
    if paired and len(x1) != len(x2):
        raise ValueError(
            f"classifier test: paired samples must have equal sizes, got {len(x1)} and {len(x2)}"
        )
    fold1 = _fold_numbers(len(x1), folds, rng)
    fold2 = fold1 if paired else _fold_numbers(len(x2), folds, rng)
    scores1, scores2 = np.empty(len(x1)), np.empty(len(x2))
    areas: list[Measurement] = []
    inspected: list[list[Measurement]] = []
    for k in range(folds):
        in1, in2 = fold1 == k, fold2 == k
        score = fit(x1[~in1], np.abs(w1[~in1]), x2[~in2], np.abs(w2[~in2]))
        scores1[in1], scores2[in2] = score(x1[in1]), score(x2[in2])
        areas.append(
            area_under_curve(scores2[in2], scores1[in1], reference_weights=w1[in1], sample_weights=w2[in2])
        )
        inspected.append(inspect(score, (x1[in1], w1[in1]), (x2[in2], w2[in2])))
    return TwoSampleTest(
        over_folds(areas),
        tuple(value for value, _ in areas),
        scores1,
        scores2,
        w1,
        w2,
        fold1,
        fold2,
        tuple(over_folds(of_folds) for of_folds in zip(*inspected, strict=True)),
    )


def _permutation_drops(
    score: Score,
    sample: Weighted,
    reference: Weighted,
    *,
    groups: Sequence[Sequence[int]],
    rng: np.random.Generator,
) -> list[Measurement]:
    """By how much the area drops when each group of columns is permuted between the events of both samples."""
    m = min(PERMUTED_EVENTS, len(reference[0]), len(sample[0]))  # as many of either: the mixture is balanced
    (x1, w1), (x2, w2) = (
        (x[chosen], w[chosen])
        for x, w in (reference, sample)
        for chosen in [rng.choice(len(x), m, replace=False)]
    )
    x1, w1 = checked(x1, w1, name="reference, in a fold", ndim=2)
    x2, w2 = checked(x2, w2, name="sample, in a fold", ndim=2)
    x = np.concatenate([x1, x2])

    def placements(scores: Array) -> tuple[Array, Array]:
        return _placements(scores[:m], w1, scores[m:], w2)

    original = placements(score(x))
    drops = []
    for group in groups:
        permuted = np.tile(x, (PERMUTATIONS, 1, 1))
        for copy in permuted:
            copy[:, group] = x[rng.permutation(2 * m)][:, group]
        scores = score(permuted.reshape(-1, x.shape[1])).reshape(PERMUTATIONS, -1)
        of_sample, of_reference = (np.mean(p, axis=0) for p in zip(*map(placements, scores), strict=True))
        drops.append(_area((original[0] - of_sample, original[1] - of_reference), w1, w2))
    return drops


def correlated_groups(
    reference: ArrayLike, *, weights: ArrayLike | None = None, above: float = 0.9
) -> list[list[int]]:
    """Features that say nearly the same, for `two_sample_test` to permute together.

    Args:
        reference: (N, F) features.
        weights: (N,), default ones.
        above: Features whose linear correlation exceeds this in magnitude share a group, and so do
            those that a chain of such pairs connects.

    Returns:
        Columns of each group, in order of their first column; each column is in exactly one group.
    """
    from scipy.sparse.csgraph import connected_components

    linked = np.abs(correlation_matrix(reference, weights)[..., 0]) > above
    number, label = connected_components(linked, directed=False)
    groups = [np.flatnonzero(label == k).tolist() for k in range(number)]
    return sorted(groups)


def _checked_groups(groups: Sequence[Sequence[int]] | None, columns: int) -> list[list[int]]:
    if groups is None:
        return [[column] for column in range(columns)]
    for group in groups:
        if len(group) == 0 or not all(0 <= column < columns for column in group):
            raise ValueError(
                f"groups: expected columns from 0 to {columns - 1} in each group, got {list(group)}; name "
                "the columns of the features"
            )
    return [list(group) for group in groups]


def two_sample_test(
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    rng: np.random.Generator,
    sample_weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
    folds: int = 5,
    paired: bool = False,
    importances: bool = False,
    groups: Sequence[Sequence[int]] | None = None,
) -> TwoSampleTest:
    """Cross-validated gradient boosting between two samples (settings: `BOOSTING`).

    Every event is scored by a classifier that was trained without it; the area is the mean over the folds.
    Both samples get the same total weight in the training. Only the bins in which trees look for their cuts
    come from all events, regardless of which sample they are from.

    The importance of a feature says where the samples differ: it is what the area loses when the feature's
    values are permuted between the events of both samples, so that they no longer tell which sample an event
    is from (on events that the classifier never saw). It is what THIS classifier loses, not what the feature
    could tell: of two features that say the same, either can stand in for the other, or the trees use only
    one of them, and both seem to matter little. Permute such features together (`groups`, for example from
    `correlated_groups`), and compare with `single_feature_auc`, which looks at each alone. Importances do
    not add up to the area.

    It cannot see what trees of this depth and number do not find; compare with `network_test`. Cost: 100 000
    events of 35 features in either sample take about 12 s on one core, importances 5 s more (they use
    at most `PERMUTED_EVENTS` events of a fold).

    An event of weight 2 is judged as two events are. But do not write it twice: of two equal rows one may train the
    classifier that judges the other, which then remembers it (equal distributions, every event of the sample twice:
    0.56 instead of 0.50 for 2000 events of five features). A generator that repeats itself is seen for this reason:
    5 % of duplicates add 0.01 to 0.02.

    Args:
        reference: (N1, F) features.
        sample: (N2, F) features.
        rng: Draws the folds, then the permutations.
        reference_weights: (N1,), default ones.
        sample_weights: (N2,), default ones.
        folds: Number of folds.
        paired: Row i of both samples belongs together (same condition) and must share a fold. Otherwise a
            classifier that remembers the condition of a training event is misled about its partner, and the
            area of a perfect generator falls below 0.5.
        importances: Whether to permute features. It changes nothing else.
        groups: Columns that are permuted together, one importance for each group; default each column alone.

    Returns:
        Area, its uncertainty (the larger of DeLong's and the spread between folds), all scores, and
        importances with uncertainties of the same kind.

    Raises:
        ValueError: If there are too few events, different numbers of features, a fold whose weights have no
            positive sum, or a group of columns that do not exist.

    References:
        Lopez-Paz and Oquab, arXiv:1610.06545. Importances: Breiman, Mach. Learn. 45 (2001) 5, section 10.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier  # heavy; only this metric needs it
    from threadpoolctl import threadpool_limits

    (x2, w2), (x1, w1) = checked_pair(
        sample,
        reference,
        reference_weights=reference_weights,
        sample_weights=sample_weights,
        what="classifier test",
    )
    together = _checked_groups(groups, x1.shape[1]) if importances else []
    random_state = int(rng.integers(2**31))
    # scikit-learn's own weighted binning takes ten times as long as growing the trees
    edges = [
        quantile_edges(np.concatenate(pair), BOOSTING["max_bins"] - 1)
        for pair in zip(x1.T, x2.T, strict=True)
    ]

    def binned(x: Array) -> Array:
        columns = [np.searchsorted(e, v, side="right") for e, v in zip(edges, x.T, strict=True)]
        return np.column_stack(columns).astype(np.float64)

    def fit(x1: Array, w1: Array, x2: Array, w2: Array) -> Score:
        model = HistGradientBoostingClassifier(**BOOSTING, random_state=random_state)
        size = 0.5 * (len(x1) + len(x2))
        weights = np.concatenate([w1 * (size / w1.sum()), w2 * (size / w2.sum())])
        labels = np.concatenate([np.zeros(len(x1)), np.ones(len(x2))])
        model.fit(np.concatenate([x1, x2]), labels, sample_weight=weights)

        def score(x: Array) -> Array:
            probability: Array = model.predict_proba(x)[:, 1]
            return probability

        return score

    def inspect(score: Score, reference: Weighted, sample: Weighted) -> list[Measurement]:
        return _permutation_drops(score, sample, reference, groups=together, rng=rng) if together else []

    # Trees this small spend more time waiting for each other than in threads: on busy cores up to 30 times.
    with threadpool_limits(limits=1, user_api="openmp"):
        return _cross_validated(
            (binned(x2), w2), (binned(x1), w1), fit, folds=folds, paired=paired, rng=rng, inspect=inspect
        )


def single_feature_auc(
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    rng: np.random.Generator,
    sample_weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
    paired: bool = False,
) -> Measurement:
    """Area under the ROC curve of the best classifier that sees one feature only.

    The score is the likelihood ratio of the two densities in quantile bins, estimated on one half of the
    events and applied to the other, and the reverse. Unlike the area of the bare feature, this also sees a
    difference in width or in point masses at equal means.

    Args:
        reference: (N1,).
        sample: (N2,).
        rng: Draws the halves.
        reference_weights: (N1,), default ones.
        sample_weights: (N2,), default ones.
        paired: As in `two_sample_test`.
    """
    first = checked(reference, reference_weights, name="reference")
    second = checked(sample, sample_weights, name="sample")

    def fit(x1: Array, w1: Array, x2: Array, w2: Array) -> Score:
        balanced = np.concatenate([w1 / w1.sum(), w2 / w2.sum()])
        edges = quantile_edges(np.concatenate([x1, x2]), SINGLE_BINS, weights=balanced)
        h1, h2 = (
            histogram(x1, edges, weights=w1)[0] / w1.sum(),
            histogram(x2, edges, weights=w2)[0] / w2.sum(),
        )
        one_event = 1 / min(len(x1), len(x2))  # keeps an empty bin from claiming certainty
        ratio = (h2 + one_event) / (h1 + one_event)

        def score(x: Array) -> Array:
            result: Array = ratio[bin_number(x, edges)]
            return result

        return score

    return _cross_validated(second, first, fit, folds=2, paired=paired, rng=rng).auc
