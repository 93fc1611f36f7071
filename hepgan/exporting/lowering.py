"""Fold consecutive linear operations of a track generator into single matrices, in double precision.

`DllGenerator` is written for training: standardise, tents, probabilities, network, quantile transform, atoms. Many of
these steps are consecutive linear maps, and each operation costs a fraction of a microsecond a track. `lower`
multiplies their matrices once. `Compact` runs the result for ONNX in single precision, and `hepgan.exporting.lwtnn`
writes it as dense layers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hepgan.models.dense import DllGenerator
from hepgan.models.piecewise import SLOPE
from hepgan.transforms.angles import from_periodic, wrapped
from hepgan.transforms.quantiles import differences

__all__ = ["STEEP", "Compact", "Dense", "Lowered", "lower"]

STEEP = 2.0**40
"""Slope of a step from 0 to 1. Numbers near 1 are multiples of 2^-24 (float) or 2^-53, so none lies on the slope."""

_TINY = 1e-12  # smallest condition of which the logarithm is taken

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Dense:
    """The linear map y = W x + b: weight W (outputs, inputs) and bias b (outputs,)."""

    weight: Array
    bias: Array

    def after(self, inner: Dense) -> Dense:
        """The map that applies `inner` first and then this one."""
        return Dense(self.weight @ inner.weight, self.weight @ inner.bias + self.bias)

    def part(self, columns: slice) -> Array:
        """Columns of the weight that belong to some of the inputs."""
        return self.weight[:, columns]


@dataclass(frozen=True)
class Lowered:
    r"""Matrices of a generator, in the order in which they are applied.

    With x the conditions (numbers standardised, categories as they are), z the latent numbers and u a uniform number:

    - way = clip(`way` x, 0, 1): how far x has come along each piece between nodes of tents, or between categories;
    - p = softmax(`chance_last` relu(`chance_first` [x, way])): probabilities of the patterns of atoms and ties;
    - passed = clip(`STEEP` (2u - 1 - `sides` p), 0, 1): 1 for each step between patterns below u, 0 for the others;
    - h = leaky(`first` [x, way, z, passed]), then h = h + leaky(`block` h) for each of `blocks`;
    - y = `last` h, with angles in place of their cosines and sines;
    - v = `copies` relu(`bends` y): values of continuous targets and of atoms, exponentiated or wrapped where
      `exponential` or `angle` is set;
    - targets = `collect` (v * `gate` passed).

    Attributes:
        log: (C,) whether a condition enters as its logarithm.
        offset: (C,) subtracted from x or log x; 0 for categories.
        scale: (C,) divides the difference; 1 for categories.
        leak: Slope of LeakyReLU below zero.
        angles: Positions in y of the A angles.
        winding: (A,) divides each angle.
        exponential: (n_copies,) whether an element of v is exponentiated.
        angle: (n_copies,) whether an element of v is an angle.
        start: (n_copies,) begin of the turn of each angle in rad; 0 for the others.
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
        """Number of steps between the patterns of atoms and ties: one less than patterns."""
        return len(self.sides)


def _numpy(tensor: Tensor) -> Array:
    return tensor.detach().cpu().double().numpy()


def _dense(layer: nn.Module) -> Dense:
    return Dense(_numpy(layer.weight), _numpy(layer.bias))  # type: ignore[arg-type]


def _features(generator: DllGenerator) -> tuple[Dense, Dense]:
    """Maps from x to the way, before it is clipped, and from [x, way] to the features that the networks take.

    The way has the pieces between tents of each number first, then the steps between categories.
    """
    scaling, tents = generator.condition_scaling, generator.tents
    n = generator.n_conditions
    weights, biases = [], []
    place = _numpy(tents.place)
    gap = np.diff(place, axis=1)
    slope = np.divide(1, gap, out=np.zeros_like(gap), where=gap > 0)  # 0 where nodes are merged
    for k, column in enumerate(scaling.columns):
        weights.append(np.outer(slope[k], np.eye(n)[column]))
        biases.append(-slope[k] * place[k, :-1])
    n_pieces = slope.size
    indicators, constants = [], []
    n_way = n_pieces + sum(len(values) - 1 for values in scaling.categories.values())
    begin = n_pieces
    for column, values in scaling.categories.items():
        ordered = np.sort(values)
        steep = 4 / np.diff(ordered)
        weights.append(np.outer(steep, np.eye(n)[column]))
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
    return Dense(np.concatenate(weights), np.concatenate(biases)), features


@dataclass(frozen=True)
class _Choices:
    """All values that some pattern can give to a target: continuous values and atoms.

    Attributes:
        copies: Map from the rectified numbers of the quantile transforms to the values.
        sources: Continuous target of each value; -1 for an atom.
        gate: Map from the steps passed to 1 for the values of the chosen pattern and 0 for the others.
        collect: (n_targets, n_copies) adds the values of each target.
    """

    copies: Dense
    sources: list[int]
    gate: Dense
    collect: Array


