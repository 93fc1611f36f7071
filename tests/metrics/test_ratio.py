from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from hepgan.metrics import area_under_curve, mean, spread, two_sample_test
from hepgan.metrics.moments import effective_size
from hepgan.metrics.ratio import density_ratio, isotonic_calibration, reweighting


@pytest.fixture
def rng():
    return np.random.default_rng(29)


def gaussians(rng, n=10000, *, shift=0.5, width=1.1, features=2):
    """Reference and sample, and the ratio of their densities at the sample's events."""
    x, y = rng.normal(size=(n, features)), rng.normal(size=(n, features))
    y[:, 0] = shift + width * y[:, 0]
    return x, y, norm.pdf(y[:, 0]) / norm.pdf(y[:, 0], shift, width)


def test_effective_size():
    assert effective_size(np.full(10, 3.0)) == pytest.approx(10)
    assert effective_size([1.0, 1.0, 0.0]) == pytest.approx(2)
    assert effective_size([1.0, 1.0, -1.0]) == pytest.approx(1 / 3)
    assert effective_size(np.zeros(3)) == 0


def test_reweighted_gaussian_is_the_reference(rng):
    x, y, truth = gaussians(rng)
    result = reweighting(y, x, rng=rng)
    assert result.before[0] > 0.6
    assert result.after[0] == pytest.approx(0.5, abs=0.02)
    assert result.weights.sum() == pytest.approx(len(y))
    fresh = rng.normal(size=10000)  # not the events that the weights were made with
    for moment in (mean, spread):
        old, new, target = moment(y[:, 0]), moment(y[:, 0], result.weights), moment(fresh)
        assert abs(new[0] - target[0]) < 0.08
        assert abs(new[0] - target[0]) < 0.4 * abs(old[0] - target[0])
    assert result.effective_size == pytest.approx(effective_size(truth), rel=0.1)
    assert result.effective_share == pytest.approx(result.effective_size / len(y))
    logarithm = np.log(result.ratio / truth)
    assert logarithm.mean() == pytest.approx(0, abs=0.05)
    assert logarithm.std() < 0.3
    assert np.corrcoef(np.log(result.ratio), np.log(truth))[0, 1] > 0.9


def test_fresh_reference_cannot_be_told_from_the_reweighted_sample(rng):
    x, y, _ = gaussians(rng)
    weights = reweighting(y, x, rng=rng).weights
    value, uncertainty = two_sample_test(y, rng.normal(size=x.shape), rng=rng, sample_weights=weights).auc
    assert value == pytest.approx(0.5, abs=0.02)
    # while with the very reference it falls below 0.5, as the docstring warns
    value, uncertainty = two_sample_test(y, x, rng=rng, sample_weights=weights).auc
    assert value < 0.5 - 3 * uncertainty


def test_equal_samples_keep_their_weights(rng):
    x = rng.normal(size=(8000, 3))
    result = reweighting(x[4000:], x[:4000], rng=rng)
    assert result.after[0] == pytest.approx(0.5, abs=4 * result.after[1])
    assert result.effective_share > 0.93
    assert np.median(result.ratio) == pytest.approx(1, abs=0.05)


def test_weights_of_either_sample_are_honoured(rng):
    """Weights that make the samples equal leave nothing to correct."""
    x, y, truth = gaussians(rng, 6000)
    corrected = reweighting(y, x, rng=rng, sample_weights=truth)
    assert corrected.before[0] == pytest.approx(0.5, abs=0.02)
    assert corrected.effective_share > 0.9
    assert corrected.weights.sum() == pytest.approx(truth.sum())
    target = norm.pdf(x[:, 0], 0.5, 1.1) / norm.pdf(x[:, 0])
    same = density_ratio(two_sample_test(y, x, rng=rng, reference_weights=target))
    assert np.log(same).std() < 0.3 * np.log(truth).std()


def test_negative_weights_are_refused_with_the_reason(rng):
    x = rng.normal(size=(400, 1))
    signs = np.where(np.arange(400) < 100, -1.0, 1.0)
    for weights in ({"reference_weights": signs}, {"sample_weights": signs}):
        test = two_sample_test(x, x, rng=rng, paired=True, **weights)
        with pytest.raises(
            ValueError, match=r"100 of 400 weights of the .* are negative; the classifier learns"
        ):
            density_ratio(test)


def test_ratios_are_finite_where_samples_do_not_overlap(rng):
    x, y = rng.normal(size=(1000, 1)), rng.normal(30, 1, (1000, 1))
    y[:100] = rng.normal(size=(100, 1))
    ratio = density_ratio(two_sample_test(y, x, rng=rng))
    assert np.isfinite(ratio).all()
    assert (ratio > 0).all()
    assert ratio.mean() == pytest.approx(1)
    assert np.median(ratio[:100]) > 100 * np.median(ratio[100:])
    assert effective_size(ratio) < 110  # what no weights can repair shows


