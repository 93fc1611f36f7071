import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from hepgan.metrics import (
    bin_number,
    histogram,
    mean,
    profile,
    quantile_edges,
    separation_power,
    uniform_edges,
)
from hepgan.metrics.histograms import separations_of_parts


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def test_separation_of_shifted_gaussians_is_the_integral(rng):
    shift = 0.5
    expected, _ = quad(
        lambda x: 0.5 * (norm.pdf(x) - norm.pdf(x - shift)) ** 2 / (norm.pdf(x) + norm.pdf(x - shift)),
        -10,
        10,
    )
    value, uncertainty = separation_power(
        rng.normal(shift, 1, 60000), rng.normal(size=60000), rng=rng, bins=60
    )
    assert value == pytest.approx(expected, abs=3 * uncertainty + 0.001)
    assert 0 < uncertainty < 0.1 * value


def test_separation_limits(rng):
    x = rng.normal(size=1000)
    assert separation_power(x, x, rng=rng)[0] == 0
    assert separation_power(x + 100, x, rng=rng, edges=np.linspace(-10, 110, 50))[0] == pytest.approx(1)
    forward, backward = (
        separation_power(b, a, rng=rng, edges=np.linspace(-4, 4, 30))[0] for a, b in [(x, -x), (-x, x)]
    )
    assert forward == backward  # symmetric


def test_separation_of_equal_distributions_is_the_known_bias(rng):
    # half the chi-square of B - 1 degrees of freedom over 2 N: (B - 1) / 4 * (1/N + 1/N)
    bins, n = 20, 500
    values = [
        separation_power(rng.normal(size=n), rng.normal(size=n), rng=rng, bins=bins, n_bootstrap=2)[0]
        for _ in range(100)
    ]
    assert np.mean(values) == pytest.approx((bins - 1) / 4 * 2 / n, rel=0.15)


def test_separation_uncertainty_is_the_spread_of_repetitions(rng):
    repeated = [
        separation_power(rng.normal(1, 1, 1000), rng.normal(size=1000), rng=rng, edges=np.linspace(-4, 5, 20))
        for _ in range(100)
    ]
    values, uncertainties = np.array(repeated).T
    assert uncertainties.mean() == pytest.approx(values.std(), rel=0.3)


def test_weight_two_is_an_event_twice(rng):
    reference, sample = rng.normal(size=300), rng.normal(0.3, 1, 300)
    edges = np.linspace(-3, 3, 13)
    weights = np.where(np.arange(300) < 100, 2.0, 1.0)
    doubled = np.concatenate([sample, sample[:100]])
    assert np.array_equal(histogram(sample, edges, weights=weights)[0], histogram(doubled, edges)[0])
    with_weight = separation_power(sample, reference, rng=rng, edges=edges, sample_weights=weights)[0]
    assert with_weight == pytest.approx(separation_power(doubled, reference, rng=rng, edges=edges)[0])
    assert np.allclose(quantile_edges(sample, 10, weights=weights), quantile_edges(doubled, 10))


def test_reweighting_undoes_a_distortion(rng):
    reference, sample = rng.normal(size=20000), rng.normal(0.5, 1, 20000)
    weights = norm.pdf(sample) / norm.pdf(sample - 0.5)
    distorted = separation_power(sample, reference, rng=rng)
    repaired = separation_power(sample, reference, rng=rng, sample_weights=weights)
    assert repaired[0] < 0.1 * distorted[0]
    # weights cost statistics: the bias of the weighted sample is that of fewer events, not zero
    assert repaired[0] < 40 / 4 * (1 / 20000 + (weights**2).sum() / weights.sum() ** 2) + 4 * repaired[1]


def test_nothing_is_lost_outside_the_edges():
    content, variance = histogram(
        [-5.0, 0.25, 0.75, 9.0], np.array([0.0, 0.5, 1.0]), weights=[1.0, 2.0, 3.0, 4.0]
    )
    assert content.tolist() == [3, 7]
    assert variance.tolist() == [5, 25]


def test_point_mass_has_its_own_bin(rng):
    reference = np.where(np.arange(5000) < 2500, 0.0, rng.exponential(size=5000))
    smeared = np.where(reference == 0, 1e-4 * rng.exponential(size=5000), reference)
    assert separation_power(smeared, reference, rng=rng)[0] > 0.2
    constant = np.ones(10)
    assert separation_power(constant, constant, rng=rng)[0] == 0
    assert separation_power(constant + 1, constant, rng=rng, edges=uniform_edges(constant, 7))[0] == 1


