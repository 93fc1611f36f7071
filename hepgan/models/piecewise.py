"""Layers followed by leaky ReLUs, and derivatives of a network of them along a direction.

Such a network is linear around almost every input: each leaky ReLU multiplies by 1 or by its slope. `Trace` remembers
which at a batch. A gradient penalty then needs no second derivatives, see `hepgan.objectives.linear_gradient_penalty`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["SLOPE", "Step", "Trace", "activated", "given", "sloped"]

SLOPE = 0.1
"""Slope of all leaky ReLUs for negative numbers."""

Step = Callable[[Any, Tensor, float], Tensor]
"""Applies a layer and a leaky ReLU of a slope (1: none) to an input, as `activated` does."""


def sloped(y: Tensor, sign: Tensor, slope: float) -> Tensor:
    """Numbers y, times the slope where `sign` is not positive."""
    # many times as fast as torch.where
    result: Tensor = torch.ops.aten.leaky_relu_backward(y, sign, slope, False)
    return result


def activated(layer: Any, x: Tensor, slope: float) -> Tensor:
    """Apply a layer, dense or on images, and a leaky ReLU of a slope; 1: none."""
    if not isinstance(layer, nn.Linear):
        y: Tensor = layer(x, slope=slope)
        return y
    y = layer(x)
    return y if slope == 1 else functional.leaky_relu(y, slope)


@dataclass
class _Passed:
    """What is remembered of a layer: its output, and the derivative of the network's value by it."""

    layer: Any
    output: Tensor
    cotangent: Tensor | None = None


class Trace:
    """The outputs of a network's layers at one batch, and what follows from them for the network's derivatives.

    Run the network with `record` for its steps and take the gradient of a sum of its outputs by its input. `along` then
    gives the derivative of the gradient's product with a fixed direction by each weight.
    """

    def __init__(self) -> None:
        self._passed: list[_Passed] = []

    def record(self, layer: Any, x: Tensor, slope: float) -> Tensor:
        """Apply a layer and a leaky ReLU, and remember the output and, later, the derivative by it."""
        y = activated(layer, x, slope)
        passed = _Passed(layer, y.detach())
        self._passed.append(passed)

        def keep(cotangent: Tensor) -> None:
            passed.cotangent = cotangent

        y.register_hook(keep)  # type: ignore[no-untyped-call]
        return y

    def along(self, network: Callable[[Tensor, Step], Tensor], direction: Tensor) -> Tensor:
        """Zero, whose derivative by each weight is that of (gradient of the recorded sum) * direction, summed.

        Args:
            network: The network that was recorded, a function of an input and a step.
            direction: Of the shape of the network's input.
        """
        layers = iter(self._passed)
        gradients: list[Tensor] = []

        def derivative(layer: Any, x: Tensor, slope: float) -> Tensor:
            passed = next(layers)
            if passed.cotangent is None:
                raise RuntimeError(
                    "expected the gradient of the recorded sum by the input, got none; take it first"
                )
            g = sloped(passed.cotangent, passed.output, slope)
            gradients.append(_weight_gradient(layer, x, g))
            return _without_bias(layer, x, passed.output, slope)

        with torch.no_grad():
            network(direction, derivative)
        return given(gradients, [passed.layer.weight for passed in self._passed])


def _weight_gradient(layer: Any, x: Tensor, g: Tensor) -> Tensor:
    """Derivative of sum(g * layer(x)) by the weight of the layer."""
    if isinstance(layer, nn.Linear):
        return g.T @ x.to(g.dtype)
    made: Tensor = layer.weight_gradient(x, g)
    return made


def _without_bias(layer: Any, x: Tensor, sign: Tensor, slope: float) -> Tensor:
    """Apply the linear part of a layer, and the slope where `sign` is negative."""
    if isinstance(layer, nn.Linear):
        return sloped(functional.linear(x, layer.weight), sign, slope)
    made: Tensor = layer.derivative(x, slope=slope, sign=sign)
    return made


def given(derivatives: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """Zero whose derivative by each of the weights is given."""
    zero: Tensor = _Given.apply(len(derivatives), *derivatives, *weights)  # type: ignore[no-untyped-call]
    return zero


class _Given(torch.autograd.Function):
    """Zero with given derivatives: arguments are their number n, n derivatives, and the n tensors they are by."""

    @staticmethod
    def forward(ctx: Any, n: int, *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(*tensors[:n])
        ctx.n = n
        return tensors[n].new_zeros(())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (None, *[None] * ctx.n, *(grads[0] * derivative for derivative in ctx.saved_tensors))
