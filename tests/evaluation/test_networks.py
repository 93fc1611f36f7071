"""CaloChallenge's networks on real showers, made small: what they are given, and what stands beside them."""

import functools

import numpy as np
import pytest

from hepgan.config import EvaluationConfig, parse
from hepgan.data.events import Events
from hepgan.data.reading import read
from hepgan.errors import ConfigError
from hepgan.evaluation import networks
from hepgan.evaluation.measuring import check_settings
from hepgan.evaluation.networks import measure_networks, rows
from hepgan.evaluation.showers import ShowerSetup
from hepgan.evaluation.tracks import TrackSetup
from hepgan.metrics import network_test
from hepgan.transforms.shower_shapes import ShowerShapes, challenge_high_level_names


@pytest.fixture(scope="module")
def setup(sample_config):
    calorimeter = sample_config.calorimeter.calorimeter()
    shapes = ShowerShapes(calorimeter, n_overflow=3)
    return ShowerSetup(sample_config, EvaluationConfig(networks=True), False, calorimeter, shapes)


@pytest.fixture(scope="module")
def samples(sample_config, setup):
    events = read(sample_config.model_copy(update={"max_events": 2000}))
    hot = events.cells[1000:].copy()
    hot[:, setup.calorimeter.slices()[0]] *= 3
    sample = Events(events.conditions[1000:], (hot, events.overflow[1000:]), events.weights[1000:])
    return setup.sample("sample", sample), setup.sample("reference", events[:1000])


@pytest.fixture
def small(monkeypatch):
    widths = []

    def test(sample, reference, **options):
        widths.append(sample.shape[1])
        return network_test(sample, reference, width=64, epochs=20, batch_size=100, **options)

    monkeypatch.setattr(networks, "network_test", test)
    for name in ("frechet_physics_distance", "kernel_physics_distance"):
        metric = getattr(networks, name)
        sizes = {"smallest_size": 500, "largest_size": 1000} if name.startswith("f") else {"size": 250}
        monkeypatch.setattr(networks, name, functools.partial(metric, **sizes))
    return widths


def test_a_hot_layer_is_seen_and_published_numbers_stand_beside(samples, setup, small):
    order = np.random.default_rng(1).permutation(1000)
    words = []
    numbers = measure_networks(
        *samples,
        setup,
        halves=[(order[:500], order[500:])],
        rng=np.random.default_rng(2),
        step=words.append,
    )
    cells = setup.calorimeter.n_cells
    assert small == [1 + cells] * 2 + [len(challenge_high_level_names(setup.calorimeter))] * 2
    assert any("floor" in text and "epoch" in text for text in words)
    assert numbers.high.auc.value > 0.6
    assert numbers.high.auc_floor.value == pytest.approx(0.5, abs=0.15)
    assert numbers.fpd.value.value > numbers.fpd.floor.value
    keys = [row.key for row in rows(numbers)]
    assert keys == ["network_auc_low", "network_auc_high", "challenge_fpd", "challenge_kpd"]
    EvaluationConfig(limits=dict.fromkeys(keys, 1.0))  # none is refused
    peers = {key: [peer.model for peer in setup.published(key)] for key in keys}
    assert "CaloGAN" in peers["network_auc_low"]
    assert peers["challenge_kpd"] == []


def test_tracks_have_no_cells():
    conditions, targets = [{"name": "P"}], [{"name": "a"}]
    data = parse({"data": {"files": ["none"], "conditions": conditions, "targets": targets}}).data
    setup = TrackSetup(data, EvaluationConfig(networks=True), False)
    message = r"evaluation\.networks: expected showers, got tracks; CaloChallenge's networks see cells: leave it out"
    with pytest.raises(ConfigError, match=message):
        check_settings(setup)
    with pytest.raises(ConfigError, match=message):
        measure_networks(None, None, setup, halves=[], rng=None, step=None)
    assert setup.published("auc") == []
