"""A wrong value at every key of the configuration: a clear message, or a configuration that survives its file."""

from __future__ import annotations

import copy
import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hepgan.config import dump, load, parse
from hepgan.config.checking import tomllib
from hepgan.errors import ConfigError

NASTY: dict[str, Any] = {
    "nan": float("nan"),
    "infinity": float("-inf"),
    "zero": 0,
    "negative": -1,
    "tiny": 5e-324,
    "large": 1e308,
    "uint64": 2**64 - 1,
    "digits": 10**400,
    "empty text": "",
    "text": "\x00\u202e{0[{a.b}%s",
    "long text": "x" * 100_000,
    "list": [],
    "nested lists": [[[[[]]]]],
    "list of tables": [{}],
    "table": {},
    "table of tables": {"": {"": []}},
    "truth": True,
    "day": datetime.date(2020, 1, 1),
    "time": datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc),
}
LAYERS = [{"shape": [2, 3], "x": [-1.0, 1.0], "y": [-1.0, 1.0], "z": [0.0, 1.0]}]
CONDITIONS = [
    {"name": "incident_energy", "unit": "GeV"},
    {"name": "species", "transform": "category", "categories": {"pi": 211}},
]
HITS = {"layer": "l", "i": "i", "j": "j", "energy": "e", "count": "n"}
SHOWERS: dict[str, dict[str, Any]] = {
    "arrays": {"branches": ["a"]},
    "cells": {"layout": "cells"},
    "hits": {"layout": "hits", "hits": HITS},
}
MOST = 1500  # characters of a message


def complete(kind: str) -> dict[str, Any]:
    """A configuration with all its keys, as plain data."""
    data: dict[str, Any] = {"files": ["a.root"], "conditions": CONDITIONS}
    if kind in SHOWERS:
        data["calorimeter"] = {"layers": LAYERS, "overflow": "o", **SHOWERS[kind]}
        return tomllib.loads(dump(parse({"data": data})))
    data["targets"] = [{"name": "t", "atoms": [0.0]}]
    return tomllib.loads(dump(parse({"data": data, "model": {"name": kind}})))


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every key of nested tables, and the first entry of every list."""
    entries = value.items() if isinstance(value, dict) else list(enumerate(value))[:1]
    for key, entry in entries:
        yield (*place, key)
        if isinstance(entry, dict | list):
            yield from places(entry, (*place, key))


def replaced(table: dict[str, Any], place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(table)
    inner: Any = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return changed


@pytest.mark.parametrize("kind", [*SHOWERS, "dll", "vae", "flow"])
def test_every_key_with_every_wrong_value(kind: str) -> None:
    table = complete(kind)
    messages = {}
    for place in places(table):
        for name, value in NASTY.items():
            try:
                config = parse(replaced(table, place, value), source="my.toml")
            except ConfigError as error:
                messages[place, name] = str(error)
            else:
                assert parse(tomllib.loads(dump(config))) == config, (place, name)
    assert len(messages) > 10 * len(list(places(table)))
    assert not [key for key, text in messages.items() if not text.startswith("my.toml: ") or len(text) > MOST]


@pytest.mark.parametrize(
    ("kind", "place", "value", "message"),
    [
        (
            "arrays",
            ("training", "steps"),
            2**63,
            r"steps: expected a whole number below 2\^63, got 9223372036854775808",
        ),
        ("arrays", ("training", "steps"), 10**5000, "got a number of many digits"),
        (
            "arrays",
            ("training", "lr_critic"),
            float("inf"),
            "training.lr_critic: input should be a finite number",
        ),
        ("arrays", ("training", "betas", 1), 1.0, "training.betas.1: input should be less than 1"),
        (
            "arrays",
            ("data", "calorimeter", "layers", 0, "shape", 0),
            0,
            "shape.0: input should be greater than 0",
        ),
        (
            "arrays",
            ("data", "calorimeter", "layers", 0, "x"),
            [1.0, 1.0],
            r"a.x: edges must increase, got \[1.0, 1.0,",
        ),
        (
            "arrays",
            ("data", "calorimeter", "layers", 0, "z", 0),
            float("nan"),
            "z.0: input should be a finite number",
        ),
        (
            "cells",
            ("data", "calorimeter", "cells"),
            "cell_%d",
            "cells: expected a name with {} for the number of the",
        ),
        ("cells", ("data", "calorimeter", "cells"), "cell_{a.b}", "got 'cell_{a.b}'"),
        ("dll", ("model", "width"), "x" * 10**5, r"model.width: .*, got 'x+ \.\.\. x+'"),
    ],
    ids=range(10),
)
def test_wrong_values_that_were_accepted_or_flooded_the_screen(
    kind: str, place: tuple[Any, ...], value: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(replaced(complete(kind), place, value))


def test_a_limit_may_be_infinite() -> None:
    table = replaced(complete("arrays"), ("evaluation", "limits", "auc"), float("inf"))
    assert parse(table).evaluation.limits["auc"] == float("inf")


@pytest.mark.parametrize("text", [b"a = " + b"1" * 5000, b"a = " + b"[" * 5000, b"\xff", b"a = [1,", b"\0"])
def test_files_that_are_no_toml(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match=r"my\.toml: not a TOML file .*; repair it"):
        load(path)
