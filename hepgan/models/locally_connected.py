"""Locally connected layers: convolution windows whose weights are not shared between positions.

A calorimeter image is not translation invariant: the shower axis is at one place, and the neighbours of a cell mean
something else in the core than in the tail. `LocallyConnected2d` has separate weights for each output cell, as CaloGAN
(arXiv:1705.02355); torch has no such layer.

The memory layout makes it fast. Activations have the batch innermost, (H, W, C, B), so that the kw x C_in inputs of an
output cell in one row of the kernel are ONE contiguous block, and each row of the kernel is a matrix product with an
overlapping view; nothing is unfolded or copied. Outside, tensors have the usual shape (B, C, H, W): only the strides
differ, as with channels_last of torch, and a stack of layers passes the layout on without transposing.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hepgan.transforms.exporting import is_exporting

__all__ = ["LocallyConnected2d", "locally_connected2d"]

Pair = tuple[int, int]
"""A value along H and a value along W."""


def _windows(x: Tensor, width: int, kernel_width: int, stride: int) -> tuple[Tensor, ...]:
    """Windows of each row of (H, W, C, B) activations: H overlapping (width, kernel_width * C, B) views, no copies."""
    height, _, channels, batch = x.shape
    size = (height, width, kernel_width * channels, batch)
    return x.as_strided(size, (x.stride(0), stride * channels * batch, batch, 1)).unbind(0)


def _apply(function: type[torch.autograd.Function], *arguments: Any) -> Tensor:
    """Call an autograd function, with a type that mypy knows."""
    result: Tensor = function.apply(*arguments)  # type: ignore[no-untyped-call]
    return result


# The layer is linear in its input x and in its weight w. With a cotangent g of the output, T(x, w, g) =
# sum(g * layer(x, w)) is linear in all three, and the three functions below are its derivatives: `_Output` in g,
# `_InputGradient` in x, `_WeightGradient` in w. The derivatives of each function are therefore the other two, to any
# order. Shapes: x (H, W, C_in, B), w (H', kh, W', C_out, kw, C_in), g and the output (H', W', C_out, B).


class _Output(torch.autograd.Function):
    """The layer itself: (x, w) to the output."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, stride: Pair) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.stride = stride
        height, kernel_height, width, out, kernel_width, _ = w.shape
        y = x.new_empty(height, width, out, x.shape[3])
        windows = _windows(x, width, kernel_width, stride[1])
        matrices = w.flatten(4).flatten(0, 1).unbind(0)
        for h, row in enumerate(y.unbind(0)):
            for i in range(kernel_height):
                matrix = matrices[h * kernel_height + i]
                torch.baddbmm(row, matrix, windows[h * stride[0] + i], beta=int(i > 0), out=row)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, w = ctx.saved_tensors
        g = grads[0].contiguous()
        gx = _apply(_InputGradient, g, w, ctx.stride, tuple(x.shape)) if ctx.needs_input_grad[0] else None
        gw = _apply(_WeightGradient, x, g, ctx.stride, tuple(w.shape)) if ctx.needs_input_grad[1] else None
        return gx, gw, None


class _InputGradient(torch.autograd.Function):
    """Gradient of the input: (g, w) to a tensor of the shape of x."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, w: Tensor, stride: Pair, shape: tuple[int, ...]) -> Tensor:
        # Input column c contributes to output column v through kernel column j = c - v * stride: windows again, over
        # the cotangent spread out by the stride, with the weights gathered in reverse order.
        ctx.save_for_backward(g, w)
        ctx.stride = stride
        height, kernel_height, width, out, kernel_width, _ = w.shape
        columns, batch = shape[1], shape[3]
        spread = g.new_zeros(height, columns + kernel_width - 1, out, batch)
        last = kernel_width - 1 + stride[1] * (width - 1)
        spread[:, kernel_width - 1 : last + 1 : stride[1]] = g
        place = torch.arange(columns)[:, None] + torch.arange(kernel_width) - (kernel_width - 1)
        output = (place // stride[1]).clamp(0, width - 1).to(w.device)  # beyond the edges, spread is zero
        reverse = torch.arange(kernel_width - 1, -1, -1, device=w.device)
        gathered = w.permute(0, 1, 2, 4, 5, 3)[:, :, output, reverse]  # (H', kh, W, kw, C_in, C_out)
        matrices = gathered.transpose(3, 4).flatten(4).flatten(0, 1).contiguous().unbind(0)
        windows = _windows(spread, columns, kernel_width, 1)
        x = g.new_zeros(shape)
        rows = x.unbind(0)
        for h in range(height):
            for i in range(kernel_height):
                rows[h * stride[0] + i].baddbmm_(matrices[h * kernel_height + i], windows[h])
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        g, w = ctx.saved_tensors
        x = grads[0].contiguous()
        gg = _apply(_Output, x, w, ctx.stride) if ctx.needs_input_grad[0] else None
        gw = _apply(_WeightGradient, x, g, ctx.stride, tuple(w.shape)) if ctx.needs_input_grad[1] else None
        return gg, gw, None, None


class _WeightGradient(torch.autograd.Function):
    """Gradient of the weight: (x, g) to a tensor of the shape of w."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, g: Tensor, stride: Pair, shape: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(x, g)
        ctx.stride = stride
        _, kernel_height, width, _, kernel_width, _ = shape
        w = x.new_empty(shape)
        windows = [v.transpose(1, 2) for v in _windows(x, width, kernel_width, stride[1])]
        matrices = w.flatten(4).flatten(0, 1).unbind(0)
        for h, row in enumerate(g.unbind(0)):
            for i in range(kernel_height):
                torch.bmm(row, windows[h * stride[0] + i], out=matrices[h * kernel_height + i])
        return w

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, g = ctx.saved_tensors
        w = grads[0].contiguous()
        gx = _apply(_InputGradient, g, w, ctx.stride, tuple(x.shape)) if ctx.needs_input_grad[0] else None
        gg = _apply(_Output, x, w, ctx.stride) if ctx.needs_input_grad[1] else None
        return gx, gg, None, None


