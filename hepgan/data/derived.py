"""Caches that are computed from another one, event by event, and kept beside it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hepgan.data.cache import FORMAT, Cache, Manifest, Shard, read_manifest, shard_name
from hepgan.data.events import Events, Float32
from hepgan.data.shards import (
    check_room,
    locked,
    missing,
    noted,
    notes,
    table,
    write_manifest,
    write_rows,
)
from hepgan.data.source import standard_place
from hepgan.errors import DataError
from hepgan.progress import stage

__all__ = ["derived"]

_ROWS = 4096  # that are computed at once


def derived(
    cache: Cache, function: Callable[[Events], Events], *, key: str, folder: Path | None = None
) -> Cache:
    """Compute other numbers for each event of a cache, once; go on where a killed process stopped.

    Args:
        cache: The cache.
        function: Maps events to as many.
        key: A digest of all that the function depends on.
        folder: Where the result gets its folder, named by cache and key; default: in that of the cache, or, if that
            cannot be written, where ``data.cache = "auto"`` keeps caches.

    Returns:
        A cache with the same rows in the same shards.

    Raises:
        DataError: If the function gives another number of events.
        OSError: If the disk is full, or the folder cannot be written.
    """
    base = cache.manifest
    identity = {"key": key, "read": base.read, "files": [[file.size, file.digest] for file in base.files]}
    name = hashlib.sha256(repr(identity).encode()).hexdigest()[:16]
    if folder is None:
        folder = cache.folder if os.access(cache.folder, os.W_OK) else standard_place()
    out = Path(folder) / f"derived-{name}"
    with locked(out, wait=True):
        manifest = read_manifest(out)
        if manifest is None or not manifest.complete or missing(out, manifest):
            first, columns = _mapped(cache.events(cache.block(0)[:1]), function)
            check_room(out, first.nbytes * len(cache), certain=True)
            if manifest is None:
                shards = [Shard(file=s.file, start=s.start, stop=s.stop) for s in base.shards]
                update = {"complete": False, "read": identity, "columns": columns, "shards": tuple(shards)}
                manifest = base.model_copy(update={"format": FORMAT} | update)
                write_manifest(out, manifest)
            manifest = _filled(out, cache, function, noted(out, manifest))
            write_manifest(out, manifest.model_copy(update={"complete": True}))
    return Cache.open(out)


def _filled(out: Path, cache: Cache, function: Callable[[Events], Events], manifest: Manifest) -> Manifest:
    """Write the shards that are missing."""
    shards, absent = list(manifest.shards), missing(out, manifest)
    done = len(cache) - sum(cache.manifest.shards[number].rows for number in absent)
    with stage("representing", total=len(cache), done=done) as update, notes(out) as note:
        for number in absent:
            first, stop = np.searchsorted(cache.blocks, cache.starts[number : number + 2])
            blocks, group = [cache.block(k) for k in range(first, stop)], []
            rows = np.concatenate(blocks) if blocks else np.empty((0, cache.manifest.width), np.float32)
            for start in range(0, len(rows), _ROWS):
                group.append(_mapped(cache.events(rows[start : start + _ROWS]), function)[0])
                update(done + min(len(rows), start + _ROWS))
            done += len(rows)
            result = np.concatenate([np.empty((0, manifest.width), np.float32), *group])
            shards[number] = write_rows(
                out / shard_name(number), result, shards[number], block_rows=manifest.block_rows
            )
            note(number, shards[number])
    return manifest.model_copy(update={"shards": tuple(shards)})


def _mapped(events: Events, function: Callable[[Events], Events]) -> tuple[Float32, tuple[int, ...]]:
    """Rows of the function of events, and the numbers of their columns."""
    result = function(events)
    if {len(array) for array in (result.conditions, *result.outputs)} != {len(events)}:
        got = [len(output) for output in result.outputs]
        raise DataError(f"expected one row for each of {len(events)} events, got {got}; map event by event")
    return table(result)
