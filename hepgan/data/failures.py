"""Why a file, tree or branch cannot be read, and what to do: one table for everything that uproot raises.

uproot and the libraries below it (fsspec, cramjam, awkward) raise many types of exceptions. Only what is certain to be
damage is called so: a decompression that fails, a checksum that differs, a basket that ends too early. Any other
failure of a branch is a type that uproot does not read.
"""

from __future__ import annotations

import lzma
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import uproot
from uproot.deserialization import DeserializationError

from hepgan.errors import DataError, HepganError, NotFoundError

__all__ = ["Cause", "cause_of", "reason_of", "unreadable"]

_PACKAGES = {
    "http": "aiohttp requests", "https": "aiohttp requests", "root": "fsspec-xrootd", "xroot": "fsspec-xrootd",
    "roots": "fsspec-xrootd", "s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "ssh": "paramiko", "sftp": "paramiko",
    "abfs": "adlfs", "az": "adlfs", "davs": "webdav4[fsspec]", "dav": "webdav4[fsspec]",
}  # fmt: skip
"""Package that fsspec needs for URLs of each scheme."""


_OF_COMPRESSION = (zlib.error, lzma.LZMAError)  # and cramjam's, which says decompress in its name


@dataclass(frozen=True)
class Cause:
    """One reason for failures.

    Args:
        matches: Whether an exception (and its text) is one of these.
        word: What it is, in a word.
        what: What it is, in words.
        remedy: What to do.
        error: The class to raise.
    """

    matches: Callable[[BaseException, str], bool]
    word: str
    what: str
    remedy: str
    error: type[HepganError] = DataError


def _kind(*types: type[BaseException], text: str = "") -> Callable[[BaseException, str], bool]:
    return lambda error, message: (
        isinstance(error, types) or bool(text and re.search(text, message, flags=re.IGNORECASE))
    )


_DAMAGED = Cause(
    _kind(
        *_OF_COMPRESSION,
        text=r"checksum|corrupt|expected Chunk of length|decompress|incorrect (?:header|data) check|"
        r"invalid (?:block|distance|stored block|bit length|code lengths|literal)|truncated|"
        r"unrecognized compression algorithm",
    ),
    "damaged",
    "the file is damaged",
    "copy or make it again",
)
_CAUSES = (
    Cause(
        _kind(ImportError),
        "package missing",
        "a Python package is missing",
        "install it with pip install {package}",
    ),
    Cause(
        _kind(text="protocol not known"),
        "unknown scheme",
        "URLs of this scheme are unknown",
        "copy the file and name the copy",
    ),
    Cause(
        _kind(text=r"status 2\d\d, rather than 206|support range requests"),
        "no range requests",
        "the server does not support range requests, which reading parts of a file needs",
        "download the file and name the copy",
    ),
    Cause(
        _kind(FileNotFoundError, uproot.KeyInFileError, text=r"\b4(?:04|10)\b|no such file|does not exist"),
        "not found",
        "not found",
        "check the name",
        NotFoundError,
    ),
    Cause(
        _kind(PermissionError, text=r"\b40[13]\b|forbidden|unauthori[sz]ed|permission denied|access denied"),
        "refused",
        "access is refused",
        "check the permissions and credentials",
    ),
    Cause(
        _kind(
            ConnectionError,
            TimeoutError,
            text=r"cannot connect|connection (?:refused|reset|error|timed out)|timed out|unreachable|name or service|"
            r"name resolution|getaddrinfo|nodename|IncompleteRead",
        ),
        "no answer",
        "the server cannot be reached or does not answer",
        "check host, port and network",
    ),
    Cause(
        _kind(text=r"(?:status|HTTP Error) [345]\d\d"),
        "error of the server",
        "the server answers with an error",
        "try again later, or download the file and name the copy",
    ),
    Cause(
        _kind(text=r"\bSSL\b|certificate verify"),
        "no secure connection",
        "no secure connection to the server can be made",
        "check scheme and port; SSL_CERT_FILE=FILE.pem trusts the certificate of a server",
    ),
    Cause(
        _kind(text="not a ROOT file"),
        "no ROOT file",
        "it is not a ROOT file",
        "name a ROOT file; a server may have sent a page, such as one to log in",
    ),
    Cause(
        _kind(text=r"expected \d+ entries, got"),
        "incomplete",
        "it has fewer entries than its tree",
        "name another branch",
    ),
    _DAMAGED,
)  # fmt: skip
_UNSUPPORTED = Cause(
    _kind(Exception),
    "unsupported",
    f"unsupported: uproot {uproot.__version__} cannot decode it",
    "store it as plain numbers, arrays or vectors (as RDataFrame's Snapshot does), or name another branch",
)
_UNKNOWN_FILE = Cause(
    _kind(Exception),
    "unreadable",
    "the file is damaged, or of a kind that uproot does not know",
    "copy or make it again; if ROOT can open it, write it again with ROOT",
)


def cause_of(error: BaseException, *, of: str) -> Cause:
    """The first cause that an exception, or one that led to it, matches.

    Args:
        error: The exception of uproot or of a library below it.
        of: What was read: a "file" (or tree), a branch of "numbers", or a branch of "objects".
    """
    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in chain:
        chain.append(at)
        at = at.__cause__ or at.__context__
    matching = (c for c in _CAUSES for each in chain if c.matches(each, f"{type(each).__name__}: {each}"))
    if (cause := next(matching, None)) is not None:
        return cause
    if of == "numbers" and isinstance(error, DeserializationError):
        return _DAMAGED  # the basket itself: uproot knows how numbers are stored
    return _UNKNOWN_FILE if of == "file" else _UNSUPPORTED


def reason_of(error: BaseException) -> str:
    """The first line of the message of an exception, or its name."""
    text = next(iter(str(error).strip().splitlines()), "")
    if not text and isinstance(error, AssertionError):  # uproot's checks of what it has read
        return "its parts contradict each other"
    return text or type(error).__name__


def unreadable(path: str, part: str, error: BaseException, *, of: str = "file") -> HepganError:
    """The error for a part of a file that cannot be read.

    Args:
        path: The file or URL.
        part: What was read: its directory, a tree, a branch and its type.
        error: The exception of uproot or of a library below it.
        of: As for `cause_of`.
    """
    cause = cause_of(error, of=of)
    package = re.search(r"pip install \"?([^\s\"]+)", str(error))
    named = package[1] if package else getattr(error, "name", None) or getattr(error.__cause__, "name", None)
    remedy = cause.remedy.format(
        package=_PACKAGES.get(urlsplit(path).scheme) or named or "what the message names"
    )
    return cause.error(f"{path}: cannot read {part}: {cause.what} ({reason_of(error)}); {remedy}")
