"""Events that occur twice: their number, and whether chance explains it.

A generator that is tested on events of its training looks better than it is. Each event is known by a digest of the
values that are read (conditions and outputs, not the weight), 8 bytes an event. Rows of discrete numbers repeat by
nature, so repetition alone is no fault. Two tests tell copies from chance, without a model of the data:

- Between two samples: how many new events would equal one that occurs exactly once in the first sample is known from
  the number that occur exactly twice in it (the estimate of Good and Turing).
- Within a sample: if chance repeats rows, it repeats some of them three times; the numbers of rows that occur once,
  twice and three times are moments of one distribution, hence bounded by each other. And rows that chance repeats
  agree in a part of their columns far more often than in all, where copies agree in all columns or in none. Parts are
  every second column, and conditions and outputs: a grid of beam energies and angles with empty showers at each point
  repeats both. Where most rows are frequent, the data are discrete in all columns, and nothing is concluded from parts.

References:
    Good, Biometrika 40 (1953) 237 (frequencies of species and the number of unseen ones).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import gamma, poisson

from hepgan.data.events import Events

__all__ = ["Digests", "copies", "mixed", "shared"]

UInt64 = NDArray[np.uint64]

_BLOCK = 1 << 20  # numbers mixed at once: they stay in the processor's cache
_MOST_COPIES = (
    8  # rows that occur more often than this are values of a discrete distribution, such as empty showers
)
_FEWEST = 10  # different rows that must be repeated: fewer may be such values of a small sample
_IMPROBABLE = 1e-6  # probability below which chance is excluded
_ALL_COLUMNS = 0.5  # of the pairs that agree in a part of the columns, this share of copies agrees in all
_DISCRETE = 0.5  # share of events in frequent rows from which on the data are discrete

# splitmix64 (Steele, Lea, Flood, OOPSLA 2014): a bijection of 64-bit numbers that changes half of the bits
_STEP, _FIRST, _SECOND = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def mixed(numbers: UInt64) -> UInt64:
    """Numbers that look random, equal where the given ones are."""
    z = numbers
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    return z ^ (z >> np.uint64(31))


@dataclass(frozen=True)
class Digests:
    """Digests of events: of all columns, and of parts of them.

    Attributes:
        rows: (N,) of conditions and outputs; equal for equal events.
        parts: (4, N) of every second column, of the others, of the conditions, of the outputs.
    """

    rows: UInt64
    parts: UInt64

    @classmethod
    def of(cls, events: Events) -> Digests:
        """Compute the digests; 0 and -0 are equal."""
        arrays = (events.conditions, *(output for output in events.outputs if output.shape[1]))
        parts = np.zeros((4, len(events)), np.uint64)
        first = 0
        for k, array in enumerate(arrays):
            width = array.shape[1]
            place = np.arange(first, first + width, dtype=np.uint64) * _STEP
            rows = max(1, _BLOCK // width)
            for start in range(0, len(array), rows):
                bits = (array[start : start + rows] + np.float32(0)).view(np.uint32)
                numbers = mixed(bits.astype(np.uint64) + place)
                for half in range(2):
                    sums = numbers[:, (first + half) % 2 :: 2].sum(1)
                    parts[half, start : start + rows] += sums
                    parts[2 if k == 0 else 3, start : start + rows] += sums
            first += width
        return cls(mixed(parts[0] + mixed(parts[1] + _STEP)), parts)

    @classmethod
    def joined(cls, parts: list[Digests]) -> Digests:
        """Join the digests of consecutive events."""
        return cls(np.concatenate([p.rows for p in parts]), np.concatenate([p.parts for p in parts], axis=1))

    def thinned(self, share: float) -> Digests:
        """About a share of the events, chosen by their digests, so that equal events are chosen together."""
        if share >= 1:
            return self
        chosen = self.rows < np.uint64(share * 2.0**64)
        return Digests(self.rows[chosen], self.parts[:, chosen])

    def first(self) -> NDArray[np.intp]:
        """Places of the events that do not repeat an earlier one, in order."""
        return np.sort(np.unique(self.rows, return_index=True)[1])

    def __len__(self) -> int:
        return len(self.rows)


def copies(events: Digests, *, share: float = 1.0) -> int:
    """Number of events that repeat an earlier one, more than chance explains; else 0.

    Args:
        events: The events.
        share: The share of all events that these are, `Digests.thinned`; the number is of all.
    """
    _, row, counts = np.unique(events.rows, return_inverse=True, return_counts=True)
    few = counts <= _MOST_COPIES
    repeated = counts[few & (counts > 1)]
    if len(repeated) < _FEWEST:
        return 0
    agreeing = [_pairs(np.unique(part, return_counts=True)[1]) for part in events.parts[:, few[row]]]
    all_agree = counts[few].sum() > _DISCRETE * len(events) and _all_agree(_pairs(repeated), agreeing, share)
    return round(int((repeated - 1).sum()) / share) if all_agree or not _independent(counts) else 0


def _all_agree(pairs: int, agreeing: Sequence[int], share: float) -> bool:
    """Whether pairs that agree in some columns agree in all.

    Args:
        pairs: Number of pairs of events that agree in all columns.
        agreeing: Number of pairs that agree in each of the parts.
        share: The share of all events that these are: pairs of different events are thinned twice.
    """
    first_half, second_half, conditions, outputs = (pairs + (k - pairs) / share for k in agreeing)
    return pairs >= _ALL_COLUMNS * max(first_half, second_half, min(conditions, outputs))


def _pairs(counts: NDArray[np.intp]) -> int:
    """Number of pairs of equal values."""
    return int((counts * (counts - 1) // 2).sum())


def _independent(counts: NDArray[np.intp]) -> bool:
    r"""Whether the numbers of rows that occur once, twice, ... may be those of independent events.

    If :math:`\lambda` is the expected number of occurrences of a row, :math:`r! N_r` estimates the sum of
    :math:`\lambda^r e^{-\lambda}` over the rows, so :math:`N_{r+1} \ge \frac{r}{r+1} N_r^2 / N_{r-1}`.
    """
    times = np.bincount(counts, minlength=_MOST_COPIES + 2).astype(float)
    for r in range(2, _MOST_COPIES + 1):
        least = r / (r + 1) * _lower(times[r]) ** 2 / _upper(times[r - 1])
        if poisson.cdf(times[r + 1], least) < _IMPROBABLE:
            return False
    return True


def _lower(count: float) -> float:
    """Expected number from which a count, as large as it is, is improbable."""
    return float(gamma.ppf(_IMPROBABLE, count)) if count else 0.0


def _upper(count: float) -> float:
    """Expected number from which a count, as small as it is, is improbable."""
    return float(gamma.isf(_IMPROBABLE, count + 1))


def shared(sample: Digests, training: Digests, *, share: float = 1.0) -> int:
    """Number of events of a sample that occur in the training sample too, more than chance explains; else 0.

    Args:
        sample: Events of the sample.
        training: Events of the training sample.
        share: The share of all events that both are, `Digests.thinned`; the number is of all.
    """
    if not len(training) or not len(sample):
        return 0
    rows, row, counts = np.unique(training.rows, return_inverse=True, return_counts=True)
    place = np.minimum(np.searchsorted(rows, sample.rows), len(rows) - 1)
    times = np.where(rows[place] == sample.rows, counts[place], 0)  # in the training sample
    found = len(np.unique(sample.rows[times == 1]))
    if found < _FEWEST:
        return 0
    few = times <= _MOST_COPIES
    known, new = training.parts[:, (counts <= _MOST_COPIES)[row]], sample.parts[:, few]
    agreeing = [_agreeing(a, b) for a, b in zip(known, new, strict=True)]
    all_agree = few.sum() > _DISCRETE * len(sample) and _all_agree(found, agreeing, share)
    expected = len(sample) / len(training) * 2 * _upper(float((counts == 2).sum()))
    improbable = poisson.sf(found - 1, expected) < _IMPROBABLE
    return round(int((times > 0).sum()) / share) if all_agree or improbable else 0


def _agreeing(a: UInt64, b: UInt64) -> int:
    """Number of pairs of equal values of two arrays."""
    values, counts = np.unique(a, return_counts=True)
    if not len(values):
        return 0
    place = np.minimum(np.searchsorted(values, b), len(values) - 1)
    return int(counts[place][values[place] == b].sum())
