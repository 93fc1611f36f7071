"""The readers of the two kinds of data: `READERS` holds everything that reading does differently for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Protocol

from hepgan.config import SHOWERS, TRACKS, DataConfig
from hepgan.data.chunk import Chunk
from hepgan.data.events import Float32
from hepgan.data.expressions import Expression
from hepgan.data.showers import ShowerReader
from hepgan.data.tracks import TrackReader
from hepgan.geometry import Calorimeter

__all__ = ["READERS", "Reader", "reader_of"]


class Reader(Protocol):
    """Turns chunks of a tree into one kind of data.

    Attributes:
        row: What messages call a row: "event" or "track".
        entry_is_row: Whether each entry of the tree is one row; otherwise rows can be counted only by reading them.
    """

    row: ClassVar[str]
    entry_is_row: ClassVar[bool]

    @property
    def data(self) -> DataConfig:
        """What to read."""

    @property
    def calorimeter(self) -> Calorimeter | None:
        """The geometry, if this kind of data has one.

        Raises:
            NotFoundError: If a geometry file is missing.
            ConfigError: If it does not describe a calorimeter.
        """

    @property
    def row_bytes(self) -> int:
        """Memory that one row needs while it is read, if that may be more than its size in the file (bytes)."""

    def outputs_wanted(self) -> dict[str, str]:
        """Expressions of the outputs, with the key of the configuration that asks for each."""

    def rows(self, chunk: Chunk, expressions: Sequence[Expression], cut: Expression | None) -> Chunk:
        """Values of expressions in the rows that pass the cut.

        Args:
            chunk: Values of branches, one row for each entry of the tree.
            expressions: The expressions.
            cut: The cut, if there is one.
        """

    def outputs(self, chunk: Chunk) -> tuple[Float32, ...]:
        """Checked outputs of the rows, as in `hepgan.data.events.Events`.

        Raises:
            DataError: If values are missing, not finite, negative energies, or of another shape than expected.
        """


READERS: dict[str, Callable[[DataConfig, str | Path], Reader]] = {
    SHOWERS.name: ShowerReader,
    TRACKS.name: TrackReader,
}
"""The reader of each kind of data, made from what to read and the folder of relative paths."""


def reader_of(data: DataConfig, *, base: str | Path = ".") -> Reader:
    """The reader for a configuration; `base` is the folder of a relative geometry file."""
    return READERS[data.kind.name](data, base)
