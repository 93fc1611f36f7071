import numpy as np
import pytest

from hepgan.metrics import copies
from hepgan.metrics.copies import (
    duplication,
    memorisation,
    nearest_distances,
    share_of_copies,
    share_of_repeats,
)


@pytest.fixture
def rng():
    return np.random.default_rng(42)


def circle(x):
    """Points of [0, 1) on a circle of circumference 1: no edges."""
    angle = 2 * np.pi * np.asarray(x).reshape(-1, 1)
    return np.concatenate([np.cos(angle), np.sin(angle)], axis=1) / (2 * np.pi)


def test_nearest_distance_of_uniform_points(rng):
    """Density n: the distance is exponential with mean 1 / 2n in one dimension, of mean 1 / 2 sqrt(n) in two."""
    n, asked = 20_000, 4000
    line = nearest_distances(circle(rng.uniform(size=asked)), circle(rng.uniform(size=n)))
    assert line.mean() == pytest.approx(1 / (2 * n), rel=5 / np.sqrt(asked))
    assert line.std() == pytest.approx(1 / (2 * n), rel=0.1)
    assert np.median(line) == pytest.approx(np.log(2) / (2 * n), rel=0.1)
    square = nearest_distances(rng.uniform(0.1, 0.9, (asked, 2)), rng.uniform(size=(n, 2)))
    assert square.mean() == pytest.approx(1 / (2 * np.sqrt(n)), rel=5 * 0.52 / np.sqrt(asked))
    assert np.median(square) == pytest.approx(np.sqrt(np.log(2) / (np.pi * n)), rel=0.05)


@pytest.mark.parametrize("features", [2, 30])
def test_nearest_distances_are_those_of_all_pairs(features, rng):
    base, queries = rng.normal(size=(300, features)), rng.normal(size=(50, features))
    everything = np.linalg.norm(queries[:, None] - base, axis=-1)
    assert nearest_distances(queries, base) == pytest.approx(everything.min(axis=1))
    own = np.linalg.norm(base[:50, None] - base, axis=-1)
    own[np.arange(50), np.arange(50)] = np.inf
    assert nearest_distances(base[:50], base, within=True) == pytest.approx(own.min(axis=1))
    assert (nearest_distances(base[:50], base) == 0).all()
    twins = np.concatenate([base, base])
    assert (nearest_distances(twins[:50], twins, within=True) == 0).all()


def test_many_features_are_compared_in_parts(rng, monkeypatch):
    base, queries = rng.normal(size=(200, 20)), rng.normal(size=(33, 20))
    whole = nearest_distances(queries, base), nearest_distances(base[:33], base, within=True)
    monkeypatch.setattr(copies, "_CHUNK", 1000)
    parts = nearest_distances(queries, base), nearest_distances(base[:33], base, within=True)
    assert np.array_equal(whole, parts)


@pytest.mark.parametrize("features", [3, 504])
def test_share_of_copies_is_exact(features, rng):
    """Sparse cells of single precision, as showers have: few bits, many equal values."""

    def showers(n):
        cells = rng.exponential(size=(n, features)) * (rng.uniform(size=(n, features)) < 0.7)
        cells[:, 0] = rng.uniform(size=n)  # no empty ones
        return cells.astype(np.float32)

    training, sample = showers(2000), showers(1000)
    assert share_of_copies(sample, training) == (0.0, pytest.approx(1 / 1002))
    sample[100:150] = training[rng.integers(2000, size=50)]
    value, uncertainty = share_of_copies(sample, training)
    assert value == pytest.approx(0.05)
    assert uncertainty == pytest.approx(np.sqrt(0.05 * 0.95 / 1000))
    sample[100, -1] += 1e-6  # no copy any more
    assert share_of_copies(sample, training)[0] == pytest.approx(0.049)
    sample[:25] = sample[500:525]
    assert share_of_repeats(sample)[0] == pytest.approx(0.025)
    # columns that are swapped make another event
    assert share_of_copies(training[:, ::-1], training)[0] == 0


def test_negative_zero_is_zero():
    assert share_of_copies([[-0.0, 1.0], [0.0, -1.0]], [[0.0, 1.0]])[0] == 0.5
    assert share_of_repeats([[0.0], [-0.0], [1.0], [1.0]])[0] == 0.5


def test_share_of_copies_with_weights(rng):
    training, sample = rng.normal(size=(50, 3)), rng.normal(size=(40, 3))
    sample[:10] = training[:10]
    weights = np.where(np.arange(40) < 10, 2.0, 1.0)
    doubled = np.concatenate([sample, sample[:10]])
    assert share_of_copies(sample, training, sample_weights=weights)[0] == pytest.approx(0.4)
    assert share_of_copies(doubled, training)[0] == pytest.approx(0.4)
    weights[:5] = -2.0
    assert share_of_copies(sample, training, sample_weights=weights)[0] == 0
    assert share_of_repeats(doubled, sample_weights=np.append(np.ones(40), np.full(10, 0.5)))[
        0
    ] == pytest.approx(1 / 9)


