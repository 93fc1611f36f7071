"""Showers or tracks as arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Events", "Float32"]

Float32 = NDArray[np.float32]

_MARGIN = 1.05  # of the expected number of events


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
    def joined(cls, parts: Iterable[Events], *, share: Callable[[], float] = lambda: 1.0) -> Events:
        """Join consecutive events, at least one part.

        Args:
            parts: The events.
            share: Says, after each part, which share of all has come, about: memory for the rest is taken at once and
                costs nothing before it is used.
        """
        arrays: list[Float32] = []
        n = 0
        for part in parts:
            pieces = (part.conditions, *part.outputs, part.weights)
            start, n = n, n + len(part)
            come = share()
            expected = n if come >= 1 else int(n / come * _MARGIN)
            if not arrays and expected == n:
                arrays = [np.require(piece, np.float32, ["C", "O"]) for piece in pieces]
                continue
            if not arrays:
                arrays = [np.empty((expected, *piece.shape[1:]), np.float32) for piece in pieces]
            elif n > len(arrays[0]):
                _resize(arrays, expected)
            for array, piece in zip(arrays, pieces, strict=True):
                array[start:n] = piece
        _resize(arrays, n)
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


def _resize(arrays: list[Float32], n: int) -> None:
    """Change the number of rows of arrays that nobody else uses, in place."""
    for array in arrays:
        array.resize((n, *array.shape[1:]), refcheck=False)
