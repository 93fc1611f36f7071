"""The events of a run: to draw batches from, to fit the start to, and to validate with; in memory, or from a cache."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import torch
from torch import Tensor

import hepgan
from hepgan.config import Config
from hepgan.data.cache import Cache
from hepgan.data.parts import TRAINING, VALIDATION
from hepgan.data.sampling import SampledEvents, sampling
from hepgan.data.source import cache_of
from hepgan.data.splits import training_events, training_files
from hepgan.data.stored import StoredEvents
from hepgan.data.streaming import StreamedEvents, TrainingEvents
from hepgan.data.tensors import TensorEvents
from hepgan.files import contents
from hepgan.objectives import chosen
from hepgan.progress import stage
from hepgan.training.state import RunState
from hepgan.training.workers import Workers

__all__ = ["RunEvents", "data_contents", "represented", "shared_cache"]

_START_BYTES = 1 << 28  # of the events that the start is fitted to, which takes several times as much memory
_VALIDATION_BYTES = 1 << 26  # of the validation events


@dataclass(frozen=True)
class RunEvents:
    """Events of a run.

    Attributes:
        training: The training part, to draw batches from.
        start: The training part on the CPU, or a random sample of it, to fit statistics to.
        reference: The validation part, or a random sample of it, on the device.
        streamed: Whether the training part is on the disk.
    """

    training: TrainingEvents
    start: TensorEvents
    reference: TensorEvents
    streamed: bool

    @classmethod
    def of(cls, config: Config, cache: Cache | None, *, device: torch.device, progress: bool) -> RunEvents:
        """Read the events, or open the cache.

        Args:
            config: The configuration.
            cache: The cache to stream from; None: read the files into memory.
            device: Where to train.
            progress: Show a progress bar while files are read.

        Raises:
            NotFoundError: If a file is missing.
            ConfigError: If files and test files name the same file.
            DataError: If the events cannot be used.
        """
        data, settings = config.data, config.training
        if cache is None:
            arrays = training_events(data, seed=settings.seed, progress=progress)
            start, on_device = (TensorEvents.of(arrays[0], data, device=d) for d in ("cpu", device))
            drawn = sampling(config, on_device)
            training = on_device if drawn is None else SampledEvents(on_device, drawn)
            return cls(training, start, TensorEvents.of(arrays[1], device=device), False)
        stored = StoredEvents.of(cache, data, seed=settings.seed)
        limits = (
            (TRAINING, settings.start_events, _START_BYTES),
            (VALIDATION, settings.validation_events, _VALIDATION_BYTES),
        )
        first, second = (
            stored.random(part, most=most, most_bytes=size, seed=settings.seed) for part, most, size in limits
        )
        start = TensorEvents.of(first, data)
        stream = StreamedEvents(stored, data, seed=settings.seed, device=device)
        return cls(
            stream.with_sampling(sampling(config, start)), start, TensorEvents.of(second, device=device), True
        )


def shared_cache(config: Config, workers: Workers, *, streamed: bool | None, progress: bool) -> Cache | None:
    """The cache that all workers stream from; None: they read the events into memory. The first worker decides.

    Args:
        config: The configuration.
        workers: The workers that train together.
        streamed: What a run that is resumed did; None: a new run.
        progress: Show progress on the standard error.

    Raises:
        NotFoundError: If files, or the named cache, are missing.
        ConfigError: If the named cache is of another configuration, or ``data.cache`` says another way than the run
            that is resumed.
        DataError: If the cache is damaged, or of other files, or the files cannot be used.
        OSError: If there is no room for a cache.
    """
    cache = cache_of(config.data, streamed=streamed, progress=progress) if workers.is_first else None
    if not workers.from_first(cache is not None) or workers.size == 1:
        return cache
    return workers.in_turn(lambda: cache_of(config.data, streamed=True))


def data_contents(config: Config, cache: Cache | None) -> tuple[str, dict[str, str]]:
    """The sha256 of the training files and the digest of each, which a cache knows."""
    if cache is not None:
        manifest = cache.manifest
        return manifest.data_sha256, {file.name: file.digest for file in manifest.files}
    with stage("digest of the files"):
        return contents(training_files(config.data))


def represented(events: RunEvents, config: Config, state: RunState) -> TrainingEvents:
    """The training events as the critic sees them, computed once.

    Those of a stream are kept on the disk, which costs the work of one pass over the events. A training that draws
    fewer events than that represents each batch instead. So does a model with a loss of its own, which gets
    the events as they were read.

    Args:
        events: The events.
        config: The configuration.
        state: The run, whose networks are fitted.

    Raises:
        OSError: If the disk is full, or the folder cannot be written.
    """

    def function(part: TensorEvents) -> tuple[Tensor, ...]:
        return state.critic.represented(state.generator, part)  # type: ignore[no-any-return]

    if chosen(config.objective)[0].own:
        return events.training
    key, settings = _representation(config, state), config.training
    if not events.streamed:
        return events.training.mapped(function, key=key)
    if settings.steps * (config.objective.n_critic + 1) * settings.batch_size < len(events.training):
        return events.training
    return state.workers.in_turn(lambda: events.training.mapped(function, key=key))


def _representation(config: Config, state: RunState) -> str:
    """A digest of all that the representation of real events depends on: settings, and what was fitted to the events.

    Spectral normalisation has buffers that change with the steps; it is of the networks behind the representation.
    """
    text = config.data.model_dump_json(exclude={"cache"}) + config.model.model_dump_json()
    digest = sha256(f"{hepgan.__version__} {state.device} {text}".encode())
    for network in (state.generator, state.critic):
        for name, buffer in network.named_buffers():
            if "parametrizations" not in name:
                digest.update(name.encode())
                digest.update(buffer.cpu().numpy().tobytes())
    return digest.hexdigest()
