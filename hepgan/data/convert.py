"""Conversion of public calorimeter data sets from HDF5 to ROOT files that hepgan reads.

* CaloGAN (arXiv:1705.02355): ``energy`` (N, 1) GeV, ``layer_<k>`` (N, n_x, n_y) and ``overflow`` (N, 3) MeV.
* CaloChallenge (arXiv:2410.21611): ``incident_energies`` (N, 1) and ``showers`` (N, n_voxels), MeV, and a
  binning XML file; voxels run over r first, then alpha, then the layers.

The result has the tree `TREE` with ``incident_energy``, one fixed-size array branch a layer and, if the
source has it, ``overflow``. Numbers keep the unit of the source, which the title of the tree states. The file carries
its geometry as a text (`hepgan.config.geometry`), which `hepgan inspect --config` writes into a configuration.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hepgan.config.geometry import NOTE, layers_text, read_layers, stacked
from hepgan.errors import ConfigError, DataError, NotFoundError
from hepgan.files import check_target, near
from hepgan.geometry import CALOGAN, Calorimeter
from hepgan.trees import COMPRESSION, check_compression, cluster_rows, tree_file

__all__ = ["TREE", "convert_hdf5"]

TREE = "showers"
"""Name of the tree in the ROOT files."""

_CHUNK_BYTES = 64 * 10**6  # of float32 showers in memory at once

_RAISED = (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError)  # by h5py, for damage

_Arrays = dict[str, NDArray[np.float32]]
_Showers = Callable[[slice], _Arrays]  # reads the branches of some showers


def _data_set(file: h5py.File, source: Path, name: str, n: int | None = None) -> Any:
    """A data set of numbers, with `n` showers.

    Raises:
        DataError: If it is something else.
    """
    try:
        data = file[name]
        good = isinstance(data, h5py.Dataset) and data.dtype.kind in "biuf" and bool(data.shape)
    except _RAISED as error:
        raise DataError(
            f"{source}: cannot read data set {name!r} ({error}); the file is damaged: copy or make it again"
        ) from error
    if not good:
        got = f"{data.dtype} {list(data.shape)}" if isinstance(data, h5py.Dataset) else "a group"
        raise DataError(
            f"{source}: {name!r}: expected a data set of numbers, one row a shower, got {got}; name another file"
        )
    if n is not None and len(data) != n:
        raise DataError(
            f"{source}: data set {name!r}: expected {n} showers as in the energies, got {len(data)}; "
            "the file is incomplete: copy or make it again"
        )
    return data


def _names(file: h5py.File, source: Path) -> list[str]:
    """Names of the data sets and groups."""
    try:
        return sorted(file)
    except _RAISED as error:
        raise DataError(
            f"{source}: cannot list its data sets ({error}); the file is damaged: copy or make it again"
        ) from error


def _rows(source: Path, name: str, data: Any, place: slice) -> NDArray[np.float32]:
    """Some rows of a data set.

    Raises:
        DataError: If they cannot be decompressed.
    """
    try:
        return np.asarray(data[place], np.float32)
    except _RAISED as error:
        unknown = "plugin" in str(error) or "registered" in str(error)
        remedy = (
            "its compression needs a plugin: pip install hdf5plugin, or repack it with h5repack -f GZIP=4"
            if unknown
            else "the file is damaged: copy or make it again"
        )
        stop = min(place.stop, len(data))
        raise DataError(
            f"{source}: data set {name!r}: cannot read showers {place.start} to {stop - 1} ({error}); {remedy}"
        ) from error


def _calogan(file: h5py.File, source: Path) -> tuple[_Showers, Calorimeter | None]:
    """The showers of a CaloGAN file; its geometry, if the shapes are those of the published data set."""
    held = _names(file, source)
    names = [name for name in held if re.fullmatch(r"layer_\d+", name)]
    names.sort(key=lambda name: int(name.removeprefix("layer_")))
    if not names:
        raise DataError(
            f"{source}: expected data sets layer_0, layer_1, ... beside 'energy', got {held}; "
            "name a CaloGAN or CaloChallenge file"
        )
    names += ["overflow"] if "overflow" in held else []
    energies = _data_set(file, source, "energy")
    data = {name: _data_set(file, source, name, len(energies)) for name in names}

    def showers(place: slice) -> _Arrays:
        return {
            "incident_energy": _rows(source, "energy", energies, place).reshape(-1),
            **{name: _rows(source, name, layer, place) for name, layer in data.items()},
        }

    shapes = [data[name].shape[1:] for name in names if name != "overflow"]
    return showers, CALOGAN if shapes == CALOGAN.shapes else None


def _calochallenge(file: h5py.File, source: Path, calorimeter: Calorimeter) -> _Showers:
    """The showers of a CaloChallenge file: flat voxels become one (alpha, r) array a layer."""
    energies = _data_set(file, source, "incident_energies")
    voxels = _data_set(file, source, "showers", len(energies))
    if voxels.shape[1:] != (calorimeter.n_cells,):
        raise DataError(
            f"{source}: data set 'showers': expected {calorimeter.n_cells} voxels as in the binning file "
            f"({dict(zip(calorimeter.names, calorimeter.shapes, strict=True))}), got "
            f"{list(voxels.shape[1:])}; give the binning file, and the particle, of this data set"
        )

    def showers(place: slice) -> _Arrays:
        flat = _rows(source, "showers", voxels, place)
        layers = zip(calorimeter.layers, calorimeter.slices(), strict=True)
        return {
            "incident_energy": _rows(source, "incident_energies", energies, place).reshape(-1),
            **{layer.name: flat[:, cells].reshape(-1, *layer.shape) for layer, cells in layers},
        }

    return showers


def convert_hdf5(
    source: str | Path,
    out: str | Path,
    *,
    binning: str | Path | None = None,
    particle: str | None = None,
    compression: str = COMPRESSION,
) -> int:
    """Convert an HDF5 file of showers to ROOT, in chunks; `out` appears when it is complete.

    Args:
        source: CaloGAN or CaloChallenge HDF5 file.
        out: The ROOT file to write.
        binning: CaloChallenge: the binning XML file, or another geometry file (`hepgan.config.geometry`).
        particle: CaloChallenge: name or pid in the XML file, if it has several.
        compression: See `hepgan.trees.CODECS`.

    Returns:
        Number of showers.

    Raises:
        NotFoundError: If the source, the binning file, or the folder of `out` is missing.
        DataError: If the source has neither of the two formats or does not fit the binning.
        ConfigError: If a CaloChallenge file comes without a binning file or with one that lacks the particle.
        ValueError: If there is no such compression.
        OSError: If `out` is no file, or cannot be written, such as on a full disk; nothing is left behind.
    """
    source, out = Path(source), Path(out)
    if not out.parent.is_dir():
        raise NotFoundError(f"cannot write {out}: there is no folder {out.parent}; make it first")
    if not source.is_file():
        others = [other.name for other in source.parent.iterdir()] if source.parent.is_dir() else []
        raise NotFoundError(f"HDF5 file not found: {source}; in its folder: {near(source.name, others)}")
    check_target(out)
    check_compression(compression)
    try:
        file = h5py.File(source, "r")
    except OSError as error:
        raise DataError(
            f"{source}: not a readable HDF5 file ({error}); copy it again or name another"
        ) from error
    geometry: Calorimeter | None
    with file:
        held = _names(file, source)
        if {"incident_energies", "showers"} <= set(held):
            if binning is None:
                raise ConfigError(
                    f"{source}: expected a binning XML file with this CaloChallenge file, got none; "
                    "give it with --binning"
                )
            energies, units = "incident_energies", "incident_energy [MeV], layers [MeV] (alpha, r)"
            calorimeter = stacked(read_layers(binning, particle=particle))
            showers, geometry = _calochallenge(file, source, calorimeter), calorimeter
        elif "energy" in held:
            energies, units = "energy", "incident_energy [GeV], layers and overflow [MeV]"
            showers, geometry = _calogan(file, source)
        else:
            raise DataError(
                f"{source}: expected the data sets 'energy' and 'layer_<k>' (CaloGAN) or 'incident_energies' "
                f"and 'showers' (CaloChallenge), got {held}; name another file"
            )
        total = len(_data_set(file, source, energies))
        if not total:
            raise DataError(f"{source}: expected showers, got zero entries; name another file")
        notes = {} if geometry is None else {NOTE: layers_text(geometry)}
        _write(out, showers, total, title=units, compression=compression, notes=notes)
    return total


def _write(
    out: Path, showers: _Showers, total: int, *, title: str, compression: str, notes: Mapping[str, str]
) -> None:
    """Write showers in chunks of whole clusters."""
    numbers = sum(values.size for values in showers(slice(0, 1)).values())
    rows = cluster_rows(numbers)
    step = max(1, _CHUNK_BYTES // (4 * numbers * rows)) * rows
    with tree_file(
        out, TREE, content="showers", rows=rows, title=title, compression=compression, notes=notes
    ) as tree:
        for start in range(0, total, step):
            tree.extend(showers(slice(start, start + step)))
