"""ROOT files and the trees in them: find, open and walk through, with errors that say what to do.

A file that is missing, no ROOT file, cut short or never closed is recognised before uproot parses it; what
uproot finds later is reported as damage, with the name of the file.
What an output file may replace, and why one could not be written, is said here for every format.
"""

from __future__ import annotations

import difflib
import errno
import glob
import hashlib
import re
import struct
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import uproot

__all__ = [
    "branch_keys",
    "check_target",
    "chunks",
    "damaged",
    "digest",
    "expand",
    "find_trees",
    "near",
    "open_file",
    "open_tree",
    "written",
]

_TREE_CLASSES = ("TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple", "ROOT::Experimental::RNTuple")
_HEADER = 64  # bytes of TFile's header
_LARGE_FILE = 1_000_000  # added to TFile's version when its positions take 8 bytes
_SIZES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BLOCK = 1 << 20  # bytes read at once for the digest
_SHOWN = 20  # names in a message, if none is near


def near(name: str, known: Iterable[str]) -> str:
    """What to try instead of an unknown name (for messages)."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {', '.join(map(repr, close))}?"
    shown = ", ".join(map(repr, known[:_SHOWN])) + (", ..." if len(known) > _SHOWN else "")
    return f"there is {shown}" if shown else "there is none"


def expand(files: Sequence[str], *, base: str | Path = ".") -> list[str]:
    """Resolve paths and globs; URLs pass unchanged.

    Args:
        files: Paths, globs (``**`` too) or URLs.
        base: Folder of relative paths.

    Returns:
        Existing files, in the given order, a glob's in alphabetical order, each once.

    Raises:
        FileNotFoundError: If a file does not exist or a glob matches nothing.
    """
    found: list[str] = []
    for name in files:
        path = Path(base, Path(name).expanduser())
        if "://" in name:
            found.append(name)
        elif path.is_file():
            found.append(str(path))
        elif glob.has_magic(name):
            matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 (takes absolute patterns)
            matches = [match for match in matches if Path(match).is_file()]
            if not matches:
                raise FileNotFoundError(f"data files {path}: expected at least one match, got none")
            found.extend(matches)
        elif path.is_dir():
            raise FileNotFoundError(f"data file {path}: expected a file, got a folder; name a file in it")
        elif not path.parent.is_dir():
            raise FileNotFoundError(f"data file not found: {path}; there is no folder {path.parent}")
        else:
            others = sorted(other.name for other in path.parent.iterdir() if other.is_file())
            raise FileNotFoundError(f"data file not found: {path}; in its folder: {near(path.name, others)}")
    return list(dict.fromkeys(found))


def digest(files: Iterable[str | Path]) -> str:
    """The sha256 over the contents of files, one after the other; a URL counts with its text."""
    total = hashlib.sha256()
    for name in files:
        if "://" in str(name):
            total.update(str(name).encode())
            continue
        with Path(name).open("rb") as file:
            while block := file.read(_BLOCK):
                total.update(block)
    return total.hexdigest()


def check_target(path: str | Path) -> None:
    """Refuse to put a file where something else is: a rename would replace a device, and cannot a folder.

    Raises:
        OSError: If `path` exists and is no file.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a device or pipe"
        raise FileExistsError(f"cannot write {path}: expected the name of a file, got {kind}; name a file")


def _not_written(path: str | Path, what: str, error: OSError) -> OSError:
    """The error for an output that could not be written and of which nothing was left behind."""
    remedy = "make room" if error.errno in _NO_ROOM else "name a place that can be written"
    reason = f"{error.strerror or error}: {what} could not be written; nothing was left behind, {remedy}"
    return OSError(error.errno, reason, str(path))


