"""Bulk generation: showers or tracks from an exported model, streamed to ROOT files like the training file.

Tree and branch names come from the model's description: a program that reads the full simulation reads these files.
Row k is event `first_event` + k of a run: conditions and latent numbers are a function of (seed, run, event), see
`hepgan.inference.noise`, whatever the batch size, and in C++ as well. Memory does not grow with the number of events.

Threads generate rows, the calling thread compresses and writes them in order. What they write does not
depend on how many they are.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hepgan.data.cores import available_cores
from hepgan.errors import ConditionRangeError
from hepgan.files import expand
from hepgan.inference import noise
from hepgan.inference.bulk_conditions import Drawn, Stored, Value, parse_condition
from hepgan.inference.excursions import Excursions, OutOfRange, chosen
from hepgan.inference.generator import Generator
from hepgan.inference.shards import Shard, plan
from hepgan.inference.workers import in_order
from hepgan.inference.writing import Origin, generated_file
from hepgan.progress import event_bar, shown, stage
from hepgan.trees import COMPRESSION, Format, check_compression, check_format, cluster_rows

__all__ = ["generate", "parse_condition"]

_LOG = logging.getLogger(__name__)
_KEPT = 31 << 20  # bytes
_NUMBERS = 200_000  # latent numbers of a piece of work: about 10 ms


class Task(NamedTuple):
    """Some rows of a cluster to generate: few, so that no thread waits long for the others at the end.

    Attributes:
        shard: Their file.
        stop: End of the rows that are done with these.
        condition: (N, n_conditions), physical units.
        rows: (N,) rows among all; none if all of a cluster are skipped.
    """

    shard: Shard
    stop: int
    condition: NDArray[np.float32]
    rows: NDArray[np.int64]


@cache
def _keep_memory() -> None:
    """Let the C library keep memory that is freed: fresh pages from the system would take a tenth of the time.

    glibc does so up to the size of the largest piece that the system gave it alone and that was freed, but at most
    32 MiB. Elsewhere this does nothing.
    """
    np.empty(_KEPT, np.uint8)


def generate(
    model: Generator,
    out: str | Path,
    *,
    n: int | None = None,
    conditions: Mapping[str, Value] | None = None,
    conditions_from: str | Path | Sequence[str | Path] | None = None,
    seed: int = 1,
    run: int = 0,
    first_event: int = 0,
    batch_size: int | None = None,
    extrapolate: bool = False,
    out_of_range: OutOfRange = "error",
    format: Format = "ttree",
    compression: str = COMPRESSION,
    workers: int | None = None,
    shards: int | None = None,
    resume: bool = False,
    progress: bool = False,
) -> int:
    """Write showers or tracks to a ROOT file.

    Args:
        model: The generator.
        out: The file; it appears when it is complete, and replaces one of that name.
        n: Number of showers or tracks; default: as many as `conditions_from` has.
        conditions: For each condition a value, or a range to draw from: log-uniform if the model takes its
            logarithm, else uniform; for a category its name.
        conditions_from: Take the conditions of this ROOT file, or of these files and patterns, instead, one by one,
            without the cut. They are read once before, to refuse what cannot be used.
        seed: With `run` and the event number the key of the noise: the same event is the same whatever the batch size.
        run: Run number.
        first_event: Event number of the first row; jobs of one sample differ in it, or in the run.
        batch_size: Events that the network computes at once; default: as many as is fast.
        extrapolate: The same as ``out_of_range="extrapolate"``.
        out_of_range: Action for conditions outside the trained range, see `Generator.generate`; logged with the number
            of rows. With ``skip`` the file has a branch ``condition_row``, the row of the conditions of each event.
        format: Kind of the tree.
        compression: Name and, after a colon, level: ``"zstd:5"``, ``"lz4"``, ``"zlib"``, ``"lzma"``, ``"none"``.
        workers: Threads that generate, while the calling one writes; default: as many as the process has cores. The
            content of the files does not depend on it.
        shards: Write this number of files of nearly equal size instead, ``OUT-0001.root`` and so on.
        resume: Keep files, or shards, that are there, if they have the same origin, and generate only the others.
        progress: Show a progress bar.

    Returns:
        The number of showers or tracks that were written.

    Raises:
        ConditionRangeError: If a condition is outside its trained range, and that is refused; or if all are skipped.
        ValueError: If a condition is missing or unknown, or an argument is wrong.
        DataError: If `conditions_from` has too few entries, or branches that cannot be used; if a file to keep is of
            another origin.
        NotFoundError: If there is no file `conditions_from`.
        FileExistsError: If shards of this name are there and `resume` is not set, or others than those to write.
        OSError: If `out` is no file, or cannot be written, such as on a full disk; nothing is left behind, except
            complete shards.
    """
    out = Path(out)
    content = model.kind.rows
    if bool(conditions) == (conditions_from is not None):
        got = "both; leave one out" if conditions else "none; add --condition NAME=VALUE"
        raise ValueError(f"conditions, conditions_from: expected exactly one of them, got {got}")
    if (n is None and conditions) or (n is not None and n < 1):
        number = "none" if n is None else n
        raise ValueError(f"n: expected a positive number of {content}, got {number}; add -n N")
    if batch_size is not None and not 1 <= batch_size < 2**31:
        size = batch_size if batch_size < 1 else "2^31 or more"
        raise ValueError(f"batch_size: expected a positive number, got {size}; 128 is a good one")
    if workers is not None and workers < 1:
        raise ValueError(f"workers: expected a positive number of threads, got {workers}; 1 is the fewest")
    action = chosen(out_of_range, extrapolate=extrapolate)
    check_format(format)
    check_compression(compression)
    seed, run, first_event = (
        noise.check("seed", seed),
        noise.check("run", run),
        noise.check_events(first_event, n or 1),
    )
    source: Drawn | Stored
    if conditions and n is not None:
        source = Drawn(model, conditions, n=n, out_of_range=action, key=(seed, run), first_event=first_event)
    else:
        names = [conditions_from] if isinstance(conditions_from, str | Path) else conditions_from or []
        with shown(progress), stage("reading the conditions"):
            first = Excursions(model.conditions, action, content)
            source = Stored(model, expand(names), n=n, excursions=first)
        noise.check_events(first_event, source.n)

    numbers = sum(math.prod(output.shape) for output in model.metadata.outputs if output.role != "overflow")
    batch = batch_size or model.fastest_batch
    rows = cluster_rows(numbers, batch=batch)  # whole batches, as without chunks
    request = {"conditions": source.identity, "out_of_range": action, "batch_size": batch, "format": format}
    origin = Origin(model.path.name, seed, run, first_event)
    files = plan(out, model.metadata, origin, n=source.n, shards=shards, request=request, resume=resume)
    excursions = Excursions(model.conditions, action, content)

    cores = available_cores()
    threads = workers or cores
    if threads == cores == 1:
        threads = 0  # two would only take turns
    at_once = max(1, _NUMBERS // (batch * model.n_latent)) * batch

    def admitted() -> Iterator[Task]:
        for shard in files:
            for start, stop in shard.parts(rows):
                condition, kept = excursions.admit(source(start, stop))
                for first in range(0, 0 if shard.kept else max(1, len(kept)), at_once):
                    part = slice(first, first + at_once)
                    last = first + at_once >= len(kept)
                    yield Task(shard, stop if last else int(kept[part][-1]) + 1, condition[part], kept[part])

    def generated(task: Task) -> tuple[Task, dict[str, Any]]:
        result = model.generate_admitted(
            task.condition, task.rows, seed=seed, run=run, first_event=first_event, batch_size=batch
        )
        return task, (result if action == "skip" else replace(result, rows=None)).branches()

    for shard in files:
        if shard.kept:
            _LOG.info("%s: complete, kept", shard.path)
    _keep_memory()
    done = 0
    with (
        event_bar("generating", total=source.n, show=progress) as show_done,
        closing(in_order(generated, admitted(), workers=threads, ahead=-(-rows // at_once))) as results,
    ):
        for shard, parts in groupby(results, key=lambda result: result[0].shard):
            with generated_file(
                shard.path,
                model.metadata,
                shard.origin,
                rows=rows,
                format=format,
                compression=compression,
                notes={"request": json.dumps(shard.request)},
            ) as tree:
                before = done
                for task, branches in parts:
                    tree.extend(branches)
                    done += len(task.rows)
                    show_done(task.stop)
                if not done and len(files) == 1:
                    raise ConditionRangeError(f"nothing to write; {'; '.join(excursions.sentences())}")
            _LOG.info("%s: %d %s", shard.path, done - before, content)
    for sentence in excursions.sentences():
        _LOG.warning("%s", sentence)
    return done