def _choices(generator: DllGenerator, steps: Dense, values: Dense) -> _Choices:
    """Values of each target in all patterns.

    Args:
        generator: The generator.
        steps: Map from the steps passed to the pattern, as 0 and 1.
        values: Map from the rectified numbers of the quantile transforms to the continuous targets.
    """
    patterns = generator.patterns
    code = patterns.code.cpu().numpy()
    targets = code.shape[1]
    weights, biases, sources, on, collect = [], [], [], [], []
    for target in range(targets):
        for entry in np.unique(code[:, target]):
            if entry < 0:
                weights.append(np.zeros(values.weight.shape[1]))
                biases.append(np.float32(patterns.atoms[target][-1 - entry]))
                sources.append(-1)
            else:
                weights.append(values.weight[entry])
                biases.append(values.bias[entry])
                sources.append(int(entry))
            on.append(code[:, target] == entry)
            collect.append(np.eye(targets)[target])
    return _Choices(
        copies=Dense(np.array(weights), np.array(biases, float)),
        sources=sources,
        gate=Dense(np.array(on, float), np.zeros(len(on))).after(steps),
        collect=np.array(collect).T,
    )


def lower(generator: DllGenerator) -> Lowered:
    """Multiply the matrices of a generator that follow each other."""
    scaling, quantile = generator.condition_scaling, generator.scaling
    n, k = generator.n_conditions, generator.patterns.n_patterns
    log, offset, scale = np.zeros(n, bool), np.zeros(n), np.ones(n)
    log[scaling.columns] = scaling.logarithmic.cpu().numpy()
    offset[scaling.columns], scale[scaling.columns] = _numpy(scaling.mean), _numpy(scaling.scale)
    way, features = _features(generator)
    steps = Dense(*(_numpy(x) for x in differences(k - 1)))  # from the steps passed to the pattern
    first, n_features = _dense(generator.network.first), len(features.bias)
    condition = Dense(first.part(slice(n_features)), first.bias).after(features)
    pattern = Dense(first.part(slice(n_features, n_features + k)), condition.bias).after(steps)
    latent = np.zeros((len(first.bias), generator.n_latent))
    latent[:, : generator.model.latent] = first.part(slice(n_features + k, None))
    sign, bends = _numpy(quantile.sign), _numpy(quantile.bends)
    own = np.eye(generator.n_targets)
    choices = _choices(generator, steps, _quantile_values(generator))
    turn = dict(zip(quantile.angles, quantile.start.tolist(), strict=True))
    return Lowered(
        log=log,
        offset=offset,
        scale=scale,
        way=way,
        chance_first=_dense(generator.chance[0]).after(features),
        chance_last=_dense(generator.chance[2]),
        sides=2 * np.triu(np.ones((k, k - 1))).T - 1,
        first=Dense(np.concatenate([condition.weight, latent, pattern.weight], axis=1), pattern.bias),
        blocks=tuple(_dense(block) for block in generator.network.blocks),
        last=_dense(generator.network.last),
        leak=SLOPE,
        angles=tuple(quantile.angles),
        winding=_numpy(quantile.winding),
        bends=Dense(np.asarray(np.kron(own, sign[:, None]), np.float64), np.tile(-sign * bends, len(own))),
        copies=choices.copies,
        exponential=np.array([k >= 0 and quantile.transforms[k] == "log" for k in choices.sources]),
        angle=np.array([k in turn for k in choices.sources]),
        start=np.array([turn.get(k, 0.0) for k in choices.sources]),
        gate=choices.gate,
        collect=choices.collect,
    )


def _quantile_values(generator: DllGenerator) -> Dense:
    """Map from the rectified distances to the bends of each quantile transform to the values of the targets."""
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
    """A copy of a generator in single precision, in as few operations as possible in ONNX.

    Args:
        generator: The generator; its weights are copied.
    """

    def __init__(self, generator: DllGenerator) -> None:
        super().__init__()
        low = lower(generator)
        n = len(low.log)
        self.any_log, self.leak = bool(low.log.any()), low.leak
        self.exponential, self.angles = bool(low.exponential.any()), low.angles
        self.n_passed = low.n_passed
        self.n_blocks = len(low.blocks)
        # x / exp(offset) and x - offset are exact to the last digit; the next weights contain the rest of the scaling
        middle = np.where(low.log, np.exp(np.where(low.log, low.offset, 0)), 1)
        self._keep("centre", Dense(np.diag(1 / middle), -np.where(low.log, 0, low.offset)))
        scaling = np.eye(n) / low.scale
        if self.any_log:
            scaling = np.concatenate([scaling * ~low.log, scaling * low.log], axis=1)

        def scaled(layer: Dense) -> Dense:
            """The layer with the scaling of its first n inputs."""
            conditions, others = layer.weight[:, :n] @ scaling, layer.weight[:, n:]
            return Dense(np.concatenate([conditions, others], axis=1), layer.bias)

        self._keep("way", scaled(low.way))
        self._keep("chance_first", scaled(low.chance_first))
        self._keep("chance_last", low.chance_last)
        self._keep("first", scaled(low.first))
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
        """Map conditions (B, C) and latent numbers (B, n_latent) to targets (B, n_targets), all in physical units."""
        x = self._linear("centre", condition)
        if self.any_log:
            x = torch.cat([x, torch.log(x.clamp(min=_TINY))], 1)
        parts = [x, self._linear("way", x).clamp(0, 1)]
        gate = None
        if self.n_passed:
            features = torch.cat(parts, 1)
            chance = torch.softmax(
                self._linear("chance_last", torch.relu(self._linear("chance_first", features))), 1
            )
            uniform = torch.erf(nn.functional.linear(latent, self.get_buffer("choice")))  # from -1 to 1
            steep = torch.addmm(uniform, chance, self.get_buffer("sides").T, beta=STEEP, alpha=-STEEP)
            passed = steep.clamp(0, 1)
            parts = [features, latent, passed]
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
