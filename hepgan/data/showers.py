"""Reading of showers: a row is an entry of the tree, its output the energies in the cells of a calorimeter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from hepgan.config import DataConfig
from hepgan.data.branches import LAYOUTS
from hepgan.data.chunk import Chunk
from hepgan.data.events import Float32
from hepgan.data.expressions import Expression
from hepgan.geometry import Calorimeter

__all__ = ["ShowerReader"]

_CELL_BYTES = 12  # memory of a cell while reading: float64 (sum of hits) and float32 (result)


@dataclass(frozen=True)
class ShowerReader:
    """Reads showers; see `hepgan.data.kinds.Reader`.

    Args:
        data: What to read.
        base: Folder of a relative geometry file.
    """

    data: DataConfig
    base: str | Path = "."

    row: ClassVar[str] = "event"
    entry_is_row: ClassVar[bool] = True

    @cached_property
    def calorimeter(self) -> Calorimeter:
        """The geometry."""
        return self.data.calo.calorimeter(base=self.base)

    @property
    def row_bytes(self) -> int:
        """Memory for the cells of a shower while it is read."""
        return _CELL_BYTES * self.calorimeter.n_cells

    def outputs_wanted(self) -> dict[str, str]:
        """Expressions of cells and overflow, with the key of the configuration that asks for each."""
        calo = self.data.calo
        names = LAYOUTS[calo.layout].names(calo, self.calorimeter)
        wanted = dict.fromkeys(names, "data.calorimeter")
        if calo.overflow is not None and not calo.has_tail:
            wanted[calo.overflow] = "data.calorimeter.overflow"
        return wanted

    def rows(self, chunk: Chunk, expressions: Sequence[Expression], cut: Expression | None) -> Chunk:
        """Apply the cut, then evaluate expressions of the entries that pass."""
        chunk = chunk.select(cut, cut(chunk.values)) if cut else chunk
        return chunk.evaluate(expressions) if len(chunk) else chunk

    def outputs(self, chunk: Chunk) -> tuple[Float32, ...]:
        """Checked cells (N, n_cells) and overflow (N, n_layers), or (N, 0) without one."""
        calo, calorimeter = self.data.calo, self.calorimeter
        layout = LAYOUTS[calo.layout]
        cells = layout.read(chunk, calo, calorimeter)
        chunk.reject_energies(cells, name=lambda cell: layout.branch(cell, calo, calorimeter))
        overflow = np.empty((len(cells), 0), np.float32)
        if calo.has_tail:
            overflow = np.ascontiguousarray(cells[:, calorimeter.n_cells :])
            cells = np.ascontiguousarray(cells[:, : calorimeter.n_cells])
        elif calo.overflow is not None:
            overflow = chunk.dense(calo.overflow, (calorimeter.n_layers,))
            chunk.reject_energies(overflow, name=calo.overflow)
        return cells, overflow
