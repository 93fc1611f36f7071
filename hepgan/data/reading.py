"""ROOT files (TTree and RNTuple) to arrays of showers or tracks, chunk by chunk.

`read` gives all events of a `DataConfig` at once, `iterate` one chunk after the other. Bad input (a missing branch,
NaN, a layer of another shape, hits outside the geometry, ...) stops here with a message that says what was expected,
what was found and where. `hepgan.data.branches` describes the layouts of the files, `hepgan.data.kinds` the difference
between showers and tracks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from hepgan.config import ConditionConfig, DataConfig
from hepgan.data.chunk import Chunk
from hepgan.data.columns import columns
from hepgan.data.events import Events, Float32
from hepgan.data.expressions import Expression
from hepgan.data.kinds import Reader, reader_of
from hepgan.data.root import arrays, branch_keys, find_branch, find_trees, open_file, open_tree
from hepgan.errors import ConfigError, DataError
from hepgan.files import expand, is_url, location
from hepgan.progress import shown, stage

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
    show: Callable[[float], None] = lambda share: None,
) -> Iterator[Chunk]:
    """Values of expressions in the rows of one file that pass the cut, in chunks, none of them empty.

    `entries` are the first one to read and the one behind the last; default: all. `show` is called with the share of
    the file that has been read.
    """
    data = reader.data
    with open_file(path) as file:
        tree = open_tree(file, data.tree)
        if tree.num_entries == 0 and not tree.keys():
            _LOG.warning("%s: tree %r has no entries and no branches", path, tree.name)
            return
        found = columns(tree)
        known = branch_keys(found)
        fixed = _fixed(path, data.conditions, known)
        expressions = [
            Expression(text, branches=known, label=label)
            for text, label in wanted.items()
            if text not in fixed
        ]
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
        read = [found[key] for key in dict.fromkeys(needed.values())]
        for part in arrays(tree, read, chunk=data.chunk, entry_bytes=entry_bytes, entries=entries):
            n = len(next(iter(part.values())))
            numbers = np.arange(start, start + n)
            start += n
            values = {name: part[key] for name, key in needed.items()}
            chunk = reader.rows(Chunk(path, numbers, values, reader.row), expressions, cut)
            show(start / tree.num_entries)
            if len(chunk):
                constants = {text: np.full(len(chunk), value) for text, value in fixed.items()}
                yield replace(chunk, values={**chunk.values, **constants}) if fixed else chunk


def _fixed(path: str, conditions: Sequence[ConditionConfig], known: Mapping[str, str]) -> dict[str, float]:
    """Values of conditions that are the same in all events of a file, which has no branch for them.

    Raises:
        ConfigError: If ``by_file`` has no pattern that fits the file.
    """
    result = {}
    for condition in conditions:
        if not condition.by_file or condition.expression in known:
            continue
        value = condition.of_file(path)
        if value is None:
            raise ConfigError(
                f"data.conditions {condition.name!r}: expected a branch {condition.expression!r} in {path}, or its "
                f"name in by_file, got neither; by_file has {', '.join(map(repr, condition.by_file))}: add the file"
            )
        result[condition.expression] = value
    return result


def _events(chunk: Chunk, reader: Reader) -> Events:
    """Turn one chunk into checked arrays."""
    data = reader.data
    weights = np.ones((len(chunk), 1), np.float32)
    if data.weight is not None:
        weights = chunk.dense(data.weight, ())
        chunk.reject_infinite(weights, name=data.weight)
    outputs = reader.outputs(chunk)
    return Events(chunk.conditions(data.conditions), outputs, weights[:, 0])


def _nothing(reader: Reader, paths: Sequence[str]) -> DataError:
    """The error for files of which no row is left."""
    data = reader.data
    entries = 0
    for path in paths:
        with open_file(path) as file:
            entries += int(open_tree(file, data.tree).num_entries)
    if entries and data.cut:
        return DataError(
            f"data.cut {data.cut!r}: expected {reader.row}s that pass, got none of {entries} entries; loosen the cut "
            "(hepgan inspect shows the ranges)"
        )
    got = f"none in {entries} entries" if entries else "zero entries"
    return DataError(f"{', '.join(paths)}: expected {data.kind.rows}, got {got}; name other files")


def _iterate(
    reader: Reader, paths: Sequence[str], show: Callable[[int, float], None] = lambda file, share: None
) -> Iterator[Events]:
    """Checked events of several files, at most ``data.max_events``; at least one.

    `show` is called with the number of a file, from 0, and the share of it that has been read.
    """
    data, wanted = reader.data, _wanted(reader)
    left = data.max_events
    n, total, some_weight = 0, 0.0, False
    for k, path in enumerate(paths):
        for chunk in _scan(path, reader, wanted, entry_bytes=reader.row_bytes, show=partial(show, k)):
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
        raise _nothing(reader, paths)
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
    sizes = [1.0 if is_url(path) else Path(path).stat().st_size / 1e6 for path in paths]
    done = 0.0
    with shown(progress), stage("reading (MB)", total=sum(sizes)) as update:

        def show(file: int, share: float) -> None:
            nonlocal done
            done = sum(sizes[:file]) + share * sizes[file]
            update(done)

        return Events.joined(_iterate(reader, paths, show), share=lambda: done / sum(sizes))
