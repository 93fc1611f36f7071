"""ROOT files and their trees: find, open and iterate, with errors that say what to do.

A file that is missing, truncated, never closed, or no ROOT file is recognised before uproot parses it; errors that
uproot raises later are reported as damage, with the name of the file.
"""

from __future__ import annotations

import glob
import re
import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uproot

from hepgan.errors import ConfigError, DataError, NotFoundError
from hepgan.files import expand, near

__all__ = ["branch_keys", "chunks", "find_trees", "open_file", "open_tree"]

_TREE_CLASSES = ("TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple", "ROOT::Experimental::RNTuple")
_HEADER = 64  # bytes of TFile's header
_LARGE_FILE = 1_000_000  # added to TFile's version when its positions take 8 bytes
_SIZES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


def _damaged(path: str, part: str, error: Exception) -> DataError:
    """The error for a part of a file that uproot cannot read."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return DataError(f"{path}: cannot read {part} ({reason}); the file is damaged: copy or make it again")


def _check_header(path: Path) -> None:
    """Recognise files that are truncated, never closed, or not ROOT, by TFile's header."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(_HEADER)
    if header[:4] != b"root" or len(header) < _HEADER:
        got = f"{header[:4]!r} in {size} bytes" if size else "an empty file"
        raise DataError(
            f"{path}: not a ROOT file: expected b'root' at its beginning, got {got}; name a ROOT file, or "
            "make it again if its writer was interrupted"
        )
    version, begin = struct.unpack(">ii", header[4:12])
    positions = ">qq" if version >= _LARGE_FILE else ">ii"
    end, free = struct.unpack_from(positions, header, 12)
    if size < end:
        raise DataError(f"{path}: truncated ROOT file: expected {end} bytes, got {size}; copy it again")
    if free <= begin:
        raise DataError(
            f"{path}: ROOT file that was never closed: expected the position of its free segments, got "
            f"{free}; open and close it once with ROOT in UPDATE mode to recover its events, or make it again"
        )


@contextmanager
def open_file(path: str | Path) -> Iterator[Any]:
    """Open a ROOT file with `uproot.open`, after checks that give clear errors.

    Args:
        path: A local path, or a URL that uproot accepts.

    Yields:
        uproot's directory of the file.

    Raises:
        NotFoundError: If there is no such file.
        DataError: If it is truncated, never closed or no ROOT file, or its directory is unreadable.
    """
    location = str(path)
    if "://" not in location:
        if not Path(location).is_file():
            expand([glob.escape(location)] if glob.has_magic(location) else [location])
        _check_header(Path(location))
    try:
        file = uproot.open({location: None})
    except FileNotFoundError as error:
        raise NotFoundError(str(error)) from error
    except Exception as error:
        raise _damaged(location, "its directory", error) from error
    with file:
        yield file


def find_trees(file: Any) -> dict[str, str]:
    """Names of the trees of an open file (with their folders), and their classes."""
    classes = file.classnames(recursive=True, cycle=False)
    return {name: kind for name, kind in classes.items() if kind in _TREE_CLASSES}


def open_tree(file: Any, name: str = "") -> Any:
    """The TTree or RNTuple of an open file.

    Args:
        file: Directory from `open_file`.
        name: Name of the tree; may be empty if the file holds only one.

    Raises:
        DataError: If no tree has this name, if no name is given and there are several, or if it cannot be read.
    """
    path = file.file_path
    trees = list(find_trees(file))
    if not trees:
        raise DataError(f"{path}: expected a TTree or RNTuple, got a ROOT file with none; name another file")
    if not name and len(trees) > 1:
        raise DataError(f"{path}: expected one tree, got {trees}; choose one (data.tree)")
    chosen = name.partition(";")[0].strip("/") if name else trees[0]
    if chosen not in trees:
        raise DataError(f"{path}: has no tree {name!r} (data.tree); {near(chosen, trees)}")
    try:
        return file[name or chosen]
    except Exception as error:
        raise _damaged(path, f"tree {chosen!r}", error) from error


def branch_keys(tree: Any) -> dict[str, str]:
    """Full name of each branch by its full name and, if unambiguous, by its last part (for split objects)."""
    keys = list(tree.keys())
    known = dict(zip(keys, keys, strict=True))
    for key in keys:
        known.setdefault(key.rpartition("/")[2], key)
    return known


def _chunk_bytes(chunk: str) -> int:
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmg]?)i?b\s*", chunk, flags=re.IGNORECASE)
    size = int(float(match[1]) * _SIZES[match[2].lower()]) if match else 0
    if size < 1:
        raise ConfigError(f"data.chunk: expected a size such as '64 MB', got {chunk!r}; change data.chunk")
    return size


def chunks(tree: Any, keys: Collection[str], *, chunk: str = "64 MB", entry_bytes: int = 0) -> Iterator[Any]:
    """Iterate over branches of a tree.

    Args:
        tree: A TTree or RNTuple.
        keys: Full names of the branches to read; the others are not touched.
        chunk: Amount of data that is decompressed at once.
        entry_bytes: Memory that the caller needs for an entry, if that is more than its size in the file (bytes).

    Yields:
        awkward record arrays of consecutive entries.

    Raises:
        ConfigError: If `chunk` is no size.
        DataError: If the branches cannot be read.
    """
    size = _chunk_bytes(chunk)
    wanted = frozenset(keys).__contains__
    path = tree.file.file_path
    try:
        step = min(tree.num_entries_for(size, filter_name=wanted), size // max(1, entry_bytes))
        parts = tree.iterate(filter_name=wanted, step_size=max(1, int(step)), library="ak")
    except Exception as error:
        raise _damaged(path, f"tree {tree.name!r}", error) from error
    while True:
        try:
            part = next(parts, None)
        except Exception as error:
            raise _damaged(path, f"tree {tree.name!r}", error) from error
        if part is None:
            return
        yield part
