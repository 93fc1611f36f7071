"""The table ``[tune]``: keys that ``hepgan tune`` varies, their ranges, and when a trial is given up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from hepgan.config.checking import Table
from hepgan.files import near

__all__ = ["Choice", "Dimension", "TuneConfig", "check_space", "is_whole"]

Choice = bool | int | float | str
"""A value of a key that may be varied."""

SECTIONS = ("model", "objective", "training")
FIXED = {
    "model.name": "tune each model by itself",
    "training.seed": "another seed is another split, whose distances do not compare; see docs/tuning.md",
    "training.validate_every": "the distance is the smallest of all validations, and more of them make it smaller",
    "training.max_minutes": "it would depend on what else the machine does",
    **dict.fromkeys(
        [f"training.{key}" for key in ("device", "threads", "log_every", "tensorboard")],
        "it does not change the showers or tracks",
    ),
}
"""Keys that cannot be varied, and why."""


class Dimension(Table):
    """Values of one key, by its full name: `"training.lr_critic" = { low = 1e-5, high = 1e-3, log = true }`."""

    low: float | None = Field(None, description="smallest value of a number")
    high: float | None = Field(None, description="largest value")
    log: bool = Field(False, description="draw the logarithm evenly")
    step: float | None = Field(None, gt=0, description="distance of neighbouring values, from `low` on")
    choices: tuple[Choice, ...] = Field((), description="the values, instead of a range")

    @model_validator(mode="after")
    def _range_or_choices(self) -> Dimension:
        if self.choices:
            if (self.low, self.high, self.step, self.log) != (None, None, None, False):
                raise ValueError("expected choices, or low and high, got both; leave one of them out")
            if len(set(self.choices)) < max(2, len(self.choices)):
                raise ValueError(f"choices: expected two different values or more, got {list(self.choices)}")
            return self
        if self.low is None or self.high is None:
            raise ValueError("expected low and high, or choices, got neither in full; add what is missing")
        if not self.low < self.high:
            raise ValueError(f"expected low < high, got {self.low:g} and {self.high:g}; exchange them")
        if self.log and self.low <= 0:
            raise ValueError(f"low: expected a positive number for log = true, got {self.low:g}; raise it")
        if self.log and self.step is not None:
            raise ValueError("step: expected none for log = true, got one; leave out one of them")
        if self.step is not None and abs((n := (self.high - self.low) / self.step) - round(n)) > 1e-9:
            raise ValueError(
                f"high: expected low plus a multiple of step, got {self.low:g} + {n:g} steps; change high or step"
            )
        return self

    @property
    def examples(self) -> tuple[Choice, ...]:
        """Values that are allowed if all are: the choices, or the ends."""
        return self.choices or tuple(end for end in (self.low, self.high) if end is not None)


class TuneConfig(Table):
    """The search of `hepgan tune`, which `hepgan train` ignores (docs/tuning.md)."""

    pruner: Literal["median", "hyperband", "none"] = Field(
        "median",
        description="gives a trial up whose smallest validation distance is above the median of the trials so far at "
        "the same step, or that is not among the best of its bracket (arXiv:1603.06560)",
    )
    warm_up: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.25, description="share of the steps before which no trial is given up"
    )
    start: int = Field(
        10,
        gt=0,
        description="trials drawn at random, the configuration itself among them, before the search begins",
    )
    space: dict[str, Dimension] = Field(
        {}, description="values of each key; default: learning rates, strengths and sizes that fit the model"
    )


def check_space(space: Mapping[str, Dimension], tables: Mapping[str, BaseModel]) -> None:
    """Check that every value of a space could stand in the configuration.

    Args:
        space: Values by the full name of their key.
        tables: The tables of the configuration by name.

    Raises:
        ValueError: If a key is unknown or may not be varied, or has a value of the wrong type or size.
    """
    known = [f"{name}.{key}" for name in SECTIONS for key in type(tables[name]).model_fields]
    for key, dimension in space.items():
        if key not in known or key in FIXED:
            reason = near(key, [name for name in known if name not in FIXED])
            if key in FIXED:
                reason = f"{FIXED[key]}; leave it out"
            elif key.startswith(("data.", "evaluation.")):
                reason = "distances to other events do not compare; leave it out"
            raise ValueError(f"tune.space: {key!r} cannot be varied: {reason}")
        for value in dimension.examples:
            try:
                whole = is_whole(key, value, tables)
            except ValidationError as error:
                message = error.errors()[0]["msg"].removeprefix("Value error, ")
                raise ValueError(
                    f"tune.space: {key}: {message[0].lower() + message[1:]}, got {value!r}; correct the range"
                ) from error
        if not dimension.choices and whole is None:
            raise ValueError(
                f"tune.space: {key} is not a number; write choices = [...] instead of low and high"
            )
        if whole and dimension.step is not None and dimension.step != round(dimension.step):
            raise ValueError(f"tune.space: {key}: step: expected a whole number, got {dimension.step:g}")


def is_whole(key: str, value: Choice, tables: Mapping[str, BaseModel]) -> bool | None:
    """Whether a key holds whole numbers; None if it does not hold numbers.

    Raises:
        ValidationError: If the key cannot have this value.
    """
    name, field = key.split(".")
    table = tables[name]
    changed: Any = type(table).model_validate({**table.model_dump(), field: value})
    kept = getattr(changed, field)
    return None if isinstance(kept, (bool, str)) or kept is None else isinstance(kept, int)
