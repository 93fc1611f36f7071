"""Check plain data against the tables of the configuration, with errors that name the nearest known key."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["read_toml", "validated"]


_TAGS = ("calo", "dll", "vae", "flow")  # forms of [model]; pydantic puts them into the place of an error


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file as plain data.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not TOML.
    """
    if not path.is_file():
        got = "a folder" if path.is_dir() else "no such file"
        raise FileNotFoundError(
            f"configuration file not found: {path}: expected a TOML file, got {got}; "
            "hepgan inspect FILE.root --config writes one"
        )
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: not a TOML file ({error}); repair it, or hepgan inspect FILE.root --config writes one"
        ) from error


def _fields(model: type[BaseModel], location: Iterable[Any]) -> list[str]:
    """The known keys of the table in which `location` ends."""
    variants: list[type[BaseModel]] = []
    for part in list(location)[:-1]:
        chosen = [variant for variant in variants if variant.model_fields["name"].default == part]
        if chosen:  # the tag of one of several forms of a table
            model, variants = chosen[0], []
        elif isinstance(part, str) and part in model.model_fields:
            types = _types(model.model_fields[part].annotation)
            nested = [t for t in types if isinstance(t, type) and issubclass(t, BaseModel)]
            model, variants = nested[0] if nested else model, nested[1:] and nested
    return list(model.model_fields)


def _types(annotation: Any) -> list[Any]:
    arguments = [t for a in getattr(annotation, "__args__", ()) for t in _types(a)]
    return [annotation, *arguments]


def validated(model: Any, values: Mapping[str, Any], source: str) -> Any:
    """Make an instance of a table from plain data.

    Args:
        model: The table, a pydantic model.
        values: What the file says.
        source: Name of the file, for messages.

    Raises:
        ValueError: One line a problem, each naming the key, what was expected and what was given.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            key = ".".join(
                str(part) for k, part in enumerate(problem["loc"]) if not (k == 1 and part in _TAGS)
            )
            if problem["type"] == "extra_forbidden":
                known = _fields(model, problem["loc"])
                near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
                lines.append(f"{source}: unknown key {key!r}; {hint}")
            elif problem["type"] == "union_tag_invalid":
                expected, tag = (problem["ctx"][name] for name in ("expected_tags", "tag"))
                lines.append(f"{source}: {key}.name: expected one of {expected}, got {tag!r}; correct it")
            elif problem["type"] == "missing":
                lines.append(f"{source}: {key!r} is missing; add it")
            else:
                message = problem["msg"].removeprefix("Value error, ")
                message = message.replace("Input should be a valid tuple", "Expected a list [...]")
                got = "" if problem["type"] == "value_error" else f", got {problem['input']!r}"
                lines.append(f"{source}: {key or 'file'}: {message[0].lower() + message[1:]}{got}")
        raise ValueError("\n".join(lines)) from None
