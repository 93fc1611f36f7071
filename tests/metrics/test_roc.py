import numpy as np
import pytest
from scipy.stats import norm

from hepgan.metrics import area_under_curve, roc_curve


@pytest.fixture
def rng():
    return np.random.default_rng(13)


def test_area_of_shifted_gaussians(rng):
    for shift in (0.0, 0.5, 2.0):
        value, uncertainty = area_under_curve(rng.normal(shift, 1, 5000), rng.normal(size=5000))
        assert value == pytest.approx(norm.cdf(shift / np.sqrt(2)), abs=4 * uncertainty)
        assert 0 < uncertainty < 0.01


def test_area_by_hand_with_ties_and_weights():
    assert area_under_curve([1.0, 2.0], [0.0, 1.0])[0] == pytest.approx(0.875)  # 3 pairs won, 1 tie
    assert area_under_curve([0.0, 0.0], [0.0, 0.0]) == (0.5, 0.0)
    weighted = area_under_curve([0.5, 2.0], [0.0, 1.0], sample_weights=[2.0, 1.0])[0]
    assert weighted == pytest.approx(area_under_curve([0.5, 0.5, 2.0], [0.0, 1.0])[0]) == pytest.approx(4 / 6)


def test_area_uncertainty_is_the_spread_of_repetitions(rng):
    repeated = [area_under_curve(rng.normal(0.7, 1, 300), rng.normal(size=300)) for _ in range(200)]
    values, uncertainties = np.array(repeated).T
    assert uncertainties.mean() == pytest.approx(values.std(), rel=0.2)


def test_roc_curve_encloses_the_area(rng):
    x, y, w = rng.normal(size=3000), rng.normal(1, 1, 2000), rng.uniform(0, 2, 2000)
    false_positive, true_positive = roc_curve(y, x, sample_weights=w)
    assert (false_positive[0], true_positive[0]) == (0, 0)
    assert (true_positive >= false_positive).all()  # the sample has the higher scores
    assert (false_positive[-1], true_positive[-1]) == pytest.approx((1, 1))
    assert (np.diff(false_positive) >= 0).all()
    assert (np.diff(true_positive) >= 0).all()
    area = 0.5 * np.sum(np.diff(false_positive) * (true_positive[1:] + true_positive[:-1]))
    assert area == pytest.approx(area_under_curve(y, x, sample_weights=w)[0], abs=2e-3)
