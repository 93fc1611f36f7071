"""Geometry files: the layers of a calorimeter, in a file of their own that several configurations share.

TOML with a list ``layers``, the binning XML of CaloChallenge, or a ROOT file that carries its geometry: a text beside
the tree, which `hepgan convert` and `hepgan generate` write (`NOTE`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from hepgan.config.checking import Table, read_toml, tomllib, validated
from hepgan.errors import ConfigError, DataError
from hepgan.files import not_a_file
from hepgan.geometry import CaloLayer, Calorimeter, Coordinates

__all__ = ["NOTE", "LayerConfig", "carried", "geometry_text", "layers_text", "read_layers", "stacked"]

NOTE = "geometry"
"""Name of the text in a ROOT file."""

_SUFFIXES = "a TOML file with layers, a CaloChallenge binning.xml, or a ROOT file that carries its geometry"

_MAKER = "hepgan convert binning.xml FILE.toml"

_Cells = Annotated[int, Field(gt=0, le=100_000)]


class LayerConfig(Table):
    """One calorimeter layer: segmentation and position (mm)."""

    shape: tuple[_Cells, _Cells] = Field(description="cells along the first and the second axis")
    x: tuple[float, ...] = Field(
        description="[low, high] range or all edges of the first axis: mm, angle in rad (polar), or pseudorapidity "
        "(eta-phi)"
    )
    y: tuple[float, ...] = Field(
        description="range or edges of the second axis: mm, radius in mm (polar), or azimuth in rad (eta-phi)"
    )
    z: tuple[float, float] = Field(description="front and back along the shower axis (mm)")
    name: str = Field("", description="name of the layer; default: its branch, or layer_0, layer_1, ...")
    coordinates: Coordinates = Field(
        "cartesian",
        description="axes: x by y, angle by radius, or pseudorapidity by azimuth (the cells hold transverse momenta)",
    )


def stacked(
    layers: tuple[LayerConfig, ...], names: tuple[str, ...] = (), *, unit: str = "MeV"
) -> Calorimeter:
    """Make a calorimeter.

    Args:
        layers: Its layers.
        names: Names of those that have none; default: ``layer_<number>``.
        unit: Unit of the cell energies.

    Raises:
        ConfigError: If edges do not fit a shape, or two layers share a name.
    """
    names = names or tuple(f"layer_{k}" for k in range(len(layers)))
    return Calorimeter(
        tuple(
            CaloLayer(
                shape=layer.shape,
                x=layer.x,
                y=layer.y,
                z=layer.z,
                name=layer.name or name,
                coordinates=layer.coordinates,
            )
            for layer, name in zip(layers, names, strict=True)
        ),
        unit,
    )


def read_layers(path: str | Path, *, particle: str | None = None) -> tuple[LayerConfig, ...]:
    """Read the layers of a geometry file.

    Args:
        path: TOML, CaloChallenge's XML, or ROOT file.
        particle: Name or pid of the particle in an XML file that has several.

    Raises:
        NotFoundError: If there is no such file.
        ConfigError: If it does not describe a calorimeter.
        DataError: If it is no XML or ROOT file.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".xml":
        layers = Calorimeter.from_xml(path, particle=particle).as_dicts()
        return tuple(LayerConfig(**layer) for layer in layers)
    if particle is not None:
        raise ConfigError(
            f"particle: expected one only with a binning XML, got {particle!r} with {path}; leave it out"
        )
    if suffix == ".toml":
        return _layers(read_toml(path, content="geometry", maker=_MAKER), source=str(path))
    if suffix != ".root":
        raise ConfigError(f"geometry: expected {_SUFFIXES}, got {path}; name another file")
    found = _opened(path)
    if found is None:
        raise ConfigError(
            f"{path}: expected a ROOT file with the text {NOTE!r}, as hepgan convert and hepgan generate write it, got "
            "one without; write the layers into a TOML file"
        )
    return tuple(LayerConfig(**layer) for layer in found.as_dicts())


def _opened(path: Path) -> Calorimeter | None:
    """The geometry that a ROOT file carries."""
    import uproot

    if not path.is_file():
        raise not_a_file(path)
    try:
        file = uproot.open({str(path): None})
    except Exception as error:
        raise DataError(
            f"{path}: not a readable ROOT file ({error}); copy it again or name another"
        ) from error
    with file:
        return carried(file, source=str(path))


def _layers(tables: dict[str, Any], *, source: str) -> tuple[LayerConfig, ...]:
    layers = tables.get("layers")
    if not isinstance(layers, list) or not layers:
        got = f"{layers!r}" if "layers" in tables else f"the keys {list(tables)}"
        raise ConfigError(f"{source}: layers: expected tables [[layers]], got {got}; write one a layer")
    return tuple(validated(LayerConfig, table, source=f"{source}: layers") for table in layers)


def carried(file: Any, *, source: str) -> Calorimeter | None:
    """The geometry that a ROOT file carries, None if it has none.

    Args:
        file: The open file (`uproot.ReadOnlyDirectory`).
        source: Its name, for messages.

    Raises:
        ConfigError: If the text is not a geometry.
    """
    if file.classnames(recursive=False, cycle=False).get(NOTE) != "TObjString":
        return None
    text, source = str(file[NOTE]), f"{source}: text {NOTE!r}"
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: expected TOML ({error}); make the file again") from error
    return stacked(_layers(tables, source=source))


def _axis(edges: tuple[float, ...]) -> list[float]:
    """A range, if all cells have the same size."""
    even = np.linspace(edges[0], edges[-1], len(edges)).tolist()
    return [edges[0], edges[-1]] if even == list(edges) else list(edges)


def layers_text(calorimeter: Calorimeter) -> str:
    """The layers as TOML, one a line, from which `read_layers` makes the same."""
    lines = []
    for layer in calorimeter.layers:
        table = layer.as_dict() | {"x": _axis(layer.x), "y": _axis(layer.y)}
        keys = ", ".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items())
        lines.append(f"    {{ {keys} }},\n")
    return f"layers = [\n{''.join(lines)}]\n"


def geometry_text(calorimeter: Calorimeter) -> str:
    """Content of a geometry file in TOML."""
    return (
        f'# Geometry of {calorimeter.n_layers} layers with {calorimeter.n_cells} cells, for hepgan: geometry = "FILE" '
        "under [data.calorimeter].\n"
        "# x, y: [low, high] or all edges: mm; polar: angle (rad) by radius (mm); eta-phi: pseudorapidity by azimuth\n"
        "# (rad). z: front and back (mm); those of a CaloChallenge binning are layer numbers: put in the true ones.\n"
        f"{layers_text(calorimeter)}"
    )
