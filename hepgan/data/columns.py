"""Columns of a tree: each member of each branch that holds one number, text or list, under one full name.

A branch may hold numbers, a list of them, or records: a leaf list (``kin.P``), a split object (``trk/P``), an object
that is stored whole (``event.hits.energy``), a struct of an RNTuple (``trk.P``). A column is one member of it, with the
lists around it. It is always read by the branch itself and the path in it, so that equal names elsewhere do not matter.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from unicodedata import normalize

import awkward as ak
import numpy as np
from uproot.interpretation.jagged import AsJagged
from uproot.interpretation.numerical import AsDtype
from uproot.interpretation.objects import AsObjects, AsStridedObjects

from hepgan.data.interpretations import interpretation_of

__all__ = ["Column", "Streams", "columns", "short_names"]

_TEXTS = ("string", "bytestring", "char", "byte")
_DIMENSIONS = re.compile(r"(\[\d*\])+$")  # uproot keeps those of arrays in the names of split members
_NUMBERS = "biuf"  # kinds of NumPy types


@dataclass(frozen=True, eq=False)
class Column:
    """One member of one branch.

    Args:
        name: Full name: path of the branch (as uproot gives it), and of the member in it, separated by dots.
        branch: uproot's branch of a TTree, or field of an RNTuple.
        members: Path to the column in the records of the branch.
        type: Type as ROOT or C++ calls it.
        numeric: Whether it holds numbers.
        interpretation: How uproot reads the branch of a TTree.
        error: Why it cannot be read, if that is known without reading.
    """

    name: str
    branch: Any
    members: tuple[str, ...] = ()
    type: str = ""
    numeric: bool = False
    interpretation: Any = None
    error: Exception | None = None

    @property
    def kind(self) -> str:
        """Whether the branch holds "numbers" (or lists of them), or "objects" of a class."""
        content = getattr(self.interpretation, "content", self.interpretation)
        objects = self.error is not None or isinstance(content, (AsObjects, AsStridedObjects))
        return "objects" if objects else "numbers"


def columns(tree: Any, names: Collection[str] | None = None) -> dict[str, Column]:
    """Columns of a TTree or RNTuple by their full names, in the order of the file.

    Args:
        tree: uproot's tree.
        names: Look only at branches that may hold these; default: all.
    """
    found: dict[str, Column] = {}
    branches = list(tree.items())
    if names is not None:
        parts = {name: name.split(".") for name in names}
        wanted = {".".join(words[:k]) for words in parts.values() for k in range(1, len(words) + 1)}
        branches = [(name, branch) for name, branch in branches if name in wanted]
    for column in (_of_fields if hasattr(tree, "cluster_summaries") else _of_branches)(branches):
        found.setdefault(column.name, column)  # as TTree::GetBranch, the first of several with the same name
    return found


def _of_branches(branches: Sequence[tuple[str, Any]]) -> Iterator[Column]:
    for name, branch in branches:
        parent = len(branch.branches) > 0
        try:
            interpretation = interpretation_of(branch)
            if parent and hasattr(interpretation, "subbranches"):
                continue  # its columns are those of its members
            form = _form(interpretation, branch)
        except Exception as error:  # uproot raises nearly everything for types that it does not know
            if not parent:
                yield Column(name, branch, type=_typename(branch), error=error)
            continue
        kind = "" if form.is_record else interpretation.typename
        yield from _of_form(name, form, branch, kind, interpretation)


def _form(interpretation: Any, branch: Any) -> Any:
    """The form of the arrays of a branch."""
    dtype = interpretation.to_dtype if type(interpretation) is AsDtype else None
    if dtype is not None and dtype.names:  # a leaf list, with members that may be arrays
        forms = [ak.forms.NumpyForm(dtype[name].base.name, dtype[name].shape) for name in dtype.names]
        return ak.forms.RecordForm(forms, dtype.names)
    return interpretation.awkward_form(branch.file)


def _of_fields(fields: Sequence[tuple[str, Any]]) -> Iterator[Column]:
    parents = {name.rpartition(".")[0] for name, _ in fields}
    for name, field in fields:
        if name in parents:
            continue
        try:
            form = field.to_akform()
            form = form[0] if isinstance(form, tuple) else form
            leaves = list(_leaves(form))
        except Exception as error:
            yield Column(name, field, type=_typename(field), error=error)
            continue
        numeric = len(leaves) == 1 and _is_numeric(leaves[0][1])
        single = len(leaves) == 1 and not leaves[0][1].is_union
        found = "values of several types" if leaves else "no members"
        problem = None if single else NotImplementedError(found)
        yield Column(name, field, type=_typename(field), numeric=numeric, error=problem)


def _of_form(name: str, form: Any, branch: Any, kind: str, interpretation: Any) -> Iterator[Column]:
    for members, leaf in _leaves(form):
        error = None
        if isinstance(leaf, ak.forms.UnionForm):
            error = NotImplementedError("values of several types")
        yield Column(
            ".".join((name, *members)),
            branch,
            members,
            kind if not members else str(getattr(leaf, "primitive", "text")),
            _is_numeric(leaf),
            interpretation,
            error,
        )


def _leaves(form: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Paths of the members in a form that are no records."""
    if form.is_record:
        for field, content in zip(form.fields, form.contents, strict=True):
            if not field.startswith("@"):  # what ROOT's streams hold beside the members
                yield from _leaves(content, (*path, field))
    elif not form.is_union and form.parameter("__array__") not in _TEXTS and hasattr(form, "content"):
        yield from _leaves(form.content, path)
    else:
        yield path, form


