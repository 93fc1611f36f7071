"""Identities of files: a digest of the content, not read again while size and time of change are the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import xxhash

from hepgan.config.checking import Table
from hepgan.files import blocks, is_url, location
from hepgan.progress import stage

__all__ = ["FileIdentity", "identified", "total_digest"]


class FileIdentity(Table):
    """A file as it was when its content was read.

    Attributes:
        name: Absolute path, or URL.
        size: Size (bytes); -1 for a URL.
        changed: Time of the last change (ns); 0 for a URL.
        digest: XXH3 (128 bits) of the content; of the text of a URL.
    """

    name: str
    size: int
    changed: int
    digest: str

    def is_current(self) -> bool:
        """Whether size and time of change are still the same."""
        if self.size < 0:
            return True
        stat = Path(self.name).stat()
        return (stat.st_size, stat.st_mtime_ns) == (self.size, self.changed)


def _name(file: str) -> str:
    return location(file) if is_url(file) else str(Path(location(file)).expanduser().resolve())


def identified(files: Sequence[str], *, known: Iterable[FileIdentity] = ()) -> list[FileIdentity]:
    """Identities of files; those that are known and unchanged are not read.

    Args:
        files: Existing files, or URLs.
        known: Identities found earlier.
    """
    earlier = {identity.name: identity for identity in known}
    names = [_name(file) for file in files]
    found = {name: earlier[name] for name in names if name in earlier and earlier[name].is_current()}
    unread = [name for name in names if name not in found]
    total = sum(Path(name).stat().st_size for name in unread if not is_url(name)) / 1e6
    done = 0.0
    with stage("identifying the files (MB)", total=total) as update:
        for name in unread:
            content = xxhash.xxh3_128()
            if is_url(name):
                content.update(name.encode())
                found[name] = FileIdentity(name=name, size=-1, changed=0, digest=content.hexdigest())
                continue
            stat = Path(name).stat()
            for block in blocks(name):
                content.update(block)
                done += len(block) / 1e6
                update(done)
            size, changed = stat.st_size, stat.st_mtime_ns
            found[name] = FileIdentity(name=name, size=size, changed=changed, digest=content.hexdigest())
    return [found[name] for name in names]


def total_digest(parts: Mapping[str, object], files: Iterable[FileIdentity]) -> str:
    """A name for files of these contents, in this order, that are used in the same way.

    Args:
        parts: What else decides on the result, with texts that tell it.
        files: The files.
    """
    text = repr(sorted(parts.items())) + repr([(file.size, file.digest) for file in files])
    return hashlib.sha256(text.encode()).hexdigest()
