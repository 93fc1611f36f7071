"""Convolutions in the place of locally connected layers: weights that are the same at every position.

What locally connected layers buy is seen by leaving them out. `Convolution2d` takes the place of each one, and
`Enlarge` that of the dense layer to all cells: as in DCGAN (arXiv:1511.06434), a dense layer gives few coarse maps, and
each doubling of the cells halves their number. Three things are not DCGAN's:

- A doubling repeats cells and convolves, where DCGAN has a transposed convolution; that one leaves a checkerboard
  (Odena et al., Distill 2016), and is not among the operators of the ONNX contract.
- Maps are normalised cell by cell over the channels (arXiv:1710.10196, section 4.2) and not over the batch: a shower
  then does not depend on its companions, and there are no running averages that could lag behind the weights.
- Nothing is normalised in the critic, whose penalty is defined for each event alone.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from hepgan.geometry import CaloLayer
from hepgan.models.feature_maps import SLOPE, Resample, images

__all__ = ["Convolution2d", "Enlarge", "coarser"]

_DOUBLINGS = 2  # from the coarse maps to the cells
_TINY = 1e-8


class Convolution2d(nn.Conv2d):
    """A convolution with the arguments of `hepgan.models.locally_connected.LocallyConnected2d`.

    Args:
        in_channels: Channels of the input.
        out_channels: Filters.
        size: Height and width of the input.
        kernel_size: Window.
        stride: Step of the window along both axes.
        padding: Zeros added on all sides.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        size: tuple[int, int],
        kernel_size: int = 3,
        stride: int | tuple[int, int] = 1,
        padding: int = 0,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, padding=padding)
        steps = (stride, stride) if isinstance(stride, int) else stride
        self.output_size = (
            (size[0] + 2 * padding - kernel_size) // steps[0] + 1,
            (size[1] + 2 * padding - kernel_size) // steps[1] + 1,
        )


def coarser(layer: CaloLayer) -> CaloLayer:
    """The layer with two cells joined to one along both axes; one is left alone where their number is odd."""

    def every_second(edges: tuple[float, ...]) -> tuple[float, ...]:
        return (*edges[:-1:2], edges[-1])

    x, y = every_second(layer.x), every_second(layer.y)
    return CaloLayer((len(x) - 1, len(y) - 1), x, y, layer.z, layer.name, layer.coordinates)


def _normalised(maps: Tensor) -> Tensor:
    """Maps (B, C, H, W) divided by the root mean square over the channels of their cell."""
    return maps / torch.sqrt((maps * maps).mean(1, keepdim=True) + _TINY)


class Enlarge(nn.Module):
    """From the numbers of the trunk to maps of a layer.

    Args:
        width: Numbers.
        channels: Maps; there are four times as many at first, on cells that are four times as wide and as high.
        layer: The grid.
    """

    def __init__(self, width: int, channels: int, layer: CaloLayer) -> None:
        super().__init__()
        grids = [layer]
        for _ in range(_DOUBLINGS):
            grids.insert(0, coarser(grids[0]))
        counts = [channels * 2**k for k in reversed(range(len(grids)))]
        self.shape, self.channels = grids[0].shape, counts[0]
        self.first = nn.Linear(width, counts[0] * grids[0].n_cells)
        self.enlarge = nn.ModuleList(Resample(a, b) for a, b in pairwise(grids))
        self.convolve = nn.ModuleList(
            Convolution2d(a, b, size=grid.shape, padding=1)
            for (a, b), grid in zip(pairwise(counts), grids[1:], strict=True)
        )

    def forward(self, trunk: Tensor) -> Tensor:
        """Map (B, width) to (B, channels, H, W)."""
        coarse = torch.matmul(self.first.weight, trunk.T) + self.first.bias[:, None]
        maps = images(coarse, self.channels, self.shape)
        for enlarge, convolve in zip(self.enlarge, self.convolve, strict=True):
            maps = convolve(enlarge(functional.leaky_relu(_normalised(maps), SLOPE)))
        return maps
