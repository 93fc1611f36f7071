"""One ONNX file that takes and gives physical units and says of itself what it is.

`write` exports a generator. Inputs: ``condition`` (B, n_conditions) and ``latent`` (B, n_latent). Outputs of showers:
one a calorimeter layer, (B, n_x, n_y), and ``overflow`` (B, n_layers) if there is any; of observables: one a target,
(B, 1). The entry ``hepgan`` of the file's metadata is JSON: conditions with units and ranges, outputs, geometry,
provenance, headline metrics, reference vectors and a digest of the weights. `OnnxGenerator` opens and runs such a file;
export/include/hepgan/generator.hpp does the same in C++. What differs between the two kinds is in `_KINDS`.

Opset 17 and IR version 8 load on every ONNX Runtime since 1.15. Of torch's two exporters only the one based
on TorchScript emits opset 17: the other one starts at 18, and ONNX has no adapter back for ``Pad``.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from pydantic import ValidationError
from torch import Tensor, nn

import hepgan
from hepgan.config import ConditionConfig, DataConfig
from hepgan.export.lowering import Compact
from hepgan.files import check_target, written
from hepgan.geometry import Calorimeter
from hepgan.inference import noise
from hepgan.inference.targets import lint
from hepgan.models.dense import DllGenerator

__all__ = [
    "BATCH_SIZE",
    "OPERATORS",
    "OPSET",
    "SCHEMA",
    "TOLERANCE",
    "Condition",
    "OnnxGenerator",
    "build",
    "write",
]

SCHEMA = 1  # of the JSON; raised when a reader of the old one would go wrong
OPSET = 17
IR_VERSION = 8
TOLERANCE = 1e-5  # largest relative difference from torch, see `_difference`

_COMMON = (
    "Abs Add Atan Cast Clip Concat Constant ConstantOfShape Conv Cos Div Elu Equal Erf Exp Expand Flatten "
    "Floor Gather Gemm Greater GreaterOrEqual Identity LeakyRelu Less LessOrEqual Log MatMul Max Mean Min "
    "Mul Neg Not Pad Pow Range Reciprocal ReduceL2 ReduceMax ReduceMean ReduceProd ReduceSum "
    "ReduceSumSquare Relu Reshape Selu Shape Sigmoid Sin Slice Softmax Softplus Split Sqrt Squeeze Sub "
    "Sum Tanh Transpose Unsqueeze Where"
)
OPERATORS = frozenset(_COMMON.split())
"""Operators that ONNX Runtime, ROOT's TMVA SOFIE, onnx2c (`hepgan.inference.targets`) and onnx-mlir all implement.

