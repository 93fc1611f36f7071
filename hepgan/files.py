"""Paths, globs, digests, nearest names, and `written`, the only writer: a file appears completely or not at all."""

from __future__ import annotations

import difflib
import errno
import filecmp
import glob
import hashlib
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import xxhash

from hepgan.errors import NotFoundError

__all__ = [
    "PACKAGE",
    "blocks",
    "cache_folder",
    "check_target",
    "contents",
    "digest",
    "exclusive",
    "expand",
    "is_url",
    "location",
    "near",
    "not_a_file",
    "repeats",
    "write_bytes",
    "write_text",
    "written",
]

PACKAGE = Path(__file__).parent
"""Folder of the package: it contains the recipes (``configs``) and templates; a checkout has ``data`` beside it."""

_LOG = logging.getLogger(__name__)
_warn_once = cache(_LOG.warning)

_BEGINNING = 4096  # bytes that tell most files of one size apart: ROOT writes date and random number there
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BLOCK = 1 << 20  # bytes read at once for the digest
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+-]+):(//?)(.+)")  # C:/ is a drive, a.root:/tree a tree in a file
_ABSOLUTE = ("root", "roots", "xroot", "xroots")  # paths of these servers begin with a slash of their own
_SHOWN = 20  # names in a message, if none is near


def location(path: str | Path) -> str:
    """The text of a path or URL; a URL that `pathlib` has cut gets its slashes back, ``file://`` becomes a path.

    ``pathlib.Path("root://host//store/a.root")`` holds ``root:/host/store/a.root``.
    """
    text = str(path)
    match = _URL.match(text)
    if match is None:
        return text
    scheme, slashes, rest = match[1].lower(), match[2], match[3]
    if scheme == "file":
        return unquote(rest.removeprefix("localhost") if slashes != "/" else f"/{rest}")
    if slashes == "/" and scheme in _ABSOLUTE:
        host, _, name = rest.partition("/")
        return f"{scheme}://{host}//{name}"
    return f"{scheme}://{rest}"


def is_url(path: str | Path) -> bool:
    """Whether a path is a URL (a ``file://`` one is a path)."""
    return "://" in location(path)


def near(name: str, known: Iterable[str]) -> str:
    """Suggest known names instead of an unknown one, for messages."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {', '.join(map(repr, close))}?"
    shown = ", ".join(map(repr, known[:_SHOWN])) + (", ..." if len(known) > _SHOWN else "")
    return f"there is {shown}" if shown else "there is none"


def expand(files: Sequence[str | Path], *, base: str | Path = ".") -> list[str]:
    """Resolve paths and globs; URLs pass unchanged.

    Args:
        files: Paths, globs (``**`` too) or URLs.
        base: Folder of relative paths.

    Returns:
        Existing files, in the given order, matches of a glob in alphabetical order, each file once: links to a former
        file, and copies of it, are left out with a warning.

    Raises:
        NotFoundError: If a file does not exist or a glob matches nothing.
    """
    existing: list[str] = []
    for name in map(location, files):
        path = Path(base, Path(name).expanduser())
        if is_url(name):
            existing.append(name)
        elif path.is_file():
            existing.append(str(path))
        elif glob.has_magic(name):
            matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 (takes absolute patterns)
            matches = [match for match in matches if Path(match).is_file()]
            if not matches:
                raise NotFoundError(f"data files {path}: expected at least one match, got none")
            existing.extend(matches)
        else:
            raise not_a_file(path)
    existing = list(dict.fromkeys(existing))
    twice = repeats(existing)
    for name, first in twice.items():
        _warn_once(f"{name}: the same file as {first}, or a copy of it; it is read once")
    return [name for name in existing if name not in twice]


def not_a_file(path: Path) -> NotFoundError:
    """The error for a path at which there is no file: what is there, or what is near."""
    if path.is_dir():
        return NotFoundError(f"data file {path}: expected a file, got a folder; name a file in it")
    if path.exists():
        return NotFoundError(
            f"data file {path}: expected a file, got a device or pipe; write it to the disk first"
        )
    if path.is_symlink():
        return NotFoundError(
            f"data file {path}: expected a file, got a link to {os.readlink(path)}, where none is"  # noqa: PTH115
        )
    if Path(str(path).rpartition(":")[0]).is_file():
        return NotFoundError(f"data file not found: {path}; write the tree as data.tree, behind no colon")
    if not path.parent.is_dir():
        return NotFoundError(f"data file not found: {path}; there is no folder {path.parent}")
    if glob.has_magic(path.name):
        return NotFoundError(f"data file not found: {path}; expected one file, got a pattern; name one file")
    others = sorted(other.name for other in path.parent.iterdir() if other.is_file())
    return NotFoundError(f"data file not found: {path}; in its folder: {near(path.name, others)}")


def repeats(files: Sequence[str], *, of: Sequence[str] = ()) -> dict[str, str]:
    """Find files that are another one again: under the same name, by a link, or copied byte by byte.

    Args:
        files: Existing files, or URLs, which are known by their text.
        of: Files to find again, besides those that stand earlier in `files`.

    Returns:
        Each file that repeats another one, with that one.
    """
    first: dict[object, str] = {}
    alike: dict[object, list[str]] = {}  # by size and beginning
    repeated: dict[str, str] = {}
    for k, name in enumerate((*of, *files)):
        found, stat = first.get(name), None if "://" in name else Path(name).stat()
        if found is None and stat is not None:
            with Path(name).open("rb") as file:
                others = alike.setdefault((stat.st_size, file.read(_BEGINNING)), [])
            found = first.get((stat.st_dev, stat.st_ino)) or next(
                (other for other in others if filecmp.cmp(name, other, shallow=False)), None
            )
            if found is None:
                others.append(name)
                first[stat.st_dev, stat.st_ino] = name
        first.setdefault(name, found or name)
        if found is not None and k >= len(of):
            repeated[name] = found
    return repeated


def digest(files: Iterable[str | Path]) -> str:
    """The sha256 of the concatenated contents of files; a URL contributes its text."""
    return contents(files)[0]


def contents(files: Iterable[str | Path]) -> tuple[str, dict[str, str]]:
    """Digests of the contents of files, of which a URL contributes its text.

    Returns:
        The sha256 of all of them, one after the other; the XXH3 of each by its name, to tell which one changed.
    """
    total, each = hashlib.sha256(), {}
    for name in files:
        own = xxhash.xxh3_128()
        for block in blocks(name):
            total.update(block)
            own.update(block)
        each[str(name)] = own.hexdigest()
    return total.hexdigest(), each


def blocks(name: str | Path) -> Iterator[bytes]:
    """Read a file in blocks; a URL gives its text."""
    if is_url(name):
        yield location(name).encode()
        return
    with Path(location(name)).open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


def cache_folder() -> Path:
    """Folder of what is made once and can be made again: XDG_CACHE_HOME/hepgan, or ~/.cache/hepgan."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache").absolute() / "hepgan"


