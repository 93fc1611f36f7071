"""Tiny recipes: showers of a mixture, and tracks of the toy RICH."""

from pathlib import Path

import numpy as np
import pytest
import uproot

from hepgan import config, toys

N = 2400
ROOT = Path(__file__).parents[2]


@pytest.fixture
def two_sided(tmp_path, write_tree):
    """Showers that lean to one side or the other: a mixture that no Gaussian copula has."""
    rng = np.random.default_rng(3)
    energy = np.exp(rng.uniform(0, 3, N)).astype(np.float32)
    side = rng.random(N) < 0.5
    profile = np.where(side[:, None], [8.0, 4, 2, 1, 0.5, 0.2], [0.2, 0.5, 1, 2, 4, 8.0])
    first = profile * np.exp(0.2 * rng.standard_normal((N, 6))) * energy[:, None] * 10
    second = rng.gamma(2.0, 1.0, (N, 4)) * energy[:, None] * 20 * (rng.random((N, 4)) < 0.8)
    branches = {
        "incident_energy": energy,
        "layer_0": first.reshape(N, 2, 3).astype(np.float32),
        "layer_1": second.reshape(N, 2, 2).astype(np.float32),
        "overflow": rng.exponential(1.0, (N, 2)).astype(np.float32),
        "w": np.where(rng.random(N) < 0.1, -1.0, 1.0).astype(np.float32),
    }
    return write_tree(tmp_path / "two_sided.root", branches, basket=N)


@pytest.fixture
def recipe(two_sided, tiny_data):
    """A tiny model on these showers."""

    def build(*, steps=30, weight=None, **training_settings):
        data = tiny_data([two_sided], weight=weight).model_dump(mode="json", exclude_none=True)
        return config.parse(
            {
                "data": data,
                "model": {
                    "latent": 4,
                    "width": 32,
                    "depth": 2,
                    "channels": 4,
                    "critic_width": 32,
                    "critic_depth": 2,
                    "critic_channels": 4,
                },
                "training": {
                    "steps": steps,
                    "batch_size": 64,
                    "log_every": 5,
                    "validate_every": 10,
                    "warm_up": 5,
                    "threads": 1,
                    **training_settings,
                },
            }
        )

    return build


@pytest.fixture
def quick_chances(monkeypatch):
    """Fit the point masses in few steps, for tests that do not look at them and train in this process."""
    monkeypatch.setattr("hepgan.models.tracks._CHANCE_STEPS", 50)


@pytest.fixture
def track_recipe(tmp_path):
    """A tiny model of the toy RICH."""
    file = tmp_path / "tracks.root"
    toys.write("rich", file, n=2000, seed=4, species=["K"])

    def build(*, steps=30, objective="energy-score", **training_settings):
        values = config.load(
            ROOT / "hepgan" / "configs" / "rich.toml",
            settings=[f"data.files=['{file}']", "data.test_files=[]", "training.max_minutes=60.0"],
        ).model_dump(mode="json", exclude_none=True)
        values["model"] |= {"width": 16, "depth": 1, "hinges": 6, "critic_width": 16, "critic_depth": 1}
        values["objective"]["name"] = objective
        small = {"steps": steps, "batch_size": 64, "log_every": 5, "validate_every": 10, "warm_up": 5}
        values["training"] |= small | training_settings
        return config.parse(values)

    return build


@pytest.fixture(scope="session")
def plain_tracks(tmp_path_factory):
    """A tiny model of two observables without atoms, which is fitted and restored in hundredths of a second."""
    rng, file = np.random.default_rng(1), tmp_path_factory.mktemp("plain") / "tracks.root"
    momentum = np.exp(rng.uniform(0, 4, 1200))
    with uproot.recreate(file) as tree:
        tree["t"] = {"p": momentum, "tof": rng.normal(100 / momentum, 1), "dedx": rng.gamma(3, 1, 1200)}
    names = {"conditions": [{"name": "p"}], "targets": [{"name": "tof"}, {"name": "dedx"}]}
    model = {"latent": 3, "width": 8, "depth": 1, "hinges": 5, "critic_width": 8, "critic_depth": 1}
    small = {"steps": 30, "batch_size": 32, "log_every": 5, "validate_every": 10, "warm_up": 5, "threads": 1}

    def build(**training_settings):
        data = {"files": [str(file)], "tree": "t", **names}
        return config.parse({"data": data, "model": model, "training": small | training_settings})

    return build
