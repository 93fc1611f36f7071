"""The one writer of ROOT trees: files that ROOT's own tools read, merge (`hadd`) and process with several threads.

uproot writes them. Three things that it leaves open are settled here:

* *clusters*: a TTree's `fAutoFlush` tells ROOT how many entries belong together, and so what its threads may share
  out. uproot writes ROOT's default, a number of bytes, for which a file below 30 MB is one cluster. Rows are written in
  clusters of equal size, and that size is entered in the finished file.
* *counters*: variable-length branches may share the branch with their number of values.
* *compression*: by name, see `CODECS`.

An RNTuple of uproot (5.7) has no checksums of its pages: ROOT reads it, but `hadd` refuses it. docs/root.md has the way
around.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from hepgan.files import check_target, written

__all__ = [
    "CODECS",
    "COMPRESSION",
    "FORMATS",
    "Format",
    "TreeWriter",
    "branch_name",
    "check_compression",
    "check_format",
    "cluster_rows",
    "tree_file",
]

Format = Literal["ttree", "rntuple"]
FORMATS = ("ttree", "rntuple")

CODECS: dict[str, tuple[int, int]] = {"zstd": (1, 22), "lz4": (4, 12), "zlib": (1, 9), "lzma": (1, 9)}
"""Level that is taken without a number, and the highest, of each compression; the lowest is 1. ROOT reads them all."""
COMPRESSION = "zstd"
"""Default: 4 times faster than ROOT's default (zlib) at the same size; ROOT reads it since 6.20."""

_NAME = re.compile(r"[^\W\d]\w*((\.|::)\w+)*|`([^`]|``)+`")
_CLUSTER_ROWS = (
    50_000  # a basket of a number an event has 200 kB: smaller ones take longer to write than to fill
)
_CLUSTER_BYTES = 8_000_000  # of float32 events in a cluster, and in memory, at most
_SAVED = (
    100  # clusters after which ROOT saves a tree that it copies (hadd); each time leaves a cycle of the key
)
_BASKETS = 100  # of each branch, before the description of the tree is written again with more room


def branch_name(expression: str, name: str) -> str:
    """The branch to write: the same as in the training file unless it was computed from several branches.

    Args:
        expression: A name, with dots (``kin.P``) or in backticks too, or an expression of branches.
        name: The name to take for an expression.
    """
    text = expression.strip()
    if not _NAME.fullmatch(text):
        return name
    return text[1:-1].replace("``", "`") if text.startswith("`") else text


