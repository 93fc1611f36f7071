"""Classifier two-sample tests: can a machine tell the samples apart?

All areas under the ROC curve have the sample (generated showers) as the positive class: 0.5 means that the
classifier guesses, 1 that it is always right.

Negative weights (NLO generators, sWeights): a classifier learns with their magnitude, and its scores, fixed then,
are judged with their sign. If the signed distributions are equal, so are those of any fixed score, and the area is
0.5 whatever was learnt.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hepgan.metrics.histogram import bin_number, histogram, quantile_edges
from hepgan.metrics.moments import Measurement, checked

__all__ = [
    "BOOSTING",
    "TwoSampleTest",
    "area_under_curve",
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
    """

    auc: Measurement
    fold_aucs: tuple[float, ...]
    reference_scores: Array
    sample_scores: Array


def area_under_curve(
    reference: ArrayLike,
    sample: ArrayLike,
    *,
    reference_weights: ArrayLike | None = None,
    sample_weights: ArrayLike | None = None,
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

    def share_below(scores: Array, others: Array, weights: Array) -> Array:
        order = np.argsort(others)
        cumulative = np.concatenate([[0.0], np.cumsum(weights[order])]) / weights.sum()
        left = np.searchsorted(others[order], scores, side="left")
        right = np.searchsorted(others[order], scores, side="right")
        result: Array = 0.5 * (cumulative[left] + cumulative[right])
        return result

    of_sample, of_reference = share_below(s2, s1, w1), 1 - share_below(s1, s2, w2)
    area = float(np.average(of_sample, weights=w2))
    variances = [
        np.sum((w * (share - area)) ** 2) / w.sum() ** 2 for share, w in ((of_sample, w2), (of_reference, w1))
    ]
    return area, math.sqrt(sum(variances))


def roc_curve(
    reference: ArrayLike,
    sample: ArrayLike,
    *,
    reference_weights: ArrayLike | None = None,
    sample_weights: ArrayLike | None = None,
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


def _cross_validated(
    reference: tuple[Array, Array],
    sample: tuple[Array, Array],
    fit: Callable[[Array, Array, Array, Array], Callable[[Array], Array]],
    *,
    folds: int,
    paired: bool,
    rng: np.random.Generator,
) -> TwoSampleTest:
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
    for k in range(folds):
        in1, in2 = fold1 == k, fold2 == k
        score = fit(x1[~in1], np.abs(w1[~in1]), x2[~in2], np.abs(w2[~in2]))
        scores1[in1], scores2[in2] = score(x1[in1]), score(x2[in2])
        areas.append(
            area_under_curve(scores1[in1], scores2[in2], reference_weights=w1[in1], sample_weights=w2[in2])
        )
    values = np.array([a for a, _ in areas])
    statistical = math.sqrt(sum(u**2 for _, u in areas)) / folds
    between = float(values.std(ddof=1)) / math.sqrt(folds)
    return TwoSampleTest(
        (float(values.mean()), max(statistical, between)), tuple(values.tolist()), scores1, scores2
    )


def two_sample_test(
    reference: ArrayLike,
    sample: ArrayLike,
    *,
    rng: np.random.Generator,
    reference_weights: ArrayLike | None = None,
    sample_weights: ArrayLike | None = None,
    folds: int = 5,
    paired: bool = False,
) -> TwoSampleTest:
    """Cross-validated gradient boosting between two samples (settings: `BOOSTING`).

    Every event is scored by a classifier that was trained without it; the area is the mean over the folds.
    Both samples get the same total weight in the training.

    Args:
        reference: (N1, F) features.
        sample: (N2, F) features.
        rng: Draws the folds.
        reference_weights: (N1,), default ones.
        sample_weights: (N2,), default ones.
        folds: Number of folds.
        paired: Row i of both samples belongs together (same condition) and must share a fold. Otherwise a
            classifier that remembers the condition of a training event is misled about its partner, and the
            area of a perfect generator falls below 0.5.

    Returns:
        Area, its uncertainty (the larger of DeLong's and the spread between folds) and all scores.

    Raises:
        ValueError: If there are too few events, different numbers of features, or a fold whose weights have no
            positive sum.

    References:
        Lopez-Paz and Oquab, arXiv:1610.06545.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier  # heavy; only this metric needs it
    from threadpoolctl import threadpool_limits

    first = checked(reference, reference_weights, name="reference", ndim=2)
    second = checked(sample, sample_weights, name="sample", ndim=2)
    if first[0].shape[1] != second[0].shape[1]:
        raise ValueError(
            f"classifier test: expected the same features in both samples, got {first[0].shape[1]} and "
            f"{second[0].shape[1]} columns"
        )
    random_state = int(rng.integers(2**31))

    def fit(x1: Array, w1: Array, x2: Array, w2: Array) -> Callable[[Array], Array]:
        x = np.concatenate([x1, x2])
        edges = [quantile_edges(column, BOOSTING["max_bins"] - 1) for column in x.T]

        def binned(values: Array) -> Array:
            # scikit-learn's own weighted binning takes ten times as long as growing the trees
            columns = [np.searchsorted(e, v, side="right") for e, v in zip(edges, values.T, strict=True)]
            return np.column_stack(columns).astype(np.float64)

        model = HistGradientBoostingClassifier(**BOOSTING, random_state=random_state)
        size = 0.5 * (len(x1) + len(x2))
        weights = np.concatenate([w1 * (size / w1.sum()), w2 * (size / w2.sum())])
        labels = np.concatenate([np.zeros(len(x1)), np.ones(len(x2))])
        model.fit(binned(x), labels, sample_weight=weights)

        def score(values: Array) -> Array:
            probability: Array = model.predict_proba(binned(values))[:, 1]
            return probability

        return score

    # Trees this small spend more time waiting for each other than in threads: on busy cores up to 30 times.
    with threadpool_limits(limits=1, user_api="openmp"):
        return _cross_validated(first, second, fit, folds=folds, paired=paired, rng=rng)


def single_feature_auc(
    reference: ArrayLike,
    sample: ArrayLike,
    *,
    rng: np.random.Generator,
    reference_weights: ArrayLike | None = None,
    sample_weights: ArrayLike | None = None,
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

    def fit(x1: Array, w1: Array, x2: Array, w2: Array) -> Callable[[Array], Array]:
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

    return _cross_validated(first, second, fit, folds=2, paired=paired, rng=rng).auc
