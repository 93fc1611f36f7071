"""Table of the two kinds of data: how arrays of showers and of tracks are joined, tested, named and written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hepgan.config import SHOWERS, TRACKS
from hepgan.inference.metadata import Metadata, Output
from hepgan.inference.showers import Showers
from hepgan.inference.tracks import Tracks

__all__ = ["HANDLING", "Handling"]

Float32 = NDArray[np.float32]


class Handling(Protocol):
    """Handling of one kind of data, implemented by `Showers` and `Tracks`."""

    batch: int
    checked: str

    def room(self, rows: int, described: Sequence[Output]) -> tuple[Float32, ...]:
        """Arrays of a generator for a number of rows, to be filled."""

    def fill(
        self, arrays: Sequence[Float32], outputs: Sequence[Float32], described: Sequence[Output]
    ) -> None:
        """Put the graph's outputs into arrays of as many rows."""

    def split(self, arrays: Sequence[Float32], described: Sequence[Output]) -> dict[str, Float32]:
        """Arrays of a generator -> arrays by the outputs' names."""

    def physics(self, outputs: Sequence[Float32], described: Sequence[Output]) -> tuple[bool, str]:
        """Test the graph's outputs: passed, detail."""

    def branches(self, arrays: Sequence[Float32], metadata: Metadata) -> dict[str, Any]:
        """Arrays of a generator -> branches of a ROOT file."""

    def branch_units(self, metadata: Metadata) -> dict[str, str]:
        """Units of these branches, where they have one."""

    def counters(self, metadata: Metadata) -> dict[str, str]:
        """For each branch of variable length the branch with the number of values."""


HANDLING: dict[str, Handling] = {SHOWERS.name: Showers(), TRACKS.name: Tracks()}
"""By the name of the kind."""
