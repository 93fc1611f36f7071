"""Set-up of a run: read the data, refuse what cannot be trained, and make or restore the state."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from hepgan import config as configuration
from hepgan.config import Config
from hepgan.data.names import completed
from hepgan.data.splits import training_events, training_files
from hepgan.data.tensors import TensorEvents
from hepgan.errors import ConfigError
from hepgan.files import digest, write_text
from hepgan.models import MODELS
from hepgan.objectives import OBJECTIVES, chosen
from hepgan.progress import stage
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
        events: The training part of the data, on the device.
        distance: Distance to the validation part of the data.
    """

    config: Config
    folder: RunFolder
    state: RunState
    events: TensorEvents
    distance: ValidationDistance


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
    with stage("digest of the files"):
        data_sha256 = digest(training_files(config.data))
    config = config.model_copy(update={"data": completed(config.data), "tune": None})
    saved = None
    if resume:
        folder.check_resumable(config)
        saved = folder.saved_state(device=device.type, data_sha256=data_sha256)
    else:
        folder.check_free()

    training, validation = training_events(config.data, seed=settings.seed, progress=progress)
    events = TensorEvents.of(training, config.data, device=device)
    reference = TensorEvents.of(validation, device=device)
    _check(config, events)
    if saved is None:
        on_cpu = TensorEvents.of(training, config.data)
        with stage("fitting the start"):
            state = RunState.start(config, on_cpu, device=device, data_sha256=data_sha256)
    else:
        state = RunState.restore(config, saved)
    with stage("preparing the validation"):
        distance = ValidationDistance(
            reference, state.average, kind=config.data.kind, threshold=config.evaluation.threshold
        )
    folder.path.mkdir(parents=True, exist_ok=True)
    write_text(folder.config, configuration.dump(config))
    return Run(config, folder, state, events, distance)


def _device(name: str) -> torch.device:
    """Device for ``training.device``: auto, cpu or cuda."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "training.device: expected a machine with CUDA for 'cuda', got none; use 'auto' or 'cpu'"
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _check(config: Config, events: TensorEvents) -> None:
    """Check that batch size and objective fit the training events and the model.

    Raises:
        ConfigError: If they do not.
    """
    name, (objective, _) = config.objective.name, chosen(config.objective)
    if config.training.batch_size > len(events):
        raise ConfigError(
            f"training.batch_size: expected at most the number of training events, {len(events)}, got "
            f"{config.training.batch_size}; make it smaller or give more files"
        )
    if not objective.signed and (events.weights < 0).any():
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
