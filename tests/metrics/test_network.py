import numpy as np
import pytest
import torch
from scipy.special import xlogy
from scipy.stats import norm

from hepgan.metrics import area_under_curve
from hepgan.metrics.network import network_test, trained_network

QUICK = {"width": 32, "depth": 2, "epochs": 25, "batch_size": 200}


@pytest.fixture
def rng():
    return np.random.default_rng(17)


def jensen_shannon(shift):
    """Of two unit Gaussians, in units of ln 2."""
    x = np.linspace(-10, 10 + shift, 20001)
    p, q = norm.pdf(x), norm.pdf(x, shift)
    return 0.5 * np.sum(xlogy(p, 2 * p / (p + q)) + xlogy(q, 2 * q / (p + q))) * (x[1] - x[0]) / np.log(2)


def test_shifted_gaussians_have_the_area_and_divergence_of_the_optimum(rng):
    x, y = rng.normal(size=(5000, 3)), rng.normal(size=(5000, 3)) + np.array([1.5, 0, 0])
    result = network_test(y, x, rng=rng, **QUICK)
    auc, auc_error = result.auc
    jsd, jsd_error = result.jsd
    assert auc == pytest.approx(norm.cdf(1.5 / np.sqrt(2)), abs=4 * auc_error)
    assert jsd == pytest.approx(jensen_shannon(1.5), abs=4 * jsd_error)
    assert auc_error < 0.015
    assert jsd_error < 0.03


def test_it_guesses_between_halves_of_a_sample(rng):
    x = rng.normal(size=(6000, 5))
    result = network_test(x[3000:], x[:3000], rng=rng, **QUICK)
    assert result.auc[0] == pytest.approx(0.5, abs=4 * result.auc[1])
    assert -0.05 < result.jsd[0] < 0.01  # a calibration that learnt noise costs a little


def test_it_sees_a_correlation(rng):
    x, y = rng.normal(size=(3000, 2)), rng.normal(size=(3000, 2))
    correlated = y @ np.linalg.cholesky(np.array([[1, 0.9], [0.9, 1]])).T  # every single feature agrees
    assert network_test(correlated, x, rng=rng, **QUICK).auc[0] > 0.7


def test_samples_far_apart_end_the_training(rng):
    lines = []
    result = network_test(
        rng.normal(20, 1, (500, 2)), rng.normal(size=(500, 2)), rng=rng, step=lines.append, **QUICK
    )
    assert result.auc == (1.0, 0.0)
    assert result.jsd[0] == pytest.approx(1, abs=0.01)
    assert result.runs[0].accuracy == 1
    assert len(lines) == result.runs[0].best_epoch < QUICK["epochs"]
    assert lines[-1] == f"epoch {len(lines)} of 25: accuracy 1.0000"


def test_judged_events_are_the_fifth_that_nothing_was_learnt_from(rng):
    x, y = rng.normal(size=(1000, 2)), rng.normal(1, 1, (500, 2))
    run = network_test(y, x, rng=rng, **QUICK).runs[0]
    assert (len(np.unique(run.reference_events)), len(np.unique(run.sample_events))) == (200, 100)
    assert run.reference_scores.shape == (200,)
    # the scores belong to these events: the more to the right, the more like the sample
    assert np.corrcoef(x[run.reference_events].sum(1), run.reference_scores)[0, 1] > 0.8
    assert np.corrcoef(y[run.sample_events].sum(1), run.sample_scores)[0, 1] > 0.8
    assert 0 < run.sample_scores.min() < run.sample_scores.max() < 1


def test_scores_are_probabilities(rng):
    x, y = rng.normal(size=(6000, 1)), rng.normal(1, 1, (6000, 1))
    run = network_test(y, x, rng=rng, **QUICK).runs[0]
    truth = norm.pdf(y[run.sample_events, 0] - 1)
    truth /= truth + norm.pdf(y[run.sample_events, 0])
    assert np.sqrt(np.mean((run.sample_scores - truth) ** 2)) < 0.06


def test_weights(rng):
    """True weights make the samples equal; negative ones take a background out again."""
    x, y = rng.normal(size=(4000, 2)), rng.normal(0.7, 1, (4000, 2))
    weights = np.prod(norm.pdf(y) / norm.pdf(y - 0.7), axis=1)
    assert network_test(y, x, rng=rng, **QUICK).auc[0] > 0.7
    value, uncertainty = network_test(y, x, rng=rng, sample_weights=weights, **QUICK).auc
    assert value == pytest.approx(0.5, abs=4 * uncertainty)
    signal, background = rng.normal(size=(4000, 2)), rng.normal(1.5, 1, (4000, 2))
    polluted = np.concatenate([signal, background])
    signs = np.concatenate([np.ones(6000), -np.ones(2000)])
    assert network_test(polluted, x, rng=rng, **QUICK).auc[0] > 0.6
    value, uncertainty = network_test(polluted, x, rng=rng, sample_weights=signs, **QUICK).auc
    assert value == pytest.approx(0.5, abs=4 * uncertainty)
    assert uncertainty < 0.06


