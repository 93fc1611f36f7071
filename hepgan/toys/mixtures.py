"""Points in a plane from equal narrow Gaussian modes: a generator that collapses misses some of them.

`hepgan.metrics.diversity.mode_coverage` counts the modes that a sample covers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["GRID_SIGMA", "RING_SIGMA", "grid", "grid_centres", "ring", "ring_centres"]

Float64 = NDArray[np.float64]

RING_SIGMA = 0.02
"""Width of each of eight modes on a circle of radius 2 (arXiv:1611.02163, section 3.1)."""

GRID_SIGMA = 0.05
"""Width of each of five by five modes at a distance of 2 (arXiv:1712.04086, section 4)."""


def ring_centres(modes: int = 8, *, radius: float = 2.0) -> Float64:
    """Centres (modes, 2) of the modes of `ring`, counterclockwise from the x axis."""
    angle = 2 * np.pi * np.arange(modes) / modes
    return radius * np.column_stack([np.cos(angle), np.sin(angle)])


def grid_centres(side: int = 5, *, spacing: float = 2.0) -> Float64:
    """Centres (side * side, 2) of the modes of `grid`, around the origin; y varies fastest."""
    axis = spacing * (np.arange(side) - (side - 1) / 2)
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)


def _modes(n: int, centres: Float64, sigma: float, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Points in equal Gaussian modes of width `sigma`."""
    mode = rng.integers(len(centres), size=n, dtype=np.int32)
    x, y = (centres[mode] + sigma * rng.standard_normal((n, 2))).astype(np.float32).T
    return {"x": x, "y": y, "mode": mode}


def ring(n: int, *, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Points in eight Gaussian modes of width `RING_SIGMA` on a circle, at `ring_centres`.

    Args:
        n: Number of points.
        rng: Random numbers.

    Returns:
        Branches (n,) by name: ``x``, ``y``, ``mode`` (index of the centre).
    """
    return _modes(n, ring_centres(), RING_SIGMA, rng)


def grid(n: int, *, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Points in 25 Gaussian modes of width `GRID_SIGMA` on a square lattice, at `grid_centres`.

    Args:
        n: Number of points.
        rng: Random numbers.

    Returns:
        Branches (n,) by name: ``x``, ``y``, ``mode`` (index of the centre).
    """
    return _modes(n, grid_centres(), GRID_SIGMA, rng)
