"""TOML files to the tables of the configuration, and back."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tomli_w

from hepgan.config.checking import read_toml, tomllib, validated
from hepgan.config.tables import Config
from hepgan.errors import ConfigError

__all__ = ["Settings", "dump", "load", "override", "parse"]

Settings = Iterable[str] | Mapping[str, Any]
"""Changes of keys: ``{"training.steps": 1000}``, or texts such as ``training.steps=1000`` as ``--set`` takes them."""


def parse(values: Mapping[str, Any], *, source: str = "configuration", settings: Settings = ()) -> Config:
    """Check plain data against the known keys, after changing some of them.

    Raises:
        ConfigError: One line for each problem, with the key, the expected and the given value.
    """
    changed = copy.deepcopy(dict(values))
    if isinstance(settings, str):
        settings = [settings]
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            _assign(changed, key, value, setting=f"{key} = {value!r}")
    else:
        for setting in settings:
            override(changed, setting)
    return validated(Config, changed, source=source)


def load(path: str | Path, *, settings: Settings = ()) -> Config:
    """Read a TOML file and change some of its keys; the layers of a geometry file take the place of its name.

    Raises:
        NotFoundError: If there is no such file, or not the geometry file that it names.
        ConfigError: If it is not TOML, or a key is unknown, missing or of the wrong type.
        DataError: If the geometry file is damaged.
    """
    path = Path(path)
    config = parse(read_toml(path), source=str(path), settings=settings)
    calo = config.data.calorimeter
    if calo is None or calo.geometry is None:
        return config
    complete = calo.with_layers(calo.calorimeter(base=path.parent))
    return config.model_copy(update={"data": config.data.model_copy(update={"calorimeter": complete})})


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
    except (ValueError, RecursionError):  # no TOML
        value = text.strip()
    _assign(values, key.strip(), value, setting=f"--set {setting!r}")


def _assign(values: dict[str, Any], key: str, value: Any, *, setting: str) -> None:
    *sections, last = key.split(".")
    table = values
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{setting}: {section!r} is not a table of the configuration")
    table[last] = value


def dump(config: Config) -> str:
    """The complete configuration as TOML text, from which `load` makes the same configuration."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))
