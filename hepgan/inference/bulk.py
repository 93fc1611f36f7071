"""Bulk generation: showers or tracks from an exported model, streamed to a ROOT file like the training file.

Tree and branch names come from the model's description: a program that reads the full simulation reads this file.
Row k is event `first_event` + k of a run: conditions and latent numbers are a function of (seed, run, event), see
`hepgan.inference.noise`, whatever the batch size, and in C++ as well. Memory does not grow with the number of events.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Generator as Iterating
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hepgan.errors import ConditionRangeError, DataError
from hepgan.files import location
from hepgan.inference import noise
from hepgan.inference.conditions import check_names, condition_values
from hepgan.inference.excursions import Excursions, OutOfRange, chosen
from hepgan.inference.generator import Generator
from hepgan.inference.metadata import Condition
from hepgan.inference.writing import Origin, generated_file
from hepgan.progress import event_bar
from hepgan.trees import COMPRESSION, Format, check_compression, check_format, cluster_rows

__all__ = ["generate", "parse_condition"]

_LOG = logging.getLogger(__name__)

Float32 = NDArray[np.float32]
Value = float | tuple[float, float] | str
"""Value of a condition: a number, a range to draw from, or the name of a category."""


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


def _interval(condition: Condition, value: Value) -> tuple[float, float]:
    """(low, high) of a condition; the same number twice for one value or a category.

    Raises:
        ValueError: If the value is not of the kind that the condition takes.
    """
    name = condition.name
    if isinstance(value, tuple):
        if condition.categories:
            got = f"the range {' to '.join(f'{end:g}' for end in value)}"
            raise ValueError(
                f"condition {name!r}: expected one category, got {got}; choose of {[*condition.categories]}"
            )
        ends = condition_values(condition, list(value)).tolist()
        if len(ends) != 2:
            raise ValueError(
                f"condition {name!r}: expected a range (low, high), got {value}; give two numbers"
            )
        if not ends[0] < ends[1]:
            raise ValueError(f"condition {name!r}: expected low < high, got {value}; exchange them")
        return ends[0], ends[1]
    if isinstance(value, str) and not condition.categories:
        raise ValueError(
            f"condition {name!r}: expected a number, or a range low:high, got {value!r}; write {name}=VALUE"
        )
    if (
        condition.categories
        and isinstance(value, float | int)
        and (word := f"{value:.17g}") in condition.categories
    ):
        value = word  # the name of a category that is a number
    number = condition_values(condition, value)
    if number.ndim:
        raise ValueError(
            f"condition {name!r}: expected a number, or a range (low, high), got {value}; write the conditions of each "
            "event to a ROOT file and take them from there"
        )
    return float(number), float(number)


def _intervals(
    model: Generator, conditions: Mapping[str, Value], *, out_of_range: OutOfRange
) -> list[tuple[float, float]]:
    """(low, high) of each condition of the model; checks names, and ranges if values outside are refused."""
    check_names(conditions, model.conditions, option="--condition ")
    intervals = [_interval(condition, conditions[condition.name]) for condition in model.conditions]
    for end in zip(*intervals, strict=True):
        model.check_range(np.asarray([end], np.float32), extrapolate=out_of_range != "error")
    return intervals


def _drawn(
    model: Generator,
    intervals: list[tuple[float, float]],
    *,
    n: int,
    rows: int,
    key: tuple[int, int],
    first_event: int,
) -> Iterating[Float32, None, None]:
    """Conditions (<= rows, n_conditions): log-uniform where the network takes the logarithm, else uniform.

    Counts are whole numbers.
    """
    for start in range(0, n, rows):
        events = np.arange(start, min(start + rows, n), dtype=np.uint64) + np.uint64(first_event)
        chunk = noise.uniform(*key, events, size=len(intervals))
        for k, (condition, (low, high)) in enumerate(zip(model.conditions, intervals, strict=True)):
            half = 0.5 if condition.integer else 0.0  # so that the ends are as frequent as the others
            a, b = low - half, high + half
            if condition.transform == "log":
                chunk[:, k] = np.exp(np.log(a) + chunk[:, k] * np.log(b / a))
            else:
                chunk[:, k] = a + chunk[:, k] * (b - a)
            chunk[:, k] = (np.rint(chunk[:, k]) if condition.integer else chunk[:, k]).clip(low, high)
        yield chunk.astype(np.float32)


def _stored(model: Generator, path: str, *, n: int | None, rows: int) -> Iterating[Float32, None, None]:
    """Conditions (rows, n_conditions), and fewer at the end, of the first `n` entries of a file (default: of all)."""
    from hepgan.data.reading import iterate_conditions

    done = 0
    left = np.empty((0, len(model.conditions)), np.float32)
    for chunk in iterate_conditions(model.data, path):
        chunk = chunk[: None if n is None else n - done]
        done += len(chunk)
        left = np.concatenate([left, chunk])
        whole = len(left) - len(left) % rows
        for start in range(0, whole, rows):
            yield left[start : start + rows]
        left = left[whole:]
        if done == n:
            break
    if len(left):
        yield left
    if not done or (n is not None and done < n):
        raise DataError(
            f"{path}: expected {n or 'some'} entries to take conditions from, got {done}; "
            "ask for fewer or name another file"
        )


def generate(
    model: Generator,
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
    out_of_range: OutOfRange = "error",
    format: Format = "ttree",
    compression: str = COMPRESSION,
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
        batch_size: Events that the network computes at once; default: as many as is fast.
        extrapolate: The same as ``out_of_range="extrapolate"``.
        out_of_range: Action for conditions outside the trained range, see `Generator.generate`; logged with the number
            of rows. With ``skip`` the file has a branch ``condition_row``, the row of the conditions of each event.
        format: Kind of the tree.
        compression: Name and, after a colon, level: ``"zstd:5"``, ``"lz4"``, ``"zlib"``, ``"lzma"``, ``"none"``.
        progress: Show a progress bar.

    Returns:
        The number of showers or tracks in the file.

    Raises:
        ConditionRangeError: If a condition is outside its trained range, and that is refused; or if all are skipped.
        ValueError: If a condition is missing or unknown, or an argument is wrong.
        DataError: If `conditions_from` has too few entries, or branches that cannot be used.
        NotFoundError: If there is no file `conditions_from`.
        OSError: If `out` is no file, or cannot be written, such as on a full disk; nothing is left behind.
    """
    out = Path(out)
    content = model.kind.rows
    if bool(conditions) == (conditions_from is not None):
        got = "both; leave one out" if conditions else "none; add --condition NAME=VALUE"
        raise ValueError(f"conditions, conditions_from: expected exactly one of them, got {got}")
    if (n is None and conditions) or (n is not None and n < 1):
        number = "none" if n is None else n
        raise ValueError(f"n: expected a positive number of {content}, got {number}; add -n N")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size: expected a positive number, got {batch_size}; 128 is a good one")
    excursions = Excursions(model.conditions, chosen(out_of_range, extrapolate=extrapolate), content)
    check_format(format)
    check_compression(compression)
    seed, run, first_event = (
        noise.check("seed", seed),
        noise.check("run", run),
        noise.check_events(first_event, n or 1),
    )
    origin = Origin(model.path.name, seed, run, first_event)
    numbers = sum(math.prod(output.shape) for output in model.metadata.outputs if output.role != "overflow")
    batch = batch_size or model.fastest_batch
    rows = cluster_rows(numbers, batch=batch)  # whole batches, as without chunks
    if conditions and n is not None:
        intervals = _intervals(model, conditions, out_of_range=excursions.action)
        chunks = _drawn(model, intervals, n=n, rows=rows, key=(seed, run), first_event=first_event)
    else:
        chunks = _stored(model, location(str(conditions_from)), n=n, rows=rows)

    with (
        event_bar("generating", total=n, show=progress) as show_done,
        closing(chunks),
        generated_file(
            out, model.metadata, origin, rows=rows, format=format, compression=compression
        ) as tree,
    ):
        done = 0
        for condition in chunks:
            chunk = model.generate_admitted(
                condition,
                excursions,
                seed=seed,
                run=run,
                first_event=first_event + excursions.n,
                batch_size=batch,
            )
            if len(chunk):
                tree.extend(chunk.branches())
            done += len(chunk)
            show_done(excursions.n)
        if not done:
            raise ConditionRangeError(f"nothing to write; {'; '.join(excursions.sentences())}")
    for sentence in excursions.sentences():
        _LOG.warning("%s", sentence)
    _LOG.info("%s: %d %s", out, done, content)
    return done
