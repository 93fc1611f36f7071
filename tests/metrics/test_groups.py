import numpy as np
import pytest

from hepgan.metrics.groups import between_halves, jackknife, random_groups


@pytest.fixture
def rng():
    return np.random.default_rng(61)


def sums_of(values, group):
    """Sums of the values of each group, and of ones."""
    return np.column_stack([np.bincount(group, values), np.bincount(group)])


def average(total):
    return total[0] / total[1]


def test_groups_are_random_and_of_equal_size(rng):
    group = random_groups(103, rng, groups=10)
    assert sorted(set(np.bincount(group))) == [10, 11]
    assert (np.diff(group) != 1).any()
    assert random_groups(3, rng).tolist() != []
    assert len(set(random_groups(3, rng))) == 3  # not more groups than events
    with pytest.raises(ValueError, match="at least one event and one group, got 0 and 20; give more events"):
        random_groups(0, rng)


def test_jackknife_of_a_mean_is_its_standard_error(rng):
    measured = []
    for _ in range(200):
        values = rng.exponential(size=400)
        measured.append(jackknife(average, sums_of(values, random_groups(400, rng))))
    values, uncertainties = np.array(measured).T
    assert values.std() == pytest.approx(0.05, rel=0.15)
    assert np.sqrt((uncertainties**2).mean()) == pytest.approx(0.05, rel=0.06)
    assert ((values - 1) / uncertainties).std() == pytest.approx(1, abs=0.2)  # the pull


def test_jackknife_of_two_samples_adds_in_quadrature(rng):
    first, second = (sums_of(rng.normal(5, s, 2000), random_groups(2000, rng)) for s in (1, 2))
    value, uncertainty = jackknife(lambda a, b: [average(a) - average(b), 7.0], first, second)
    parts = [jackknife(average, sums)[1] for sums in (first, second)]
    assert uncertainty == pytest.approx([np.hypot(*parts), 0])
    assert abs(value[0]) < 4 * uncertainty[0]
    assert jackknife(average, first[:1])[1] == 0  # one group tells nothing


def test_values_do_not_depend_on_the_groups(rng):
    values = rng.normal(size=500)
    results = [jackknife(average, sums_of(values, random_groups(500, rng)))[0] for _ in range(2)]
    assert results == pytest.approx([values.mean()] * 2)


def test_floor_is_the_difference_of_halves(rng):
    n = 4000
    sums = sums_of(rng.normal(size=n), random_groups(n, rng))
    value, scatter = between_halves(lambda a, b: abs(average(a) - average(b)), sums, rng=rng, halvings=200)
    expected = np.sqrt(2 / np.pi) * 2 / np.sqrt(n)  # mean size of a difference of two means of n / 2
    assert value == pytest.approx(expected, rel=0.4)
    assert 0 < scatter < 2 * expected
    assert between_halves(lambda a, b: np.nan, sums, rng=rng) is None
    assert between_halves(lambda a, b: 1.0, sums[:1], rng=rng) is None
