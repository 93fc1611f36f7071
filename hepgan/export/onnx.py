"""One ONNX file that takes and gives physical units and says of itself what it is.

`write` exports a generator. Inputs: ``condition`` (B, n_conditions) and ``latent`` (B, n_latent). Outputs:
one a calorimeter layer, (B, n_x, n_y), and ``overflow`` (B, n_layers) if there is any. The entry ``hepgan``
of the file's metadata is JSON: conditions with units and trained ranges, outputs, geometry, provenance,
headline metrics, reference vectors and a digest of the weights. `OnnxGenerator` opens and runs such a file;
export/include/hepgan/generator.hpp does the same in C++.

Opset 17 and IR version 8 load on every ONNX Runtime since 1.15. Of torch's two exporters only the one based
on TorchScript emits opset 17: the other one starts at 18, and ONNX has no adapter back for ``Pad``.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

import hepgan
from hepgan.config import DataConfig
from hepgan.geometry import Calorimeter
from hepgan.rootfiles import check_target, not_written

__all__ = ["BATCH_SIZE", "OPERATORS", "OPSET", "SCHEMA", "TOLERANCE", "Condition", "OnnxGenerator", "write"]

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
"""Operators that ONNX Runtime, ROOT's TMVA SOFIE, onnx2c and onnx-mlir all implement.

The common part of SOFIE's parser table (tmva/sofie_parsers), onnx2c's ``Graph::createNode`` and onnx-mlir's
page SupportedONNXOps-cpu.
"""

_KEY = "hepgan"
_REFERENCE_ROWS = 4
_REFERENCE_SEED = 20170505  # any number; fixed so that the same weights give the same file
_PARITY_ROWS = 64
_NEGLIGIBLE = 1e-3  # of the shower's largest number: what is smaller counts as this when errors are divided
_ROUNDING_DIGITS = 3  # of the trained range, outwards
BATCH_SIZE = 128  # rows a run: with more the activations leave the cache, and it gets slower

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Condition:
    """An input of the generator: name, unit, how its logarithm enters, and where it was trained."""

    name: str
    unit: str
    transform: str
    low: float
    high: float


class _Outputs(nn.Module):
    """The generator with one output a layer, as the file has it."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, condition: Tensor, latent: Tensor) -> tuple[Tensor, ...]:
        """Map (B, n_conditions) and (B, n_latent) to (B, *shape) for each layer and (B, n_overflow)."""
        cells, overflow = self.generator(condition, latent)
        calorimeter: Calorimeter = self.generator.calorimeter  # type: ignore[assignment]
        layers = [
            cells[:, place].reshape(-1, *shape)
            for place, shape in zip(calorimeter.slices(), calorimeter.shapes, strict=True)
        ]
        return (*layers, overflow) if self.generator.n_overflow else tuple(layers)


def _difference(outputs: Sequence[Float32], expected: Sequence[Float32]) -> float:
    """Largest relative difference, over showers and outputs.

    The difference in each output of a shower is divided by the largest number of that output, or by
    `_NEGLIGIBLE` of the shower's largest number if that is more: energies near zero are differences
    exp(y) - 1, which float32 does not know better.
    """
    flat = [np.abs(e).reshape(len(e), -1).max(1) for e in expected]
    brightest = np.max(flat, axis=0)
    worst = 0.0
    for got, want, scale in zip(outputs, expected, flat, strict=True):
        error = np.abs(got - want).reshape(len(want), -1).max(1)
        scale = np.maximum(scale, _NEGLIGIBLE * brightest)
        worst = max(worst, float(np.max(error / np.maximum(scale, np.finfo(np.float32).tiny))))
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


