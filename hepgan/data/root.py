"""ROOT files and their trees: find, open and iterate, with errors that say what to do.

A file that is missing, truncated, never closed, or no ROOT file is recognised before uproot parses it; what uproot
raises later is sorted by `hepgan.data.failures`. `hepgan.data.columns` says which numbers a tree holds, by which names.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import awkward as ak
import uproot

from hepgan.data.checksums import verify
from hepgan.data.columns import Column, Streams, columns, short_names
from hepgan.data.cores import available_cores
from hepgan.data.failures import unreadable
from hepgan.data.friends import unread
from hepgan.errors import ConfigError, DataError, HepganError
from hepgan.files import is_url, location, near, not_a_file

__all__ = [
    "arrays",
    "branch_keys",
    "chunks",
    "entry_steps",
    "find_branch",
    "find_trees",
    "open_file",
    "open_tree",
    "tree_name",
    "unreadable_branch",
]

_TREE_CLASSES = ("TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple", "ROOT::Experimental::RNTuple")
_HEADER = 64  # bytes of TFile's header
_LARGE_FILE = 1_000_000  # added to TFile's version when its positions take 8 bytes
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")  # a name that an expression needs not quote
_PATIENCE = 30  # seconds
_SHOWN = 5  # objects in a message
_LARGE_BASKET = (
    512 * 1024
)  # uncompressed bytes from which on it takes longer to decompress a basket than to hand it out
_SIZES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


def _check_header(path: Path) -> None:
    """Recognise files that are truncated, never closed, or not ROOT, by TFile's header."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header = file.read(_HEADER)
    except OSError as error:
        raise unreadable(str(path), "the file", error) from error
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


def _check_url(name: str) -> None:
    try:
        parts = urlsplit(name)
        good = bool(parts.netloc) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if "*" in name:
        raise DataError(f"{name}: expected the URL of one file, got a pattern; write one URL for each file")
    if not good:
        raise DataError(
            f"{name}: expected a URL such as https://host/folder/file.root, got one without a host, or with a port "
            "that is no number; correct it"
        )


def _redirected(url: str) -> str:
    """Where a server sends a request on to: uproot itself follows complete URLs only, not paths on the same host."""
    request = Request(url, headers={"Range": "bytes=0-0"})
    with urlopen(request, timeout=_PATIENCE) as answer:
        return str(answer.url)


@contextmanager
def open_file(path: str | Path) -> Iterator[Any]:
    """Open a ROOT file with `uproot.open`, after checks that give clear errors.

    Args:
        path: A local path, or a URL that uproot accepts.

    Yields:
        uproot's directory of the file.

    Raises:
        NotFoundError: If there is no such file.
        DataError: If it is truncated, never closed or no ROOT file, its directory is unreadable, or a URL is refused or
            needs a package that is not installed.
    """
    name = location(path)
    options = {}
    if is_url(name):
        _check_url(name)
        if name.startswith(("http://", "https://")):
            options["handler"] = uproot.HTTPSource  # needs no further package
    else:
        local = Path(name).expanduser()
        if not local.is_file():
            raise not_a_file(local)
        name = str(local)
        _check_header(local)
    try:
        try:
            file = uproot.open({name: None}, **options)
        except ValueError as error:
            if "unrecognized URL scheme" not in str(error):
                raise
            file = uproot.open({_redirected(name): None}, **options)
    except Exception as error:
        raise unreadable(name, "the file" if is_url(name) else "its directory", error) from error
    with file:
        yield file


def find_trees(file: Any) -> dict[str, str]:
    """Names of the trees of an open file (with their folders), and their classes."""
    try:
        classes = file.classnames(recursive=True, cycle=False)
    except Exception as error:
        raise unreadable(file.file_path, "its directories", error) from error
    return {name: kind for name, kind in classes.items() if kind in _TREE_CLASSES}


def tree_name(written: str) -> str:
    """Name of a tree as `find_trees` gives it, without its cycle (``tracks;1``) and outer slashes."""
    return written.partition(";")[0].strip("/")


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
        held = [f"{name} ({kind})" for name, kind in file.classnames(cycle=False).items()]
        what = ", ".join(held[:_SHOWN]) + (f" and {len(held) - _SHOWN} more" if len(held) > _SHOWN else "")
        raise DataError(
            f"{path}: expected a TTree or RNTuple, got a ROOT file with none; it holds {what or 'nothing'}; "
            "name another file"
        )
    if not name and len(trees) > 1:
        raise DataError(f"{path}: expected one tree, got {trees}; choose one (data.tree)")
    chosen = tree_name(name) if name else trees[0]
    if chosen not in trees:
        raise DataError(f"{path}: has no tree {name!r} (data.tree); {near(chosen, trees)}")
    try:
        tree = file[name or chosen]
        if hasattr(tree, "read_locator"):  # an RNTuple
            verify(tree)
    except Exception as error:
        raise unreadable(path, f"tree {chosen!r}", error) from error
    return tree


def branch_keys(known: Iterable[str]) -> dict[str, str]:
    """Full name of each column by each way to write it that stands for one alone (`short_names`).

    Args:
        known: Full names of all columns of a tree.
    """
    return {text: names[0] for text, names in short_names(known).items() if len(names) == 1}


