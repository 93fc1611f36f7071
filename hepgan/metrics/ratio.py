"""Density ratios from a classifier: event weights that make a sample imitate its reference.

The probability s(x) that an event comes from the sample gives the ratio of the densities, p_reference / p_sample =
(1 - s) / s. The scores of gradient boosting are ordered but not probabilities; isotonic regression turns them into
probabilities.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hepgan.metrics.classifier import TwoSampleTest, over_folds, two_sample_test
from hepgan.metrics.histograms import bin_number, quantile_edges
from hepgan.metrics.moments import Measurement, checked, effective_size

__all__ = ["Reweighting", "density_ratio", "isotonic_calibration", "reweighting"]

Array = NDArray[np.float64]

SMALLEST_PROBABILITY = (
    1e-6  # smallest distance of calibrated probabilities from 0 and 1, as in the CaloChallenge
)
SIGNED_BINS = 50  # quantile bins of the scores if weights are negative: each needs a positive sum of weights


def _positive_bins(scores: Array, shares: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Pool events in bins of the score, joining neighbours until each bin has a positive sum of weights.

    Args:
        scores: (N,).
        shares: (N,) 1 for the sample, 0 for the reference.
        weights: (N,), of either sign.

    Returns:
        Mean score, share of the sample (not necessarily between 0 and 1) and sum of weights of each bin, (K,) each.
    """
    size = np.abs(weights)
    number = bin_number(scores, quantile_edges(scores, SIGNED_BINS, weights=size))
    sums = np.stack(
        [np.bincount(number, w) for w in (weights, weights * shares, size, size * scores)], axis=1
    )
    bins = [np.zeros(4)]
    for row in sums:
        if bins[-1][0] > 0:
            bins.append(np.zeros(4))
        bins[-1] += row
    if len(bins) > 1 and bins[-1][0] <= 0:
        rest = bins.pop()
        bins[-1] += rest
    total, of_sample, magnitude, moment = np.array(bins).T
    return moment / magnitude, of_sample / total, total


def isotonic_calibration(
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    sample_weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
    cautious: bool = True,
) -> Callable[[ArrayLike], Array]:
    """Learn the increasing function that turns scores into probabilities, from scored events (isotonic regression).

    Both samples get the same total weight. If there are negative weights, the scores are first pooled in `SIGNED_BINS`
    quantile bins, where neighbours are joined until each has a positive sum of weights.

    Args:
        sample: (N1,) scores, higher if more like the sample.
        reference: (N2,) scores.
        sample_weights: (N1,), default ones; single negative weights are allowed.
        reference_weights: (N2,), default ones.
        cautious: Whether to add one event of either sample at the lowest and at the highest score: n events in
            succession from one sample then give a probability of about 1/n or 1 - 1/n instead of 0 or 1.

    Returns:
        Function from scores (N,) to the probability (N,) that an event comes from the sample, from
        `SMALLEST_PROBABILITY` to 1 - `SMALLEST_PROBABILITY`.

    Raises:
        ValueError: If a sample is empty or not finite, or its weights have no positive sum.

    References:
        Zadrozny and Elkan, KDD 2002, p. 694 (isotonic calibration).
    """
    from sklearn.isotonic import IsotonicRegression

    s1, w1 = checked(sample, sample_weights, name="sample")
    s2, w2 = checked(reference, reference_weights, name="reference")
    scores = np.concatenate([s2, s1])
    shares = np.concatenate([np.zeros(len(s2)), np.ones(len(s1))])
    weights = np.concatenate([w2 / w2.sum(), w1 / w1.sum()])
    if cautious:
        one_event = 1 / min(effective_size(w2), effective_size(w1))
        scores = np.concatenate([scores, np.repeat([scores.min(), scores.max()], 2)])
        shares = np.concatenate([shares, [0.0, 1.0, 0.0, 1.0]])
        weights = np.concatenate([weights, np.full(4, one_event)])
    if (weights < 0).any():
        scores, shares, weights = _positive_bins(scores, shares, weights)
    regression = IsotonicRegression(
        y_min=SMALLEST_PROBABILITY, y_max=1 - SMALLEST_PROBABILITY, out_of_bounds="clip"
    )
    regression.fit(scores, shares, sample_weight=weights)

    def calibrated(values: ArrayLike) -> Array:
        result: Array = regression.predict(np.asarray(values, dtype=np.float64))
        return result

    return calibrated


