"""Benchmark of all objectives on the same data: which one to use, in numbers.

`run` trains each row of `ROWS` on each entry of `WORK` from several seeds, with the product's own `train`: the same
generator, the same number of its gradient steps, the same learning rates. Generated events are compared with held-out
events by every entry of `METRICS`; the row "data" compares held-out events with other held-out events, which is what a
perfect generator would get. `page` writes the tables.

Nothing is hidden. A training fails if it

- diverged: a loss or a generated event is not finite; it has no numbers;
- collapsed: a generated target differs between events of the most similar conditions by less than `COLLAPSED` times its
  difference in the data, or the sample has fewer than half of the known modes;
- got worse: the generator is further from the validation events than before the first step (and did not collapse).

Failures are counted. Numbers of those that did not diverge enter the means. The averaged generator of the last step is
judged; `train` exports the one of the smallest distance, which hides a collapse.

The benchmark does not tell which objective is best when each is tuned by itself: all rows share the same settings.
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from pydantic import BaseModel
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from hepgan import config as configuration
from hepgan.config import Config
from hepgan.data.events import Events
from hepgan.data.splits import test_events
from hepgan.errors import ConfigError, TrainingDiverged
from hepgan.evaluation.verdict import format_measurement
from hepgan.files import write_text
from hepgan.metrics.moments import Measurement
from hepgan.models import MODELS
from hepgan.objectives import chosen
from hepgan.studies.measures import COLLAPSED, EVENTS, METRICS, Features, Measured, measure
from hepgan.studies.recipes import ROWS, Row, find_row, recipe
from hepgan.studies.work import WORK, Work, files_of, find_work
from hepgan.training import checkpoint
from hepgan.training.loop import train
from hepgan.training.run_folder import RunFolder, load_generator

__all__ = ["COLLAPSED", "METRICS", "ROWS", "WORK", "Result", "Results", "page", "run", "table"]

_FLOOR = "data"  # the row that is not trained


class Result(Measured):
    """Outcome of one training, or of the data compared with themselves.

    Attributes:
        config_sha256: Digest of its configuration.
        seconds_per_step: CPU seconds for each step of the generator, start and export included; None if nothing was
            trained to the end.
    """

    config_sha256: str
    seconds_per_step: float | None = None


class Results(BaseModel):
    """Content of results.json.

    Attributes:
        steps: Number of generator steps of each training.
        runs: Results by data set, row and seed; the row "data" is the floor.
    """

    steps: int
    runs: dict[str, dict[str, dict[int, Result]]] = {}


class _Planned(NamedTuple):
    """One training: a row on a data set from a seed; without a row, the data compared with themselves."""

    data: str
    work: Work
    row_name: str
    row: Row | None
    seed: int

    def config(
        self, *, steps: int, settings: Sequence[str], files: Mapping[str, Sequence[str]] | None = None
    ) -> Config:
        """Configuration of the training, with the files of a toy once they are written."""
        return recipe(
            self.work,
            self.row or Row({}),
            steps=steps,
            seed=self.seed,
            settings=settings,
            files=files,
            source=f"{self.row_name} on {self.data}",
        )


def _train_and_measure(work: Work, row: Row | None, config: Config, *, config_sha256: str) -> Result:
    """Train one row from one seed, and measure; None: compare the data with themselves."""
    seed = config.training.seed
    events = test_events(config.data, seed=seed)
    order = np.random.default_rng(seed).permutation(len(events))[: 2 * EVENTS]
    reference, other = (events[half] for half in np.array_split(order, 2))
    measured = partial(
        measure,
        Features(config, reference),
        reference=reference,
        rng=np.random.default_rng(seed),
        centres=work.centres,
        radius=work.radius,
    )
    result = Result(config_sha256=config_sha256)
    if row is None:
        return result.model_copy(update=dict(measured(other)))
    with tempfile.TemporaryDirectory() as name:
        folder, begun = RunFolder(Path(name, "run")), time.process_time()
        try:
            train(config, folder.path, progress=False)
        except TrainingDiverged:
            return result.model_copy(update={"failure": "diverged"})
        seconds = time.process_time() - begun  # CPU time, because the machine may be shared
        generator, _, progress = load_generator(folder.path)
        tensors, _ = checkpoint.load(folder.checkpoint)
    generator.load_state_dict(checkpoint.part(tensors, "ema"))
    latent = torch.randn(len(other), generator.n_latent, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        targets = generator(torch.from_numpy(other.conditions), latent)[0].numpy()
    result.seconds_per_step = seconds / progress.step
    if not np.isfinite(targets).all():
        return result.model_copy(update={"failure": "diverged"})
    result = result.model_copy(update=dict(measured(Events(other.conditions, (targets,), other.weights))))
    if progress.best_step == 0 and not result.failure:
        result.failure = "got worse"
    return result


def run(
    *,
    data: Sequence[str] = tuple(WORK),
    rows: Sequence[str] = tuple(ROWS),
    seeds: int = 3,
    steps: int = 2000,
    out: str | Path,
    settings: Sequence[str] = (),
    progress: bool = False,
) -> Results:
    """Train and measure all rows on all data sets; a training whose result is in the folder is not repeated.

    Args:
        data: Names in `WORK`, or ROOT files.
        rows: Names in `ROWS`, or ``objective+regulariser``.
        seeds: Number of seeds, from 1.
        steps: Number of generator steps.
        out: Folder of ``results.json``, which is written after each training, and ``results.md``.
        settings: Keys of the configuration for all rows, as ``training.lr_critic=1e-3``.
        progress: Show a progress bar on stderr.

    Returns:
        The content of ``results.json``.

    Raises:
        ValueError: If there is no such data set or row, or the folder holds results of other settings.
        ConfigError: If a setting is unknown or has an impossible value.
        NotFoundError: If a file is missing.
        Interrupted: After SIGINT (Ctrl-C) or SIGTERM; results so far are saved.
    """
    works = {name: find_work(name) for name in data}
    chosen_rows: dict[str, Row | None] = {_FLOOR: None, **{name: find_row(name) for name in rows}}
    path = Path(out) / "results.json"
    results = _stored(path, steps=steps)
    plan = []
    for seed in range(
        1, seeds + 1
    ):  # the outer loop: a benchmark that was stopped has all tables, of fewer seeds
        for name, work in works.items():
            for row_name, row in chosen_rows.items():
                planned = _Planned(name, work, row_name, row, seed)
                digest = _checked(planned, steps=steps, settings=settings)
                stored = results.runs.get(name, {}).get(row_name, {}).get(seed)
                if stored is None:
                    plan.append((planned, digest))
                elif stored.config_sha256 != digest:
                    raise ValueError(
                        f"{path}: expected results of the same settings, got others for {row_name!r} on {name!r}, seed "
                        f"{seed}; take another --out, or the steps and settings of before"
                    )

    columns = [TextColumn("{task.description}"), *Progress.get_default_columns()[1:2], MofNCompleteColumn()]
    console = Console(stderr=True)
    with (
        ExitStack() as stack,
        Progress(*columns, TimeElapsedColumn(), console=console, disable=not progress) as bar,
    ):
        task = bar.add_task("benchmark", total=len(plan))
        files = {name: stack.enter_context(files_of(works[name])) for name in {p.data for p, _ in plan}}
        for planned, digest in plan:
            bar.update(task, description=f"{planned.data}: {planned.row_name}, seed {planned.seed}")
            config = planned.config(steps=steps, settings=settings, files=files[planned.data])
            result = _train_and_measure(planned.work, planned.row, config, config_sha256=digest)
            results.runs.setdefault(planned.data, {}).setdefault(planned.row_name, {})[planned.seed] = result
            write_text(path, json.dumps(results.model_dump(), indent=1))
            bar.advance(task)
    write_text(path.with_name("results.md"), page(results))
    return results


def _stored(path: Path, *, steps: int) -> Results:
    """Results of an earlier benchmark of as many steps, or none.

    Raises:
        ValueError: If the earlier benchmark had another number of steps.
    """
    if not path.is_file():
        return Results(steps=steps)
    results = Results.model_validate(json.loads(path.read_text(encoding="utf-8")))
    if results.steps != steps:
        raise ValueError(
            f"{path}: expected results of {steps} steps, got some of {results.steps}; take another --out, or "
            f"--steps {results.steps}"
        )
    return results


def _checked(planned: _Planned, *, steps: int, settings: Sequence[str]) -> str:
    """Digest of the configuration of a training, after a check that it can be trained and compared.

    Raises:
        ConfigError: If it cannot.
    """
    config = planned.config(steps=steps, settings=settings)
    chosen(config.objective)
    if planned.seed == 1:
        MODELS[config.model.name][0](config.data, config.model)  # flows need an extra
    if config.data.weight is not None:
        raise ConfigError(
            "data.weight: expected none, got an expression; rows are compared on events of weight one"
        )
    if config.training.max_minutes is not None:
        raise ConfigError(
            f"training.max_minutes: expected none, got {config.training.max_minutes:g}; rows are compared after the "
            "same number of steps"
        )
    return hashlib.sha256(configuration.dump(config).encode()).hexdigest()


def _over_seeds(numbers: Iterable[Measurement | None]) -> Measurement | None:
    """Mean and standard deviation over seeds; of one seed the metric's own uncertainty."""
    defined = [number for number in numbers if number is not None and math.isfinite(number[0])]
    if len(defined) < 2:
        return defined[0] if defined else None
    values = [value for value, _ in defined]
    return float(np.mean(values)), float(np.std(values, ddof=1))


