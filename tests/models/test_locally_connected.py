"""LocallyConnected2d against a loop, its derivatives, and its memory layout."""

import doctest
import itertools

import pytest
import torch

from hepgan.models import locally_connected
from hepgan.models.locally_connected import LocallyConnected2d, _gathered, locally_connected2d

GEOMETRIES = [
    ((4, 7), (3, 3), (1, 1), (1, 1)),
    ((4, 7), (2, 3), (1, 2), (0, 1)),
    ((5, 6), (3, 2), (2, 3), (1, 0)),
    ((1, 4), (1, 1), (1, 1), (0, 0)),
]


def layer_of(size, kernel, stride, padding, *, bias=True, dtype=torch.float64):
    torch.manual_seed(3)
    return LocallyConnected2d(
        2, 3, size=size, kernel_size=kernel, stride=stride, padding=padding, bias=bias
    ).to(dtype)


def naive(layer, x):
    """The formula in the docstring, index by index."""
    (rows, columns), (sh, sw), (ph, pw) = layer.output_size, layer.stride, layer.padding
    y = torch.zeros(len(x), layer.out_channels, rows, columns, dtype=x.dtype)
    for b, o, h, w in itertools.product(
        range(len(x)), range(layer.out_channels), range(rows), range(columns)
    ):
        total = layer.bias[h, w, o].clone() if layer.bias is not None else torch.zeros((), dtype=x.dtype)
        for i, j, c in itertools.product(*map(range, layer.kernel_size), range(layer.in_channels)):
            r, s = h * sh + i - ph, w * sw + j - pw
            r = r % x.shape[2] if layer.wrapped else r
            if 0 <= r < x.shape[2] and 0 <= s < x.shape[3]:
                total = total + layer.weight[h, i, w, o, j, c] * x[b, c, r, s]
        y[b, o, h, w] = total
    return y


@pytest.mark.parametrize(("size", "kernel", "stride", "padding"), GEOMETRIES)
@pytest.mark.parametrize("bias", [True, False])
def test_equals_naive_loop(size, kernel, stride, padding, bias):
    layer = layer_of(size, kernel, stride, padding, bias=bias)
    x = torch.randn(2, 2, *size, dtype=torch.float64)
    torch.testing.assert_close(layer(x), naive(layer, x))
    assert layer(x).shape[2:] == layer.output_size


@pytest.mark.parametrize(("size", "kernel", "stride", "padding"), GEOMETRIES)
def test_first_and_second_derivatives(size, kernel, stride, padding):
    layer = layer_of(size, kernel, stride, padding)
    x = torch.randn(2, 2, *size, dtype=torch.float64, requires_grad=True)

    def function(x, weight, bias):
        return locally_connected2d(x, weight, bias, stride=stride, padding=padding)

    assert torch.autograd.gradcheck(function, (x, layer.weight, layer.bias))
    assert torch.autograd.gradgradcheck(function, (x, layer.weight, layer.bias))


@pytest.mark.parametrize(("rows", "stride"), [(6, 1), (6, 2), (1, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # with kernels, without
def test_the_ends_of_a_circle_are_neighbours(rows, stride, dtype):
    size, steps = (rows, 4), {"kernel_size": 3, "stride": (stride, 1), "padding": 1}
    layer = LocallyConnected2d(2, 3, size=size, wrap=True, **steps).to(dtype)
    x = torch.randn(5, 2, *size, dtype=dtype, requires_grad=True)
    y = layer(x, slope=0.1)
    expected = torch.nn.functional.leaky_relu(naive(layer, x), 0.1)
    torch.testing.assert_close(y, expected)
    g = torch.randn_like(y)
    mine = torch.autograd.grad(y, (x, layer.weight), g)
    torch.testing.assert_close(mine, torch.autograd.grad(expected, (x, layer.weight), g))
    with torch.no_grad():
        torch.testing.assert_close(layer.weight_gradient(x, g * torch.where(y > 0, 1, 0.1)), mine[1])
        along = torch.where(y > 0, 1, 0.1) * (naive(layer, x) - layer.bias.permute(2, 0, 1))
        torch.testing.assert_close(layer.derivative(x, slope=0.1, sign=y), along)


def test_turning_the_input_of_a_circle_turns_its_output():
    layer = LocallyConnected2d(1, 1, size=(6, 3), kernel_size=3, padding=1, wrap=True)
    with torch.no_grad():
        layer.weight.copy_(layer.weight[:1].expand_as(layer.weight))
        layer.bias.copy_(layer.bias[:1].expand_as(layer.bias))
        x = torch.randn(2, 1, 6, 3)
        torch.testing.assert_close(layer(x.roll(2, 2)), layer(x).roll(2, 2))


@pytest.mark.parametrize(("size", "kernel", "stride", "padding"), GEOMETRIES)
def test_exported_formulation_is_the_same_layer(size, kernel, stride, padding):
    layer = layer_of(size, kernel, stride, padding, bias=False)
    x = torch.randn(5, 2, *size, dtype=torch.float64)
    padded = torch.nn.functional.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    exported = _gathered(padded.permute(2, 3, 1, 0), layer.weight, stride).permute(3, 2, 0, 1)
    torch.testing.assert_close(exported, layer(x))


def test_equal_weights_everywhere_make_a_convolution():
    layer = layer_of((6, 5), (3, 3), (1, 1), (1, 1), bias=False)
    kernel = torch.randn(3, 2, 3, 3, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(kernel.permute(2, 0, 3, 1)[None, :, None])
    x = torch.randn(4, 2, 6, 5, dtype=torch.float64)
    torch.testing.assert_close(layer(x), torch.nn.functional.conv2d(x, kernel, padding=1))


def test_cells_do_not_share_weights():
    layer = layer_of((4, 4), (3, 3), (1, 1), (1, 1))
    layer(torch.ones(1, 2, 4, 4, dtype=torch.float64))[0, 0, 1, 1].backward()
    touched = layer.weight.grad.abs().sum((1, 3, 4, 5)) > 0
    assert touched.nonzero().tolist() == [[1, 1]]


def test_memory_layout_is_passed_on():
    layer = layer_of((4, 4), (3, 3), (1, 1), (1, 1))
    y = layer(torch.randn(8, 2, 4, 4, dtype=torch.float64))
    assert y.stride(0) == 1
    assert torch.relu(y).stride(0) == 1


def test_frozen_weights_still_pass_gradients_to_the_input():
    layer = layer_of((4, 4), (3, 3), (1, 1), (1, 1)).requires_grad_(False)
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is None


def test_wrong_input_is_named():
    layer = layer_of((4, 7), (3, 3), (1, 1), (1, 1))
    with pytest.raises(ValueError, match=r"expected shape \(batch, 2, 4, 7\), got \(1, 2, 7, 4\)"):
        layer(torch.zeros(1, 2, 7, 4, dtype=torch.float64))
    with pytest.raises(ValueError, match="larger than the padded input"):
        LocallyConnected2d(1, 1, size=(2, 2), kernel_size=5)


def test_repr_says_the_arguments():
    assert "2, 3, size=(4, 7), kernel_size=(3, 3)" in repr(layer_of((4, 7), (3, 3), (1, 1), (1, 1)))


def test_example_of_the_docstring_runs():
    assert doctest.testmod(locally_connected) == (0, 2)
