"""Tables of the configuration: read as TOML and checked, with errors that name the nearest known key."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from hepgan.config.kinds import KINDS
from hepgan.errors import ConfigError, NotFoundError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Table", "read_toml", "shown", "tomllib", "validated"]

_SHOWN = 200  # characters of a wrong value in a message
_LONG_INTEGER = 10**100  # Python refuses to write much longer ones

_TAGS = [
    name for kind in KINDS.values() for name in kind.models
]  # pydantic adds them to the place of an error


class Table(BaseModel):
    """A table of the TOML file: frozen, without unknown keys, NaN, infinity, or integers of more than 64 bits."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="after")
    def _machine_integers(self) -> Table:
        for key, value in self:
            if isinstance(value, int) and abs(value) >= 2**63:
                raise ValueError(f"{key}: expected a whole number below 2^63, got {shown(value)}; correct it")
        return self


AnyTable = TypeVar("AnyTable", bound=Table)


def shown(value: object) -> str:
    """A value for a message, shortened in the middle if it is long."""
    text = (
        repr(value) if not isinstance(value, int) or abs(value) < _LONG_INTEGER else "a number of many digits"
    )
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]} ... {text[-_SHOWN // 2 :]}"


def read_toml(
    path: Path, *, content: str = "configuration", maker: str = "hepgan inspect FILE.root --config"
) -> dict[str, Any]:
    """Read a TOML file as plain data.

    Args:
        path: The file.
        content: Name of its content, for messages.
        maker: Command that writes such a file, for messages.

    Raises:
        NotFoundError: If there is no such file.
        ConfigError: If it is not TOML.
    """
    if not path.is_file():
        got = "a folder" if path.is_dir() else "no such file"
        raise NotFoundError(
            f"{content} file not found: {path}: expected a TOML file, got {got}; {maker} writes one"
        )
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # of TOML, UTF-8, a number of many digits, deep nesting
        raise ConfigError(f"{path}: not a TOML file ({error}); repair it, or {maker} writes one") from error


def _fields(model: type[BaseModel], location: Iterable[Any]) -> list[str]:
    """Known keys of the innermost table of a location, the path of keys and indices to an error."""
    variants: list[type[BaseModel]] = []
    for part in list(location)[:-1]:
        chosen = [variant for variant in variants if variant.model_fields["name"].default == part]
        if chosen:  # the name that selects one of several tables
            model, variants = chosen[0], []
        elif isinstance(part, str) and part in model.model_fields:
            types = _types(model.model_fields[part].annotation)
            nested = [t for t in types if isinstance(t, type) and issubclass(t, BaseModel)]
            model, variants = nested[0] if nested else model, nested[1:] and nested
    return list(model.model_fields)


def _types(annotation: Any) -> list[Any]:
    """An annotation and all that it contains."""
    arguments = [t for a in getattr(annotation, "__args__", ()) for t in _types(a)]
    return [annotation, *arguments]


def validated(table: type[AnyTable], values: Mapping[str, Any], *, source: str) -> AnyTable:
    """Make an instance of a table from plain data.

    Args:
        table: The table.
        values: Content of the file.
        source: Name of the file, for messages.

    Raises:
        ConfigError: One line for each problem, with the key, the expected and the given value.
    """
    try:
        return table.model_validate(values)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            key = ".".join(
                str(part) for k, part in enumerate(problem["loc"]) if not (k == 1 and part in _TAGS)
            )
            if problem["type"] == "extra_forbidden":
                known = _fields(table, problem["loc"])
                near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
                lines.append(f"{source}: unknown key {key!r}; {hint}")
            elif problem["type"] == "union_tag_invalid":
                expected, tag = (problem["ctx"][name] for name in ("expected_tags", "tag"))
                lines.append(
                    f"{source}: {key}.name: expected one of {expected}, got {shown(tag)}; correct it"
                )
            elif problem["type"] == "missing":
                lines.append(f"{source}: {key!r} is missing; add it")
            else:
                message = problem["msg"].removeprefix("Value error, ")
                message = message.replace("Input should be a valid tuple", "Expected a list [...]")
                got = "" if problem["type"] == "value_error" else f", got {shown(problem['input'])}"
                lines.append(f"{source}: {key or 'file'}: {message[0].lower() + message[1:]}{got}")
        raise ConfigError("\n".join(lines)) from None
