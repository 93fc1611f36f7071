"""The table [tune]: what may be varied, and what is refused with which words."""

import pytest

from hepgan import config
from hepgan.errors import ConfigError

DATA = {
    "files": ["none.root"],
    "conditions": [{"name": "P"}],
    "targets": [{"name": "x"}, {"name": "y"}],
}


def parsed(key, dimension):
    return config.parse({"data": DATA, "tune": {"space": {key: dimension}}})


@pytest.mark.parametrize(
    ("key", "dimension"),
    [
        ("training.lr_critic", {"low": 1e-5, "high": 1e-3, "log": True}),
        ("training.batch_size", {"low": 64, "high": 512, "step": 64}),
        ("objective.penalty", {"low": 0, "high": 10, "step": 2.5}),
        ("model.width", {"choices": [64, 128]}),
        ("objective.name", {"choices": ["wgan-gp", "energy-score"]}),
        ("objective.spectral_norm", {"choices": [False, True]}),
    ],
)
def test_space_survives_dump_and_load(key, dimension, tmp_path):
    first = parsed(key, dimension)
    (tmp_path / "a.toml").write_text(config.dump(first))
    assert config.load(tmp_path / "a.toml") == first
    kept = first.tune.space[key]
    assert {name: getattr(kept, name) for name in dimension} == {
        name: tuple(value) if name == "choices" else value for name, value in dimension.items()
    }


@pytest.mark.parametrize(
    ("key", "dimension", "message"),
    [
        ("training.lr_critc", {"low": 1, "high": 2}, "cannot be varied: did you mean 'training.lr_critic'"),
        ("lr_critic", {"low": 1, "high": 2}, "cannot be varied: did you mean"),
        (
            "training.seed",
            {"low": 1, "high": 2},
            "'training.seed' cannot be varied: another seed is another split",
        ),
        ("training.validate_every", {"low": 1, "high": 2}, "more of them make it smaller; leave it out"),
        (
            "training.device",
            {"choices": ["cpu", "cuda"]},
            "does not change the showers or tracks; leave it out",
        ),
        ("data.cut", {"choices": ["a", "b"]}, "distances to other events do not compare; leave it out"),
        (
            "model.width",
            {"low": 8, "hihg": 16},
            "unknown key 'tune.space.model.width.hihg'; did you mean 'high'?",
        ),
        ("model.width", {"low": 8}, "expected low and high, or choices, got neither in full"),
        (
            "model.width",
            {"low": 8, "high": 16, "choices": [8, 16]},
            "expected choices, or low and high, got both",
        ),
        ("model.width", {"choices": [8]}, "expected two different values or more, got [8]"),
        ("model.width", {"choices": [8, 8]}, "expected two different values or more, got [8, 8]"),
        ("model.width", {"low": 16, "high": 8}, "expected low < high, got 16 and 8; exchange them"),
        ("model.width", {"low": 8.5, "high": 16}, "model.width: input should be a valid integer"),
        ("model.width", {"low": 8, "high": 16, "step": 0.5}, "step: expected a whole number, got 0.5"),
        ("model.width", {"low": 8, "high": 16, "step": 3}, "expected low plus a multiple of step"),
        ("model.width", {"low": 8, "high": 16, "step": 0}, "step: input should be greater than 0"),
        ("model.width", {"low": "small", "high": 16}, "low: input should be a valid number"),
        (
            "model.width",
            {"choices": [8, "wide"]},
            "valid integer, unable to parse string as an integer, got 'wide'",
        ),
        ("model.width", {"low": 0, "high": 16}, "model.width: input should be greater than 0, got 0.0"),
        ("training.ema", {"low": 0.9, "high": 1.0}, "training.ema: input should be less than 1, got 1.0"),
        (
            "training.lr_critic",
            {"low": 0, "high": 1, "log": True},
            "low: expected a positive number for log = true",
        ),
        (
            "training.lr_critic",
            {"low": 1, "high": 2, "log": True, "step": 1},
            "step: expected none for log = true",
        ),
        ("objective.spectral_norm", {"low": 0, "high": 1}, "is not a number; write choices = [...]"),
    ],
)
def test_space_that_is_refused(key, dimension, message):
    with pytest.raises(ConfigError) as error:
        parsed(key, dimension)
    assert message in str(error.value)


def test_unknown_keys_of_the_table():
    with pytest.raises(ConfigError, match=r"unknown key 'tune.prunner'; did you mean 'pruner'\?"):
        config.parse({"data": DATA, "tune": {"prunner": "median"}})
