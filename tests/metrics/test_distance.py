import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from hepgan.metrics.distance import between_parts, joined, potential, wasserstein


@pytest.fixture
def rng():
    return np.random.default_rng(12)


def test_distance_to_itself_is_zero(rng):
    x = rng.normal(size=100)
    assert wasserstein(x[::-1], x)[0] == pytest.approx(0, abs=1e-12)


def test_shift_and_scale_of_gaussians(rng):
    x = rng.normal(0, 2, 4000)
    assert wasserstein(x + 0.7, x)[0] == pytest.approx(0.7)
    value, uncertainty = wasserstein(rng.normal(0.7, 2, 4000), x)
    assert value == pytest.approx(0.7, abs=4 * uncertainty)
    # equal means, widths 2 and 3: the integral of |F1 - F2| is the difference of widths times sqrt(2 / pi)
    value, uncertainty = wasserstein(rng.normal(0, 3, 4000), x)
    assert value == pytest.approx(np.sqrt(2 / np.pi), abs=4 * uncertainty)


def test_agrees_with_scipy_with_weights(rng):
    x, y = rng.normal(size=200), rng.exponential(size=300)
    u, v = rng.uniform(size=200), rng.uniform(size=300)
    ours = wasserstein(y, x, sample_weights=v, reference_weights=u)[0]
    assert ours == pytest.approx(wasserstein_distance(x, y, u, v))


def test_weight_two_is_an_event_twice(rng):
    x, y = rng.normal(size=200), rng.normal(0.2, 1, 200)
    weights = np.where(np.arange(200) < 50, 2.0, 1.0)
    doubled = np.concatenate([y, y[:50]])
    expected = wasserstein(doubled, x)[0]
    assert wasserstein(y, x, sample_weights=weights)[0] == pytest.approx(expected)


def test_negative_weights_subtract(rng):
    signal = rng.normal(size=3000)
    background = rng.normal(3, 1, 3000)
    weights = np.concatenate([np.ones(6000), -np.ones(3000)])
    polluted = np.concatenate([signal, rng.normal(3, 1, 3000), background])
    value, uncertainty = wasserstein(polluted, rng.normal(size=3000), sample_weights=weights)
    assert value < 0.1 + 3 * uncertainty
    assert wasserstein(polluted[:6000], rng.normal(size=3000))[0] > 1.4


@pytest.mark.parametrize("weighted", [False, True])
def test_uncertainty_is_the_spread_of_repetitions(rng, weighted):
    weights = rng.choice([0.5, 2.0], 400) if weighted else None
    repeated = [
        wasserstein(rng.normal(1, 1.5, 400), rng.normal(size=400), sample_weights=weights) for _ in range(200)
    ]
    values, uncertainties = np.array(repeated).T
    assert values.mean() == pytest.approx(1.02, abs=0.03)
    assert uncertainties.mean() == pytest.approx(values.std(), rel=0.15)


def test_between_equal_distributions_the_uncertainty_is_of_the_size_of_the_value(rng):
    values, uncertainties = np.array(
        [wasserstein(rng.normal(size=400), rng.normal(size=400)) for _ in range(200)]
    ).T
    assert uncertainties.mean() == pytest.approx(0.5 * values.mean(), rel=0.15)
    assert values.std() < uncertainties.mean() < 2 * values.std()


def test_the_uncertainty_is_that_of_resampling(rng):
    x, y = rng.normal(size=2000), rng.exponential(size=1500)
    resampled = [wasserstein(rng.choice(y, 1500), rng.choice(x, 2000))[0] for _ in range(100)]
    assert wasserstein(y, x)[1] == pytest.approx(np.std(resampled), rel=0.25)


def test_potential_rises_nowhere_faster_than_one_and_has_the_distance_as_difference_of_means(rng):
    x, y = rng.normal(size=60), rng.normal(1, 2, 50)
    values, signed = joined((y, np.ones(50)), (x, np.ones(60)))
    distance, heights = potential(values, signed)
    assert distance == pytest.approx(wasserstein(y, x)[0])
    assert heights[:60].mean() - heights[60:].mean() == pytest.approx(distance)
    steps, gaps = (np.abs(np.subtract.outer(z, z)) for z in (heights, values))
    assert (steps <= gaps + 1e-12).all()


def test_between_parts_is_the_distance_of_each_pair(rng):
    x, w = np.round(rng.normal(size=401), 2), rng.choice([-0.5, 1.0], 401, p=[0.1, 0.9])
    parts = [tuple(np.split(rng.permutation(401)[:400], 2)) for _ in range(3)]
    expected = [wasserstein(x[b], x[a], sample_weights=w[b], reference_weights=w[a])[0] for a, b in parts]
    assert between_parts(x, parts, weights=w) == pytest.approx(expected)
    with pytest.raises(ValueError, match="part: expected weights with a positive sum, got -1"):
        between_parts([0.0, 1.0, 2.0], [(np.array([0]), np.array([1, 2]))], weights=[-1.0, 1.0, 1.0])


def test_point_mass():
    assert wasserstein([1.0, 4.0], [2.0, 2.0])[0] == pytest.approx(1.5)
