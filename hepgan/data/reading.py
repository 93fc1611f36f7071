"""ROOT files (TTree and RNTuple) to arrays of showers or tracks, chunk by chunk.

`read` gives all events of a `DataConfig` at once, `iterate` one chunk after the other. Whatever is wrong with
the input (a missing branch, NaN, a layer of another shape, hits outside the geometry, ...) stops here with a
message that says what was expected, what was found and where.

Three layouts of showers are read; the table `_LAYOUTS` says which branches each needs and how they become
flat cells:

* ``arrays``: one branch a layer with a fixed shape (``layer_0[3][96]``), or as many numbers in C order;
* ``cells``: one scalar branch a cell (``cell_0 ... cell_506``), layers one after the other;
* ``hits``: variable-length branches, with layer and indices or a flat cell number for each energy.

Observables need no layout: one row is one entry of the tree or, where conditions or targets are variable-length
branches (one number a track), one track; numbers of the event are then repeated for each of its tracks. Expressions
are evaluated before, so that ``sum(track_pt > 500)`` is a number of the event.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from hepgan.config import SHOWERS, TRACKS, CalorimeterConfig, ConditionConfig, DataConfig, TargetConfig
from hepgan.data.events import Events, Float32
from hepgan.data.expressions import Expression
from hepgan.data.root import branch_keys, chunks, find_trees, open_file, open_tree
from hepgan.files import expand, near
from hepgan.geometry import Calorimeter

__all__ = ["iterate", "iterate_conditions", "read"]

_LOG = logging.getLogger(__name__)

_CELL_BYTES = 12  # memory of a cell while reading: float64 (sum of hits) and float32 (result)


@dataclass(frozen=True)
class _Chunk:
    """Values of the expressions that were asked for, and where they come from.

    Args:
        path: The file.
        entries: (N,) entry numbers in the tree, for messages.
        values: One awkward array an expression, axis 0 = events that pass the cut.
        row: What a row is, for messages: an event or a track.
    """

    path: str
    entries: NDArray[np.int64]
    values: Mapping[str, Any]
    row: str = "event"

    def __getitem__(self, index: slice | NDArray[Any]) -> _Chunk:
        values = {name: v[index] for name, v in self.values.items()}
        return replace(self, entries=self.entries[index], values=values)

    def tracks(self, names: Collection[str]) -> _Chunk:
        """One row a track if any of these values has a variable length, else the chunk as it is.

        Raises:
            ValueError: If values of variable length differ in it, or are lists of lists.
        """
        first = next((name for name in names if _is_jagged(self.values[name])), None)
        if first is None:
            return self
        counts = self.counts(
            [name for name, values in self.values.items() if _is_jagged(values)], first=first
        )
        event = np.repeat(np.arange(len(counts)), counts)
        values = {n: ak.flatten(v, axis=1) if _is_jagged(v) else v[event] for n, v in self.values.items()}
        for name, flat in values.items():
            if flat.ndim > 1 and _is_jagged(self.values[name]):
                raise ValueError(
                    f"{self.path}: {name!r}: expected one number for each track, got {_kind(flat)}; name another branch"
                )
        return replace(self, entries=self.entries[event], values=values)

    def counts(self, names: Collection[str], *, first: str) -> NDArray[np.int64]:
        """Number of tracks in each event (N,), which must be the same in these values as in the first.

        Raises:
            ValueError: If it is not; with the first entry.
        """
        expected: NDArray[np.int64] = ak.to_numpy(ak.num(self.values[first]))
        for name in names:
            got = ak.to_numpy(ak.num(self.values[name]))
            if (got != expected).any():
                row = int(np.argmax(got != expected))
                raise ValueError(
                    f"{self.path}: {name!r}: expected as many numbers as {first!r} has in each event, got "
                    f"{(got != expected).sum()} events that differ, the first in entry {self.entries[row]}: {got[row]} "
                    f"of {name!r} for {expected[row]} of {first!r}; name branches of the same tracks"
                )
        return expected

    def dense(self, name: str, shape: tuple[int, ...]) -> Float32:
        """Numbers of a fixed shape an event as (N, prod(shape)).

        Accepted are that shape, with or without axes of length 1, and as many numbers in C order (in
        branches of fixed or variable length).

        Raises:
            ValueError: If the branch has another shape or no numbers.
        """
        values = self.values[name]
        size = int(np.prod(shape))
        try:
            dense = np.ma.filled(ak.to_numpy(values), np.nan)
        except (ValueError, TypeError):
            self._reject_lengths(name, size)
            dense = np.empty(0, object)
        if dense.dtype.kind not in "biuf":
            raise ValueError(
                f"{self.path}: {name!r}: expected numbers, got {_kind(values)}; name another branch"
            )
        got = dense.shape[1:]
        if got not in (shape, (size,)) and [n for n in got if n != 1] != [n for n in shape if n != 1]:
            expected = f"shape {list(shape)} an event" if shape else f"one number for each {self.row}"
            remedy = (
                "change the shape in data.calorimeter.layers" if shape else f"take one of them ({name}[0])"
            )
            raise ValueError(
                f"{self.path}: {name!r}: expected {expected}, got {list(got)}; {remedy} or name another branch"
            )
        with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which is reported as such
            return dense.reshape(len(self.entries), size).astype(np.float32)

    def _reject_lengths(self, name: str, size: int) -> None:
        """Report a variable-length branch whose events have not all `size` numbers."""
        values = self.values[name]
        while values.ndim > 2:
            values = ak.flatten(values, axis=2)
        if values.ndim == 2:
            counts = ak.to_numpy(ak.num(values))
            self.reject(
                (counts != size)[:, None],
                name=name,
                expected=f"{size} numbers an event" if size > 1 else f"one number for each {self.row}",
                got=f"{self.row}s with other lengths",
            )

    def reject(
        self,
        bad: NDArray[np.bool_],
        *,
        name: str | Callable[[int], str],
        expected: str,
        got: str,
        remedy: str = "",
    ) -> None:
        """Stop at bad values.

        Args:
            bad: (N, columns).
            name: The branch, or the branch of a column.
            expected: What the values should be.
            got: What the bad ones are.
            remedy: What to do; default: the cut.

        Raises:
            ValueError: If any is bad; with their number and the first entry.
        """
        if not bad.any():
            return
        rows = bad.any(axis=1)
        row = int(np.argmax(rows))
        if callable(name):
            name = name(int(np.argmax(bad[row])))
        raise ValueError(
            f"{self.path}: {name!r}: expected {expected}, got {bad.sum()} {got} in {rows.sum()} {self.row}s of "
            f"entries {self.entries[0]} to {self.entries[-1]}, the first in entry {self.entries[row]}; "
            f"{remedy or f'leave such {self.row}s out with data.cut or repair the file'}"
        )

    def reject_infinite(self, values: Float32, *, name: str | Callable[[int], str]) -> None:
        """Stop at NaN and infinity."""
        self.reject(~np.isfinite(values), name=name, expected="finite values", got="NaN or infinite")

    def reject_energies(self, values: Float32, *, name: str | Callable[[int], str]) -> None:
        """Stop at energies that are not finite or negative."""
        self.reject_infinite(values, name=name)
        self.reject(values < 0, name=name, expected="energies >= 0", got="negative values")


def _kind(values: Any) -> str:
    """The type of one event of an array, for messages."""
    return str(values.type.content)


def _is_jagged(values: Any) -> bool:
    """Whether each event has a variable number of values (text is one value)."""
    kind = values.type.content
    return isinstance(kind, ak.types.ListType) and "__array__" not in kind.parameters


# Layouts: which branches are needed, and how a chunk of them becomes (N, cells) float32.


def _arrays_names(calo: CalorimeterConfig, calorimeter: Calorimeter) -> list[str]:
    return list(calo.branches)


def _arrays_cells(chunk: _Chunk, calo: CalorimeterConfig, calorimeter: Calorimeter) -> Float32:
    cells = np.empty((len(chunk.entries), calorimeter.n_cells), np.float32)
    for branch, layer, place in zip(calo.branches, calorimeter.layers, calorimeter.slices(), strict=True):
        cells[:, place] = chunk.dense(branch, layer.shape)
    return cells


def _cells_names(calo: CalorimeterConfig, calorimeter: Calorimeter) -> list[str]:
    """The cells and, with ``overflow = "tail"``, the overflow of each layer behind them."""
    tail = calorimeter.n_layers if calo.overflow == "tail" else 0
    return [calo.cells.format(k) for k in range(calorimeter.n_cells + tail)]


def _cells_cells(chunk: _Chunk, calo: CalorimeterConfig, calorimeter: Calorimeter) -> Float32:
    names = _cells_names(calo, calorimeter)
    cells = np.empty((len(names), len(chunk.entries)), np.float32)
    for k, name in enumerate(names):
        cells[k] = chunk.dense(name, ())[:, 0]
    return np.ascontiguousarray(cells.T)


def _hits_names(calo: CalorimeterConfig, calorimeter: Calorimeter) -> list[str]:
    """The address of a hit, then its energy."""
    hits = calo.hits
    names = () if hits is None else (hits.cell, hits.layer, hits.i, hits.j, hits.energy)
    return [name for name in names if name is not None]


def _hits_cells(chunk: _Chunk, calo: CalorimeterConfig, calorimeter: Calorimeter) -> Float32:
    names = _hits_names(calo, calorimeter)
    *addresses, energy_name = names
    for name in names:
        if chunk.values[name].ndim != 2:
            raise ValueError(
                f"{chunk.path}: {name!r}: expected one number a hit (a variable-length branch), got "
                f"{_kind(chunk.values[name])} an event; name another branch or change data.calorimeter.layout"
            )
    counts = ak.to_numpy(ak.num(chunk.values[energy_name]))
    for name in addresses:
        chunk.reject(
            (ak.to_numpy(ak.num(chunk.values[name])) != counts)[:, None],
            name=name,
            expected=f"as many hits as {energy_name!r}",
            got="differences",
            remedy="name branches of the same hits",
        )
    index = [_whole(chunk.values[name]) for name in addresses]
    event = np.repeat(np.arange(len(counts)), counts)
    if len(index) == 1:
        (cell,) = index
        outside = (cell < 0) | (cell >= calorimeter.n_cells)
        expected = f"cells 0 to {calorimeter.n_cells - 1}"
    else:
        layer, i, j = index
        known = np.clip(layer, 0, calorimeter.n_layers - 1)
        n_i, n_j = np.asarray(calorimeter.shapes, np.int64)[known].T
        outside = (layer != known) | (i < 0) | (i >= n_i) | (j < 0) | (j >= n_j)
        cell = np.asarray(calorimeter.offsets, np.int64)[known] + i * n_j + j
        expected = f"layers 0 to {calorimeter.n_layers - 1} of {calorimeter.shapes} cells"
    if outside.any():
        first = int(np.argmax(outside))
        got = ", ".join(f"{name} = {values[first]}" for name, values in zip(addresses, index, strict=True))
        raise ValueError(
            f"{chunk.path}: hits outside the geometry: expected {expected}, got {outside.sum()} other hits "
            f"of {len(outside)}, the first in entry {chunk.entries[event[first]]} ({got}); change the shapes "
            "of data.calorimeter.layers or leave such events out with data.cut"
        )
    energy = np.ma.filled(ak.to_numpy(ak.flatten(chunk.values[energy_name])), np.nan)
    n_cells = calorimeter.n_cells
    sums = np.bincount(event * n_cells + cell, weights=energy, minlength=len(counts) * n_cells)
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which is reported as such
        return sums.astype(np.float32).reshape(len(counts), n_cells)


def _whole(values: Any) -> NDArray[np.int64]:
    """Flat indices of hits; what is no number becomes -1, which is outside of every geometry."""
    flat = np.ma.filled(ak.to_numpy(ak.flatten(values)), -1)
    return np.where(np.isfinite(flat), flat, -1).astype(np.int64)


_Names = Callable[[CalorimeterConfig, Calorimeter], list[str]]
_Cells = Callable[[_Chunk, CalorimeterConfig, Calorimeter], Float32]
_LAYOUTS: dict[str, tuple[_Names, _Cells]] = {
    "arrays": (_arrays_names, _arrays_cells),
    "cells": (_cells_names, _cells_cells),
    "hits": (_hits_names, _hits_cells),
}


def _wanted(data: DataConfig, calorimeter: Calorimeter | None) -> dict[str, str]:
    """All expressions to read, and the key of the configuration that asks for each."""
    wanted = {target.expression: "data.targets" for target in data.targets}
    if calorimeter is not None:
        calo = data.calo
        wanted = dict.fromkeys(_LAYOUTS[calo.layout][0](calo, calorimeter), "data.calorimeter")
        if calo.overflow is not None and not _has_tail(calo):
            wanted[calo.overflow] = "data.calorimeter.overflow"
    if data.weight is not None:
        wanted[data.weight] = "data.weight"
    return wanted | {condition.expression: "data.conditions" for condition in data.conditions}


def _has_tail(calo: CalorimeterConfig) -> bool:
    return calo.layout == "cells" and calo.overflow == "tail"


def _scan(
    path: str, data: DataConfig, wanted: Mapping[str, str], *, entry_bytes: int = 0
) -> Iterator[_Chunk]:
    """Chunks of one file after the cut, none of them empty; for observables one row a track."""
    with open_file(path) as file:
        tree = open_tree(file, data.tree)
        known = branch_keys(tree)
        expressions = {text: Expression(text, branches=known, label=label) for text, label in wanted.items()}
        cut = Expression(data.cut, branches=known, label="data.cut") if data.cut else None
        needed: dict[str, str] = {}
        for expression in (*expressions.values(), *([cut] if cut else [])):
            if not expression.names:
                raise ValueError(
                    f"{expression.label} {expression.text!r}: expected an expression of branches, got none "
                    "in it; name a branch"
                )
            for name in expression.names:
                if name not in known:
                    raise ValueError(
                        f"{path}: tree {tree.name!r} has no branch {name!r} ({expression.label}); "
                        f"{near(name, known)}"
                    )
                needed[name] = known[name]
        if tree.num_entries == 0:
            _LOG.warning("%s: tree %r has no entries", path, tree.name)
            return
        start = 0
        for part in chunks(tree, needed.values(), chunk=data.chunk, entry_bytes=entry_bytes):
            entries = np.arange(start, start + len(part))
            start += len(part)
            row = "track" if data.kind is TRACKS else "event"
            chunk = _Chunk(path, entries, {name: part[key] for name, key in needed.items()}, row)
            if data.kind is TRACKS:
                chunk = _evaluated(chunk, [*expressions.values(), *([cut] if cut else [])]).tracks(wanted)
                chunk = chunk[_passed(cut, chunk, chunk.values[cut.text])] if cut else chunk
            else:
                chunk = chunk[_passed(cut, chunk, cut(chunk.values))] if cut else chunk
                chunk = _evaluated(chunk, expressions.values()) if len(chunk.entries) else chunk
            if len(chunk.entries):
                yield chunk


def _evaluated(chunk: _Chunk, expressions: Iterable[Expression]) -> _Chunk:
    """The values of expressions from those of branches."""
    values = {}
    for expression in expressions:
        try:
            values[expression.text] = expression(chunk.values)
        except ValueError:
            jagged = [name for name in sorted(expression.names) if _is_jagged(chunk.values[name])]
            if jagged:
                chunk.counts(jagged[1:], first=jagged[0])  # says it if this is the reason
            raise
    return replace(chunk, values=values)


def _passed(cut: Expression, chunk: _Chunk, result: Any) -> NDArray[np.bool_]:
    try:
        passed = ak.to_numpy(result, allow_missing=False)
    except ValueError:
        passed = np.empty((0, 0))
    if passed.shape != chunk.entries.shape or passed.dtype.kind not in "bui":
        raise ValueError(
            f"{chunk.path}: data.cut {cut.text!r}: expected true or false for each {chunk.row}, got "
            f"{_kind(result)} for each; compare it with a number, or reduce it with any() or all()"
        )
    return np.asarray(passed, dtype=np.bool_)


def _condition(chunk: _Chunk, condition: ConditionConfig) -> Float32:
    """The checked values of a condition, (N, 1)."""
    column = _column(chunk, condition)
    bad, expected, remedy = np.zeros(column.shape, np.bool_), "", ""
    if condition.categories:
        bad = ~np.isin(column, np.asarray([*condition.categories.values()], np.float32))
        known = ", ".join(f"{name} = {value:g}" for name, value in condition.categories.items())
        expected, remedy = f"one of the categories {known}", "add it to them"
    elif condition.integer:
        bad = column != np.rint(column)
        expected, remedy = "whole numbers (integer = true)", "leave integer out"
    if bad.any():
        chunk.reject(
            bad,
            name=condition.expression,
            expected=expected,
            got=f"other values such as {column[bad][0]:g}",
            remedy=f"{remedy}, or leave such {chunk.row}s out with data.cut",
        )
    return column


def _column(chunk: _Chunk, number: ConditionConfig | TargetConfig) -> Float32:
    """The finite values of a condition or target, (N, 1); positive or an atom if its logarithm is taken."""
    column = chunk.dense(number.expression, ())
    chunk.reject_infinite(column, name=number.expression)
    if number.transform == "log":
        atoms = number.atoms if isinstance(number, TargetConfig) else ()
        bad = (column <= 0) & ~np.isin(column, np.asarray(atoms, np.float32))
        chunk.reject(
            bad, name=number.expression, expected='values > 0 (transform = "log")', got="values <= 0"
        )
    return column


def _conditions(chunk: _Chunk, data: DataConfig) -> Float32:
    """The checked conditions of one chunk, (N, n_conditions)."""
    return np.concatenate([_condition(chunk, condition) for condition in data.conditions], axis=1)


def _events(chunk: _Chunk, data: DataConfig, calorimeter: Calorimeter | None) -> Events:
    """Turn one chunk into checked arrays."""
    weights = np.ones((len(chunk.entries), 1), np.float32)
    if data.weight is not None:
        weights = chunk.dense(data.weight, ())
        chunk.reject_infinite(weights, name=data.weight)
    if calorimeter is None:
        outputs: tuple[Float32, ...] = (np.concatenate([_column(chunk, t) for t in data.targets], axis=1),)
    else:
        outputs = _showers(chunk, data.calo, calorimeter)
    return Events(_conditions(chunk, data), outputs, weights[:, 0])


def _showers(chunk: _Chunk, calo: CalorimeterConfig, calorimeter: Calorimeter) -> tuple[Float32, Float32]:
    """The checked cells (N, n_cells) and overflow (N, n_overflow) of one chunk."""

    def cell_branch(column: int) -> str:
        if calo.layout == "arrays":
            return calo.branches[int(np.searchsorted(calorimeter.offsets, column, side="right")) - 1]
        return calo.cells.format(column) if calo.layout == "cells" else _hits_names(calo, calorimeter)[-1]

    cells = _LAYOUTS[calo.layout][1](chunk, calo, calorimeter)
    chunk.reject_energies(cells, name=cell_branch)
    overflow = np.empty((len(cells), 0), np.float32)
    if _has_tail(calo):
        overflow = np.ascontiguousarray(cells[:, calorimeter.n_cells :])
        cells = np.ascontiguousarray(cells[:, : calorimeter.n_cells])
    elif calo.overflow is not None:
        overflow = chunk.dense(calo.overflow, (calorimeter.n_layers,))
        chunk.reject_energies(overflow, name=calo.overflow)
    return cells, overflow


def _calorimeter(data: DataConfig, base: str | Path) -> Calorimeter | None:
    """The geometry; none for observables."""
    return data.calo.calorimeter(base=base) if data.kind is SHOWERS else None


def _iterate(data: DataConfig, paths: Sequence[str], calorimeter: Calorimeter | None) -> Iterator[Events]:
    wanted = _wanted(data, calorimeter)
    entry_bytes = _CELL_BYTES * (calorimeter.n_cells if calorimeter else 0)
    left = data.max_events
    total, some_weight = 0.0, False
    for path in paths:
        for chunk in _scan(path, data, wanted, entry_bytes=entry_bytes):
            events = _events(chunk if left is None else chunk[:left], data, calorimeter)
            total += float(events.weights.sum(dtype=np.float64))
            some_weight = some_weight or bool(events.weights.any())
            yield events
            if left is not None:
                left -= len(events)
                if not left:
                    break
        if left == 0:
            break
    if data.weight is None:
        return
    if not some_weight:
        raise ValueError(
            f"data.weight {data.weight!r}: expected weights other than zero, got only zeros; name "
            "another branch"
        )
    if total <= 0:
        raise ValueError(
            f"data.weight {data.weight!r}: expected a positive sum of weights, got {total:.6g}; check their "
            "sign, or cut"
        )


def iterate_conditions(data: DataConfig, path: str | Path) -> Iterator[Float32]:
    """Read only the conditions of one file, chunk by chunk; the cut is not applied.

    Args:
        data: Names the conditions, and the tree unless the file holds only one.
        path: The file.

    Yields:
        (N, n_conditions) in physical units, one row an entry (a track where conditions have a variable length).

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If a branch is missing or holds anything but finite numbers.
    """
    with open_file(path) as file:
        several = len(find_trees(file)) > 1
    uncut = data.model_copy(update={"cut": None, **({} if several else {"tree": ""})})
    wanted = {condition.expression: "data.conditions" for condition in data.conditions}
    for chunk in _scan(str(path), uncut, wanted):
        yield _conditions(chunk, data)


def _count(data: DataConfig, paths: Sequence[str]) -> int:
    """Number of rows to read (for showers only the cut's branches are).

    Raises:
        ValueError: If the files are empty, or the cut leaves nothing.
    """
    rows = data.kind.rows
    wanted = {} if data.kind is SHOWERS else _wanted(data, None)
    entries, passed = 0, 0
    for path in paths:
        with open_file(path) as file:
            entries += int(open_tree(file, data.tree).num_entries)
        if data.cut or wanted:
            passed += sum(len(chunk.entries) for chunk in _scan(path, data, wanted))
        else:
            passed = entries
        if data.max_events is not None and passed >= data.max_events:
            return data.max_events
    if passed:
        return passed
    if entries and data.cut:
        raise ValueError(
            f"data.cut {data.cut!r}: expected {'tracks' if wanted else 'events'} that pass, got none of "
            f"{entries}{' entries' if wanted else ''}; loosen the cut (hepgan inspect shows the ranges)"
        )
    got = f"none in {entries} entries" if entries else "zero entries"
    raise ValueError(f"{', '.join(paths)}: expected {rows}, got {got}; name other files")


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
        FileNotFoundError: If a file is missing.
        ValueError: If the input is not what the configuration says; see the module's text. Weights are
            judged behind the last chunk.
    """
    calorimeter = _calorimeter(data, base)
    paths = expand(data.files if files is None else files, base=base)
    nothing = True
    for events in _iterate(data, paths, calorimeter):
        nothing = False
        yield events
    if nothing:
        _count(data, paths)  # says why


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
        FileNotFoundError: If a file is missing.
        ValueError: If the input is not what the configuration says; see the module's text.
    """
    calorimeter = _calorimeter(data, base)
    paths = expand(data.files if files is None else files, base=base)
    n = _count(data, paths) if calorimeter else data.max_events
    with Progress(console=Console(stderr=True), transient=True, disable=not progress) as bar:
        task = bar.add_task("reading", total=n)
        if (
            calorimeter is None or n is None
        ):  # few numbers a track: join the chunks instead of counting before
            parts = []
            for events in iterate(data, files=files, base=base):
                parts.append(events)
                bar.advance(task, len(events))
            outputs = zip(*(part.outputs for part in parts), strict=True)
            return Events(
                np.concatenate([part.conditions for part in parts]),
                tuple(np.concatenate(output) for output in outputs),
                np.concatenate([part.weights for part in parts]),
            )
        n_overflow = calorimeter.n_layers if data.calo.overflow is not None else 0
        result = Events(
            np.empty((n, len(data.conditions)), np.float32),
            (np.empty((n, calorimeter.n_cells), np.float32), np.empty((n, n_overflow), np.float32)),
            np.empty(n, np.float32),
        )
        start = 0
        for events in _iterate(data, paths, calorimeter):
            place = slice(start, start + len(events))
            result.conditions[place] = events.conditions
            for whole, part in zip(result.outputs, events.outputs, strict=True):
                whole[place] = part
            result.weights[place] = events.weights
            start = place.stop
            bar.update(task, completed=start)
    return result
