"""The classic demonstrations against closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import quad
from scipy.special import expit

from hepgan.metrics import DIVERGENCES, divergence
from hepgan.studies.demonstrations import (
    DYNAMICS,
    generator_slope,
    line_distances,
    parallel_lines,
    trained_value,
    value,
    xy_path,
)

GRID = np.linspace(-12, 12, 4801)
PENALTY = 10.0


def bins(mean, spread):
    density = stats.norm.pdf(GRID, mean, spread)
    return density / density.sum()


# -- parallel lines


def test_lines_are_where_they_should_be():
    data, model = parallel_lines(5000, 0.7, rng=torch.Generator().manual_seed(0))
    assert data.shape == model.shape == (5000, 2)
    assert (data[:, 0] == 0).all()
    assert (model[:, 0] == 0.7).all()
    for points in (data, model):
        assert stats.kstest(points[:, 1], "uniform").statistic < 1.63 / math.sqrt(5000)


@pytest.mark.parametrize("distance", [-2.0, 0.0, 0.25])
def test_divergences_of_lines_are_those_of_any_samples_with_or_without_overlap(distance):
    expected = line_distances(distance)
    p, q = (np.array([1.0, 0.0]), np.array([0.0, 1.0]) if distance else np.array([1.0, 0.0]))
    for name in DIVERGENCES.keys() & expected.keys():
        assert expected[name] == pytest.approx(divergence(name, q, p))
    assert expected["wasserstein"] == abs(distance)


@pytest.mark.parametrize("distance", [0.25, 1.0])
def test_trained_critics_see_that_lines_differ_and_only_wasserstein_how_far(distance):
    def sample(n, generator):
        return parallel_lines(n, distance, rng=generator)

    saturated = trained_value("f-jensen-shannon", sample, steps=200)
    assert 0.97 * math.log(2) < saturated <= math.log(2)
    # the critic pays PENALTY * (slope - 1)^2 and gains slope * distance
    steepness = 1 + distance / (2 * PENALTY)
    far = trained_value("wgan-gp", sample, steps=300, penalty=PENALTY)
    assert far == pytest.approx(steepness * distance, rel=0.03)


# -- the best discriminator


@pytest.mark.parametrize(("mean", "spread"), [(0.0, 1.0), (0.7, 1.2), (3.0, 0.5)])
def test_best_discriminator_pays_two_jensen_shannon_minus_log_four(mean, spread):
    p, q = bins(0, 1), bins(mean, spread)
    best = stats.norm.logpdf(GRID) - stats.norm.logpdf(GRID, mean, spread)
    expected = 2 * divergence("jensen_shannon", q, p) - math.log(4)
    assert value("minimax", best, p, q) == pytest.approx(expected, abs=1e-9)
    for other in (best + 0.3, 0.7 * best - 0.01, best + np.sin(GRID), 0 * best - 0.1):
        assert value("minimax", other, p, q) < expected
    assert value("minimax", 0 * best, p, q) == pytest.approx(-math.log(4))  # a discriminator that guesses


def test_trained_discriminator_stays_below_the_best():
    def sample(n, generator):
        return torch.randn(n, 1, generator=generator), 1.5 + torch.randn(n, 1, generator=generator)

    best = 2 * divergence("jensen_shannon", bins(1.5, 1), bins(0, 1)) - math.log(4)
    trained = trained_value("minimax", sample, steps=200, seed=3)
    assert best - 0.03 < trained < best + 0.02  # three standard errors of 10,240 events of each kind


# -- what a generator feels


@pytest.mark.parametrize("distance", [0.0, 1.0, 3.0, 6.0])
def test_slopes_of_the_best_critic(distance):
    def integral(function):
        return quad(
            lambda x: stats.norm.pdf(x, distance) * function(distance**2 / 2 - distance * x), -10, 16
        )[0]

    assert generator_slope("wgan-gp", distance) == pytest.approx(1)
    assert generator_slope("minimax", distance) == pytest.approx(distance * integral(expit), rel=1e-3)
    expected = distance * integral(lambda v: expit(-v))
    assert generator_slope("non-saturating", distance) == pytest.approx(expected, rel=1e-3)
    assert generator_slope("f-kl", distance) == pytest.approx(distance * integral(np.exp), rel=1e-3)


def test_minimax_lets_go_of_a_generator_that_is_far_away():
    slopes = [generator_slope("minimax", distance) for distance in (2.0, 4.0, 6.0, 8.0)]
    assert (np.diff(slopes) < 0).all()
    assert slopes[-1] < 1e-3 * slopes[0]
    assert generator_slope("non-saturating", 8.0) == pytest.approx(8, rel=1e-3)


# -- x y


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("simultaneous", lambda eta: math.sqrt(1 + eta**2)),
        ("alternating", lambda eta: 1.0),
        ("extragradient", lambda eta: math.sqrt(1 - eta**2 + eta**4)),
        ("optimistic", lambda eta: math.sqrt((1 + math.sqrt(1 - 4 * eta**2)) / 2)),
        ("penalised", lambda eta: math.sqrt(1 - eta / 2 + eta**2)),
    ],
)
@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_players_of_xy_run_away_go_around_or_meet(name, factor, rate):
    assert DYNAMICS[name].factor(rate) == pytest.approx(factor(rate), rel=1e-9)
    distance = np.hypot(*xy_path(name, rate=rate, steps=600).T)
    turn = round(2 * math.pi / rate)  # the distance wavers once or twice in a turn: compare equal phases
    measured = (distance[-1] / distance[-1 - turn]) ** (1 / turn)
    assert measured == pytest.approx(factor(rate), rel=0.002)


def test_steps_of_xy_are_slopes_of_xy():
    def slopes(x, y):  # downhill for x, uphill for y
        return np.array([-y, x])

    eta, start = 0.1, np.array([1.0, 0.5])
    assert xy_path("simultaneous", steps=1, start=(1.0, 0.5))[1] == pytest.approx(
        start + eta * slopes(*start)
    )
    ahead = start + eta * slopes(*start)
    assert xy_path("extragradient", steps=1, start=(1.0, 0.5))[1] == pytest.approx(
        start + eta * slopes(*ahead)
    )
    path = xy_path("optimistic", steps=3, start=(1.0, 0.5))
    assert path[3] == pytest.approx(path[2] + eta * (2 * slopes(*path[2]) - slopes(*path[1])))
    path = xy_path("alternating", steps=1, start=(1.0, 0.5))
    assert path[1] == pytest.approx([1 - eta * 0.5, 0.5 + eta * path[1, 0]])
    path = xy_path("penalised", steps=1, start=(1.0, 0.5))
    assert path[1] == pytest.approx([1 - eta * 0.5, 0.5 + eta * (1 - 0.5 * 0.5)])


def test_mean_of_the_places_comes_to_rest_only_where_players_do_not_run_away():
    places = {name: xy_path(name, steps=5000) for name in ("alternating", "simultaneous")}
    means = {name: np.hypot(*path.mean(0)) for name, path in places.items()}
    assert means["alternating"] < 0.01
    assert np.hypot(*places["alternating"].T).min() > 0.9  # while the players never come near
    assert means["simultaneous"] > 1e6


# -- bad input


def test_names_without_a_meaning_are_refused():
    def sample(n, generator):
        return torch.zeros(n, 1), torch.ones(n, 1)

    with pytest.raises(ValueError, match="there is no 'minmax'; did you mean 'minimax'"):
        trained_value("minmax", sample)
    for name in ("cramer", "mmd"):
        with pytest.raises(ValueError, match=rf"expected one whose critic gives one number, .* got '{name}'"):
            value(name, [0.0], [1.0], [1.0])
    with pytest.raises(ValueError, match="expected one without clipping of weights, got 'wgan-clip'"):
        trained_value("wgan-clip", sample)
    with pytest.raises(ValueError, match="logarithm of the ratio, got 'hinge'; try 'minimax'"):
        generator_slope("hinge", 1.0)
    with pytest.raises(
        ValueError, match="dynamics: there is none named 'alternate'; did you mean 'alternating'"
    ):
        xy_path("alternate")
