import numpy as np
import pytest

from hepgan.metrics import correlation_matrix


@pytest.fixture
def rng():
    return np.random.default_rng(51)


def test_gaussians(rng):
    r, n = 0.6, 1000
    samples = rng.multivariate_normal([5, -2], [[1, r * 3], [r * 3, 9]], (200, n))
    values, uncertainties = np.array([correlation_matrix(sample)[0, 1] for sample in samples]).T
    assert values.mean() == pytest.approx(r, abs=0.01)
    assert values.std() == pytest.approx((1 - r**2) / np.sqrt(n), rel=0.2)
    assert uncertainties.mean() == pytest.approx(values.std(), rel=0.2)


def test_agrees_with_numpy(rng):
    x = rng.exponential(size=(300, 3)) @ rng.normal(size=(3, 3))
    result = correlation_matrix(x)
    assert np.allclose(result[..., 0], np.corrcoef(x.T))
    assert np.allclose(np.diagonal(result[..., 0]), 1)
    assert np.allclose(np.diagonal(result[..., 1]), 0, atol=1e-6)


def test_weights(rng):
    x = rng.normal(size=(200, 2))
    weights = np.where(np.arange(200) < 50, 2.0, 1.0)
    doubled = np.concatenate([x, x[:50]])
    assert np.allclose(correlation_matrix(x, weights)[..., 0], correlation_matrix(doubled)[..., 0])
    background = rng.multivariate_normal([1, 1], [[1, 0.9], [0.9, 1]], (2, 20000))
    signal = rng.normal(size=(20000, 2))
    values = np.concatenate([signal, *background])
    signs = np.repeat([1.0, 1.0, -1.0], 20000)
    value, uncertainty = correlation_matrix(values, signs)[0, 1]
    assert abs(value) < 4 * uncertainty < 0.15
    assert correlation_matrix(values[:40000])[0, 1, 0] > 0.4


def test_an_observable_that_does_not_vary(rng):
    result = correlation_matrix(np.column_stack([rng.normal(size=50), np.full(50, 3.0)]))
    assert np.allclose(result[0, 1], 0)
    assert np.allclose(result[1, 1], 0)
