"""Showers or tracks as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Events"]

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Events:
    """Showers or tracks as flat arrays: float32, C-contiguous, axis 0 = events.

    Args:
        conditions: (N, n_conditions), physical units, in the order of ``data.conditions``.
        outputs: What a generator gives: for showers `cells` and `overflow`, for tracks `targets`.
        weights: (N,), ones when the configuration names no weight.
    """

    conditions: Float32
    outputs: tuple[Float32, ...]
    weights: Float32

    @property
    def cells(self) -> Float32:
        """Showers: (N, n_cells), layers one after the other, C order, unit of the calorimeter."""
        return self.outputs[0]

    @property
    def overflow(self) -> Float32:
        """Showers: (N, n_layers), or (N, 0) when there is none; unit of the calorimeter."""
        return self.outputs[1]

    @property
    def targets(self) -> Float32:
        """Tracks: (N, n_targets), in the order of ``data.targets``."""
        return self.outputs[0]

    def __len__(self) -> int:
        return len(self.conditions)

    def __getitem__(self, index: NDArray[Any] | slice) -> Events:
        outputs = tuple(output[index] for output in self.outputs)
        return Events(self.conditions[index], outputs, self.weights[index])
