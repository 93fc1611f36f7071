"""Public calorimeter data sets in HDF5 to ROOT files that the readers take.

* CaloGAN (arXiv:1705.02355): ``energy`` (N, 1) GeV, ``layer_<k>`` (N, n_x, n_y) and ``overflow`` (N, 3) MeV.
* CaloChallenge (arXiv:2410.21611): ``incident_energies`` (N, 1) and ``showers`` (N, n_voxels), MeV, and a
  binning XML file; voxels run over r first, then alpha, then the layers.

The result has the tree `TREE` with ``incident_energy``, one fixed-size array branch a layer and, if the
source has it, ``overflow``. Numbers keep the unit of the source; the title of the tree says which.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import uproot
from numpy.typing import NDArray

from hepgan.files import check_target, near, written
from hepgan.geometry import Calorimeter

__all__ = ["TREE", "convert"]

TREE = "showers"
_CHUNK_BYTES = 64 * 10**6  # of float32 showers in memory at once

_Arrays = dict[str, NDArray[np.float32]]
_Rows = Callable[[slice], _Arrays]


def _expect_rows(source: Path, name: str, data: Any, rows: int) -> None:
    if len(data) != rows:
        raise ValueError(
            f"{source}: data set {name!r}: expected {rows} showers as in the energies, got {len(data)}; "
            "the file is incomplete: copy or make it again"
        )


def _calogan(file: h5py.File, source: Path) -> _Rows:
    """Rows of a CaloGAN file."""
    names = [name for name in file if re.fullmatch(r"layer_\d+", name)]
    names.sort(key=lambda name: int(name.removeprefix("layer_")))
    if not names:
        raise ValueError(
            f"{source}: expected data sets layer_0, layer_1, ... beside 'energy', got {sorted(file)}; "
            "name a CaloGAN or CaloChallenge file"
        )
    names += ["overflow"] if "overflow" in file else []
    for name in names:
        _expect_rows(source, name, file[name], len(file["energy"]))

    def rows(place: slice) -> _Arrays:
        energy = np.asarray(file["energy"][place], np.float32).reshape(-1)
        return {
            "incident_energy": energy,
            **{name: np.asarray(file[name][place], np.float32) for name in names},
        }

    return rows


def _calochallenge(file: h5py.File, source: Path, calorimeter: Calorimeter) -> _Rows:
    """Rows of a CaloChallenge file: flat voxels to one (alpha, r) array a layer."""
    showers, energies = file["showers"], file["incident_energies"]
    _expect_rows(source, "showers", showers, len(energies))
    if showers.shape[1:] != (calorimeter.n_cells,):
        raise ValueError(
            f"{source}: data set 'showers': expected {calorimeter.n_cells} voxels as in the binning file "
            f"({dict(zip(calorimeter.names, calorimeter.shapes, strict=True))}), got "
            f"{list(showers.shape[1:])}; give the binning file, and the particle, of this data set"
        )

    def rows(place: slice) -> _Arrays:
        flat = np.asarray(showers[place], np.float32)
        layers = zip(calorimeter.layers, calorimeter.slices(), strict=True)
        return {
            "incident_energy": np.asarray(energies[place], np.float32).reshape(-1),
            **{layer.name: flat[:, cells].reshape(-1, *layer.shape) for layer, cells in layers},
        }

    return rows


def convert(
    source: str | Path, out: str | Path, *, binning: str | Path | None = None, particle: str | None = None
) -> int:
    """Convert an HDF5 file of showers to ROOT, in chunks; `out` appears when it is complete.

    Args:
        source: CaloGAN or CaloChallenge HDF5 file.
        out: The ROOT file to write.
        binning: CaloChallenge: the binning XML file.
        particle: CaloChallenge: name or pid in the XML file, if it has several.

    Returns:
        Number of showers.

    Raises:
        FileNotFoundError: If the source or the binning file is missing.
        ValueError: If the source is neither of the two formats or does not fit the binning.
        OSError: If `out` is no file, or cannot be written, such as on a full disk; nothing is left behind.
    """
    source, out = Path(source), Path(out)
    if not out.parent.is_dir():
        raise FileNotFoundError(f"cannot write {out}: there is no folder {out.parent}; make it first")
    if not source.is_file():
        others = [other.name for other in source.parent.iterdir()] if source.parent.is_dir() else []
        raise FileNotFoundError(f"HDF5 file not found: {source}; in its folder: {near(source.name, others)}")
    check_target(out)
    try:
        file = h5py.File(source, "r")
    except OSError as error:
        raise ValueError(
            f"{source}: not a readable HDF5 file ({error}); copy it again or name another"
        ) from error
    with file:
        if {"incident_energies", "showers"} <= set(file):
            if binning is None:
                raise ValueError(
                    f"{source}: expected a binning XML file with this CaloChallenge file, got none; "
                    "give it with --binning"
                )
            energies, units = "incident_energies", "incident_energy [MeV], layers [MeV] (alpha, r)"
            rows = _calochallenge(file, source, Calorimeter.from_xml(binning, particle=particle))
        elif "energy" in file:
            energies, units = "energy", "incident_energy [GeV], layers and overflow [MeV]"
            rows = _calogan(file, source)
        else:
            raise ValueError(
                f"{source}: expected the data sets 'energy' and 'layer_<k>' (CaloGAN) or 'incident_energies' "
                f"and 'showers' (CaloChallenge), got {sorted(file)}; name another file"
            )
        total = len(file[energies])
        if not total:
            raise ValueError(f"{source}: expected showers, got zero entries; name another file")
        _write(out, rows, total, title=units)
    return total


def _write(out: Path, rows: _Rows, total: int, *, title: str) -> None:
    first = rows(slice(0, 1))
    step = max(1, _CHUNK_BYTES // sum(values.nbytes for values in first.values()))
    with written(out, "showers") as temporary, uproot.recreate(temporary) as file:
        types = {name: (values.dtype, values.shape[1:]) for name, values in first.items()}
        tree = file.mktree(TREE, types, title=title)
        for start in range(0, total, step):
            tree.extend(rows(slice(start, start + step)))
