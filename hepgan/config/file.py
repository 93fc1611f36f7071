"""Between TOML files and the tables of the configuration."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tomli_w

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from hepgan.config.checking import read_toml, validated
from hepgan.config.tables import Config

__all__ = ["dump", "load", "override", "parse"]


def parse(values: Mapping[str, Any], *, source: str = "configuration") -> Config:
    """Check plain data against the known keys.

    Raises:
        ValueError: One line a problem, each naming the key, what was expected and what was given.
    """
    config: Config = validated(Config, values, source)
    return config


def load(path: str | Path, *, settings: Iterable[str] = ()) -> Config:
    """Read a TOML file and apply ``key=value`` settings to it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not TOML, or a key is unknown, missing or of the wrong kind.
    """
    path = Path(path)
    values = read_toml(path)
    for setting in settings:
        override(values, setting)
    return parse(values, source=str(path))


def override(values: dict[str, Any], setting: str) -> None:
    """Apply one ``section.key=value`` in place; the value is TOML, and a bare word is text.

    Raises:
        ValueError: If there is no ``=`` or the section is not a table.
    """
    key, sign, text = setting.partition("=")
    if not sign or not key.strip():
        raise ValueError(f"--set {setting!r}: expected section.key=value, such as training.steps=1000")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *sections, last = key.strip().split(".")
    table = values
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise ValueError(f"--set {setting!r}: {section!r} is not a table of the configuration")
    table[last] = value


def dump(config: Config) -> str:
    """The complete configuration as TOML text; `parse` of it is the configuration again."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))
