"""Counter-based noise: the specification, its statistics, and exactness of the arithmetic."""

from __future__ import annotations

from fractions import Fraction

import mpmath
import numpy as np
import pytest
from scipy import stats

from hepgan.inference import noise

MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
MASK = 2**64 - 1


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x64-10 as in the paper, one block."""
    for turn in range(10):
        a, b = counter[0] * MULTIPLIERS[0], counter[2] * MULTIPLIERS[1]
        k = [(key[i] + turn * WEYL[i]) & MASK for i in (0, 1)]
        counter = [(b >> 64) ^ counter[1] ^ k[0], b & MASK, (a >> 64) ^ counter[3] ^ k[1], a & MASK]
    return counter


@pytest.mark.parametrize("stream", [noise.LATENT, noise.CONDITIONS])
def test_words_are_philox_of_key_and_counter(stream: int) -> None:
    got = noise.words(7, 2**64 - 1, [5, 2**63], [9, 0], size=7, stream=stream)
    for row, event, track in zip(got, (5, 2**63), (9, 0), strict=True):
        blocks = [philox([block, event, track, stream], [7, 2**64 - 1]) for block in (1, 2)]
        assert row.tolist() == (blocks[0] + blocks[1])[:7]


def test_a_track_is_the_same_in_any_batch() -> None:
    together = noise.normal(1, 2, np.arange(20), 3, size=11)
    for event in (0, 7, 19):
        assert np.array_equal(noise.normal(1, 2, [event], 3, size=11)[0], together[event])
    assert np.array_equal(noise.normal(1, 2, np.arange(20), 3, size=4), together[:, :4]), (
        "also if it needs fewer"
    )


@pytest.fixture
def without_cpp(monkeypatch: pytest.MonkeyPatch) -> None:
    """As without a compiler."""
    monkeypatch.setattr(noise, "_kernels", lambda: (None, np.empty(0, np.float32)))


@pytest.mark.usefixtures("without_cpp")
@pytest.mark.parametrize("size", [1, 9, 64])
def test_many_tracks_at_once_get_the_words_of_each_alone(size: int) -> None:
    """Many tracks of few words are computed together, see `noise._together`; one alone by NumPy's Philox."""
    n = noise._MANY_TRACKS + 3
    rng = np.random.default_rng(2)
    events, tracks = rng.integers(0, 2**64 - 1, (2, n), dtype=np.uint64, endpoint=True)
    for several in (tracks, tracks[0]):
        words = noise.words(2**64 - 1, 3, events, several, size=size, stream=noise.CONDITIONS)
        each = [
            noise.words(2**64 - 1, 3, [event], [track], size=size, stream=noise.CONDITIONS)[0]
            for event, track in zip(events.tolist(), np.broadcast_to(several, n).tolist(), strict=True)
        ]
        assert np.array_equal(words, each)


@pytest.mark.parametrize("size", [1, 7, 8, 17, 255, 542])
def test_cpp_gives_the_same_bits(size: int, request: pytest.FixtureRequest) -> None:
    n = noise._WORTH_IT // size + 5
    rng = np.random.default_rng(3)
    events, tracks = rng.integers(0, 2**64 - 1, (2, n), dtype=np.uint64, endpoint=True)
    events = np.repeat(events, 2)[::2]  # and not contiguous
    keys = [(2**64 - 1, 3, events, several) for several in (tracks, tracks[:1], 2**63)]
    assert noise._kernels()[0] is not None
    compiled = [(noise.normal(*key, size=size), noise.words(*key, size=size, stream=1)) for key in keys]
    request.getfixturevalue("without_cpp")
    for key, (normal, words) in zip(keys, compiled, strict=True):
        assert np.array_equal(normal.view(np.uint32), noise.normal(*key, size=size).view(np.uint32))
        assert np.array_equal(words, noise.words(*key, size=size, stream=1))


def test_numbers_go_into_memory_that_is_given(without_cpp: None) -> None:
    for n in (3, noise._WORTH_IT):
        room = np.empty((n, 5), np.float32)
        assert noise.normal(1, 2, np.arange(n), size=5, out=room) is room
        assert np.array_equal(room, noise.normal(1, 2, np.arange(n), size=5))


def test_events_and_tracks_of_different_number_are_refused() -> None:
    with pytest.raises(ValueError, match=r"could not broadcast|shape"):
        noise.normal(1, 2, np.arange(noise._WORTH_IT), np.arange(3), size=2)


def test_each_part_of_the_key_matters() -> None:
    one = noise.normal(1, 2, [3], [4], size=8)
    for other in ((2, 2, [3], [4]), (1, 3, [3], [4]), (1, 2, [4], [4]), (1, 2, [3], [5])):
        assert not np.intersect1d(one, noise.normal(*other, size=8)).size


def test_halves_are_taken_low_first_and_the_top_bit_is_the_sign() -> None:
    word = int(noise.words(5, 0, [0], size=1)[0, 0])
    expected = noise.quantile(np.array([word & 0xFFFFFFFF, word >> 32], np.uint32))
    assert np.array_equal(noise.normal(5, 0, [0], size=2)[0], expected)
    low, high = noise.quantile(np.array([1000, 1000 + 2**31], np.uint32))
    assert low == -high < 0


