"""The part that each event belongs to: training, validation or test, fixed by the seed and the number of events."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hepgan.config import DataConfig
from hepgan.data.repeats import mixed
from hepgan.errors import DataError

__all__ = ["LEFT_OUT", "TEST", "TRAINING", "VALIDATION", "Parts", "split", "withheld"]

TRAINING, VALIDATION, TEST, LEFT_OUT = range(4)

_MOST_PERMUTED = (
    1 << 27
)  # events; a permutation of more takes gigabytes: their part follows from their number
_BLOCK = 1 << 22  # events whose part is found at once

UInt8 = NDArray[np.uint8]


def withheld(data: DataConfig, conditions: NDArray[np.float32]) -> NDArray[np.int64]:
    """Sorted numbers of the events (N, n_conditions) of which ``data.withheld`` keeps a condition from the training."""
    inside = np.zeros(len(conditions), bool)
    for column, condition in enumerate(data.conditions):
        if condition.name in data.withheld:
            low, high = data.withheld[condition.name]
            inside |= (conditions[:, column] >= low) & (conditions[:, column] <= high)
    return np.flatnonzero(inside)


def split(
    data: DataConfig, n: int, *, seed: int, withheld: NDArray[np.int64] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of the training, validation and test events out of `n`, disjoint and fixed by the seed.

    Args:
        data: Fractions of the parts.
        n: Number of events.
        seed: Seed of the split.
        withheld: Sorted numbers of events that may only be in the test part.

    Raises:
        DataError: If one of the parts would be empty although the configuration asks for it.
    """
    parts = Parts.of(data, n, seed=seed, withheld=withheld)(0, n)
    return tuple(np.flatnonzero(parts == part) for part in (TRAINING, VALIDATION, TEST))  # type: ignore[return-value]


@dataclass(frozen=True)
class Parts:
    """Parts of consecutive events.

    Attributes:
        shares: Fractions of the events in the test and in the validation part.
        seed: Seed of the split.
        left_out: Sorted numbers of events that belong to no part.
        known: (N,) parts of all events but these, if few enough to be kept.
        withheld: Sorted numbers of events that are left out of the training and of the validation part.
    """

    shares: tuple[float, float]
    seed: int
    left_out: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    known: UInt8 | None = None
    withheld: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    @classmethod
    def of(
        cls,
        data: DataConfig,
        n: int,
        *,
        seed: int,
        left_out: NDArray[np.int64] | None = None,
        withheld: NDArray[np.int64] | None = None,
    ) -> Parts:
        """Split `n` events.

        Args:
            data: Fractions of the parts.
            n: Number of events.
            seed: Seed of the split.
            left_out: Sorted numbers of events that are in none of the parts.
            withheld: Sorted numbers of events that are left out of the training and of the validation part.

        Raises:
            DataError: If one of the parts would be empty although the configuration asks for it.
        """
        left_out = np.empty(0, np.int64) if left_out is None else left_out
        withheld = np.empty(0, np.int64) if withheld is None else withheld
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
        parts = cls(shares, seed, left_out, known, withheld)
        if len(withheld):
            counts = parts.counts(np.array([n]))[0]
            if not counts[TRAINING] or not counts[VALIDATION]:
                raise DataError(
                    f"data.withheld {data.withheld}: expected events outside it for training and validation, got "
                    f"{counts[TRAINING]} and {counts[VALIDATION]} of {n}; make the range smaller"
                )
        return parts

    def __call__(self, start: int, stop: int) -> UInt8:
        """Parts of the events from `start` to before `stop`, (stop - start,)."""
        parts = self._split(start, stop)
        first, last = np.searchsorted(self.withheld, [start, stop])
        if first == last:
            return parts
        inside = self.withheld[first:last] - start
        parts = parts.copy()
        parts[inside] = np.where(parts[inside] == TEST, np.uint8(TEST), np.uint8(LEFT_OUT))
        return parts

    def _split(self, start: int, stop: int) -> UInt8:
        """The same before events are withheld."""
        first, last = np.searchsorted(self.left_out, [start, stop])
        left = self.left_out[first:last] - start
        kept = self._of(start - int(first), stop - int(last))
        if not len(left):
            return kept
        parts = np.full(stop - start, LEFT_OUT, np.uint8)
        parts[np.delete(np.arange(stop - start), left)] = kept
        return parts

    def _of(self, start: int, stop: int) -> UInt8:
        """Parts of consecutive events by their numbers among those that are not left out."""
        if self.known is not None:
            return self.known[start:stop]
        seed = mixed(np.asarray([self.seed + 1], np.uint64))
        chance = mixed(mixed(np.arange(start, stop, dtype=np.uint64)) + seed)
        test, validation = self.shares
        parts = np.full(stop - start, TRAINING, np.uint8)
        parts[chance < np.uint64((test + validation) * 2.0**64)] = VALIDATION
        parts[chance < np.uint64(test * 2.0**64)] = TEST
        return parts

    def counts(self, ends: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of events of each part in consecutive ranges.

        Args:
            ends: (R,) sorted; each range ends before one of them.

        Returns:
            (R, 3): training, validation, test.
        """
        below = np.zeros((len(ends) + 1, 3), np.int64)  # events of each part before each end
        before, done, first = np.zeros(3, np.int64), 0, 0
        while first < len(ends):
            stop = min(int(ends[-1]), done + _BLOCK)
            last = int(np.searchsorted(ends, stop, side="right"))
            parts = self(done, stop)
            for part in (TRAINING, VALIDATION, TEST):
                inside = np.concatenate([[0], np.cumsum(parts == part, dtype=np.int64)])
                below[first + 1 : last + 1, part] = before[part] + inside[ends[first:last] - done]
                before[part] += inside[-1]
            done, first = stop, last
        return np.diff(below, axis=0)
