"""Convolutions in place of locally connected layers: weights that are the same at every position.

They measure the benefit of locally connected layers by replacing them (``paint = "convolution"``). `Convolution2d`
replaces each locally connected layer, and `Enlarge` the dense layer to all cells: as in DCGAN (arXiv:1511.06434), a
dense layer gives few coarse maps, and each doubling of the cells halves the number of maps. Differences from DCGAN:

- A doubling repeats cells and convolves; the transposed convolution of DCGAN leaves a checkerboard (Odena et al.,
  Distill 2016) and is not an operator of the ONNX contract.
- Maps are normalised over the channels of each cell (arXiv:1710.10196, section 4.2) and not over the batch: a shower
  then does not depend on the others of its batch, and there are no running averages that could lag behind the weights.
- The critic has no normalisation, because its penalty is defined for each event alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from hepgan.geometry import CaloLayer
from hepgan.models.feature_maps import Resample, images, stack, wrapped
from hepgan.models.piecewise import SLOPE, sloped

__all__ = ["Convolution2d", "Enlarge", "coarser"]

_DOUBLINGS = 2  # from the coarse maps to the cells of the layer
_TINY = 1e-8  # added to the mean square of the channels, as in arXiv:1710.10196, section 4.2


class Convolution2d(nn.Conv2d):
    """Convolution that takes the arguments of `hepgan.models.locally_connected.LocallyConnected2d`.

    Its ``forward`` maps (B, C_in, H, W) to (B, C_out, H_out, W_out), with a leaky ReLU if a slope is given.

    Args:
        in_channels: Number C_in of channels of the input.
        out_channels: Number C_out of filters.
        size: Height H and width W of the input.
        kernel_size: Height and width of the window.
        stride: Step of the window, along both axes or along H and W.
        padding: Number of zeros added on all sides.
        wrap: Whether H is a circle; its padding are then the rows of the other end.

    Attributes:
        output_size: (H_out, W_out).
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
        wrap: bool = False,
    ) -> None:
        self.wrapped = padding if wrap else 0
        zeros = (padding - self.wrapped, padding)
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, padding=zeros)
        steps = (stride, stride) if isinstance(stride, int) else stride
        self.output_size = (
            (size[0] + 2 * padding - kernel_size) // steps[0] + 1,
            (size[1] + 2 * padding - kernel_size) // steps[1] + 1,
        )

    def forward(self, x: Tensor | Sequence[Tensor], *, slope: float = 1.0) -> Tensor:
        """Map (B, C_in, H, W), or the parts of its channels, to (B, C_out, H_out, W_out); see there for the slope."""
        y = super().forward(wrapped(x if isinstance(x, Tensor) else stack(x), self.wrapped))
        return functional.leaky_relu(y, slope) if slope != 1 else y

    def derivative(self, x: Tensor, *, slope: float, sign: Tensor) -> Tensor:
        """Derivative of the layer and its leaky ReLU along x, (B, C_in, H, W), where its output is `sign`."""
        y = functional.conv2d(wrapped(x, self.wrapped), self.weight, stride=self.stride, padding=self.padding)
        return sloped(y, sign, slope)

    def weight_gradient(self, x: Tensor, g: Tensor) -> Tensor:
        """Derivative by the weight of sum(g * layer(x)), for x (B, C_in, H, W) and g (B, C_out, H_out, W_out)."""
        shape = self.weight.shape
        made: Tensor = conv2d_weight(wrapped(x, self.wrapped), shape, g, self.stride, self.padding)  # type: ignore[no-untyped-call]
        return made


def coarser(layer: CaloLayer) -> CaloLayer:
    """Copy of a layer with pairs of cells joined along both axes; of an odd number of cells, the last stays alone."""

    def every_second(edges: tuple[float, ...]) -> tuple[float, ...]:
        return (*edges[:-1:2], edges[-1])

    x, y = every_second(layer.x), every_second(layer.y)
    return CaloLayer((len(x) - 1, len(y) - 1), x, y, layer.z, layer.name, layer.coordinates)


def _normalised(maps: Tensor) -> Tensor:
    """Divide maps (B, C, H, W) by the root mean square over the channels of each cell."""
    return maps / torch.sqrt((maps * maps).mean(1, keepdim=True) + _TINY)


class Enlarge(nn.Module):
    """Make maps of a layer from the output of the trunk: a dense layer to coarse maps, then two doublings.

    The coarse maps have four times as many channels, on cells that are four times as wide and four times as high.

    Args:
        width: Outputs of the trunk.
        channels: Channels C of the maps.
        layer: The layer, with (H, W) cells.
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
            Convolution2d(a, b, size=grid.shape, padding=1, wrap=grid.wraps)
            for (a, b), grid in zip(pairwise(counts), grids[1:], strict=True)
        )

    def forward(self, trunk: Tensor) -> Tensor:
        """Map (B, width) to (B, C, H, W)."""
        coarse = torch.matmul(self.first.weight, trunk.T) + self.first.bias[:, None]
        maps = images(coarse, self.channels, self.shape)
        for enlarge, convolve in zip(self.enlarge, self.convolve, strict=True):
            maps = convolve(enlarge(functional.leaky_relu(_normalised(maps), SLOPE)))
        return maps