def test_quantile_at_and_between_knots() -> None:
    halves = np.random.default_rng(1).integers(0, 2**31, 300, dtype=np.uint32)
    halves[:3] = 0, 1, 2**31 - 1
    for half, got in zip(halves.tolist(), noise.quantile(halves).tolist(), strict=True):
        p = mpmath.mpf(2 * half + 1) / 2**33
        exact = -mpmath.sqrt(2) * mpmath.erfinv(1 - 2 * p)
        assert abs(got - exact) < 4e-6
    largest = noise.quantile(np.array([0, 2**31], np.uint32))
    assert largest == pytest.approx([-6.34, 6.34], abs=0.01)


def test_knots_are_correctly_rounded() -> None:
    values, steps = noise._knots()
    assert len(values) == 4096
    mpmath.mp.dps = 40
    for k in range(0, 4096, 61):
        p = mpmath.mpf(128 + k % 128) * mpmath.mpf(2) ** (k // 128 - 33 - 7)
        exact = -mpmath.sqrt(2) * mpmath.erfinv(1 - 2 * p)
        assert values[k] == float(np.float32(float(exact)))
    mpmath.mp.dps = 15
    assert values[-1] + steps[-1] == 0


def test_products_are_exact_so_that_fused_arithmetic_changes_nothing() -> None:
    values, steps = noise._knots()
    fine = Fraction(
        2**24 - 1, 2**24
    )  # a fraction has at most 24 bits: p has 32, eight of them choose the knot
    for value, step in zip(values.tolist(), steps.tolist(), strict=True):
        product = float(fine) * step
        assert Fraction(product) == fine * Fraction(step)
        assert float(Fraction(value) + fine * Fraction(step)) == value + product


def test_numbers_are_normal_and_independent() -> None:
    x = noise.normal(11, 0, np.arange(4000), size=50)
    assert stats.kstest(x.ravel(), "norm").pvalue > 0.01
    assert abs(x.mean()) < 4 / np.sqrt(x.size)
    assert abs(x.var() - 1) < 4 * np.sqrt(2 / x.size)
    correlation = np.corrcoef(x.T) - np.eye(50)
    assert np.abs(correlation).max() < 5 / np.sqrt(4000)
    assert stats.kstest(noise.uniform(11, 0, np.arange(4000), size=5).ravel(), "uniform").pvalue > 0.01
    assert not np.intersect1d(noise.words(1, 0, [0], size=50), noise.words(1, 0, [0], size=50, stream=1)).size


@pytest.mark.parametrize(("seed", "run", "name"), [(-1, 0, "seed"), (2**64, 0, "seed"), (0, -1, "run")])
def test_numbers_outside_64_bits_are_refused(seed: int, run: int, name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}: expected a whole number from 0 to 2\^64 - 1, got"):
        noise.normal(seed, run, [0], size=1)


@pytest.mark.parametrize("value", [1.5, "1", None])
def test_a_part_of_the_key_that_is_no_whole_number_is_refused(value):
    with pytest.raises(TypeError, match=r"seed: expected a whole number from 0 to 2\^64 - 1, got"):
        noise.check("seed", value)


def test_whole_numbers_of_numpy_are_parts_of_the_key():
    assert type(noise.check("seed", np.int64(7))) is int


def test_event_numbers_do_not_wrap():
    assert noise.check_events(2**64 - 3, 3) == 2**64 - 3
    with pytest.raises(
        ValueError, match=r"first_event: expected event numbers up to 2\^64 - 1, got 4 events"
    ):
        noise.check_events(2**64 - 3, 4)


@pytest.mark.parametrize(
    "numbers", [[2**64 - 1, 0], np.array([2**64 - 1, 0], np.uint64), [np.int64(5), 2**63]]
)
def test_the_last_number_of_an_event_or_track_is_accepted(numbers):
    for events, tracks in ((numbers, 0), ([0, 0], numbers)):
        first, second = noise.normal(1, 2, events, tracks, size=3)
        assert not np.intersect1d(first, second).size
    assert (
        noise.normal(1, 2, numbers, numbers, size=3).tolist()
        == np.concatenate([noise.normal(1, 2, [int(n)], int(n), size=3) for n in numbers]).tolist()
    )


@pytest.mark.parametrize("numbers", [[0, 2**64], [-1, 0], np.array([0, -1])])
def test_numbers_of_events_and_tracks_do_not_wrap(numbers):
    for name, key in (("events", (numbers, 0)), ("tracks", ([0, 0], numbers))):
        with pytest.raises(ValueError, match=rf"{name}: expected a whole number from 0 to 2\^64 - 1, got"):
            noise.normal(1, 2, *key, size=1)
        with pytest.raises(ValueError, match=name):
            noise.uniform(1, 2, *key, size=1)


def test_numbers_of_events_that_are_not_whole_are_refused():
    with pytest.raises(TypeError, match=r"events: expected a whole number .*, got 1\.5"):
        noise.normal(1, 2, [1.5], size=1)
    with pytest.raises(TypeError, match=r"tracks: expected a whole number .*, got a"):
        noise.normal(1, 2, [1], "a", size=1)


def test_no_events_have_no_numbers():
    for got in (noise.normal(1, 2, [], size=3), noise.normal(1, 2, np.empty(0, np.uint64), 4, size=3)):
        assert got.shape == (0, 3)
        assert got.dtype == np.float32
    assert noise.uniform(1, 2, [], size=3).shape == (0, 3)