For onnx-mlir see its page SupportedONNXOps-cpu.
"""

_KEY = "hepgan"
_REFERENCE_ROWS = 4  # at least; one for each category
_ATTEMPTS = 20  # to find rows that do not jump; each leaves one in a hundred
_REFERENCE_SEED = 20170505  # any number; fixed so that the same weights give the same file
_PARITY_ROWS = 64
_NEGLIGIBLE = 1e-3  # of the shower's largest number: what is smaller counts as this when errors are divided
_NUDGE = (
    1e-3  # step of the latent numbers, of which the last may choose between point masses: a row must not jump
)
_JUMP = 1e-2  # relative difference that counts as one
_FAR = 20.0  # scales between an atom and the middle of the other values, from which on it is a sentinel
_ROUNDING_DIGITS = 3  # of the trained range, outwards
BATCH_SIZE = 128  # showers a run

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Condition:
    """An input of the generator: name, unit, how its logarithm enters, and where it was trained.

    A category has the value of each name instead of a range.
    """

    name: str
    unit: str
    transform: str
    low: float
    high: float
    categories: dict[str, float] = field(default_factory=dict)
    integer: bool = False

    @property
    def expected(self) -> str:
        """The values that are accepted, in words."""
        if self.categories:
            return "one of " + ", ".join(f"{name} = {value:g}" for name, value in self.categories.items())
        return f"{self.low:g} to {self.high:g}{self.unit and ' '}{self.unit} (the trained range)"

    def knows(self, values: Float32) -> NDArray[np.bool_]:
        """Which of (B,) values are accepted."""
        if self.categories:
            return np.isin(values, np.asarray(list(self.categories.values()), np.float32))
        return (values >= np.float32(self.low)) & (values <= np.float32(self.high))

    def spanning(self, rows: int) -> NDArray[np.float64]:
        """(rows,) values from end to end of the range, or each category in turn."""
        if self.categories:
            return np.resize(list(self.categories.values()), rows)
        values = (np.geomspace if self.transform == "log" else np.linspace)(self.low, self.high, rows)
        return np.round(values) if self.integer else values

    def as_dict(self) -> dict[str, Any]:
        """As the metadata has it."""
        ends = {"range": [self.low, self.high]} | ({"integer": True} if self.integer else {})
        known = {"categories": self.categories} if self.categories else {}
        return {"name": self.name, "unit": self.unit, "transform": self.transform, **ends, **known}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Condition:
        """Undo `as_dict`."""
        low, high = entry["range"]
        known = {key: entry[key] for key in ("categories", "integer") if key in entry}
        return cls(entry["name"], entry["unit"], entry["transform"], low, high, **known)


class _Outputs(nn.Module):
    """The generator with one output a layer or target, as the file has it."""

    def __init__(self, generator: nn.Module, split: Callable[..., tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.generator, self.split = generator, split

    def forward(self, condition: Tensor, latent: Tensor) -> tuple[Tensor, ...]:
        """Map (B, n_conditions) and (B, n_latent) to (B, *shape) for each output."""
        return self.split(self.generator, *self.generator(condition, latent))


def _differences(
    outputs: Sequence[Float32], expected: Sequence[Float32], described: Sequence[Mapping[str, Any]]
) -> NDArray[Any]:
    """Largest relative difference (B,) of each shower or track.

    The difference in each output is divided by the largest number of that output, or by a smallest size if that is
    more: the target's ``scale``, or `_NEGLIGIBLE` of the shower's largest number. Energies near zero are differences
    exp(y) - 1, and targets sums of large numbers, which float32 does not know better.
    """
    flat = [np.abs(e).reshape(len(e), -1).max(1) for e in expected]
    brightest = np.max(flat, axis=0)
    worst = np.zeros(len(brightest))
    for got, want, size, output in zip(outputs, expected, flat, described, strict=True):
        with np.errstate(invalid="ignore"):  # infinity - infinity: NaN is what it should be
            error = np.abs(got - want).reshape(len(want), -1).max(1)
        size = np.maximum(size, output.get("scale", _NEGLIGIBLE * brightest))
        worst = np.maximum(worst, error / np.maximum(size, np.finfo(np.float32).tiny))
    return worst


def _numbers(array: Any) -> Any:
    """Nested lists of the shortest decimals that give the same float32."""
    if isinstance(array, np.ndarray) and array.ndim:
        return [_numbers(row) for row in array]
    return float(str(np.float32(array)))


def _rounded_range(low: float, high: float, *, log: bool) -> tuple[float, float]:
    """A trained range rounded outwards: 1.00004 to 64.998 becomes 1 to 65 (at most 1 % of value or width)."""

    def rounded(value: float, *, size: float, up: bool) -> float:
        step = 10.0 ** (math.floor(math.log10(size)) - _ROUNDING_DIGITS + 1)
        count = value / step
        nearest = round(count)
        whole = nearest if abs(count - nearest) < 1e-6 else (math.ceil(count) if up else math.floor(count))
        return float(f"{whole * step:.12g}")

    sizes = (low, high) if log else (high - low,) * 2
    if min(sizes) <= 0:
        return low, high
    return rounded(low, size=sizes[0], up=False), rounded(high, size=sizes[1], up=True)


def _digest(model: Any) -> str:
    """The sha256 over all initialisers in the order of their names.

    Each counts with its name in UTF-8, a zero byte, and its raw bytes (little-endian, C order).
    """
    total = hashlib.sha256()
    for tensor in sorted(model.graph.initializer, key=lambda t: t.name):
        array = onnx.numpy_helper.to_array(tensor)
        total.update(tensor.name.encode() + b"\0" + array.astype(array.dtype.newbyteorder("<")).tobytes())
    return total.hexdigest()


def _content_digest(model: Any) -> str:
    """The sha256 of the file without its metadata entries."""
    bare = type(model)()
    bare.CopyFrom(model)
    bare.ClearField("metadata_props")
    return hashlib.sha256(bare.SerializeToString()).hexdigest()


def _session(model: bytes, *, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _fold(model: Any) -> None:
    """Compute in place what does not depend on the inputs; what is left is what each call has to do."""
    known = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if known.keys() >= {*node.input}:
            values = ReferenceEvaluator(node).run(None, {name: known[name] for name in node.input})
            known |= zip(node.output, map(np.asarray, values), strict=True)
        else:
            node.doc_string = ""  # the tracer's source lines, with paths of this machine
            nodes.append(node)
    used = {name for node in nodes for name in node.input}
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in known.items() if name in used
    )


def _trace(
    module: nn.Module, inputs: tuple[Tensor, ...], outputs: list[dict[str, Any]], *, batch: int | None
) -> Any:
    """Export with explicit shapes; constants become initialisers, so that the digest covers them."""
    names = [output["name"] for output in outputs]
    axes = {} if batch else {name: {0: "batch"} for name in ("condition", "latent", *names)}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # this exporter is the only one that writes opset 17, see above
        warnings.filterwarnings("ignore", "You are using the legacy TorchScript", DeprecationWarning)
        warnings.filterwarnings("ignore", "The feature will be removed", DeprecationWarning)
        # a slice with a step is left to the runtime instead of being computed now
        warnings.filterwarnings("ignore", "Constant folding - Only steps=1", UserWarning)
        # shapes other than the batch are the same in every call, so that checks of them may become constants
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
        torch.onnx.export(
            module,
            inputs,
            buffer,  # type: ignore[arg-type]  # a file object works in every version
            input_names=["condition", "latent"],
            output_names=names,
            opset_version=OPSET,
            dynamic_axes=axes,
            dynamo=False,
        )
    model = onnx.load_from_string(buffer.getvalue())
    model.ir_version = IR_VERSION
    _fold(model)
    for value, output in zip(model.graph.output, outputs, strict=True):
        dimensions = value.type.tensor_type.shape.dim
        if batch:
            dimensions[0].dim_value = batch
        for dimension, size in zip(list(dimensions)[1:], output["shape"], strict=True):
            dimension.dim_value = size
    return model


def _spanning(conditions: Sequence[Condition], rows: int, *, seed: int) -> Float32:
    """Conditions (rows, n_conditions) from end to end of the range; all but the first in random order."""
    rng = np.random.Generator(np.random.Philox(seed))
    columns = [rng.permutation(c.spanning(rows)) if k else c.spanning(rows) for k, c in enumerate(conditions)]
    return np.stack(columns, axis=1).astype(np.float32)


def comparison(
    run: Callable[[Float32, Float32], list[NDArray[Any]]],
    metadata: Mapping[str, Any],
    *,
    rows: int = 0,
    seed: int = _REFERENCE_SEED,
) -> tuple[Float32, Float32, list[NDArray[Any]]]:
    """Conditions across the range, latent numbers, and the outputs: to compare what differs by rounding.

    The choice of a point mass is a step in the last latent number, and a way between two modes nearly one in any: where
    a machine that rounds otherwise might give other numbers, the row's latent numbers are drawn again.

    Args:
        run: Conditions (B, n_conditions) and latent numbers (B, n_latent) -> outputs.
        metadata: See `describe`.
        rows: Number B; default: as many as reference vectors.
        seed: Of the latent numbers and of the order of conditions.
    """
    conditions = [Condition.from_dict(entry) for entry in metadata["conditions"]]
    described, n_latent = metadata["outputs"], metadata["latent"]["size"]
    rows = rows or max(_REFERENCE_ROWS, *(len(c.categories) for c in conditions))
    condition = _spanning(conditions, rows, seed=seed)
    rng = np.random.Generator(np.random.Philox(seed))
    latent = rng.standard_normal((rows, n_latent), dtype=np.float32)
    ones = np.ones(n_latent, np.float32)
    ways = np.stack([np.eye(n_latent, dtype=np.float32)[-1], ones / n_latent**0.5, ones / n_latent**0.5])
    ways[2, ::2] *= -1
    for _ in range(_ATTEMPTS):
        outputs = run(condition, latent)
        jumps = np.zeros(rows, bool)
        for nudge in (*(-_NUDGE * ways), *(_NUDGE * ways)):
            jumps |= _differences(run(condition, latent + nudge), outputs, described) > _JUMP
        if not jumps.any():
            break
        latent[jumps] = rng.standard_normal((int(jumps.sum()), n_latent), dtype=np.float32)
    return condition, latent, run(condition, latent)


def _split_showers(generator: Any, cells: Tensor, overflow: Tensor) -> tuple[Tensor, ...]:
    """(B, n_x, n_y) of each layer, and (B, n_overflow)."""
    calorimeter: Calorimeter = generator.calorimeter
    layers = [
        cells[:, place].reshape(-1, *shape)
        for place, shape in zip(calorimeter.slices(), calorimeter.shapes, strict=True)
    ]
    return (*layers, overflow) if generator.n_overflow else tuple(layers)


def _join_showers(model: OnnxGenerator, outputs: Sequence[Float32]) -> tuple[Float32, ...]:
    """Cells (B, n_cells) and overflow (B, n_overflow)."""
    rows, n = len(outputs[0]), model.calorimeter.n_layers
    shapes = model.calorimeter.shapes
    layers = [o.reshape(rows, math.prod(s)) for o, s in zip(outputs[:n], shapes, strict=True)]
    return np.concatenate(layers, axis=1), outputs[n] if model.n_overflow else np.empty((rows, 0), np.float32)


def _describe_showers(generator: Any, data: DataConfig) -> dict[str, Any]:
    """Outputs, geometry, and how the files were read: with the geometry in it instead of the name of a file."""
    calorimeter: Calorimeter = generator.calorimeter
    unit = calorimeter.unit
    outputs = [
        {"name": layer.name, "unit": unit, "shape": list(layer.shape), "role": "layer"}
        for layer in calorimeter.layers
    ]
    if generator.n_overflow:
        branch = data.calo.overflow
        name = "overflow" if branch in (None, "tail") else branch
        outputs.append({"name": name, "unit": unit, "shape": [generator.n_overflow], "role": "overflow"})
    read = data.model_dump(mode="json", exclude_none=True)
    read["calorimeter"].pop("geometry", None)
    read["calorimeter"].pop("particle", None)
    read["calorimeter"]["layers"] = calorimeter.as_dicts()
    layers = [
        {**layer.as_dict(), "cell_centres": layer.cell_centres.round(6).tolist()}
        for layer in calorimeter.layers
    ]
    return {"outputs": outputs, "geometry": {"unit": unit, "layers": layers}, "data": read}


def _check_energies(outputs: Sequence[Float32], described: Sequence[Mapping[str, Any]]) -> tuple[bool, str]:
    energies = np.concatenate([o.ravel() for o in outputs])
    if not (np.isfinite(energies).all() and (energies >= 0).all()):
        return False, "NaN, infinite or negative energies"
    return True, f"finite and >= 0 over the trained range, {np.mean(energies == 0):.0%} of the cells empty"


def _compact(generator: Any) -> nn.Module:
    """The same generator in fewer operations, if it is one that can be rewritten."""
    return Compact(generator) if isinstance(generator, DllGenerator) else generator


def _split_tracks(generator: Any, targets: Tensor) -> tuple[Tensor, ...]:
    """(B, 1) of each target."""
    return torch.split(targets, 1, 1)


def _join_tracks(model: OnnxGenerator, outputs: Sequence[Float32]) -> tuple[Float32, ...]:
    """Targets (B, n_targets)."""
    return (np.concatenate(outputs, axis=1),)


def _describe_tracks(generator: Any, data: DataConfig) -> dict[str, Any]:
    """Outputs, each with its typical size and point masses, and how the files were read."""
    outputs = [
        {
            "name": target.name,
            "unit": target.unit,
            "shape": [1],
            "role": "target",
            "scale": float(f"{scale:.4g}"),
            "atoms": list(target.atoms),
        }
        for target, scale in zip(data.targets, generator.target_scale.tolist(), strict=True)
    ]
    return {"outputs": outputs, "data": data.model_dump(mode="json", exclude_none=True)}


def _check_targets(outputs: Sequence[Float32], described: Sequence[Mapping[str, Any]]) -> tuple[bool, str]:
    """Values are finite, and what is nearer to a sentinel than to the other values is exactly the sentinel."""
    exact = 0
    for values, output in zip(outputs, described, strict=True):
        if not np.isfinite(values).all():
            return False, f"{output['name']}: NaN or infinite"
        at = np.isin(values, np.asarray(output["atoms"], np.float32))
        exact += int(at.sum())
        middle = np.median(values[~at]) if (~at).any() else 0.0
        for atom in output["atoms"]:
            near = np.abs(values - atom) < np.abs(values - middle)
            if abs(atom - middle) > _FAR * output["scale"] and (near & ~at).any():
                return False, f"{output['name']}: {values[near & ~at][0]:g} instead of {atom:g}"
    return (
        True,
        f"finite over the trained range, {exact / sum(o.size for o in outputs):.0%} exactly at an atom",
    )


@dataclass(frozen=True)
class _Kind:
    """What differs between showers and tracks.

    Attributes:
        row: What a row is.
        batch: Rows of a run: with more the activations leave the cache, and it gets slower.
        check: Name of the test of physics.
        compact: The generator -> the module that is translated.
        split: The generator and its results -> the graph's outputs.
        join: The graph's outputs -> what the generator gives.
        describe: The generator and its data -> metadata.
        physics: Outputs and their description -> passed, detail.
    """

    row: str
    batch: int
    check: str
    compact: Callable[[Any], nn.Module]
    split: Callable[..., tuple[Tensor, ...]]
    join: Callable[[OnnxGenerator, Sequence[Float32]], tuple[Float32, ...]]
    describe: Callable[[Any, DataConfig], dict[str, Any]]
    physics: Callable[[Sequence[Float32], Sequence[Mapping[str, Any]]], tuple[bool, str]]


_KINDS = {
    "calorimeter": _Kind(
        "shower",
        BATCH_SIZE,
        "energies",
        lambda generator: generator,
        _split_showers,
        _join_showers,
        _describe_showers,
        _check_energies,
    ),
    "observables": _Kind(
        "track", 1024, "targets", _compact, _split_tracks, _join_tracks, _describe_tracks, _check_targets
    ),
}


def _condition(config: ConditionConfig, low: float, high: float) -> Condition:
    if config.categories:
        low, high = min(config.categories.values()), max(config.categories.values())
    elif config.integer:
        low, high = math.floor(low), math.ceil(high)
    else:
        low, high = _rounded_range(low, high, log=config.transform == "log")
    return Condition(
        config.name, config.unit, config.transform, low, high, dict(config.categories), config.integer
    )


def _conditions(data: DataConfig, generator: nn.Module) -> list[Condition]:
    ranges = generator.condition_range.tolist()  # type: ignore[operator]
    if len(ranges) != len(data.conditions):
        raise ValueError(
            f"condition_range: expected {len(data.conditions)} rows, one a condition of the data, got "
            f"{len(ranges)}; export the generator with the configuration it was trained with"
        )
    return [_condition(c, *ends) for c, ends in zip(data.conditions, ranges, strict=True)]


def describe(
    generator: nn.Module,
    data: DataConfig,
    *,
    provenance: Mapping[str, Any],
    metrics: Mapping[str, Sequence[float]],
) -> dict[str, Any]:
    """What an exported file says of itself, but for the reference vectors.

    Args:
        generator: See `write`.
        data: What it was trained on.
        provenance: Digests and step; versions and date are added.
        metrics: Headline metrics: (value, uncertainty) by name.

    Raises:
        ValueError: If the generator does not fit `data`.
    """
    kind = _KINDS[data.kind.name]
    return {
        "schema": SCHEMA,
        "kind": data.kind.name,
        "tree": data.tree or f"{kind.row}s",
        "conditions": [condition.as_dict() for condition in _conditions(data, generator)],
        "latent": {"size": int(generator.n_latent), "distribution": "normal"},  # type: ignore[arg-type]
        **kind.describe(generator, data),
        "provenance": {
            "hepgan": hepgan.__version__,
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "created": datetime.now(timezone.utc).date().isoformat(),
            **provenance,
        },
        "metrics": {
            name: [float(v) if math.isfinite(v) else None for v in values] for name, values in metrics.items()
        },
    }


def put(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and rename it.

    Raises:
        OSError: If it cannot be written; nothing is left behind.
    """
    with written(path, "the model") as temporary:
        temporary.write_bytes(content)