def table(results: Results, data: str) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of the table of one data set: a line for each row, the best EMD first, after the floor.

    Args:
        results: Results that `run` returned.
        data: Name of the data set.
    """
    lines: list[tuple[float, list[str]]] = []
    runs = results.runs[data]
    headings = {"modes": "modes", "in_modes": "in modes"} | {
        key: metric.heading for key, metric in METRICS.items()
    }
    measured = {key for row in runs.values() for result in row.values() for key in result.numbers}
    keys = [key for key in headings if key in measured]
    for name, seeds in runs.items():
        numbers = {key: _over_seeds(r.numbers.get(key) for r in seeds.values()) for key in keys}
        failures = [r.failure for r in seeds.values() if r.failure]
        kinds = ", ".join(f"{failures.count(kind)} {kind}" for kind in sorted(set(failures)))
        speed = [1000 * r.seconds_per_step for r in seeds.values() if r.seconds_per_step is not None]
        cells = [name, *("" if number is None else format_measurement(number) for number in numbers.values())]
        cells += [f"{kinds} of {len(seeds)}" if kinds else "", f"{min(speed):.1f}" if speed else ""]
        distance = numbers.get("earth_movers_distance")
        rank = -1.0 if name == _FLOOR else math.inf if distance is None else distance[0]
        lines.append((rank, cells))
    lines.sort(key=lambda line: line[0])
    return ["row", *(headings[key] for key in keys), "failed", "CPU ms/step"], [cells for _, cells in lines]


def page(results: Results) -> str:
    """All tables as Markdown."""
    parts = []
    for name, rows in results.runs.items():
        headings, lines = table(results, name)
        seeds = max(len(row) for row in rows.values())
        parts.append(f"### {name}: {results.steps} steps, {seeds} seed{'s' * (seeds > 1)}\n")
        parts += [f"| {' | '.join(cells)} |" for cells in [headings, ["---"] * len(headings), *lines]]
        parts.append("")
    return "\n".join(parts)
