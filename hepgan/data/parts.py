"""The part that each event belongs to: training, validation or test, fixed by the seed and the number of events."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hepgan.config import DataConfig
from hepgan.data.repeats import mixed
from hepgan.errors import DataError

__all__ = ["LEFT_OUT", "TEST", "TRAINING", "VALIDATION", "Parts", "split"]

TRAINING, VALIDATION, TEST, LEFT_OUT = range(4)

_MOST_PERMUTED = (
    1 << 27
)  # events; a permutation of more takes gigabytes: their part follows from their number
_BLOCK = 1 << 22  # events whose part is found at once

UInt8 = NDArray[np.uint8]


def split(data: DataConfig, n: int, *, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of the training, validation and test events out of `n`, disjoint and fixed by the seed.

    Raises:
        DataError: If one of the parts would be empty although the configuration asks for it.
    """
    parts = Parts.of(data, n, seed=seed)(0, n)
    return tuple(np.flatnonzero(parts == part) for part in (TRAINING, VALIDATION, TEST))  # type: ignore[return-value]


@dataclass(frozen=True)
class Parts:
    """Parts of consecutive events.

    Attributes:
        n: Number of events, with those that are left out.
        shares: Fractions of the events in the test and in the validation part.
        seed: Seed of the split.
        left_out: Sorted numbers of events that belong to no part.
        known: (N,) parts of all events but these, if few enough to be kept.
    """

    n: int
    shares: tuple[float, float]
    seed: int
    left_out: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    known: UInt8 | None = None

    @classmethod
    def of(cls, data: DataConfig, n: int, *, seed: int, left_out: NDArray[np.int64] | None = None) -> Parts:
        """Split `n` events.

        Args:
            data: Fractions of the parts.
            n: Number of events.
            seed: Seed of the split.
            left_out: Sorted numbers of events that are in none of the parts.

        Raises:
            DataError: If one of the parts would be empty although the configuration asks for it.
        """
        left_out = np.empty(0, np.int64) if left_out is None else left_out
        kept = n - len(left_out)
        shares = (0.0 if data.test_files else data.test, data.validation)
        test, validation = (round(kept * share) for share in shares)
        sizes = (kept - test - validation, validation, test)
        needed = (True, True, shares[0] > 0)
        if any(size <= 0 and must for size, must in zip(sizes, needed, strict=True)):
            raise DataError(
                f"data: {kept} events are too few to split into training, validation ({data.validation}) and test "
                f"({data.test}) parts; give more files or loosen the cut"
            )
        known = None
        if kept <= _MOST_PERMUTED:
            order = np.arange(kept, dtype=np.int32)
            np.random.default_rng(seed).shuffle(order)
            known = np.full(kept, TRAINING, np.uint8)
            known[order[:test]] = TEST
            known[order[test : test + validation]] = VALIDATION
        return cls(n, shares, seed, left_out, known)

    def __call__(self, start: int, stop: int) -> UInt8:
        """Parts of the events from `start` to before `stop`, (stop - start,)."""
        numbers = np.arange(start, stop)
        parts = np.full(len(numbers), LEFT_OUT, np.uint8)
        place = np.searchsorted(self.left_out, numbers)  # events left out before each
        if len(self.left_out):
            left = self.left_out[np.minimum(place, len(self.left_out) - 1)] == numbers
            numbers, place = numbers[~left], place[~left]
            parts[~left] = self._of(numbers - place)
        else:
            parts[:] = self._of(numbers)
        return parts

    def _of(self, numbers: NDArray[np.int64]) -> UInt8:
        """Parts of events by their numbers among those that are not left out."""
        if self.known is not None:
            return self.known[numbers]
        seed = mixed(np.asarray([self.seed + 1], np.uint64))
        chance = mixed(mixed(numbers.astype(np.uint64)) + seed) * 2.0**-64
        test, validation = self.shares
        of_chance = np.searchsorted(np.cumsum([test, validation]), chance, side="right")
        return np.asarray([TEST, VALIDATION, TRAINING], np.uint8)[of_chance]

    def counts(self, part: int, ends: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of events of a part in each of the consecutive ranges that end before `ends`, (R,)."""
        total, done, before = np.empty(len(ends) + 1, np.int64), 0, 0
        total[0], first = 0, 0
        while done < self.n and first < len(ends):
            stop = min(self.n, done + _BLOCK)
            inside = np.concatenate([[0], np.cumsum(self(done, stop) == part, dtype=np.int64)])
            last = int(np.searchsorted(ends, stop, side="right"))
            total[first + 1 : last + 1] = before + inside[ends[first:last] - done]
            before, done, first = before + int(inside[-1]), stop, last
        return np.diff(total)