def cluster_rows(numbers: int, *, batch: int = 1) -> int:
    """Rows of a cluster.

    Args:
        numbers: Numbers in a row.
        batch: The result is a multiple of it.
    """
    most = min(_CLUSTER_ROWS, _CLUSTER_BYTES // (4 * max(1, numbers)))
    return max(1, most // batch) * batch


def check_format(format: str) -> None:
    """Refuse an unknown kind of tree.

    Raises:
        ValueError: With the kinds that there are.
    """
    if format not in FORMATS:
        raise ValueError(f"format: expected 'ttree' or 'rntuple', got {format!r}; choose one")


def check_compression(text: str) -> tuple[str, int] | None:
    """Name and level of a compression such as ``zstd:5``, ``zstd`` or ``none``; None for none.

    Raises:
        ValueError: If there is no such compression, or it has no such level.
    """
    name, colon, level = text.strip().lower().partition(":") if isinstance(text, str) else ("", "", "")
    if name == "none" and not colon:
        return None
    if name not in CODECS:
        known = ", ".join(f"{codec}[:1-{highest}]" for codec, (_, highest) in CODECS.items())
        raise ValueError(
            f"compression: expected one of {known} or none, got {text!r}; write {COMPRESSION}, or lzma:9 for the "
            "smallest file"
        )
    usual, highest = CODECS[name]
    if not colon:
        return name, usual
    if not (level.isascii() and level.isdigit() and 1 <= int(level[:3]) <= highest):
        raise ValueError(
            f"compression: expected a level from 1 to {highest} for {name}, got {text!r}; write {name}:{usual}"
        )
    return name, int(level)


def _codec(text: str) -> Any:
    """Uproot's object for a compression."""
    import uproot

    found = check_compression(text)
    return found and getattr(uproot, found[0].upper())(found[1])


class TreeWriter:
    """A tree that grows chunk by chunk, in a ROOT file that is open for writing.

    Args:
        file: The file (`uproot.WritableDirectory`).
        tree: Name of the tree.
        title: Its title.
        rows: Rows of a cluster; the last one may have fewer.
        format: Kind of the tree.
        counters: TTree: for variable-length branches the name of the branch with the number of values.
    """

    def __init__(
        self, file: Any, tree: str, *, title: str, rows: int, format: Format, counters: Mapping[str, str]
    ) -> None:
        self._file, self._name, self._title, self._rows, self._format = file, tree, title, rows, format
        self._counters = counters
        self._tree: Any = None
        self._waiting: list[Mapping[str, Any]] = []
        self._n_waiting = 0
        self._room: dict[str, Any] = {}

    def extend(self, branches: Mapping[str, Any]) -> None:
        """Append rows; the first ones decide names and types of the branches.

        Args:
            branches: Arrays (N, ...) by name, of NumPy or awkward. They are copied when a cluster is full.
        """
        n = len(next(iter(branches.values())))
        start = 0
        while self._n_waiting + n - start >= self._rows:
            stop = start + self._rows - self._n_waiting
            self._waiting.append(_part(branches, start, stop))
            self._append()
            start = stop
        if n > start or (self._tree is None and not self._waiting):
            self._waiting.append(_part(branches, start, n))
            self._n_waiting += n - start

    def finish(self) -> None:
        """Write the rows that do not fill a cluster."""
        if self._tree is None or self._n_waiting:
            self._append()

    def _joined(self, name: str) -> Any:
        """The waiting rows of a branch; for a TTree in ROOT's byte order, in memory that all clusters share."""
        import awkward as ak
        import numpy as np

        parts = [branches[name] for branches in self._waiting]
        first = parts[0]
        if isinstance(first, ak.Array):
            return parts[0] if len(parts) == 1 else ak.concatenate(parts)
        if self._format != "ttree" or first.dtype.kind not in "biuf":
            return np.concatenate(parts)
        room = self._room.get(name)
        if room is None:
            room = self._room[name] = np.empty((self._rows, *first.shape[1:]), first.dtype.newbyteorder(">"))
        return np.concatenate(parts, out=room[: sum(map(len, parts))], casting="same_kind")

    def _append(self) -> None:
        branches = {name: self._joined(name) for name in (self._waiting or [{}])[0]}
        self._waiting, self._n_waiting = [], 0
        if self._tree is not None:
            self._tree.extend(branches)
        elif self._format == "ttree":
            shared = {name: n for name, n in self._counters.items() if n not in branches}
            names = {name: shared.get(name, f"n{name}") for name in branches}  # else uproot's own rule
            self._tree = self._file.mktree(
                self._name,
                branches,
                title=self._title,
                counter_name=names.__getitem__,
                initial_basket_capacity=_BASKETS,
            )
        else:  # an RNTuple has fixed-size arrays only if the type says so
            import awkward as ak

            _check_fields(branches)

            regular = {
                name: values if isinstance(values, ak.Array) else ak.from_numpy(values, regulararray=True)
                for name, values in branches.items()
            }
            self._tree = self._file.mkrntuple(self._name, regular, description=self._title)


def _check_fields(names: Iterable[str]) -> None:
    """Refuse names that an RNTuple cannot have, though a TTree can."""
    refused = [name for name in names if re.search(r"[./\\\s]", name)]
    if refused:
        raise ValueError(
            f"format: an RNTuple cannot have fields with dots, slashes or spaces in their names, got {refused}; take "
            "'ttree'"
        )


def _part(branches: Mapping[str, Any], start: int, stop: int) -> dict[str, Any]:
    return {name: values[start:stop] for name, values in branches.items()}


@contextmanager
def tree_file(
    path: str | Path,
    tree: str,
    *,
    content: str,
    rows: int,
    title: str = "",
    format: Format = "ttree",
    compression: str = COMPRESSION,
    counters: Mapping[str, str] | None = None,
    notes: Mapping[str, str] | None = None,
) -> Iterator[TreeWriter]:
    """Write a ROOT file with one tree; it appears when it is complete, and replaces one of that name.

    Args:
        path: The file.
        tree: Name of the tree, with its folders.
        content: Name of the content, for messages.
        rows: Rows of a cluster, see `cluster_rows`.
        title: Title of the tree, or description of the RNTuple.
        format: Kind of the tree.
        compression: See `CODECS`; ``none`` for no compression.
        counters: TTree: for variable-length branches the name of the branch with the number of values; default: n and
            the name of the branch.
        notes: Texts to write beside the tree, by name.

    Yields:
        The tree.

    Raises:
        ValueError: If there is no such format or compression.
        OSError: If `path` is no file, or cannot be written, such as on a full disk; nothing is left behind.
    """
    import uproot

    check_format(format)
    codec = _codec(compression)
    path = Path(path)
    check_target(path)
    with written(path, content) as temporary:
        with uproot.recreate(temporary, compression=codec) as file:
            for name, text in (notes or {}).items():
                file[name] = text
            writer = TreeWriter(file, tree, title=title, rows=rows, format=format, counters=counters or {})
            yield writer
            writer.finish()
        if format == "ttree":
            _mark_clusters(temporary, tree, rows)


def _mark_clusters(path: Path, tree: str, rows: int) -> None:
    """Enter the rows of a cluster in a finished TTree, which uproot has no argument for.

    The description of the tree is stored without compression, and ``fAutoSave``, ``fAutoFlush`` (both in entries, if
    positive) and ``fEstimate`` follow each other in it, 8 bytes each (class TTree, version 20). Where they do not, the
    file stays as it is: it has the same events, in fewer clusters.
    """
    import uproot

    with uproot.open(path, object_cache=None, array_cache=None) as file:
        key, stored = file.key(tree), file[tree]
        known = struct.pack(
            ">qqq", *(stored.member(name) for name in ("fAutoSave", "fAutoFlush", "fEstimate"))
        )
        place, size = key.fSeekKey + key.fKeylen, key.fNbytes - key.fKeylen
    with path.open("rb+") as binary:
        binary.seek(place)
        description = binary.read(size)
        if description.count(known) == 1:
            binary.seek(place + description.index(known))
            binary.write(struct.pack(">qq", _SAVED * rows, rows))
