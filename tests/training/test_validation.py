"""The number that selects the checkpoint."""

import numpy as np
import pytest
import torch

from hepgan.config import KINDS, SHOWERS, TRACKS, CaloModelConfig, parse
from hepgan.data.events import Events
from hepgan.data.tensors import TensorEvents
from hepgan.models import CaloGenerator, DllGenerator
from hepgan.training.validation import OBSERVABLES, ValidationDistance


def test_distance_of_showers_is_zero_to_itself_and_sees_changes(sample_config, events):
    reference = TensorEvents.of(events)
    cells, overflow = reference.outputs
    distance = ValidationDistance(reference, CaloGenerator(sample_config, CaloModelConfig()), kind=SHOWERS)
    assert distance.between(cells, overflow) == pytest.approx(0, abs=1e-12)
    scaled = distance.between(cells * 1.02, overflow)
    one_cell = cells.clone()
    one_cell[:, 150] *= 1.5
    assert scaled > 0.002
    assert distance.between(one_cell, overflow) > 0.002
    assert distance.between(cells * 1.1, overflow) > 2 * scaled


def test_distance_of_tracks_is_zero_to_itself_and_sees_changes_in_a_corner():
    rng = np.random.default_rng(1)
    momentum = np.exp(rng.uniform(0, 3, (8000, 1))).astype(np.float32)
    targets = (rng.standard_normal((8000, 2)) * momentum).astype(np.float32)
    data = parse(
        {
            "data": {
                "files": ["x.root"],
                "conditions": [{"name": "p"}],
                "targets": [{"name": "a"}, {"name": "b"}],
            },
            "model": {"latent": 2, "width": 4, "depth": 0, "hinges": 4},
        }
    )
    reference = TensorEvents.of(Events(momentum, (targets,), np.ones(8000, np.float32)))
    generator = DllGenerator(data.data, data.model)
    generator.fit(reference, rng=torch.Generator().manual_seed(0))
    distance = ValidationDistance(reference, generator, kind=TRACKS)
    (values,) = reference.outputs
    assert distance.between(values) == pytest.approx(0, abs=1e-12)
    corner = values.clone()
    high = reference.condition[:, 0] > np.exp(2.7)  # a tenth of the tracks
    corner[high, 0] *= 1.5
    assert distance.between(corner) > 0.01
    uncorrelated = values.clone()
    uncorrelated[:, 1] = uncorrelated[:, 0]
    assert distance.between(uncorrelated) > 0.05
    assert distance.between(values * torch.nan) == np.inf


def test_distance_of_angles_is_the_short_way():
    data = parse(
        {
            "data": {
                "files": ["x.root"],
                "conditions": [{"name": "p"}],
                "targets": [{"name": "phi", "transform": "angle"}],
            },
            "model": {"latent": 2, "width": 4, "depth": 0, "hinges": 4},
        }
    )
    rng = np.random.default_rng(1)
    angle = rng.vonmises(0, 5, (5000, 1))
    values, turned, opposite = (torch.from_numpy((angle + by) % 6.2831).float() for by in (0, 0.1, np.pi))
    momentum = np.exp(rng.uniform(0, 3, (5000, 1))).astype(np.float32)
    reference = TensorEvents.of(Events(momentum, (values.numpy(),), np.ones(5000, np.float32)))
    generator = DllGenerator(data.data, data.model)
    generator.fit(reference, rng=torch.Generator().manual_seed(0))
    distance = ValidationDistance(reference, generator, kind=TRACKS)
    assert 0 < distance.between(turned) < 0.15  # radius sqrt(2), times 0.1, at most
    assert distance.between(opposite) > 1


def test_every_kind_of_data_has_observables():
    assert OBSERVABLES.keys() == KINDS.keys()
