"""Write docs/config.md, every configuration key with its meaning and default, from hepgan/config.

``python scripts/document_config.py`` prints the page, ``--write`` replaces docs/config.md.
"""

from __future__ import annotations

import inspect
import sys
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hepgan.config import Config

TABLE_HEAD = "| key | value | default | meaning |\n|---|---|---|---|\n"
PAGE = Path(__file__).parents[1] / "docs" / "config.md"

HEADER = """# Configuration

One TOML file configures a training; the run folder keeps its complete form (`config.toml`). An
unknown key is an error that names the nearest known one. `hepgan inspect FILE.root --config` writes a first
version, and `--set table.key=value` changes a key on the command line. Paths are relative to the working
directory.

```toml
[data]
files = ["data/eplus.root"]

[[data.conditions]]
name = "incident_energy"
unit = "GeV"

[data.calorimeter]
branches = ["layer_0", "layer_1", "layer_2"]
overflow = "overflow"

[[data.calorimeter.layers]]
shape = [3, 96]
x = [-240.0, 240.0]
y = [-240.0, 240.0]
z = [-240.0, -150.0]

[[data.calorimeter.layers]]
shape = [12, 12]
x = [-240.0, 240.0]
y = [-240.0, 240.0]
z = [-150.0, 197.0]

[[data.calorimeter.layers]]
shape = [12, 6]
x = [-240.0, 240.0]
y = [-240.0, 240.0]
z = [197.0, 240.0]

[training]
steps = 20000
```

For observables of tracks, `[[data.targets]]` take the place of `[data.calorimeter]`:

```toml
[data]
files = ["data/rich.root"]
ties = true

[[data.conditions]]
name = "Brunel_P"
unit = "MeV/c"

[[data.conditions]]
name = "nTracks_Brunel"
transform = "linear"
integer = true

[[data.conditions]]
name = "probe_PDG"
transform = "category"
categories = { pi = 211, K = 321, p = 2212, e = 11, mu = 13 }

[[data.targets]]
name = "RichDLLk"
atoms = [-999.0, 0.0]
```

One row is an entry of the tree, or a track where the branches have a variable length: those of the same event must
have the same length, and numbers of the event are repeated for each of its tracks.

A geometry may be a file of its own, which several configurations share: instead of `layers`, `geometry = "calo.toml"`
reads a file with the same tables under `[[layers]]`, `geometry = "binning.xml"` with `particle = "photon"` a
CaloChallenge binning, and `geometry = "showers.root"` a ROOT file that carries its geometry, as those of
`hepgan convert` and `hepgan generate` do. The name is relative to the folder of the configuration, or to the working
folder. The run folder and the model keep the layers themselves.

`hepgan convert FILE calo.toml` writes such a file from any of these, from a configuration, or from a model (a binning
XML has no depths: put in the true `z`). `hepgan check MODEL.onnx --geometry FILE` compares the cells of a model with
them, layer by layer, and exits with 1 if they differ.

Written by `scripts/document_config.py` from `hepgan/config`: change it there, then run `make docs`.
"""


def tables(
    model: type[BaseModel], name: str = "", *, several: bool = False
) -> list[tuple[str, type[BaseModel]]]:
    """The tables of the file below `model`, depth first, each with its header."""
    found = [(f"[[{name}]]" if several else f"[{name}]", model)] if name else []
    for key, field in model.model_fields.items():
        nested = _models(field.annotation)
        for table in nested:
            below = tables(table, f"{name}.{key}".lstrip("."), several=_is_sequence(field.annotation))
            if len(nested) > 1:  # one of several tables, told apart by a name
                below[0] = (f'{below[0][0]} name = "{table.model_fields["name"].default}"', table)
            found += below
    return found


def _arguments(annotation: Any) -> list[Any]:
    return [a for a in get_args(annotation) if a not in (type(None), ...)]


def _is_sequence(annotation: Any) -> bool:
    return get_origin(annotation) is tuple


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The tables that a key may hold, if it holds any."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) is Literal:
        return []
    return [model for argument in _arguments(annotation) for model in _models(argument)]


def _kind(annotation: Any) -> str:
    """The values that a key takes, in TOML's words."""
    origin, arguments = get_origin(annotation), _arguments(annotation)
    if origin is Annotated:  # limits of one entry
        return _kind(arguments[0])
    if origin is Literal:
        return ", ".join(f'`"{value}"`' for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_kind(a) for a in arguments)
    if origin is tuple:
        count = "" if ... in get_args(annotation) else f"{len(arguments)} "
        return f"list of {count}{_kind(arguments[0])}" + ("" if arguments[0] is str else "s")
    if origin is dict:
        return f"table of name = {_kind(arguments[1])}"
    return {str: "text", int: "integer", float: "number", bool: "true or false"}[annotation]


def _limits(field: FieldInfo) -> str:
    signs = (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
    bounds = [
        f"{sign} {getattr(limit, attribute):g}"
        for attribute, sign in signs
        for limit in field.metadata
        if getattr(limit, attribute, None) is not None
    ]
    return f" {', '.join(bounds)}" if bounds else ""


def _default(field: FieldInfo) -> str:
    value = field.default
    if field.is_required():
        return "required"
    if value is None or value in ("", (), {}):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f'`"{value}"`'
    if isinstance(value, dict):
        return f"`{{ {', '.join(f'{name} = {entry}' for name, entry in value.items())} }}`"
    return f"`{list(value) if isinstance(value, tuple) else value}`"


def page() -> str:
    """The whole page as Markdown."""
    parts = [HEADER]
    for header, model in tables(Config):
        parts.append(f"## `{header}`\n\n{inspect.getdoc(model)}\n\n{TABLE_HEAD}")
        for key, field in model.model_fields.items():
            if _models(field.annotation):
                continue
            if not field.description:
                raise ValueError(
                    f"{header} {key}: expected a description in hepgan/config, got none; write one"
                )
            row = (f"`{key}`", _kind(field.annotation) + _limits(field), _default(field), field.description)
            parts[-1] += "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n"
    return "\n".join(parts)


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        sys.stdout.write(page())
