"""Classifier two-sample tests: can a trained classifier tell the samples apart?

The sample (generated events) is the positive class of all areas under the ROC curve: 0.5 means that the classifier
guesses, 1 that it is always right.

Negative weights (NLO generators, sWeights): classifiers are trained with the magnitude of the weights, and their
scores are judged with the signed weights. If the signed distributions are equal, so are the signed distributions of
any fixed score, and the area is 0.5 whatever the classifier has learnt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hepgan.metrics.correlation import correlation_matrix
from hepgan.metrics.histograms import bin_number, histogram, quantile_edges
from hepgan.metrics.moments import Measurement, Weighted, checked, checked_pair
from hepgan.metrics.roc import area_under_curve, placements, weighted_area

__all__ = [
    "BOOSTING",
    "Score",
    "TwoSampleTest",
    "boosting",
    "correlated_groups",
    "over_folds",
    "single_feature_auc",
    "two_sample_test",
]

Array = NDArray[np.float64]
Score = Callable[[Array], Array]
"""From features (N, ...) to the probability (N,) that an event comes from the sample."""

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

With a few thousand showers, trees of 8 leaves separate better than scikit-learn's default of 31 leaves, which
over-trains (unit Gaussians shifted by 1: area 0.749 against 0.731, where 0.760 is possible)."""

PERMUTATIONS = 3  # for each feature and fold; their scatter is part of the uncertainty
PERMUTED_EVENTS = 2000  # of either sample in each fold: 5 s for 35 features and 5 folds

SINGLE_BINS = 25  # quantile bins of one feature: fine enough for shapes, coarse enough for a thousand events


@dataclass(frozen=True)
class TwoSampleTest:
    """Outcome of `two_sample_test`.

    Attributes:
        auc: Area under the ROC curve and its uncertainty.
        fold_aucs: The area of each fold.
        sample_scores: (N1,) probability that an event of the sample comes from the sample, by a classifier that was
            trained without this event.
        reference_scores: (N2,) the same probability for the events of the reference.
        sample_weights: (N1,) weights used in the test.
        reference_weights: (N2,) weights used in the test.
        sample_folds: (N1,) fold of each event: the event is scored by the classifier trained without this fold.
        reference_folds: (N2,) fold of each event.
        importances: For each feature (or group), the drop of the area when its values are permuted between events,
            with uncertainty; empty if not asked for.
    """

    auc: Measurement
    fold_aucs: tuple[float, ...]
    sample_scores: Array
    reference_scores: Array
    sample_weights: Array
    reference_weights: Array
    sample_folds: NDArray[np.int64]
    reference_folds: NDArray[np.int64]
    importances: tuple[Measurement, ...] = ()


def boosting(sample: Weighted, reference: Weighted, *, rng: np.random.Generator) -> Score:
    """Train gradient boosting (settings: `BOOSTING`) to tell two samples apart, for events of neither to be scored.

    Args:
        sample: (N1, F) features and (N1,) weights, whose magnitudes train.
        reference: (N2, F) features and (N2,) weights.
        rng: Seeds scikit-learn.

    Returns:
        Function from features (N, F) to probabilities (N,); see `two_sample_test`, which trains the same trees.
    """
    (x1, w1), (x2, w2) = sample, reference
    binned = _binning(x1, x2)
    with _one_thread():
        score = _boosted(
            binned(x1), np.abs(w1), binned(x2), np.abs(w2), random_state=int(rng.integers(2**31))
        )

    def scored(x: Array) -> Array:
        with _one_thread():
            return score(binned(x))

    return scored


def _one_thread() -> AbstractContextManager[object]:
    """For trees this small, threads spend more time waiting than working: on busy cores up to 30 times."""
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[object] = threadpool_limits(limits=1, user_api="openmp")
    return limits


def _binning(x1: Array, x2: Array) -> Callable[[Array], Array]:
    """Function from features (N, F) to the numbers of their bins, quantiles of both samples together.

    scikit-learn's own weighted binning takes ten times as long as growing the trees.
    """
    edges = [
        quantile_edges(np.concatenate(pair), BOOSTING["max_bins"] - 1)
        for pair in zip(x1.T, x2.T, strict=True)
    ]

    def binned(x: Array) -> Array:
        columns = [np.searchsorted(e, v, side="right") for e, v in zip(edges, x.T, strict=True)]
        return np.column_stack(columns).astype(np.float64)

    return binned


def _boosted(x1: Array, w1: Array, x2: Array, w2: Array, *, random_state: int) -> Score:
    """Train trees on binned features (N, F) with positive weights (N,) of the sample (1) and the reference (2)."""
    from sklearn.ensemble import HistGradientBoostingClassifier  # heavy; only these tests need it

    classifier = HistGradientBoostingClassifier(**BOOSTING, random_state=random_state)
    size = 0.5 * (len(x1) + len(x2))
    weights = np.concatenate([w2 * (size / w2.sum()), w1 * (size / w1.sum())])
    labels = np.concatenate([np.zeros(len(x2)), np.ones(len(x1))])
    classifier.fit(np.concatenate([x2, x1]), labels, sample_weight=weights)

    def score(x: Array) -> Array:
        probability: Array = classifier.predict_proba(x)[:, 1]
        return probability

    return score


