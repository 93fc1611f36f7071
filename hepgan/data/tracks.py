"""Reading of tracks: a row is a track, its output the observables that are generated for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hepgan.config import DataConfig
from hepgan.data.branches import TRACK_LAYOUTS
from hepgan.data.chunk import Chunk, is_jagged
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
        chunk = chunk.evaluate([*expressions, *([cut] if cut else [])])
        jagged = any(is_jagged(chunk.values[name]) for name in names)
        chunk = TRACK_LAYOUTS["jagged" if jagged else "scalars"].read(chunk, names)
        return chunk.select(cut, chunk.values[cut.text]) if cut else chunk

    def outputs(self, chunk: Chunk) -> tuple[Float32, ...]:
        """Checked targets (N, n_targets)."""
        return (chunk.targets(self.data.targets),)
