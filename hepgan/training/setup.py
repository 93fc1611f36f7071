"""Set-up of a run: read the data, refuse what cannot be trained, and make or restore the state."""

from __future__ import annotations

import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

import torch

from hepgan import config as configuration
from hepgan.config import Config
from hepgan.data.cores import available_cores
from hepgan.data.names import completed
from hepgan.data.streaming import TrainingEvents
from hepgan.data.tensors import TensorEvents
from hepgan.errors import ConfigError, DataError
from hepgan.files import write_text
from hepgan.models import MODELS
from hepgan.objectives import OBJECTIVES, chosen
from hepgan.progress import stage
from hepgan.training.classifiers import FEWEST_EVENTS, ValidationClassifiers
from hepgan.training.events import RunEvents, data_contents, represented, shared_cache
from hepgan.training.run_folder import RunFolder
from hepgan.training.selection import Validation
from hepgan.training.state import RunState
from hepgan.training.validation import ValidationDistance
from hepgan.training.workers import ALONE, Workers

__all__ = ["Run", "check_shared", "set_up"]


@dataclass(frozen=True)
class Run:
    """A run that is ready to be trained.

    Attributes:
        config: The configuration.
        folder: The run folder, which holds the configuration.
        state: All that changes while it trains.
        events: The training part of the data; batches are on the device.
        validation: Measures a generator on the validation part of the data.
    """

    config: Config
    folder: RunFolder
    state: RunState
    events: TrainingEvents
    validation: Validation

    def batch(self) -> TensorEvents:
        """Draw the next batch, or the rows of it that this worker computes."""
        size, state = self.config.training.batch_size, self.state
        batch = self.events.batch(size, rng=state.batch_rng, first=state.drawn)
        state.drawn += size
        return batch


def check_shared(config: Config, workers: int) -> None:
    """Check that a number of workers can share the batches of a training, with the result of one.

    Raises:
        ConfigError: If they cannot.
    """
    objective, regulariser = chosen(config.objective)
    batch = config.training.batch_size
    if batch < workers:
        raise ConfigError(
            f"training.batch_size: expected at least one event for each of the {workers} workers, got {batch}; make it "
            "larger, or start fewer workers"
        )
    if workers > 1 and regulariser.whole_batch:
        raise ConfigError(
            f"objective.regulariser: expected one that looks at each event alone, for {workers} workers, got the "
            "spread of the whole batch (dragan); choose another, or train with one worker"
        )
    if workers > 1 and objective.own and objective.fakes and batch % (2 * workers):
        raise ConfigError(
            f"training.batch_size: expected a multiple of {2 * workers} for {workers} workers and objective "
            f"{config.objective.name!r}, which reconstructs half of a batch, got {batch}; make it one"
        )


def set_up(
    config: Config,
    out: str | Path,
    *,
    resume: bool | Literal["auto"],
    progress: bool,
    workers: Workers = ALONE,
) -> Run:
    """Prepare a run and write its configuration; input that is refused leaves nothing behind.

    Args:
        config: The configuration.
        out: The run folder.
        resume: Go on with an existing run; "auto": if there is one.
        progress: Show a progress bar while the data are read.
        workers: The workers that train together. The first one looks at the folder, fits the start or reads the
            checkpoint, and gives the state to the others.

    Raises:
        ConfigError: If the folder has a run already (without `resume`), or the configuration does not fit the data or
            the machine, or differs from that of the run to resume.
        DataError: If the data cannot be used, differ from those of the run to resume, or differ between workers.
        NotFoundError: If files, or the run to resume, are missing.
        OSError: If the run folder cannot be written.
    """
    settings, folder = config.training, RunFolder(Path(out))
    chosen(config.objective)
    device = _device(settings.device, workers)
    if threads := settings.threads or _threads(workers):
        torch.set_num_threads(threads)
    config = config.model_copy(update={"data": completed(config.data), "tune": None})
    saved = None
    if workers.is_first:
        folder.check_writable()
        if resume == "auto":
            resume = folder.config.exists()
        if resume:
            folder.check_resumable(config)
            saved = folder.saved()
        else:
            folder.check_free()
    streamed = None if saved is None else saved.progress.streamed
    cache = shared_cache(config, workers, streamed=streamed, progress=progress)
    data_sha256, data_files = data_contents(config, cache) if workers.is_first else ("", {})
    if saved is not None:
        folder.check_same(saved.progress, device=device.type, data_sha256=data_sha256, data_files=data_files)

    events = RunEvents.of(config, cache, device=device, progress=progress)
    _check(config, events)
    state = None
    if workers.is_first and saved is None:
        with stage("fitting the start"):
            state = RunState.start(
                config,
                events.start,
                device=device,
                data_sha256=data_sha256,
                data_files=data_files,
                workers=workers,
            )
        state.streamed = events.streamed
    elif saved is not None:
        state = RunState.restore(config, saved, workers=workers)
    state = _of_all(state, config, events.start, workers)
    with stage("preparing the events"):
        training = represented(events, config, state)
    with stage("preparing the validation"):
        validation = _validation(config, events, state)
    if workers.is_first:
        folder.path.mkdir(parents=True, exist_ok=True)
        write_text(folder.config, configuration.dump(config))
    return Run(config, folder, state, training, validation)


