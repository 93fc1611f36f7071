"""Density ratios from a classifier: event weights with which a sample imitates its reference.

A classifier that knows the probability s(x) that an event comes from the sample knows the ratio of the densities,
p_reference / p_sample = (1 - s) / s. Gradient boosting does not give probabilities, only an order; isotonic regression
makes probabilities of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hepgan.metrics.classifier import TwoSampleTest, over_folds, two_sample_test
from hepgan.metrics.histogram import bin_number, quantile_edges
from hepgan.metrics.moments import Measurement, checked, effective_size

__all__ = ["Reweighting", "density_ratio", "isotonic_calibration", "reweighting"]

Array = NDArray[np.float64]

SMALLEST_PROBABILITY = 1e-6  # calibrated probabilities keep this distance from 0 and 1, as CaloChallenge's do
SIGNED_BINS = (
    50  # of the scores, where weights are negative: in each, the weights must add up to something positive
)


def _positive_bins(scores: Array, shares: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Pool events of either sign until each bin has a positive sum of weights.

    Args:
        scores: (N,).
        shares: (N,) 0 for the reference, 1 for the sample.
        weights: (N,).

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
    """The increasing function that turns scores into probabilities, learnt from scored events.

    Both samples get the same total weight. Weights of either sign: with negative ones the scores are first pooled in
    `SIGNED_BINS` quantile bins, neighbours together where the weights do not add up to something positive.

    Args:
        reference: (N1,) scores, higher meaning more like the sample.
        sample: (N2,) scores.
        reference_weights: (N1,), default ones.
        sample_weights: (N2,), default ones.
        cautious: Add one event of either sample at the lowest and at the highest score: a block of n events, all from
            one sample, then gives a probability of about 1/n or 1 - 1/n instead of 0 or 1.

    Returns:
        Function from scores (N,) to the probability (N,) that an event comes from the sample, within
        `SMALLEST_PROBABILITY` of 0 and 1 at most.

    References:
        Zadrozny and Elkan, KDD 2002, p. 694 (isotonic calibration).
    """
    from sklearn.isotonic import IsotonicRegression

    s1, w1 = checked(reference, reference_weights, name="reference")
    s2, w2 = checked(sample, sample_weights, name="sample")
    scores = np.concatenate([s1, s2])
    shares = np.concatenate([np.zeros(len(s1)), np.ones(len(s2))])
    weights = np.concatenate([w1 / w1.sum(), w2 / w2.sum()])
    if cautious:
        one_event = 1 / min(effective_size(w1), effective_size(w2))
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

    The scores of the two-sample test are calibrated fold by fold, each fold with the scores of the other folds: no
    event is weighted by a classifier that was trained with it or a calibration that contains it.

    It corrects what the classifier sees and nothing else, and cannot make events where the sample has none: look at
    the area after reweighting and at the effective size (`reweighting`). Ratios are finite: the calibration counts
    one more event of either sample at both ends, so no ratio exceeds about the number of reference events without a
    single event of the sample among them.

    Args:
        test: Outcome of `two_sample_test`, made with the events and weights to be reweighted.

    Returns:
        (N2,) positive ratios with weighted mean 1: times the weights of the sample they keep their sum.

    Raises:
        ValueError: If there are negative weights.
    """
    for name, weights in (("reference", test.reference_weights), ("sample", test.sample_weights)):
        if (weights < 0).any():
            raise ValueError(
                f"density ratio: {int((weights < 0).sum())} of {len(weights)} weights of the {name} are negative; the "
                "classifier learns with their magnitude, so its ratio would be that of the magnitudes; cut on the "
                "background instead of subtracting it, or take a sample with positive weights"
            )
    ratio = np.empty(len(test.sample_scores))
    for fold in np.unique(test.sample_folds):
        others1, others2 = test.reference_folds != fold, test.sample_folds != fold
        calibrated = isotonic_calibration(
            test.sample_scores[others2],
            test.reference_scores[others1],
            reference_weights=test.reference_weights[others1],
            sample_weights=test.sample_weights[others2],
        )
        probability = calibrated(test.sample_scores[~others2])
        ratio[~others2] = (1 - probability) / probability
    ratio *= test.sample_weights.sum() / (test.sample_weights @ ratio)
    return ratio


@dataclass(frozen=True)
class Reweighting:
    """Outcome of `reweighting`.

    Attributes:
        weights: (N2,) new weights of the sample: the old ones times the ratio, with the same sum.
        ratio: (N2,) density ratio at each event of the sample.
        before: Area under the ROC curve with the old weights.
        after: The same with the new weights, by classifiers trained anew inside each fold: 0.5 if they cannot
            tell the reweighted sample from the reference.
        effective_size: Number of unweighted events that fluctuate as much as the reweighted sample.
        effective_share: This number over that of the old weights: the price of reweighting.
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
    """Weights with which the sample imitates the reference, and how well it then does.

    A sample that is far from its reference cannot be repaired: a few events get all the weight. An effective share
    of a tenth means that nine of ten events were generated in vain.

    The area after reweighting is measured inside each fold, whose ratios come from the other folds. Do not run
    `two_sample_test` on the whole: the weights follow the fluctuations of this very reference, so where the events of
    a training have too many, the held-out ones have too few, and the area falls below 0.5 (0.45 for 10 000 events).
    Likewise a histogram of the reweighted sample agrees with this reference better than statistics allows; check it
    with events that were kept apart. Cost: two runs of `two_sample_test`, or one if `test` is given.

    Args:
        reference: (N1, F) features.
        sample: (N2, F) features.
        rng: Draws the folds.
        reference_weights: (N1,), default ones; none negative.
        sample_weights: (N2,), default ones; none negative.
        folds: Number of folds; each needs enough events for a test of its own.
        paired: As in `two_sample_test`.
        test: Outcome of `two_sample_test` with these events and weights, to save its time.

    Raises:
        ValueError: If `two_sample_test` or `density_ratio` refuse the events, or `test` is about others.

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
            reference_weights=reference_weights,
            sample_weights=sample_weights,
            folds=folds,
            paired=paired,
        )
    elif not np.array_equal(test.sample_weights, old) or len(test.reference_scores) != len(
        np.asarray(reference)
    ):
        raise ValueError(
            f"test: expected the outcome for these {len(np.asarray(reference))} and {len(old)} events and their "
            f"weights, got one for {len(test.reference_scores)} and {len(test.sample_scores)} events or other "
            "weights; make the test with the same arguments"
        )
    ratio = density_ratio(test)
    weights = old * ratio
    x1, x2 = np.asarray(reference), np.asarray(sample)
    inside = []
    for fold in np.unique(test.sample_folds):
        in1, in2 = test.reference_folds == fold, test.sample_folds == fold
        inside.append(
            two_sample_test(
                x2[in2],
                x1[in1],
                rng=rng,
                reference_weights=test.reference_weights[in1],
                sample_weights=weights[in2],
                folds=folds,
                paired=paired,
            ).auc
        )
    size = effective_size(weights)
    return Reweighting(weights, ratio, test.auc, over_folds(inside), size, size / effective_size(old))
