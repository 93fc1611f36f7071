"""Paths, globs, digests, nearest names, and `written`, the only writer: a file appears completely or not at all.

Also `compiled`: C++ that is compiled on first use.
"""

from __future__ import annotations

import ctypes
import difflib
import errno
import filecmp
import glob
import hashlib
import logging
import os
import platform
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import xxhash

from hepgan.errors import NotFoundError

__all__ = [
    "PACKAGE",
    "blocks",
    "cache_folder",
    "check_target",
    "compiled",
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
_FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-fPIC", "-shared", "-w"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"),
)
_TYPES = {
    "p": ctypes.c_void_p,
    "l": ctypes.c_long,
    "i": ctypes.c_int,
    "f": ctypes.c_float,
    "u": ctypes.c_uint64,
}
_SWITCH = "HEPGAN_KERNELS"  # "off": nothing is compiled
_COMPILING = threading.Lock()
_PATIENCE = 120  # seconds after which a compiler is given up
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


def compiled(
    sources: Path, arguments: Mapping[str, str], *, loss: str
) -> dict[str, Callable[..., None]] | None:
    """Functions of C++ that is compiled on first use, and kept in the user's cache folder.

    Args:
        sources: Folder of the sources.
        arguments: Letters of the arguments of each function to take, which returns nothing: p a pointer, l a long, i an
            int, f a float, u an unsigned integer of 64 bits.
        loss: What it means to do without, for the log.

    Returns:
        The functions by name; they run without the interpreter's lock. None if HEPGAN_KERNELS is "off", or there is no
        compiler, or it fails.
    """
    if os.environ.get(_SWITCH) == "off":
        return None
    names = (os.environ.get("CXX", ""), "c++", "g++", "clang++")
    compiler = next((path for name in names if name and (path := shutil.which(name))), None)
    if compiler is None:
        _LOG.info("no C++ compiler found: %s; install g++ to change that", loss)
        return None
    try:
        with _COMPILING:
            library = ctypes.CDLL(str(_library(sources, compiler)))
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", b"") or str(error).encode()
        _LOG.warning(
            "C++ of hepgan.%s not compiled by %s (%s): %s; set %s=off to try no more",
            sources.parent.name,
            compiler,
            reason.decode(errors="replace").strip()[-300:],
            loss,
            _SWITCH,
        )
        return None
    functions = {}
    for name, letters in arguments.items():
        function: Any = getattr(library, name)
        function.argtypes, function.restype = [_TYPES[letter] for letter in letters], None
        functions[name] = function
    return functions


def _library(sources: Path, compiler: str) -> Path:
    """Path of the library of a folder of sources, compiled if it is not there yet.

    Raises:
        OSError: If the folder cannot be written.
        subprocess.SubprocessError: If the compiler fails.
    """
    version = subprocess.run(
        [compiler, "--version"], capture_output=True, timeout=_PATIENCE, check=True
    ).stdout
    files = sorted(sources.iterdir())
    content = (
        *(file.read_bytes() for file in files),
        version,
        " ".join(_FLAGS).encode(),
        _processor().encode(),
    )
    key = hashlib.sha256(b"\0".join(content)).hexdigest()[:16]
    path = _folder_of_libraries() / f"{sources.parent.name}-{key}.so"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=path.parent) as name:
            made = Path(name) / path.name
            units = [str(file) for file in files if file.suffix == ".cpp"]
            command = [compiler, *_FLAGS, *units, "-o", str(made)]
            subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=True)
            made.replace(path)
    return path


def _processor() -> str:
    """What ``-march=native`` depends on: machines of a cluster that share a home folder may differ in it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("flags", "model name", "Features"))}))


def _folder_of_libraries() -> Path:
    """The user's cache folder; if that cannot be written, a fresh temporary one."""
    cache = cache_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            return cache
    except OSError:
        return Path(tempfile.mkdtemp(prefix="hepgan-"))


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
