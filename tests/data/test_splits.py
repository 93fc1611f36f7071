"""Splits are disjoint and fixed by the seed; weights have mean one."""

import numpy as np
import pytest
import torch

from hepgan.config import parse
from hepgan.data.events import Events
from hepgan.data.reading import read
from hepgan.data.splits import split, test_events, training_events
from hepgan.data.tensors import TensorEvents
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


def events_of_weights(weights):
    n = len(weights)
    ones = np.ones((n, 1), np.float32)
    return Events(ones, (ones, ones), np.asarray(weights, np.float32))


def test_weights_have_mean_one_and_keep_their_signs():
    events = TensorEvents.of(events_of_weights([2.0, 4.0, -1.0, 3.0]))
    assert events.weights.mean().item() == pytest.approx(1)
    assert (events.weights < 0).tolist() == [False, False, True, False]
    with pytest.raises(DataError, match="weights"):
        TensorEvents.of(events_of_weights([1.0, -2.0]))


def test_batches_are_fixed_by_the_generator(tiny_events):
    events = TensorEvents.of(tiny_events)
    a, b = (events.batch(16, rng=torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(a.condition, b.condition)
    assert torch.equal(a.weights, b.weights)
    assert all(torch.equal(x, y) for x, y in zip(a.outputs, b.outputs, strict=True))
    assert len(a) == 16
    # drawn events are events of the sample, undithered
    assert {row.tobytes() for row in a.condition.numpy()} <= {row.tobytes() for row in tiny_events.conditions}


def test_whole_numbers_are_dithered_by_half_a_unit(tiny_data):
    data = tiny_data(["x.root"]).model_dump(mode="json", exclude_none=True)
    data["conditions"] += [{"name": "n_tracks", "transform": "linear", "integer": True}]
    data = parse({"data": data}).data
    n = 4000
    conditions = np.tile(np.float32([[3.0, 7.0]]), (n, 1))
    values = np.ones((n, 1), np.float32)
    events = TensorEvents.of(Events(conditions, (values, values), np.ones(n, np.float32)), data)
    batch = events.batch(n, rng=torch.Generator().manual_seed(1))
    energy, number = batch.condition.T
    assert (energy == 3).all()
    assert 6.5 <= number.min() < 6.51
    assert 7.49 < number.max() <= 7.5
    assert number.mean().item() == pytest.approx(7, abs=4 / (12 * n) ** 0.5)
    assert (events.condition[:, 1] == 7).all()  # the sample itself stays as it is
