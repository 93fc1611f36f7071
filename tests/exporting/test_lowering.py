"""A generator folded into few matrices gives the same targets as the generator itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny_generator import TRACK_CONDITIONS, TRACK_TARGETS, tracks_config, tracks_generator

from hepgan.exporting.lowering import Compact, lower

SPECIES = TRACK_CONDITIONS[1]
CASES: dict[str, dict[str, Any]] = {
    "all": {},
    "no logarithm": {"conditions": TRACK_CONDITIONS[1:]},
    "logarithms only": {"conditions": TRACK_CONDITIONS[:1]},
    "categories only": {"conditions": [SPECIES]},
    "one category": {"conditions": [TRACK_CONDITIONS[2], SPECIES | {"categories": {"pi": 211}}]},
    "neighbouring categories": {
        "conditions": [
            {"name": "hasRich", "transform": "category", "categories": {"out": 0, "in": 1}},
            TRACK_CONDITIONS[0],
        ]
    },
    "no atoms": {"targets": [{"name": "RichDLLe"}, {"name": "RichDLLk"}], "ties": False},
    "ties only": {"targets": [{"name": "RichDLLk"}, {"name": "RichDLLp"}]},
    "logarithm of a target": {
        "targets": [{"name": "p", "branch": "Brunel_P", "transform": "log"}, TRACK_TARGETS[1]]
    },
    "angle": {
        "targets": [
            {"name": "phi", "branch": "Brunel_ETA", "transform": "angle"},
            {"name": "p", "branch": "Brunel_P", "transform": "log"},
            TRACK_TARGETS[1],
        ]
    },
    "atom that is no binary fraction": {
        "targets": [{"name": "RichDLLk", "atoms": [-999.0, 0.1]}, {"name": "RichDLLp", "atoms": [-999.0]}]
    },
}


@pytest.mark.parametrize("case", CASES)
def test_compact_generator_is_the_generator(case: str) -> None:
    config = tracks_config(**CASES[case])
    generator = tracks_generator(config, n=2000).eval()
    if case == "angle":  # angles in all directions
        for column in (0, 3):
            generator.network.last.weight.data[column] *= 20
    rng = np.random.default_rng(1)
    columns = [
        rng.choice(list(c.categories.values()), 1000)
        if c.categories
        else rng.uniform(0.9 * low, 1.1 * high, 1000)
        for c, (low, high) in zip(config.data.conditions, generator.condition_range.tolist(), strict=True)
    ]
    condition = torch.from_numpy(np.stack(columns, axis=1).astype(np.float32))
    latent = torch.from_numpy(rng.standard_normal((1000, generator.n_latent), dtype=np.float32))
    with torch.no_grad():
        (expected,), (got,) = generator(condition, latent), Compact(generator)(condition, latent)
    error = (got - expected).abs() / torch.maximum(expected.abs(), generator.target_scale)
    if case == "angle":
        turn = 2 * np.pi
        assert (expected[:, 0].min() < 0.1) & (expected[:, 0].max() > turn - 0.1)
        assert ((got[:, 0] >= 0) & (got[:, 0] < turn)).all()
        away = (got[:, 0] - expected[:, 0]).abs()
        error[:, 0] = torch.minimum(away, turn - away)
    assert float(error.max()) < 2e-5, "also outside the trained range"
    for value in (-999.0, 0.0, float(np.float32(0.1))):
        assert torch.equal(got == value, expected == value), "point masses are exact"
    assert (lower(generator).n_passed == 0) == (case == "no atoms")


def test_matrices_have_a_step_between_patterns() -> None:
    generator = tracks_generator(tracks_config(), n=2000)
    low = lower(generator)
    assert low.n_passed == generator.patterns.n_patterns - 1 > 1
    assert low.collect.sum(1).min() >= 2, "every target has a continuous value and atoms to choose from"
    assert np.array_equal(low.gate.bias, low.gate.bias.round()), "gates are exact zeros and ones"
    for passed in np.tri(low.n_passed + 1, low.n_passed, -1):
        gate = low.gate.weight @ passed + low.gate.bias
        assert np.array_equal(low.collect @ gate, np.ones(generator.n_targets)), "one value for each target"
