"""The files of a bulk generation: one, or a number of shards, of which a later call keeps those that are complete.

A shard appears when it is complete. So after a crash, whatever is there can be kept, if it was asked for in the same
way: model, seed, run, event numbers, conditions. Each file says so in the texts ``generated_by`` and ``request``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hepgan.errors import DataError
from hepgan.files import check_target
from hepgan.inference.metadata import Metadata
from hepgan.inference.writing import Origin, made_by

__all__ = ["Shard", "pattern", "plan"]

_DIGITS = 4  # of the number of a shard, at least
_SHOWN = 3  # files in a message


@dataclass(frozen=True)
class Shard:
    """One file, and its rows among all.

    Attributes:
        path: The file.
        start: First row.
        stop: End of the rows.
        origin: Where its rows come from.
        request: What else decides its content, for JSON.
        kept: Whether it is there already.
    """

    path: Path
    start: int
    stop: int
    origin: Origin
    request: Mapping[str, Any]
    kept: bool = False

    def parts(self, rows: int) -> Iterator[tuple[int, int]]:
        """Limits of pieces of a number of rows; the last one may be smaller."""
        for start in range(self.start, self.stop, rows):
            yield start, min(start + rows, self.stop)


def pattern(out: Path) -> Path:
    """The pattern that finds all shards of a name: ``fast-[0-9]*.root`` for ``fast.root``."""
    return out.with_name(f"{out.stem}-[0-9]*{out.suffix}")


def _paths(out: Path, shards: int) -> list[Path]:
    digits = max(_DIGITS, len(str(shards)))
    return [out.with_name(f"{out.stem}-{k:0{digits}d}{out.suffix}") for k in range(1, shards + 1)]


def plan(
    out: Path,
    metadata: Metadata,
    origin: Origin,
    *,
    n: int,
    shards: int | None,
    request: Mapping[str, Any],
    resume: bool,
) -> list[Shard]:
    """The files to write, and which of them are there.

    Args:
        out: The file, or the name from which those of the shards are made.
        metadata: Description of the generator.
        origin: Where the rows come from, from row 0 on.
        n: Number of rows.
        shards: Number of shards of nearly equal size; None: one file of that name.
        request: What else decides the content, for JSON.
        resume: Keep files that are there.

    Raises:
        ValueError: If there are more shards than rows.
        FileExistsError: If shards are there and `resume` is not set, or others than those asked for.
        DataError: If a file to keep is no ROOT file of this origin and request.
    """
    if shards is not None and not 1 <= shards <= n:
        raise ValueError(
            f"shards: expected a number from 1 to that of the rows, {n}, got {shards}; change it"
        )
    paths = [out] if shards is None else _paths(out, shards)
    if shards is not None:
        check_target(paths[0])
        _refuse_others(pattern(out), paths, resume=resume)
    planned = []
    for k, path in enumerate(paths):
        start, stop = n * k // len(paths), n * (k + 1) // len(paths)
        own = origin._replace(first_event=origin.first_event + start)
        kept = resume and path.exists()
        shard = Shard(path, start, stop, own, {**request, "rows": [start, stop]}, kept)
        if kept:
            _check(shard, metadata)
        planned.append(shard)
    return planned


def _refuse_others(names: Path, paths: Sequence[Path], *, resume: bool) -> None:
    """Stop at shards that would end up among those to write."""
    there = sorted(names.parent.glob(names.name))
    others = [path.name for path in there if not resume or path not in paths]
    if others:
        shown = ", ".join(others[:_SHOWN]) + (", ..." if len(others) > _SHOWN else "")
        remedy = "ask for as many shards as before, " if resume else "take --resume to keep them, "
        raise FileExistsError(
            f"{names}: expected {'no others than' if resume else 'none but'} the {len(paths)} shards to write, got "
            f"{len(others)} files: {shown}; {remedy}remove them, or choose another name"
        )


def _check(shard: Shard, metadata: Metadata) -> None:
    """Stop at a file of another origin."""
    from hepgan.data.root import open_file

    expected = {
        "generated_by": made_by(metadata, shard.origin),
        "request": json.loads(json.dumps(shard.request)),
    }
    with open_file(shard.path) as file:
        texts = {name: json.loads(file[name]) if name in file else {} for name in expected}
    for name, wanted in expected.items():
        for key, value in wanted.items():
            if (
                key != "model" and texts[name].get(key) != value
            ):  # the name of its file; the digest says which
                raise DataError(
                    f"{shard.path}: expected {key} = {json.dumps(value)} to keep it, got "
                    f"{json.dumps(texts[name].get(key))}; ask for the same as before, or remove it"
                )