@pytest.mark.parametrize("features", [2, 20])
def test_independent_samples_show_nothing(features, rng):
    training, test, sample = rng.normal(size=(3, 3000, features))
    for result in (
        memorisation(sample, test, training=training, rng=rng),
        duplication(sample, test, rng=rng),
    ):
        assert result.copies[0] == result.expected_copies[0] == 0
        assert result.expected == pytest.approx(0.01, abs=1 / 3000)
        assert abs(result.excess[0]) < 3 * result.excess[1]
        assert result.distance_ratio[0] == pytest.approx(1, abs=3 * result.distance_ratio[1])
        assert result.nearer[0] == pytest.approx(0.5, abs=3 * result.nearer[1])
        assert result.p_value > 1e-3


@pytest.mark.parametrize("features", [2, 20])
def test_copies_of_five_percent_are_found(features, rng):
    training, test, sample = rng.normal(size=(3, 4000, features))
    copied = rng.permutation(4000)[:200]
    sample[copied] = training[:200]
    result = memorisation(sample, test, training=training, rng=rng)
    assert result.copies[0] == pytest.approx(0.05)
    assert result.excess[0] == pytest.approx(0.05, abs=3 * result.excess[1])
    assert result.excess[0] > 8 * result.excess[1]
    sample[copied] *= 1 + 1e-6  # hardly another number, but no copy to the last bit
    near = memorisation(sample, test, training=training, rng=rng)
    assert near.copies[0] == 0
    assert near.excess[0] == pytest.approx(0.05, abs=3 * near.excess[1])


def test_training_sample_as_generator_is_found(rng):
    training, test = rng.normal(size=(2, 3000, 5))
    smeared = training[rng.integers(3000, size=3000)] + rng.normal(0, 0.05, (3000, 5))
    result = memorisation(smeared, test, training=training, rng=rng)
    assert result.distance_ratio[0] < 0.5
    assert result.nearer[0] > 0.9
    assert result.p_value < 1e-9
    bad = memorisation(test + 2, test, training=training, rng=rng)  # far away: nothing is remembered
    assert bad.distance_ratio[0] > 1.2
    assert bad.p_value > 0.999
    bad = memorisation(np.concatenate([test[:2700] + 2, training[:300]]), test, training=training, rng=rng)
    assert bad.p_value > 0.5  # copies that a bad generator hides from the medians
    assert bad.excess[0] == pytest.approx(0.1, abs=3 * bad.excess[1] + 0.01)


@pytest.mark.parametrize("features", [2, 20])
def test_duplicates_of_five_percent_are_found(features, rng):
    reference, sample = rng.normal(size=(2, 4000, features))
    sample[:200] = sample[200:400]
    result = duplication(sample, reference, rng=rng)
    assert result.copies[0] == pytest.approx(0.05)
    assert result.excess[0] == pytest.approx(0.1, abs=3 * result.excess[1])  # both twins
    assert result.excess[0] > 8 * result.excess[1]
    assert memorisation(sample, rng.normal(size=(4000, features)), training=reference, rng=rng).copies[0] == 0


def test_small_support_is_found_by_the_birthday_paradox(rng):
    events = rng.normal(size=(20_000, 4))
    sample = events[rng.integers(20_000, size=2000)]
    result = duplication(sample, rng.normal(size=(3000, 4)), rng=rng)
    assert result.copies[0] == pytest.approx(2000 / 2 / 20_000, abs=4 * np.sqrt(100) / 2000)
    assert result.expected_copies[0] == 0


def test_empty_events_are_expected(rng):
    """Point masses: a fifth of the events is all zero, in every sample."""
    samples = rng.normal(size=(3, 2000, 6))
    samples[rng.uniform(size=(3, 2000)) < 0.2] = 0
    training, test, sample = samples
    for result in (
        memorisation(sample, test, training=training, rng=rng),
        duplication(sample, test, rng=rng),
    ):
        assert result.expected == pytest.approx(0.2, abs=0.04)
        assert result.copies[0] == pytest.approx(result.expected_copies[0], abs=0.04)
        assert abs(result.excess[0]) < 3 * result.excess[1]
        assert result.p_value > 1e-3
    nothing = np.zeros((50, 2))
    result = memorisation(nothing, nothing, training=nothing, rng=rng)
    assert (result.expected, result.excess, result.distance_ratio) == (1.0, (0.0, 0.0), None)
    assert result.nearer[0] == 0.5
    assert result.p_value == 1.0


