import logging

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import gaussian_kde, norm

from hepgan.metrics.parzen import parzen_log_likelihood


@pytest.fixture
def rng():
    return np.random.default_rng(47)


def entropy(features, sigma=1.0):
    """Of a round Gaussian, in nats."""
    return 0.5 * features * np.log(2 * np.pi * np.e * sigma**2)


@pytest.mark.parametrize("sigma", [0.01, 1.0, 30.0])
def test_close_to_the_negative_entropy_in_one_dimension(rng, sigma):
    x, y = rng.normal(3, sigma, (4000, 1)), rng.normal(3, sigma, (4000, 1))
    result = parzen_log_likelihood(y, x, rng=rng)
    assert result.value == pytest.approx(-entropy(1, sigma), abs=4 * result.uncertainty + 0.01)
    assert 0.01 < result.uncertainty < 0.02  # sqrt(1 / 2 / 3000)
    assert 0.03 * sigma < result.bandwidth < 0.6 * sigma
    assert not result.at_edge
    assert result.measurement == (result.value, result.uncertainty)


def test_a_wrong_sample_is_less_likely(rng):
    # cross entropy of a Gaussian that is shifted: shift^2 / 2 more
    x, y = rng.normal(size=(4000, 1)), rng.normal(0.5, 1, (4000, 1))
    result = parzen_log_likelihood(y, x, rng=rng)
    # the kernel widens the model, which makes up for a little of it
    assert -entropy(1) - 0.125 - 4 * result.uncertainty < result.value < -entropy(1) - 0.05


def test_agrees_with_scipy(rng):
    x, y, w = rng.normal(size=(100, 2)), rng.normal(size=(80, 2)), rng.uniform(size=80)
    result = parzen_log_likelihood(y, x, rng=np.random.default_rng(1), sample_weights=w, bandwidths=[0.5])
    held_out = x[np.random.default_rng(1).permutation(100)[50:]]
    density = [logsumexp(norm.logpdf(e, y, 0.5).sum(1), b=w / w.sum()) for e in held_out]
    assert result.value == pytest.approx(np.mean(density))
    # and in one dimension scipy's kernel density, whose bandwidth is a factor on the standard deviation
    u, v = x[:, :1], y[:, :1]
    result = parzen_log_likelihood(v, u, rng=np.random.default_rng(1), bandwidths=[0.3])
    kernel = gaussian_kde(v[:, 0], bw_method=0.3 / v[:, 0].std(ddof=1))
    held_out = u[np.random.default_rng(1).permutation(100)[50:], 0]
    assert result.value == pytest.approx(kernel.logpdf(held_out).mean())


def test_true_events_are_nats_below_the_truth_in_many_dimensions(rng):
    x, y = rng.normal(size=(3000, 10)), rng.normal(size=(3000, 10))
    result = parzen_log_likelihood(y, x, rng=rng)
    assert result.value < -entropy(10) - 0.15 - 4 * result.uncertainty


def test_worse_samples_get_a_better_value(rng):
    """The warning of arXiv:1511.01844: events that are plainly too narrow are preferred to true ones."""
    x, true = rng.normal(size=(3000, 10)), rng.normal(size=(3000, 10))
    honest, narrow = (parzen_log_likelihood(c, x, rng=np.random.default_rng(1)) for c in (true, 0.7 * true))
    assert narrow.value > honest.value + 0.2
    assert narrow.value - honest.value > 5 * honest.uncertainty


def test_best_bandwidth_is_the_best_of_a_fine_grid(rng):
    x, y = rng.normal(size=(2500, 3)), rng.normal(size=(1000, 3))
    default = parzen_log_likelihood(y, x, rng=np.random.default_rng(1))
    fine = parzen_log_likelihood(y, x, rng=np.random.default_rng(1), bandwidths=np.geomspace(0.05, 3, 60))
    assert default.bandwidth == pytest.approx(fine.bandwidth, rel=0.2)
    assert default.value == pytest.approx(fine.value, abs=0.01)
    # far from Silverman's rule, which knows nothing of two narrow peaks
    peaks = 10 * rng.integers(0, 2, (2500, 1)) + 0.01 * rng.normal(size=(2500, 1))
    result = parzen_log_likelihood(peaks[1500:], peaks[:1500], rng=rng)
    assert result.value == pytest.approx(-entropy(1, 0.01) - np.log(2), abs=0.1)


def test_a_bandwidth_at_the_edge_is_told(rng, caplog):
    x, y = rng.normal(size=(500, 2)), rng.normal(size=(500, 2))
    with caplog.at_level(logging.WARNING, logger="hepgan"):
        assert not parzen_log_likelihood(y, x, rng=rng, bandwidths=[0.01, 0.3, 5]).at_edge
        assert not caplog.records
        assert parzen_log_likelihood(y, x, rng=rng, bandwidths=[1, 2, 3]).at_edge
    assert "the best bandwidth, 1, is at the edge of those given, 1..3; give a wider range" in caplog.text


