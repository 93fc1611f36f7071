"""The parts of the events in a cache: their numbers in each block, their rows, and random samples of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hepgan.config import DataConfig
from hepgan.data.cache import Cache
from hepgan.data.events import Events, Float32
from hepgan.data.parts import Parts, withheld
from hepgan.progress import stage

__all__ = ["StoredEvents"]

_SAMPLED_BYTES = 1 << 30  # read for a random sample of a part: of larger caches, random blocks


def _withheld(cache: Cache, data: DataConfig) -> NDArray[np.int64]:
    """Sorted numbers of the events that ``data.withheld`` keeps from the training; reads the whole cache."""
    found = []
    with stage("looking for what is withheld", total=len(cache.blocks) - 1) as update:
        for block, start in enumerate(cache.blocks[:-1]):
            found.append(start + withheld(data, cache.events(cache.block(block)).conditions))
            update(block + 1)
    return np.concatenate(found) if found else np.empty(0, np.int64)


@dataclass(frozen=True)
class StoredEvents:
    """Events in a cache, and the part that each belongs to.

    Attributes:
        cache: The cache.
        parts: The parts.
    """

    cache: Cache
    parts: Parts

    @classmethod
    def of(cls, cache: Cache, data: DataConfig, *, seed: int) -> StoredEvents:
        """Split the events of a cache as those of a training in memory.

        Raises:
            DataError: If there are too few.
        """
        hidden = _withheld(cache, data) if data.withheld else None
        return cls(cache, Parts.of(data, len(cache), seed=seed, left_out=cache.left_out, withheld=hidden))

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Number of events of each part in each block, (B, 3)."""
        with stage("counting"):
            return self.parts.counts(self.cache.blocks[1:])

    def rows(self, block: int, *parts: int) -> Float32:
        """The rows of a block that are in some parts.

        Raises:
            DataError: If the shard is missing or damaged.
        """
        start, stop = self.cache.blocks[block : block + 2]
        chosen = np.isin(self.parts(int(start), int(stop)), parts)
        rows = self.cache.block(block)
        return rows if chosen.all() else rows[chosen]

    def random(self, part: int, *, most: int, most_bytes: int, seed: int) -> Events:
        """Random events of a part, in their order; all of them if they are few enough.

        Of a cache of many gigabytes, random blocks are read, and random events taken from them.

        Args:
            part: The part.
            most: Largest number of events.
            most_bytes: Their largest size (bytes).
            seed: Seed of the choice.

        Raises:
            DataError: If a shard is missing or damaged.
        """
        rng, manifest = np.random.default_rng(seed), self.cache.manifest
        counts = self.counts[:, part]
        blocks = np.flatnonzero(counts)
        if len(blocks) > (enough := max(1, _SAMPLED_BYTES // (4 * manifest.width * manifest.block_rows))):
            blocks = np.sort(rng.choice(blocks, enough, replace=False))
        starts = np.concatenate([[0], np.cumsum(counts[blocks])])
        total = int(starts[-1])
        n = min(total, most, max(1, most_bytes // (4 * manifest.width)))
        chosen = np.arange(total) if n == total else np.sort(rng.choice(total, n, replace=False))
        places, taken = np.searchsorted(chosen, starts), 0

        def found() -> Iterator[Events]:
            nonlocal taken
            with stage("sampling the cache", total=len(blocks)) as update:
                for k, block in enumerate(blocks):
                    inside = chosen[places[k] : places[k + 1]] - starts[k]
                    taken += len(inside)
                    if len(inside):
                        yield self.cache.events(self.rows(int(block), part)[inside])
                    update(k + 1)

        return Events.joined(found(), share=lambda: taken / n)
