"""Locally connected layers: convolution windows whose weights are not shared between positions.

A calorimeter image is not translation invariant: the shower axis is at one place, and the neighbours of a cell mean
something else in the core than in the tail. `LocallyConnected2d` has separate weights for each output cell, as CaloGAN
(arXiv:1705.02355); torch has no such layer.

The memory layout makes it fast. Activations have the batch innermost, (H, W, C, B), so that the kw x C_in inputs of an
output cell in one row of the kernel are ONE contiguous block of rows. Compiled kernels (`hepgan.transforms.kernels`)
multiply it with the weights in registers, where nothing is unfolded, padded or copied; without them, a row of the
kernel is one batched matrix product. Outside, tensors have the usual shape (B, C, H, W): only the strides differ, as
with channels_last of torch, and a stack of layers passes the layout on without transposing.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from hepgan.models.feature_maps import wrapped
from hepgan.models.piecewise import sloped
from hepgan.transforms.exporting import is_exporting
from hepgan.transforms.kernels import addresses, run, usable

__all__ = ["LocallyConnected2d", "locally_connected2d"]

Pair = tuple[int, int]
"""A value along H and a value along W."""

MOST_PARTS = 8  # tensors over which the channels of an input may be split, in the kernels


class _Geometry(NamedTuple):
    """Steps of the window, zeros around the image (virtual), size of the image, and channels of each part of it."""

    stride: Pair
    padding: Pair
    size: Pair
    parts: tuple[int, ...]


def _apply(function: type[torch.autograd.Function], *arguments: Any) -> Tensor:
    """Call an autograd function, with a type that mypy knows."""
    result: Tensor = function.apply(*arguments)  # type: ignore[no-untyped-call]
    return result


@functools.lru_cache(maxsize=1024)
def _passed(at: _Geometry, shape: tuple[int, ...], batch: int) -> Any:
    """The struct Shape of ``cpp/layers.cpp``, for weights of a shape and a batch size."""
    height, kernel_height, width, out, kernel_width, channels = shape
    numbers = (*at.size, channels, height, width, out, kernel_height, kernel_width)
    rest = (batch, len(at.parts), *at.parts, *[0] * (MOST_PARTS - len(at.parts)))
    return (ctypes.c_long * 22)(*numbers, *at.stride, *at.padding, *rest)


def _padded(x: Tensor, padding: Pair) -> Tensor:
    """Activations (H, W, C, B) with zeros around the image."""
    (above, left), around = padding, (0, 0, 0, 0)
    return functional.pad(x, (*around, left, left, above, above)) if any(padding) else x


def _windows(x: Tensor, w: Tensor, stride: Pair, i: int) -> Tensor:
    """Windows (H', W', kw * C, B) of padded activations (H, W, C, B) in row i of the kernel: overlapping views."""
    height, _, width, _, kernel_width, channels = w.shape
    batch = x.shape[3]
    strides = (stride[0] * x.stride(0), stride[1] * channels * batch, batch, 1)
    return x[i:].as_strided(
        (height, width, kernel_width * channels, batch), strides, x.storage_offset() + i * x.stride(0)
    )


# The layer is linear in its input x and in its weight w. With a cotangent g of the output, T(x, w, g) =
# sum(g * layer(x, w)) is linear in all three, and the three functions below are its derivatives: `_Output` in g,
# `_InputGradient` in x, `_WeightGradient` in w. The derivatives of each function are therefore the other two, to any
# order. Shapes: x (H, W, C_in, B), w (H', kh, W', C_out, kw, C_in), g and the output (H', W', C_out, B). The channels
# of x may be split over several tensors (parts), which spares their concatenation.


class _Output(torch.autograd.Function):
    """The layer itself with bias and leaky ReLU: (w, bias (H', W', C_out) or None, parts of x) to the output.

    Where a number is negative, it is multiplied by the slope. With `sign`, the numbers of this tensor decide that: with
    the output at another input, this is the derivative along x of the layer there.
    """

    @staticmethod
    def forward(
        ctx: Any,
        w: Tensor,
        bias: Tensor | None,
        sign: Tensor | None,
        slope: float,
        at: _Geometry,
        *parts: Tensor,
    ) -> Tensor:
        height, kernel_height, width, out, _, _ = w.shape
        batch = parts[0].shape[3]
        y = w.new_empty(height, width, out, batch)
        if usable(w, *parts):
            run("layer_output", _passed(at, w.shape, batch), addresses(parts), w, bias, slope, sign, y)
        else:
            y.zero_()
            padded = _padded(torch.cat(parts, 2), at.padding).contiguous()
            for i in range(kernel_height):
                y += torch.matmul(w[:, i].flatten(3), _windows(padded, w, at.stride, i))
            if bias is not None:
                y += bias[..., None]
            if slope != 1:
                y = sloped(y, y if sign is None else sign, slope)
        ctx.save_for_backward(w, y if sign is None else sign, *parts)
        ctx.at, ctx.slope, ctx.has_bias = at, slope, bias is not None
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        w, sign, *parts = ctx.saved_tensors
        g = grads[0].contiguous()
        gb = None
        if ctx.has_bias and not torch.is_grad_enabled() and usable(g, sign):
            masked, gb = torch.empty_like(g), g.new_empty(g.shape[:3])
            run("layer_cotangent", gb.numel(), g.shape[3], g, sign, ctx.slope, masked, gb)
            g = masked
        else:
            if ctx.slope != 1:
                g = sloped(g, sign, ctx.slope)
            if ctx.has_bias:
                gb = g.sum(3)
        wanted = tuple(ctx.needs_input_grad[5:])
        gx = _input_gradient(g, w, ctx.at, wanted) if any(wanted) else (None,) * len(parts)
        shape = tuple(w.shape)
        gw = _apply(_WeightGradient, g, shape, ctx.at, *parts) if ctx.needs_input_grad[0] else None
        return gw, gb, None, None, None, *gx


class _InputGradient(torch.autograd.Function):
    """Gradient of the input: (g, w) to tensors of the shapes of those parts of x that are wanted."""

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, w: Tensor, at: _Geometry, wanted: tuple[bool, ...]
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(g, w)
        ctx.at, ctx.wanted = at, wanted
        height, kernel_height, width, _, kernel_width, channels = w.shape
        batch = g.shape[3]
        if usable(g, w):
            parts = tuple(
                g.new_empty(*at.size, n, batch) if want else None
                for n, want in zip(at.parts, wanted, strict=True)
            )
            run("layer_input", _passed(at, w.shape, batch), g, w, addresses(parts))
            return tuple(part for part in parts if part is not None)
        (above, left), (rows, columns) = at.padding, at.size
        x = g.new_zeros(rows + 2 * above, columns + 2 * left, channels, batch)
        (step_h, step_w), (span_h, span_w) = at.stride, ((height - 1), (width - 1))
        for i in range(kernel_height):
            part = torch.matmul(w[:, i].flatten(3).transpose(2, 3), g)
            part = part.reshape(height, width, kernel_width, channels, batch)
            for j in range(kernel_width):
                x[i : i + step_h * span_h + 1 : step_h, j : j + step_w * span_w + 1 : step_w] += part[:, :, j]
        split = torch.split(x[above : above + rows, left : left + columns], list(at.parts), 2)
        return tuple(part.contiguous() for part, want in zip(split, wanted, strict=True) if want)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        g, w = ctx.saved_tensors
        given, at = iter(grads), ctx.at
        x = tuple(
            next(given).contiguous() if want else g.new_zeros(*at.size, n, g.shape[3])
            for n, want in zip(at.parts, ctx.wanted, strict=True)
        )
        gg = _apply(_Output, w, None, None, 1.0, at, *x) if ctx.needs_input_grad[0] else None
        gw = _apply(_WeightGradient, g, tuple(w.shape), at, *x) if ctx.needs_input_grad[1] else None
        return gg, gw, None, None


def _input_gradient(
    g: Tensor, w: Tensor, at: _Geometry, wanted: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    """Gradients of the parts of the input, None for those that are not wanted."""
    made = iter(_InputGradient.apply(g, w, at, wanted))  # type: ignore[no-untyped-call]
    return tuple(next(made) if want else None for want in wanted)


class _WeightGradient(torch.autograd.Function):
    """Gradient of the weight: (g, parts of x) to a tensor of the shape of w."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, shape: tuple[int, ...], at: _Geometry, *parts: Tensor) -> Tensor:
        ctx.save_for_backward(g, *parts)
        ctx.at = at
        w = g.new_empty(shape)
        if usable(g, *parts):
            run("layer_weight", _passed(at, w.shape, g.shape[3]), addresses(parts), g, w)
            return w
        padded = _padded(torch.cat(parts, 2), at.padding).contiguous()
        for i in range(shape[1]):
            windows = _windows(padded, w, at.stride, i).transpose(2, 3)
            w[:, i] = torch.matmul(g, windows).reshape(w[:, i].shape)
        return w

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        g, *parts = ctx.saved_tensors
        w = grads[0].contiguous()
        wanted = tuple(ctx.needs_input_grad[3:])
        gx = _input_gradient(g, w, ctx.at, wanted) if any(wanted) else (None,) * len(parts)
        gg = _apply(_Output, w, None, None, 1.0, ctx.at, *parts) if ctx.needs_input_grad[0] else None
        return gg, None, None, *gx


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
    x: Tensor | Sequence[Tensor],
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    slope: float = 1.0,
    sign: Tensor | None = None,
) -> Tensor:
    r"""Apply windows with separate weights at each position.

    .. math::
        y_{b,o,h,w} = \beta_{o,h,w} + \sum_{i,j,c} W_{h,i,w,o,j,c}\; x_{b,\,c,\,h s_h + i - p_h,\,w s_w + j - p_w}

    Args:
        x: (B, C_in, H, W), or several tensors (B, C_k, H, W) whose channels together are those of x.
        weight: W, (H_out, kernel_height, W_out, C_out, kernel_width, C_in), in the order in which it is read.
        bias: :math:`\beta`, (H_out, W_out, C_out), or None.
        stride: Step s of the window along H and W.
        padding: Number p of zeros added on both sides of H and W.
        slope: Negative numbers of the output are multiplied by it (leaky ReLU).
        sign: Decides in place of the output, and of its shape, which numbers are multiplied by the slope.

    Returns:
        (B, C_out, H_out, W_out), with the batch innermost in memory.
    """
    parts = [part.permute(2, 3, 1, 0) for part in ([x] if isinstance(x, Tensor) else x)]
    if is_exporting():
        y = _gathered(_padded(torch.cat(parts, 2), padding), weight, stride)
        y = y if bias is None else y + bias[..., None]
        return functional.leaky_relu(y, slope).permute(3, 2, 0, 1) if slope != 1 else y.permute(3, 2, 0, 1)
    if len(parts) > MOST_PARTS:
        parts = [torch.cat(parts, 2)]
    height, width = parts[0].shape[:2]
    at = _Geometry(stride, padding, (height, width), tuple(part.shape[2] for part in parts))
    decides = None if sign is None else sign.permute(2, 3, 1, 0).contiguous()
    parts = [part.to(weight.dtype).contiguous() for part in parts]
    return _apply(_Output, weight.contiguous(), bias, decides, slope, at, *parts).permute(3, 2, 0, 1)


