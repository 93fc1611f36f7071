"""Feature maps of calorimeter layers: their memory layout, and resampling from one grid to another.

The models keep the batch innermost in memory, as `hepgan.models.locally_connected` needs it: numbers are (F, B), maps
are (H, W, C, B) in memory and (B, C, H, W) as tensors. `images`, `numbers` and `stack` preserve this layout.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hepgan.geometry import CaloLayer

__all__ = ["Resample", "images", "numbers", "stack", "wrapped"]

_LEAST_OVERLAP = 1e-9  # in the unit of length; makes 0/0 zero


def wrapped(x: Tensor, rows: int) -> Tensor:
    """Maps (B, C, H, W) with `rows` further rows on both sides of H, as if its ends were joined (circular padding)."""
    if not rows:
        return x
    inner = x.permute(2, 3, 1, 0)  # as in memory
    return torch.cat([inner[-rows:], inner, inner[:rows]]).permute(3, 2, 0, 1)


def images(values: Tensor, channels: int, shape: tuple[int, int]) -> Tensor:
    """View (H * W * C, B) numbers as (B, C, H, W) maps, without a copy."""
    return values.reshape(*shape, channels, -1).permute(3, 2, 0, 1)


def numbers(maps: Tensor) -> Tensor:
    """View (B, C, H, W) maps as (H * W * C, B) numbers, without a copy."""
    return maps.permute(2, 3, 1, 0).flatten(0, 2)


def stack(maps: Sequence[Tensor]) -> Tensor:
    """Concatenate maps (B, C_k, H, W) along the channels to (B, sum of C_k, H, W)."""
    return torch.cat([m.permute(2, 3, 1, 0) for m in maps], 2).permute(3, 2, 0, 1)


def _overlap(source: tuple[float, ...], target: tuple[float, ...]) -> Tensor:
    """Matrix that averages over bins: the share of each source bin in each target bin.

    Args:
        source: Edges of n bins.
        target: Edges of m bins.

    Returns:
        (m, n) matrix, each row with sum 1, or 0 if no source bin overlaps the target bin.
    """
    a, b = torch.tensor(source, dtype=torch.float64), torch.tensor(target, dtype=torch.float64)
    low = torch.maximum(b[:-1, None], a[:-1])
    high = torch.minimum(b[1:, None], a[1:])
    shared = (high - low).clamp(min=0)
    return (shared / shared.sum(1, keepdim=True).clamp(min=_LEAST_OVERLAP)).float()


class Resample(nn.Module):
    r"""Resample feature maps from the cells of one layer to those of another by their overlap.

    :math:`y_{h'w'} = \sum_{hw} R_{h'h}\, C_{w'w}\, x_{hw}` for each channel, an average over the area of each cell.

    Args:
        source: Layer whose cells the maps are on.
        target: Layer whose cells they are resampled to.
    """

    row_overlap: Tensor  # (H', H), the matrix R
    column_overlap: Tensor  # (W', W), the matrix C

    def __init__(self, source: CaloLayer, target: CaloLayer) -> None:
        super().__init__()
        self.register_buffer("row_overlap", _overlap(source.x, target.x), persistent=False)
        self.register_buffer("column_overlap", _overlap(source.y, target.y), persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H', W')."""
        height, width = self.row_overlap.shape[0], self.column_overlap.shape[0]
        channels = maps.shape[1]
        inner = maps.permute(2, 3, 1, 0)  # (H, W, C, B)
        if height < inner.shape[0]:  # the axis that shrinks first
            inner = torch.matmul(self.row_overlap, inner.flatten(1)).reshape(height, *inner.shape[1:])
        inner = torch.matmul(self.column_overlap, inner.flatten(2))  # (H or H', W', C * B)
        if height >= maps.shape[2]:
            inner = torch.matmul(self.row_overlap, inner.flatten(1))
        return inner.reshape(height, width, channels, -1).permute(3, 2, 0, 1)
