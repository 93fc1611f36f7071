"""Feature maps of calorimeter layers: how they lie in memory, and how they get from one grid to another.

Inside the models, batches are innermost in memory as in `hepgan.models.locally_connected`: (F, B) for numbers,
(H, W, C, B) for maps, shown as (B, C, H, W). `images`, `numbers` and `stack` keep it so.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hepgan.geometry import CaloLayer

__all__ = ["SLOPE", "Resample", "images", "numbers", "stack"]

SLOPE = 0.1  # of LeakyReLU


def images(values: Tensor, channels: int, shape: tuple[int, int]) -> Tensor:
    """(H * W * C, B) numbers as (B, C, H, W) maps, without a copy."""
    return values.reshape(*shape, channels, -1).permute(3, 2, 0, 1)


def numbers(maps: Tensor) -> Tensor:
    """(B, C, H, W) maps as (H * W * C, B) numbers, without a copy."""
    return maps.permute(2, 3, 1, 0).flatten(0, 2)


def stack(maps: list[Tensor]) -> Tensor:
    """Maps (B, C_k, H, W) one behind the other along the channels."""
    return torch.cat([m.permute(2, 3, 1, 0) for m in maps], 2).permute(3, 2, 0, 1)


def _overlap(source: tuple[float, ...], target: tuple[float, ...]) -> Tensor:
    """Average of source bins over target bins: (len(target) - 1, len(source) - 1), rows sum to one."""
    a, b = torch.tensor(source, dtype=torch.float64), torch.tensor(target, dtype=torch.float64)
    low = torch.maximum(b[:-1, None], a[:-1])
    high = torch.minimum(b[1:, None], a[1:])
    shared = (high - low).clamp(min=0)
    return (shared / shared.sum(1, keepdim=True).clamp(min=1e-9)).float()


class Resample(nn.Module):
    """Carry feature maps from one layer's grid to another one by overlap of the cells.

    Args:
        source: The grid they are on.
        target: The grid to carry them to.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, source: CaloLayer, target: CaloLayer) -> None:
        super().__init__()
        self.register_buffer("rows", _overlap(source.x, target.x), persistent=False)
        self.register_buffer("columns", _overlap(source.y, target.y), persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H', W')."""
        height, width = self.rows.shape[0], self.columns.shape[0]
        channels = maps.shape[1]
        inner = maps.permute(2, 3, 1, 0)  # (H, W, C, B)
        rows = torch.matmul(self.rows, inner.flatten(1)).reshape(height, inner.shape[1], -1)
        both = torch.matmul(self.columns, rows)  # (H', W', C * B)
        return both.reshape(height, width, channels, -1).permute(3, 2, 0, 1)