def build(
    generator: nn.Module,
    *,
    data: DataConfig,
    provenance: Mapping[str, Any],
    metrics: Mapping[str, Sequence[float]],
    batch: int | None = None,
) -> Any:
    """Export a generator and compare the result with torch.

    Args:
        generator: Called with (B, n_conditions) physical conditions and (B, n_latent) normal numbers; has ``n_latent``
            and ``condition_range`` (n_conditions, 2). Of showers: gives cells (B, n_cells) and overflow
            (B, n_overflow); has ``calorimeter`` and ``n_overflow``. Of observables: gives targets (B, n_targets),
            the last latent number may choose between point masses; has ``target_scale`` (n_targets,).
        data: What it was trained on; names conditions and branches.
        provenance: Digests and step; versions and date are added.
        metrics: Headline metrics: (value, uncertainty) by name.
        batch: A fixed batch size, for code generators that need one; default: any batch size.

    Returns:
        The model, with everything in its metadata.

    Raises:
        ValueError: If the generator does not fit `data`, gives numbers that are not finite, uses an operator
            outside `OPERATORS`, or the model's numbers differ from torch's by more than `TOLERANCE`.
    """
    if batch is not None and batch < 1:
        raise ValueError(
            f"batch: expected a positive number, or none for any batch size, got {batch}; leave it out"
        )
    kind = _KINDS[data.kind.name]
    metadata = describe(generator, data, provenance=provenance, metrics=metrics)
    described = metadata["outputs"]
    names = [output["name"] for output in described]
    if len({*names, "condition", "latent"}) != len(names) + 2:
        raise ValueError(f"outputs: expected names that differ, also from condition and latent, got {names}")
    device = next(generator.buffers()).device
    module = _Outputs(generator, kind.split)

    def tensors(*arrays: Float32) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(array).to(device) for array in arrays)

    def run(condition: Float32, latent: Float32) -> list[Float32]:
        return [output.cpu().numpy() for output in module(*tensors(condition, latent))]

    was_training = generator.training
    module.eval()
    try:
        with torch.no_grad():
            condition, latent, expected = comparison(run, metadata, rows=_PARITY_ROWS)
            reference = comparison(run, metadata)
            compact = _Outputs(kind.compact(generator), kind.split).to(device).eval()
            rows = batch or 2
            model = _trace(
                compact,
                tensors(condition[:1].repeat(rows, 0), latent[:1].repeat(rows, 0)),
                described,
                batch=batch,
            )
    finally:
        generator.train(was_training)
    if not all(np.isfinite(output).all() for output in expected):
        raise ValueError(
            "generator: expected finite numbers over the trained range, got NaN or infinite ones; "
            "take an earlier checkpoint"
        )
    used = {node.op_type for node in model.graph.node}
    if used - OPERATORS:
        raise ValueError(
            "operators: expected only those that every target has (hepgan.export.onnx.OPERATORS), got also "
            f"{sorted(used - OPERATORS)}; write the generator's forward without them"
        )
    model.producer_name, model.producer_version = "hepgan", hepgan.__version__
    metadata |= {
        "reference": {
            "condition": _numbers(reference[0]),
            "latent": _numbers(reference[1]),
            "outputs": {
                name: _numbers(values.reshape(len(values), -1))
                for name, values in zip(names, reference[2], strict=True)
            },
        },
        "weights_sha256": _digest(model),
        "content_sha256": _content_digest(model),
    }
    text = json.dumps(metadata, allow_nan=False, separators=(",", ":"))
    onnx.helper.set_model_props(model, {_KEY: text})
    onnx.checker.check_model(model, full_check=True)
    exported = _Runner(_session(model.SerializeToString(), threads=1), names, batch=batch)
    difference = float(_differences(exported(condition, latent), expected, described).max())
    if not difference <= TOLERANCE:
        raise ValueError(
            f"generator: expected the exported numbers to be torch's within {TOLERANCE:g} (relative), got "
            f"{difference:.3g}; the generator computes something that the exporter does not translate"
        )
    return model


