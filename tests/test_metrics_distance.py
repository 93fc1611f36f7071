import numpy as np
import pytest
from scipy.stats import norm, wasserstein_distance

from hepgan.metrics import wasserstein


@pytest.fixture
def rng():
    return np.random.default_rng(12)


def test_distance_to_itself_is_zero(rng):
    x = rng.normal(size=100)
    assert wasserstein(x, x[::-1], rng=rng)[0] == pytest.approx(0, abs=1e-12)


def test_shift_and_scale_of_gaussians(rng):
    x = rng.normal(0, 2, 4000)
    assert wasserstein(x, x + 0.7, rng=rng)[0] == pytest.approx(0.7)
    value, uncertainty = wasserstein(x, rng.normal(0.7, 2, 4000), rng=rng)
    assert value == pytest.approx(0.7, abs=4 * uncertainty)
    # equal means, widths 2 and 3: the integral of |F1 - F2| is the difference of widths times sqrt(2 / pi)
    value, uncertainty = wasserstein(x, rng.normal(0, 3, 4000), rng=rng)
    assert value == pytest.approx(np.sqrt(2 / np.pi), abs=4 * uncertainty)


def test_agrees_with_scipy_with_weights(rng):
    x, y = rng.normal(size=200), rng.exponential(size=300)
    u, v = rng.uniform(size=200), rng.uniform(size=300)
    ours = wasserstein(x, y, rng=rng, reference_weights=u, sample_weights=v, n_bootstrap=0)
    assert ours == (pytest.approx(wasserstein_distance(x, y, u, v)), 0.0)


def test_weight_two_is_an_event_twice(rng):
    x, y = rng.normal(size=200), rng.normal(0.2, 1, 200)
    weights = np.where(np.arange(200) < 50, 2.0, 1.0)
    doubled = np.concatenate([y, y[:50]])
    expected = wasserstein(x, doubled, rng=rng)[0]
    assert wasserstein(x, y, rng=rng, sample_weights=weights)[0] == pytest.approx(expected)


def test_negative_weights_subtract(rng):
    signal = rng.normal(size=3000)
    background = rng.normal(3, 1, 3000)
    weights = np.concatenate([np.ones(6000), -np.ones(3000)])
    polluted = np.concatenate([signal, rng.normal(3, 1, 3000), background])
    value, uncertainty = wasserstein(rng.normal(size=3000), polluted, rng=rng, sample_weights=weights)
    assert value < 0.1 + 3 * uncertainty
    assert wasserstein(rng.normal(size=3000), polluted[:6000], rng=rng)[0] > 1.4


def test_uncertainty_is_the_spread_of_repetitions(rng):
    repeated = [wasserstein(rng.normal(size=400), rng.normal(1, 1, 400), rng=rng) for _ in range(100)]
    values, uncertainties = np.array(repeated).T
    assert values.mean() == pytest.approx(1, abs=0.03)
    assert uncertainties.mean() == pytest.approx(values.std(), rel=0.3)


def test_seeded():
    x, y = norm.ppf(np.linspace(0.01, 0.99, 50)), norm.ppf(np.linspace(0.01, 0.99, 50)) + 1
    first, second = (wasserstein(x, y, rng=np.random.default_rng(3)) for _ in range(2))
    assert first == second


def test_point_mass(rng):
    assert wasserstein([2.0, 2.0], [1.0, 4.0], rng=rng)[0] == pytest.approx(1.5)