def _gathered(x: Tensor, w: Tensor, stride: Pair) -> Tensor:
    """Compute the same layer with Gather and MatMul only, for exported graphs; shapes as for `_Output`."""
    height, kernel_height, width, out, kernel_width, channels = w.shape
    rows = torch.arange(height)[:, None] * stride[0] + torch.arange(kernel_height)
    columns = torch.arange(width)[:, None] * stride[1] + torch.arange(kernel_width)
    place = rows[:, None, :, None] * int(x.shape[1]) + columns[None, :, None, :]  # (H', W', kh, kw)
    windows = x.flatten(0, 1).flatten(1)[place.flatten().to(x.device)]
    windows = windows.reshape(height * width, kernel_height * kernel_width * channels, -1)
    matrix = w.permute(0, 2, 3, 1, 4, 5).reshape(height * width, out, -1)
    return torch.matmul(matrix, windows).reshape(height, width, out, -1)


def locally_connected2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, stride: Pair = (1, 1), padding: Pair = (0, 0)
) -> Tensor:
    r"""Apply windows with separate weights at each position.

    .. math::
        y_{b,o,h,w} = \beta_{o,h,w} + \sum_{i,j,c} W_{h,i,w,o,j,c}\; x_{b,\,c,\,h s_h + i - p_h,\,w s_w + j - p_w}

    Args:
        x: (B, C_in, H, W).
        weight: W, (H_out, kernel_height, W_out, C_out, kernel_width, C_in), in the order in which it is read.
        bias: :math:`\beta`, (H_out, W_out, C_out), or None.
        stride: Step s of the window along H and W.
        padding: Number p of zeros added on both sides of H and W.

    Returns:
        (B, C_out, H_out, W_out), with the batch innermost in memory.
    """
    inner = x.permute(2, 3, 1, 0)
    if any(padding):
        inner = functional.pad(inner, (0, 0, 0, 0, padding[1], padding[1], padding[0], padding[0]))
    export = is_exporting()
    y = _gathered(inner, weight, stride) if export else _apply(_Output, inner.contiguous(), weight, stride)
    if bias is not None:
        y = y + bias[..., None]
    return y.permute(3, 2, 0, 1)


class LocallyConnected2d(nn.Module):
    r"""Locally connected layer: a convolution whose weights differ from position to position.

    .. math::
        y_{b,o,h,w} = \beta_{o,h,w} + \sum_{i,j,c} W_{h,i,w,o,j,c}\; x_{b,\,c,\,h s_h + i - p_h,\,w s_w + j - p_w}

    It works on images of one size, and has derivatives of any order (a gradient penalty needs the second).

    Args:
        in_channels: Number C_in of channels of the input.
        out_channels: Number C_out of filters at each position.
        size: Height H and width W of the input.
        kernel_size: Height and width of the window.
        stride: Step of the window along H and W.
        padding: Number of zeros added on both sides of H and W.
        bias: Whether each filter has a bias at each position.

    Attributes:
        output_size: (H_out, W_out).

    Raises:
        ValueError: If the window does not fit into the padded input, or an input has another shape.

    Example:
        >>> layer = LocallyConnected2d(1, 8, size=(3, 96), kernel_size=3, padding=1)
        >>> layer(torch.zeros(2, 1, 3, 96)).shape
        torch.Size([2, 8, 3, 96])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        size: Pair,
        kernel_size: int | Pair = 3,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.size = in_channels, out_channels, size
        self.kernel_size, self.stride, self.padding = _pair(kernel_size), _pair(stride), _pair(padding)
        free = [n + 2 * p - k for n, p, k in zip(size, self.padding, self.kernel_size, strict=True)]
        if min(free) < 0:
            raise ValueError(
                f"kernel_size: {self.kernel_size} is larger than the padded input {size} + 2 x {self.padding}; "
                "make the kernel smaller or the padding larger"
            )
        self.output_size: Pair = (free[0] // self.stride[0] + 1, free[1] // self.stride[1] + 1)
        height, width = self.output_size
        self.weight = nn.Parameter(
            torch.empty(height, self.kernel_size[0], width, out_channels, self.kernel_size[1], in_channels)
        )
        self.bias = nn.Parameter(torch.empty(height, width, out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights and biases uniformly within +-1/sqrt(fan in), as the convolutions of torch do."""
        bound = 1 / math.sqrt(self.in_channels * math.prod(self.kernel_size))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H_out, W_out)."""
        if tuple(x.shape[1:]) != (self.in_channels, *self.size):
            raise ValueError(
                f"input: expected shape (batch, {self.in_channels}, {self.size[0]}, {self.size[1]}), "
                f"got {tuple(x.shape)}; the layer is made for one image size"
            )
        return locally_connected2d(x, self.weight, self.bias, stride=self.stride, padding=self.padding)

    def extra_repr(self) -> str:
        """Arguments of the constructor, for ``repr``."""
        return (
            f"{self.in_channels}, {self.out_channels}, size={self.size}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, bias={self.bias is not None}"
        )


def _pair(value: int | Pair) -> Pair:
    """Repeat a single value for both axes."""
    return (value, value) if isinstance(value, int) else value
