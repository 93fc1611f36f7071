import numpy as np
import pytest

from hepgan.metrics import resolution_fit

ENERGY = np.geomspace(1, 100, 10)


def measured(stochastic, constant, *, relative=0.02, rng=None):
    width = np.hypot(stochastic / np.sqrt(ENERGY), constant)
    error = relative * width
    return np.column_stack([width + (rng.normal(0, error) if rng else 0), error])


def test_exact_points_give_the_terms_back():
    fit = resolution_fit(ENERGY, measured(0.1, 0.007))
    assert fit.stochastic[0] == pytest.approx(0.1)
    assert fit.constant[0] == pytest.approx(0.007)
    assert fit.chi2_per_ndf == pytest.approx(0, abs=1e-12)
    assert fit.at(25.0) == pytest.approx(np.hypot(0.02, 0.007))


def test_uncertainties_are_the_spread_of_repetitions():
    rng = np.random.default_rng(3)
    fits = [resolution_fit(ENERGY, measured(0.1, 0.01, rng=rng)) for _ in range(200)]
    for term, true in (("stochastic", 0.1), ("constant", 0.01)):
        values, uncertainties = np.array([getattr(fit, term) for fit in fits]).T
        assert values.mean() == pytest.approx(true, abs=4 * values.std() / np.sqrt(200) + 1e-3 * true)
        assert uncertainties.mean() == pytest.approx(values.std(), rel=0.2)
    assert np.mean([fit.chi2_per_ndf for fit in fits]) == pytest.approx(1, abs=0.15)


def test_no_term_is_negative():
    falling_too_fast = np.column_stack([0.1 / ENERGY, 0.01 / ENERGY])
    fit = resolution_fit(ENERGY, falling_too_fast)
    assert fit.constant[0] == 0
    assert 0 < fit.constant[1] < 0.01
    assert fit.chi2_per_ndf > 5  # the form does not describe these points


def test_too_few_points():
    points = measured(0.1, 0.01)
    assert resolution_fit(ENERGY[:2], points[:2]) is None
    assert resolution_fit(ENERGY, points * [1, 0]) is None  # without uncertainties
    assert resolution_fit(np.full(10, 5.0), points) is None  # at one energy
