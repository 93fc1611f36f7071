"""Batches from a cache on the disk, with bounded memory, that do not depend on how often the training was stopped.

An epoch takes each training event once. Its blocks are put into an order that the seed and the number of the epoch
fix; consecutive blocks make a window, whose events are shuffled among each other by seed, epoch and window. So the
events of a batch follow from the seed and the number of events drawn before, which is all that a checkpoint needs.
Two windows are in memory: one to draw from, and the next one, which a thread reads meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgan.config import DataConfig
from hepgan.data.cache import Cache
from hepgan.data.derived import derived
from hepgan.data.events import Events, Float32
from hepgan.data.parts import TRAINING, Parts
from hepgan.data.sampling import Sampling
from hepgan.data.tensors import TensorEvents
from hepgan.progress import stage

__all__ = ["StreamedEvents", "TrainingEvents", "random_events"]

_WINDOW_BYTES = 1 << 26  # of a window; two are in memory
_SAMPLED_BYTES = 1 << 30  # read for a random sample of a part: of larger caches, random blocks


class TrainingEvents(Protocol):
    """What a training draws its batches from: `TensorEvents`, `SampledEvents` or `StreamedEvents`."""

    def __len__(self) -> int:
        """Number of events."""

    def batch(self, size: int, *, rng: torch.Generator, first: int = 0) -> TensorEvents:
        """Draw a batch; see `TensorEvents.batch`."""


@dataclass(frozen=True)
class _Epoch:
    """Order of the blocks in one pass over the events.

    Attributes:
        blocks: Numbers of the blocks, in the order in which they are read.
        starts: Number of training events before each of them, and of all, (B + 1,).
    """

    blocks: NDArray[np.int64]
    starts: NDArray[np.int64]


@dataclass(frozen=True)
class _Window:
    """Shuffled events of consecutive blocks of an epoch.

    Attributes:
        events: Them, in the order of the blocks.
        order: (m,) places of the drawn events: each once, or as `Sampling` says.
        rates: (m,) rates of the events, and their mean, if they are sampled.
    """

    events: TensorEvents
    order: Tensor
    rates: Tensor | None = None
    mean: float = 1.0


class StreamedEvents:
    """Training events in a cache; see `TensorEvents` for the tensors.

    Args:
        cache: The cache.
        parts: The part of each of its events.
        data: Names the conditions that are counts.
        seed: Fixes the order of the events.
        device: Device of the batches.
        sampling: How to draw events; default: each once in an epoch.
        window: Memory of a window (bytes).
    """

    def __init__(
        self,
        cache: Cache,
        parts: Parts,
        data: DataConfig,
        *,
        seed: int,
        device: torch.device | str = "cpu",
        sampling: Sampling | None = None,
        window: int = _WINDOW_BYTES,
    ) -> None:
        self.cache, self.parts, self.data, self.sampling = cache, parts, data, sampling
        self.seed, self.device, self.window_bytes = seed, torch.device(device), window
        self.mean_weight = sum(s.weights for s in cache.manifest.shards) / len(cache)
        counts = [float(c.integer) for c in data.conditions]
        self._integer = torch.tensor(counts, device=self.device) if any(counts) else None
        self._epoch = lru_cache(2)(self._ordered)
        self._windows: dict[tuple[int, int], Future[_Window]] = {}
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="hepgan-stream")

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Number of training events in each block."""
        return self.parts.counts(TRAINING, self.cache.blocks[1:])

    @cached_property
    def _n(self) -> int:
        return int(self.counts.sum())

    def __len__(self) -> int:
        return self._n

    @property
    def _blocks_of_window(self) -> int:
        manifest = self.cache.manifest
        return max(1, self.window_bytes // (4 * manifest.width * manifest.block_rows))

    def with_sampling(self, sampling: Sampling | None) -> StreamedEvents:
        """The same events, drawn in another way."""
        return self._like(self.cache, sampling)

    def _like(self, cache: Cache, sampling: Sampling | None) -> StreamedEvents:
        return StreamedEvents(
            cache,
            self.parts,
            self.data,
            seed=self.seed,
            device=self.device,
            sampling=sampling,
            window=self.window_bytes,
        )

    def mapped(
        self, function: Callable[[TensorEvents], TensorEvents], *, key: str, folder: Path | None = None
    ) -> StreamedEvents:
        """The same events with other outputs, computed once and kept beside the cache.

        Args:
            function: Maps events, on the CPU, to as many with other outputs; conditions and weights are kept.
            key: A digest of all that the function depends on: results under the same key are used again.
            folder: Where to keep them; default: a folder in that of the cache.

        Raises:
            DataError: If the function gives another number of events.
            OSError: If the disk is full, or the folder cannot be written.
        """

        def outputs(events: Events) -> Events:
            mapped = function(self._tensors(events, device="cpu"))
            arrays = tuple(output.detach().float().cpu().numpy() for output in mapped.outputs)
            return Events(events.conditions, arrays, events.weights)

        return self._like(derived(self.cache, outputs, key=key, folder=folder), self.sampling)

    def batch(self, size: int, *, rng: torch.Generator, first: int = 0) -> TensorEvents:
        """The events behind the first `first` ones; whole-number conditions are dithered by up to half a unit.

        Args:
            size: Number of events.
            rng: Source of the numbers that dither.
            first: Number of events drawn before.

        Raises:
            DataError: If a shard of the cache is missing or damaged.
        """
        parts = []
        while size:
            epoch, place = divmod(first, len(self))
            number, start = self._window_at(epoch, place)
            window = self._window(epoch, number)
            chosen = window.order[place - start : place - start + size]
            events = window.events[chosen]
            if self.sampling is not None and window.rates is not None:
                weights = self.sampling.weights(events, window.rates[chosen], mean=window.mean)
                events = replace(events, weights=weights)
            parts.append(events)
            first, size = first + len(chosen), size - len(chosen)
        batch = parts[0] if len(parts) == 1 else _joined(parts)
        tensors = [batch.condition, *batch.outputs, batch.weights]
        condition, *outputs, weights = (tensor.contiguous().to(self.device) for tensor in tensors)
        return TensorEvents(condition, tuple(outputs), weights, self._integer).drawn(weights, rng=rng)

    def _ordered(self, epoch: int) -> _Epoch:
        blocks = np.flatnonzero(self.counts)
        np.random.default_rng((self.seed, epoch)).shuffle(blocks)
        return _Epoch(blocks, np.concatenate([[0], np.cumsum(self.counts[blocks])]))

    def _window_at(self, epoch: int, place: int) -> tuple[int, int]:
        """The window that has an event of an epoch, and the first event in it."""
        starts, step = self._epoch(epoch).starts, self._blocks_of_window
        number = int(np.searchsorted(starts, place, side="right") - 1) // step
        return number, int(starts[number * step])

    def _window(self, epoch: int, number: int) -> _Window:
        """A window; the next one is read meanwhile."""
        last = math.ceil(len(self._epoch(epoch).blocks) / self._blocks_of_window) - 1
        following = (epoch, number + 1) if number < last else (epoch + 1, 0)
        wanted = ((epoch, number), following)
        for key in [key for key in self._windows if key not in wanted]:
            self._windows.pop(key).cancel()
        for key in wanted:
            if key not in self._windows:
                self._windows[key] = self._reader.submit(self._read, *key)
        return self._windows[wanted[0]].result()

    def _read(self, epoch: int, number: int) -> _Window:
        """Read the blocks of a window and shuffle their events."""
        order, step = self._epoch(epoch), self._blocks_of_window
        blocks = order.blocks[number * step : (number + 1) * step]
        rows = np.empty((int(self.counts[blocks].sum()), self.cache.manifest.width), np.float32)
        done = 0
        for block in blocks:
            chosen = _of_part(self.cache, self.parts, int(block), TRAINING)
            rows[done : done + len(chosen)] = chosen
            done += len(chosen)
        condition, *outputs, weights = torch.split(
            torch.from_numpy(rows), [*self.cache.manifest.columns], dim=1
        )
        events = TensorEvents(condition, tuple(outputs), weights[:, 0] / self.mean_weight)
        rng = np.random.default_rng((self.seed, epoch, number))
        if self.sampling is None:
            return _Window(events, torch.from_numpy(rng.permutation(len(rows))))
        rates = self.sampling.rate(events.condition, events.weights)
        drawn = _systematic(rates.double().numpy(), rng)
        return _Window(events, torch.from_numpy(drawn), rates, float(rates.double().mean()))

    def _tensors(self, events: Events, *, device: torch.device | str) -> TensorEvents:
        """Events of the cache as tensors; their weights have mean one over the whole cache."""
        arrays = (events.conditions, *events.outputs, events.weights / np.float32(self.mean_weight))
        condition, *outputs, weights = (torch.from_numpy(array).to(device) for array in arrays)
        integer = None if self._integer is None else self._integer.to(device)
        return TensorEvents(condition, tuple(outputs), weights, integer)


def _joined(parts: list[TensorEvents]) -> TensorEvents:
    outputs = tuple(torch.cat(columns) for columns in zip(*(part.outputs for part in parts), strict=True))
    condition, weights = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("condition", "weights")
    )
    return TensorEvents(condition, outputs, weights, parts[0].integer)


