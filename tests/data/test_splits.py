"""Splits are disjoint and fixed by the seed."""

import numpy as np
import pytest

from hepgan.data.reading import read
from hepgan.data.splits import split, test_events, training_events
from hepgan.errors import ConfigError, DataError


def test_split_is_disjoint_complete_and_fixed_by_the_seed(tiny_data):
    data = tiny_data(["none.root"], validation=0.2, test=0.1)
    parts = split(data, 1000, seed=3)
    assert [len(part) for part in parts] == [700, 200, 100]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(1000))
    assert all(np.array_equal(a, b) for a, b in zip(parts, split(data, 1000, seed=3), strict=True))
    assert not np.array_equal(parts[2], split(data, 1000, seed=4)[2])


def test_too_few_events_to_split_are_named(tiny_data):
    with pytest.raises(DataError, match=r"3 events are too few to split into training, validation"):
        split(tiny_data(["none.root"]), 3, seed=1)


def test_held_out_events_are_never_trained_on(tiny_data, tiny_file):
    data = tiny_data([tiny_file()])
    training, validation = training_events(data, seed=5)
    held_out = test_events(data, seed=5)
    rows = [{row.tobytes() for row in events.cells} for events in (training, validation, held_out)]
    assert len(set.union(*rows)) == sum(map(len, rows)) == len(read(data))


def test_test_files_replace_the_test_part(tiny_data, tiny_file):
    file = tiny_file()
    data = tiny_data([file], test_files=[file])
    assert len(test_events(data, seed=1)) == len(read(data))
    assert sum(map(len, training_events(data, seed=1))) == len(read(data))
    with pytest.raises(
        ConfigError, match=r"data.test is 0 and data.test_files is empty; name a file with --data"
    ):
        test_events(tiny_data([file], test=0.0), seed=1)
