"""ROOT files (TTree and RNTuple) to arrays of showers or tracks, chunk by chunk.

`read` gives all events of a `DataConfig` at once, `iterate` one chunk after the other. Bad input (a missing branch,
NaN, a layer of another shape, hits outside the geometry, ...) stops here with a message that says what was expected,
what was found and where. `hepgan.data.branches` describes the layouts of the files, `hepgan.data.kinds` the difference
between showers and tracks.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from hepgan.config import DataConfig
from hepgan.data.chunk import Chunk
from hepgan.data.events import Events, Float32
from hepgan.data.expressions import Expression
from hepgan.data.kinds import Reader, reader_of
from hepgan.data.root import branch_keys, chunks, find_branch, find_trees, open_file, open_tree
from hepgan.errors import ConfigError, DataError
from hepgan.files import expand, location
from hepgan.progress import event_bar, shown, stage

__all__ = ["check_weights", "count_entries", "iterate", "iterate_conditions", "iterate_entries", "read"]

_LOG = logging.getLogger(__name__)


def _conditions_wanted(data: DataConfig) -> dict[str, str]:
    return {condition.expression: "data.conditions" for condition in data.conditions}


def _wanted(reader: Reader) -> dict[str, str]:
    """All expressions to read, with the key of the configuration that asks for each."""
    data = reader.data
    weight = {} if data.weight is None else {data.weight: "data.weight"}
    return reader.outputs_wanted() | weight | _conditions_wanted(data)


def _scan(
    path: str,
    reader: Reader,
    wanted: Mapping[str, str],
    *,
    entry_bytes: int = 0,
    entries: tuple[int, int] | None = None,
) -> Iterator[Chunk]:
    """Values of expressions in the rows of one file that pass the cut, in chunks, none of them empty."""
    data = reader.data
    with open_file(path) as file:
        tree = open_tree(file, data.tree)
        if tree.num_entries == 0 and not tree.keys():
            _LOG.warning("%s: tree %r has no entries and no branches", path, tree.name)
            return
        known = branch_keys(tree)
        expressions = [Expression(text, branches=known, label=label) for text, label in wanted.items()]
        cut = Expression(data.cut, branches=known, label="data.cut", cut=True) if data.cut else None
        needed: dict[str, str] = {}
        for expression in (*expressions, *([cut] if cut else [])):
            if not expression.names:
                raise ConfigError(
                    f"{expression}: expected an expression of branches, got none in it; name a branch"
                )
            for name in expression.names:
                needed[name] = known.get(name) or find_branch(
                    tree, name, label=expression.label, remark=expression.advice(known)
                )
        if tree.num_entries == 0:
            _LOG.warning("%s: tree %r has no entries", path, tree.name)
            return
        start = entries[0] if entries else 0
        keys = dict.fromkeys(needed.values())
        for part in chunks(tree, keys, chunk=data.chunk, entry_bytes=entry_bytes, entries=entries):
            numbers = np.arange(start, start + len(part))
            start += len(part)
            values = {name: part[key] for name, key in needed.items()}
            chunk = reader.rows(Chunk(path, numbers, values, reader.row), expressions, cut)
            if len(chunk):
                yield chunk


def _events(chunk: Chunk, reader: Reader) -> Events:
    """Turn one chunk into checked arrays."""
    data = reader.data
    weights = np.ones((len(chunk), 1), np.float32)
    if data.weight is not None:
        weights = chunk.dense(data.weight, ())
        chunk.reject_infinite(weights, name=data.weight)
    outputs = reader.outputs(chunk)
    return Events(chunk.conditions(data.conditions), outputs, weights[:, 0])


def _count(reader: Reader, paths: Sequence[str]) -> int:
    """Number of rows to read.

    Raises:
        DataError: If the files are empty, or the cut leaves nothing.
    """
    data = reader.data
    wanted = {} if reader.entry_is_row else _wanted(reader)
    entries, passed = 0, 0
    for path in paths:
        with open_file(path) as file:
            entries += int(open_tree(file, data.tree).num_entries)
        if data.cut or wanted:
            passed += sum(map(len, _scan(path, reader, wanted)))
        else:
            passed = entries
        if data.max_events is not None and passed >= data.max_events:
            return data.max_events
    if passed:
        return passed
    if entries and data.cut:
        raise DataError(
            f"data.cut {data.cut!r}: expected {reader.row}s that pass, got none of {entries} entries; loosen the cut "
            "(hepgan inspect shows the ranges)"
        )
    got = f"none in {entries} entries" if entries else "zero entries"
    raise DataError(f"{', '.join(paths)}: expected {data.kind.rows}, got {got}; name other files")


def _iterate(reader: Reader, paths: Sequence[str]) -> Iterator[Events]:
    """Checked events of several files, at most ``data.max_events``; at least one."""
    data, wanted = reader.data, _wanted(reader)
    left = data.max_events
    n, total, some_weight = 0, 0.0, False
    for path in paths:
        for chunk in _scan(path, reader, wanted, entry_bytes=reader.row_bytes):
            events = _events(chunk if left is None else chunk[:left], reader)
            n += len(events)
            total += float(events.weights.sum(dtype=np.float64))
            some_weight = some_weight or bool(events.weights.any())
            yield events
            if left is not None:
                left -= len(events)
                if not left:
                    break
        if left == 0:
            break
    if not n:
        _count(reader, paths)  # raises the error that says why
    check_weights(data, total=total, some=some_weight)


def check_weights(data: DataConfig, *, total: float, some: bool) -> None:
    """Check the weights of all events.

    Args:
        data: Names the weight.
        total: Sum of the weights.
        some: Whether any of them is not zero.

    Raises:
        DataError: If all are zero, or their sum is not positive.
    """
    if data.weight is None:
        return
    if not some:
        raise DataError(
            f"data.weight {data.weight!r}: expected weights other than zero, got only zeros; name "
            "another branch"
        )
    if total <= 0:
        raise DataError(
            f"data.weight {data.weight!r}: expected a positive sum of weights, got {total:.6g}; check their "
            "sign, or cut"
        )


def _start(data: DataConfig, files: Sequence[str] | None, base: str | Path) -> tuple[Reader, list[str]]:
    """The reader and the existing files; a geometry file is read first."""
    reader = reader_of(data, base=base)
    _ = reader.calorimeter
    return reader, expand(data.files if files is None else files, base=base)


def iterate(
    data: DataConfig, *, files: Sequence[str] | None = None, base: str | Path = "."
) -> Iterator[Events]:
    """Read showers or tracks chunk by chunk, in the order of the files.

    Memory is bounded by ``data.chunk`` (and by the largest basket or cluster of the files).

    Args:
        data: What to read; ``max_events`` counts showers or tracks.
        files: Read these instead of ``data.files``.
        base: Folder of relative paths.

    Yields:
        The events or tracks that pass the cut, never an empty chunk.

    Raises:
        NotFoundError: If a file is missing.
        DataError: If the input is not what the configuration says, or the weights, checked after the last chunk, have
            no positive sum.
        ConfigError: If an expression of the configuration does not fit the branches.
    """
    yield from _iterate(*_start(data, files, base))


def count_entries(data: DataConfig, path: str) -> int:
    """Number of entries in the tree of a file, before any cut.

    Raises:
        NotFoundError: If the file is missing.
        DataError: If it has no such tree.
    """
    with open_file(path) as file:
        return int(open_tree(file, data.tree).num_entries)


def iterate_entries(
    data: DataConfig, path: str, entries: tuple[int, int], *, base: str | Path = "."
) -> Iterator[Events]:
    """Read a range of entries of one file, chunk by chunk; weights are not summed up, ``max_events`` is not applied.

    Args:
        data: What to read.
        path: The file.
        entries: First entry, and the one behind the last.
        base: Folder of relative paths.

    Yields:
        The events or tracks that pass the cut, never an empty chunk.

    Raises:
        NotFoundError: If the file is missing.
        DataError: If the input is not what the configuration says.
        ConfigError: If an expression of the configuration does not fit the branches.
    """
    reader = reader_of(data, base=base)
    for chunk in _scan(path, reader, _wanted(reader), entry_bytes=reader.row_bytes, entries=entries):
        yield _events(chunk, reader)


def iterate_conditions(data: DataConfig, path: str | Path) -> Iterator[Float32]:
    """Read only the conditions of one file, chunk by chunk; the cut is not applied.

    Args:
        data: Names the conditions, and the tree unless the file holds only one.
        path: The file.

    Yields:
        (N, n_conditions) in physical units, one row an entry (a track if conditions have a variable length). Values
        are not checked: the caller knows the trained range.

    Raises:
        NotFoundError: If the file is missing.
        DataError: If a branch is missing or holds no numbers.
    """
    with open_file(path) as file:
        several = len(find_trees(file)) > 1
    uncut = data.model_copy(update={"cut": None, **({} if several else {"tree": ""})})
    for chunk in _scan(location(path), reader_of(uncut), _conditions_wanted(data)):
        yield chunk.numbers(data.conditions)


def read(
    data: DataConfig, *, files: Sequence[str] | None = None, base: str | Path = ".", progress: bool = False
) -> Events:
    """Read all showers or tracks; for showers the memory is that of the result plus one chunk.

    Args:
        data: What to read; ``max_events`` counts showers or tracks.
        files: Read these instead of ``data.files``.
        base: Folder of relative paths.
        progress: Show a progress bar.

    Raises:
        NotFoundError: If a file is missing.
        DataError: If the input is not what the configuration says.
        ConfigError: If an expression of the configuration does not fit the branches.
    """
    reader, paths = _start(data, files, base)
    n = None  # few numbers a track: no need to count before
    if reader.entry_is_row:
        with shown(progress), stage("counting"):
            n = _count(reader, paths)
    with event_bar("reading", total=n or data.max_events, show=progress) as show_done:

        def parts() -> Iterator[Events]:
            done = 0
            for events in _iterate(reader, paths):
                yield events
                done += len(events)
                show_done(done)

        return Events.joined(parts(), n=n)
