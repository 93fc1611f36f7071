"""The layouts in which ROOT files store showers and tracks: one table, used to read, to write and to recognise them.

========= ======= ==============================================================================================
layout    data    branches
========= ======= ==============================================================================================
`arrays`  showers one branch a layer with a fixed shape (``layer_0[3][96]``), or as many numbers in C order
`hits`    showers variable-length branches: the energy of each hit, and its layer and indices or flat cell number
`cells`   showers one scalar branch a cell (``cell_0 ... cell_506``), layers one after the other
`scalars` tracks  one scalar branch a quantity; an entry is a track
`jagged`  tracks  one branch of variable length, or an array, a quantity; an entry is an event, its scalars are shared
========= ======= ==============================================================================================

The configuration names the layout of showers (`LAYOUTS`). The layout of tracks (`TRACK_LAYOUTS`) follows from the
branches: it is `jagged` if any of them has a variable length.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgan.config import CalorimeterConfig, HitsConfig
from hepgan.data import recognition
from hepgan.data.chunk import Chunk, is_jagged, value_type
from hepgan.data.events import Float32
from hepgan.data.hits import cells_of, outside
from hepgan.data.recognition import Suggestion
from hepgan.data.summaries import Branch, Tree
from hepgan.errors import ConfigError, DataError
from hepgan.geometry import Calorimeter

__all__ = ["LAYOUTS", "TRACK_LAYOUTS", "Layout", "TrackLayout"]


class Layout(Protocol):
    """How showers are stored: branches to flat cell energies, and back."""

    def names(self, calo: CalorimeterConfig, calorimeter: Calorimeter) -> list[str]:
        """Branches (or expressions) that hold the cells."""

    def branch(self, cell: int, calo: CalorimeterConfig, calorimeter: Calorimeter) -> str:
        """Name of the branch that holds a flat cell, for messages."""

    def read(self, chunk: Chunk, calo: CalorimeterConfig, calorimeter: Calorimeter) -> Float32:
        """Flat cells (N, n_cells), followed by the overflow of each layer if it is stored like a cell ("tail").

        Raises:
            DataError: If the values of a branch do not fit the geometry.
        """

    def write(self, cells: Float32, calo: CalorimeterConfig, calorimeter: Calorimeter) -> dict[str, Any]:
        """Arrays for each branch, from flat cells as `read` gives them."""

    def energies(self, calo: CalorimeterConfig, calorimeter: Calorimeter) -> list[str]:
        """Those of the written branches that hold energies."""

    def counters(self, calo: CalorimeterConfig) -> dict[str, str]:
        """For each written branch of variable length the branch with the number of values."""

    def suggest(self, tree: Tree, path: str) -> Suggestion | None:
        """The calorimeter that a tree of a file holds in this layout, if it holds one."""


@dataclass(frozen=True)
class _Arrays:
    """One branch of fixed shape for each layer."""

    def names(self, calo: CalorimeterConfig, calorimeter: Calorimeter) -> list[str]:
        return list(calo.branches)

    def branch(self, cell: int, calo: CalorimeterConfig, calorimeter: Calorimeter) -> str:
        return calo.branches[int(np.searchsorted(calorimeter.offsets, cell, side="right")) - 1]

    def read(self, chunk: Chunk, calo: CalorimeterConfig, calorimeter: Calorimeter) -> Float32:
        cells = np.empty((len(chunk), calorimeter.n_cells), np.float32)
        for branch, layer, place in zip(calo.branches, calorimeter.layers, calorimeter.slices(), strict=True):
            cells[:, place] = chunk.dense(branch, layer.shape)
        return cells

    def write(self, cells: Float32, calo: CalorimeterConfig, calorimeter: Calorimeter) -> dict[str, Any]:
        layers = zip(calo.branches, calorimeter.slices(), calorimeter.shapes, strict=True)
        return {branch: cells[:, place].reshape(-1, *shape) for branch, place, shape in layers}

    def energies(self, calo: CalorimeterConfig, calorimeter: Calorimeter) -> list[str]:
        return self.names(calo, calorimeter)

    def counters(self, calo: CalorimeterConfig) -> dict[str, str]:
        return {}

    def suggest(self, tree: Tree, path: str) -> Suggestion | None:
        return recognition.arrays(tree, path)


@dataclass(frozen=True)
class _Cells:
    """One scalar branch for each cell and, with ``overflow = "tail"``, for the overflow of each layer behind them."""

    def names(self, calo: CalorimeterConfig, calorimeter: Calorimeter) -> list[str]:
        tail = calorimeter.n_layers if calo.has_tail else 0
        return [calo.cells.format(k) for k in range(calorimeter.n_cells + tail)]

    def branch(self, cell: int, calo: CalorimeterConfig, calorimeter: Calorimeter) -> str:
        return calo.cells.format(cell)

    def read(self, chunk: Chunk, calo: CalorimeterConfig, calorimeter: Calorimeter) -> Float32:
        names = self.names(calo, calorimeter)
        cells = np.empty((len(names), len(chunk)), np.float32)
        for k, name in enumerate(names):
            cells[k] = chunk.dense(name, ())[:, 0]
        return np.ascontiguousarray(cells.T)

    def write(self, cells: Float32, calo: CalorimeterConfig, calorimeter: Calorimeter) -> dict[str, Any]:
        return {calo.cells.format(k): cells[:, k] for k in range(cells.shape[1])}

    def energies(self, calo: CalorimeterConfig, calorimeter: Calorimeter) -> list[str]:
        return self.names(calo, calorimeter)

    def counters(self, calo: CalorimeterConfig) -> dict[str, str]:
        return {}

    def suggest(self, tree: Tree, path: str) -> Suggestion | None:
        return recognition.cells(tree, path)


@dataclass(frozen=True)
class _Hits:
    """Variable-length branches with the address and the energy of each hit; hits of the same cell are summed."""

    def names(self, calo: CalorimeterConfig, calorimeter: Calorimeter) -> list[str]:
        """Branches of the address (flat cell number, or layer and indices), then the branch of the energy."""
        return _names_of_hits(calo).names

    def branch(self, cell: int, calo: CalorimeterConfig, calorimeter: Calorimeter) -> str:
        return _names_of_hits(calo).energy

    def read(self, chunk: Chunk, calo: CalorimeterConfig, calorimeter: Calorimeter) -> Float32:
        *address, energy_name = self.names(calo, calorimeter)
        counts = _counts_of_hits(chunk, address, energy_name)
        index = [_whole(chunk.values[name]) for name in address]
        energy = np.ma.filled(ak.to_numpy(ak.flatten(chunk.values[energy_name])), np.nan)
        cells = cells_of(index, energy, counts, calorimeter)
        if cells is None:
            expected = f"layers 0 to {calorimeter.n_layers - 1} of {calorimeter.shapes} cells"
            if len(index) == 1:
                expected = f"cells 0 to {calorimeter.n_cells - 1}"
            bad = outside(index, calorimeter)
            first = int(np.argmax(bad))
            event = np.repeat(np.arange(len(counts)), counts)
            got = ", ".join(f"{name} = {values[first]}" for name, values in zip(address, index, strict=True))
            raise DataError(
                f"{chunk.path}: hits outside the geometry: expected {expected}, got {bad.sum()} other hits "
                f"of {len(bad)}, the first in entry {chunk.entries[event[first]]} ({got}); change the shapes "
                "of data.calorimeter.layers or leave such events out with data.cut"
            )
        return cells

    def write(self, cells: Float32, calo: CalorimeterConfig, calorimeter: Calorimeter) -> dict[str, Any]:
        """One hit for each cell that is not zero; indices are int32."""
        hits = _names_of_hits(calo)
        event, cell = np.nonzero(cells)
        counts = np.bincount(event, minlength=len(cells))
        if hits.cell is not None:
            columns = {hits.cell: cell}
        else:
            layer = np.searchsorted(calorimeter.offsets, cell, side="right") - 1
            inside = cell - np.asarray(calorimeter.offsets)[layer]
            width = np.asarray(calorimeter.shapes)[layer, 1]
            columns = {str(hits.layer): layer, str(hits.i): inside // width, str(hits.j): inside % width}
        address = {name: ak.unflatten(values.astype(np.int32), counts) for name, values in columns.items()}
        return {**address, hits.energy: ak.unflatten(cells[event, cell], counts)}

    def energies(self, calo: CalorimeterConfig, calorimeter: Calorimeter) -> list[str]:
        return [_names_of_hits(calo).energy]

    def counters(self, calo: CalorimeterConfig) -> dict[str, str]:
        hits = _names_of_hits(calo)
        return dict.fromkeys(hits.names, hits.counter)

    def suggest(self, tree: Tree, path: str) -> Suggestion | None:
        return recognition.hits(tree, path)


def _names_of_hits(calo: CalorimeterConfig) -> HitsConfig:
    if calo.hits is None:  # excluded by the checks of the configuration
        raise ConfigError("data.calorimeter.hits: expected the names of the branches, got none; add them")
    return calo.hits


def _counts_of_hits(chunk: Chunk, address: Sequence[str], energy: str) -> NDArray[np.int64]:
    """Number of hits in each event (N,), which must be the same in all branches."""
    for name in (*address, energy):
        if chunk.values[name].ndim != 2:
            raise DataError(
                f"{chunk.path}: {name!r}: expected one number a hit (a variable-length branch), got "
                f"{value_type(chunk.values[name])} an event; name another branch or change data.calorimeter.layout"
            )
    counts: NDArray[np.int64] = ak.to_numpy(ak.num(chunk.values[energy]))
    for name in address:
        chunk.reject(
            (ak.to_numpy(ak.num(chunk.values[name])) != counts)[:, None],
            name=name,
            expected=f"as many hits as {energy!r}",
            got="differences",
            remedy="name branches of the same hits",
        )
    return counts


def _whole(values: Any) -> NDArray[Any]:
    """Flat indices of hits, integers; a value that is no number becomes -1, which is outside of every geometry."""
    flat = np.ma.filled(ak.to_numpy(ak.flatten(values)), -1)
    if np.can_cast(flat.dtype, np.int32):
        return flat.astype(np.int32, copy=False)
    if np.can_cast(flat.dtype, np.int64):
        return flat.astype(np.int64, copy=False)
    return np.where(np.isfinite(flat), flat, -1).astype(np.int64)


LAYOUTS: dict[str, Layout] = {"arrays": _Arrays(), "hits": _Hits(), "cells": _Cells()}
"""Layouts of showers by ``data.calorimeter.layout``, in the order in which `hepgan inspect --config` tries them."""


class TrackLayout(Protocol):
    """How tracks are stored."""

    def holds(self, branch: Branch) -> bool:
        """Whether a branch can hold a quantity of tracks in this layout."""

    def read(self, chunk: Chunk, names: Collection[str]) -> Chunk:
        """One row for each track.

        Args:
            chunk: One row for each entry of the tree.
            names: The values that the configuration asks for; the chunk may have more (the cut).

        Raises:
            DataError: If the tracks of an event do not have one number each.
        """


@dataclass(frozen=True)
class _Scalars:
    """One scalar branch a quantity; an entry is a track."""

    def holds(self, branch: Branch) -> bool:
        return branch.shape in ((), (1,))

    def read(self, chunk: Chunk, names: Collection[str]) -> Chunk:
        return chunk


@dataclass(frozen=True)
class _Jagged:
    """One variable-length branch a quantity; scalars belong to the event and are repeated for each of its tracks."""

    def holds(self, branch: Branch) -> bool:
        return branch.shape is None or (len(branch.shape) == 1 and branch.shape[0] > 1)

    def read(self, chunk: Chunk, names: Collection[str]) -> Chunk:
        jagged = {name for name, values in chunk.values.items() if is_jagged(values)}
        first = next(name for name in names if name in jagged)
        counts = chunk.counts([name for name in chunk.values if name in jagged], first=first)
        event = np.repeat(np.arange(len(counts)), counts)
        values = {
            name: ak.flatten(v, axis=1) if name in jagged else v[event] for name, v in chunk.values.items()
        }
        for name in values:
            if name in jagged and values[name].ndim > 1:
                raise DataError(
                    f"{chunk.path}: {name!r}: expected one number for each track, got {value_type(values[name])}; "
                    "name another branch"
                )
        return replace(chunk, entries=chunk.entries[event], values=values)


TRACK_LAYOUTS: dict[str, TrackLayout] = {"scalars": _Scalars(), "jagged": _Jagged()}
"""Layouts of tracks."""
