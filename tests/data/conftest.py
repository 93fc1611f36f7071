"""Caches of tiny showers and tracks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hepgan.config import DataConfig, parse
from hepgan.data import cache, preparing


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards and blocks of a few rows."""
    monkeypatch.setattr(preparing, "_SHARD_BYTES", 800)
    monkeypatch.setattr(cache, "_BLOCK_BYTES", 300)


@pytest.fixture
def weighted_tracks(tmp_path, write_tree, monkeypatch) -> Callable[..., DataConfig]:
    """Two files of tracks with weights of both signs, larger in one of them; high momenta are rare."""
    monkeypatch.setattr(preparing, "_SHARD_BYTES", 1 << 14)

    def build(n: int = 3000, **settings: Any) -> DataConfig:
        names, rng = [], np.random.default_rng(5)
        for k in range(2):
            momentum = np.exp(rng.exponential(1.0, n)).astype(np.float32)
            branches = {
                "P": momentum,
                "x": rng.normal(momentum, 1).astype(np.float32),
                "w": (rng.exponential(1 + 2.0 * k, n) * np.where(rng.random(n) < 0.1, -1, 1)).astype(
                    np.float32
                ),
            }
            names.append(write_tree(tmp_path / f"part_{k}.root", branches, tree="tracks", basket=n))
        values = {"files": names, "conditions": [{"name": "P"}], "targets": [{"name": "x"}]}
        return parse({"data": values | settings}).data

    return build
