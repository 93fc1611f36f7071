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

Many numbers are computed by C++ (``cpp/noise.cpp``), which is compiled on first use, in a fifth of the time; without a
compiler NumPy computes them all.
"""

from __future__ import annotations

import operator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hepgan.files import compiled

__all__ = ["CONDITIONS", "LATENT", "check", "check_events", "normal", "quantile", "uniform", "words"]

LATENT, CONDITIONS = 0, 1  # streams
_KNOT_BITS = 7  # 128 knots an octave
_FRACTION_BITS = 52 - _KNOT_BITS
_OCTAVES = 32  # from 2^-33, the smallest p, to 1/2
_FIRST = (1023 - _OCTAVES - 1) << _KNOT_BITS  # leading bits of 2^-33 as float64
_FIRST_SCALED = _FIRST + (32 << _KNOT_BITS)  # of 2^32 p
_LARGEST = 2**64
_MULTIPLIERS = (
    0xD2E7470EE14C6C93,
    0xCA5A826395121157,
)  # of Philox4x64, and what its key grows by in each round
_WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_ROUNDS = 10
_FEW_BLOCKS, _MANY_TRACKS = (
    16,
    128,
)  # for which all tracks at once are faster than one call of NumPy's Philox for each
_AT_ONCE = 8192  # blocks, or normal numbers, whose arrays stay in the cache
_WORTH_IT = 1000  # numbers from which on they come from C++: few need no compiler
_SOURCES = Path(__file__).parent / "cpp"
_ARGUMENTS = {"noise_words": "ppllluuup", "noise_normal": "ppllluupp"}
_LOW, _HALF = np.uint64(2**32 - 1), np.uint64(32)

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


@cache
def _scaled_knots() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same for a fraction that is a whole number of 45 bits; a power of two changes no rounding."""
    values, steps = _knots()
    return values, steps * 2.0**-_FRACTION_BITS


@cache
def _kernels() -> Any:
    """The functions in C++, or None, and the knots as they take them."""
    functions = compiled(_SOURCES, _ARGUMENTS, loss="noise for bulk generation takes five times as long")
    values, steps = _knots()
    return functions, np.append(values, values[-1] + steps[-1]).astype(np.float32)


