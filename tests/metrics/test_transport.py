import numpy as np
import pytest
from scipy.special import erf, gammaln

from hepgan.metrics import wasserstein
from hepgan.metrics.transport import (
    earth_movers_distance,
    max_sliced_wasserstein,
    sliced_wasserstein,
    standardised,
)


@pytest.fixture
def rng():
    return np.random.default_rng(41)


def mean_cosine(features):
    """E|u_1| of a direction u that is uniform on the sphere."""
    return np.exp(gammaln(features / 2) - gammaln((features + 1) / 2)) / np.sqrt(np.pi)


def worst(sample, reference, **options):
    return max_sliced_wasserstein(sample, reference, **options).measurement


ALL = pytest.mark.parametrize("metric", [sliced_wasserstein, worst, earth_movers_distance])


@pytest.mark.parametrize("metric", [sliced_wasserstein, earth_movers_distance])
def test_distance_to_itself_is_zero(rng, metric):
    x = rng.normal(size=(100, 3))
    assert metric(x[::-1], x, rng=rng)[0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("metric", [sliced_wasserstein, earth_movers_distance])
def test_in_one_dimension_it_is_the_exact_distance(rng, metric):
    x, y = rng.normal(size=(200, 1)), rng.exponential(size=(300, 1))
    u, v = rng.uniform(size=200), rng.uniform(size=300)
    value, uncertainty = metric(y, x, rng=rng, sample_weights=v, reference_weights=u)
    exact = wasserstein(y[:, 0], x[:, 0], sample_weights=v, reference_weights=u)
    assert value == pytest.approx(exact[0])
    assert uncertainty == pytest.approx(exact[1], rel=0.2)


@pytest.mark.parametrize("features", [1, 3, 20])
def test_sliced_distance_of_a_shift(rng, features):
    assert mean_cosine(1) == pytest.approx(1)
    assert mean_cosine(3) == pytest.approx(1 / 2)  # Archimedes
    x, y = rng.normal(size=(5000, features)), rng.normal(size=(5000, features))
    y[:, 0] += 2.0
    value, uncertainty = sliced_wasserstein(y, x, rng=rng)
    assert value == pytest.approx(2 * mean_cosine(features), abs=4 * uncertainty)
    assert uncertainty < 0.1 * value + 0.02


def test_sliced_distance_of_a_spread(rng):
    # every projection of a wider round Gaussian is a wider Gaussian
    value, uncertainty = sliced_wasserstein(
        rng.normal(0, 1.5, (5000, 4)), rng.normal(size=(5000, 4)), rng=rng
    )
    assert value == pytest.approx(0.5 * np.sqrt(2 / np.pi), abs=4 * uncertainty)
    assert uncertainty < 0.02


def test_earth_movers_distance_of_a_shift_above_its_floor(rng):
    x, y, other = (rng.normal(size=(1000, 3)) for _ in range(3))
    floor, _ = earth_movers_distance(other, x, rng=rng, most=1000)
    assert 0.1 < floor < 0.5
    for shift in (2.0, 5.0):
        value, uncertainty = earth_movers_distance(y + np.array([0.0, shift, 0.0]), x, rng=rng, most=1000)
        assert shift - 4 * uncertainty < value < shift + 0.3 * floor + 4 * uncertainty
        assert uncertainty < 0.06


def test_earth_movers_distance_by_hand(rng):
    x, y = [[0.0, 0.0], [3.0, 4.0]], [[0.0, 0.0]]
    assert earth_movers_distance(y, x, rng=rng) == (
        pytest.approx(2.5),
        pytest.approx(2.5 / np.sqrt(2)),  # mean of 0 and 5: their standard deviation over the root of 2
    )
    assert earth_movers_distance(y, x, rng=rng, reference_weights=[3.0, 1.0])[0] == pytest.approx(1.25)


def test_the_floor_of_the_exact_distance_rises_with_the_features(rng):
    """In many dimensions the floor hides what the projections see: it has to be quoted."""
    x, y, z = (rng.normal(size=(2000, 20)) for _ in range(3))
    z[:, 0] += 0.3
    floor, floor_uncertainty = earth_movers_distance(y, x, rng=rng, most=500)
    value, uncertainty = earth_movers_distance(z, x, rng=rng, most=500)
    assert floor > 3
    assert abs(value - floor) < 3 * np.hypot(uncertainty, floor_uncertainty)
    assert earth_movers_distance(y, x, rng=rng, most=100)[0] > floor + 0.2  # fewer events, higher floor
    value, uncertainty = worst(z, x, rng=rng)
    assert value - worst(y, x, rng=rng)[0] > 3 * uncertainty


def test_worst_projection_finds_shift_and_correlation(rng):
    x, y = rng.normal(size=(4000, 10)), rng.normal(size=(4000, 10))
    shift = np.array([0.6, 0.0, -0.8, *[0.0] * 7])
    result = max_sliced_wasserstein(y, x + shift, rng=rng)
    assert result.measurement[0] == pytest.approx(1, abs=4 * result.measurement[1])
    assert result.direction @ shift > 0.98
    assert np.linalg.norm(result.direction) == pytest.approx(1)

    y[:, 1] = 0.9 * y[:, 0] + np.sqrt(1 - 0.9**2) * y[:, 1]  # every single feature agrees
    assert max(wasserstein(b, a)[0] for a, b in zip(x.T, y.T, strict=True)) < 0.06
    result = max_sliced_wasserstein(y, x, rng=rng)
    expected = (1 - np.sqrt(0.1)) * np.sqrt(2 / np.pi)  # along the anti-diagonal
    assert result.measurement[0] == pytest.approx(expected, abs=4 * result.measurement[1])
    assert abs(result.direction[:2] @ [1, -1]) / np.sqrt(2) > 0.98


@pytest.mark.parametrize("metric", [sliced_wasserstein, worst])
def test_halves_of_a_sample_are_as_close_as_chance_allows(rng, metric):
    x, y = rng.normal(size=(4000, 12)), rng.normal(size=(4000, 12))
    # two Brownian bridges: the mean of |F1 - F2| is 0.72 sqrt(2 / N) for unit Gaussians
    grid = np.linspace(-8, 8, 2001)
    share = 0.5 * (1 + erf(grid / np.sqrt(2)))
    events = 4000 if metric is sliced_wasserstein else 2000  # the other half chose the direction
    chance = (
        np.sqrt(2 / np.pi) * np.sqrt(2 / events) * np.sum(np.sqrt(share * (1 - share))) * (grid[1] - grid[0])
    )
    value, uncertainty = metric(y, x, rng=rng)
    assert value == pytest.approx(chance, abs=3 * uncertainty)
    assert uncertainty < 0.8 * chance


@pytest.mark.parametrize("metric", [sliced_wasserstein, earth_movers_distance])
def test_weight_two_is_an_event_twice(rng, metric):
    x, y = rng.normal(size=(200, 3)), rng.normal(0.2, 1, (200, 3))
    weights = np.where(np.arange(200) < 50, 2.0, 1.0)
    expected = metric(np.concatenate([y, y[:50]]), x, rng=np.random.default_rng(1))[0]
    for scale in (1.0, 7.0):
        value = metric(y, x, rng=np.random.default_rng(1), sample_weights=scale * weights)[0]
        assert value == pytest.approx(expected)


def test_worst_projection_honours_weights(rng):
    x, y = rng.normal(size=(4000, 3)), rng.normal(0.5, 1, (4000, 3))
    weights = np.exp(np.sum(0.125 - 0.5 * y, axis=1))  # ratio of the densities
    assert worst(y, x, rng=rng)[0] > 0.8
    assert worst(y, x, rng=rng, sample_weights=weights)[0] < 0.1


@pytest.mark.parametrize("metric", [sliced_wasserstein, worst])
def test_negative_weights_subtract(rng, metric):
    signal, background = rng.normal(size=(3000, 2)), rng.normal(3, 1, (3000, 2))
    polluted = np.concatenate([signal, rng.normal(3, 1, (3000, 2)), background])
    weights = np.concatenate([np.ones(6000), -np.ones(3000)])
    value, uncertainty = metric(polluted, rng.normal(size=(3000, 2)), rng=rng, sample_weights=weights)
    assert value < 0.12 + 3 * uncertainty < 0.5
    assert metric(polluted[:6000], rng.normal(size=(3000, 2)), rng=rng)[0] > 1


def test_exact_distance_refuses_negative_weights(rng):
    with pytest.raises(ValueError, match=r"sample: 1 of 3 weights are negative.*use sliced_wasserstein"):
        earth_movers_distance(np.ones((3, 2)), np.zeros((3, 2)), rng=rng, sample_weights=[1, 1, -0.5])


def test_weight_zero_is_no_event(rng):
    x, y = rng.normal(size=(50, 2)), rng.normal(size=(60, 2))
    weights = np.where(np.arange(60) < 40, 1.0, 0.0)
    value = earth_movers_distance(y, x, rng=rng, sample_weights=weights, most=45, subsets=1)
    assert value[0] > 0
    full = earth_movers_distance(y, x, rng=rng, sample_weights=weights)
    assert full[0] == pytest.approx(earth_movers_distance(y[:40], x, rng=rng)[0])


@pytest.mark.parametrize(
    ("metric", "options"),
    [
        (sliced_wasserstein, {"projections": 50}),
        (worst, {"projections": 10}),
        (earth_movers_distance, {"most": 400}),
        (earth_movers_distance, {"most": 100}),
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_uncertainty_is_the_spread_of_repetitions(rng, metric, options, weighted):
    def once():
        x, y = rng.normal(size=(400, 3)), rng.normal(1, 1, (400, 3))
        weights = rng.choice([0.2, 3.0], 400) if weighted else None
        return metric(y, x, rng=rng, reference_weights=weights, **options)

    values, uncertainties = np.array([once() for _ in range(60)]).T
    assert uncertainties.mean() == pytest.approx(values.std(), rel=0.35)


@ALL
def test_seeded(rng, metric):
    x, y = rng.normal(size=(100, 3)), rng.normal(size=(100, 3))
    first, second = (metric(y, x, rng=np.random.default_rng(3)) for _ in range(2))
    assert first == second


def test_standardised_features_are_spreads_of_the_reference(rng):
    x = rng.normal([5, -100, 0.5], [0.1, 30, 2], (20000, 3))
    sample, reference = standardised(x + np.array([0.1, 60, -2]), x)
    assert reference.std(0) == pytest.approx(np.ones(3), rel=0.03)
    assert (sample - reference).mean(0) == pytest.approx([1, 2, -1], rel=0.03)
    weights = np.where(x[:, 0] < 5, 3.0, 1.0)
    _, weighted = standardised(x, x, reference_weights=weights)
    _, doubled = standardised(x, np.repeat(x, weights.astype(int), axis=0))
    assert np.unique(weighted) == pytest.approx(np.unique(doubled))


def test_standardised_sentinels_and_constants(rng):
    x = rng.normal(size=(10000, 3))
    x[:300, 0] = -999.0
    x[:, 1] = 4.0
    x[:200, 2], x[200:, 2] = 1.0, 0.0
    sample, reference = standardised(x + 1, x)
    # the 5 % quantile of all events is the 2 % quantile of those without sentinel
    assert reference[300:, 0].std() == pytest.approx(0.9, rel=0.03)
    assert (reference[:300, 0] == -10).all()
    assert (reference[:, 1] == 0).all()
    assert sample[:, 1] == pytest.approx(1)
    assert reference[:, 2].std() == pytest.approx(1)


@ALL
def test_bad_samples(rng, metric):
    x = rng.normal(size=(50, 2))
    with pytest.raises(
        ValueError,
        match="expected the same features in both samples, got 1 columns in the sample and 2 in the reference",
    ):
        metric(x[:, :1], x, rng=rng)
    with pytest.raises(ValueError, match="reference: expected weights with a positive sum, got -50"):
        metric(x, x, rng=rng, reference_weights=-np.ones(50))
    with pytest.raises(ValueError, match="sample: expected at least one event"):
        metric(x[:0], x, rng=rng)


def test_halves_need_events(rng):
    with pytest.raises(ValueError, match="half of the sample: expected at least one event"):
        max_sliced_wasserstein(np.zeros((1, 2)), np.zeros((4, 2)), rng=rng)


@pytest.mark.slow
def test_many_events(rng):
    """The sizes that the metrics are made for; the values are known."""
    x, y = rng.normal(size=(100_000, 35)), rng.normal(size=(100_000, 35))
    y[:, 0] += 0.2
    value, uncertainty = sliced_wasserstein(y, x, rng=rng)
    assert value == pytest.approx(0.2 * mean_cosine(35), abs=4 * uncertainty)
    value, uncertainty = worst(y, x, rng=rng, projections=20)
    assert value == pytest.approx(0.2, abs=4 * uncertainty)
    assert uncertainty < 0.02