def test_no_fold_calibrates_itself(rng):
    x, y, _ = gaussians(rng, 600)
    test = two_sample_test(y, x, rng=rng, folds=3)
    ratio = density_ratio(test)
    for fold in range(3):
        inside = test.sample_folds == fold
        others = np.where(test.reference_folds == fold, test.reference_scores, 0.3)
        own = np.where(test.reference_folds == fold, 0.3, test.reference_scores)
        # ratios of the fold keep their proportions if its own scores change, and not if those of the others do
        for scores, same in ((own, True), (others, False)):
            changed = density_ratio(replace(test, reference_scores=scores))
            assert (np.ptp(np.log(changed[inside] / ratio[inside])) < 1e-9) == same


def test_calibration_is_the_posterior(rng):
    s1, s2 = rng.normal(size=20000), rng.normal(1, 1, 20000)
    posterior = isotonic_calibration(s2, s1)
    grid = np.linspace(-1.5, 2.5, 9)
    truth = 1 / (1 + np.exp(0.5 - grid))
    assert posterior(grid) == pytest.approx(truth, abs=0.04)
    assert (np.diff(posterior(np.linspace(-5, 5, 1000))) >= 0).all()
    assert area_under_curve(posterior(s2), posterior(s1))[0] == pytest.approx(
        norm.cdf(1 / np.sqrt(2)), abs=0.01
    )


def test_calibration_by_hand():
    # three events of the reference, then three of the sample; with one more of either at both ends
    sure = isotonic_calibration([3.0, 4.0, 5.0], [0.0, 1.0, 2.0], cautious=False)
    assert sure([0.0, 2.0, 3.0, 9.0]) == pytest.approx([1e-6, 1e-6, 1 - 1e-6, 1 - 1e-6])
    assert sure([2.5]) == pytest.approx([0.5])  # linear between
    cautious = isotonic_calibration([3.0, 4.0, 5.0], [0.0, 1.0, 2.0])
    assert cautious([-1.0, 2.0, 3.0]) == pytest.approx([1 / 5, 1 / 5, 4 / 5])


def test_duplicates_equal_weights(rng):
    s1, s2 = rng.normal(size=200), rng.normal(1, 1, 200)
    twice = isotonic_calibration(s2, np.repeat(s1, 2), cautious=False)
    weighted = isotonic_calibration(s2, s1, reference_weights=np.full(200, 2.0), cautious=False)
    w = np.where(s2 > 1, 2, 1)
    some = isotonic_calibration(np.repeat(s2, w), s1, cautious=False)
    grid = np.linspace(-3, 4, 50)
    assert twice(grid) == pytest.approx(weighted(grid))
    assert some(grid) == pytest.approx(isotonic_calibration(s2, s1, sample_weights=w, cautious=False)(grid))


def test_calibration_with_negative_weights(rng):
    s1, s2 = rng.normal(size=20000), rng.normal(1, 1, 20000)
    background = rng.normal(3, 0.5, 10000)
    scores = np.concatenate([s1, background])
    weights = np.concatenate([np.ones(25000), -np.ones(5000)])
    posterior = isotonic_calibration(s2, scores, reference_weights=weights)
    grid = np.linspace(-1, 2, 7)
    assert posterior(grid) == pytest.approx(1 / (1 + np.exp(0.5 - grid)), abs=0.06)
    assert (np.diff(posterior(np.linspace(-5, 5, 1000))) >= 0).all()


def test_bins_of_negative_weights_are_pooled():
    # nothing but negative weights at the top: the bins below must take them
    scores = np.arange(100.0)
    weights = np.where(scores < 90, 1.0, -1.0)
    posterior = isotonic_calibration(scores, scores, reference_weights=weights)
    values = posterior(scores)
    assert np.isfinite(values).all()
    assert ((values > 0) & (values < 1)).all()


def test_a_test_of_other_events_is_refused(rng):
    x, y, truth = gaussians(rng, 100)
    test = two_sample_test(y, x, rng=rng)
    with pytest.raises(
        ValueError, match="expected the outcome for these 90 and 100 events and their weights"
    ):
        reweighting(y[:90], x, rng=rng, test=test)
    with pytest.raises(ValueError, match="or other weights; make the test with the same arguments"):
        reweighting(y, x, rng=rng, test=test, sample_weights=truth)
    result = reweighting(y, x, rng=rng, test=test)
    assert result.before == test.auc
