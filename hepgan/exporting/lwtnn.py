"""Export of a track generator as a JSON file for lwtnn, the light inference library of LHC experiments.

`write` exports the same function as `hepgan.exporting.onnx`, from the same matrices (`hepgan.exporting.lowering`), as
dense layers in lwtnn's graph format (github.com/lwtnn/lwtnn, ``parse_json_graph``): inputs, nodes, layers, outputs.
Piecewise linear functions become rectified layers: clip(x, 0, 1) = 1 - relu(1 - relu(x)); a step is a steep clip; a
number times a gate of 0 or 1 is relu(x - off) - relu(-x - off), with `off` far above all numbers where the gate is 0.

lwtnn evaluates a node again for each node that reads it, so that each residual block would double the time. Hence there
is one chain of layers, which carries numbers that later layers need as relu(x) - relu(-x). Only the probabilities of
the point masses, which need a softmax, are computed beside it.

Two functions have no layers and are left to the caller, as input variables with other names than in the ONNX file: the
logarithm of a condition (``log_<name>``), and a uniform number (``uniform``) that chooses the point mass, where the
ONNX file takes a normal one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hepgan.config import DataConfig
from hepgan.errors import ConfigError
from hepgan.exporting.lowering import STEEP, Dense, Lowered, lower
from hepgan.exporting.onnx import describe
from hepgan.files import check_target, write_bytes
from hepgan.inference.checking import comparison
from hepgan.inference.metadata import Description
from hepgan.models.dense import DllGenerator

__all__ = ["write"]

_FAR = 2.0**60  # far above all targets; subtracted only from values that the gate removes
_DIGITS = 12  # of weights

Array = NDArray[np.float64]


class _Variable(NamedTuple):
    """An input of the file; the network takes (value + offset) * scale."""

    name: str
    offset: float
    scale: float


class _Network:
    """Nodes and layers of lwtnn's graph format, as the JSON file has them.

    Args:
        width: Numbers of the input, which is node 0.
    """

    def __init__(self, width: int) -> None:
        self.nodes: list[dict[str, Any]] = [{"type": "input", "sources": [0], "size": width}]
        self.layers: list[dict[str, Any]] = []

    def concatenate(self, *sources: int) -> int:
        """Append a node that joins the numbers of others; its position."""
        self.nodes.append({"type": "concatenate", "sources": list(sources)})
        return len(self.nodes) - 1

    def layer(self, source: int, dense: Dense, activation: str) -> int:
        """Append a dense layer of the numbers of a node; its position."""
        self.nodes.append({"type": "feed_forward", "sources": [source], "layer_index": len(self.layers)})
        self.layers.append(
            {
                "architecture": "dense",
                "weights": _decimals(dense.weight.ravel()),
                "bias": _decimals(dense.bias),
                "activation": activation,
            }
        )
        return len(self.nodes) - 1


class _Chain:
    """Dense layers one after the other. Numbers computed so far are linear maps of the numbers of the last layer.

    Args:
        network: The graph; the chain appends to it.
        source: The node where the chain begins.
    """

    def __init__(self, network: _Network, source: int) -> None:
        self.network, self.node = network, source

    def layer(self, dense: Dense, activation: str) -> None:
        """Append a layer of the numbers of the last one."""
        self.node = self.network.layer(self.node, dense, activation)

    def rectify(self, rectified: Sequence[Dense], carried: Sequence[Dense] = ()) -> list[Dense]:
        """Append a layer with relu of some numbers, which carries others unchanged.

        Args:
            rectified: Maps from the numbers of the last layer to those to rectify.
            carried: Maps to those that pass unchanged.

        Returns:
            Maps from the numbers of the new layer to all of them, `rectified` first.
        """
        parts = [*rectified, *carried, *map(_minus, carried)]
        self.layer(_stack(*parts), "rectified")
        sizes = [len(part.bias) for part in parts]
        one = np.eye(sum(sizes))
        picked = [Dense(part, np.zeros(len(part))) for part in np.split(one, np.cumsum(sizes)[:-1])]
        n, m = len(rectified), len(carried)
        return picked[:n] + [_add(picked[n + k], picked[n + m + k], -1) for k in range(m)]


def _identity(width: int) -> Dense:
    return Dense(np.eye(width), np.zeros(width))


def _stack(*parts: Dense) -> Dense:
    return Dense(np.concatenate([p.weight for p in parts]), np.concatenate([p.bias for p in parts]))


def _add(a: Dense, b: Dense, factor: float = 1.0) -> Dense:
    return Dense(a.weight + factor * b.weight, a.bias + factor * b.bias)


def _times(a: Dense, factor: float) -> Dense:
    return Dense(factor * a.weight, factor * a.bias)


def _minus(a: Dense) -> Dense:
    return Dense(-a.weight, -a.bias)


def _one_minus(a: Dense) -> Dense:
    return Dense(-a.weight, 1 - a.bias)


def _decimals(values: Array) -> list[float | int]:
    """Short decimals; whole numbers without a point."""
    return [int(v) if v == int(v) and abs(v) < 1e15 else float(f"{v:.{_DIGITS}g}") for v in values.tolist()]


def _network(low: Lowered, n_latent: int) -> _Network:
    """The network of a generator; its last node gives the targets.

    Args:
        low: Matrices of the generator.
        n_latent: Latent numbers. The input has the conditions, then these; the last one is the uniform number, if any.
    """
    n, steps = len(low.log), low.n_passed
    width = n + n_latent
    network = _Network(width)
    source, inputs = 0, _identity(width)
    if steps:
        source, inputs = _probabilities(network, low, width), _identity(width + steps + 1)
    chain = _Chain(network, source)
    x, latent = _rows(inputs, slice(n)), _rows(inputs, slice(n, width))
    probability, uniform = _rows(inputs, slice(width, None)), _rows(inputs, slice(width - 1, width))
    # 2u - 1 - sides p for each step
    above = Dense(-low.sides, -np.ones(steps)).after(probability) if steps else _rows(inputs, slice(0, 0))
    above = _add(above, Dense(np.repeat(uniform.weight, steps, 0), np.zeros(steps)), 2)
    way, passed, x, latent = chain.rectify([low.way.after(x), _times(above, STEEP)], [x, latent])
    way, passed, x, latent = chain.rectify([_one_minus(way), _one_minus(passed)], [x, latent])
    way, passed = _one_minus(way), _one_minus(passed)
    # 1 - gate, which is 0 or 1 and passes a rectified layer as it is
    off = _one_minus(low.gate.after(passed))
    inner = low.first.after(_stack(x, way, latent, passed))
    up, down, off = chain.rectify([inner, _minus(inner), off])
    h = _add(up, down, -low.leak)  # leaky(a) = relu(a) - leak * relu(-a)
    for block in low.blocks:
        inner = block.after(h)
        up, down, off, h = chain.rectify([inner, _minus(inner), off], [h])
        h = _add(h, _add(up, down, -low.leak))
    distance, off = chain.rectify([low.bends.after(low.last.after(h)), off])
    values, far = low.copies.after(distance), _times(off, _FAR)
    up, down = chain.rectify([_add(values, far, -1), _add(_minus(values), far, -1)])
    chosen = _add(up, down, -1)
    chain.layer(Dense(low.collect, np.zeros(len(low.collect))).after(chosen), "linear")
    return network


def _probabilities(network: _Network, low: Lowered, width: int) -> int:
    """Append the probabilities of the patterns; the position of a node with the input and them."""
    chain = _Chain(network, 0)
    x = _rows(_identity(width), slice(len(low.log)))
    way, x = chain.rectify([low.way.after(x)], [x])
    way, x = chain.rectify([_one_minus(way)], [x])
    (hidden,) = chain.rectify([low.chance_first.after(_stack(x, _one_minus(way)))])
    chain.layer(low.chance_last.after(hidden), "softmax")
    return network.concatenate(0, chain.node)


def _rows(dense: Dense, rows: slice) -> Dense:
    return Dense(dense.weight[rows], dense.bias[rows])


def _variables(low: Lowered, data: DataConfig, n_latent: int) -> list[_Variable]:
    """Conditions, then latent numbers."""
    conditions = [
        _Variable(f"log_{condition.name}" if log else condition.name, -offset, 1 / scale)
        for condition, log, offset, scale in zip(
            data.conditions, low.log, low.offset.tolist(), low.scale.tolist(), strict=True
        )
    ]
    names = [f"latent_{k}" for k in range(n_latent)]
    if low.n_passed:
        names[-1] = "uniform"
    return conditions + [_Variable(name, 0, 1) for name in names]


def _reference(
    generator: DllGenerator, low: Lowered, variables: list[_Variable], description: Description
) -> dict[str, Any]:
    """Variables of some tracks by name, and the targets that torch computes from them in double precision."""
    double = deepcopy(generator).double().eval()

    def run(*arrays: NDArray[Any]) -> list[Array]:
        with torch.no_grad():
            (targets,) = double(
                *(torch.from_numpy(a).double().to(double.condition_range.device) for a in arrays)
            )
        return [column[:, None] for column in targets.cpu().numpy().T]

    condition, latent, targets = comparison(run, description)
    inputs = np.concatenate([condition, latent], axis=1).astype(np.float64)
    logarithmic = np.flatnonzero(low.log)
    inputs[:, logarithmic] = np.log(inputs[:, logarithmic])
    if low.n_passed:
        inputs[:, -1] = torch.special.ndtr(torch.from_numpy(inputs[:, -1])).numpy()
    outputs = {o.name: column[:, 0].tolist() for o, column in zip(description.outputs, targets, strict=True)}
    return {
        "track": {v.name: column.tolist() for v, column in zip(variables, inputs.T, strict=True)},
        "targets": outputs,
    }


def _supported(generator: nn.Module, data: DataConfig) -> DllGenerator:
    """The generator, if lwtnn has layers for it.

    Raises:
        ConfigError: If not; names the model or target.
    """
    remedy = "use --format onnx"
    if not isinstance(generator, DllGenerator):
        raise ConfigError(
            "lwtnn: expected a dense generator of observables (DllGenerator), got "
            f"{type(generator).__name__}: lwtnn has no locally connected layers and no exponential; {remedy}"
        )
    for target in data.targets:
        if target.transform not in ("quantile", "linear"):
            raise ConfigError(
                f"lwtnn: target {target.name!r}: expected transform 'quantile' or 'linear', got {target.transform!r}: "
                f"lwtnn has no exponential and no remainder; train with another transform, or {remedy}"
            )
    return generator


def write(
    generator: nn.Module,
    path: str | Path,
    *,
    data: DataConfig,
    provenance: Mapping[str, Any],
    metrics: Mapping[str, Sequence[float]],
) -> None:
    """Export a track generator for lwtnn.

    The key ``hepgan``, which lwtnn passes over, describes the file: conditions with units and ranges, outputs,
    provenance, metrics, and reference vectors (variables by name and the expected outputs) in double precision.

    Args:
        generator: A `DllGenerator`.
        path: The file; an existing one is replaced.
        data: Data that the generator was trained on; names conditions and targets.
        provenance: Digests and step; versions and date are added.
        metrics: Headline metrics: (value, uncertainty) by name.

    Raises:
        ConfigError: If lwtnn has no layers for the generator.
        OSError: If `path` is no file, or cannot be written; nothing is left behind.
    """
    path = Path(path)
    check_target(path)
    generator = _supported(generator, data)
    low = lower(generator)
    n_latent = generator.n_latent
    network = _network(low, n_latent)
    variables = _variables(low, data, n_latent)
    description = describe(generator, data, provenance=provenance, metrics=metrics)
    document = {
        "inputs": [{"name": "track", "variables": [variable._asdict() for variable in variables]}],
        "input_sequences": [],
        "nodes": network.nodes,
        "layers": network.layers,
        "outputs": {
            "targets": {"labels": [t.name for t in data.targets], "node_index": len(network.nodes) - 1}
        },
        "hepgan": description.as_dict() | {"reference": _reference(generator, low, variables, description)},
    }
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    write_bytes(path, text.encode(), content="the model")
