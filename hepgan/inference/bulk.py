"""Bulk generation: showers or tracks from an exported model, streamed to a ROOT file like the training file.

Tree and branch names come from the model's metadata, so that whatever reads the full simulation reads this.
Row k is event `first_event` + k of a run: conditions and latent numbers are a function of (seed, run, event), see
`hepgan.inference.noise`, whatever the batch size, and in C++ as well. Memory does not grow with the number of events.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Literal

import awkward as ak
import numpy as np
import uproot
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import hepgan
from hepgan.config import TRACKS, ConditionConfig
from hepgan.data.reading import iterate_conditions
from hepgan.export.onnx import OnnxGenerator
from hepgan.files import check_target, near, written
from hepgan.inference import noise

__all__ = ["generate", "parse_condition"]

_LOG = logging.getLogger(__name__)

_CHUNK = 8_000_000  # bytes of events written at once: one basket of each branch
_COMPRESSION = uproot.ZSTD(1)  # 4 times faster than ROOT's default at the same size; ROOT reads it since 6.20

Float32 = NDArray[np.float32]
Value = float | tuple[float, float] | str
"""Of a condition: a number, a range to draw from, or the name of a category."""


def parse_condition(text: str) -> tuple[str, Value]:
    """Read ``name=value``, ``name=low:high`` or ``name=category``.

    Raises:
        ValueError: If it is none of these.
    """
    name, sign, value = text.partition("=")
    name, value = name.strip(), value.strip()
    numbers: tuple[float, ...] = ()
    with suppress(ValueError):
        numbers = tuple(float(part) for part in value.split(":"))
    if not sign or not name or not value or len(numbers) > 2:
        raise ValueError(
            f"condition: expected name=value or name=low:high, got {text!r}; write incident_energy=10"
        )
    if not numbers:
        return name, value
    if len(numbers) == 1:
        return name, numbers[0]
    if not numbers[0] < numbers[1]:
        raise ValueError(f"condition {name!r}: expected low < high, got {value}; exchange them")
    return name, (numbers[0], numbers[1])


def _interval(condition: ConditionConfig, value: Value) -> tuple[float, float]:
    """(low, high) of a condition; the same number twice for a category.

    Raises:
        ValueError: If the value is not of the kind that the condition takes.
    """
    name, categories = condition.name, condition.categories
    if categories:
        if isinstance(value, tuple):
            got = f"the range {value[0]:g} to {value[1]:g}"
            raise ValueError(
                f"condition {name!r}: expected one category, got {got}; choose of {[*categories]}"
            )
        category = value if isinstance(value, str) else f"{value:g}"
        if category not in categories:
            raise ValueError(
                f"condition {name!r}: there is no category {category!r}; {near(category, categories)}"
            )
        return categories[category], categories[category]
    if isinstance(value, str):
        raise ValueError(
            f"condition {name!r}: expected a number, or a range low:high, got {value!r}; write {name}=VALUE"
        )
    low, high = value if isinstance(value, tuple) else (value, value)
    if condition.integer and (low != round(low) or high != round(high)):
        got = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        raise ValueError(f"condition {name!r}: expected whole numbers (it is a count), got {got}; round them")
    return float(low), float(high)


def _intervals(
    model: OnnxGenerator, conditions: Mapping[str, Value], *, extrapolate: bool
) -> list[tuple[float, float]]:
    """(low, high) of each condition of the model; checks names and ranges."""
    names = [condition.name for condition in model.data.conditions]
    for name in conditions:
        if name not in names:
            raise ValueError(f"condition {name!r}: the model has none of this name; {near(name, names)}")
    missing = [name for name in names if name not in conditions]
    if missing:
        raise ValueError(
            f"conditions: expected a value for each of {names}, got none for {missing}; "
            f"add --condition {missing[0]}=VALUE"
        )
    intervals = [_interval(condition, conditions[condition.name]) for condition in model.data.conditions]
    for end in zip(*intervals, strict=True):
        model.check_range(np.asarray([end], np.float32), extrapolate=extrapolate)
    return intervals


def _drawn(
    model: OnnxGenerator,
    intervals: list[tuple[float, float]],
    *,
    n: int,
    rows: int,
    key: tuple[int, int],
    first_event: int,
) -> Generator[Float32, None, None]:
    """Conditions (<= rows, n_conditions): log-uniform where the network takes the logarithm, else uniform.

    Counts are whole numbers.
    """
    for start in range(0, n, rows):
        events = np.arange(start, min(start + rows, n), dtype=np.uint64) + np.uint64(first_event)
        chunk = noise.uniform(*key, events, size=len(intervals))
        for k, (condition, (low, high)) in enumerate(zip(model.data.conditions, intervals, strict=True)):
            half = 0.5 if condition.integer else 0.0  # so that the ends are as frequent as the others
            a, b = low - half, high + half
            if condition.transform == "log":
                chunk[:, k] = np.exp(np.log(a) + chunk[:, k] * np.log(b / a))
            else:
                chunk[:, k] = a + chunk[:, k] * (b - a)
            chunk[:, k] = (np.rint(chunk[:, k]) if condition.integer else chunk[:, k]).clip(low, high)
        yield chunk.astype(np.float32)


def _stored(model: OnnxGenerator, path: Path, *, n: int | None, rows: int) -> Generator[Float32, None, None]:
    """Conditions (<= rows, n_conditions) of the first `n` entries of a file (default: of all)."""
    done = 0
    for chunk in iterate_conditions(model.data, path):
        chunk = chunk[: None if n is None else n - done]
        for start in range(0, len(chunk), rows):
            yield chunk[start : start + rows]
        done += len(chunk)
        if done == n:
            return
    if n is not None or not done:
        raise ValueError(
            f"{path}: expected {n or 'some'} entries to take conditions from, got {done}; "
            "ask for fewer or name another file"
        )


def _branch(expression: str, name: str) -> str:
    """The branch to write: that of the training file unless it was computed from several."""
    return expression if re.fullmatch(r"[A-Za-z_]\w*", expression) else name


def _arrays(model: OnnxGenerator, cells: Float32) -> dict[str, Any]:
    calorimeter = model.calorimeter
    return {
        branch: cells[:, place].reshape(-1, *shape)
        for branch, place, shape in zip(
            model.data.calo.branches, calorimeter.slices(), calorimeter.shapes, strict=True
        )
    }


def _cells(model: OnnxGenerator, cells: Float32) -> dict[str, Any]:
    return {model.data.calo.cells.format(k): cells[:, k] for k in range(cells.shape[1])}


def _hits(model: OnnxGenerator, cells: Float32) -> dict[str, Any]:
    hits = model.data.calo.hits
    if hits is None:  # the configuration does not allow it
        raise ValueError("data.calorimeter.hits: expected the names of the branches, got none")
    event, cell = np.nonzero(cells)
    counts = np.bincount(event, minlength=len(cells))
    if hits.cell is not None:
        columns = {hits.cell: cell}
    else:
        calorimeter = model.calorimeter
        layer = np.searchsorted(calorimeter.offsets, cell, side="right") - 1
        inside = cell - np.asarray(calorimeter.offsets)[layer]
        width = np.asarray(calorimeter.shapes)[layer, 1]
        columns = {str(hits.layer): layer, str(hits.i): inside // width, str(hits.j): inside % width}
    jagged = {name: ak.unflatten(values.astype(np.int32), counts) for name, values in columns.items()}
    return {**jagged, hits.energy: ak.unflatten(cells[event, cell], counts)}


_LAYOUTS: dict[str, Callable[[OnnxGenerator, Float32], dict[str, Any]]] = {
    "arrays": _arrays,
    "cells": _cells,
    "hits": _hits,
}


def _condition(condition: ConditionConfig, values: Float32) -> NDArray[Any]:
    """The values to write: counts, and categories with whole numbers such as PDG codes, as integers."""
    categories = condition.categories.values()
    whole = condition.integer or (categories and all(value.is_integer() for value in categories))
    return values.astype(np.int32) if whole else values


def _branches(model: OnnxGenerator, condition: Float32, outputs: Sequence[Float32]) -> dict[str, Any]:
    """The branches of a chunk, named and shaped as in the training file."""
    data = model.data
    branches: dict[str, Any] = {
        _branch(c.expression, c.name): _condition(c, condition[:, k]) for k, c in enumerate(data.conditions)
    }
    if data.weight is not None:
        branches[_branch(data.weight, "weight")] = np.ones(len(condition), np.float32)
    if data.kind is TRACKS:
        columns = zip(data.targets, outputs[0].T, strict=True)
        return branches | {_branch(target.expression, target.name): column for target, column in columns}
    cells, overflow = outputs
    tail = model.n_overflow > 0 and data.calo.overflow == "tail"
    branches |= _LAYOUTS[data.calo.layout](model, np.concatenate([cells, overflow], 1) if tail else cells)
    if model.n_overflow and not tail:
        branches[data.calo.overflow or "overflow"] = overflow
    return branches


def generate(
    model: OnnxGenerator,
    out: str | Path,
    *,
    n: int | None = None,
    conditions: Mapping[str, Value] | None = None,
    conditions_from: str | Path | None = None,
    seed: int = 1,
    run: int = 0,
    first_event: int = 0,
    batch_size: int | None = None,
    extrapolate: bool = False,
    format: Literal["ttree", "rntuple"] = "ttree",
    progress: bool = False,
) -> int:
    """Write showers or tracks to a ROOT file.

    Args:
        model: The generator.
        out: The file; it appears when it is complete, and replaces one of that name.
        n: Number of showers or tracks; default: as many as `conditions_from` has.
        conditions: For each condition a value, or a range to draw from: log-uniform if the model takes its
            logarithm, else uniform; for a category its name.
        conditions_from: Take the conditions of this ROOT file instead, one by one, without the cut.
        seed: With `run` and the event number the key of the noise: the same event is the same whatever the batch size.
        run: Run number.
        first_event: Event number of the first row; jobs of one sample differ in it, or in the run.
        batch_size: Events that the network computes at once; default: what is fastest.
        extrapolate: Accept conditions outside the trained range.
        format: Kind of the tree.
        progress: Show a progress bar.

    Returns:
        The number of showers or tracks.

    Raises:
        ValueError: If a condition is missing, unknown or outside its trained range.
        FileNotFoundError: If there is no file `conditions_from`.
        OSError: If `out` is no file, or cannot be written, such as on a full disk; nothing is left behind.
    """
    out = Path(out)
    what = model.data.kind.rows
    if bool(conditions) == (conditions_from is not None):
        got = "both; leave one out" if conditions else "none; add --condition NAME=VALUE"
        raise ValueError(f"conditions, conditions_from: expected exactly one of them, got {got}")
    if (n is None and conditions) or (n is not None and n < 1):
        number = "none" if n is None else n
        raise ValueError(f"n: expected a positive number of {what}, got {number}; add -n N")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size: expected a positive number, got {batch_size}; 128 is a good one")
    if format not in ("ttree", "rntuple"):
        raise ValueError(f"format: expected 'ttree' or 'rntuple', got {format!r}; choose one")
    check_target(out)
    key = {"seed": seed, "run": run, "first_event": first_event}
    for name, number in key.items():
        noise.check(name, number)
    numbers = len(model.data.targets) or model.calorimeter.n_cells
    rows = max(batch_size or 1, _CHUNK // (4 * numbers))
    if conditions and n is not None:
        intervals = _intervals(model, conditions, extrapolate=extrapolate)
        chunks = _drawn(model, intervals, n=n, rows=rows, key=(seed, run), first_event=first_event)
    else:
        chunks = _stored(model, Path(str(conditions_from)), n=n, rows=rows)

    columns = [TextColumn("generating"), *Progress.get_default_columns()[1:3], MofNCompleteColumn()]
    with (
        Progress(
            *columns,
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not progress,
            transient=True,
        ) as bar,
        closing(chunks),
        written(out, what) as temporary,
        uproot.recreate(temporary, compression=_COMPRESSION) as file,
    ):
        task = bar.add_task("generating", total=n)
        done = 0
        tree: Any = None
        for condition in chunks:
            model.check_range(condition, extrapolate=extrapolate, first_row=done)
            outputs = model.sample(
                condition,
                seed=seed,
                run=run,
                first_event=first_event + done,
                batch_size=batch_size or 0,
                extrapolate=extrapolate,
            )
            branches = _branches(model, condition, outputs)
            if tree is None:
                tree = _tree(file, model.metadata["tree"], branches, format=format)
            else:
                tree.extend(branches)
            done += len(condition)
            bar.update(task, completed=done)
        file["generated_by"] = json.dumps(_origin(model) | key)
    _LOG.info("%s: %d %s", out, done, what)
    return done


def _tree(file: Any, name: str, branches: dict[str, Any], *, format: str) -> Any:
    """Make the tree with the first chunk in it."""
    if format == "ttree":
        return file.mktree(name, branches, initial_basket_capacity=100)
    # an RNTuple has fixed-size arrays only if the type says so
    regular = {
        key: ak.from_numpy(values, regulararray=True) if isinstance(values, np.ndarray) else values
        for key, values in branches.items()
    }
    return file.mkrntuple(name, regular)


def _origin(model: OnnxGenerator) -> dict[str, Any]:
    """What made the file."""
    return {
        "hepgan": hepgan.__version__,
        "model": model.path.name,
        "weights_sha256": model.metadata["weights_sha256"],
    }