@contextmanager
def written(path: str | Path, what: str) -> Iterator[Path]:
    """Write a file completely or not at all.

    Args:
        path: The file; an existing one is replaced.
        what: What is written, for the message.

    Yields:
        A temporary name to write to; it becomes `path` at the end, and nothing is left behind by an error.

    Raises:
        OSError: If `path` is no file, or cannot be written, such as on a full disk; errors of other files pass through.
    """
    path = Path(path)
    check_target(path)
    temporary = path.with_name(path.name + ".tmp")
    own = {str(p) for p in (path, temporary, *path.parents)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.errno is None or (error.filename is not None and str(error.filename) not in own):
            raise
        raise _not_written(path, what, error) from error
    finally:
        with suppress(OSError):  # renamed, or there is no such folder
            temporary.unlink()


def damaged(path: str, what: str, error: Exception) -> ValueError:
    """The error for something that uproot cannot read."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return ValueError(f"{path}: cannot read {what} ({reason}); the file is damaged: copy or make it again")


def _check_header(path: Path) -> None:
    """Recognise files that are not ROOT, cut short, or never closed, from TFile's header."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(_HEADER)
    if header[:4] != b"root" or len(header) < _HEADER:
        got = f"{header[:4]!r} in {size} bytes" if size else "an empty file"
        raise ValueError(
            f"{path}: not a ROOT file: expected b'root' at its beginning, got {got}; name a ROOT file, or "
            "make it again if its writer was interrupted"
        )
    version, begin = struct.unpack(">ii", header[4:12])
    positions = ">qq" if version >= _LARGE_FILE else ">ii"
    end, free = struct.unpack_from(positions, header, 12)
    if size < end:
        raise ValueError(f"{path}: truncated ROOT file: expected {end} bytes, got {size}; copy it again")
    if free <= begin:
        raise ValueError(
            f"{path}: ROOT file that was never closed: expected the position of its free segments, got "
            f"{free}; open and close it once with ROOT in UPDATE mode to recover its events, or make it again"
        )


@contextmanager
def open_file(path: str | Path) -> Iterator[Any]:
    """Open a ROOT file, as `uproot.open` does, after checks that give clear errors.

    Args:
        path: A local path, or a URL as uproot takes it.

    Yields:
        uproot's directory of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no ROOT file, cut short, never closed, or its directory is unreadable.
    """
    location = str(path)
    if "://" not in location:
        if not Path(location).is_file():
            expand([glob.escape(location)] if glob.has_magic(location) else [location])
        _check_header(Path(location))
    try:
        file = uproot.open({location: None})
    except FileNotFoundError:
        raise
    except Exception as error:
        raise damaged(location, "its directory", error) from error
    with file:
        yield file


def find_trees(file: Any) -> dict[str, str]:
    """Names of the trees of an open file (with their folders), and their classes."""
    classes = file.classnames(recursive=True, cycle=False)
    return {name: kind for name, kind in classes.items() if kind in _TREE_CLASSES}


def open_tree(file: Any, name: str = "") -> Any:
    """The TTree or RNTuple of an open file.

    Args:
        file: What `open_file` gives.
        name: Its name; may be empty if the file holds only one.

    Raises:
        ValueError: If there is none of this name, or several to choose from; nearest names are listed.
    """
    path = file.file_path
    trees = list(find_trees(file))
    if not trees:
        raise ValueError(f"{path}: expected a TTree or RNTuple, got a ROOT file with none; name another file")
    if not name and len(trees) > 1:
        raise ValueError(f"{path}: expected one tree, got {trees}; choose one (data.tree)")
    chosen = name.partition(";")[0].strip("/") if name else trees[0]
    if chosen not in trees:
        raise ValueError(f"{path}: has no tree {name!r} (data.tree); {near(chosen, trees)}")
    try:
        return file[name or chosen]
    except Exception as error:
        raise damaged(path, f"tree {chosen!r}", error) from error


def branch_keys(tree: Any) -> dict[str, str]:
    """Full path of each branch by its full and, if that is not taken, its short name (split objects)."""
    keys = list(tree.keys())
    known = dict(zip(keys, keys, strict=True))
    for key in keys:
        known.setdefault(key.rpartition("/")[2], key)
    return known


def _chunk_bytes(chunk: str) -> int:
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmg]?)i?b\s*", chunk, flags=re.IGNORECASE)
    size = int(float(match[1]) * _SIZES[match[2].lower()]) if match else 0
    if size < 1:
        raise ValueError(f"data.chunk: expected a size such as '64 MB', got {chunk!r}; change data.chunk")
    return size


def chunks(tree: Any, keys: Collection[str], *, chunk: str, entry_bytes: int = 0) -> Iterator[Any]:
    """Walk through branches of a tree.

    Args:
        tree: A TTree or RNTuple.
        keys: Full names of the branches to read; the others are not touched.
        chunk: How much is decompressed at once, such as ``"64 MB"``.
        entry_bytes: Memory that the caller needs for an entry (bytes), if that is more.

    Yields:
        awkward record arrays of consecutive entries.

    Raises:
        ValueError: If `chunk` is no size, or the branches cannot be read.
    """
    size = _chunk_bytes(chunk)
    wanted = frozenset(keys).__contains__
    path = tree.file.file_path
    try:
        step = min(tree.num_entries_for(size, filter_name=wanted), size // max(1, entry_bytes))
        walk = tree.iterate(filter_name=wanted, step_size=max(1, int(step)), library="ak")
    except Exception as error:
        raise damaged(path, f"tree {tree.name!r}", error) from error
    while True:
        try:
            part = next(walk, None)
        except Exception as error:
            raise damaged(path, f"tree {tree.name!r}", error) from error
        if part is None:
            return
        yield part