def write(
    generator: nn.Module,
    path: str | Path,
    *,
    data: DataConfig,
    provenance: Mapping[str, Any],
    metrics: Mapping[str, Sequence[float]],
    batch: int | None = None,
) -> None:
    """Export a generator, compare the model with torch, and only then put it in place.

    Args:
        generator: See `build`, as the others.
        path: The file; an existing one is replaced.
        data: What it was trained on.
        provenance: Digests and step.
        metrics: Headline metrics.
        batch: A fixed batch size.

    Raises:
        ValueError: See `build`.
        OSError: If `path` is no file, or cannot be written; nothing is left behind.
    """
    path = Path(path)
    check_target(path)
    model = build(generator, data=data, provenance=provenance, metrics=metrics, batch=batch)
    put(path, model.SerializeToString())


class _Runner:
    """A session that takes any number of rows, also when the graph has a fixed batch."""

    def __init__(self, session: Any, names: list[str], *, batch: int | None) -> None:
        self.session, self.names, self.batch = session, names, batch

    def __call__(self, condition: Float32, latent: Float32) -> list[Float32]:
        if self.batch is None:
            return self._run(condition, latent)
        rows, step = len(condition), self.batch
        missing = -rows % step
        if missing:
            condition = np.concatenate([condition, np.repeat(condition[-1:], missing, axis=0)])
            latent = np.concatenate([latent, np.repeat(latent[-1:], missing, axis=0)])
        parts = [
            self._run(condition[i : i + step], latent[i : i + step]) for i in range(0, len(condition), step)
        ]
        return [np.concatenate(columns)[:rows] for columns in zip(*parts, strict=True)]

    def _run(self, condition: Float32, latent: Float32) -> list[Float32]:
        outputs: list[Float32] = self.session.run(self.names, {"condition": condition, "latent": latent})
        return outputs


