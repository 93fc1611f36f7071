"""TOML files to the tables of the configuration, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tomli_w

from hepgan.config.checking import read_toml, tomllib, validated
from hepgan.config.tables import Config
from hepgan.errors import ConfigError

__all__ = ["dump", "load", "override", "parse"]


def parse(values: Mapping[str, Any], *, source: str = "configuration") -> Config:
    """Check plain data against the known keys.

    Raises:
        ConfigError: One line for each problem, with the key, the expected and the given value.
    """
    return validated(Config, values, source=source)


def load(path: str | Path, *, settings: Iterable[str] = ()) -> Config:
    """Read a TOML file and apply ``key=value`` settings to it.

    Raises:
        NotFoundError: If there is no such file.
        ConfigError: If it is not TOML, or a key is unknown, missing or of the wrong type.
    """
    path = Path(path)
    values = read_toml(path)
    for setting in settings:
        override(values, setting)
    return parse(values, source=str(path))


def override(values: dict[str, Any], setting: str) -> None:
    """Apply one ``section.key=value`` in place; the value is TOML, or text without quotes.

    Raises:
        ConfigError: If there is no ``=`` or the section is not a table.
    """
    key, sign, text = setting.partition("=")
    if not sign or not key.strip():
        raise ConfigError(f"--set {setting!r}: expected section.key=value, such as training.steps=1000")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *sections, last = key.strip().split(".")
    table = values
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {setting!r}: {section!r} is not a table of the configuration")
    table[last] = value


def dump(config: Config) -> str:
    """The complete configuration as TOML text, from which `load` makes the same configuration."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))