@contextmanager
def exclusive(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a file or folder that is there, until the block or the process ends; on Windows, nothing.

    Raises:
        BlockingIOError: If another process holds it, unless it is waited for.
        OSError: If the file system has no locks.
    """
    try:
        import fcntl
    except ImportError:  # on Windows
        yield
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def check_target(path: str | Path) -> None:
    """Check that a file can be renamed to `path`: that would replace a device, and fail for a folder.

    Raises:
        FileExistsError: If `path` exists and is no file.
        ValueError: If it is a URL, or has a zero byte.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(path)) or "\0" in str(path):
        got = "a zero byte in it" if "\0" in str(path) else "a URL"
        raise ValueError(
            f"cannot write {str(path)!r}: expected the name of a local file, got {got}; name a file"
        )
    path = Path(path)
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a device or pipe"
        raise FileExistsError(f"cannot write {path}: expected the name of a file, got {kind}; name a file")


def _not_written(path: str | Path, content: str, error: OSError) -> OSError:
    """The error for a file that could not be written; nothing of it is left behind."""
    remedy = "make room" if error.errno in _NO_ROOM else "name a place that can be written"
    reason = f"{error.strerror or error}: {content} could not be written; nothing was left behind, {remedy}"
    return OSError(error.errno, reason, str(path))


@contextmanager
def written(path: str | Path, content: str) -> Iterator[Path]:
    """Write a file completely or not at all.

    Args:
        path: The file; an existing one is replaced.
        content: Name of the content, for messages.

    Yields:
        A temporary path to write to. At the end the file is flushed to the disk and renamed to `path`; after an error
        nothing is left behind and an existing file stays as it was.

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
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        if error.errno is None or (error.filename is not None and str(error.filename) not in own):
            raise
        raise _not_written(path, content, error) from error
    finally:
        with suppress(OSError):  # already renamed, or the folder does not exist
            temporary.unlink()


def _flush_folder(folder: Path) -> None:
    """Write a new name in a folder to the disk, where the system can: a file that was renamed outlives a power cut."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file (UTF-8) completely or not at all.

    Raises:
        OSError: See `written`.
    """
    write_bytes(path, text.encode(), content="the text")


def write_bytes(path: str | Path, data: bytes, *, content: str) -> None:
    """Write a file completely or not at all.

    Args:
        path: The file; an existing one is replaced.
        data: Its bytes.
        content: Name of the content, for the message.

    Raises:
        OSError: See `written`.
    """
    with written(path, content) as temporary:
        temporary.write_bytes(data)
