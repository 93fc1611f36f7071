"""Where the events of a training come from: the memory, or a cache on the disk, as ``data.cache`` says."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from hepgan.config import DataConfig
from hepgan.data.cache import Cache, what_is_read
from hepgan.data.cores import available_cores
from hepgan.data.identities import FileIdentity, identified, total_digest
from hepgan.data.kinds import reader_of
from hepgan.data.preparing import extent, prepare
from hepgan.data.splits import known_test_files, training_files
from hepgan.errors import ConfigError
from hepgan.files import cache_folder, is_url, write_text

__all__ = ["AUTO", "NEVER", "available_memory", "cache_of", "fits_in_memory", "standard_place"]

_LOG = logging.getLogger(__name__)

AUTO, NEVER = "auto", "never"
"""Values of ``data.cache`` that are no folder."""

_SHARE = 8  # of the free memory: reading, the split and the start need several times the size of the events
_MOST_COMPRESSED = 100  # events take at most this many times the size of their files, to decide quickly
_KNOWN = "identities.jsonl"


def available_memory() -> int:
    """Memory that this process can take (bytes): of the machine, and of its control group."""
    page = os.sysconf("SC_PAGE_SIZE")
    free = page * os.sysconf("SC_PHYS_PAGES")
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
        group = Path("/sys/fs/cgroup")
        most = (group / "memory.max").read_text(encoding="ascii").strip()
        if most != "max":
            used = int((group / "memory.current").read_text(encoding="ascii"))
            free = min(free, int(most) - used)
    except (OSError, StopIteration, ValueError):  # not Linux, or no control groups
        pass
    return max(0, free)


def fits_in_memory(data: DataConfig, files: list[str]) -> bool:
    """Whether the events take at most an eighth of the free memory, as far as this can be told beforehand.

    Raises:
        DataError: If the files cannot be used.
    """
    limit = available_memory() // _SHARE
    local = [Path(file).stat().st_size for file in files if not is_url(file)]
    if len(local) == len(files) and _MOST_COMPRESSED * sum(local) < limit:
        return True
    size = extent(data, files).bytes
    if size <= limit:
        return True
    _LOG.info(
        "data.cache: the events take about %.3g GB, more than an eighth of the free memory (%.3g GB): they are "
        "streamed from a cache",
        size / 1e9,
        _SHARE * limit / 1e9,
    )
    return False


def standard_place() -> Path:
    """Folder of the caches of ``data.cache = "auto"``: HEPGAN_CACHE, or XDG_CACHE_HOME/hepgan, or ~/.cache/hepgan."""
    if own := os.environ.get("HEPGAN_CACHE"):
        return Path(own).expanduser().absolute()
    return cache_folder()


def _known(place: Path) -> list[FileIdentity]:
    """Identities of files that were read before; lines that are damaged are left out."""
    known = []
    try:
        lines = (place / _KNOWN).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            known.append(FileIdentity.model_validate_json(line))
        except ValueError:
            continue
    return known


def cache_of(
    data: DataConfig, *, streamed: bool | None = None, workers: int | None = None, progress: bool = False
) -> Cache | None:
    """The cache to stream the training events from; None: they are read into memory.

    Args:
        data: What to read; its ``cache`` says from where.
        streamed: What a run that is resumed did; None: a new run.
        workers: Processes that make a cache; default: one for each processor.
        progress: Show progress on the standard error.

    Raises:
        NotFoundError: If files, or the named cache, are missing.
        ConfigError: If the named cache is of another configuration, or ``data.cache`` says another way than the run
            that is resumed.
        DataError: If the cache is damaged, or of other files, or the files cannot be used.
        OSError: If there is no room for a cache.
    """
    ways = {NEVER: False, AUTO: streamed}
    if streamed is not None and ways.get(data.cache, True) != streamed:
        did = "streamed its events from a cache" if streamed else "had its events in memory"
        raise ConfigError(
            f"data.cache: expected the way in which the run to resume has begun, which {did}, got {data.cache!r}; "
            'resume with data.cache = "auto"'
        )
    if data.cache == NEVER:
        return None
    files = training_files(data)
    if data.cache == AUTO and (fits_in_memory(data, files) if streamed is None else not streamed):
        return None
    what = what_is_read(data, reader_of(data).calorimeter)
    if data.cache != AUTO:
        cache = Cache.open(Path(data.cache).expanduser())
        cache.check(what, files, tested=known_test_files(data))
        return cache
    place = standard_place()
    known = _known(place)
    identities = identified(files, known=known)
    if new := [identity for identity in identities if identity not in known]:
        names = {identity.name for identity in new}
        kept = [identity for identity in known if identity.name not in names]
        write_text(place / _KNOWN, "".join(f"{each.model_dump_json()}\n" for each in (*kept, *new)))
    out = place / total_digest(what, identities)[:16]
    return prepare(data, out, workers=workers or available_cores(), progress=progress)
