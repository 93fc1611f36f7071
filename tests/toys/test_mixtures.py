"""Mixtures of modes: centres, shares and widths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hepgan.toys.mixtures import GRID_SIGMA, RING_SIGMA, grid, grid_centres, ring, ring_centres


def test_centres_of_modes() -> None:
    circle, square = ring_centres(), grid_centres()
    assert circle.shape == (8, 2)
    assert np.hypot(*circle.T) == pytest.approx(2)
    assert np.linalg.norm(circle - np.roll(circle, 1, axis=0), axis=1) == pytest.approx(4 * np.sin(np.pi / 8))
    assert circle[2] == pytest.approx([0, 2])
    assert square.tolist() == [[x, y] for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)]


@pytest.mark.parametrize(
    ("toy", "centres", "sigma"),
    [(ring, ring_centres(), RING_SIGMA), (grid, grid_centres(), GRID_SIGMA)],
)
def test_modes_are_equal_gaussians_at_their_centres(
    toy: Callable[..., dict[str, NDArray[Any]]], centres: NDArray[Any], sigma: float
) -> None:
    n = 50_000
    points = toy(n, rng=np.random.default_rng(1))
    assert {name: values.dtype for name, values in points.items()} == {
        "x": np.float32,
        "y": np.float32,
        "mode": np.int32,
    }
    each = n / len(centres)
    assert np.bincount(points["mode"], minlength=len(centres)) == pytest.approx(each, abs=5 * np.sqrt(each))
    offset = np.column_stack([points["x"], points["y"]]) - centres[points["mode"]]
    assert offset.mean(axis=0) == pytest.approx(0, abs=5 * sigma / np.sqrt(n))
    assert offset.std(axis=0) == pytest.approx(sigma, rel=5 / np.sqrt(2 * n))
    assert abs(np.corrcoef(offset.T)[0, 1]) < 5 / np.sqrt(n)
