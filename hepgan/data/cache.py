"""A cache of events on the disk: rows of float32 numbers in shards, read in blocks, with a checksum for each block.

`hepgan.data.preparing` makes it once from ROOT files; a training that does not fit into the memory streams from it
(`hepgan.data.streaming`). The folder holds

- ``cache.json``: what was read and how (`Manifest`). A cache is known by the contents of its files and by all keys of
  ``[data]`` that decide on what is read.
- ``000000.npy``, ...: one array (rows, columns) each, of consecutive entries of one file, in the order of the files:
  conditions, outputs, weight. `numpy.load` opens them, too.
- ``left_out.npy``: numbers of the rows that repeat others, with ``data.repeated = "once"``.

Blocks are read into memory of the process and not mapped, so that the resident memory stays small.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray
from pydantic import ValidationError

from hepgan.config import DataConfig
from hepgan.config.checking import Table
from hepgan.data.events import Events, Float32
from hepgan.data.identities import FileIdentity, identified
from hepgan.errors import ConfigError, DataError, NotFoundError
from hepgan.geometry import Calorimeter

__all__ = ["FORMAT", "Cache", "Manifest", "Shard", "checksums", "shard_name", "what_is_read"]

FORMAT = 1
"""Version of the format of the folder."""

MANIFEST = "cache.json"
LEFT_OUT = "left_out.npy"
HEADER = 128  # bytes of the header of a shard: numpy pads it to a multiple of 64

_BLOCK_BYTES = 1 << 19  # of a block: large enough for quick reading, small enough to mix many of them
_CHECKSUM = 16  # characters of a checksum (XXH3, 64 bits)

_READ_BY_OTHERS = frozenset(  # keys of [data] that change nothing of what is read
    ("files", "test_files", "output_tree", "chunk", "validation", "test", "withheld", "cache")
)


class Shard(Table):
    """Rows from consecutive entries of one file.

    Attributes:
        file: Place of the file in the list of files.
        start: First entry.
        stop: The entry behind the last.
        rows: Events or tracks that pass the cut.
        weights: Sum of the weights.
        squares: Sum of their squares.
        sizes: Sum of their absolute values.
        checksums: XXH3 of each block, 16 hexadecimal digits each, one after the other.
    """

    file: int
    start: int
    stop: int
    rows: int = 0
    weights: float = 0.0
    squares: float = 0.0
    sizes: float = 0.0
    checksums: str = ""


class Manifest(Table):
    """Content of ``cache.json``.

    Attributes:
        format: Version of the format.
        complete: Whether all shards are there, and checked.
        read: Keys of ``[data]`` that decide on what is read.
        files: The files that were read.
        tested: The test files of which no event is in the cache.
        data_sha256: The sha256 of the contents of the files, which exported models carry.
        columns: Numbers in a row: conditions, each output, weight.
        rows: Events or tracks in the cache.
        shards: The shards, in order.
    """

    format: int
    complete: bool
    read: dict[str, Any]
    files: tuple[FileIdentity, ...]
    tested: tuple[FileIdentity, ...] = ()
    data_sha256: str = ""
    columns: tuple[int, ...]
    rows: int = 0
    shards: tuple[Shard, ...]

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return sum(self.columns)

    @property
    def block_rows(self) -> int:
        """Rows of a block; the last one of a shard has fewer."""
        return max(1, _BLOCK_BYTES // (4 * self.width))


def shard_name(number: int) -> str:
    """Name of the file of a shard."""
    return f"{number:06d}.npy"


def checksums(rows: Float32, *, block_rows: int) -> str:
    """Checksums of the blocks of a shard, one after the other."""
    blocks = (rows[start : start + block_rows] for start in range(0, len(rows), block_rows))
    return "".join(xxhash.xxh3_64_hexdigest(np.ascontiguousarray(block).data) for block in blocks)


def what_is_read(data: DataConfig, calorimeter: Calorimeter | None) -> dict[str, Any]:
    """Keys of ``[data]`` that decide on what is read, a geometry file by its content."""
    read = data.model_dump(mode="json", exclude_none=True, exclude=set(_READ_BY_OTHERS))
    if calorimeter is not None:
        names = ("geometry", "particle", "layers")
        kept = {key: value for key, value in read["calorimeter"].items() if key not in names}
        read["calorimeter"] = kept | {"layers": calorimeter.as_dicts()}
        read["calorimeter"].get("hits", {}).pop("count", None)  # a name for files that are written
    return json.loads(json.dumps(read))  # type: ignore[no-any-return]  # as it comes back from the file


def changes(old: object, new: object, prefix: str = "data") -> list[str]:
    """Keys whose values differ, as ``key: was ..., is ...``."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [*old, *(key for key in new if key not in old)]
        return [change for key in keys for change in changes(old.get(key), new.get(key), f"{prefix}.{key}")]
    return [] if old == new else [f"{prefix}: was {old!r}, is {new!r}"]


