import numpy as np
import pytest

from hepgan.metrics import efficiency


@pytest.fixture
def rng():
    return np.random.default_rng(41)


def test_binomial(rng):
    condition = rng.uniform(0, 2, 20000)
    passed = rng.random(20000) < np.where(condition < 1, 0.2, 0.9)
    result = efficiency(passed, condition, np.array([0.0, 1.0, 2.0]))
    assert np.allclose(result[:, 0], [0.2, 0.9], atol=4 * result[:, 1].max())
    assert np.allclose(result[:, 1], np.sqrt([0.2 * 0.8 / 10000, 0.9 * 0.1 / 10000]), rtol=0.05)


def test_uncertainty_is_the_spread_of_repetitions_with_negative_weights(rng):
    def once():
        passed = rng.random(500) < 0.3
        return efficiency(
            passed, np.zeros(500), np.array([0.0, 1.0]), weights=rng.choice([1.5, -0.5], 500, p=[0.7, 0.3])
        )[0]

    values, uncertainties = np.array([once() for _ in range(300)]).T
    assert values.mean() == pytest.approx(0.3, abs=0.01)
    assert uncertainties.mean() == pytest.approx(values.std(), rel=0.15)


def test_negative_weights_subtract_a_background(rng):
    signal, background = rng.random(4000) < 0.8, rng.random(8000) < 0.1
    passed = np.concatenate([signal, background])
    weights = np.concatenate([np.ones(8000), -np.ones(4000)])
    ((value, uncertainty),) = efficiency(passed, np.zeros(12000), np.array([0.0, 1.0]), weights=weights)
    assert value == pytest.approx(0.8, abs=4 * uncertainty)
    assert uncertainty < 0.02


def test_weight_two_is_an_event_twice(rng):
    passed, condition = rng.random(100) < 0.5, rng.uniform(size=100)
    weights = np.where(np.arange(100) < 30, 2.0, 1.0)
    edges = np.array([0.0, 0.5, 1.0])
    twice = (np.concatenate([a, a[:30]]) for a in (passed, condition))
    weighted = efficiency(passed, condition, edges, weights=weights)
    assert np.allclose(weighted[:, 0], efficiency(*twice, edges)[:, 0])


def test_none_of_few_is_not_certain():
    zero, one = (efficiency(np.full(8, p), np.zeros(8), np.array([0.0, 1.0]))[0] for p in (False, True))
    assert zero.tolist() == [0.0, pytest.approx(0.1)]
    assert one.tolist() == [1.0, pytest.approx(0.1)]


def test_empty_bins_are_not_defined():
    result = efficiency([True], [0.5], np.array([0.0, 1.0, 2.0]))
    assert result[0, 0] == 1
    assert np.isnan(result[1]).all()
