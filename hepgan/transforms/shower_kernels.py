"""The compiled kernels of showers as functions with a derivative: energies from logarithms, features of showers.

They compute what `hepgan.transforms.showers.ShowerScaling` and `hepgan.transforms.shower_shapes.ShowerShapes` say, for
all numbers of a few events at once, in a tenth of the time.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hepgan.geometry import Calorimeter
from hepgan.transforms.kernels import run

__all__ = ["MOST_LAYERS", "ShowerSettings", "energies", "features"]

MOST_LAYERS = 128
"""Largest number of layers that the kernels take."""


class ShowerSettings(NamedTuple):
    """What the kernels need to know beside the showers.

    Attributes:
        calorimeter: The geometry.
        order: Indices of the layers from the least to the most energetic.
        overflow: Whether each layer has an overflow.
        offset: Offset of the logarithms, in the unit of the cells.
        floors: What is added to the variance of the positions in each layer.
        threshold: A cell counts as hit above this energy.
        softness: Scale of the derivative of the occupancy; 0 for none.
    """

    calorimeter: Calorimeter
    order: tuple[int, ...]
    overflow: bool
    offset: float
    floors: tuple[float, ...] = ()
    threshold: float = 0.0
    softness: float = 0.0


class _Passed(ctypes.Structure):
    """The struct Calorimeter of ``cpp/showers.cpp``."""

    _fields_ = [
        *((name, ctypes.c_long) for name in ("layers", "overflow", "batch")),
        *((name, ctypes.c_void_p) for name in ("first", "order", "x", "y", "floors")),
        *((name, ctypes.c_float) for name in ("offset", "threshold", "softness")),
    ]


@functools.lru_cache(maxsize=64)
def _arrays(settings: ShowerSettings) -> tuple[Any, ...]:
    """First cell of each layer, order of the layers, positions of the cells, floors: as arrays of C."""
    slices = settings.calorimeter.slices()
    first = (ctypes.c_long * (len(slices) + 1))(*(s.start for s in slices), slices[-1].stop)
    order = (ctypes.c_long * len(slices))(*settings.order)
    x, y = ((ctypes.c_float * len(c))(*c) for c in settings.calorimeter.cell_centres[:, :2].T.tolist())
    floors = (ctypes.c_float * len(slices))(*(settings.floors or [0.0] * len(slices)))
    return first, order, x, y, floors


@functools.lru_cache(maxsize=64)
def _passed(settings: ShowerSettings, batch: int) -> _Passed:
    """The struct for showers of a batch."""
    pointers = [ctypes.cast(array, ctypes.c_void_p) for array in _arrays(settings)]
    numbers = (settings.offset, settings.threshold, settings.softness)
    layers = settings.calorimeter.n_layers
    return _Passed(layers, layers if settings.overflow else 0, batch, *pointers, *numbers)


def _call(name: str, settings: ShowerSettings, batch: int, *tensors: Tensor | None) -> None:
    """Call a kernel of showers."""
    run(name, ctypes.byref(_passed(settings, batch)), *tensors)


class _Energies(torch.autograd.Function):
    """Energies of cells and overflow, (rows, B), from logarithms (V, B) and incident energies (B,)."""

    @staticmethod
    def forward(ctx: Any, logs: Tensor, incident: Tensor, settings: ShowerSettings) -> tuple[Tensor, Tensor]:
        layers, batch = settings.calorimeter.n_layers, logs.shape[1]
        cells = logs.new_empty(settings.calorimeter.n_cells, batch)
        overflow = logs.new_empty(layers if settings.overflow else 0, batch)
        raw = factors = None
        if ctx.needs_input_grad[0]:
            raw, factors = torch.empty_like(cells), logs.new_empty(2 * layers, batch)
            ctx.save_for_backward(logs, incident, raw, factors)
            ctx.settings = settings
        _call("shower_energies", settings, batch, logs, incident, cells, overflow, raw, factors)
        return cells, overflow

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        logs, incident, raw, factors = ctx.saved_tensors
        to = torch.empty_like(logs)
        cotangents = (g.contiguous() for g in grads)
        _call(
            "shower_energies_gradient",
            ctx.settings,
            logs.shape[1],
            logs,
            incident,
            *cotangents,
            raw,
            factors,
            to,
        )
        return to, None, None


class _Features(torch.autograd.Function):
    """Logarithms of all energies and shower shapes, (F, B), of cells and overflow (rows, B) at energies (B,)."""

    @staticmethod
    def forward(
        ctx: Any, cells: Tensor, overflow: Tensor, incident: Tensor, settings: ShowerSettings
    ) -> Tensor:
        layers, n = settings.calorimeter.n_layers, settings.calorimeter.n_cells
        outside = layers if settings.overflow else 0
        rows = layers + outside + n + 3 + 2 * layers + outside + 7 * layers
        result = cells.new_empty(rows, cells.shape[1])
        _call("shower_features", settings, cells.shape[1], cells, overflow, incident, result)
        ctx.save_for_backward(cells, overflow, incident)
        ctx.settings = settings
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        cells, overflow, incident = ctx.saved_tensors
        to = torch.empty_like(cells), torch.empty_like(overflow)
        g = grads[0].contiguous()
        _call("shower_features_gradient", ctx.settings, cells.shape[1], cells, overflow, incident, g, *to)
        return *to, None, None


def energies(logs: Tensor, incident: Tensor, settings: ShowerSettings) -> tuple[Tensor, Tensor]:
    """Energies of cells (n_cells, B) and overflow (n_overflow, B); `ShowerScaling.inverse` with the batch innermost.

    Args:
        logs: (V, B) variables.
        incident: (B,) incident energies.
        settings: Geometry, order of the layers, offset.
    """
    made: tuple[Tensor, Tensor] = _Energies.apply(logs.contiguous(), incident.contiguous(), settings)  # type: ignore[no-untyped-call]
    return made


def features(cells: Tensor, overflow: Tensor, incident: Tensor, settings: ShowerSettings) -> Tensor:
    """Variables of `ShowerScaling`, then shapes of `ShowerShapes`, (F, B), with the batch innermost.

    Args:
        cells: (n_cells, B).
        overflow: (n_overflow, B).
        incident: (B,) incident energies in the unit of the cells.
        settings: Geometry and settings of both.
    """
    arguments = (x.contiguous() for x in (cells, overflow, incident))
    made: Tensor = _Features.apply(*arguments, settings)  # type: ignore[no-untyped-call]
    return made