def density_ratio(test: TwoSampleTest) -> Array:
    r"""Ratio of the densities, :math:`p_{reference}(x) / p_{sample}(x) = (1 - s) / s`, at each event of the sample.

    The scores s of the two-sample test are calibrated fold by fold, each fold with the scores of the other folds: no
    event is weighted by a classifier that was trained with it or by a calibration that contains it.

    The ratio corrects only differences that the classifier sees, and cannot add events where the sample has none: look
    at the area after reweighting and at the effective size (`reweighting`). Ratios are finite: the calibration adds one
    event of either sample at both ends, so the largest ratio is about the largest number of reference events in
    succession without an event of the sample.

    Args:
        test: Outcome of `two_sample_test` with the events and weights to be reweighted.

    Returns:
        (N1,) positive ratios, of weighted mean 1, so that weights times ratios have the same sum as the weights.

    Raises:
        ValueError: If there are negative weights.
    """
    for name, weights in (("sample", test.sample_weights), ("reference", test.reference_weights)):
        if (weights < 0).any():
            raise ValueError(
                f"density ratio: {int((weights < 0).sum())} of {len(weights)} weights of the {name} are negative; the "
                "classifier learns with their magnitude, so its ratio would be that of the magnitudes; cut on the "
                "background instead of subtracting it, or take a sample with positive weights"
            )
    ratio = np.empty(len(test.sample_scores))
    for fold in np.unique(test.sample_folds):
        others1, others2 = test.sample_folds != fold, test.reference_folds != fold
        calibrated = isotonic_calibration(
            test.sample_scores[others1],
            test.reference_scores[others2],
            sample_weights=test.sample_weights[others1],
            reference_weights=test.reference_weights[others2],
        )
        probability = calibrated(test.sample_scores[~others1])
        ratio[~others1] = (1 - probability) / probability
    ratio *= test.sample_weights.sum() / (test.sample_weights @ ratio)
    return ratio


@dataclass(frozen=True)
class Reweighting:
    """Outcome of `reweighting`.

    Attributes:
        weights: (N1,) new weights of the sample: old weights times the ratio, with the same sum.
        ratio: (N1,) density ratio at each event of the sample.
        before: Area under the ROC curve with the old weights.
        after: Area with the new weights, by classifiers trained again inside each fold: 0.5 if they cannot tell the
            reweighted sample from the reference.
        effective_size: Number of unweighted events that fluctuate as much as the reweighted sample.
        effective_share: Effective size with the new weights over that with the old weights: the price of reweighting.
    """

    weights: Array
    ratio: Array
    before: Measurement
    after: Measurement
    effective_size: float
    effective_share: float


def reweighting(
    sample: ArrayLike,
    reference: ArrayLike,
    *,
    rng: np.random.Generator,
    sample_weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
    folds: int = 5,
    paired: bool = False,
    test: TwoSampleTest | None = None,
) -> Reweighting:
    """Weights that make the sample imitate the reference (`density_ratio`), and a test of the reweighted sample.

    A sample that is far from its reference cannot be repaired: a few events get all the weight. An effective share
    of a tenth means that nine of ten events were generated in vain.

    The area after reweighting is measured inside each fold, whose ratios come from the other folds. Do not run
    `two_sample_test` on the whole reweighted sample: the weights follow the statistical fluctuations of this reference,
    so where the training folds have too many events, the other folds have too few, and the area falls below 0.5 (0.45
    for 10 000 events). Likewise, a histogram of the reweighted sample agrees with this reference better than statistics
    allow; check it with other reference events. Cost: two runs of `two_sample_test`, or one if `test` is given.

    Args:
        sample: (N1, F) features.
        reference: (N2, F) features.
        rng: Draws the folds.
        sample_weights: (N1,), default ones; not negative.
        reference_weights: (N2,), default ones; not negative.
        folds: Number of folds; each needs enough events for a test of its own.
        paired: As in `two_sample_test`.
        test: Outcome of `two_sample_test` with these events and weights, to save its time.

    Returns:
        New weights, ratios, areas before and after (0.5 to 1), and effective size.

    Raises:
        ValueError: If `two_sample_test` or `density_ratio` refuse the events, or `test` was made with other events or
            weights.

    References:
        Cranmer, Pavez and Louppe, arXiv:1506.02169 (ratio from a calibrated classifier); Rogozhnikov,
        arXiv:1608.05806 (reweighting of simulation).
    """
    _, old = checked(sample, sample_weights, name="sample", ndim=2)
    if test is None:
        test = two_sample_test(
            sample,
            reference,
            rng=rng,
            sample_weights=sample_weights,
            reference_weights=reference_weights,
            folds=folds,
            paired=paired,
        )
    elif not np.array_equal(test.sample_weights, old) or len(test.reference_scores) != len(
        np.asarray(reference)
    ):
        raise ValueError(
            f"test: expected the outcome for these {len(old)} and {len(np.asarray(reference))} events and their "
            f"weights, got one for {len(test.sample_scores)} and {len(test.reference_scores)} events or other "
            "weights; make the test with the same arguments"
        )
    ratio = density_ratio(test)
    weights = old * ratio
    x1, x2 = np.asarray(sample), np.asarray(reference)
    inside = []
    for fold in np.unique(test.sample_folds):
        in1, in2 = test.sample_folds == fold, test.reference_folds == fold
        inside.append(
            two_sample_test(
                x1[in1],
                x2[in2],
                rng=rng,
                sample_weights=weights[in1],
                reference_weights=test.reference_weights[in2],
                folds=folds,
                paired=paired,
            ).auc
        )
    size = effective_size(weights)
    return Reweighting(weights, ratio, test.auc, over_folds(inside), size, size / effective_size(old))
