"""Writing of the shards of a cache: one after the other, each completely or not at all, and going on after a kill.

A shard is noted in the journal of the folder when it is on the disk. A process that is killed at any moment loses only
the shards that it was writing.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from hepgan.config import DataConfig
from hepgan.data.cache import MANIFEST, Manifest, Shard, check_shard, checksums
from hepgan.data.events import Events, Float32
from hepgan.data.reading import iterate_entries
from hepgan.errors import ConfigError, DataError
from hepgan.files import exclusive, write_text, written

__all__ = [
    "LOCK",
    "Work",
    "check_room",
    "locked",
    "missing",
    "noted",
    "notes",
    "table",
    "write_manifest",
    "write_rows",
    "write_shard",
]

LOCK = "lock"
_JOURNAL = "done.jsonl"


def table(events: Events) -> tuple[Float32, tuple[int, ...]]:
    """Events as rows (N, columns), and the numbers of columns."""
    arrays = (events.conditions, *events.outputs, events.weights[:, None])
    return np.concatenate(arrays, axis=1), tuple(array.shape[1] for array in arrays)


def write_rows(path: Path, rows: Float32, shard: Shard, *, block_rows: int) -> Shard:
    """Write the rows of a shard.

    Args:
        path: The file.
        rows: (N, columns).
        shard: Where they are from.
        block_rows: Rows of a block.

    Returns:
        The shard with what is in it.

    Raises:
        OSError: If the disk is full, or the folder cannot be written.
    """
    with written(path, "a shard of the cache") as temporary, temporary.open("wb") as file:
        np.save(file, rows)
    weights = rows[:, -1].astype(np.float64)
    return shard.model_copy(
        update={
            "rows": len(rows),
            "weights": float(weights.sum()),
            "squares": float((weights**2).sum()),
            "sizes": float(np.abs(weights).sum()),
            "checksums": checksums(rows, block_rows=block_rows),
        }
    )


@dataclass(frozen=True)
class Work:
    """What a worker needs to write one shard.

    Attributes:
        data: What to read.
        file: From where.
        shard: The entries.
        path: The file to write.
        columns: Numbers in a row: conditions, each output, weight.
        block_rows: Rows of a block.
    """

    data: DataConfig
    file: str
    shard: Shard
    path: Path
    columns: tuple[int, ...]
    block_rows: int


def write_shard(work: Work) -> Shard:
    """Read a range of entries and write it; the shard with what is in it.

    Raises:
        DataError: If the input is not what the configuration says, or has other columns than the first file.
        OSError: If the disk is full, or the folder cannot be written.
    """
    shard, width = work.shard, sum(work.columns)
    parts = [np.empty((0, width), np.float32)]
    for events in iterate_entries(work.data, work.file, (shard.start, shard.stop)):
        rows, columns = table(events)
        if columns != work.columns:
            raise DataError(
                f"{work.file}: expected {work.columns} numbers an event, as in the first file, got {columns}; name "
                "files of the same kind"
            )
        parts.append(rows)
    return write_rows(work.path, np.concatenate(parts), shard, block_rows=work.block_rows)


def check_room(out: Path, size: int, *, certain: bool) -> None:
    """Check that the disk has room.

    Raises:
        OSError: If it has not.
    """
    place = next(folder for folder in (out, *out.parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    if size > free:
        about = "" if certain else "about "
        raise OSError(
            f"cache {out}: expected {about}{size / 1e9:.3g} GB of free disk, got {free / 1e9:.3g} GB; make room, name "
            "another --out, or take fewer events (data.max_events, data.cut)"
        )


@contextmanager
def locked(out: Path, *, wait: bool = False) -> Iterator[None]:
    """Keep other processes from writing to the same cache.

    Args:
        out: The folder of the cache.
        wait: Wait for the end of another process that writes.

    Raises:
        ConfigError: If one does, unless it is waited for.
        OSError: If the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / LOCK).write_bytes(b"")
    except OSError as error:
        reason = (
            f"{error.strerror or error}: the cache could not be written; name a folder that can be written"
        )
        raise OSError(error.errno, reason, str(out)) from error
    with ExitStack() as held:
        try:
            held.enter_context(exclusive(out / LOCK, wait=wait))
        except BlockingIOError:
            raise ConfigError(
                f"cache {out}: another process is making it; wait for its end, or name another --out"
            ) from None
        yield


def missing(out: Path, manifest: Manifest) -> list[int]:
    """Numbers of the shards that are not there, or of another size than noted."""
    absent = []
    for number, shard in enumerate(manifest.shards):
        try:
            check_shard(out, number, shard, width=manifest.width)
        except DataError:
            absent.append(number)
    return absent


def noted(out: Path, manifest: Manifest) -> Manifest:
    """The manifest with the shards that the journal notes as written."""
    shards = list(manifest.shards)
    if (out / _JOURNAL).exists():
        for line in (out / _JOURNAL).read_text(encoding="utf-8").splitlines():
            try:
                number, values = json.loads(line)
                shard = Shard.model_validate(values)
                if (shard.file, shard.start, shard.stop) == _place(shards[number]):
                    shards[number] = shard
            except (ValueError, TypeError, IndexError, ValidationError):  # cut short by a kill
                continue
    return manifest.model_copy(update={"shards": tuple(shards)})


def _place(shard: Shard) -> tuple[int, int, int]:
    return shard.file, shard.start, shard.stop


@contextmanager
def notes(out: Path) -> Iterator[Callable[[int, Shard], None]]:
    """Open the journal of a folder.

    Yields:
        A function that notes a shard, by its number, as written.
    """
    with (out / _JOURNAL).open("a", encoding="utf-8") as journal:

        def note(number: int, shard: Shard) -> None:
            journal.write(f"\n{json.dumps([number, shard.model_dump()])}\n")
            journal.flush()
            os.fsync(journal.fileno())

        yield note


def write_manifest(out: Path, manifest: Manifest) -> None:
    """Write the description of a cache; a complete one needs its journal no more.

    Raises:
        OSError: If the disk is full, or the folder cannot be written.
    """
    write_text(out / MANIFEST, manifest.model_dump_json())
    if manifest.complete:
        (out / _JOURNAL).unlink(missing_ok=True)
