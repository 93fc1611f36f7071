"""Table of the two kinds of data: how generators of showers and of tracks are exported."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn

from hepgan.config import SHOWERS, TRACKS, DataConfig
from hepgan.exporting.showers import Showers
from hepgan.exporting.tracks import Tracks
from hepgan.inference.metadata import Geometry, Output

__all__ = ["EXPORTING", "Exporting"]


class Exporting(Protocol):
    """Export of one kind of data, implemented by `Showers` and `Tracks`."""

    def compact(self, generator: Any) -> nn.Module:
        """The module to translate: the same function, in fewer operations if it can be rewritten."""

    def split(self, generator: Any, *results: Tensor) -> tuple[Tensor, ...]:
        """The generator's results -> outputs of the graph."""

    def describe(
        self, generator: Any, data: DataConfig
    ) -> tuple[tuple[Output, ...], Geometry | None, DataConfig]:
        """Outputs, geometry, and how the files were read without anything outside the description."""


EXPORTING: dict[str, Exporting] = {SHOWERS.name: Showers(), TRACKS.name: Tracks()}
"""By the name of the kind."""