def _is_numeric(form: Any) -> bool:
    return isinstance(form, ak.forms.NumpyForm) and form.parameter("__array__") is None and (
        np.dtype(form.primitive).kind in _NUMBERS
    )  # fmt: skip


def _typename(branch: Any) -> str:
    """The type of a branch that uproot may not know."""
    try:
        name = str(branch.typename)
        if "unknown" not in name:
            return name
    except Exception:  # such as an invalid range of a Float16_t
        name = "unknown"
    streamer = getattr(branch, "streamer", None)
    named = streamer.typename if streamer is not None else branch.member("fClassName", none_if_missing=True)
    leaves = [leaf.classname for leaf in branch.member("fLeaves")]
    return str(named or ", ".join(leaves) or name)


def _spelled(text: str) -> Iterable[str]:
    """A text as it is, with composed, and with decomposed characters."""
    return (text,) if text.isascii() else (text, normalize("NFC", text), normalize("NFD", text))


def short_names(full: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Full names by each way to write them: with dots or slashes, without dimensions, and every end of the path.

    A full name stands for itself alone, a whole path before ends of others; a text that still stands for several is
    ambiguous. Letters with marks may be written as one character or as several, which look the same (Unicode's NFC and
    NFD, what keyboards and macOS give).
    """
    written: tuple[dict[str, dict[str, None]], ...] = ({}, {}, {})  # full names, whole paths, ends of paths
    for name in full:
        plain = _DIMENSIONS.sub("", name)
        parts = [part for part in re.split(r"[./]+", plain) if part]
        # a member of the branch "calo." is "calo./calo.energy": what is repeated counts once
        once = [part for k, part in enumerate(parts) if k in (0, len(parts) - 1) or part != parts[k - 1]]
        ends = [separator.join(once[k:]) for k in range(len(once)) for separator in "./"]
        whole = [name, plain, ".".join(parts), "/".join(parts), *ends[:2]]
        for level, texts in zip(written, ([name], whole, [*ends[2:], name.rpartition("/")[2]]), strict=True):
            for text in texts:
                for form in (text,) if level is written[0] else _spelled(text):
                    level.setdefault(form, {})[name] = None
    return {text: tuple(names) for level in reversed(written) for text, names in level.items()}


class Streams:
    """Consecutive entries of some columns; each basket or cluster is decompressed once.

    Args:
        read: The columns.
        start: The first entry.
        pool: Threads that decompress and interpret baskets; None: the calling one.
    """

    def __init__(self, read: Iterable[Column], *, start: int = 0, pool: Executor | None = None) -> None:
        self._columns: dict[int, list[Column]] = {}
        for column in read:
            self._columns.setdefault(id(column.branch), []).append(column)
        self._streams: dict[int, _Stream] = {}
        self._start, self._pool = start, pool

    def take(self, stop: int) -> Iterator[tuple[Column, Any]]:
        """The entries from the end of the last call to `stop`: each column, and its values or the exception.

        A column that failed is left out from then on.
        """
        self._read_together(stop)
        for key, read in list(self._columns.items()):
            try:
                values = self._stream(key).take(stop)
            except Exception as error:  # uproot raises nearly everything
                del self._columns[key]
                self._streams.pop(key, None)
                yield from ((column, error) for column in read)
            else:
                yield from ((column, _member(values, column)) for column in read)

    def _stream(self, key: int) -> _Stream:
        read = self._columns[key]
        known = next((column.error for column in read if column.error is not None), None)
        if known is not None:
            raise known
        if key not in self._streams:
            self._streams[key] = _Stream(read[0], self._pool, start=self._start)
        return self._streams[key]

    def _read_together(self, stop: int) -> None:
        """Read branches of a TTree with the same baskets in one call: uproot then takes half the time.

        Fields of an RNTuple, which uproot reads in one thread, are read at once, each by a thread. What is read here is
        not read again by `take`; a branch that fails is left to it, for the error.
        """
        if self._pool is not None:
            self._read_fields(stop, self._pool)
        groups: dict[tuple[int, int, str], list[_Stream]] = {}
        for key in self._columns:
            with suppress(Exception):
                stream = self._stream(key)
                if stream.usual and (end := stream.needed(stop)):
                    groups.setdefault((stream.stop, end, stream.library), []).append(stream)
        for (start, end, library), streams in groups.items():
            chosen = {id(stream.branch): stream for stream in streams}
            names = {stream.branch.name for stream in streams}
            if len(streams) == 1 or len(names) < len(streams):
                continue
            with suppress(Exception):
                arrays = streams[0].branch.tree.arrays(
                    filter_branch=lambda branch, chosen=chosen: id(branch) in chosen,
                    entry_start=start,
                    entry_stop=end,
                    library=library,
                    how=dict,
                    array_cache=None,
                    decompression_executor=self._pool,
                    interpretation_executor=self._pool,
                )
                for stream in streams:
                    stream.add(stream.checked(arrays[stream.branch.name]), end)

    def _read_fields(self, stop: int, pool: Executor) -> None:
        started = {}
        for key in self._columns:
            with suppress(Exception):
                stream = self._stream(key)
                if hasattr(stream.branch, "ntuple") and (end := stream.needed(stop)):
                    _ = stream.branch.ntuple.page_link_list  # which threads then share
                    started[stream] = end, pool.submit(stream.read, stream.stop, end)
        for stream, (end, future) in started.items():
            with suppress(Exception):
                stream.add(future.result(), end)


class _Stream:
    """Consecutive entries of one branch.

    Attributes:
        branch: The branch.
        usual: Whether it holds numbers, or lists of them, and uproot reads them as they are.
        library: Of its arrays: NumPy for numbers of a fixed shape in a TTree, else awkward.
        stop: Entries that were read.
    """

    def __init__(self, column: Column, pool: Executor | None, *, start: int) -> None:
        self._column, self._pool = column, pool
        self._start = self.stop = start  # entries in memory
        self._kept: Any = None
        branch = self.branch = column.branch
        kind = column.interpretation
        content = kind.content if type(kind) is AsJagged else kind
        numbers = type(content) is AsDtype and content.to_dtype.base.kind in _NUMBERS
        self.usual = numbers and kind is branch.interpretation
        self.library = "np" if self.usual and kind is content else "ak"
        if hasattr(branch, "entry_offsets"):
            ends = list(branch.entry_offsets)
        else:
            ends = [cluster.num_first_entry for cluster in branch.ntuple.cluster_summaries]
        self._ends = np.unique(np.asarray([*ends, branch.num_entries], np.int64))

    def needed(self, stop: int) -> int:
        """End of the entries to read, whole baskets or clusters, to have those up to `stop`; 0 if they are there."""
        if stop <= self.stop:
            return 0
        return max(stop, int(self._ends[self._ends >= stop].min(initial=self._ends[-1])))

    def add(self, values: Any, stop: int) -> None:
        """Append entries that were read, up to `stop`."""
        if len(values) != stop - self.stop:
            raise ValueError(f"expected {stop - self.stop} entries, got {len(values)}")
        if self._kept is not None and len(self._kept):
            join = np.concatenate if isinstance(values, np.ndarray) else ak.concatenate
            values = join([self._kept, values])
        self._kept, self.stop = values, stop

    def take(self, stop: int) -> Any:
        """The entries from the end of the last call to `stop`: of its library."""
        if end := self.needed(stop):
            self.add(self.read(self.stop, end), end)
        n = stop - self._start
        part, self._kept = self._kept[:n], self._kept[n:]
        self._start = stop
        return part

    def read(self, start: int, stop: int) -> Any:
        """The entries from `start` to `stop`, which are not kept."""
        column = self._column
        options = {} if column.interpretation is None else {"interpretation": column.interpretation}
        values = self.branch.array(
            entry_start=start,
            entry_stop=stop,
            library=self.library,
            array_cache=None,
            decompression_executor=self._pool,
            interpretation_executor=self._pool,
            **options,
        )
        return self.checked(values)

    def checked(self, values: Any) -> Any:
        """The array as uproot gives it, if lists in it are sound.

        Raises:
            ValueError: If they are not.
        """
        if self.library == "np":
            return values
        values = values if isinstance(values, ak.Array) else ak.Array(values)
        if isinstance(self._column.interpretation, (AsJagged, type(None))) and not _sound(values):
            raise ValueError("corrupted lists: their ends are not in order, or behind their numbers")
        return values


def _sound(values: Any) -> bool:
    """Whether lists are inside their content, one behind the other."""
    layout = values.layout
    if not (layout.is_list and hasattr(layout, "offsets") and layout.content.is_numpy):
        return not ak.validity_error(values)
    ends = np.asarray(layout.offsets)
    return bool(ends[0] >= 0 and (ends[1:] >= ends[:-1]).all() and ends[-1] <= len(layout.content))


def _member(values: Any, column: Column) -> Any:
    """The values of a column in those of its branch; numbers that are missing become NaN."""
    for name in column.members:
        values = values[name]
    if column.numeric and not isinstance(values, np.ndarray) and "?" in str(values.type):
        return ak.fill_none(ak.values_astype(values, np.float64), np.nan)
    return values
