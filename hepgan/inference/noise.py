r"""Counter-based noise: the numbers of a track are a function of (seed, run, event, track), and of nothing else.

So a track gets the same shower in any thread, batch, job or language. Specification, which
export/include/hepgan/noise.hpp implements as well:

1. Random words are Philox4x64-10 (Salmon et al., SC11, doi:10.1145/2063384.2063405) with key (seed, run) and counter
   (block, event, track, stream), all of 64 bits; blocks count from 1. Stream 0 gives latent numbers, stream 1
   conditions.
2. Each 64-bit word gives two normal numbers, from its low and then its high half. Of a half w, v = w mod 2^31 gives
   p = (v + 1/2) / 2^32, which lies in (0, 1/2), and the top bit the sign: the number is the normal quantile
   x(p), and -x(p) if the bit is set.
3. x(p) is linear between knots: 128 in each octave of p, from 2^-33 to 1/2, where it is the quantile rounded to
   float32. All products are exact in double precision, so that fused multiply-adds change nothing: equal in every bit.

The quantile is at most 4e-6 off between knots, and numbers reach 6.3 standard deviations.
"""

from __future__ import annotations

import operator
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["CONDITIONS", "LATENT", "check", "check_events", "normal", "quantile", "uniform", "words"]

LATENT, CONDITIONS = 0, 1  # streams
_KNOT_BITS = 7  # 128 knots an octave
_FRACTION_BITS = 52 - _KNOT_BITS
_OCTAVES = 32  # from 2^-33, the smallest p, to 1/2
_FIRST = (1023 - _OCTAVES - 1) << _KNOT_BITS  # leading bits of 2^-33 as float64
_LARGEST = 2**64

Words = NDArray[np.uint64]


@cache
def _knots() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The quantile at each knot, and its step to the next one."""
    from scipy.special import ndtri  # takes longer to import than to open a model

    bits = (np.arange((_OCTAVES << _KNOT_BITS) + 1, dtype=np.uint64) + np.uint64(_FIRST)) << np.uint64(
        _FRACTION_BITS
    )
    values = ndtri(bits.view(np.float64)).astype(np.float32).astype(np.float64)
    return values[:-1], np.diff(values)


def check(name: str, value: int) -> int:
    """Make a part of the key an integer of 64 bits.

    Raises:
        TypeError: If it is not a whole number, with its name.
        ValueError: If it does not fit into 64 bits, with its name.
    """
    message = f"{name}: expected a whole number from 0 to 2^64 - 1, got {value}; choose another one"
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(message) from None
    if not 0 <= number < _LARGEST:
        raise ValueError(message)
    return number


def check_events(first_event: int, n: int) -> int:
    """Check the number of the first of `n` events; the last one must fit into 64 bits, too, or events would repeat.

    Raises:
        TypeError: If it is not a whole number.
        ValueError: If an event number does not fit into 64 bits.
    """
    first = check("first_event", first_event)
    if first + n > _LARGEST:
        raise ValueError(
            f"first_event: expected event numbers up to 2^64 - 1, got {n} events from {first} on; start earlier, "
            "or use another run number"
        )
    return first


def _numbers(name: str, values: ArrayLike) -> Words:
    """Numbers of events or tracks as integers of 64 bits.

    Raises:
        TypeError: If one is not a whole number, with the name of their kind.
        ValueError: If one does not fit into 64 bits.
    """
    # lists as objects: NumPy would make floats of [2**63, 1]
    array = np.asarray(values, None if isinstance(values, np.ndarray | np.generic) else object)
    whole = array.dtype.kind in "iu" and array.size > 0
    for number in [array.min(), array.max()] if whole else array.ravel().tolist():
        check(name, number)
    return array.astype(np.uint64)


def words(
    seed: int, run: int, events: ArrayLike, tracks: ArrayLike = 0, *, size: int, stream: int = LATENT
) -> Words:
    """Random words (B, size), each uniform over 64 bits.

    Args:
        seed: First half of the key.
        run: Second half of the key.
        events: (B,) event numbers.
        tracks: (B,) numbers of the tracks in their events, or one for all.
        size: Words of a track.
        stream: What the words are for: `LATENT` or `CONDITIONS`.

    Raises:
        TypeError: If a number is not a whole one.
        ValueError: If a number does not fit into 64 bits.
    """
    events = _numbers("events", events)
    tracks = np.broadcast_to(_numbers("tracks", tracks), events.shape)
    key = np.array([check("seed", seed), check("run", run)], np.uint64)
    source = np.random.Philox(key=key)  # counts a block before it computes it: from 1
    state = source.state
    counter = state["state"]["counter"] = np.array([0, 0, 0, stream], np.uint64)
    result = np.empty((len(events), size), np.uint64)
    for row, event, track in zip(result, events.tolist(), tracks.tolist(), strict=True):
        counter[1], counter[2] = event, track
        source.state = state
        row[:] = source.random_raw(size)
    return result


def quantile(halves: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Standard normal numbers of uniform 32-bit words, see the module's text; shape as given."""
    p = ((halves & np.uint32(0x7FFFFFFF)).astype(np.float64) + 0.5) * 2.0**-32
    bits = p.view(np.uint64)
    knot = (bits >> np.uint64(_FRACTION_BITS)).astype(np.int64) - _FIRST
    fraction = (bits & np.uint64(2**_FRACTION_BITS - 1)).astype(np.float64) * 2.0**-_FRACTION_BITS
    values, steps = _knots()
    x = (values[knot] + fraction * steps[knot]).astype(np.float32)
    return np.where(halves >> np.uint32(31), -x, x)


def normal(
    seed: int, run: int, events: ArrayLike, tracks: ArrayLike = 0, *, size: int
) -> NDArray[np.float32]:
    """Standard normal numbers (B, size) of tracks; arguments as for `words`."""
    whole = words(seed, run, events, tracks, size=(size + 1) // 2)
    halves = whole.astype("<u8").view("<u4").astype(np.uint32, copy=False)
    return np.ascontiguousarray(quantile(halves)[:, :size])


def uniform(
    seed: int, run: int, events: ArrayLike, tracks: ArrayLike = 0, *, size: int
) -> NDArray[np.float64]:
    """Uniform numbers (B, size) in (0, 1) to draw conditions with; arguments as for `words`."""
    whole = words(seed, run, events, tracks, size=size, stream=CONDITIONS)
    return ((whole >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
