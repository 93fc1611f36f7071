"""Reading of tracks: a row is a track, its output the observables that are generated for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import awkward as ak

from hepgan.config import DataConfig
from hepgan.data.branches import TRACK_LAYOUTS
from hepgan.data.chunk import Chunk, fixed_length, is_jagged
from hepgan.data.events import Float32
from hepgan.data.expressions import Expression

__all__ = ["TrackReader"]


@dataclass(frozen=True)
class TrackReader:
    """Reads tracks; see `hepgan.data.kinds.Reader`.

    Args:
        data: What to read.
        base: Not used: tracks have no geometry file.
    """

    data: DataConfig
    base: str | Path = "."

    row: ClassVar[str] = "track"
    entry_is_row: ClassVar[bool] = False
    calorimeter: ClassVar[None] = None
    row_bytes: ClassVar[int] = 0

    def outputs_wanted(self) -> dict[str, str]:
        """Expressions of the targets, with the key of the configuration that asks for them."""
        return {target.expression: "data.targets" for target in self.data.targets}

    def rows(self, chunk: Chunk, expressions: Sequence[Expression], cut: Expression | None) -> Chunk:
        """Evaluate expressions and the cut for each entry, make one row a track, then apply the cut.

        Expressions are evaluated first, so that ``sum(track_pt > 500)`` is a number of the event.
        """
        names = [expression.text for expression in expressions]
        chunk = self._listed(chunk.evaluate([*expressions, *([cut] if cut else [])]))
        jagged = any(is_jagged(chunk.values[name]) for name in names)
        chunk = TRACK_LAYOUTS["jagged" if jagged else "scalars"].read(chunk, names)
        return chunk.select(cut, chunk.values[cut.text]) if cut else chunk

    def _listed(self, chunk: Chunk) -> Chunk:
        """Make arrays of fixed length lists of tracks, if all targets and a condition are such arrays.

        An array among the targets alone may be a vector, such as a momentum, of which one component is meant.
        """
        fixed = {name for name, values in chunk.values.items() if fixed_length(values) > 1}
        targets = {target.expression for target in self.data.targets}
        if not fixed >= targets or fixed.isdisjoint(c.expression for c in self.data.conditions):
            return chunk
        values = {
            name: ak.from_regular(v, axis=1) if name in fixed else v for name, v in chunk.values.items()
        }
        return replace(chunk, values=values)

    def outputs(self, chunk: Chunk) -> tuple[Float32, ...]:
        """Checked targets (N, n_targets)."""
        return (chunk.targets(self.data.targets),)