def test_weight_two_is_an_event_twice(rng):
    x, y = rng.normal(size=(200, 3)), rng.normal(0.2, 1, (200, 3))
    weights = np.where(np.arange(200) < 50, 2.0, 1.0)
    doubled = parzen_log_likelihood(np.concatenate([y, y[:50]]), x, rng=np.random.default_rng(1))
    for scale in (1.0, 7.0):
        weighted = parzen_log_likelihood(y, x, rng=np.random.default_rng(1), sample_weights=scale * weights)
        assert weighted.measurement == pytest.approx(doubled.measurement)
    # of the reference, where the split is random: as likely as its events, on average
    x = np.concatenate([rng.normal(size=(2000, 1)), rng.normal(5, 1, (2000, 1))])
    weights = np.repeat([3.0, 1.0], 2000)
    weighted = parzen_log_likelihood(x[:2000] + 0.01, x, rng=rng, reference_weights=weights)
    plain = parzen_log_likelihood(x[:2000] + 0.01, np.repeat(x, weights.astype(int), 0), rng=rng)
    assert weighted.value == pytest.approx(
        plain.value, abs=4 * np.hypot(weighted.uncertainty, plain.uncertainty)
    )


def test_negative_weights_of_the_reference_subtract(rng):
    signal, background = rng.normal(size=(4000, 1)), rng.normal(4, 1, (3000, 1))
    polluted = np.concatenate([signal, rng.normal(4, 1, (3000, 1)), background])
    weights = np.concatenate([np.ones(7000), -np.ones(3000)])
    sample = rng.normal(size=(4000, 1))
    result = parzen_log_likelihood(sample, polluted, rng=rng, reference_weights=weights)
    assert result.value == pytest.approx(-entropy(1), abs=4 * result.uncertainty)
    assert parzen_log_likelihood(sample, polluted[:7000], rng=rng).value < -entropy(1) - 1


def test_negative_weights_of_the_sample_are_refused(rng):
    x = rng.normal(size=(30, 2))
    weights = np.where(np.arange(30) < 3, -0.5, 1.0)
    with pytest.raises(
        ValueError, match=r"sample: 3 of 30 weights are negative.*no logarithm; use a distance"
    ):
        parzen_log_likelihood(x, x, rng=rng, sample_weights=weights)


def test_uncertainty_is_the_spread_of_repetitions(rng):
    sample = rng.normal(size=(500, 2))  # the same: the uncertainty is that of the held-out events
    repeated = [
        parzen_log_likelihood(sample, rng.normal(size=(600, 2)), rng=rng, bandwidths=[0.3]).measurement
        for _ in range(80)
    ]
    values, uncertainties = np.array(repeated).T
    assert uncertainties.mean() == pytest.approx(values.std(), rel=0.25)


def test_halves_of_a_sample_and_subsets(rng):
    """A second sample of the reference is the mark to compare with, whichever is held out."""
    x, y = rng.normal(size=(3000, 4)), rng.normal(size=(3000, 4))
    one, other = (parzen_log_likelihood(b, a, rng=rng, most=1000) for a, b in ((x, y), (y, x)))
    assert one.value == pytest.approx(other.value, abs=4 * np.hypot(one.uncertainty, other.uncertainty))
    assert one.value < parzen_log_likelihood(y, x, rng=rng, most=3000).value + 4 * one.uncertainty
    assert one.uncertainty == pytest.approx(np.sqrt(4 / 2 / 1000), rel=0.2)  # as many held out as centres


def test_seeded(rng):
    x, y = rng.normal(size=(100, 3)), rng.normal(size=(100, 3))
    first, second = (parzen_log_likelihood(y, x, rng=np.random.default_rng(3), most=50) for _ in range(2))
    assert first == second


def test_bad_samples(rng):
    x = rng.normal(size=(50, 2))
    with pytest.raises(ValueError, match="got 1 columns in the sample and 2 in the reference; select"):
        parzen_log_likelihood(x[:, :1], x, rng=rng)
    with pytest.raises(ValueError, match=r"grows without limit.*held-out events are also in the sample"):
        parzen_log_likelihood(x, x, rng=rng)
    with pytest.raises(ValueError, match="sample: all events are the same"):
        parzen_log_likelihood(np.ones((50, 2)), x, rng=rng)
    with pytest.raises(ValueError, match="bandwidths: expected positive numbers, got"):
        parzen_log_likelihood(x, x, rng=rng, bandwidths=[0.1, 0.0])
    with pytest.raises(ValueError, match="bandwidths: expected positive numbers, got"):
        parzen_log_likelihood(x, x, rng=rng, bandwidths=[])
    with pytest.raises(ValueError, match="reference: expected at least two events"):
        parzen_log_likelihood(x, x[:1], rng=rng)
