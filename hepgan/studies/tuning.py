"""Search for the settings of the smallest validation distance (``hepgan tune``), by any number of workers.

The study is a folder: ``study.journal`` holds Optuna's trials, ``trials/NNNN`` the run folder of each, ``running/`` the
claims of the workers (`hepgan.studies.claims`). Workers that are started with the same folder share the study. A trial
whose worker stopped or died goes on from its last checkpoint, in whatever worker finds it.

The first trial is the configuration itself. Later ones are drawn at random, then by the tree-structured Parzen
estimator (Bergstra et al., NeurIPS 2011), each from a seed of its own, so that one worker finds the same again.

A trial counts by the distance of the generator that its training selected, measured again at other latent numbers,
because the smallest of a training's validations is a lucky one. The distance of the best trial is still the smallest of
many, to the same validation events: docs/tuning.md tells how to measure the winner without that bias.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hepgan.config import Config
from hepgan.data.splits import training_files
from hepgan.errors import HepganError, Interrupted
from hepgan.progress import Update, shown, stage
from hepgan.studies.claims import BEAT
from hepgan.studies.search import Study, check_installed
from hepgan.studies.search_results import Search
from hepgan.studies.spaces import space_of
from hepgan.training.signals import stop_signals

__all__ = ["tune"]

logger = logging.getLogger(__name__)

_POLL = 0.5  # seconds


def tune(config: Config, out: str | Path, *, trials: int, workers: int = 1, progress: bool = True) -> Search:
    """Train trials until the study has as many as asked for, and write what came of them.

    Writes ``results.json`` and ``best.toml`` after each trial, and ``report.html`` at the end.

    Args:
        config: The configuration, with or without a table ``[tune]``.
        out: Folder of the study; a study that is there goes on.
        trials: Number of trials of the study in all, those of before and of other workers included.
        workers: Processes on this machine.
        progress: Show progress bars on stderr.

    Returns:
        The content of ``results.json``.

    Raises:
        ConfigError: If Optuna is not installed, the space does not fit the configuration, or the folder holds a study
            of another configuration.
        NotFoundError: If training files are missing.
        DataError: If no trial could use the data.
        Interrupted: After SIGINT (Ctrl-C) or SIGTERM; running trials are saved.
    """
    check_installed()
    space = space_of(config)
    training_files(config.data)  # missing ones are refused before anything is written
    study = Study(Path(out), config, space)
    try:
        with shown(progress), stage("tuning", total=trials, done=study.finished()) as update:
            if workers == 1:
                study.work(trials, update, progress=progress)
            else:
                _start_workers(study, trials, workers, update)
    finally:
        results = study.write_locked(page=True)
    return results


def _start_workers(study: Study, trials: int, workers: int, update: Update) -> None:
    """Start processes that work on a study, and wait for them; a signal is passed on to them once.

    Raises:
        Interrupted: After SIGINT or SIGTERM.
        RuntimeError: If a worker failed; it has said why.
    """
    config = study.base.model_copy(
        update={"tune": study.settings.model_copy(update={"space": dict(study.space)})}
    )
    context = multiprocessing.get_context("spawn")
    with _threads_each(workers):
        processes = [
            context.Process(target=_worker, args=(config, study.folder, trials, os.getpid()))
            for _ in range(workers)
        ]
        for process in processes:
            process.start()
    with stop_signals() as signals:
        passed_on = False
        while any(process.is_alive() for process in processes):
            if signals and not passed_on:
                passed_on = True
                for process in processes:
                    process.terminate()
            time.sleep(_POLL)
            update(study.finished(), note=study.note())
    if signals:
        raise Interrupted("stopped by request; the same command goes on", run=study.folder, step=0)
    failed = sum(process.exitcode != 0 for process in processes)
    if failed:
        raise RuntimeError(f"{failed} of {workers} workers failed, for the reasons above")


@contextmanager
def _threads_each(workers: int) -> Iterator[None]:
    """Share the cores of the machine between processes that are started inside, unless the user has said how."""
    if "OMP_NUM_THREADS" in os.environ:
        yield
        return
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // workers))
    try:
        yield
    finally:
        del os.environ["OMP_NUM_THREADS"]


def _worker(config: Config, folder: Path, trials: int, parent: int) -> None:
    """Work on a study in a process of its own, which Ctrl-C reaches only through its parent."""
    os.setpgrp()
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    check_installed()
    try:
        with shown(False), stage("tuning") as update:
            Study(folder, config, space_of(config)).work(trials, update, progress=False)
    except (Interrupted, KeyboardInterrupt):
        return
    except (HepganError, OSError) as error:
        logger.error("worker %d: %s", os.getpid(), error)
        raise SystemExit(1) from None


def _stop(number: int, _: Any) -> None:
    raise KeyboardInterrupt(number)


def _follow(parent: int) -> None:
    """Stop like at a signal when the process that started this one is gone."""
    while os.getppid() == parent:
        time.sleep(BEAT)
    os.kill(os.getpid(), signal.SIGTERM)
