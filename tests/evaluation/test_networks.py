"""CaloChallenge's networks on real showers, made small: what they are given, and what stands beside them."""

import functools

import numpy as np
import pytest

from hepgan.config import EvaluationConfig
from hepgan.data.events import Events
from hepgan.data.reading import read
from hepgan.evaluation import networks as comparison_networks
from hepgan.evaluation.networks import networks, rows, with_peers
from hepgan.evaluation.showers import ShowerSetup
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
    return setup.sample("reference", events[:1000]), setup.sample("sample", sample)


@pytest.fixture
def small(monkeypatch):
    seen = []

    def test(x, y, **options):
        seen.append(x.shape[1])
        return network_test(y, x, width=64, epochs=20, batch_size=100, **options)

    monkeypatch.setattr(comparison_networks, "network_test", test)
    for name in ("frechet_physics_distance", "kernel_physics_distance"):
        metric = getattr(comparison_networks, name)
        sizes = {"smallest_size": 500, "largest_size": 1000} if name.startswith("f") else {"size": 250}
        monkeypatch.setattr(comparison_networks, name, functools.partial(metric, **sizes))
    return seen


def test_a_hot_layer_is_seen_and_published_numbers_stand_beside(samples, setup, small):
    order = np.random.default_rng(1).permutation(1000)
    words = []
    found = networks(
        *samples,
        setup,
        halves=[(order[:500], order[500:])],
        rng=np.random.default_rng(2),
        step=words.append,
    )
    cells = setup.calorimeter.n_cells
    assert small == [1 + cells] * 2 + [len(challenge_high_level_names(setup.calorimeter))] * 2
    assert any("floor" in text and "epoch" in text for text in words)
    assert found["high"]["auc"][0] > 0.6
    assert found["high"]["auc_floor"][0] == pytest.approx(0.5, abs=0.15)
    assert found["fpd"]["value"][0] > found["fpd"]["floor"][0]
    verdict = with_peers(rows(found), setup)
    peers = {row["key"]: [p["model"] for p in row.get("peers", ())] for row in verdict}
    assert "CaloGAN" in peers["network_auc_low"]
    assert peers["challenge_kpd"] == []


def test_tracks_have_no_cells():
    class Tracks:
        what = "tracks"

    with pytest.raises(ValueError, match=r"evaluation\.networks: expected showers, got tracks"):
        networks(None, None, Tracks(), halves=[], rng=None, step=None)
    assert with_peers([{"key": "auc"}], Tracks()) == [{"key": "auc"}]
