"""The events of a run: to draw batches from, to fit the start to, and to validate with; in memory, or from a cache."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hepgan.config import Config
from hepgan.data.cache import Cache
from hepgan.data.parts import TRAINING, VALIDATION
from hepgan.data.sampling import SampledEvents, sampling
from hepgan.data.splits import training_events, training_files
from hepgan.data.stored import StoredEvents
from hepgan.data.streaming import StreamedEvents, TrainingEvents
from hepgan.data.tensors import TensorEvents
from hepgan.files import digest
from hepgan.progress import stage

__all__ = ["RunEvents", "data_digest"]

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


def data_digest(config: Config, cache: Cache | None) -> str:
    """The sha256 of the training files, which a cache knows."""
    if cache is not None:
        return cache.manifest.data_sha256
    with stage("digest of the files"):
        return digest(training_files(config.data))
