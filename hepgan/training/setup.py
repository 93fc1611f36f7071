"""Set-up of a run: read the data, refuse what cannot be trained, and make or restore the state."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from hepgan import config as configuration
from hepgan.config import Config
from hepgan.data.names import completed
from hepgan.data.source import cache_of
from hepgan.data.streaming import TrainingEvents
from hepgan.data.tensors import TensorEvents
from hepgan.errors import ConfigError
from hepgan.files import write_text
from hepgan.models import MODELS
from hepgan.objectives import OBJECTIVES, chosen
from hepgan.progress import stage
from hepgan.training.events import RunEvents, data_digest
from hepgan.training.run_folder import RunFolder
from hepgan.training.state import RunState
from hepgan.training.validation import ValidationDistance

__all__ = ["Run", "set_up"]


@dataclass(frozen=True)
class Run:
    """A run that is ready to be trained.

    Attributes:
        config: The configuration.
        folder: The run folder, which holds the configuration.
        state: All that changes while it trains.
        events: The training part of the data; batches are on the device.
        distance: Distance to the validation part of the data.
    """

    config: Config
    folder: RunFolder
    state: RunState
    events: TrainingEvents
    distance: ValidationDistance

    def batch(self) -> TensorEvents:
        """Draw the next batch."""
        size, state = self.config.training.batch_size, self.state
        batch = self.events.batch(size, rng=state.batch_rng, first=state.drawn)
        state.drawn += size
        return batch


def set_up(config: Config, out: str | Path, *, resume: bool, progress: bool) -> Run:
    """Prepare a run and write its configuration; input that is refused leaves nothing behind.

    Args:
        config: The configuration.
        out: The run folder.
        resume: Go on with an existing run.
        progress: Show a progress bar while the data are read.

    Raises:
        ConfigError: If the folder has a run already (without `resume`), or the configuration does not fit the data or
            the machine, or differs from that of the run to resume.
        DataError: If the data cannot be used, or differ from those of the run to resume.
        NotFoundError: If files, or the run to resume, are missing.
    """
    settings, folder = config.training, RunFolder(Path(out))
    chosen(config.objective)
    device = _device(settings.device)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    config = config.model_copy(update={"data": completed(config.data)})
    earlier = None
    if resume:
        folder.check_resumable(config)
        earlier = folder.progress()
    else:
        folder.check_free()
    cache = cache_of(config.data, streamed=earlier.streamed if earlier else None, progress=progress)
    data_sha256 = data_digest(config, cache)
    saved = folder.saved_state(device=device.type, data_sha256=data_sha256) if resume else None

    events = RunEvents.of(config, cache, device=device, progress=progress)
    _check(config, events)
    if saved is None:
        with stage("fitting the start"):
            state = RunState.start(config, events.start, device=device, data_sha256=data_sha256)
            state.streamed = events.streamed
    else:
        state = RunState.restore(config, saved)
    with stage("preparing the validation"):
        distance = ValidationDistance(
            events.reference, state.average, kind=config.data.kind, threshold=config.evaluation.threshold
        )
    folder.path.mkdir(parents=True, exist_ok=True)
    write_text(folder.config, configuration.dump(config))
    return Run(config, folder, state, events.training, distance)


def _device(name: str) -> torch.device:
    """Device for ``training.device``: auto, cpu or cuda."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "training.device: expected a machine with CUDA for 'cuda', got none; use 'auto' or 'cpu'"
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


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