def _fold_numbers(n: int, folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Random fold of each of n events, (n,); sizes of folds differ by one at most."""
    return rng.permutation(np.arange(n) % folds)


def over_folds(measurements: Sequence[Measurement]) -> Measurement:
    """Mean over folds, with the larger of its statistical uncertainty and the scatter of the folds."""
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
    """For each fold: train without it, score its events, and inspect the classifier on them.

    Args:
        sample: Features (N1, ...) and weights (N1,).
        reference: Features (N2, ...) and weights (N2,).
        fit: From features and magnitudes of weights of the sample, then of the reference, to a classifier's score.
        folds: Number of folds.
        paired: Row i of both samples shares a fold.
        rng: Draws the folds (those of the reference first).
        inspect: From a score, and the sample and the reference in its fold, to further measurements.
    """
    (x1, w1), (x2, w2) = sample, reference
    if min(len(x1), len(x2)) < 2 * folds:
        raise ValueError(
            f"classifier test: {folds} folds need at least {2 * folds} events in either sample, got "
            f"{len(x1)} and {len(x2)}; take more events or fewer folds"
        )
    if paired and len(x1) != len(x2):
        raise ValueError(
            f"classifier test: paired samples must have equal sizes, got {len(x1)} and {len(x2)}"
        )
    fold2 = _fold_numbers(len(x2), folds, rng)
    fold1 = fold2 if paired else _fold_numbers(len(x1), folds, rng)
    scores1, scores2 = np.empty(len(x1)), np.empty(len(x2))
    areas: list[Measurement] = []
    inspected: list[list[Measurement]] = []
    for k in range(folds):
        in1, in2 = fold1 == k, fold2 == k
        score = fit(x1[~in1], np.abs(w1[~in1]), x2[~in2], np.abs(w2[~in2]))
        scores1[in1], scores2[in2] = score(x1[in1]), score(x2[in2])
        areas.append(
            area_under_curve(scores1[in1], scores2[in2], sample_weights=w1[in1], reference_weights=w2[in2])
        )
        inspected.append(inspect(score, (x1[in1], w1[in1]), (x2[in2], w2[in2])))
    return TwoSampleTest(
        auc=over_folds(areas),
        fold_aucs=tuple(value for value, _ in areas),
        sample_scores=scores1,
        reference_scores=scores2,
        sample_weights=w1,
        reference_weights=w2,
        sample_folds=fold1,
        reference_folds=fold2,
        importances=tuple(over_folds(of_folds) for of_folds in zip(*inspected, strict=True)),
    )


def _permutation_drops(
    score: Score,
    sample: Weighted,
    reference: Weighted,
    *,
    groups: Sequence[Sequence[int]],
    rng: np.random.Generator,
) -> list[Measurement]:
    """Drop of the area for each group of columns when its values are permuted between the events of both samples."""
    m = min(PERMUTED_EVENTS, len(sample[0]), len(reference[0]))  # as many of either: the mixture is balanced
    (x2, w2), (x1, w1) = (  # random numbers for the reference are drawn first
        (x[chosen], w[chosen])
        for x, w in (reference, sample)
        for chosen in [rng.choice(len(x), m, replace=False)]
    )
    x1, w1 = checked(x1, w1, name="sample, in a fold", ndim=2)
    x2, w2 = checked(x2, w2, name="reference, in a fold", ndim=2)
    x = np.concatenate([x2, x1])  # in this order the permutations are drawn

    def places(scores: Array) -> tuple[Array, Array]:
        return placements(scores[m:], w1, scores[:m], w2)

    original = places(score(x))
    drops = []
    for group in groups:
        permuted = np.tile(x, (PERMUTATIONS, 1, 1))
        for copy in permuted:
            copy[:, group] = x[rng.permutation(2 * m)][:, group]
        scores = score(permuted.reshape(-1, x.shape[1])).reshape(PERMUTATIONS, -1)
        of_sample, of_reference = (np.mean(p, axis=0) for p in zip(*map(places, scores), strict=True))
        drops.append(weighted_area((original[0] - of_sample, original[1] - of_reference), w1, w2))
    return drops


def correlated_groups(
    reference: ArrayLike, *, weights: ArrayLike | None = None, above: float = 0.9
) -> list[list[int]]:
    """Group strongly correlated features, for `two_sample_test` to permute together.

    Args:
        reference: (N, F) features.
        weights: (N,), default ones.
        above: Features share a group if their linear correlation exceeds this in magnitude, or if a chain of such
            pairs connects them.

    Returns:
        Columns of each group, in order of their first column; each column is in exactly one group.

    Raises:
        ValueError: If the sample is empty or not finite, or its weights have no positive sum.
    """
    from scipy.sparse.csgraph import connected_components

    linked = np.abs(correlation_matrix(reference, weights)[..., 0]) > above
    number, component = connected_components(linked, directed=False)
    groups = [np.flatnonzero(component == k).tolist() for k in range(number)]
    return sorted(groups)


def _checked_groups(groups: Sequence[Sequence[int]] | None, columns: int) -> list[list[int]]:
    """Check groups of columns; by default each column is a group."""
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
    """Area under the ROC curve of gradient boosting between two samples, cross-validated (settings: `BOOSTING`).

    Every event is scored by a classifier that was trained without it; the area is the mean over the folds. Both
    samples get the same total weight in the training. Only the bins in which trees search their cuts are made from
    all events, without regard to their sample.

    The importance of a feature says where the samples differ: it is the drop of the area when the feature's values
    are permuted between the events of both samples (events not used in training), so that they no longer depend on
    the sample. It describes THIS classifier, not the information in the feature: if two features are equivalent,
    either can replace the other, or the trees use one of them only, and both seem unimportant. Permute such features
    together (`groups`, for example from `correlated_groups`), and compare with `single_feature_auc`, which looks at
    each feature alone. Importances do not add up to the area.

    Blind to: differences that trees of this depth and number do not find; compare with `network_test`. Cost: 100 000
    events of 35 features in either sample take about 12 s on one core, importances 5 s more (they use at most
    `PERMUTED_EVENTS` events of a fold).

    An event of weight 2 counts as two events. But do not write it twice: one of two equal rows may train the
    classifier that judges the other and remembers it (equal distributions, every event of the sample twice: 0.56
    instead of 0.50 for 2000 events of five features). For the same reason repetitions by a generator are detected: 5 %
    of duplicates add 0.01 to 0.02.

    Args:
        sample: (N1, F) features.
        reference: (N2, F) features.
        rng: Draws the folds, then the permutations.
        sample_weights: (N1,), default ones; single negative weights are allowed.
        reference_weights: (N2,), default ones.
        folds: Number of folds.
        paired: Row i of both samples belongs together (same condition) and must share a fold. Otherwise a
            classifier that remembers the condition of a training event is misled about its partner, and the
            area of a perfect generator falls below 0.5.
        importances: Whether to permute features. It changes nothing else.
        groups: Columns that are permuted together, one importance for each group; default each column alone.

    Returns:
        Area (0.5: not told apart, 1: always), its uncertainty (the larger of DeLong's and the spread between folds),
        all scores, and importances with uncertainties of the same kind.

    Raises:
        ValueError: If there are too few events, different numbers of features, a fold whose weights have no
            positive sum, or a group of columns that do not exist.

    References:
        Lopez-Paz and Oquab, arXiv:1610.06545. Importances: Breiman, Mach. Learn. 45 (2001) 5, section 10.
    """
    (x1, w1), (x2, w2) = checked_pair(
        sample,
        reference,
        sample_weights=sample_weights,
        reference_weights=reference_weights,
        what="classifier test",
    )
    together = _checked_groups(groups, x1.shape[1]) if importances else []
    random_state = int(rng.integers(2**31))
    binned = _binning(x1, x2)

    def fit(x1: Array, w1: Array, x2: Array, w2: Array) -> Score:
        return _boosted(x1, w1, x2, w2, random_state=random_state)

    def inspect(score: Score, sample: Weighted, reference: Weighted) -> list[Measurement]:
        return _permutation_drops(score, sample, reference, groups=together, rng=rng) if together else []

    with _one_thread():
        return _cross_validated(
            (binned(x1), w1), (binned(x2), w2), fit, folds=folds, paired=paired, rng=rng, inspect=inspect
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

    The score is the likelihood ratio of the two densities in quantile bins, estimated on one half of the events and
    applied to the other half, and vice versa. Unlike the area of the feature itself, it also sees differences in width
    or in point masses at equal means.

    Args:
        sample: (N1,).
        reference: (N2,).
        rng: Draws the halves.
        sample_weights: (N1,), default ones; single negative weights are allowed.
        reference_weights: (N2,), default ones.
        paired: As in `two_sample_test`.

    Returns:
        Area (0.5: not told apart, 1: always), and the larger of DeLong's uncertainty and the spread between halves.

    Raises:
        ValueError: As `two_sample_test`.
    """
    weighted_sample = checked(sample, sample_weights, name="sample")
    weighted_reference = checked(reference, reference_weights, name="reference")

    def fit(x1: Array, w1: Array, x2: Array, w2: Array) -> Score:
        balanced = np.concatenate([w2 / w2.sum(), w1 / w1.sum()])
        edges = quantile_edges(np.concatenate([x2, x1]), SINGLE_BINS, weights=balanced)
        h1, h2 = (
            histogram(x1, edges, weights=w1)[0] / w1.sum(),
            histogram(x2, edges, weights=w2)[0] / w2.sum(),
        )
        one_event = 1 / min(len(x1), len(x2))  # keeps an empty bin from claiming certainty
        ratio = (h1 + one_event) / (h2 + one_event)

        def score(x: Array) -> Array:
            result: Array = ratio[bin_number(x, edges)]
            return result

        return score

    return _cross_validated(weighted_sample, weighted_reference, fit, folds=2, paired=paired, rng=rng).auc
