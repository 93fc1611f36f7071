"""Copies of events are told from rows of discrete numbers that repeat by chance."""

from collections.abc import Callable

import numpy as np
import pytest

from hepgan.data.events import Events
from hepgan.data.repeats import Digests, copies, shared

Random = np.random.Generator


def digests(conditions: np.ndarray, outputs: np.ndarray) -> Digests:
    conditions, outputs = (a.reshape(len(a), -1).astype(np.float32) for a in (conditions, outputs))
    return Digests.of(Events(conditions, (outputs,), np.ones(len(conditions), np.float32)))


def beam(rng: Random, n: int) -> np.ndarray:
    return rng.choice([5.0, 10.0, 20.0, 50.0, 100.0], n)


def with_empties(rng: Random, n: int) -> np.ndarray:
    cells = rng.normal(size=(n, 5))
    cells[rng.random(n) < 0.05] = 0
    return cells


def scan(rng: Random, n: int, points: int) -> np.ndarray:
    """Beam energy, momentum and angle of the points of a scan: each of them tells the others."""
    point = rng.integers(0, points, n)
    return np.stack([10 + point, np.sqrt((10.0 + point) ** 2 - 0.01), np.cos(point)], axis=1)


DISCRETE: dict[str, Callable[[Random, int], tuple[np.ndarray, np.ndarray]]] = {
    "count": lambda rng, n: (np.ones(n), rng.poisson(20, n)),
    "beam and count": lambda rng, n: (beam(rng, n), rng.poisson(9, n)),
    "beam and ADC": lambda rng, n: (beam(rng, n), rng.integers(0, 2**14, n)),
    "ADC, two of each value": lambda rng, n: (np.ones(n), rng.integers(0, max(2, n // 2), n)),
    "ADC, hardly two of a value": lambda rng, n: (np.ones(n), rng.integers(0, 10 * n, n)),
    "rounded": lambda rng, n: (np.ones(n), np.round(rng.exponential(size=n), 3)),
    "beam and two rounded": lambda rng, n: (beam(rng, n), np.round(rng.normal(size=(n, 2)), 1)),
    "empty showers": lambda rng, n: (beam(rng, n), with_empties(rng, n)),
    "scan and empty showers": lambda rng, n: (scan(rng, n, 100), with_empties(rng, n)),
    "scan and DLLs without RICH": lambda rng, n: (
        scan(rng, n, 300)[:, :2],
        np.where(rng.random((n, 1)) < 0.3, -999, rng.normal(size=(n, 3))),
    ),
    "few values": lambda rng, n: (x := rng.integers(0, 1 + n // 15, n), x**2),
    "heavy tail": lambda rng, n: (np.ones(n), np.minimum(rng.zipf(1.5, n), 1e9)),
}
CONTINUOUS: dict[str, Callable[[Random, int], tuple[np.ndarray, np.ndarray]]] = {
    "one target": lambda rng, n: (rng.random(n), rng.normal(size=n)),
    "beam and one target": lambda rng, n: (beam(rng, n), rng.normal(size=n)),
    "beam and cells": lambda rng, n: (beam(rng, n), with_empties(rng, n)),
    "scan and cells": lambda rng, n: (scan(rng, n, 30), rng.normal(size=(n, 5))),
}


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.parametrize("n", [50, 500, 5000])
def test_rows_that_repeat_by_chance_are_no_copies(name, n):
    for seed in range(5):
        conditions, outputs = DISCRETE[name](np.random.default_rng([seed, n]), n)
        assert copies(digests(conditions, outputs)) == 0
        fifth = n // 5
        rest = digests(conditions[fifth:], outputs[fifth:])
        assert shared(digests(conditions[:fifth], outputs[:fifth]), rest) == 0


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_copies_are_counted(name, share):
    n = 1000
    conditions, outputs = CONTINUOUS[name](np.random.default_rng(1), n)
    events = digests(conditions, outputs)
    assert copies(events) == 0
    k = int(share * n)
    many = digests(np.concatenate([conditions, conditions[:k]]), np.concatenate([outputs, outputs[:k]]))
    assert copies(many) == pytest.approx(k, rel=0.1)  # the empty showers among them are not counted
    assert len(many.first()) <= n
    assert (np.diff(many.first()) > 0).all()
    assert shared(digests(conditions[:k], outputs[:k]), events) == k


def test_digests_see_each_value_and_no_order_of_memory():
    rng = np.random.default_rng(2)
    conditions, outputs = rng.random((4, 2)), rng.random((4, 3))
    rows = digests(conditions, outputs).rows
    assert len(set(rows)) == 4
    for column in range(3):
        other = outputs.copy()
        other[0, column] = np.nextafter(np.float32(other[0, column]), np.float32(2))
        changed = digests(conditions, other).rows
        assert changed[0] != rows[0]
        assert (changed[1:] == rows[1:]).all()
    assert digests(conditions, outputs[:, ::-1]).rows[0] != rows[0]
    assert (digests(0 * conditions, outputs).rows == digests(-0.0 * conditions, outputs).rows).all()
    wide = rng.random((3, 2**20 // 2 + 1))  # more than one block
    assert len(set(digests(np.ones(3), wide).rows)) == 3
