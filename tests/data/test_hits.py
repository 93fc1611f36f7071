"""Hits to cells: sums, the geometry, and the same numbers in C++ and by NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from hepgan.data import hits
from hepgan.geometry import Calorimeter

SHAPES = [(3, 4), (1, 2), (5, 5)]
CALORIMETER = Calorimeter.from_dicts(
    [{"shape": shape, "x": [-1, 1], "y": [-1, 1], "z": [k, k + 1]} for k, shape in enumerate(SHAPES)]
)


@pytest.fixture(params=["C++", "NumPy"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With and without the compiled function, for any number of hits."""
    monkeypatch.setattr(hits, "_WORTH_IT", 0)
    if request.param == "NumPy":
        monkeypatch.setattr(hits, "_kernels", lambda: None)
    else:
        assert hits._kernels() is not None
    return str(request.param)


def made(n: int, dtype: str) -> tuple[list[np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    """Addresses, flat cells, energies and numbers of hits of n events; many share a cell, some events are empty."""
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 60, n)
    layer = rng.integers(0, 3, counts.sum()).astype(np.int32)
    i, j = (rng.integers(0, np.asarray(SHAPES)[layer, axis]).astype(np.int32) for axis in (0, 1))
    cell = (np.asarray(CALORIMETER.offsets)[layer] + i * np.asarray(SHAPES)[layer, 1] + j).astype(np.int32)
    return [layer, i, j], cell, rng.exponential(3, len(layer)).astype(dtype), counts


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_energies_are_added_in_double_precision(way: str, dtype: str) -> None:
    address, cell, energy, counts = made(50, dtype)
    expected = np.zeros((50, CALORIMETER.n_cells))
    np.add.at(expected, (np.repeat(np.arange(50), counts), cell), energy)
    for index in (address, [cell]):
        cells = hits.cells_of(index, energy, counts, CALORIMETER)
        assert cells is not None
        assert cells.dtype == np.float32
        np.testing.assert_array_equal(cells, expected.astype(np.float32))


def test_numbers_that_are_not_finite_stay(way: str) -> None:
    energy, counts = np.asarray([1, np.nan, np.inf, 2], np.float32), np.asarray([3, 1])
    cells = hits.cells_of([np.asarray([0, 1, 2, 1], np.int32)], energy, counts, CALORIMETER)
    assert cells is not None
    np.testing.assert_array_equal(cells[:, :4], [[1, np.nan, np.inf, 0], [0, 2, 0, 0]])


@pytest.mark.parametrize("whole", [np.int32, np.int64])
@pytest.mark.parametrize(
    "bad", [(-1, 0, 0), (3, 0, 0), (0, -1, 0), (0, 3, 0), (0, 0, 4), (0, 0, -1), (1, 0, 2), (2**31 - 1, 0, 0)]
)
def test_hits_outside_are_found(way: str, whole: type, bad: tuple[int, int, int]) -> None:
    address, _, energy, counts = made(50, "float32")
    for values, value in zip(address, bad, strict=True):
        values[77] = value
    index = [values.astype(whole) for values in address]
    assert hits.cells_of(index, energy, counts, CALORIMETER) is None
    assert np.flatnonzero(hits.outside(index, CALORIMETER)).tolist() == [77]


@pytest.mark.parametrize("bad", [-1, CALORIMETER.n_cells, -(2**31)])
def test_cells_outside_are_found(way: str, bad: int) -> None:
    _, cell, energy, counts = made(50, "float64")
    cell[[5, 1000]] = bad
    assert hits.cells_of([cell], energy, counts, CALORIMETER) is None
    assert np.flatnonzero(hits.outside([cell], CALORIMETER)).tolist() == [5, 1000]


def test_events_without_hits(way: str) -> None:
    nothing = np.empty(0, np.int32)
    for n in (0, 3):
        cells = hits.cells_of([nothing], np.empty(0, np.float32), np.zeros(n, np.int64), CALORIMETER)
        assert cells is not None
        assert cells.shape == (n, CALORIMETER.n_cells)
        assert not cells.any()
