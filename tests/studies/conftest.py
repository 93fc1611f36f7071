"""A study of seconds: a tiny model of two observables, with a space in which one end is hopeless."""

import pytest

from hepgan import config, toys


@pytest.fixture(scope="session")
def ring(tmp_path_factory):
    """File of the ring of eight blobs."""
    path = tmp_path_factory.mktemp("ring") / "ring.root"
    toys.write("ring", path, n=1200, seed=1)
    return path


@pytest.fixture(scope="session")
def searched(ring):
    """A configuration with a search space; keywords replace keys of [training], `tune` the table."""

    def build(*, tune=None, **training):
        conditions = [{"name": "one", "branch": "1 + 0 * x", "transform": "linear"}]
        targets = [{"name": axis, "transform": "linear"} for axis in "xy"]
        size = {"width": 8, "depth": 0, "critic_width": 8, "critic_depth": 0, "hinges": 2}
        small = {
            "steps": 12,
            "batch_size": 32,
            "validate_every": 3,
            "log_every": 50,
            "warm_up": 0,
            "threads": 1,
        }
        space = {
            "training.lr_generator": {"low": 1e-6, "high": 0.3, "log": True},
            "model.depth": {"low": 0, "high": 2, "step": 2},
            "model.width": {"choices": [8, 16]},
        }
        return config.parse(
            {
                "data": {"files": [str(ring)], "conditions": conditions, "targets": targets},
                "model": size,
                "objective": {"name": "energy-score"},
                "training": small | training,
                "tune": {"start": 3, "space": space} if tune is None else tune,
            }
        )

    return build
