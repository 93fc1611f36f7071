"""Dense and locally connected layers as one compiled function, and its derivatives.

A network is drawn once (`hepgan.models.wiring`). Compiled functions (``cpp/network.cpp``) then take it from the first
layer to the last for 64 events at a time, whose numbers stay in the cache; no number is copied or joined between
layers. Under bfloat16 autocast, where the processor multiplies such numbers, products are in half precision and sums in
single precision.

Because a network of leaky ReLUs is linear around almost every input, the derivatives of a gradient penalty follow from
two further passes (`Network.traced`).
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.autograd.graph import increment_version
from torch.optim.optimizer import register_optimizer_step_post_hook

from hepgan.models.piecewise import given
from hepgan.models.tables import Tables, tables
from hepgan.models.wiring import Wiring
from hepgan.transforms.kernels import addresses, run, usable

__all__ = ["Network", "has_half", "in_half"]

_EVENTS = 64  # of a block
_AT_ONCE = 512  # events of a pass without derivatives: its rows are needed no longer
_SIZES, _KEPT = 4, 4  # sizes of batches, and arrays of each, whose memory is kept
_PANEL, _TILE = 64, 16  # numbers of a panel, and of a vector, of blocks that are turned


def _noticed(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Count a step as a change of the weights, which fused optimizers do not."""
    for group in optimizer.param_groups:
        increment_version(group["params"])


register_optimizer_step_post_hook(_noticed)


class _Program(ctypes.Structure):
    """The struct Program of ``cpp/network.cpp``."""

    _fields_ = [
        ("steps", ctypes.c_void_p),
        ("n", ctypes.c_long),
        *((name, ctypes.c_void_p) for name in ("runs", "words", "biases", "factors")),
    ]


class _At(ctypes.Structure):
    """The struct Pass of ``cpp/network.cpp``."""

    _fields_ = [
        ("rows", ctypes.c_long),
        ("batch", ctypes.c_long),
        *((name, ctypes.c_void_p) for name in ("array", "other", "plain")),
    ]


