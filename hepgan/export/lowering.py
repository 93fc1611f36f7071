"""A generator of observables as few matrices, in double precision: what is linear in a row becomes one.

`DllGenerator` is written for training: standardise, tents, probabilities, network, quantile transform, atoms. For
evaluation most of these steps are matrices next to each other, and every operation that is left costs a fraction of a
microsecond a track. `lower` multiplies them once; `Compact` runs the result for ONNX in single precision, and
`hepgan.export.lwtnn` writes it as dense layers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hepgan.models.dense import DllGenerator
from hepgan.transforms.angles import from_periodic, wrapped
from hepgan.transforms.quantiles import differences

__all__ = ["STEEP", "Compact", "Dense", "Lowered", "lower"]

STEEP = (
    2.0**40
)  # slope of a step; numbers near 1 are multiples of 2^-24 (float) or 2^-53, and either side is certain
_TINY = 1e-12

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Dense:
    """Weight (outputs, inputs) and bias (outputs,) of y = W x + b."""

    weight: Array
    bias: Array

    def after(self, inner: Dense) -> Dense:
        """This applied to what `inner` gives."""
        return Dense(self.weight @ inner.weight, self.weight @ inner.bias + self.bias)

    def part(self, columns: slice) -> Array:
        """The weight of some of the inputs."""
        return self.weight[:, columns]


@dataclass(frozen=True)
class Lowered:
    r"""The generator's matrices, and how they follow each other.

    With x the conditions (numbers standardised, categories as they are), z the latent numbers and u a uniform number:
    way = clip(`way` x, 0, 1); p = softmax(`chance_last` relu(`chance_first` [x, way]));
    passed = clip(`STEEP` (2u - 1 - `sides` p), 0, 1); h = leaky(`first` [x, way, z, passed]);
    h = h + leaky(`block` h) for each; y = `last` h, with angles for cosines and sines; v = `copies` relu(`bends` y),
    exponentiated or wrapped where it says so; targets = `collect` (v * `gate` passed).

    Attributes:
        log: (C,) which conditions enter as their logarithm.
        offset: (C,) what is subtracted of x or log x; categories: 0.
        scale: (C,) what it is divided by; categories: 1.
        leak: Slope of LeakyReLU below zero.
        angles: Which of y are angles.
        winding: What each of them is divided by.
        exponential: (n_copies,) which of v are exponentiated.
        angle: (n_copies,) which of v are angles.
        start: (n_copies,) where the turn of each angle begins.
    """

    log: NDArray[np.bool_]
    offset: Array
    scale: Array
    way: Dense
    chance_first: Dense
    chance_last: Dense
    sides: Array
    first: Dense
    blocks: tuple[Dense, ...]
    last: Dense
    leak: float
    angles: tuple[int, ...]
    winding: Array
    bends: Dense
    copies: Dense
    exponential: NDArray[np.bool_]
    angle: NDArray[np.bool_]
    start: Array
    gate: Dense
    collect: Array

    @property
    def n_passed(self) -> int:
        """Steps between the patterns of atoms and ties: one less than patterns."""
        return len(self.sides)


def _numpy(tensor: Tensor) -> Array:
    return tensor.detach().cpu().double().numpy()


def _dense(layer: nn.Module) -> Dense:
    return Dense(_numpy(layer.weight), _numpy(layer.bias))  # type: ignore[arg-type]


def _features(generator: DllGenerator) -> tuple[Dense, Dense]:
    """From x to the way, and from [x, way] to the features of the networks."""
    scaling, tents = generator.condition_scaling, generator.tents
    n = generator.n_conditions
    rows, biases = [], []  # of the way: for numbers the pieces between tents, then steps between categories
    place = _numpy(tents.place)
    slope = 1 / np.diff(place, axis=1)
    for k, column in enumerate(scaling.columns):
        rows.append(np.outer(slope[k], np.eye(n)[column]))
        biases.append(-slope[k] * place[k, :-1])
    n_pieces = slope.size
    indicators, constants = [], []
    n_way = n_pieces + sum(len(values) - 1 for values in scaling.categories.values())
    begin = n_pieces
    for column, values in scaling.categories.items():
        ordered = np.sort(values)
        steep = 4 / np.diff(ordered)
        rows.append(np.outer(steep, np.eye(n)[column]))
        biases.append(0.5 - steep * (ordered[1:] + ordered[:-1]) / 2)
        weight, bias = (_numpy(x) for x in differences(len(values) - 1))
        block = np.zeros((len(values), n + n_way))
        block[:, n + begin : n + begin + len(values) - 1] = weight
        order = np.argsort(np.argsort(values))
        indicators.append(block[order])
        constants.append(bias[order])
        begin += len(values) - 1
    tent = np.zeros((tents.n_features, n + n_way))
    tent[:, n : n + n_pieces] = _numpy(tents.weight)
    number = np.eye(n + n_way)[scaling.columns]
    features = Dense(
        np.concatenate([number, *indicators, tent]),
        np.concatenate([np.zeros(len(number)), *constants, _numpy(tents.bias)]),
    )
    return Dense(np.concatenate(rows), np.concatenate(biases)), features


def _atoms(generator: DllGenerator, steps: Dense, value: Dense) -> tuple[Dense, list[int], Dense, Array]:
    """Copies of the values and atoms, whose value each is (of an atom: -1), when it is on, and for which target."""
    code = generator.patterns.code.cpu().numpy()
    targets = code.shape[1]
    weights, biases, sources, on, collect = [], [], [], [], []
    for target in range(targets):
        for which in np.unique(code[:, target]):
            atom = which < 0
            weights.append(np.zeros(value.weight.shape[1]) if atom else value.weight[which])
            biases.append(
                np.float32(generator.patterns.atoms[target][-1 - which]) if atom else value.bias[which]
            )
            sources.append(-1 if atom else int(which))
            on.append(code[:, target] == which)
            collect.append(np.eye(targets)[target])
    gate = Dense(np.array(on, float), np.zeros(len(on))).after(steps)
    return (
        Dense(np.array(weights), np.array(biases, float)),
        sources,
        gate,
        np.array(collect).T,
    )


def lower(generator: DllGenerator) -> Lowered:
    """Multiply what can be multiplied beforehand."""
    scaling, quantile = generator.condition_scaling, generator.scaling
    n, k = generator.n_conditions, generator.patterns.n_patterns
    log, offset, scale = np.zeros(n, bool), np.zeros(n), np.ones(n)
    log[scaling.columns] = scaling.logarithmic.cpu().numpy()
    offset[scaling.columns], scale[scaling.columns] = _numpy(scaling.mean), _numpy(scaling.scale)
    way, features = _features(generator)
    steps = Dense(*(_numpy(x) for x in differences(k - 1)))  # from passed to the pattern
    first, n_features = _dense(generator.network.first), len(features.bias)
    seen = Dense(first.part(slice(n_features)), first.bias).after(features)
    pattern = Dense(first.part(slice(n_features, n_features + k)), seen.bias).after(steps)
    latent = np.zeros((len(first.bias), generator.n_latent))
    latent[:, : generator.model.latent] = first.part(slice(n_features + k, None))
    sign, bends = _numpy(quantile.sign), _numpy(quantile.bends)
    own = np.eye(generator.n_targets)
    copies, sources, gate, collect = _atoms(generator, steps, _quantile_values(generator))
    turn = dict(zip(quantile.angles, quantile.start.tolist(), strict=True))
    return Lowered(
        log=log,
        offset=offset,
        scale=scale,
        way=way,
        chance_first=_dense(generator.chance[0]).after(features),
        chance_last=_dense(generator.chance[2]),
        sides=2 * np.triu(np.ones((k, k - 1))).T - 1,
        first=Dense(np.concatenate([seen.weight, latent, pattern.weight], axis=1), pattern.bias),
        blocks=tuple(_dense(block) for block in generator.network.blocks),
        last=_dense(generator.network.last),
        leak=float(generator.network.activation.negative_slope),
        angles=tuple(quantile.angles),
        winding=_numpy(quantile.winding),
        bends=Dense(np.asarray(np.kron(own, sign[:, None]), np.float64), np.tile(-sign * bends, len(own))),
        copies=copies,
        exponential=np.array([k >= 0 and quantile.transforms[k] == "log" for k in sources]),
        angle=np.array([k in turn for k in sources]),
        start=np.array([turn.get(k, 0.0) for k in sources]),
        gate=gate,
        collect=collect,
    )


def _quantile_values(generator: DllGenerator) -> Dense:
    """From the rectified way along each quantile transform to the values."""
    quantile = generator.scaling
    table, grid, sign = _numpy(quantile.table), _numpy(quantile.grid), _numpy(quantile.sign)
    m = quantile.middle
    slope = np.diff(table, axis=1) / np.diff(grid)
    turn = np.concatenate(
        [slope[:, : m - 1] - slope[:, 1:m], slope[:, m - 1 : m + 1], slope[:, m + 1 :] - slope[:, m:-1]],
        axis=1,
    )
    own = np.eye(len(table))[:, :, None]
    return Dense((own * (sign * turn)[:, None]).reshape(len(table), -1), table[:, m])


class Compact(nn.Module):
    """The generator in single precision, in as few operations as ONNX needs.

    Args:
        generator: The one to compute like; its weights are copied.
    """

    def __init__(self, generator: DllGenerator) -> None:
        super().__init__()
        low = lower(generator)
        n, c = len(low.log), len(low.log)
        self.any_log, self.leak = bool(low.log.any()), low.leak
        self.exponential, self.angles = bool(low.exponential.any()), low.angles
        self.n_passed = low.n_passed
        self.n_blocks = len(low.blocks)
        # x / exp(offset) or x - offset: both exact to the last digit; what is left of the scaling is in the weights
        middle = np.where(low.log, np.exp(np.where(low.log, low.offset, 0)), 1)
        self._keep("centre", Dense(np.diag(1 / middle), -np.where(low.log, 0, low.offset)))
        entering = np.eye(n) / low.scale
        if self.any_log:
            entering = np.concatenate([entering * ~low.log, entering * low.log], axis=1)

        def seen(layer: Dense) -> Dense:
            return Dense(
                np.concatenate([layer.weight[:, :c] @ entering, layer.weight[:, c:]], axis=1), layer.bias
            )

        self._keep("way", seen(low.way))
        self._keep("chance_first", seen(low.chance_first))
        self._keep("chance_last", low.chance_last)
        self._keep("first", seen(low.first))
        for number, block in enumerate(low.blocks):
            self._keep(f"block_{number}", block)
        self._keep("last", low.last)
        self._keep("bends", low.bends)
        self._keep("copies", low.copies)
        self._keep("gate", low.gate)
        self._matrix("sides", low.sides)
        self._matrix("collect", low.collect)
        self._matrix("choice", np.eye(generator.n_latent)[-1:] / math.sqrt(2))
        self.register_buffer("exponentiated", torch.from_numpy(low.exponential))
        self.register_buffer("wound", torch.from_numpy(low.angle))
        self._matrix("start", low.start)
        self._matrix("winding", low.winding)

    def _matrix(self, name: str, values: Array) -> None:
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values)).float())

    def _keep(self, name: str, layer: Dense) -> None:
        self._matrix(name, layer.weight)
        self._matrix(f"{name}_bias", layer.bias)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.get_buffer(name), self.get_buffer(f"{name}_bias"))

    def _leaky(self, x: Tensor) -> Tensor:
        return nn.functional.leaky_relu(x, self.leak)

    def forward(self, condition: Tensor, latent: Tensor) -> tuple[Tensor]:
        """As the generator's."""
        x = self._linear("centre", condition)
        if self.any_log:
            x = torch.cat([x, torch.log(x.clamp(min=_TINY))], 1)
        parts = [x, self._linear("way", x).clamp(0, 1)]
        gate = None
        if self.n_passed:
            label = torch.cat(parts, 1)
            chance = torch.softmax(
                self._linear("chance_last", torch.relu(self._linear("chance_first", label))), 1
            )
            uniform = torch.erf(nn.functional.linear(latent, self.get_buffer("choice")))  # from -1 to 1
            steep = torch.addmm(uniform, chance, self.get_buffer("sides").T, beta=STEEP, alpha=-STEEP)
            passed = steep.clamp(0, 1)
            parts = [label, latent, passed]
            gate = self._linear("gate", passed)
        else:
            parts.append(latent)
        h = self._leaky(self._linear("first", torch.cat(parts, 1)))
        for number in range(self.n_blocks):
            h = h + self._leaky(self._linear(f"block_{number}", h))
        y = self._linear("last", h)
        if self.angles:
            y = from_periodic(y, self.angles, self.get_buffer("winding"))
        values = self._linear("copies", torch.relu(self._linear("bends", y)))
        if self.exponential:
            values = torch.where(self.get_buffer("exponentiated"), torch.exp(values), values)
        if self.angles:
            values = torch.where(self.get_buffer("wound"), wrapped(values, self.get_buffer("start")), values)
        if gate is not None:
            values = values * gate
        return (values @ self.get_buffer("collect").T,)
