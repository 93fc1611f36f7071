"""Angles: wrap them into one turn, and recover them from cosine and sine."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["TURN", "from_periodic", "wrapped"]

TURN = 2 * math.pi


def wrapped(angle: Tensor, start: Tensor | float) -> Tensor:
    """Wrap angles (rad, any shape) into the half-open turn from `start` to `start` + 2 pi."""
    turns = (angle - start) / TURN
    part = turns - torch.floor(turns)
    # in single precision the part of a tiny negative angle rounds to a whole turn, which the second floor removes
    return start + TURN * (part - torch.floor(part))


def from_periodic(x: Tensor, angles: Sequence[int], winding: Tensor) -> Tensor:
    """Undo `QuantileScaling.periodic`: turn each pair (cosine, sine), of any length, into one normal number.

    Args:
        x: (B, V + A) numbers: V targets, with a cosine in the columns `angles`, then A sines.
        angles: The A columns of the angles.
        winding: (A,) angle per unit of the normal number (rad).

    Returns:
        (B, V) normal numbers.
    """
    columns = list(torch.split(x, 1, 1))
    sines = columns[len(columns) - len(angles) :]
    for k, sine, turned in zip(angles, sines, winding, strict=True):
        columns[k] = torch.atan2(sine, columns[k]) / turned
    return torch.cat(columns[: len(columns) - len(angles)], 1)