class _Tiles(ctypes.Structure):
    """The struct Tiles of ``cpp/network.cpp``."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("x", "g")),
        *((name, ctypes.c_long) for name in ("n_x", "n_g")),
    ]


def _half() -> bool:
    """Whether autocast wants products in half precision."""
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.bfloat16


@functools.cache
def has_half() -> bool:
    """Whether there are compiled functions, for a processor that multiplies numbers in half precision."""
    if not usable():
        return False
    has = ctypes.c_int(0)
    run("network_has_half", ctypes.addressof(has))
    return bool(has.value)


class _Precision:
    """Tables of a network in one precision, and the weights in the order of reading."""

    def __init__(self, tables: Tables, parameters: list[Tensor]) -> None:
        self.tables, self.half = tables, int(tables.per == 2)
        self.sizes = (ctypes.c_long * len(parameters))(*(p.numel() for p in parameters))
        self.flat = torch.empty(2 + sum(self.sizes))
        self.versions: list[tuple[int, int]] = []  # of the parameters that were taken last
        self.words = torch.empty(len(tables.index) // tables.per)
        self.biases = torch.empty(len(tables.bias_index))
        panels = -(-tables.rows * tables.per // _PANEL) + 1
        self.turned = torch.zeros(2, panels, _EVENTS // tables.per, _PANEL + _TILE)
        x, g = tables.x_tiles, tables.g_tiles
        self.tiles = _Tiles(x.ctypes.data, g.ctypes.data, len(x), len(g))
        self.pool: dict[int, list[Tensor]] = {}  # by number of blocks; fresh memory costs as much as a pass
        self.made = torch.empty(tables.made + tables.rows * tables.per)

    def scale(self, batch: int) -> float:
        """What cotangents are multiplied by: that of a mean over events is then the same in a batch of any size.

        Half precision rounds it, and workers that share a batch shall round as one does.
        """
        return float(batch) if self.half else 1.0

    def program(self, steps: Any, n: int, *, biases: bool = True) -> Any:
        """The struct of some steps, with the weights that were taken last."""
        return _Program(
            steps.ctypes.data,
            n,
            self.tables.runs.ctypes.data,
            self.words.data_ptr(),
            self.biases.data_ptr() if biases else None,
            self.tables.factors.ctypes.data,
        )

    def rows(self, batch: int) -> Tensor:
        """Blocks of rows for a batch, (blocks, rows, 64), with any content."""
        free = self.pool.setdefault(-(-batch // _EVENTS), [])
        return free.pop() if free else torch.zeros(-(-batch // _EVENTS), self.tables.rows, _EVENTS)

    def release(self, *used: Tensor | None) -> None:
        """Take back blocks of rows that nobody uses any more."""
        for rows in used:
            if rows is not None:
                free = self.pool.pop(len(rows), [])
                self.pool[len(rows)] = [*free, rows][-_KEPT:]
        while len(self.pool) > _SIZES:
            del self.pool[next(iter(self.pool))]

    def take(self, parameters: list[Tensor]) -> None:
        """Take the weights of the moment, if they have changed."""
        versions = [(p.data_ptr(), p._version) for p in parameters]
        if versions == self.versions:
            return
        self.versions = versions
        index, biases = self.tables.index, self.tables.bias_index
        run(
            "network_words",
            self.half,
            addresses(parameters),
            ctypes.addressof(self.sizes),
            len(parameters),
            self.flat,
            index.ctypes.data,
            len(self.words),
            self.words,
            biases.ctypes.data,
            len(biases),
            self.biases,
        )


def in_half(*modules: Any) -> bool:
    """Whether all of these models have networks that compute in half precision, and on this processor."""
    networks = [getattr(module, "network", None) for module in modules]
    return has_half() and all(isinstance(network, Network) for network in networks)


class Network:
    """A network that is drawn on a `Wiring`.

    Args:
        draw: Draws it, in the precision of the wiring that it gets.
    """

    def __init__(self, draw: Callable[[Wiring], None]) -> None:
        self._draw = draw
        self._precisions: dict[int, _Precision] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Network:
        """A network of the copied layers, which draws itself when it is used."""
        return Network(deepcopy(self._draw, memo))

    @functools.cached_property
    def _wiring(self) -> Wiring:
        return self._drawn(1)

    def _drawn(self, per: int) -> Wiring:
        wiring = Wiring(per)
        self._draw(wiring)
        return wiring

    @functools.cached_property
    def parameters(self) -> list[Tensor]:
        """Weight and bias of each layer, in the order in which they are drawn."""
        return [p for layer in self._wiring.layers for p in (layer.weight, layer.bias)]

    @property
    def outputs(self) -> int:
        """Number S of outputs."""
        return len(self._wiring.outputs)

    def usable(self, x: Tensor) -> bool:
        """Whether the compiled functions can compute with this input in the precision that is wanted."""
        return usable(x, self.parameters[0]) and (
            not torch.is_autocast_enabled("cpu") or (_half() and has_half())
        )

    def precision(self) -> _Precision:
        """Tables in the precision that is wanted."""
        per = 2 if _half() else 1
        made = self._precisions.get(per)
        if made is None:
            wiring = self._wiring if per == 1 else self._drawn(per)
            made = self._precisions[per] = _Precision(tables(wiring), self.parameters)
        return made

    def filled(self, at: _Precision, table: Any, parts: tuple[Tensor, ...]) -> Tensor:
        """Blocks of rows (blocks, rows, 64) with parts (F_k, B) in their places."""
        batch = parts[0].shape[1]
        rows = at.rows(batch)
        parts = tuple(part if part.stride(1) == 1 else part.contiguous() for part in parts)
        pitch = (ctypes.c_long * len(parts))(*(part.stride(0) for part in parts))
        place = _At(at.tables.rows, batch, rows.data_ptr(), None, None)
        run(
            "network_filled",
            at.half,
            table.ctypes.data,
            len(table),
            addresses(parts),
            ctypes.addressof(pitch),
            ctypes.addressof(place),
        )
        return rows

    def output(self, at: _Precision, rows: Tensor, batch: int, *, signs: Tensor | None = None) -> Tensor:
        """Compute all rows from the inputs; with `signs`, the rows of another pass, the derivative there along them.

        Returns:
            Outputs (S, B).
        """
        at.take(self.parameters)
        made = rows.new_empty(self.outputs, batch)
        program = at.program(at.tables.forward, len(at.tables.forward), biases=signs is None)
        other = None if signs is None else signs.data_ptr()
        place = _At(at.tables.rows, batch, rows.data_ptr(), other, made.data_ptr())
        run("network_pass", at.half, ctypes.addressof(program), ctypes.addressof(place))
        return made

    def gradient(
        self, at: _Precision, rows: Tensor, cotangent: Tensor, *, inputs: bool
    ) -> tuple[Tensor, Tensor]:
        """Cotangents of all rows, under their curves, and of the inputs, from those of the outputs (S, B)."""
        batch = cotangent.shape[1]
        scale = at.scale(batch)
        gradients = self.filled(at, at.tables.seeds, (cotangent * scale,))
        at.take(self.parameters)
        wanted = [part.stop for part in at.tables.wanted if part is not None]
        made = rows.new_empty(max(wanted, default=0) if inputs else 0, batch)
        n = len(at.tables.backward) if inputs else at.tables.inner
        program = at.program(at.tables.backward, n)
        place = _At(at.tables.rows, batch, gradients.data_ptr(), rows.data_ptr(), made.data_ptr())
        run("network_pass", at.half, ctypes.addressof(program), ctypes.addressof(place))
        return gradients, made / scale

    def weights(self, at: _Precision, rows: Tensor, gradients: Tensor, *, scale: float) -> list[Tensor]:
        """Gradients of `parameters`, times a scale, from the rows of a pass and the cotangents of one."""
        made = [torch.empty_like(p) for p in self.parameters]
        tables = at.tables
        run(
            "network_weights",
            at.half,
            tables.outer.ctypes.data,
            len(tables.outer),
            ctypes.addressof(at.tiles),
            tables.rows,
            len(rows) * _EVENTS,
            rows,
            gradients,
            at.turned[0],
            at.turned[1],
            at.made,
            at.made[tables.made :],
            tables.gradient_index.ctypes.data,
            addresses(made),
            ctypes.addressof(at.sizes),
            len(made),
            scale,
        )
        return made

    def __call__(self, *parts: Tensor) -> Tensor:
        """Outputs (S, B) of inputs (F_k, B); first derivatives only."""
        if not torch.is_grad_enabled() and parts[0].shape[1] > _AT_ONCE:
            pieces = zip(*(torch.split(part, _AT_ONCE, 1) for part in parts), strict=True)
            return torch.cat([self(*piece) for piece in pieces], 1)
        made: Tensor = _Outputs.apply(self, _Pass(), len(parts), *parts, *self.parameters)  # type: ignore[no-untyped-call]
        return made

    def traced(self, *parts: Tensor) -> tuple[Tensor, Callable[..., Tensor]]:
        """Outputs (S, B) of inputs (F_k, B), and the function of directions (F_k, B) of `Trace.along`."""
        kept = _Pass()
        # without the parameters: the derivatives by them would be computed, and never used
        outputs: Tensor = _Outputs.apply(self, kept, len(parts), *parts)  # type: ignore[no-untyped-call]

        @torch.no_grad()
        def along(*directions: Tensor) -> Tensor:
            at = kept.at
            if at is None or kept.rows is None or kept.gradients is None:
                raise RuntimeError(
                    "expected the gradient of the traced sum by the input, got none; take it first"
                )
            batch = directions[0].shape[1]
            scale = at.scale(batch)
            rows = self.filled(at, at.tables.inputs, tuple(part * scale for part in directions))
            self.output(at, rows, batch, signs=kept.rows)
            made = self.weights(at, rows, kept.gradients, scale=1 / scale**2)
            at.release(rows)
            with torch.enable_grad():
                return given(made[::2], self.parameters[::2])

        return outputs, along


@dataclass
class _Pass:
    """Rows of a pass, and their gradients once they are computed."""

    at: _Precision | None = None
    rows: Tensor | None = None
    gradients: Tensor | None = None

    def __del__(self) -> None:
        if self.at is not None:
            self.at.release(self.rows, self.gradients)


class _Outputs(torch.autograd.Function):
    """Outputs (S, B) of a network; arguments are what to keep, the number n of inputs, n inputs, and the parameters."""

    @staticmethod
    def forward(ctx: Any, network: Network, kept: _Pass, n: int, *tensors: Tensor) -> Tensor:
        at = network.precision()
        rows = network.filled(at, at.tables.inputs, tensors[:n])
        outputs = network.output(at, rows, tensors[0].shape[1])
        kept.at, kept.rows = at, rows
        ctx.network, ctx.kept, ctx.n = network, kept, n
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        network, kept, n = ctx.network, ctx.kept, ctx.n
        wanted = ctx.needs_input_grad[3 : 3 + n]
        kept.gradients, by_input = network.gradient(kept.at, kept.rows, grads[0], inputs=any(wanted))
        parts = [
            by_input[rows] if want and rows is not None else None
            for rows, want in zip(kept.at.tables.wanted, wanted, strict=True)
        ]
        weights = any(ctx.needs_input_grad[3 + n :])
        none = [None] * (len(ctx.needs_input_grad) - 3 - n)
        scale = 1 / kept.at.scale(grads[0].shape[1])
        made = network.weights(kept.at, kept.rows, kept.gradients, scale=scale) if weights else none
        return (None, None, None, *parts, *made)
