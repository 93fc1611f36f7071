"""The generator of observables as a JSON file for lwtnn, the light inference library of LHC experiments.

`write` exports the same function as `hepgan.export.onnx`, from the same matrices (`hepgan.export.lowering`), as dense
layers in lwtnn's graph format (github.com/lwtnn/lwtnn, ``parse_json_graph``): inputs, nodes, layers, outputs. Whatever
is piecewise linear becomes rectified layers: clip(x, 0, 1) = 1 - relu(1 - relu(x)); a step is a steep clip; a number
times a gate of 0 or 1 is relu(x - off) - relu(-x - off), with `off` far above all numbers where the gate is 0.

lwtnn evaluates a graph without keeping what several nodes share: each residual block would double its time. Hence
there is one chain of layers, through which numbers that are needed later are carried as relu(x) - relu(-x), and only
the probabilities of the point masses, which need a softmax of their own, come in from the side.

What cannot be a layer is a variable with a clear name: the logarithm of a condition (``log_<name>``), and the choice of
the point mass as a uniform number (``uniform``) where the ONNX file takes a normal one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hepgan.config import DataConfig
from hepgan.export.lowering import STEEP, Dense, Lowered, lower
from hepgan.export.onnx import describe, put
from hepgan.files import check_target
from hepgan.inference.checking import comparison
from hepgan.inference.metadata import Description
from hepgan.models.dense import DllGenerator

__all__ = ["write"]

_FAR = 2.0**60  # far above all targets, and lost in a sum of doubles only where it is meant to be
_DIGITS = 12  # of weights

Array = NDArray[np.float64]


class _Chain:
    """Dense layers one after the other; what was computed so far is linear in the numbers of the last layer.

    Args:
        source: The node where it begins.
        width: Numbers of that node.
        nodes: The graph's nodes; the chain appends to them.
        layers: The graph's layers, likewise.
    """

    def __init__(self, source: int, width: int, nodes: list[Any], layers: list[Any]) -> None:
        self.node, self.nodes, self.layers = source, nodes, layers
        self.now = Dense(np.eye(width), np.zeros(width))

    def layer(self, dense: Dense, activation: str) -> None:
        """Append a layer of the numbers of the last one."""
        self.nodes.append({"type": "feed_forward", "sources": [self.node], "layer_index": len(self.layers)})
        self.node = len(self.nodes) - 1
        self.layers.append(
            {
                "architecture": "dense",
                "weights": _decimals(dense.weight.ravel()),
                "bias": _decimals(dense.bias),
                "activation": activation,
            }
        )

    def rectify(self, rectified: Sequence[Dense], carried: Sequence[Dense] = ()) -> list[Dense]:
        """Append relu of some expressions; others pass unchanged. All of them as expressions of the new layer."""
        rows = [*rectified, *carried, *map(_minus, carried)]
        self.layer(_stack(*rows), "rectified")
        sizes = [len(row.bias) for row in rows]
        one = np.eye(sum(sizes))
        picked = [Dense(part, np.zeros(len(part))) for part in np.split(one, np.cumsum(sizes)[:-1])]
        n, m = len(rectified), len(carried)
        return picked[:n] + [_add(picked[n + k], picked[n + m + k], -1) for k in range(m)]


def _stack(*parts: Dense) -> Dense:
    return Dense(np.concatenate([p.weight for p in parts]), np.concatenate([p.bias for p in parts]))


def _add(a: Dense, b: Dense, factor: float = 1.0) -> Dense:
    return Dense(a.weight + factor * b.weight, a.bias + factor * b.bias)


def _minus(a: Dense) -> Dense:
    return Dense(-a.weight, -a.bias)


def _one_minus(a: Dense) -> Dense:
    return Dense(-a.weight, 1 - a.bias)


def _decimals(values: Array) -> list[float | int]:
    """Short decimals; whole numbers without a point."""
    return [int(v) if v == int(v) and abs(v) < 1e15 else float(f"{v:.{_DIGITS}g}") for v in values.tolist()]


def _graph(low: Lowered, n_latent: int) -> tuple[list[Any], list[Any]]:
    """Nodes and layers; the last node gives the targets. Input: x, latent numbers, and the uniform number if any."""
    n, steps = len(low.log), low.n_passed
    width = n + n_latent  # the last latent number is the uniform one
    nodes: list[Any] = [{"type": "input", "sources": [0], "size": width}]
    layers: list[Any] = []
    every = Dense(np.eye(width), np.zeros(width))
    if steps:
        chance = _Chain(0, width, nodes, layers)
        x = _rows(every, slice(n))
        ways, x = chance.rectify([low.way.after(x)], [x])
        ways, x = chance.rectify([_one_minus(ways)], [x])
        (hidden,) = chance.rectify([low.chance_first.after(_stack(x, _one_minus(ways)))])
        chance.layer(low.chance_last.after(hidden), "softmax")
        nodes.append({"type": "concatenate", "sources": [0, chance.node]})
        every = Dense(np.eye(width + steps + 1), np.zeros(width + steps + 1))
    chain = _Chain(len(nodes) - 1, len(every.bias), nodes, layers)
    x, latent = _rows(every, slice(n)), _rows(every, slice(n, width))
    probability, uniform = _rows(every, slice(width, None)), _rows(every, slice(width - 1, width))
    # 2u - 1 - sides p for each step
    above = Dense(-low.sides, -np.ones(steps)).after(probability) if steps else _rows(every, slice(0, 0))
    above = _add(above, Dense(np.repeat(uniform.weight, steps, 0), np.zeros(steps)), 2)
    ways, passed, x, latent = chain.rectify(
        [low.way.after(x), Dense(STEEP * above.weight, STEEP * above.bias)], [x, latent]
    )
    ways, passed, x, latent = chain.rectify([_one_minus(ways), _one_minus(passed)], [x, latent])
    passed = _one_minus(passed)
    # 1 - gate, which is 0 or 1 and passes a rectified layer as it is
    off = _one_minus(low.gate.after(passed))
    inner = low.first.after(_stack(x, _one_minus(ways), latent, passed))
    up, down, off = chain.rectify([inner, _minus(inner), off])
    h = _add(up, down, -low.leak)  # leaky(a) = relu(a) - leak * relu(-a)
    for block in low.blocks:
        inner = block.after(h)
        up, down, off, h = chain.rectify([inner, _minus(inner), off], [h])
        h = _add(h, _add(up, down, -low.leak))
    way, off = chain.rectify([low.bends.after(low.last.after(h)), off])
    values = low.copies.after(way)
    far = Dense(_FAR * off.weight, _FAR * off.bias)
    up, down = chain.rectify([_add(values, far, -1), _add(_minus(values), far, -1)])
    picked = _add(up, down, -1)
    chain.layer(Dense(low.collect, np.zeros(len(low.collect))).after(picked), "linear")
    return nodes, layers


def _rows(dense: Dense, rows: slice) -> Dense:
    return Dense(dense.weight[rows], dense.bias[rows])


def _variables(low: Lowered, data: DataConfig, n_latent: int) -> list[dict[str, Any]]:
    """Names of the inputs, and what lwtnn does to them: (value + offset) * scale."""
    variables = [
        {"name": f"log_{c.name}" if log else c.name, "offset": -offset, "scale": 1 / scale}
        for c, log, offset, scale in zip(
            data.conditions, low.log, low.offset.tolist(), low.scale.tolist(), strict=True
        )
    ]
    names = [f"latent_{k}" for k in range(n_latent)]
    if low.n_passed:
        names[-1] = "uniform"
    return variables + [{"name": name, "offset": 0, "scale": 1} for name in names]


def _reference(
    generator: DllGenerator, low: Lowered, variables: list[dict[str, Any]], description: Description
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
        "track": {v["name"]: column.tolist() for v, column in zip(variables, inputs.T, strict=True)},
        "targets": outputs,
    }


def _refuse(generator: nn.Module, data: DataConfig) -> DllGenerator:
    """What lwtnn cannot express.

    Raises:
        ValueError: Naming it.
    """
    remedy = "use --format onnx"
    if not isinstance(generator, DllGenerator):
        raise ValueError(
            "lwtnn: expected a dense generator of observables (DllGenerator), got "
            f"{type(generator).__name__}: lwtnn has no locally connected layers and no exponential; {remedy}"
        )
    for target in data.targets:
        if target.transform not in ("quantile", "linear"):
            raise ValueError(
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
    """Export a generator of observables for lwtnn.

    The key ``hepgan``, which lwtnn passes over, says what the file is: conditions with units and ranges, outputs,
    provenance, metrics, and reference vectors (variables by name and the expected outputs) in double precision.

    Args:
        generator: A `DllGenerator`.
        path: The file; an existing one is replaced.
        data: What it was trained on; names conditions and targets.
        provenance: Digests and step; versions and date are added.
        metrics: Headline metrics: (value, uncertainty) by name.

    Raises:
        ValueError: If lwtnn has no layers for it.
        OSError: If `path` is no file, or cannot be written; nothing is left behind.
    """
    path = Path(path)
    check_target(path)
    generator = _refuse(generator, data)
    low = lower(generator)
    n_latent = generator.n_latent
    nodes, layers = _graph(low, n_latent)
    variables = _variables(low, data, n_latent)
    description = describe(generator, data, provenance=provenance, metrics=metrics)
    document = {
        "inputs": [{"name": "track", "variables": variables}],
        "input_sequences": [],
        "nodes": nodes,
        "layers": layers,
        "outputs": {"targets": {"labels": [t.name for t in data.targets], "node_index": len(nodes) - 1}},
        "hepgan": description.as_dict() | {"reference": _reference(generator, low, variables, description)},
    }
    put(path, json.dumps(document, allow_nan=False, separators=(",", ":")).encode())