@dataclass(frozen=True)
class Cache:
    """A complete cache.

    Attributes:
        folder: Where it is.
        manifest: What is in it.
    """

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: str | Path) -> Cache:
        """Open a cache; its shards are there, with the right size.

        Raises:
            NotFoundError: If there is no such folder.
            DataError: If it is no cache, or incomplete, or a shard is missing or damaged.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        if manifest is None:
            raise DataError(
                f"{folder}: expected a cache with {MANIFEST}, got a folder without; name the --out of hepgan prepare"
            )
        if not manifest.complete:
            raise DataError(
                f"cache {folder}: expected a complete one, got one whose making was stopped; run hepgan prepare again "
                "with the same --out: it goes on where it stopped"
            )
        for number, shard in enumerate(manifest.shards):
            check_shard(folder, number, shard, width=manifest.width)
        return cls(folder, manifest)

    def check(self, read: Mapping[str, Any], files: Sequence[str], *, tested: Sequence[str] = ()) -> None:
        """Check that the cache is of these files, read in this way.

        Args:
            read: See `what_is_read`.
            files: The training files.
            tested: The test files that are at hand.

        Raises:
            ConfigError: If it was made with other keys of ``[data]``.
            DataError: If files are others, or changed; says which.
        """
        if different := self.differences(read, files, tested=tested):
            (kind, text), *_ = different
            raise kind(
                f"cache {self.folder}: {text}; make another one with hepgan prepare CONFIG --out FOLDER"
            )

    def differences(
        self, read: Mapping[str, Any], files: Sequence[str], *, tested: Sequence[str] = ()
    ) -> list[tuple[type[ConfigError] | type[DataError], str]]:
        """In what this cache differs from one of these files, read in this way: errors and their texts."""
        manifest = self.manifest
        if different := changes(manifest.read, read):
            return [(ConfigError, f"was made with another configuration ({'; '.join(different)})")]
        now = identified(files, known=manifest.files)
        if len(now) != len(manifest.files):
            got = f"expected {len(now)} files (data.files), got those of {len(manifest.files)} files"
            return [(DataError, f"{got}, the first of these {manifest.files[0].name}")]
        changed = [b.name for a, b in zip(manifest.files, now, strict=True) if a.digest != b.digest]
        if changed:
            return [
                (DataError, f"files have changed, or are others, since it was made: {', '.join(changed)}")
            ]
        known = {identity.digest for identity in manifest.tested}
        new = [b.name for b in identified(tested, known=manifest.tested) if b.digest not in known]
        if new and manifest.read.get("repeated") != "keep":
            return [
                (DataError, f"its events were not compared with those of data.test_files: {', '.join(new)}")
            ]
        return []

    def __len__(self) -> int:
        return self.manifest.rows

    @cached_property
    def left_out(self) -> NDArray[np.int64]:
        """Sorted numbers of the rows that repeat others and are to be left out.

        Raises:
            DataError: If the file is damaged.
        """
        path = self.folder / LEFT_OUT
        try:
            return np.load(path) if path.exists() else np.empty(0, np.int64)
        except (ValueError, OSError) as error:
            raise DataError(f"{path}: damaged ({error}); make the cache again with hepgan prepare") from error

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Number of the first row of each shard, and of the row behind the last, (S + 1,)."""
        return np.cumsum([0, *(shard.rows for shard in self.manifest.shards)])

    @cached_property
    def blocks(self) -> NDArray[np.int64]:
        """Number of the first row of each block, and of the row behind the last, (B + 1,)."""
        step = self.manifest.block_rows
        starts = [np.arange(a, b, step) for a, b in zip(self.starts[:-1], self.starts[1:], strict=True)]
        return np.concatenate([*starts, self.starts[-1:]])

    def block(self, number: int) -> Float32:
        """Rows of a block, (rows, width).

        Raises:
            DataError: If the shard is missing, cut short, or differs from its checksum.
        """
        first, stop = self.blocks[number : number + 2]
        shard = int(np.searchsorted(self.starts, first, side="right")) - 1
        path, manifest = self.folder / shard_name(shard), self.manifest
        start, n = int(first - self.starts[shard]), int(stop - first)
        rows = np.empty((n, manifest.width), np.float32)
        try:
            with path.open("rb", buffering=0) as file:
                file.seek(HEADER + start * 4 * manifest.width)
                got = file.readinto(rows.data.cast("B"))
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error}); {_REMEDY}") from error
        place = start // manifest.block_rows * _CHECKSUM
        expected = manifest.shards[shard].checksums[place : place + _CHECKSUM]
        if got != rows.nbytes or xxhash.xxh3_64_hexdigest(rows.data) != expected:
            raise DataError(
                f"{path}: damaged: rows {start} to {start + n - 1} differ from their checksum; {_REMEDY}"
            )
        return rows

    def events(self, rows: Float32) -> Events:
        """Rows (N, width) as events."""
        conditions, *outputs, weights = np.split(rows, np.cumsum(self.manifest.columns)[:-1], axis=1)
        copies = tuple(np.ascontiguousarray(output) for output in outputs)
        return Events(np.ascontiguousarray(conditions), copies, np.ascontiguousarray(weights[:, 0]))


_REMEDY = "delete it and run hepgan prepare with the same --out, which makes it again"


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder, complete or not; None if the folder has none.

    Raises:
        NotFoundError: If there is no such folder.
        DataError: If it is damaged, or of another version.
    """
    if not folder.is_dir():
        raise NotFoundError(
            f"cache {folder}: expected a folder, got none; make it with hepgan prepare CONFIG --out {folder}"
        )
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(values, dict) and values.get("format") not in (None, FORMAT):
            raise DataError(
                f"{path}: expected format {FORMAT}, got {values['format']!r} of another version of hepgan; make the "
                "cache again with hepgan prepare and another --out"
            )
        return Manifest.model_validate(values)
    except (ValidationError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{path}: not the description of a cache, or damaged ({reason}); name the --out of hepgan prepare, or make "
            "the cache again"
        ) from error


def check_shard(folder: Path, number: int, shard: Shard, *, width: int) -> None:
    """Check that a shard is there, and as long as it should be.

    Raises:
        DataError: If it is not.
    """
    path, expected = folder / shard_name(number), HEADER + 4 * shard.rows * width
    if not path.is_file():
        raise DataError(f"{path}: a shard of the cache is missing; {_REMEDY}")
    if (got := path.stat().st_size) != expected:
        raise DataError(f"{path}: damaged: expected {expected} bytes, got {got}; {_REMEDY}")
