import numpy as np
import pytest
from scipy.stats import norm

from hepgan.metrics import area_under_curve, single_feature_auc, two_sample_test
from hepgan.metrics.classifier import boosting, correlated_groups


@pytest.fixture
def rng():
    return np.random.default_rng(13)


def test_boosting_guesses_between_equal_distributions(rng):
    result = two_sample_test(rng.normal(size=(1500, 4)), rng.normal(size=(1500, 4)), rng=rng, folds=3)
    value, uncertainty = result.auc
    assert value == pytest.approx(0.5, abs=4 * uncertainty)
    assert uncertainty < 0.02
    assert len(result.fold_aucs) == 3


def test_boosting_finds_a_shift_and_a_correlation(rng):
    x, y = rng.normal(size=(2000, 2)), rng.normal(size=(2000, 2))
    shifted, uncertainty = two_sample_test(y + np.array([1.0, 0.0]), x, rng=rng, folds=3).auc
    optimum = norm.cdf(1 / np.sqrt(2))
    assert optimum - 0.04 < shifted < optimum + 4 * uncertainty
    correlated = y @ np.linalg.cholesky(np.array([[1, 0.9], [0.9, 1]])).T  # every single feature agrees
    assert two_sample_test(correlated, x, rng=rng, folds=3).auc[0] > 0.75


def test_boosting_honours_weights(rng):
    x, y = rng.normal(size=(2000, 2)), rng.normal(0.7, 1, (2000, 2))
    weights = np.prod(norm.pdf(y) / norm.pdf(y - 0.7), axis=1)
    assert two_sample_test(y, x, rng=rng, folds=3).auc[0] > 0.7
    value, uncertainty = two_sample_test(y, x, rng=rng, folds=3, sample_weights=weights).auc
    assert value == pytest.approx(0.5, abs=4 * uncertainty)


def test_negative_weights_subtract(rng):
    """A sample polluted by a background, which other background with weight -1 takes out again."""
    signal, other = rng.normal(size=(3000, 2)), rng.normal(size=(3000, 2))
    background = rng.normal(1.5, 1, (4000, 2))
    polluted = np.concatenate([other, background])
    weights = np.concatenate([np.ones(5000), -np.ones(2000)])
    clean, uncertainty = two_sample_test(polluted, signal, rng=rng, folds=3, sample_weights=weights).auc
    assert clean == pytest.approx(0.5, abs=4 * uncertainty)
    assert uncertainty < 0.03
    assert two_sample_test(polluted, signal, rng=rng, folds=3).auc[0] > 0.7
    single, uncertainty = single_feature_auc(polluted[:, 0], signal[:, 0], rng=rng, sample_weights=weights)
    assert single == pytest.approx(0.5, abs=4 * uncertainty)


def test_pairs_share_a_fold(rng):
    # A shared continuous condition: unless partners share a fold, remembering it misleads the classifier.
    condition = rng.uniform(size=(600, 1))
    unpaired = two_sample_test(condition, condition, rng=rng, folds=5).auc
    paired = two_sample_test(condition, condition, rng=rng, folds=5, paired=True).auc
    assert paired[0] == pytest.approx(0.5)
    assert unpaired[0] < 0.5 - 2 * unpaired[1]


def test_scores_are_reproducible():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(200, 2)), rng.normal(size=(200, 2))
    first, second = (two_sample_test(y, x, rng=np.random.default_rng(5), folds=2) for _ in range(2))
    assert np.array_equal(first.sample_scores, second.sample_scores)
    assert first.auc == second.auc


def test_scores_are_probabilities_to_come_from_the_sample(rng):
    x, y = rng.normal(size=(600, 1)), rng.normal(1, 1, (500, 1))
    test = two_sample_test(y, x, rng=rng, folds=2)
    assert (test.sample_scores.shape, test.reference_scores.shape) == ((500,), (600,))
    assert test.sample_scores.mean() > 0.55 > 0.45 > test.reference_scores.mean()
    assert np.corrcoef(y[:, 0], test.sample_scores)[0, 1] > 0.8
    assert area_under_curve(test.sample_scores, test.reference_scores)[0] > 0.65


def test_importances_say_where_the_samples_differ(rng):
    x, y = rng.normal(size=(3000, 4)), rng.normal(size=(3000, 4))
    y[:, 1] += 0.7
    y[:, 3] *= 1.5
    test = two_sample_test(y, x, rng=rng, folds=3, importances=True)
    drops, errors = np.array(test.importances).T
    assert np.all(drops[[1, 3]] > 8 * errors[[1, 3]])
    assert np.all(np.abs(drops[[0, 2]]) < 4 * errors[[0, 2]])
    assert np.all(np.abs(drops[[0, 2]]) < 0.01)


def test_importance_of_the_only_feature_is_all_of_the_area(rng):
    x, y = rng.normal(size=(4000, 2)), rng.normal(size=(4000, 2))
    y[:, 0] += 1
    test = two_sample_test(y, x, rng=rng, folds=4, importances=True)
    value, uncertainty = test.importances[0]
    assert value == pytest.approx(test.auc[0] - 0.5, abs=4 * uncertainty)
    assert 0.001 < uncertainty < 0.02


def test_importances_of_a_correlation_belong_to_both(rng):
    x, y = rng.normal(size=(3000, 3)), rng.normal(size=(3000, 3))
    y[:, 1] = 0.8 * y[:, 0] + 0.6 * y[:, 1]  # every single feature agrees
    test = two_sample_test(y, x, rng=rng, folds=3, importances=True)
    (first, _), (second, _), (other, error) = test.importances
    assert min(first, second) > 0.05
    assert abs(other) < 4 * error


