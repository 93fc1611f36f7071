"""A generator of a few hundred weights with the interface of the real ones, and how its data are read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hepgan.config import DataConfig, parse
from hepgan.geometry import Calorimeter

LAYERS: list[dict[str, Any]] = [
    {"shape": [2, 3], "x": [-10.0, 10.0], "y": [-15.0, 15.0], "z": [0.0, 10.0]},
    {"shape": [2, 2], "x": [-10.0, 10.0], "y": [-15.0, 15.0], "z": [10.0, 40.0]},
]
CONDITIONS: list[dict[str, Any]] = [
    {"name": "incident_energy", "unit": "GeV"},
    {"name": "eta", "branch": "angle", "transform": "linear"},
]


def tiny_data(**calorimeter: Any) -> DataConfig:
    """Two conditions, two layers of 6 and 4 cells, overflow; `calorimeter` replaces keys of its table."""
    table = {"branches": ["front", "back"], "overflow": "leak", "layers": LAYERS} | calorimeter
    return parse({"data": {"files": ["none.root"], "conditions": CONDITIONS, "calorimeter": table}}).data


class TinyGenerator(nn.Module):
    """Sparse, non-negative cells that grow with the energy (first condition)."""

    condition_range: Tensor

    def __init__(self, data: DataConfig, *, overflow: bool = True) -> None:
        super().__init__()
        self.calorimeter: Calorimeter = data.calorimeter.calorimeter()
        self.n_latent = 5
        self.n_conditions = len(data.conditions)
        self.n_overflow = self.calorimeter.n_layers if overflow else 0
        self.register_buffer("condition_range", torch.tensor([[1.00004, 64.998], [-0.49996, 0.49991]]))
        with torch.random.fork_rng():
            torch.manual_seed(11)
            self.hidden = nn.Linear(self.n_conditions + self.n_latent, 16)
            self.cells = nn.Linear(16, self.calorimeter.n_cells + self.n_overflow)

    def forward(self, condition: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        scaled = torch.cat([torch.log(condition[:, :1]) / 4, condition[:, 1:]], 1)
        hidden = nn.functional.silu(self.hidden(torch.cat([scaled, latent], 1)))
        energy = torch.relu(torch.exp(self.cells(hidden)) - 1) * condition[:, :1] * 100
        n = self.calorimeter.n_cells
        return energy[:, :n], energy[:, n:]
