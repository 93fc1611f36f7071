"""Make a cache of events from ROOT files, once: in parallel, and going on where it was stopped.

Each shard is written under a temporary name and renamed, then noted in a journal, so that a process that is killed at
any moment loses only the shards that it was writing. The cache is complete when all shards are there, and events that
occur twice are treated as ``data.repeated`` says, as in a training in memory.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hepgan.config import DataConfig
from hepgan.data.cache import (
    FORMAT,
    LEFT_OUT,
    Cache,
    Manifest,
    Shard,
    check_shard,
    read_manifest,
    shard_name,
    what_is_read,
)
from hepgan.data.identities import FileIdentity, identified
from hepgan.data.kinds import reader_of
from hepgan.data.reading import check_weights, count_entries, iterate, iterate_entries, read
from hepgan.data.repeats import Digests, copies, shared
from hepgan.data.shards import (
    LOCK,
    Work,
    check_room,
    locked,
    missing,
    noted,
    notes,
    table,
    write_manifest,
    write_rows,
    write_shard,
)
from hepgan.data.splits import (
    LEAVE_TO_TEST,
    known_test_files,
    say_copies,
    say_left_out,
    say_seen,
    training_files,
)
from hepgan.data.workers import results
from hepgan.errors import DataError
from hepgan.files import blocks, is_url, written
from hepgan.progress import shown, stage

__all__ = ["Extent", "extent", "prepare", "share_compared"]

_LOG = logging.getLogger(__name__)

_SHARD_BYTES = 1 << 26  # of a shard
_SAMPLED = 2000  # entries of each of some files, from which the share that passes the cut is estimated
_FILES_SAMPLED = 4
_MOST_COMPARED = 20_000_000  # events whose digests are compared; of more, a share


@dataclass(frozen=True)
class Extent:
    """How much there is to read.

    Attributes:
        entries: Entries of each file.
        rows: Estimated number of events or tracks in all of them.
        columns: Numbers in a row: conditions, each output, weight.
        exact: Whether `rows` is their number.
    """

    entries: tuple[int, ...]
    rows: int
    columns: tuple[int, ...]
    exact: bool

    @property
    def bytes(self) -> int:
        """Size of all rows."""
        return 4 * self.rows * sum(self.columns)


def extent(data: DataConfig, files: Sequence[str]) -> Extent:
    """Find out how much there is to read, from the numbers of entries and the beginnings of some files.

    Raises:
        DataError: If the input is not what the configuration says, or there are no events.
        ConfigError: If an expression of the configuration does not fit the branches.
        NotFoundError: If a file is missing.
    """
    small = data.model_copy(update={"chunk": "4 MB"})
    first = next(iterate(small, files=files))
    columns = table(first[:1])[1]
    with stage("counting", total=len(files)) as update:
        entries = []
        for k, file in enumerate(files):
            entries.append(count_entries(data, file))
            if not entries[-1]:
                _LOG.warning("%s: the tree has no entries", file)
            update(k + 1)
    total, exact = sum(entries), reader_of(data).entry_is_row and not data.cut
    rows = total
    if not exact:
        filled = [k for k, n in enumerate(entries) if n]
        chosen = filled[:: -(-len(filled) // _FILES_SAMPLED)]
        ranges = [(files[k], (0, min(entries[k], _SAMPLED))) for k in chosen]
        passed = sum(len(events) for file, part in ranges for events in iterate_entries(small, file, part))
        rows = max(len(first), round(total * passed / sum(part[1] for _, part in ranges)))
    return Extent(tuple(entries), min(rows, data.max_events or rows), columns, exact)


def prepare(
    data: DataConfig, out: str | Path, *, workers: int = 1, scheduler: str = "", progress: bool = True
) -> Cache:
    """Make a cache of all events of the training files, or complete it; one that is complete is kept as it is.

    Args:
        data: What to read.
        out: The folder.
        workers: Processes that read.
        scheduler: Address of a Dask scheduler, whose workers read instead; they see the files and the folder under the
            same names.
        progress: Show progress on the standard error.

    Raises:
        NotFoundError: If a file is missing.
        ConfigError: If the configuration does not fit the files, or the folder holds a cache of another one.
        DataError: If the events cannot be used, or the folder holds something else, or a cache of other files.
        OSError: If there is not enough room, or the folder cannot be written.
    """
    out = Path(out).absolute()
    with shown(progress):
        files = training_files(data)
        tested = [] if data.repeated == "keep" else known_test_files(data)
        reader = reader_of(data)
        what = what_is_read(data, reader.calorimeter)
        manifest = _earlier(out)
        if manifest is not None:
            _check_same(Cache(out, manifest), what, files)
            if manifest.complete and not missing(out, manifest):
                cache = Cache.open(out)
                if not cache.differences(what, files, tested=tested):
                    return cache
        else:
            size = extent(data, files)  # input that cannot be read is refused before anything is written
            check_room(out, size.bytes, certain=size.exact)
            identities = identified(files)
            manifest = Manifest(
                format=FORMAT,
                complete=False,
                read=what,
                files=tuple(identities),
                data_sha256=_sha256(identities),
                columns=size.columns,
                shards=tuple(_planned(size, data, exact=size.exact)),
            )
        with locked(out):
            if read_manifest(out) is None:
                write_manifest(out, manifest)
            manifest = _filled(out, manifest, data, files, workers=workers, scheduler=scheduler)
            return _completed(out, manifest, data, files, tested)


def _earlier(out: Path) -> Manifest | None:
    """The manifest in a folder that is used again; None for one that is empty, or not there.

    Raises:
        DataError: If the folder holds something else.
    """
    if not out.exists():
        return None
    if not out.is_dir():
        raise DataError(f"{out}: expected a folder for the cache, got a file; name another --out")
    manifest = read_manifest(out)
    if manifest is None and {path.name for path in out.iterdir()} - {LOCK}:
        raise DataError(
            f"{out}: expected an empty folder or a cache, got a folder with other files; name another --out"
        )
    return manifest


def _check_same(cache: Cache, what: dict[str, object], files: Sequence[str]) -> None:
    """Check that a cache, complete or not, is of these files, read in this way.

    Raises:
        ConfigError: If it was made with other keys.
        DataError: If files are others, or have changed.
    """
    for error, text in cache.differences(what, files):
        raise error(f"cache {cache.folder}: {text}; name another --out, or delete this folder first")


def _planned(size: Extent, data: DataConfig, *, exact: bool) -> Iterator[Shard]:
    """Shards of consecutive entries."""
    step = max(1, _SHARD_BYTES // (4 * sum(size.columns)))
    left = data.max_events if exact and data.max_events is not None else sum(size.entries)
    for number, entries in enumerate(size.entries):
        entries = min(entries, left)
        left -= entries
        for start in range(0, entries, step):
            yield Shard(file=number, start=start, stop=min(start + step, entries))


def _sha256(files: Sequence[FileIdentity]) -> str:
    """As `hepgan.files.digest`, with a progress bar."""
    total, done = hashlib.sha256(), 0.0
    with stage("digest of the files (MB)", total=sum(max(0, f.size) for f in files) / 1e6) as update:
        for identity in files:
            for block in blocks(identity.name):
                total.update(block)
                done += len(block) / 1e6
                update(done)
    return total.hexdigest()


def _filled(
    out: Path,
    manifest: Manifest,
    data: DataConfig,
    files: Sequence[str],
    *,
    workers: int,
    scheduler: str,
) -> Manifest:
    """Write the shards that are missing; the manifest with what is in all of them."""
    manifest = noted(out, manifest)
    shards, absent = list(manifest.shards), missing(out, manifest)
    if data.max_events is not None:
        absent = _needed(shards, absent, data.max_events)
    paths = [name if is_url(name) else str(Path(name).expanduser().absolute()) for name in files]
    work = [
        Work(data, paths[shard.file], shard, out / shard_name(k), manifest.columns, manifest.block_rows)
        for k, shard in ((k, shards[k]) for k in absent)
    ]
    entries = sum(shard.stop - shard.start for shard in shards)
    done = entries - sum(w.shard.stop - w.shard.start for w in work)
    calls = results(write_shard, work, workers=workers, scheduler=scheduler)
    with stage("reading", total=entries, done=done) as update, notes(out) as note:
        try:
            for k, shard in calls:
                number = absent[k]
                check_shard(out, number, shard, width=manifest.width)  # seen from here, too
                note(number, shard)
                shards[number] = shard
                done += shard.stop - shard.start
                update(done)
                if data.max_events is not None and not _needed(
                    shards, [n for n in absent if not shards[n].checksums], data.max_events
                ):
                    break
        finally:
            calls.close()  # type: ignore[attr-defined]
    if data.max_events is not None:
        shards = _cut(out, shards, data.max_events, manifest)
    return manifest.model_copy(update={"shards": tuple(shards)})


def _needed(shards: Sequence[Shard], missing: Sequence[int], most: int) -> list[int]:
    """Those missing shards before which there are not yet enough events."""
    before = np.cumsum([0, *(shard.rows for shard in shards)])
    return [number for number in missing if before[number] < most]


def _cut(out: Path, shards: list[Shard], most: int, manifest: Manifest) -> list[Shard]:
    """Leave out what is beyond ``data.max_events``."""
    before = np.cumsum([0, *(shard.rows for shard in shards)])
    last = int(np.searchsorted(before, most))  # number of shards that are kept
    for number in range(last, len(shards)):
        (out / shard_name(number)).unlink(missing_ok=True)
    shards = shards[:last]
    if before[min(last, len(shards))] > most:
        path = out / shard_name(last - 1)
        rows = np.load(path)[: most - before[last - 1]]
        shards[-1] = write_rows(path, rows, shards[-1], block_rows=manifest.block_rows)
    return shards


def _completed(
    out: Path, manifest: Manifest, data: DataConfig, files: Sequence[str], tested: Sequence[str]
) -> Cache:
    """Check all events together, and say that the cache is complete.

    Raises:
        DataError: If there are none, or their weights or repetitions are refused.
    """
    shards = manifest.shards
    if not any(shard.rows for shard in shards):
        read(data, files=files)  # raises the error that says why
    check_weights(data, total=sum(s.weights for s in shards), some=any(shard.sizes for shard in shards))
    rows = sum(shard.rows for shard in shards)
    manifest = manifest.model_copy(
        update={"complete": True, "rows": rows, "tested": tuple(identified(tested, known=manifest.tested))}
    )
    (out / LEFT_OUT).unlink(missing_ok=True)
    cache = Cache(out, manifest)
    if data.repeated == "once":
        left_out = _repeated(cache, data, tested)
        if len(left_out):
            say_left_out(len(left_out), of=rows, tested=bool(tested))
            with written(out / LEFT_OUT, "the list of repeated events") as path, path.open("wb") as file:
                np.save(file, left_out)
    elif data.repeated is None:
        _check_repeated(cache, data, files, tested)
    write_manifest(out, manifest)
    return Cache.open(out)


def share_compared(n: int) -> float:
    """The share of `n` events whose digests fit into the memory."""
    return min(1.0, _MOST_COMPARED / max(1, n))


def _digests(cache: Cache) -> Iterator[Digests]:
    """Digests of the events of each block."""
    with stage("comparing", total=len(cache)) as update:
        for number in range(len(cache.blocks) - 1):
            yield Digests.of(cache.events(cache.block(number)))
            update(int(cache.blocks[number + 1]))


def _tested(data: DataConfig, tested: Sequence[str]) -> Iterator[Digests]:
    """Digests of the events of the test files."""
    if tested:
        yield from map(Digests.of, iterate(data, files=tested))


def _repeated(cache: Cache, data: DataConfig, tested: Sequence[str]) -> NDArray[np.int64]:
    """Sorted numbers of the rows that repeat an earlier one, or one of the test files."""
    rows = np.concatenate([digests.rows for digests in _digests(cache)])
    keep = np.zeros(len(rows), bool)
    keep[np.unique(rows, return_index=True)[1]] = True
    for digests in _tested(data, tested):
        keep[np.isin(rows, digests.rows)] = False
    return np.flatnonzero(~keep)


def _check_repeated(cache: Cache, data: DataConfig, files: Sequence[str], tested: Sequence[str]) -> None:
    """Refuse events that occur twice, or in the test files, too; of very many events, a share is compared.

    Raises:
        DataError: If there are too many of them.
    """
    share = share_compared(len(cache))
    events = Digests.joined([digests.thinned(share) for digests in _digests(cache)])
    say_copies(data, files, number=copies(events, share=share), of=len(cache))
    if tested:
        held_out = list(_tested(data, tested))
        number = shared(Digests.joined([d.thinned(share) for d in held_out]), events, share=share)
        say_seen(number, of=sum(map(len, held_out)), name="data.test_files", remedy=LEAVE_TO_TEST)
