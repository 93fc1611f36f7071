"""Parts of the events are disjoint and fixed by the seed, however many events there are."""

import numpy as np
import pytest

from hepgan.data import parts
from hepgan.data.parts import LEFT_OUT, TEST, TRAINING, VALIDATION, Parts, split, withheld
from hepgan.errors import ConfigError, DataError


def test_split_is_disjoint_complete_and_fixed_by_the_seed(tiny_data):
    data = tiny_data(["none.root"], validation=0.2, test=0.1)
    indices = split(data, 1000, seed=3)
    assert [len(part) for part in indices] == [700, 200, 100]
    assert np.array_equal(np.sort(np.concatenate(indices)), np.arange(1000))
    assert all(np.array_equal(a, b) for a, b in zip(indices, split(data, 1000, seed=3), strict=True))
    assert not np.array_equal(indices[2], split(data, 1000, seed=4)[2])


def test_split_is_that_of_version_0_1(tiny_data):
    """A run of an earlier version is evaluated on the events that it did not see."""
    indices = split(tiny_data(["none.root"]), 10_007, seed=5)
    order = np.random.default_rng(5).permutation(10_007)
    expected = order[2002:], order[1001:2002], order[:1001]
    assert all(np.array_equal(a, np.sort(b)) for a, b in zip(indices, expected, strict=True))


def test_too_few_events_to_split_are_named(tiny_data):
    with pytest.raises(DataError, match=r"3 events are too few to split into training, validation"):
        split(tiny_data(["none.root"]), 3, seed=1)


def test_events_that_are_left_out_change_the_numbers_of_the_others_only(tiny_data):
    data, left_out = tiny_data(["none.root"]), np.array([0, 5, 6, 99])
    found = Parts.of(data, 100, seed=1, left_out=left_out)
    whole = found(0, 100)
    assert np.flatnonzero(whole == LEFT_OUT).tolist() == left_out.tolist()
    kept = np.delete(np.arange(100), left_out)
    for part, expected in zip((TRAINING, VALIDATION, TEST), split(data, 96, seed=1), strict=True):
        assert np.array_equal(np.flatnonzero(whole == part), kept[expected])
    assert np.array_equal(np.concatenate([found(0, 6), found(6, 7), found(7, 100)]), whole)


@pytest.mark.parametrize("many", [False, True])
def test_counts_are_those_of_the_parts(tiny_data, monkeypatch, many):
    monkeypatch.setattr(parts, "_BLOCK", 64)
    monkeypatch.setattr(parts, "_MOST_PERMUTED", 0 if many else 1000)
    found = Parts.of(tiny_data(["none.root"]), 1000, seed=1, left_out=np.arange(10, 20))
    ends = np.array([3, 100, 100, 190, 1000])
    ranges = np.split(found(0, 1000), ends)[:-1]
    assert found.counts(ends).tolist() == [
        [(x == k).sum() for k in (TRAINING, VALIDATION, TEST)] for x in ranges
    ]


def test_of_very_many_events_each_part_has_its_share(tiny_data, monkeypatch):
    monkeypatch.setattr(parts, "_MOST_PERMUTED", 0)
    data, n = tiny_data(["none.root"], validation=0.2, test=0.1), 100_000
    indices = split(data, n, seed=3)
    assert sum(map(len, indices)) == n
    for part, share in zip(indices, (0.7, 0.2, 0.1), strict=True):
        assert len(part) / n == pytest.approx(share, abs=4 * (share * (1 - share) / n) ** 0.5)
    other = split(data, n, seed=4)[2]
    both = len(np.intersect1d(indices[2], other))
    assert both == pytest.approx(0.01 * n, abs=4 * (0.01 * n) ** 0.5)  # seeds split independently
    near = np.diff(indices[2])
    assert (near == 1).mean() == pytest.approx(0.1, abs=0.02)  # neighbours, too


def test_events_that_are_withheld_are_in_the_test_part_only(tiny_data):
    data = tiny_data(["none.root"], withheld={"incident_energy": [20, 30]})
    energy = np.random.default_rng(2).uniform(1, 65, 1000).astype(np.float32)
    hidden = withheld(data, np.column_stack([energy, energy])[:, : len(data.conditions)])
    assert np.array_equal(hidden, np.flatnonzero((energy >= 20) & (energy <= 30)))
    before = split(data, 1000, seed=3)
    training, validation, test = split(data, 1000, seed=3, withheld=hidden)
    assert np.array_equal(training, np.setdiff1d(before[0], hidden))
    assert np.array_equal(validation, np.setdiff1d(before[1], hidden))
    assert np.array_equal(test, before[2])
    assert np.isin(hidden, test).any()
    with pytest.raises(DataError, match=r"data\.withheld .*got 0 and 0 of 1000; make the range smaller"):
        split(data, 1000, seed=3, withheld=np.arange(1000))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"theta": [0, 1]}, r"withheld: expected conditions .* got 'theta'"),
        (
            {"incident_energy": [3, 1]},
            r"withheld\.incident_energy: expected a range \[low, high\], got \[3, 1\]",
        ),
    ],
)
def test_wrong_ranges_are_refused(tiny_data, given, message):
    with pytest.raises(ConfigError, match=message):
        tiny_data(["none.root"], withheld=given)
