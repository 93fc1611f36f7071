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
from hepgan.data.derived import derived
from hepgan.data.draws import own_rows
from hepgan.data.events import Events
from hepgan.data.parts import TRAINING
from hepgan.data.sampling import Sampling
from hepgan.data.stored import StoredEvents
from hepgan.data.tensors import TensorEvents

__all__ = ["StreamedEvents", "TrainingEvents"]

_WINDOW_BYTES = 1 << 26  # of a window; two are in memory


class TrainingEvents(Protocol):
    """What a training draws its batches from: `TensorEvents`, `SampledEvents` or `StreamedEvents`."""

    def __len__(self) -> int:
        """Number of events."""

    def batch(self, size: int, *, rng: torch.Generator, first: int = 0) -> TensorEvents:
        """Draw a batch; see `TensorEvents.batch`."""

    def drawn(self, size: int, *, rng: torch.Generator, first: int = 0) -> Tensor:
        """Numbers (size,) of the events of the whole batch that `batch` would draw."""

    def mapped(self, function: Callable[[TensorEvents], tuple[Tensor, ...]], *, key: str) -> TrainingEvents:
        """Represent the events; see `TensorEvents.mapped`."""


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
        stored: The events of the cache, split into parts.
        data: Names the conditions that are counts.
        seed: Fixes the order of the events.
        device: Device of the batches.
        sampling: How to draw events; default: each once in an epoch.
        window: Memory of a window (bytes).
        represented: Whether the cache has representations in place of outputs.
    """

    def __init__(
        self,
        stored: StoredEvents,
        data: DataConfig,
        *,
        seed: int,
        device: torch.device | str = "cpu",
        sampling: Sampling | None = None,
        window: int = _WINDOW_BYTES,
        represented: bool = False,
    ) -> None:
        self.represented = represented
        self.stored, self.cache, self.data, self.sampling = stored, stored.cache, data, sampling
        self.seed, self.device, self.window_bytes = seed, torch.device(device), window
        self.mean_weight = sum(s.weights for s in self.cache.manifest.shards) / len(self.cache)
        counts = [float(c.integer) for c in data.conditions]
        self._integer = torch.tensor(counts, device=self.device) if any(counts) else None
        self._epoch = lru_cache(2)(self._ordered)
        self._windows: dict[tuple[int, int], Future[_Window]] = {}
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="hepgan-stream")

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Number of training events in each block."""
        return self.stored.counts[:, TRAINING]

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
        return self._like(self.stored, sampling, represented=self.represented)

    def _like(self, stored: StoredEvents, sampling: Sampling | None, *, represented: bool) -> StreamedEvents:
        return StreamedEvents(
            stored,
            self.data,
            seed=self.seed,
            device=self.device,
            sampling=sampling,
            window=self.window_bytes,
            represented=represented,
        )

    def mapped(
        self,
        function: Callable[[TensorEvents], tuple[Tensor, ...]],
        *,
        key: str,
        folder: Path | None = None,
    ) -> StreamedEvents:
        """The same events with `represented` in place of `outputs`, computed once and kept beside the cache.

        Args:
            function: Maps events, on the device, to columns (N, K) each, of each event alone.
            key: A digest of all that the function depends on: results under the same key are used again.
            folder: Where to keep them; default: a folder in that of the cache.

        Raises:
            DataError: If the function gives another number of events.
            OSError: If the disk is full, or the folder cannot be written.
        """

        @torch.no_grad()
        def columns(events: Events) -> Events:
            arrays = (events.conditions, *events.outputs, events.weights / np.float32(self.mean_weight))
            condition, *outputs, weights = (torch.from_numpy(array).to(self.device) for array in arrays)
            result = function(TensorEvents(condition, tuple(outputs), weights, self._integer))
            return Events(
                events.conditions, tuple(column.float().cpu().numpy() for column in result), events.weights
            )

        cache = derived(self.cache, columns, key=key, folder=folder)
        return self._like(StoredEvents(cache, self.stored.parts), self.sampling, represented=True)

    def batch(self, size: int, *, rng: torch.Generator, first: int = 0) -> TensorEvents:
        """The events behind the first `first` ones; whole-number conditions are dithered by up to half a unit.

        With the source of a worker, the result is the worker's rows of the batch (`hepgan.data.draws`).

        Args:
            size: Number of events.
            rng: Source of the numbers that dither.
            first: Number of events drawn before.

        Raises:
            DataError: If a shard of the cache is missing or damaged.
        """
        parts, done, wanted = [], 0, torch.arange(size)[own_rows(rng)]
        for key, places in self._pieces(size, first=first):
            window, n = self._window(*key), places.stop - places.start
            inside = wanted[(wanted >= done) & (wanted < done + n)] - done
            chosen = window.order[places][inside]
            events = window.events[chosen]
            if self.sampling is not None and window.rates is not None:
                weights = self.sampling.weights(events, window.rates[chosen], mean=window.mean)
                events = replace(events, weights=weights)
            parts.append(events)
            done += n
        batch = parts[0] if len(parts) == 1 else _joined(parts)
        columns = (batch.condition, batch.weights, *batch.outputs, *batch.represented)
        condition, weights, *others = (column.contiguous().to(self.device) for column in columns)
        return self._tensors(condition, others, weights, integer=self._integer).dithered(rng=rng)

    def drawn(self, size: int, *, rng: torch.Generator, first: int = 0) -> Tensor:
        """Numbers (size,) of the events of a batch, among the training events in the order of the cache."""
        before, numbers = np.cumsum(self.counts) - self.counts, []
        for (epoch, number), places in self._pieces(size, first=first):
            step = self._blocks_of_window
            blocks = self._epoch(epoch).blocks[number * step : (number + 1) * step]
            ends = np.cumsum(self.counts[blocks])
            inside = self._window(epoch, number).order[places].numpy()
            block = np.searchsorted(ends, inside, side="right")
            numbers.append(before[blocks[block]] + inside - (ends - self.counts[blocks])[block])
        return torch.from_numpy(np.concatenate(numbers))

    def _pieces(self, size: int, *, first: int) -> Iterator[tuple[tuple[int, int], slice]]:
        """Epoch and number of the windows that have the events of a batch, and their places in the window's order."""
        while size:
            epoch, place = divmod(first, len(self))
            number, start = self._window_at(epoch, place)
            n = min(size, len(self._window(epoch, number).order) - (place - start))
            yield (epoch, number), slice(place - start, place - start + n)
            first, size = first + n, size - n

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
            chosen = self.stored.rows(int(block), TRAINING)
            rows[done : done + len(chosen)] = chosen
            done += len(chosen)
        condition, *columns, weights = torch.split(
            torch.from_numpy(rows), [*self.cache.manifest.columns], dim=1
        )
        events = self._tensors(condition, columns, weights[:, 0] / self.mean_weight)
        rng = np.random.default_rng((self.seed, epoch, number))
        if self.sampling is None:
            return _Window(events, torch.from_numpy(rng.permutation(len(rows))))
        rates = self.sampling.rate(events.condition, events.weights)
        drawn = _systematic(rates.double().numpy(), rng)
        return _Window(events, torch.from_numpy(drawn), rates, float(rates.double().mean()))

    def _tensors(
        self, condition: Tensor, columns: list[Tensor], weights: Tensor, *, integer: Tensor | None = None
    ) -> TensorEvents:
        outputs, represented = ((), tuple(columns)) if self.represented else (tuple(columns), ())
        return TensorEvents(condition, outputs, weights, integer, represented)


def _joined(parts: list[TensorEvents]) -> TensorEvents:
    outputs, represented = (
        tuple(torch.cat(columns) for columns in zip(*(getattr(part, name) for part in parts), strict=True))
        for name in ("outputs", "represented")
    )
    condition, weights = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("condition", "weights")
    )
    return TensorEvents(condition, outputs, weights, parts[0].integer, represented)


def _systematic(rates: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Places (m,) of m draws in proportion to m rates, in random order; each occurs its expected times, rounded."""
    sums, m = np.cumsum(rates), len(rates)
    points = (rng.random() + np.arange(m)) * (sums[-1] / m)
    return rng.permutation(np.minimum(np.searchsorted(sums, points, side="right"), m - 1))
