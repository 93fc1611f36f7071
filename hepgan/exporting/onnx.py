"""Write a generator as one ONNX file that takes and gives physical units and describes itself.

Inputs: ``condition`` (B, n_conditions) and ``latent`` (B, n_latent). Outputs of showers: one a calorimeter layer,
(B, n_x, n_y), and ``overflow`` (B, n_layers) if there is any; of tracks: one a target, (B, 1). The entry ``hepgan`` of
the file's metadata is a `hepgan.inference.metadata.Metadata` as JSON. `hepgan.inference.generator.Generator` opens and
runs such a file; export/include/hepgan/generator.hpp does the same in C++.

Of torch's two exporters only the one based on TorchScript emits opset 17: the other one starts at 18, and ONNX has no
adapter back for ``Pad``.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import hepgan
from hepgan.config import ConditionConfig, DataConfig
from hepgan.errors import ExportError
from hepgan.exporting.folding import fold
from hepgan.exporting.kinds import EXPORTING
from hepgan.exporting.locating import departing_node
from hepgan.exporting.parity import Rounding, double_precision
from hepgan.exporting.spelling import spell
from hepgan.files import check_target, write_bytes
from hepgan.inference.checking import PARITY_ROWS, TOLERANCE, comparison
from hepgan.inference.metadata import (
    KEY,
    SCHEMA,
    Condition,
    Description,
    Latent,
    Metadata,
    Output,
    Reference,
    content_digest,
    weights_digest,
)
from hepgan.inference.session import Session
from hepgan.inference.targets import IR_VERSION, OPERATORS, OPSET

__all__ = ["build", "describe", "write"]

_ROUNDING_DIGITS = 3  # of the trained range, outwards

Float32 = NDArray[np.float32]


class _Outputs(nn.Module):
    """A generator with one output a layer or target, as in the file."""

    def __init__(self, generator: nn.Module, split: Callable[..., tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.generator, self.split = generator, split

    def forward(self, condition: Tensor, latent: Tensor) -> tuple[Tensor, ...]:
        """Map (B, n_conditions) and (B, n_latent) to (B, *shape) for each output."""
        return self.split(self.generator, *self.generator(condition, latent))


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


def _trace(
    module: nn.Module, inputs: tuple[Tensor, ...], outputs: Sequence[Output], *, batch: int | None
) -> Any:
    """Export with explicit shapes; constants become initialisers, so that the digest covers them."""
    names = [output.name for output in outputs]
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
    fold(model)
    if batch:
        spell(model)
        fold(model)
    for value, output in zip(model.graph.output, outputs, strict=True):
        dimensions = value.type.tensor_type.shape.dim
        if batch:
            dimensions[0].dim_value = batch
        for dimension, size in zip(list(dimensions)[1:], output.shape, strict=True):
            dimension.dim_value = size
    return model


def _condition(config: ConditionConfig, low: float, high: float) -> Condition:
    if config.categories:
        low, high = min(config.categories.values()), max(config.categories.values())
    elif config.integer:
        low, high = math.floor(low), math.ceil(high)
    else:
        low, high = _rounded_range(low, high, log=config.transform == "log")
    return Condition(
        name=config.name,
        unit=config.unit,
        transform=config.transform,
        range=(low, high),
        integer=config.integer,
        categories=config.categories,
    )


def _conditions(data: DataConfig, generator: nn.Module) -> list[Condition]:
    ranges = generator.condition_range.tolist()  # type: ignore[operator]
    if len(ranges) != len(data.conditions):
        raise ValueError(
            f"condition_range: expected {len(data.conditions)} rows, one a condition of the data, got "
            f"{len(ranges)}; export the generator with the configuration it was trained with"
        )
    return [_condition(c, *ends) for c, ends in zip(data.conditions, ranges, strict=True)]


def _named(description: Description, condition: Float32) -> str:
    """Values of the conditions (n_conditions,) in words."""
    pairs = zip(description.conditions, condition.tolist(), strict=True)
    return ", ".join(f"{c.name} = {value:g}{c.unit and ' '}{c.unit}" for c, value in pairs)


def describe(
    generator: nn.Module,
    data: DataConfig,
    *,
    provenance: Mapping[str, Any],
    metrics: Mapping[str, Sequence[float]],
) -> Description:
    """Describe a generator, without reference vectors and digests.

    Args:
        generator: See `build`.
        data: The data that it was trained on.
        provenance: Digests and step; versions and date are added.
        metrics: Headline metrics: (value, uncertainty) by name.

    Raises:
        ValueError: If the generator does not fit `data`.
    """
    outputs, geometry, complete = EXPORTING[data.kind.name].describe(generator, data)
    return Description(
        schema_version=SCHEMA,
        kind=data.kind.name,
        tree=data.output_tree or data.tree or data.kind.rows,
        conditions=tuple(_conditions(data, generator)),
        latent=Latent(size=int(generator.n_latent), distribution="normal"),  # type: ignore[arg-type]
        outputs=outputs,
        geometry=geometry,
        data=complete,
        provenance={
            "hepgan": hepgan.__version__,
            "torch": str(torch.__version__),
            "onnx": onnx.__version__,
            "created": datetime.now(timezone.utc).date().isoformat(),
            **provenance,
        },
        metrics={
            name: tuple(float(v) if math.isfinite(v) else None for v in values)
            for name, values in metrics.items()
        },
    )


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
            (B, n_overflow); has ``calorimeter`` and ``n_overflow``. Of tracks: gives targets (B, n_targets), the
            last latent number may choose between point masses; has ``target_scale`` (n_targets,).
        data: The data that it was trained on; names conditions and branches.
        provenance: Digests and step; versions and date are added.
        metrics: Headline metrics: (value, uncertainty) by name.
        batch: A fixed batch size, for code generators that need one; default: any batch size.

    Returns:
        The model, with everything in its metadata.

    Raises:
        ValueError: If the generator does not fit `data`, gives numbers that are not finite, uses an operator
            outside `hepgan.inference.targets.OPERATORS`.
        ExportError: If the model's numbers differ from the generator's by more than rounding explains
            (`hepgan.exporting.parity`); it carries the file, marked as unverified.
    """
    if batch is not None and batch < 1:
        raise ValueError(
            f"batch: expected a positive number, or none for any batch size, got {batch}; leave it out"
        )
    kind = EXPORTING[data.kind.name]
    description = describe(generator, data, provenance=provenance, metrics=metrics)
    outputs = description.outputs
    names = [output.name for output in outputs]
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
            condition, latent, expected = comparison(run, description, rows=PARITY_ROWS)
            reference = comparison(run, description)
            exact = double_precision(module)
            rounding = Rounding(expected, exact, condition, latent, outputs)
            tolerance = Rounding(reference[2], exact, *reference[:2], outputs).tolerance
            compact = _Outputs(kind.compact(generator), kind.split).to(device).eval()
            rows = batch or 2
            model = _trace(
                compact,
                tensors(condition[:1].repeat(rows, 0), latent[:1].repeat(rows, 0)),
                outputs,
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
            "operators: expected only those that every target has (hepgan.inference.targets.OPERATORS), got also "
            f"{sorted(used - OPERATORS)}; write the generator's forward without them"
        )
    model.producer_name, model.producer_version = "hepgan", hepgan.__version__
    metadata = Metadata(
        **dict(description),
        reference=Reference(
            condition=_numbers(reference[0]),
            latent=_numbers(reference[1]),
            outputs={
                name: _numbers(values.reshape(len(values), -1))
                for name, values in zip(names, reference[2], strict=True)
            },
            tolerance=max(rounding.tolerance, tolerance, TOLERANCE),
        ),
        weights_sha256=weights_digest(model),
        content_sha256=content_digest(model),
    )
    onnx.helper.set_model_props(model, {KEY: metadata.to_json()})
    onnx.checker.check_model(model, full_check=True)
    exported = Session(model.SerializeToString(), names, batch=batch)
    if departure := rounding.departure(exported(condition, latent)):
        at = slice(departure.row, departure.row + 1)
        with torch.no_grad():
            rewritten = rounding.departure(double_precision(compact)(condition, latent))
        node = (
            "the generator departs as it is rewritten for the file, before any node"
            if rewritten
            else departing_node(model, compact, condition[at], latent[at])
        )
        message = (
            f"generator: output {departure.output!r}: expected the exported numbers to be the generator's in double "
            f"precision within {departure.allowed:.2g} (relative; a few times the rounding of torch), got "
            f"{departure.error:.3g} at {_named(description, condition[departure.row])}; {node}"
        )
        marked = metadata.model_copy(update={"provenance": metadata.provenance | {"unverified": message}})
        onnx.helper.set_model_props(model, {KEY: marked.to_json()})
        raise ExportError(message, content=model.SerializeToString())
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
        data: The data that it was trained on.
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
    write_bytes(path, model.SerializeToString(), content="the model")