def _in_cpp(
    name: str, key: tuple[int, int], events: Words, tracks: Words, stream_or_knots: int, result: NDArray[Any]
) -> bool:
    """Fill `result` (B, size) in C++, where that is possible and worth it; whether it was."""
    if result.size < _WORTH_IT or tracks.size not in (1, len(events)) or (functions := _kernels()[0]) is None:
        return False
    events, tracks = np.ascontiguousarray(events), np.ascontiguousarray(tracks)
    sizes = int(tracks.size > 1), *result.shape
    functions[name](events.ctypes.data, tracks.ctypes.data, *sizes, *key, stream_or_knots, result.ctypes.data)
    return True


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
    return array.astype(np.uint64, copy=False)


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
    tracks = _numbers("tracks", tracks)
    key = check("seed", seed), check("run", run)
    result = np.empty((len(events), size), np.uint64)
    if _in_cpp("noise_words", key, events, tracks, stream, result):
        return result
    blocks = -(-size // 4)
    if blocks > _FEW_BLOCKS or len(events) < _MANY_TRACKS:
        _one_by_one(key, events, np.broadcast_to(tracks, events.shape), stream, result)
        return result
    rows = _AT_ONCE // max(1, blocks)
    for start in range(0, len(events), rows):
        part = slice(start, start + rows)
        track = tracks[part] if tracks.ndim and len(tracks) > 1 else tracks
        result[part] = _together(key, events[part], track, stream, blocks)[:, :size]
    return result


def _one_by_one(key: tuple[int, int], events: Words, tracks: Words, stream: int, result: Words) -> None:
    """Fill `result` (B, size) with words, a track at a time, from NumPy's Philox."""
    source = np.random.Philox(key=np.array(key, np.uint64))  # counts a block before it computes it: from 1
    state = source.state
    counter = state["state"]["counter"] = np.array([0, 0, 0, stream], np.uint64)
    for row, event, track in zip(result, events.tolist(), tracks.tolist(), strict=True):
        counter[1], counter[2] = event, track
        source.state = state
        row[:] = source.random_raw(len(row))


def _together(key: tuple[int, int], events: Words, tracks: Words, stream: int, blocks: int) -> Words:
    """Words (B, 4 * blocks) of all tracks at once, for tracks of so few words that calls would take longest."""
    counter = np.arange(1, blocks + 1, dtype=np.uint64)[None], events[:, None], tracks.reshape(-1, 1)
    first, second, third = counter
    fourth = np.full((1, 1), stream, np.uint64)
    for turn in range(_ROUNDS):  # axes stay of length 1 as long as they can
        low, high = (np.uint64((key[i] + turn * _WEYL[i]) % _LARGEST) for i in (0, 1))
        high_of_first, low_of_first = _product(first, _MULTIPLIERS[0])
        high_of_third, low_of_third = _product(third, _MULTIPLIERS[1])
        first, third = high_of_third ^ (second ^ low), high_of_first ^ (fourth ^ high)
        second, fourth = low_of_third, low_of_first
    result = np.empty((len(events), blocks, 4), np.uint64)
    for k, word in enumerate((first, second, third, fourth)):
        result[:, :, k] = word
    return result.reshape(len(events), 4 * blocks)


def _product(x: Words, factor: int) -> tuple[Words, Words]:
    """High and low half of the products, 128 bits, of words and a factor."""
    low, high = np.uint64(factor % 2**32), np.uint64(factor >> 32)
    x_low, x_high = x & _LOW, x >> _HALF
    middle = x_low * low
    middle >>= _HALF
    other = x_high * low
    middle += other  # less than 2^64: (2^32 - 1)^2 + 2^32 - 1
    x_low *= high
    np.bitwise_and(middle, _LOW, out=other)
    other += x_low
    other >>= _HALF
    x_high *= high
    middle >>= _HALF
    x_high += middle
    x_high += other
    return x_high, x * np.uint64(factor)


def quantile(halves: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Standard normal numbers of uniform 32-bit words, see the module's text; shape as given."""
    halves = np.ascontiguousarray(halves, np.uint32)
    result = np.empty(halves.shape, np.float32)
    into, words = result.reshape(-1), halves.reshape(-1)
    values, steps = _scaled_knots()
    numbers = [np.empty(min(_AT_ONCE, words.size)) for _ in range(2)]
    knots = np.empty(numbers[0].size, np.uint64)
    for start in range(0, words.size, _AT_ONCE):
        half, x = words[start : start + _AT_ONCE], into[start : start + _AT_ONCE]
        p, found, knot = numbers[0][: len(half)], numbers[1][: len(half)], knots[: len(half)]
        bits = p.view(np.uint64)
        np.bitwise_and(half, np.uint32(0x7FFFFFFF), out=x.view(np.uint32))
        np.copyto(p, x.view(np.int32))
        p += 0.5  # 2^32 times p of the module's text
        np.right_shift(bits, np.uint64(_FRACTION_BITS), out=knot)
        knot -= np.uint64(_FIRST_SCALED)
        bits &= np.uint64(2**_FRACTION_BITS - 1)
        index = knot.view(np.int64)
        np.copyto(p, bits.view(np.int64))  # 2^45 times the fraction
        p *= np.take(steps, index, out=found, mode="clip")
        p += np.take(values, index, out=found, mode="clip")
        np.copyto(x, p, casting="same_kind")
        x.view(np.uint32)[...] ^= half & np.uint32(0x80000000)
    return result


def normal(
    seed: int,
    run: int,
    events: ArrayLike,
    tracks: ArrayLike = 0,
    *,
    size: int,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Standard normal numbers (B, size) of tracks, in contiguous memory `out` if it is given; see `words`."""
    key = check("seed", seed), check("run", run)
    result = np.empty((np.size(events), size), np.float32) if out is None else out
    if result.size >= _WORTH_IT:
        events, tracks = _numbers("events", events), _numbers("tracks", tracks)
        if _in_cpp("noise_normal", key, events, tracks, _kernels()[1].ctypes.data, result):
            return result
    whole = words(seed, run, events, tracks, size=(size + 1) // 2)
    halves = whole.astype("<u8", copy=False).view("<u4").astype(np.uint32, copy=False)
    result[...] = quantile(halves)[:, :size]
    return result


def uniform(
    seed: int, run: int, events: ArrayLike, tracks: ArrayLike = 0, *, size: int
) -> NDArray[np.float64]:
    """Uniform numbers (B, size) in (0, 1) to draw conditions with; arguments as for `words`."""
    whole = words(seed, run, events, tracks, size=size, stream=CONDITIONS)
    return ((whole >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