def test_units_do_not_matter(rng):
    training, test, sample = rng.normal(size=(3, 500, 3))
    scale = np.array([1.0, 1e3, 1e-3])
    first, second = (
        memorisation(sample * s, test * s, training=training * s, rng=np.random.default_rng(1))
        for s in (1.0, scale)
    )
    assert first.closer == second.closer
    assert first.distance_ratio == pytest.approx(second.distance_ratio)


def test_weight_two_is_a_generated_event_twice(rng):
    training, test, sample = rng.normal(size=(3, 400, 3))
    sample[:40] = training[:40] + 1e-3
    weights = np.where(np.arange(400) < 80, 2.0, 1.0)
    doubled = np.concatenate([sample, sample[:80]])
    weighted = memorisation(sample, test, training=training, rng=rng, sample_weights=weights)
    expected = memorisation(doubled, test, training=training, rng=rng)
    for name in ("closer", "excess", "distance_ratio", "nearer", "copies"):
        assert getattr(weighted, name)[0] == pytest.approx(getattr(expected, name)[0]), name
    doubled = np.concatenate([test, test[:80]])
    weighted = memorisation(sample, test, training=training, rng=rng, test_weights=weights)
    expected = memorisation(sample, doubled, training=training, rng=rng)
    for name in ("closer", "distance_ratio", "nearer"):
        assert getattr(weighted, name)[0] == pytest.approx(getattr(expected, name)[0]), name


def test_negative_weights_subtract(rng):
    """Copies that other copies with weight -1 take out again."""
    training, test, sample = rng.normal(size=(3, 4000, 3))
    polluted = np.concatenate([sample, training[:400], training[400:800]])
    weights = np.concatenate([np.ones(4400), -np.ones(400)])
    clean = memorisation(polluted, test, training=training, rng=rng, sample_weights=weights)
    assert clean.copies[0] == pytest.approx(0)
    assert abs(clean.excess[0]) < 3 * clean.excess[1]
    assert memorisation(polluted[:4400], test, training=training, rng=rng).excess[0] > 0.05
    within = duplication(
        np.concatenate([sample, sample[:100]]),
        test,
        rng=rng,
        sample_weights=np.append(np.ones(4000), -np.ones(100)),
    )
    assert within.copies[0] < 0


@pytest.mark.parametrize("queries", [300, 5000])
def test_uncertainties_are_the_spread_of_repetitions(queries, rng):
    found = {"memorisation": [], "duplication": []}
    for _ in range(100):
        training, test, sample = rng.normal(size=(3, 600, 3))
        settings = {"rng": rng, "quantile": 0.05, "queries": queries, "n_bootstrap": 20}
        found["memorisation"].append(memorisation(sample, test, training=training, **settings))
        found["duplication"].append(duplication(sample, test, **settings))
    for name, results in found.items():
        for quantity, truth in (("excess", 0.0), ("distance_ratio", 1.0), ("nearer", 0.5)):
            values, uncertainties = np.array([getattr(result, quantity) for result in results]).T
            pulls = (values - truth) / uncertainties
            assert abs(pulls.mean()) < 0.4, (name, quantity)
            assert 0.7 < pulls.std() < 1.3, (name, quantity)
        p_values = np.array([result.p_value for result in results])
        assert 0.35 < p_values.mean() < 0.65, name


def test_subsets_are_seeded(rng):
    training, test, sample = rng.normal(size=(3, 500, 3))
    first, again, other = (
        memorisation(sample, test, training=training, rng=np.random.default_rng(seed), queries=100)
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_bad_input(rng):
    x = rng.normal(size=(20, 2))
    with pytest.raises(ValueError, match=r"same number of columns .*'sample': 1, 'test': 2, 'training': 2"):
        memorisation(x[:, :1], x, training=x, rng=rng)
    with pytest.raises(ValueError, match=r"same number of columns .*'sample': 2, 'reference': 1"):
        duplication(x, x[:, :1], rng=rng)
    with pytest.raises(ValueError, match="quantile: expected a number between 0 and 1, got 1"):
        memorisation(x, x, training=x, rng=rng, quantile=1)
    with pytest.raises(ValueError, match="queries: expected at least 2, got 1"):
        duplication(x, x, rng=rng, queries=1)
    with pytest.raises(ValueError, match="base: expected at least two events, got one"):
        duplication(x[:1], x, rng=rng)
    with pytest.raises(ValueError, match=r"sample: expected weights with a positive sum, got -20"):
        memorisation(x, x, training=x, rng=rng, sample_weights=-np.ones(20))