class OnnxGenerator:
    """A generator in an ONNX file that `write` made.

    Args:
        path: The file, or a run folder with a ``model.onnx``.
        threads: Threads of a run; 1 leaves the cores to the caller.

    Attributes:
        path: The file.
        metadata: The file's description, see the module's text.
        kind: "calorimeter" or "observables".
        calorimeter: The geometry (calorimeter only).
        conditions: Names, units and trained ranges of the conditions.
        data: How the training files were read.
        n_latent: Latent numbers of a shower or track.
        n_overflow: Overflow numbers of a shower: one a layer, or 0.
        batch: The graph's batch size if it is fixed.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not an ONNX file, not one of hepgan, of a newer schema, or was altered.
    """

    def __init__(self, path: str | Path, *, threads: int = 1) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            self.path = self.path / "model.onnx"
        if not self.path.is_file():
            raise FileNotFoundError(
                f"model not found: {self.path}; name a .onnx file or a run folder that holds model.onnx"
            )
        content = self.path.read_bytes()
        self._model = self._parse(content)
        self.metadata = self._described()
        self._understand()
        for what, key, got in (
            ("weights were", "weights_sha256", _digest(self._model)),
            ("graph was", "content_sha256", _content_digest(self._model)),
        ):
            if got != self.metadata[key]:
                raise ValueError(
                    f"{self.path}: the {what} altered: expected sha256 {self.metadata[key][:16]}..., got "
                    f"{got[:16]}...; take the original file or export it again"
                )
        self.outputs = [output["name"] for output in self.metadata["outputs"]]
        self._run = _Runner(_session(content, threads=threads), self.outputs, batch=self.batch)

    def _parse(self, content: bytes) -> Any:
        try:
            model = onnx.load_from_string(content)
        except (DecodeError, ValueError) as error:
            raise ValueError(
                f"{self.path}: not an ONNX file, or cut short ({error}); copy or export it again"
            ) from error
        if not model.graph.node:
            raise ValueError(f"{self.path}: not an ONNX file: expected a graph, got none; name a .onnx file")
        return model

    def _described(self) -> dict[str, Any]:
        text = {entry.key: entry.value for entry in self._model.metadata_props}.get(_KEY)
        if text is None:
            raise ValueError(
                f"{self.path}: an ONNX file, but not one of hepgan: expected the metadata entry {_KEY!r}, "
                "got none; name a file that hepgan export wrote"
            )
        try:
            metadata: dict[str, Any] = json.loads(text)
            schema = int(metadata["schema"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self.path}: damaged metadata ({error}); export the file again") from error
        if schema > SCHEMA:
            raise ValueError(
                f"{self.path}: expected metadata of schema {SCHEMA} or older, got {schema}; the file comes "
                "from a newer hepgan: install that version"
            )
        return metadata

    def _understand(self) -> None:
        """Take geometry, conditions and sizes from the metadata."""
        metadata = self.metadata
        try:
            self.kind: str = metadata["kind"]
            if self.kind not in _KINDS:
                raise ValueError(f"kind: expected one of {list(_KINDS)}, got {self.kind!r}")
            self._kind = _KINDS[self.kind]
            if self.kind == "calorimeter":
                unit, layers = metadata["geometry"]["unit"], metadata["geometry"]["layers"]
                layers = [{k: v for k, v in layer.items() if k != "cell_centres"} for layer in layers]
                self.calorimeter = Calorimeter.from_dicts(layers, unit=unit)
            self.conditions = [Condition.from_dict(c) for c in metadata["conditions"]]
            self.n_latent = int(metadata["latent"]["size"])
            self.n_overflow = sum(o["shape"][0] for o in metadata["outputs"] if o["role"] == "overflow")
            self.data = DataConfig.model_validate(metadata["data"])
            str(metadata["weights_sha256"]), str(metadata["content_sha256"]), metadata["reference"]["outputs"]
        except (KeyError, TypeError, ValueError, ValidationError) as error:
            raise ValueError(f"{self.path}: damaged metadata ({error}); export the file again") from error
        dimension = self._model.graph.input[0].type.tensor_type.shape.dim[0]
        self.batch: int | None = dimension.dim_value or None

    @property
    def operators(self) -> set[str]:
        """Operators of the graph."""
        return {node.op_type for node in self._model.graph.node}

    def lint(self, target: str) -> Sequence[str]:
        """What stands in the way of a program that reads ONNX files, see `hepgan.inference.targets`."""
        return lint(self._model, target)

    def __call__(self, condition: NDArray[Any], latent: NDArray[Any]) -> tuple[Float32, ...]:
        """Run the graph on all rows at once; nothing is checked but the shapes. `sample` does more.

        Args:
            condition: (B, n_conditions), physical units.
            latent: (B, n_latent), standard normal.

        Returns:
            Cells (B, n_cells) and overflow (B, n_overflow) in the calorimeter's unit; or targets (B, n_targets).

        Raises:
            ValueError: If a shape is wrong.
        """
        condition, latent = np.asarray(condition, np.float32), np.asarray(latent, np.float32)
        for name, array, size in (
            ("condition", condition, len(self.conditions)),
            ("latent", latent, self.n_latent),
        ):
            if array.ndim != 2 or array.shape[1] != size or len(array) != len(condition):
                raise ValueError(
                    f"{name}: expected shape ({len(condition)}, {size}), got {array.shape}; "
                    f"give one row a {self._kind.row}"
                )
        return self._kind.join(self, self._run(condition, latent)) if len(condition) else self._empty(0)

    def _empty(self, rows: int) -> tuple[Float32, ...]:
        """Room for results."""
        shapes = [output["shape"] for output in self.metadata["outputs"]]
        return self._kind.join(self, [np.empty((rows, *shape), np.float32) for shape in shapes])

    def check_range(self, condition: NDArray[Any], *, extrapolate: bool = False, first_row: int = 0) -> None:
        """Refuse conditions outside the trained range, and categories that are not known.

        Args:
            condition: (B, n_conditions), physical units.
            extrapolate: Accept what is outside a range, as long as it can be computed with.
            first_row: Number of the first row, for the message.

        Raises:
            ValueError: Naming the first such condition.
        """
        condition = np.asarray(condition, np.float32)
        for k, c in enumerate(self.conditions):
            values = condition[:, k]
            possible = np.isfinite(values) & ((values > 0) | (c.transform != "log"))
            bad = ~possible if extrapolate and not c.categories else ~c.knows(values)
            if bad.any():
                row = int(np.argmax(bad))
                remedy = (
                    "stay inside, or accept extrapolation with --extrapolate (in code: option extrapolate)"
                )
                if c.categories:
                    remedy = "the generator was trained with no other"
                elif not possible[row]:
                    remedy = (
                        "extrapolation needs a finite number, and a positive one where the logarithm is taken"
                    )
                raise ValueError(
                    f"condition {c.name!r}: expected {c.expected}, got {values[row]:g}{c.unit and ' '}{c.unit} in row "
                    f"{first_row + row}; {remedy}"
                )

    def sample(
        self,
        condition: NDArray[Any],
        *,
        seed: int,
        run: int = 0,
        first_event: int = 0,
        batch_size: int = 0,
        extrapolate: bool = False,
    ) -> tuple[Float32, ...]:
        """Generate one shower or track for each row of conditions, from the noise of `hepgan.inference.noise`.

        Args:
            condition: (B, n_conditions), physical units.
            seed: First part of the noise's key.
            run: Second part of it.
            first_event: Event number of the first row; each following row is the next event, with track 0.
            batch_size: Rows at once; default: as many as is fast.
            extrapolate: Accept conditions outside the trained range.

        Returns:
            Cells (B, n_cells) and overflow (B, n_overflow) in the calorimeter's unit; or targets (B, n_targets).

        Raises:
            ValueError: If a condition is outside its trained range, or the key outside 64 bits.
        """
        condition = np.asarray(condition, np.float32)
        self.check_range(condition, extrapolate=extrapolate)
        results = self._empty(len(condition))
        batch_size = batch_size or self._kind.batch
        for start in range(0, len(condition), batch_size):
            rows = slice(start, start + batch_size)
            events = np.arange(start, start + len(condition[rows]), dtype=np.uint64) + np.uint64(first_event)
            latent = noise.normal(seed, run, events, size=self.n_latent)
            for result, part in zip(results, self(condition[rows], latent), strict=True):
                result[rows] = part
        return results

    def check(self) -> list[tuple[str, bool, str]]:
        """Test the file: (what, passed, detail) for each test.

        The reference vectors, one row at a time against all at once, the graph's operators and versions, the digest of
        the weights (also tested at opening), and physics over the whole range: energies that are finite and not
        negative; targets that are finite, with exact sentinels.
        """
        reference, described = self.metadata["reference"], self.metadata["outputs"]
        condition, latent = (np.asarray(reference[name], np.float32) for name in ("condition", "latent"))
        expected = [np.asarray(reference["outputs"][name], np.float32) for name in self.outputs]
        together = [o.reshape(len(condition), -1) for o in self._run(condition, latent)]
        error = float(_differences(together, expected, described).max())
        condition, latent, many = comparison(
            self._run, self.metadata, rows=_PARITY_ROWS, seed=_REFERENCE_SEED + 1
        )
        singles = [self._run(condition[k : k + 1], latent[k : k + 1]) for k in range(_PARITY_ROWS)]
        apart = float(
            _differences(
                [np.concatenate(columns) for columns in zip(*singles, strict=True)], many, described
            ).max()
        )
        foreign = sorted(self.operators - OPERATORS)
        opset = {entry.domain: entry.version for entry in self._model.opset_import}
        row = self._kind.row
        return [
            ("weights", True, f"sha256 {self.metadata['weights_sha256'][:16]}..."),
            (
                "reference vectors",
                error <= TOLERANCE,
                f"{len(expected[0])} {row}s, largest difference {error:.2g}",
            ),
            (
                "one row = many rows",
                apart <= TOLERANCE,
                f"{_PARITY_ROWS} {row}s, largest difference {apart:.2g}",
            ),
            (self._kind.check, *self._kind.physics(many, described)),
            (
                "operators",
                not foreign and opset == {"": OPSET} and self._model.ir_version == IR_VERSION,
                f"{len(self.operators)} kinds, opset {opset.get('')}, IR {self._model.ir_version}"
                + (f"; not in the common set: {', '.join(foreign)}" if foreign else ""),
            ),
        ]
