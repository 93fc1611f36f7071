"""The geometry of any file that has one: an exported model, a configuration, or a geometry file."""

from __future__ import annotations

from pathlib import Path

from hepgan.config import load
from hepgan.config.checking import read_toml
from hepgan.config.geometry import read_layers, stacked
from hepgan.geometry import Calorimeter
from hepgan.inference.metadata import open_model

__all__ = ["read_geometry"]


def read_geometry(path: str | Path, *, particle: str | None = None) -> Calorimeter:
    """Read the geometry of a file.

    Args:
        path: An exported model, run folder, configuration, or geometry file (`hepgan.config.geometry`).
        particle: Name or pid of the particle in a binning XML file that has several.

    Raises:
        NotFoundError: If there is no such file.
        ConfigError: If it has no geometry, or one that is wrong.
        DataError: If it is damaged.
        ModelFileError: If it is a model that cannot be used.
        ValueError: If it is a model of tracks.
    """
    path = Path(path)
    if path.is_dir() or path.suffix.lower() == ".onnx":
        return open_model(path).metadata.calorimeter
    if path.suffix.lower() == ".toml" and path.is_file() and "data" in read_toml(path):
        return load(path).data.calo.calorimeter()
    return stacked(read_layers(path, particle=particle))
