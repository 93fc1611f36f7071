"""Showers or tracks as arrays."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Events", "Float32"]

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Events:
    """Showers or tracks as flat arrays: float32, C-contiguous, axis 0 = events.

    Args:
        conditions: (N, n_conditions), physical units, in the order of ``data.conditions``.
        outputs: The quantities that a generator produces: for showers `cells` and `overflow`, for tracks `targets`.
        weights: (N,), ones if the configuration names no weight.
    """

    conditions: Float32
    outputs: tuple[Float32, ...]
    weights: Float32

    @classmethod
    def joined(cls, parts: Iterable[Events]) -> Events:
        """Join consecutive events, at least one part; the memory is that of the result plus one part."""
        arrays: list[Float32] = []
        n = 0
        for part in parts:
            pieces = (part.conditions, *part.outputs, part.weights)
            n += len(part)
            if not arrays:
                arrays = [
                    piece if piece.flags.owndata and piece.flags.c_contiguous else piece.copy()
                    for piece in pieces
                ]
                continue
            for array, piece in zip(arrays, pieces, strict=True):
                array.resize((n, *piece.shape[1:]), refcheck=False)  # in place: pages move, numbers do not
                array[n - len(piece) :] = piece
        conditions, *outputs, weights = arrays
        return cls(conditions, tuple(outputs), weights)

    @property
    def cells(self) -> Float32:
        """Showers: (N, n_cells), layers one after the other, C order, unit of the calorimeter."""
        return self.outputs[0]

    @property
    def overflow(self) -> Float32:
        """Showers: (N, n_layers), or (N, 0) without an overflow; unit of the calorimeter."""
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
