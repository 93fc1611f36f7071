import numpy as np
import pytest

from hepgan.metrics import mean, relative_difference, relative_spread, spread


def test_mean_and_spread_of_a_gaussian():
    x = np.random.default_rng(1).normal(5, 2, 20000)
    assert mean(x) == (pytest.approx(x.mean()), pytest.approx(2 / np.sqrt(20000), rel=0.02))
    assert spread(x) == (pytest.approx(x.std()), pytest.approx(2 / np.sqrt(2 * 20000), rel=0.05))
    width, uncertainty = relative_spread(x)
    assert width == pytest.approx(0.4, abs=4 * uncertainty)
    assert spread([3.0, 3.0]) == (0.0, 0.0)


def test_weight_two_is_an_event_twice_but_one_event_of_statistics():
    x, weights, doubled = np.array([1.0, 2.0, 4.0]), [1, 1, 2], [1.0, 2.0, 4.0, 4.0]
    assert mean(x, weights)[0] == pytest.approx(mean(doubled)[0])
    assert spread(x, weights)[0] == pytest.approx(spread(doubled)[0])
    assert mean(x, weights)[1] > mean(doubled)[1]
    assert mean(x, [2, 2, 2])[1] == pytest.approx(mean(x)[1])  # the scale of the weights means nothing


def test_relative_difference():
    assert relative_difference((2.2, 0.02), (2.0, 0.0)) == (pytest.approx(0.1), pytest.approx(0.01))
    assert relative_difference((2.0, 0.0), (2.0, 0.02)) == (0.0, pytest.approx(0.01))
    assert relative_difference((0.0, 0.0), (0.0, 0.0)) == (0.0, 0.0)
    assert relative_difference((1.0, 0.1), (0.0, 0.0)) is None


def test_undefined_spreads():
    with pytest.raises(ValueError, match="negative weights give a negative variance"):
        spread([0.0, 1.0, 2.0], [-1.0, 4.0, -1.0])
    with pytest.raises(ValueError, match="generated: the mean is zero"):
        relative_spread([-1.0, 1.0], name="generated")
