"""Checks of an exported file: reference vectors, batches, physics and operators.

The export compares its file with torch by the same functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hepgan.config import KINDS
from hepgan.geometry import Calorimeter, differences
from hepgan.inference.kinds import HANDLING
from hepgan.inference.metadata import TOLERANCE, Condition, Description, Metadata, Output
from hepgan.inference.targets import IR_VERSION, OPERATORS, OPSET

__all__ = [
    "PARITY_ROWS",
    "TOLERANCE",
    "Check",
    "check",
    "check_geometry",
    "comparison",
    "relative_differences",
]

PARITY_ROWS = 64
"""Number of rows for two comparisons: the file with torch, and one row at a time with all rows at once."""

_REFERENCE_ROWS = 4  # at least; one for each category
_REFERENCE_SEED = 20170505  # any number; fixed so that the same weights give the same file
_ATTEMPTS = 20  # draws until no row jumps; in each draw about one row in a hundred does
_NEGLIGIBLE = 1e-3  # of the shower's largest number: smaller numbers count as this when errors are divided
_NUDGE = (
    1e-3  # step of the latent numbers, the last of which may choose between point masses: rows must not jump
)
_JUMP = 1e-2  # relative difference that counts as one

Float32 = NDArray[np.float32]
Run = Callable[[Float32, Float32], list[NDArray[Any]]]
"""Conditions (B, n_conditions) and latent numbers (B, n_latent) -> outputs, (B, ...) each."""


class Check(NamedTuple):
    """The outcome of a test.

    Attributes:
        name: Name of the test.
        passed: Whether it passed.
        detail: Numbers, or the first problem.
    """

    name: str
    passed: bool
    detail: str


def relative_differences(
    outputs: Sequence[NDArray[Any]], expected: Sequence[NDArray[Any]], described: Sequence[Output]
) -> NDArray[np.float64]:
    """Largest relative difference (B,) of each shower or track.

    The difference in each output is divided by the largest number of that output, or by a smallest size if that is
    more: the target's ``scale``, or `_NEGLIGIBLE` of the shower's largest number. The smallest size allows for float32
    rounding, which does not shrink with the result: energies are exp(y) - 1, targets are sums of large numbers.
    """
    flat = [np.abs(e).reshape(len(e), -1).max(1) for e in expected]
    brightest = np.max(flat, axis=0)
    worst = np.zeros(len(brightest))
    for got, want, size, output in zip(outputs, expected, flat, described, strict=True):
        with np.errstate(invalid="ignore"):  # infinity - infinity is NaN, which no limit passes
            error = np.abs(got - want).reshape(len(want), -1).max(1)
        size = np.maximum(size, _NEGLIGIBLE * brightest if output.scale is None else output.scale)
        worst = np.maximum(worst, error / np.maximum(size, np.finfo(np.float32).tiny))
    return worst


def _spanning(conditions: Sequence[Condition], rows: int, *, seed: int) -> Float32:
    """Conditions (rows, n_conditions) from end to end of the range; all but the first in random order."""
    rng = np.random.Generator(np.random.Philox(seed))
    columns = [rng.permutation(c.spanning(rows)) if k else c.spanning(rows) for k, c in enumerate(conditions)]
    return np.stack(columns, axis=1).astype(np.float32)


def comparison(
    run: Run, description: Description, *, rows: int = 0, seed: int = _REFERENCE_SEED
) -> tuple[Float32, Float32, list[NDArray[Any]]]:
    """Make conditions across the range, latent numbers and outputs, to compare two programs.

    The output jumps where the last latent number chooses another point mass, and is steep between two modes. There,
    another rounding may give another output. Hence latent numbers are drawn again for rows whose output changes by
    more than `_JUMP` when the latent numbers change by `_NUDGE`.

    Args:
        run: Computes the outputs.
        description: Conditions, outputs and number of latent numbers.
        rows: Number B; default: as many as reference vectors.
        seed: Seed of the latent numbers and of the order of conditions.
    """
    n_latent = description.latent.size
    rows = rows or max(_REFERENCE_ROWS, *(len(c.categories) for c in description.conditions))
    condition = _spanning(description.conditions, rows, seed=seed)
    rng = np.random.Generator(np.random.Philox(seed))
    latent = rng.standard_normal((rows, n_latent), dtype=np.float32)
    ones = np.ones(n_latent, np.float32)
    ways = np.stack([np.eye(n_latent, dtype=np.float32)[-1], ones / n_latent**0.5, ones / n_latent**0.5])
    ways[2, ::2] *= -1
    for _ in range(_ATTEMPTS):
        outputs = run(condition, latent)
        jumps = np.zeros(rows, bool)
        for nudge in (*(-_NUDGE * ways), *(_NUDGE * ways)):
            moved = run(condition, latent + nudge)
            jumps |= relative_differences(moved, outputs, description.outputs) > _JUMP
        if not jumps.any():
            break
        latent[jumps] = rng.standard_normal((int(jumps.sum()), n_latent), dtype=np.float32)
    return condition, latent, run(condition, latent)


def _reference_vectors(metadata: Metadata, run: Run) -> tuple[int, float]:
    """Number of reference vectors, and the largest difference from them."""
    condition, latent = (
        np.asarray(rows, np.float32) for rows in (metadata.reference.condition, metadata.reference.latent)
    )
    expected = [np.asarray(metadata.reference.outputs[o.name], np.float32) for o in metadata.outputs]
    outputs = [o.reshape(len(condition), -1) for o in run(condition, latent)]
    return len(condition), float(relative_differences(outputs, expected, metadata.outputs).max())


def check_geometry(calorimeter: Calorimeter, expected: Calorimeter) -> Check:
    """Compare the geometry of a model with the one that its user expects; the detail names each layer that differs."""
    lines = differences(calorimeter, expected)
    equal = f"{calorimeter.n_layers} layers, {calorimeter.n_cells} cells: as expected"
    return Check("geometry", not lines, "\n".join(lines) or equal)


def check(metadata: Metadata, model: Any, run: Run) -> list[Check]:
    """Test a file whose digests are right, see `hepgan.inference.metadata.open_model`.

    The reference vectors, one row at a time against all at once, physics over the whole range (energies are finite and
    not negative; targets are finite, with exact sentinels), and the graph's operators and versions.

    Args:
        metadata: Its description.
        model: The ONNX model (`onnx.ModelProto`).
        run: Computes its outputs.
    """
    kind, handling = KINDS[metadata.kind], HANDLING[metadata.kind]
    tolerance = metadata.reference.tolerance
    allowed = f"; allowed {tolerance:.2g}" if tolerance > TOLERANCE else ""
    n_reference, error = _reference_vectors(metadata, run)
    condition, latent, many = comparison(run, metadata, rows=PARITY_ROWS, seed=_REFERENCE_SEED + 1)
    singles = [run(condition[k : k + 1], latent[k : k + 1]) for k in range(PARITY_ROWS)]
    joined = [np.concatenate(columns) for columns in zip(*singles, strict=True)]
    apart = float(relative_differences(joined, many, metadata.outputs).max())
    operators = {node.op_type for node in model.graph.node}
    foreign = sorted(operators - OPERATORS)
    opset = {entry.domain: entry.version for entry in model.opset_import}
    unverified = metadata.provenance.get("unverified")
    versions = f"{len(operators)} kinds, opset {opset.get('')}, IR {model.ir_version}"
    return [
        Check("weights", True, f"sha256 {metadata.weights_sha256[:16]}..."),
        Check(
            "reference vectors",
            error <= tolerance,
            f"{n_reference} {kind.rows}, largest difference {error:.2g}{allowed}",
        ),
        Check(
            "one row = many rows",
            apart <= tolerance,
            f"{PARITY_ROWS} {kind.rows}, largest difference {apart:.2g}{allowed}",
        ),
        Check(handling.checked, *handling.physics(many, metadata.outputs)),
        Check(
            "operators",
            not foreign and opset == {"": OPSET} and model.ir_version == IR_VERSION,
            versions + (f"; not in the common set: {', '.join(foreign)}" if foreign else ""),
        ),
        *([Check("export", False, f"not verified: {unverified}")] if unverified else []),
    ]