def find_branch(tree: Any, name: str, *, label: str, remark: str = "") -> str:
    """Full name of a column.

    Args:
        tree: A TTree or RNTuple.
        name: Its full name, or a shorter one.
        label: Key of the configuration that names it, for messages.
        remark: What else to say if there is no such column.

    Raises:
        DataError: If there is no such column, or several.
    """
    known = columns(tree)
    written = short_names(known)
    full = written.get(name, ())
    if len(full) > 1:
        dotted = [text for text, names in written.items() if len(names) == 1 and _DOTTED.fullmatch(text)]
        plain = {each: [text for text in dotted if written[text] == (each,)] for each in full}
        shown = ", ".join(repr(min(plain[each], key=len, default=each)) for each in full)
        raise DataError(
            f"{tree.file.file_path}: tree {tree.name!r}: {name!r} ({label}) stands for {shown}; write one of these"
        )
    if not full:
        raise DataError(
            f"{tree.file.file_path}: tree {tree.name!r} has no branch {name!r} ({label}); {near(name, known)}{remark}"
            f"{unread(tree)}"
        )
    return full[0]


def _chunk_bytes(chunk: str) -> int:
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmg]?)i?b\s*", chunk, flags=re.IGNORECASE)
    size = int(float(match[1]) * _SIZES[match[2].lower()]) if match else 0
    if size < 1:
        raise ConfigError(f"data.chunk: expected a size such as '64 MB', got {chunk!r}; change data.chunk")
    return size


def entry_steps(tree: Any, read: Collection[Column], *, size: int, entry_bytes: int = 0) -> list[int]:
    """Ends of the steps in which the entries of some columns are read.

    Args:
        tree: A TTree or RNTuple.
        read: Columns to read.
        size: Amount of data that is decompressed at once (bytes).
        entry_bytes: Memory that the caller needs for an entry, if that is more than its size in the file (bytes).
    """
    n = int(tree.num_entries)
    if hasattr(tree, "cluster_summaries"):
        step = (
            tree.num_entries_for(size, filter_name={column.name for column in read}.__contains__)
            if read
            else n
        )
    else:
        branches = {id(column.branch): column.branch for column in read}.values()
        step = size * n // max(1, n, sum(branch.uncompressed_bytes for branch in branches))
    step = max(1, min(int(step or n), size // max(1, entry_bytes)))
    return [*range(step, n, step), n] if n else []


def unreadable_branch(tree: Any, column: Column, error: Exception) -> HepganError:
    """The error for a column that cannot be read."""
    part = f"branch {column.name!r} ({column.type}) of tree {tree.name!r}"
    return unreadable(tree.file.file_path, part, error, of=column.kind)


def chunks(tree: Any, keys: Collection[str], *, chunk: str = "64 MB") -> Iterator[Any]:
    """Iterate over columns of a tree by their full names, see `arrays`.

    Yields:
        awkward record arrays of consecutive entries, one field a column.
    """
    known = columns(tree, keys)
    for values in arrays(tree, [known[key] for key in keys], chunk=chunk):
        yield ak.zip(values, depth_limit=1)


def arrays(
    tree: Any,
    read: Collection[Column],
    *,
    chunk: str = "64 MB",
    entry_bytes: int = 0,
    entries: tuple[int, int] | None = None,
) -> Iterator[dict[str, Any]]:
    """Iterate over columns of a tree.

    Large baskets are decompressed by as many threads as the process has cores.

    Args:
        tree: A TTree or RNTuple.
        read: The columns to read; other branches are not touched.
        chunk: Amount of data that is decompressed at once.
        entry_bytes: Memory that the caller needs for an entry, if that is more than its size in the file (bytes).
        entries: First entry, and the one behind the last; default: all.

    Yields:
        Arrays of consecutive entries by name: NumPy's for numbers of a fixed shape in a TTree, else awkward's.

    Raises:
        ConfigError: If `chunk` is no size.
        DataError: If a column cannot be read.
    """
    size = _chunk_bytes(chunk)
    first, last = entries or (0, int(tree.num_entries))
    with _pool(read) as pool:
        streams = Streams(read, start=first, pool=pool)
        steps = entry_steps(tree, read, size=size, entry_bytes=entry_bytes)
        for stop in [*(step for step in steps if first < step < last), *([last] if last > first else [])]:
            values = {}
            for column, part in streams.take(stop):
                if isinstance(part, Exception):
                    raise unreadable_branch(tree, column, part) from part
                values[column.name] = part
            yield values


@contextmanager
def _pool(read: Collection[Column]) -> Iterator[ThreadPoolExecutor | None]:
    """Threads to decompress with, or none: small baskets take longer to hand out than to decompress."""
    branches = {id(column.branch): column.branch for column in read}.values()
    baskets = sum(getattr(branch, "num_baskets", 1) for branch in branches)
    large = sum(getattr(branch, "uncompressed_bytes", _LARGE_BASKET) for branch in branches)
    if available_cores() == 1 or large < baskets * _LARGE_BASKET:
        yield None
        return
    with ThreadPoolExecutor(available_cores(), thread_name_prefix="hepgan") as pool:
        yield pool
