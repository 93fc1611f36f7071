import numpy as np
import pytest
from scipy.stats import ks_2samp, norm

from hepgan.metrics import ks_distance, ks_in_bins, ks_projected


@pytest.fixture
def rng():
    return np.random.default_rng(31)


def test_distance_to_itself_is_zero(rng):
    x = rng.normal(size=100)
    assert ks_distance(x[::-1], x)[0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("shift", [0.2, 1.0, 3.0])
def test_shifted_gaussians(rng, shift):
    value, uncertainty = ks_distance(rng.normal(shift, 1, 4000), rng.normal(size=4000))
    assert value == pytest.approx(2 * norm.cdf(shift / 2) - 1, abs=4 * uncertainty)
    assert uncertainty < 0.02


def test_gaussians_of_different_width(rng):
    # F1 - F2 is largest where the densities cross: x^2 = 2 ln(s) s^2 / (s^2 - 1) with s the ratio of the widths
    crossing = np.sqrt(2 * np.log(2) * 4 / 3)
    value, uncertainty = ks_distance(rng.normal(0, 2, 4000), rng.normal(size=4000))
    assert value == pytest.approx(norm.cdf(crossing) - norm.cdf(crossing / 2), abs=4 * uncertainty)


def test_agrees_with_scipy_with_ties(rng):
    x, y = rng.poisson(3, 300).astype(float), rng.poisson(3.5, 200).astype(float)
    assert ks_distance(y, x)[0] == pytest.approx(ks_2samp(x, y).statistic)


def test_a_point_mass_that_is_smeared(rng):
    x = np.where(np.arange(1000) < 300, -999.0, rng.normal(size=1000))
    smeared = np.where(x == -999, rng.normal(-999, 1, 1000), x)
    assert ks_distance(smeared, x)[0] == pytest.approx(0.3 / 2, abs=0.03)  # half of the mass is below -999


def test_weight_two_is_an_event_twice(rng):
    x, y = rng.normal(size=200), rng.normal(0.2, 1, 200)
    weights = np.where(np.arange(200) < 50, 2.0, 1.0)
    doubled = np.concatenate([y, y[:50]])
    assert ks_distance(y, x, sample_weights=weights)[0] == pytest.approx(ks_distance(doubled, x)[0])
    assert ks_distance(y, x, sample_weights=3 * np.ones(200)) == pytest.approx(ks_distance(y, x))


def test_negative_weights_subtract(rng):
    signal, background = rng.normal(size=3000), rng.normal(3, 1, 3000)
    polluted = np.concatenate([signal, rng.normal(3, 1, 3000), background])
    weights = np.concatenate([np.ones(6000), -np.ones(3000)])
    reference = rng.normal(size=3000)
    # as 1000 effective events fluctuate, three times fewer than there is signal
    assert ks_distance(polluted, reference, sample_weights=weights)[0] < 0.065
    assert ks_distance(polluted[:6000], reference)[0] > 0.4


@pytest.mark.parametrize("weighted", [False, True])
def test_uncertainty_is_the_spread_of_repetitions(rng, weighted):
    def once():
        x, y = rng.normal(size=800), rng.normal(0.6, 1, 800)
        weights = rng.choice([-0.3, 1.0], 800, p=[0.2, 0.8]) if weighted else None
        return ks_distance(y, x, reference_weights=weights)

    values, uncertainties = np.array([once() for _ in range(150)]).T
    assert uncertainties.mean() == pytest.approx(values.std(), rel=0.2)


def test_bins_are_samples_of_their_own(rng):
    x, y = rng.normal(size=900), rng.normal(size=700)
    c, d = rng.uniform(0, 3, 900), rng.uniform(0, 3, 700)
    u, v = rng.uniform(-0.1, 1, 900), rng.uniform(-0.1, 1, 700)
    y += d  # grows with the condition
    edges = np.array([0.5, 1.0, 2.0, 2.5])  # what lies outside is in the first and last bin
    weights = {"sample_weights": v, "reference_weights": u}
    result = ks_in_bins(y, x, sample_condition=d, reference_condition=c, edges=edges, **weights)
    for k, (low, high) in enumerate(((-np.inf, 1), (1, 2), (2, np.inf))):
        a, b = (c >= low) & (c < high), (d >= low) & (d < high)
        alone = ks_distance(y[b], x[a], sample_weights=v[b], reference_weights=u[a])
        assert result[k] == pytest.approx(alone)
    assert (np.diff(result[:, 0]) > 0).all()


def test_bins_without_weight_are_not_defined(rng):
    x = rng.normal(size=40)
    c = np.repeat([0.5, 2.5], 20)
    weights = np.where(c < 1, -0.5, 1.0)
    edges = np.array([0.0, 1.0, 2.0, 3.0])
    result = ks_in_bins(
        x, x, sample_condition=c, reference_condition=c, edges=edges, reference_weights=weights
    )
    assert np.isnan(result[:2]).all()
    assert result[2, 0] == pytest.approx(0, abs=1e-12)


def test_projections_see_correlations_that_no_observable_shows(rng):
    x = rng.normal(size=(3000, 2))
    y = rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 3000)
    assert max(ks_distance(b, a)[0] for a, b in zip(x.T, y.T, strict=True)) < 0.05
    value, uncertainty = ks_projected(y, x, rng=rng)
    # along the anti-diagonal: widths 1 and sqrt(0.2)
    ratio = 1 / np.sqrt(0.2)
    crossing = np.sqrt(2 * np.log(ratio) / (ratio**2 - 1))
    assert value == pytest.approx(norm.cdf(crossing * ratio) - norm.cdf(crossing), abs=4 * uncertainty)
    assert ks_projected(x, x, rng=rng)[0] == pytest.approx(0, abs=1e-12)


def test_a_sentinel_does_not_hide_the_rest(rng):
    x, y = rng.normal(size=(3000, 2)), rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 3000)
    x[:100] = y[:100] = -999
    assert ks_projected(y, x, rng=rng)[0] > 0.15


def test_seeded(rng):
    x, y = rng.normal(size=(100, 3)), rng.normal(size=(100, 3))
    first, second = (ks_projected(y, x, rng=np.random.default_rng(3)) for _ in range(2))
    assert first == second


def test_empty_and_negative_samples_are_refused():
    with pytest.raises(ValueError, match="sample: expected at least one event, got none"):
        ks_distance([], [1.0])
    with pytest.raises(ValueError, match="reference: expected weights with a positive sum, got -1"):
        ks_distance([1.0], [1.0], reference_weights=[-1.0])
