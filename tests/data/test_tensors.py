"""Tensors: weights of mean one, and random batches."""

import numpy as np
import pytest
import torch

from hepgan.config import parse
from hepgan.data.events import Events
from hepgan.data.tensors import TensorEvents
from hepgan.errors import DataError


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