def _systematic(rates: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Places (m,) of m draws in proportion to m rates, in random order; each occurs its expected times, rounded."""
    sums, m = np.cumsum(rates), len(rates)
    points = (rng.random() + np.arange(m)) * (sums[-1] / m)
    return rng.permutation(np.minimum(np.searchsorted(sums, points, side="right"), m - 1))


def _of_part(cache: Cache, parts: Parts, block: int, part: int) -> Float32:
    """The rows of a block that are in a part."""
    start, stop = cache.blocks[block : block + 2]
    chosen = parts(int(start), int(stop)) == part
    rows = cache.block(block)
    return rows if chosen.all() else rows[chosen]


def random_events(cache: Cache, parts: Parts, part: int, *, most: int, most_bytes: int, seed: int) -> Events:
    """Random events of a part, in their order; all of them if they are few enough.

    Of a cache of many gigabytes, random blocks are read, and random events taken from them.

    Args:
        cache: The cache.
        parts: The part of each event.
        part: The part.
        most: Largest number of events.
        most_bytes: Their largest size (bytes).
        seed: Seed of the choice.

    Raises:
        DataError: If a shard is missing or damaged.
    """
    rng, manifest = np.random.default_rng(seed), cache.manifest
    counts = parts.counts(part, cache.blocks[1:])
    blocks = np.flatnonzero(counts)
    if len(blocks) > (enough := max(1, _SAMPLED_BYTES // (4 * manifest.width * manifest.block_rows))):
        blocks = np.sort(rng.choice(blocks, enough, replace=False))
    total = int(counts[blocks].sum())
    n = min(total, most, max(1, most_bytes // (4 * manifest.width)))
    chosen = np.arange(total) if n == total else np.sort(rng.choice(total, n, replace=False))
    starts = np.concatenate([[0], np.cumsum(counts[blocks])])
    places = np.searchsorted(chosen, starts)

    def found() -> Iterator[Events]:
        with stage("reading", total=len(blocks)) as update:
            for k, block in enumerate(blocks):
                inside = chosen[places[k] : places[k + 1]] - starts[k]
                if len(inside):
                    yield cache.events(_of_part(cache, parts, int(block), part)[inside])
                update(k + 1)

    return Events.joined(found(), n=n)
