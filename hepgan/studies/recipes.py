"""Rows of the benchmark: objectives and models, and the configuration that trains one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hepgan import config as configuration
from hepgan.config import Config
from hepgan.files import near
from hepgan.objectives import OBJECTIVES
from hepgan.studies.work import Work

__all__ = ["ROWS", "SETTINGS", "Row", "find_row", "recipe"]

SETTINGS: dict[str, dict[str, Any]] = {
    "model": {"latent": 8, "width": 64, "depth": 2, "hinges": 8, "critic_width": 64, "critic_depth": 2},
    "training": {
        "batch_size": 256,
        "lr_generator": 2e-3,
        "lr_critic": 2e-3,
        "betas": [0.5, 0.9],
        "ema": 0.98,
        "warm_up": 0,  # a step of a row is a step of its generator
        "threads": 1,
        "device": "cpu",
    },
}
"""Settings that all rows share: small networks, and learning rates at which unstable objectives fail."""


@dataclass(frozen=True)
class Row:
    """Objective and model of a row.

    Attributes:
        objective: Keys of the table [objective].
        model: The table [model], instead of the one in `SETTINGS`.
    """

    objective: Mapping[str, Any]
    model: Mapping[str, Any] = field(default_factory=dict)


_SIZE = {key: value for key, value in SETTINGS["model"].items() if key != "latent"}
_FLOW = _SIZE | {"name": "flow", "depth": 1}  # a network of two hidden layers in each coupling

ROWS: dict[str, Row] = {
    **{name: Row({"name": name}) for name, objective in OBJECTIVES.items() if not objective.own},
    **{f"minimax+{name}": Row({"name": "minimax", "regulariser": name}) for name in ("wgan-gp", "r1")},
    "vae": Row({"name": "likelihood"}, _SIZE | {"name": "vae"}),
    "alpha-gan": Row({"name": "alpha-gan"}, _SIZE | {"name": "vae", "likelihood": "synthetic"}),
    "realnvp": Row({"name": "likelihood"}, _FLOW | {"coupling": "affine"}),
    "realnvp-wgan-gp": Row({"name": "wgan-gp"}, _FLOW | {"coupling": "affine"}),
    "spline-flow": Row({"name": "likelihood"}, _FLOW | {"coupling": "spline"}),
}
"""Rows by name: every objective, the original GAN with regularisers that repair it, and models with their own loss.

Any objective can be combined with any regulariser as ``objective+regulariser``.
"""


def find_row(name: str) -> Row:
    """Look up an entry of `ROWS`, or combine an objective with a regulariser.

    Raises:
        ValueError: If there is no such objective.
    """
    if name in ROWS:
        return ROWS[name]
    objective, plus, regulariser = name.partition("+")
    if objective not in ROWS or not plus:
        raise ValueError(f"--rows {name!r}: there is no such row; {near(name, ROWS)}")
    row = ROWS[objective]
    return Row({**row.objective, "regulariser": regulariser}, row.model)


def recipe(
    work: Work,
    row: Row,
    *,
    steps: int,
    seed: int,
    settings: Sequence[str] = (),
    files: Mapping[str, Sequence[str]] | None = None,
    source: str = "configuration",
) -> Config:
    """Configuration that trains a row on a data set.

    Args:
        work: The data set.
        row: Objective and model.
        steps: Number of generator steps.
        seed: Seed of the training.
        settings: Further keys, such as ``training.lr_critic=1e-3``.
        files: Keys of [data] that name the files of a toy; without it they have placeholders.
        source: What to call the configuration in messages.

    Raises:
        ConfigError: If a setting is unknown or has an impossible value.
    """
    toy = {"files": ["toy"], "test_files": ["toy"], "validation": 0.1}
    values: dict[str, Any] = {
        "data": {**(toy if work.toy else {"test": 0.2, "validation": 0.1}), **work.data},
        "model": dict(row.model or SETTINGS["model"]),
        "objective": dict(row.objective),
        "training": {
            **SETTINGS["training"],
            "steps": steps,
            "seed": seed,
            "log_every": min(50, steps),
            "validate_every": steps,  # only the last generator is judged
        },
    }
    for setting in settings:
        configuration.override(values, setting)
    values["data"] |= files or {}
    return configuration.parse(values, source=source)