def test_common_factors_of_the_weights_and_sizes_do_not_matter(rng):
    x, y = rng.normal(size=(600, 2)), rng.normal(1, 1, (300, 2))
    plain = network_test(y, x, rng=np.random.default_rng(3), **QUICK)
    double = network_test(y, x, rng=np.random.default_rng(3), reference_weights=np.full(600, 2.0), **QUICK)
    assert double.auc == pytest.approx(plain.auc)
    assert double.jsd == pytest.approx(plain.jsd)


def test_repetitions_and_seeds(rng):
    x, y = rng.normal(size=(600, 2)), rng.normal(0.5, 1, (600, 2))
    torch.manual_seed(1)
    untouched = torch.random.get_rng_state()
    first, second = (
        network_test(y, x, rng=np.random.default_rng(5), repetitions=3, **QUICK) for _ in range(2)
    )
    assert torch.equal(torch.random.get_rng_state(), untouched)
    assert first.auc == second.auc
    assert np.array_equal(first.runs[2].sample_scores, second.runs[2].sample_scores)
    areas = np.array([run.auc for run in first.runs])
    assert len(set(areas[:, 0])) == 3
    assert first.auc == (pytest.approx(areas[:, 0].mean()), max(areas[:, 1].mean(), areas[:, 0].std(ddof=1)))


def test_uncertainty_covers_the_scatter():
    pulls = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(1000, 1)), rng.normal(1, 1, (1000, 1))
        value, uncertainty = network_test(y, x, rng=rng, **QUICK).auc
        pulls.append((value - norm.cdf(1 / np.sqrt(2))) / uncertainty)
    assert 0.5 < np.std(pulls) < 1.6
    assert abs(np.mean(pulls)) < 1


def test_paired_events_share_a_part(rng):
    x = rng.normal(size=(50, 2))
    run = network_test(x, x, rng=rng, paired=True, **QUICK).runs[0]
    assert np.array_equal(run.reference_events, run.sample_events)
    assert run.auc[0] == pytest.approx(0.5)


def test_bad_arguments(rng):
    x = rng.normal(size=(50, 2))
    with pytest.raises(
        ValueError, match="at least 10 events in either sample, got 9 and 50; take more events"
    ):
        network_test(x[:9], x, rng=rng)
    with pytest.raises(ValueError, match="got 1 columns in the sample and 2 in the reference; select"):
        network_test(x[:, :1], x, rng=rng)
    with pytest.raises(ValueError, match="paired samples must have equal sizes, got 40 and 50"):
        network_test(x[:40], x, rng=rng, paired=True)
    with pytest.raises(ValueError, match="expected a positive epochs, got 0; give at least 1"):
        network_test(x, x, rng=rng, epochs=0)
    with pytest.raises(ValueError, match="reference: expected weights with a positive sum, got -50"):
        network_test(x, x, rng=rng, reference_weights=-np.ones(50))
    with pytest.raises(
        ValueError, match="expected finite scores, got NaN; the features must be of order one"
    ):
        network_test(x, np.sign(x) * 3e38, rng=rng, **QUICK)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees(rng):
    x, y = rng.normal(size=(2000, 3)), rng.normal(0.7, 1, (2000, 3))
    host, device = (
        network_test(y, x, rng=np.random.default_rng(2), device=name, **QUICK).auc for name in ("cpu", "cuda")
    )
    assert device[0] == pytest.approx(host[0], abs=host[1])


def test_a_network_trained_in_seconds_sees_a_correlation_in_other_events(rng):
    def drawn(correlation):
        mixing = np.linalg.cholesky(np.array([[1, correlation], [correlation, 1]]))
        return 100 + 20 * rng.normal(size=(3000, 2)) @ mixing.T

    ones = np.ones(3000)
    score = trained_network((drawn(0.9), ones), (drawn(0.0), -ones), rng=np.random.default_rng(1))
    assert area_under_curve(score(drawn(0.9)), score(drawn(0.0)))[0] > 0.75
    assert area_under_curve(score(drawn(0.9)), score(drawn(0.9)))[0] == pytest.approx(0.5, abs=0.03)


def test_a_constant_feature_and_an_early_end_do_not_hurt_the_network(rng):
    x, y = rng.normal(size=(2, 600, 2))
    x[:, 1] = y[:, 1] = 3.0
    done = []
    score = trained_network((x, np.ones(600)), (y, np.ones(600)), rng=rng, epochs=2, step=done.append)
    assert done == [1, 2]
    assert np.isfinite(score(np.array([[0.0, 3.0], [1e9, -1e9]]))).all()

    def stop(_):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        trained_network((x, np.ones(600)), (y, np.ones(600)), rng=rng, step=stop)