def _validation(config: Config, events: RunEvents, state: RunState) -> Validation:
    """Prepare what ``training.select`` asks for."""
    generator, reference, kind = state.average, events.reference, config.data.kind
    threshold, workers = config.evaluation.threshold, state.workers
    distance = ValidationDistance(reference, generator, kind=kind, threshold=threshold, workers=workers)
    if config.training.select == "distance":
        return Validation(distance)
    return Validation(
        distance,
        ValidationClassifiers(
            events.start, reference, generator, kind=kind, threshold=threshold, workers=workers
        ),
    )


def _of_all(state: RunState | None, config: Config, events: TensorEvents, workers: Workers) -> RunState:
    """Give the state of the first worker to the others, which have none yet.

    Raises:
        DataError: If a worker has read other events.
    """
    if state is not None and workers.size == 1:
        return state
    conditions = sha256(events.condition.numpy().tobytes()).hexdigest()
    saved, expected = workers.from_first((None if state is None else state.saved(), conditions))
    if conditions != expected:
        raise DataError(
            f"data.files: expected the events of the first worker for all {workers.size}, got others for worker "
            f"{workers.rank}; give all machines the same files"
        )
    if state is None and saved is not None:
        state = RunState.restore(config, saved, workers=workers)
    if state is None:
        raise ValueError("state: expected one of the first worker, got none; make it there")
    return state


def _device(name: str, workers: Workers) -> torch.device:
    """Device for ``training.device``: auto, cpu or cuda; each worker of a machine has its own GPU."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "training.device: expected a machine with CUDA for 'cuda', got none; use 'auto' or 'cpu'"
        )
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if workers.local_size > torch.cuda.device_count():
        raise ConfigError(
            f"workers: expected at most one for each of the {torch.cuda.device_count()} GPUs, got "
            f"{workers.local_size}; start fewer, or use --device cpu"
        )
    if workers.size > 1:
        torch.cuda.set_device(workers.local_rank)
    return torch.device("cuda")


def _threads(workers: Workers) -> int:
    """Threads of a worker that shares the cores of its machine; 0: the choice of torch."""
    if workers.local_size == 1 or "OMP_NUM_THREADS" in os.environ:
        return 0
    return max(1, available_cores() // workers.local_size)


def _check(config: Config, events: RunEvents) -> None:
    """Check that batch size and objective fit the training events and the model.

    Raises:
        ConfigError: If they do not.
    """
    name, (objective, _) = config.objective.name, chosen(config.objective)
    if config.training.batch_size > len(events.training):
        raise ConfigError(
            f"training.batch_size: expected at most the number of training events, {len(events.training)}, got "
            f"{config.training.batch_size}; make it smaller or give more files"
        )
    if config.training.select == "classifier" and len(events.reference) < FEWEST_EVENTS:
        raise ConfigError(
            f"training.select: expected at least {FEWEST_EVENTS} validation events for 'classifier', got "
            f"{len(events.reference)}; raise data.validation or give more files, or choose 'distance'"
        )
    if not objective.signed and (events.start.weights < 0).any():
        signed = ", ".join(repr(key) for key, row in OBJECTIVES.items() if row.signed)
        raise ConfigError(
            f"objective.name: expected one of {signed} for weights of both signs, got {name!r}, whose "
            "loss has no lower bound where a weight is negative; choose one of these, or leave out data.weight"
        )
    if objective.own and not hasattr(MODELS[config.model.name][0], "loss"):
        raise ConfigError(
            f"objective.name: expected a model with a loss of its own for {name!r}, got {config.model.name!r}; "
            "choose another objective"
        )
