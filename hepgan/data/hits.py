"""Hits of showers to energies in cells: in C++ (``cpp/hits.cpp``) that is compiled on first use, or by NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hepgan.files import compiled
from hepgan.geometry import Calorimeter

__all__ = ["cells_of", "outside"]

_SOURCES = Path(__file__).parent / "cpp"
_WORTH_IT = 10_000  # hits from which on C++ fills the cells: few need no compiler
_ARGUMENTS = dict.fromkeys(("hits_float32", "hits_float64"), "pppppplllpp")

Float32 = NDArray[np.float32]


@cache
def _kernels() -> Any:
    return compiled(_SOURCES, _ARGUMENTS, loss="reading hits takes longer")


def cells_of(
    index: Sequence[NDArray[Any]], energy: NDArray[Any], counts: NDArray[np.int64], calorimeter: Calorimeter
) -> Float32 | None:
    """Energies in cells (N, n_cells); hits in one cell are added in double precision, in their order.

    Args:
        index: Flat cell numbers (n_hits,), or layers and both indices; int32 or int64.
        energy: (n_hits,).
        counts: (N,) numbers of hits.
        calorimeter: The geometry.

    Returns:
        The cells, or None if a hit is `outside`.
    """
    same = all(i.dtype == np.int32 and i.flags.c_contiguous for i in index)
    name = f"hits_{energy.dtype}"
    if same and len(energy) >= _WORTH_IT and name in _ARGUMENTS and (functions := _kernels()) is not None:
        return _in_cpp(functions[name], index, np.ascontiguousarray(energy), counts, calorimeter)
    if outside(index, calorimeter).any():
        return None
    n, n_cells = len(counts), calorimeter.n_cells
    place = np.repeat(np.arange(n) * n_cells, counts)
    place += _cell(index, calorimeter)
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which is reported as such
        sums = np.bincount(place, weights=energy, minlength=n * n_cells).astype(np.float32)
    return sums.reshape(n, n_cells)


def _in_cpp(
    function: Any,
    index: Sequence[NDArray[np.int32]],
    energy: NDArray[Any],
    counts: NDArray[np.int64],
    calorimeter: Calorimeter,
) -> Float32 | None:
    cells = np.empty((len(counts), calorimeter.n_cells), np.float32)
    sizes = np.asarray(
        [(*s, o) for s, o in zip(calorimeter.shapes, calorimeter.offsets, strict=False)], np.int32
    )
    counts, found = np.ascontiguousarray(counts, np.int64), np.zeros(1, np.int64)
    addresses = [i.ctypes.data for i in index] if len(index) > 1 else [None, index[0].ctypes.data, None]
    function(
        *addresses,
        *(array.ctypes.data for array in (energy, counts, sizes)),
        *(len(counts), len(sizes), calorimeter.n_cells),
        *(array.ctypes.data for array in (cells, found)),
    )
    return cells if found[0] < 0 else None


def outside(index: Sequence[NDArray[Any]], calorimeter: Calorimeter) -> NDArray[np.bool_]:
    """Which hits are outside of the geometry, (n_hits,); arguments as for `cells_of`."""
    if len(index) == 1:
        return _beyond(index[0], calorimeter.n_cells)
    layer, i, j = index
    known, n_i, n_j = _layers(layer, calorimeter)
    found: NDArray[np.bool_] = _beyond(i, n_i) | _beyond(j, n_j) | (layer != known)
    return found


def _layers(layer: NDArray[Any], calorimeter: Calorimeter) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The layers of hits inside the geometry, and the numbers of cells of these layers."""
    known = layer.clip(0, calorimeter.n_layers - 1)
    n_i, n_j = (np.asarray(sizes, layer.dtype)[known] for sizes in np.transpose(calorimeter.shapes))
    return known, n_i, n_j


def _cell(index: Sequence[NDArray[Any]], calorimeter: Calorimeter) -> NDArray[Any]:
    """Flat cell numbers of hits inside the geometry."""
    if len(index) == 1:
        return index[0]
    layer, i, j = index
    _, _, n_j = _layers(layer, calorimeter)
    first = np.asarray(calorimeter.offsets, layer.dtype)[layer]
    return np.asarray(first + i * n_j + j)


def _beyond(index: NDArray[Any], n: int | NDArray[Any]) -> NDArray[np.bool_]:
    """Where an index is not in 0 to n - 1."""
    unsigned = np.dtype(f"u{index.dtype.itemsize}")  # of which negative numbers are large ones
    beyond: NDArray[np.bool_] = index.view(unsigned) >= np.asarray(n).astype(unsigned, copy=False)
    return beyond