def test_copies_hide_each_other_unless_permuted_together(rng):
    x, y = rng.normal(size=(4000, 1)), rng.normal(1, 1, (4000, 1))
    # the same with a little noise, and something else
    x, y = (np.column_stack([v, v + rng.normal(0, 0.05, v.shape), rng.normal(size=v.shape)]) for v in (x, y))
    groups = correlated_groups(x)
    assert groups == [[0, 1], [2]]
    test = two_sample_test(y, x, rng=rng, folds=2, importances=True)
    together = two_sample_test(y, x, rng=rng, folds=2, importances=True, groups=groups)
    assert len(together.importances) == 2
    assert together.importances[0][0] == pytest.approx(test.auc[0] - 0.5, abs=0.03)
    hidden = min(value for value, _ in test.importances[:2])
    assert hidden < 0.6 * together.importances[0][0]


def test_importances_change_nothing_else():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(200, 2)), rng.normal(size=(200, 2))
    plain, more = (
        two_sample_test(y, x, rng=np.random.default_rng(5), folds=2, importances=i) for i in (False, True)
    )
    assert plain.auc == more.auc
    assert np.array_equal(plain.sample_scores, more.sample_scores)
    assert plain.importances == ()
    again = two_sample_test(y, x, rng=np.random.default_rng(5), folds=2, importances=True)
    assert again.importances == more.importances


def test_uncertainty_of_importances_is_the_spread_of_repetitions():
    values = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(500, 2)), rng.normal(size=(500, 2)) + np.array([0.7, 0])
        values.append(two_sample_test(y, x, rng=rng, folds=3, importances=True).importances[0])
    drops, errors = np.array(values).T
    assert 0.6 < drops.std() / errors.mean() < 1.5


def test_importances_honour_weights(rng):
    """Background in a feature, taken out by negative weights, leaves the feature unimportant."""
    x = rng.normal(size=(4000, 2))
    other, background = rng.normal(size=(4000, 2)), rng.normal(size=(3000, 2))
    background[:, 0] += 2
    polluted = np.concatenate([other, background])
    weights = np.concatenate([np.ones(5500), -np.ones(1500)])
    plain = two_sample_test(polluted, x, rng=rng, folds=2, importances=True).importances[0]
    assert plain[0] > 0.1
    value, uncertainty = two_sample_test(
        polluted, x, rng=rng, folds=2, importances=True, sample_weights=weights
    ).importances[0]
    assert value == pytest.approx(0, abs=4 * uncertainty)


def test_correlated_groups_are_chains(rng):
    x = rng.normal(size=(500, 1))
    columns = np.column_stack([x, rng.normal(size=500), x, -2 * x, np.zeros(500)])
    assert correlated_groups(columns) == [[0, 2, 3], [1], [4]]
    assert correlated_groups(columns, above=1.1) == [[0], [1], [2], [3], [4]]


def test_fold_and_weight_of_each_event_are_kept(rng):
    x, w = rng.normal(size=(60, 2)), rng.uniform(1, 2, 60)
    test = two_sample_test(x, x, rng=rng, folds=3, paired=True, sample_weights=w)
    assert np.array_equal(test.sample_weights, w)
    assert np.array_equal(test.reference_weights, np.ones(60))
    assert np.array_equal(test.reference_folds, test.sample_folds)
    assert np.bincount(test.sample_folds).tolist() == [20, 20, 20]


def test_single_feature(rng):
    x = rng.normal(size=8000)
    shifted, uncertainty = single_feature_auc(rng.normal(1, 1, 8000), x, rng=rng)
    assert shifted == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=4 * uncertainty + 0.005)
    assert single_feature_auc(rng.normal(0, 2, 8000), x, rng=rng)[0] > 0.65  # equal means, other width
    value, uncertainty = single_feature_auc(rng.normal(size=8000), x, rng=rng)
    assert value == pytest.approx(0.5, abs=4 * uncertainty)
    assert single_feature_auc(np.zeros(100), np.zeros(100), rng=rng, paired=True) == (0.5, 0.0)


def test_bad_samples(rng):
    x = rng.normal(size=(50, 2))
    with pytest.raises(ValueError, match="5 folds need at least 10 events in either sample, got 9 and 50"):
        two_sample_test(x[:9], x, rng=rng)
    with pytest.raises(
        ValueError, match="got 1 columns in the sample and 2 in the reference; select the same"
    ):
        two_sample_test(x[:, :1], x, rng=rng)
    with pytest.raises(ValueError, match="paired samples must have equal sizes, got 40 and 50"):
        two_sample_test(x[:40], x, rng=rng, paired=True)
    with pytest.raises(ValueError, match="reference: expected weights with a positive sum, got -50"):
        two_sample_test(x, x, rng=rng, reference_weights=-np.ones(50))
    with pytest.raises(
        ValueError, match=r"expected columns from 0 to 1 in each group, got \[1, 2\]; name the"
    ):
        two_sample_test(x, x, rng=rng, importances=True, groups=[[0], [1, 2]])
    with pytest.raises(ValueError, match=r"expected columns from 0 to 1 in each group, got \[\]"):
        two_sample_test(x, x, rng=rng, importances=True, groups=[[]])


def test_boosting_scores_other_events(rng):
    x, y = rng.normal(size=(2, 2000, 2))
    y[:, 0] += 1.0
    weights = np.where(rng.random(2000) < 0.1, -1.0, 1.0)  # their magnitudes train
    score = boosting((y, weights), (x, np.ones(2000)), rng=np.random.default_rng(1))
    others, shifted = rng.normal(size=(2, 2000, 2))
    shifted[:, 0] += 1.0
    optimum = norm.cdf(1 / np.sqrt(2))
    assert optimum - 0.04 < area_under_curve(score(shifted), score(others))[0] < optimum + 0.04