def _session(model: bytes, *, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _trace(
    module: nn.Module, inputs: tuple[Tensor, Tensor], outputs: list[dict[str, Any]], *, batch: int | None
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
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = node.attribute[0].t
            tensor.name = node.output[0]
            model.graph.initializer.append(tensor)
        else:
            node.doc_string = ""  # the tracer's source lines, with paths of this machine
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for value, output in zip(model.graph.output, outputs, strict=True):
        dimensions = value.type.tensor_type.shape.dim
        if batch:
            dimensions[0].dim_value = batch
        for dimension, size in zip(list(dimensions)[1:], output["shape"], strict=True):
            dimension.dim_value = size
    return model


def _self_contained(data: DataConfig, calorimeter: Calorimeter) -> dict[str, Any]:
    """The data section with the geometry in it instead of the name of a file."""
    values = data.model_dump(mode="json", exclude_none=True)
    values["calorimeter"].pop("geometry", None)
    values["calorimeter"].pop("particle", None)
    values["calorimeter"]["layers"] = calorimeter.as_dicts()
    return values


def _latent(rows: int, size: int, *, seed: int) -> Float32:
    return np.random.Generator(np.random.Philox(seed)).standard_normal((rows, size), dtype=np.float32)


def _spanning(conditions: Sequence[Condition], rows: int, *, seed: int) -> Float32:
    """Conditions (rows, n_conditions) from end to end of the range; all but the first in random order."""
    rng = np.random.Generator(np.random.Philox(seed))
    columns = []
    for k, condition in enumerate(conditions):
        scale = np.geomspace if condition.transform == "log" else np.linspace
        values = scale(condition.low, condition.high, rows, dtype=np.float64)
        columns.append(rng.permutation(values) if k else values)
    return np.stack(columns, axis=1).astype(np.float32)


def _outputs(calorimeter: Calorimeter, data: DataConfig, *, n_overflow: int) -> list[dict[str, Any]]:
    """Name, unit, shape and role of each output, in the order of the graph's."""
    unit = calorimeter.unit
    outputs = [
        {"name": layer.name, "unit": unit, "shape": list(layer.shape), "role": "layer"}
        for layer in calorimeter.layers
    ]
    if n_overflow:
        branch = data.calorimeter.overflow
        name = "overflow" if branch in (None, "tail") else branch
        outputs.append({"name": name, "unit": unit, "shape": [n_overflow], "role": "overflow"})
    names = [output["name"] for output in outputs]
    if len({*names, "condition", "latent"}) != len(names) + 2:
        raise ValueError(f"outputs: expected names that differ, also from condition and latent, got {names}")
    return outputs


def _conditions(data: DataConfig, generator: nn.Module) -> list[Condition]:
    ranges = generator.condition_range.tolist()  # type: ignore[operator]
    if len(ranges) != len(data.conditions):
        raise ValueError(
            f"condition_range: expected {len(data.conditions)} rows, one a condition of the data, got "
            f"{len(ranges)}; export the generator with the configuration it was trained with"
        )
    return [
        Condition(c.name, c.unit, c.transform, *_rounded_range(low, high, log=c.transform == "log"))
        for c, (low, high) in zip(data.conditions, ranges, strict=True)
    ]


def write(
    generator: nn.Module,
    path: str | Path,
    *,
    data: DataConfig,
    provenance: Mapping[str, Any],
    metrics: Mapping[str, Sequence[float]],
    batch: int | None = None,
) -> None:
    """Export a generator, compare the file with torch, and only then put it in place.

    Args:
        generator: Called with (B, n_conditions) physical conditions and (B, n_latent) normal numbers, gives
            cells (B, n_cells) and overflow (B, n_overflow); has ``calorimeter``, ``n_latent``,
            ``n_overflow`` and ``condition_range`` (n_conditions, 2).
        path: The file; an existing one is replaced.
        data: What it was trained on; names conditions and branches.
        provenance: Digests and step; versions and date are added.
        metrics: Headline metrics: (value, uncertainty) by name.
        batch: A fixed batch size, for code generators that need one; default: any batch size.

    Raises:
        ValueError: If the generator does not fit `data`, gives energies that are not finite, uses an operator
            outside `OPERATORS`, or the file's numbers differ from torch's by more than `TOLERANCE`.
        OSError: If `path` is no file, or cannot be written; nothing is left behind.
    """
    path = Path(path)
    check_target(path)
    if batch is not None and batch < 1:
        raise ValueError(
            f"batch: expected a positive number, or none for any batch size, got {batch}; leave it out"
        )
    calorimeter: Calorimeter = generator.calorimeter  # type: ignore[assignment]
    n_latent = int(generator.n_latent)  # type: ignore[arg-type]
    conditions = _conditions(data, generator)
    described = _outputs(calorimeter, data, n_overflow=int(generator.n_overflow))  # type: ignore[arg-type]
    names = [output["name"] for output in described]
    device = next(generator.buffers()).device
    module = _Outputs(generator)

    def run(rows: int) -> tuple[tuple[Tensor, Tensor], list[Float32]]:
        condition = torch.from_numpy(_spanning(conditions, rows, seed=_REFERENCE_SEED)).to(device)
        latent = torch.from_numpy(_latent(rows, n_latent, seed=_REFERENCE_SEED)).to(device)
        return (condition, latent), [output.cpu().numpy() for output in module(condition, latent)]

    was_training = generator.training
    module.eval()
    try:
        with torch.no_grad():
            inputs, expected = run(_PARITY_ROWS)
            reference = run(_REFERENCE_ROWS)
            model = _trace(module, run(batch or 2)[0], described, batch=batch)
    finally:
        generator.train(was_training)
    if not all(np.isfinite(output).all() for output in expected):
        raise ValueError(
            "generator: expected finite energies over the trained range, got NaN or infinite ones; "
            "take an earlier checkpoint"
        )
    used = {node.op_type for node in model.graph.node}
    if used - OPERATORS:
        raise ValueError(
            "operators: expected only those that every target has (hepgan.export.onnx.OPERATORS), got also "
            f"{sorted(used - OPERATORS)}; write the generator's forward without them"
        )

    metadata = {
        "schema": SCHEMA,
        "kind": "calorimeter",
        "tree": data.tree or "showers",
        "conditions": [
            {"name": c.name, "unit": c.unit, "transform": c.transform, "range": [c.low, c.high]}
            for c in conditions
        ],
        "latent": {"size": n_latent, "distribution": "normal"},
        "outputs": described,
        "geometry": {
            "unit": calorimeter.unit,
            "layers": [
                {**layer.as_dict(), "cell_centres": layer.cell_centres.round(6).tolist()}
                for layer in calorimeter.layers
            ],
        },
        "data": _self_contained(data, calorimeter),
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
        "reference": {
            "condition": _numbers(reference[0][0].cpu().numpy()),
            "latent": _numbers(reference[0][1].cpu().numpy()),
            "outputs": {
                name: _numbers(values.reshape(len(values), -1))
                for name, values in zip(names, reference[1], strict=True)
            },
        },
        "weights_sha256": _digest(model),
    }
    model.producer_name, model.producer_version = "hepgan", hepgan.__version__
    text = json.dumps(metadata, allow_nan=False, separators=(",", ":"))
    onnx.helper.set_model_props(model, {_KEY: text})
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString()
    exported = _Runner(_session(content, threads=1), names, batch=batch)
    difference = _difference(exported(inputs[0].cpu().numpy(), inputs[1].cpu().numpy()), expected)
    if not difference <= TOLERANCE:
        raise ValueError(
            f"{path}: expected the exported numbers to be torch's within {TOLERANCE:g} (relative), got "
            f"{difference:.3g}; the generator computes something that the exporter does not translate"
        )
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):  # no such folder
            temporary.unlink()
        raise not_written(path, "the model", error) from error


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
        calorimeter: The geometry.
        conditions: Names, units and trained ranges of the conditions.
        data: How the training files were read.
        n_latent: Latent numbers of a shower.
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
        got = _digest(self._model)
        if got != self.metadata["weights_sha256"]:
            raise ValueError(
                f"{self.path}: the weights were altered: expected sha256 "
                f"{self.metadata['weights_sha256'][:16]}..., got {got[:16]}...; take the original file or "
                "export it again"
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
            if metadata["kind"] != "calorimeter":
                raise ValueError(f"kind: expected 'calorimeter', got {metadata['kind']!r}")
            geometry = metadata["geometry"]
            layers = [{k: v for k, v in layer.items() if k != "cell_centres"} for layer in geometry["layers"]]
            self.calorimeter = Calorimeter.from_dicts(layers, unit=geometry["unit"])
            self.conditions = [
                Condition(c["name"], c["unit"], c["transform"], *c["range"]) for c in metadata["conditions"]
            ]
            self.n_latent = int(metadata["latent"]["size"])
            self.n_overflow = sum(o["shape"][0] for o in metadata["outputs"] if o["role"] == "overflow")
            self.data = DataConfig.model_validate(metadata["data"])
            str(metadata["weights_sha256"]), metadata["reference"]["outputs"]
        except (KeyError, TypeError, ValueError, ValidationError) as error:
            raise ValueError(f"{self.path}: damaged metadata ({error}); export the file again") from error
        dimension = self._model.graph.input[0].type.tensor_type.shape.dim[0]
        self.batch: int | None = dimension.dim_value or None

    @property
    def operators(self) -> set[str]:
        """Operators of the graph."""
        return {node.op_type for node in self._model.graph.node}

    def __call__(self, condition: NDArray[Any], latent: NDArray[Any]) -> tuple[Float32, Float32]:
        """Run the graph on all rows at once; nothing is checked but the shapes. `sample` does more.

        Args:
            condition: (B, n_conditions), physical units.
            latent: (B, n_latent), standard normal.

        Returns:
            Cells (B, n_cells) and overflow (B, n_overflow) in the calorimeter's unit.

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
                    "give one row a shower"
                )
        if not len(condition):
            return np.empty((0, self.calorimeter.n_cells), np.float32), np.empty(
                (0, self.n_overflow), np.float32
            )
        outputs = self._run(condition, latent)
        layers = outputs[: self.calorimeter.n_layers]
        cells = np.concatenate([layer.reshape(len(condition), -1) for layer in layers], axis=1)
        return cells, outputs[-1] if self.n_overflow else np.empty((len(condition), 0), np.float32)

    def check_range(self, condition: NDArray[Any], *, extrapolate: bool = False, first_row: int = 0) -> None:
        """Refuse conditions outside the trained range.

        Args:
            condition: (B, n_conditions), physical units.
            extrapolate: Accept them, as long as they can be computed with.
            first_row: Number of the first row, for the message.

        Raises:
            ValueError: Naming the first such condition.
        """
        condition = np.asarray(condition, np.float32)
        for k, c in enumerate(self.conditions):
            values = condition[:, k]
            possible = np.isfinite(values) & ((values > 0) | (c.transform != "log"))
            inside = (values >= np.float32(c.low)) & (values <= np.float32(c.high))
            bad = ~possible if extrapolate else ~inside
            if bad.any():
                row = int(np.argmax(bad))
                remedy = (
                    "extrapolation needs a finite number, and a positive one where the logarithm is taken"
                    if not possible[row]
                    else "stay inside, or accept extrapolation with --extrapolate (in code: option extrapolate)"
                )
                unit = f" {c.unit}" if c.unit else ""
                raise ValueError(
                    f"condition {c.name!r}: expected {c.low:g} to {c.high:g}{unit} (the trained range), got "
                    f"{values[row]:g}{unit} in row {first_row + row}; {remedy}"
                )

    def sample(
        self,
        condition: NDArray[Any],
        *,
        seed: int | None = None,
        rng: np.random.Generator | None = None,
        batch_size: int = BATCH_SIZE,
        extrapolate: bool = False,
    ) -> tuple[Float32, Float32]:
        """Generate one shower for each row of conditions.

        Args:
            condition: (B, n_conditions), physical units.
            seed: Seed of a Philox generator; the showers do not depend on the batch size.
            rng: Random numbers from here instead; give one of the two.
            batch_size: Rows at once.
            extrapolate: Accept conditions outside the trained range.

        Returns:
            Cells (B, n_cells) and overflow (B, n_overflow) in the calorimeter's unit.

        Raises:
            ValueError: If a condition is outside its trained range, or not one of seed and rng is given.
        """
        if (seed is None) == (rng is None):
            raise ValueError(
                "seed, rng: expected exactly one of them, got " + ("none" if rng is None else "both")
            )
        rng = rng or np.random.Generator(np.random.Philox(seed))
        condition = np.asarray(condition, np.float32)
        self.check_range(condition, extrapolate=extrapolate)
        cells = np.empty((len(condition), self.calorimeter.n_cells), np.float32)
        overflow = np.empty((len(condition), self.n_overflow), np.float32)
        for start in range(0, len(condition), batch_size):
            rows = slice(start, start + batch_size)
            latent = rng.standard_normal((len(condition[rows]), self.n_latent), dtype=np.float32)
            cells[rows], overflow[rows] = self(condition[rows], latent)
        return cells, overflow

    def check(self) -> list[tuple[str, bool, str]]:
        """Test the file: (what, passed, detail) for each test.

        The reference vectors, one row at a time against all at once, the graph's operators and versions, the
        digest of the weights (also tested at opening), and physics: energies that are finite and not negative
        over the whole range.
        """
        reference = self.metadata["reference"]
        condition, latent = (np.asarray(reference[name], np.float32) for name in ("condition", "latent"))
        expected = [np.asarray(reference["outputs"][name], np.float32) for name in self.outputs]
        together = [o.reshape(len(condition), -1) for o in self._run(condition, latent)]
        error = _difference(together, expected)
        condition = _spanning(self.conditions, _PARITY_ROWS, seed=_REFERENCE_SEED + 1)
        latent = _latent(_PARITY_ROWS, self.n_latent, seed=_REFERENCE_SEED + 1)
        many = self._run(condition, latent)
        singles = [self._run(condition[k : k + 1], latent[k : k + 1]) for k in range(_PARITY_ROWS)]
        apart = _difference([np.concatenate(columns) for columns in zip(*singles, strict=True)], many)
        energies = np.concatenate([o.ravel() for o in many])
        foreign = sorted(self.operators - OPERATORS)
        opset = {entry.domain: entry.version for entry in self._model.opset_import}
        physical = bool(np.isfinite(energies).all() and (energies >= 0).all())
        return [
            ("weights", True, f"sha256 {self.metadata['weights_sha256'][:16]}..."),
            (
                "reference vectors",
                error <= TOLERANCE,
                f"{len(expected[0])} showers, largest difference {error:.2g}",
            ),
            (
                "one row = many rows",
                apart <= TOLERANCE,
                f"{_PARITY_ROWS} showers, largest difference {apart:.2g}",
            ),
            (
                "energies",
                physical,
                f"finite and >= 0 over the trained range, {np.mean(energies == 0):.0%} of the cells empty"
                if physical
                else "NaN, infinite or negative energies",
            ),
            (
                "operators",
                not foreign and opset == {"": OPSET} and self._model.ir_version == IR_VERSION,
                f"{len(self.operators)} kinds, opset {opset.get('')}, IR {self._model.ir_version}"
                + (f"; not in the common set: {', '.join(foreign)}" if foreign else ""),
            ),
        ]