def test_uniform_edges_follow_the_bulk(rng):
    values = np.concatenate([rng.uniform(0, 1, 10000), [1e6]])
    edges = uniform_edges(values, 20)
    assert len(edges) == 21
    assert edges[0] >= 0
    assert edges[-1] < 1.2
    assert np.allclose(np.diff(edges), np.diff(edges)[0])


def test_negative_weights(rng):
    x, y = rng.normal(size=5000), rng.normal(size=5000)
    weights = np.where(np.arange(5000) % 10 == 0, -1.0, 1.0)
    assert separation_power(y, x, rng=rng, bins=10, sample_weights=weights)[0] < 0.01
    edges = np.arange(5.0)
    centres = edges[:-1] + 0.5
    for sample_weights, joined in (
        ([-1.0, 3, 1, 1], [2.0, 1, 1]),
        ([3.0, 1, 1, -0.5], [3.0, 1, 0.5]),
        ([-1.0, -1, 1, 2], [1.0]),
    ):
        value = separation_power(centres, centres, rng=rng, edges=edges, sample_weights=sample_weights)[0]
        reference = {3: ([2, 1, 1] if joined[0] == 2 else [1, 1, 2]), 1: [4]}[len(joined)]
        h1, h2 = np.array(reference) / 4, np.array(joined) / sum(joined)
        assert value == pytest.approx(0.5 * np.sum((h1 - h2) ** 2 / (h1 + h2)))
        assert 0 <= value <= 1


def test_separations_of_parts_are_those_of_each_pair(rng):
    x, w = rng.normal(size=401), rng.choice([-0.5, 1.0], 401, p=[0.3, 0.7])
    parts = [tuple(np.split(rng.permutation(401)[:400], 2)) for _ in range(3)]
    edges = np.linspace(-3, 3, 31)
    expected = [
        separation_power(x[b], x[a], rng=rng, edges=edges, sample_weights=w[b], reference_weights=w[a])[0]
        for a, b in parts
    ]
    assert separations_of_parts(x, parts, edges, weights=w) == pytest.approx(expected)
    with pytest.raises(ValueError, match="part: expected weights with a positive sum, got -1"):
        separations_of_parts([0.0, 1.0], [(np.array([0]), np.array([1]))], edges, weights=[-1.0, 2.0])


@pytest.mark.parametrize(
    ("values", "weights", "message"),
    [
        ([], None, "expected at least one event, got none"),
        ([[1.0]], None, r"expected an array of 1 dimension\(s\), got shape \(1, 1\)"),
        ([1.0, np.nan, np.inf], None, r"2 of 3 events are not finite \(first: event 1\)"),
        ([1.0, 2.0], [1.0], r"expected one weight for each of 2 events, got shape \(1,\)"),
        ([1.0, 2.0], [1.0, np.nan], "1 weights are not finite"),
        ([1.0, 2.0], [1.0, -1.0], "expected weights with a positive sum, got 0"),
    ],
)
def test_bad_samples(values, weights, message, rng):
    with pytest.raises(ValueError, match=message):
        separation_power(values, [1.0, 2.0], rng=rng, sample_weights=weights)


def test_profile_is_the_weighted_mean_of_each_bin(rng):
    condition = rng.uniform(0, 2, 4000)
    values = 3 * (condition > 1) + rng.normal(size=4000)
    weights = rng.choice([-0.5, 1.0], 4000, p=[0.1, 0.9])
    result = profile(values, condition, np.array([0.0, 1.0, 2.0, 9.0]), weights=weights)
    for k, inside in enumerate((condition < 1, condition >= 1)):
        assert result[k] == pytest.approx(mean(values[inside], weights[inside]))
        assert result[k, 0] == pytest.approx(3 * k, abs=4 * result[k, 1])
    assert np.isnan(result[2]).all()


def test_bins_include_their_left_edge_and_what_lies_outside():
    assert bin_number(np.array([-5.0, 0.0, 1.0, 2.0, 7.0]), np.array([0.0, 1.0, 2.0])).tolist() == [
        0,
        0,
        1,
        1,
        1,
    ]
