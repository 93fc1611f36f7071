"""Toy showers around an axis: hits above an edge, more of them in layers of more energy, leaning to one side."""

from __future__ import annotations

import math
from typing import Any

import torch

from hepgan.config import CaloModelConfig, parse
from hepgan.data.tensors import TensorEvents
from hepgan.geometry import Calorimeter
from hepgan.models.showers import CaloGenerator

ANGLES, LAYERS = 8, 3
EDGE = 0.05  # MeV, smallest deposit


def layers() -> list[dict[str, Any]]:
    turn = [-math.pi, math.pi]
    return [
        {"shape": [ANGLES, 3], "x": turn, "y": [0.0, 30.0], "z": [k, k + 1.0], "coordinates": "polar"}
        for k in range(LAYERS)
    ]


CALORIMETER = Calorimeter.from_dicts(layers())


def showers(n: int, seed: int = 0) -> TensorEvents:
    """Hits of `EDGE` and more, their number following the energy of the layer; showers lean to one side."""
    rng = torch.Generator().manual_seed(seed)
    energy = torch.exp(torch.rand(n, generator=rng) * 2 + 5)
    side = torch.rand(n, 1, 1, 1, generator=rng) * 2 * math.pi
    alpha = 2 * math.pi * (torch.arange(ANGLES) + 0.5).reshape(1, 1, -1, 1) / ANGLES - math.pi
    late = torch.exp(0.4 * torch.randn(n, LAYERS, 1, 1, generator=rng))
    radial = torch.tensor([1.0, 0.3, 0.05]).reshape(1, 1, 1, -1)
    mean = 0.003 * energy[:, None, None, None] * late * radial * torch.exp(0.8 * torch.cos(alpha - side))
    hit = torch.rand(mean.shape, generator=rng) < 1 - torch.exp(-mean)
    deposit = EDGE + mean * torch.empty(mean.shape).exponential_(generator=rng)
    cells = (hit * deposit).flatten(1)
    overflow = 0.01 * energy[:, None] * torch.rand(n, LAYERS, generator=rng)
    return TensorEvents(energy[:, None], (cells, overflow), torch.ones(n))


DATA = parse(
    {
        "data": {
            "files": ["x.root"],
            "conditions": [{"name": "incident_energy", "unit": "MeV", "transform": "log"}],
            "calorimeter": {
                "branches": [f"layer_{k}" for k in range(LAYERS)],
                "overflow": "overflow",
                "layers": layers(),
            },
        }
    }
).data


def ring_generator(events: TensorEvents) -> CaloGenerator:
    """A small generator that starts from these showers."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        generator = CaloGenerator(DATA, CaloModelConfig(statistics="rings", latent=8, width=8, channels=1))
    generator.fit(events, rng=torch.Generator().manual_seed(1))
    return generator
