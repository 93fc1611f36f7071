"""Search spaces: the default one of each model, and values drawn from a space by a trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from hepgan.config import Config, Dimension
from hepgan.config.tuning import Choice, check_space, is_whole
from hepgan.objectives import chosen

if TYPE_CHECKING:
    import optuna

__all__ = ["SPACES", "drawn", "own_values", "space_of"]

Space = Mapping[str, Dimension]

_SIZES = Dimension(choices=(32, 64, 128))
_CRITIC = {
    "training.lr_critic": Dimension(low=5e-5, high=5e-3, log=True),
    "objective.n_critic": Dimension(low=1, high=5),
    "model.critic_width": Dimension(choices=(64, 128, 256)),
}
_PENALTY = {"objective.penalty": Dimension(low=0.5, high=50, log=True)}

SPACES: dict[str, Space] = {
    "calo": {
        "training.lr_generator": Dimension(low=1e-5, high=1e-3, log=True),
        "model.width": _SIZES,
        "model.channels": Dimension(choices=(2, 4, 8)),
    },
    "dll": {
        "training.lr_generator": Dimension(low=2e-4, high=2e-2, log=True),
        "model.width": _SIZES,
        "model.depth": Dimension(low=2, high=6),
    },
    "vae": {
        "training.lr_generator": Dimension(low=2e-4, high=2e-2, log=True),
        "model.width": _SIZES,
        "model.latent": Dimension(low=2, high=8),
    },
    "flow": {
        "training.lr_generator": Dimension(low=1e-4, high=1e-2, log=True),
        "model.width": _SIZES,
        "model.transforms": Dimension(low=4, high=10, step=2),
    },
}
"""Default space of each model; keys of the critic and of its penalty are added where the objective has them."""


def space_of(config: Config) -> Space:
    """The space of a configuration: that of ``[tune.space]``, or the default of its model and objective.

    Raises:
        ConfigError: If the objective does not go with its regulariser.
    """
    objective, regulariser = chosen(config.objective)
    if config.tune is not None and config.tune.space:
        return config.tune.space
    space = dict(SPACES[config.model.name])
    if objective.game is not None:
        space |= _CRITIC
    if regulariser.at is not None:
        space |= _PENALTY
    check_space(space, dict(config))
    return space


def drawn(trial: optuna.Trial, space: Space, config: Config) -> dict[str, Choice]:
    """Values of a trial, drawn now unless it has them already.

    Args:
        trial: The trial.
        space: Values by key.
        config: Tells whole numbers from others.
    """
    values: dict[str, Choice] = {}
    for key, dimension in space.items():
        low, high = dimension.low, dimension.high
        if low is None or high is None:
            values[key] = cast(Choice, trial.suggest_categorical(key, dimension.choices))  # None is no choice
        elif is_whole(key, low, dict(config)):
            step = int(dimension.step or 1)
            values[key] = trial.suggest_int(key, int(low), int(high), log=dimension.log, step=step)
        else:
            values[key] = trial.suggest_float(key, low, high, log=dimension.log, step=dimension.step)
    return values


def own_values(space: Space, config: Config) -> dict[str, Choice]:
    """The values of the configuration itself, of those keys whose range holds them: the first trial."""
    values: dict[str, Choice] = {}
    for key, dimension in space.items():
        section, name = key.split(".")
        value = getattr(getattr(config, section), name)
        low, high, step = dimension.low, dimension.high, dimension.step
        if low is None or high is None:
            allowed = value in dimension.choices
        else:
            allowed = low <= value <= high and (
                step is None or abs((n := (value - low) / step) - round(n)) < 1e-9
            )
        if allowed:
            values[key] = value
    return values