class LocallyConnected2d(nn.Module):
    r"""Locally connected layer: a convolution whose weights differ from position to position.

    .. math::
        y_{b,o,h,w} = \beta_{o,h,w} + \sum_{i,j,c} W_{h,i,w,o,j,c}\; x_{b,\,c,\,h s_h + i - p_h,\,w s_w + j - p_w}

    It works on images of one size, and has derivatives of any order (a gradient penalty needs the second). With `wrap`,
    the first axis is a circle, as the angle of polar layers: the row before the first one is the last.

    Args:
        in_channels: Number C_in of channels of the input.
        out_channels: Number C_out of filters at each position.
        size: Height H and width W of the input.
        kernel_size: Height and width of the window.
        stride: Step of the window along H and W.
        padding: Number of zeros added on both sides of H and W.
        bias: Whether each filter has a bias at each position.
        wrap: Whether H is a circle; its padding are then the rows of the other end.

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
        wrap: bool = False,
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
        self.wrapped = self.padding[0] if wrap else 0
        if self.wrapped > size[0]:
            raise ValueError(
                f"padding: expected at most the {size[0]} rows of a circle, got {self.wrapped}; make it smaller"
            )
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

    def forward(self, x: Tensor | Sequence[Tensor], *, slope: float = 1.0) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H_out, W_out), with a leaky ReLU of that slope for negative numbers.

        The channels of the input may be split over several tensors, which spares their concatenation.
        """
        self._check(x)
        return locally_connected2d(self._around(x), self.weight, self.bias, **self._steps(), slope=slope)

    def derivative(self, x: Tensor, *, slope: float, sign: Tensor) -> Tensor:
        """Derivative of the layer and its leaky ReLU along x, (B, C_in, H, W), where its output is `sign`."""
        self._check(x)
        return locally_connected2d(self._around(x), self.weight, **self._steps(), slope=slope, sign=sign)

    def weight_gradient(self, x: Tensor, g: Tensor) -> Tensor:
        """Derivative by the weight of sum(g * layer(x)), for x (B, C_in, H, W) and g (B, C_out, H_out, W_out)."""
        size = (self.size[0] + 2 * self.wrapped, self.size[1])
        at = _Geometry(**self._steps(), size=size, parts=(self.in_channels,))
        x = wrapped(x, self.wrapped)
        inner = [a.permute(2, 3, 1, 0).to(self.weight.dtype).contiguous() for a in (g, x)]
        return _apply(_WeightGradient, inner[0], tuple(self.weight.shape), at, inner[1])

    def _around(self, x: Tensor | Sequence[Tensor]) -> list[Tensor]:
        """The parts of an input, with rows of the other end if H is a circle."""
        return [wrapped(part, self.wrapped) for part in ([x] if isinstance(x, Tensor) else x)]

    def _steps(self) -> dict[str, Any]:
        """Steps of the window, and zeros around the image."""
        return {"stride": self.stride, "padding": (self.padding[0] - self.wrapped, self.padding[1])}

    def _check(self, x: Tensor | Sequence[Tensor]) -> None:
        """Check the shape of an input."""
        shapes = [tuple(part.shape) for part in ([x] if isinstance(x, Tensor) else x)]
        channels = sum(shape[1] for shape in shapes)
        if channels != self.in_channels or any(shape[2:] != tuple(self.size) for shape in shapes):
            raise ValueError(
                f"input: expected shape (batch, {self.in_channels}, {self.size[0]}, {self.size[1]}), "
                f"got {' and '.join(map(str, shapes))}; the layer is made for one image size"
            )

    def extra_repr(self) -> str:
        """Arguments of the constructor, for ``repr``."""
        return (
            f"{self.in_channels}, {self.out_channels}, size={self.size}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, bias={self.bias is not None}"
            + (", wrap=True" if self.wrapped else "")
        )


def _pair(value: int | Pair) -> Pair:
    """Repeat a single value for both axes."""
    return (value, value) if isinstance(value, int) else value
