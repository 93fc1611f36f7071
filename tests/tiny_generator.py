"""Small generators for tests (a few hundred weights), with their configurations and training events."""

from __future__ import annotations

import functools
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from hepgan import toys
from hepgan.config import CaloModelConfig, Config, DataConfig, parse
from hepgan.data.tensors import TensorEvents
from hepgan.geometry import Calorimeter
from hepgan.models import MODELS, CaloGenerator

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


def tiny_showers(*, n: int = 2000) -> TensorEvents:
    """Showers of `tiny_data` with empty cells; energies grow with the incident energy and with the cell's number."""
    rng = torch.Generator().manual_seed(0)
    condition = torch.stack([torch.exp(4 * torch.rand(n, generator=rng)), torch.rand(n, generator=rng)], 1)
    cells = torch.exp(torch.randn(n, 10, generator=rng) + torch.linspace(-2, 2, 10)) * condition[:, :1]
    return TensorEvents(condition, (torch.relu(cells - 4), torch.rand(n, 2, generator=rng)), torch.ones(n))


@functools.cache
def _fitted(statistics: str, latent: int) -> dict[str, Tensor]:
    """All that the fit of a generator with these options changes, which takes seconds."""
    model = CaloModelConfig(statistics=statistics, latent=latent, width=2, depth=1, channels=1)  # type: ignore[arg-type]
    generator = CaloGenerator(tiny_data(), model)
    before = {key: value.clone() for key, value in generator.state_dict().items()}
    generator.fit(tiny_showers(), rng=torch.Generator().manual_seed(0))
    return {key: x for key, x in generator.state_dict().items() if not torch.equal(x, before[key])}


def tiny_calo_generator(model: CaloModelConfig, *, moved: float = 0.3) -> CaloGenerator:
    """The generator of showers fitted to `tiny_showers`, with every weight moved as after some training."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        fitted = _fitted(model.statistics, model.latent)
        torch.manual_seed(0)
        generator = CaloGenerator(tiny_data(), model)
        generator.load_state_dict(fitted, strict=False)
        with torch.no_grad():
            for parameter in generator.parameters():
                parameter.add_(moved * torch.randn_like(parameter))
    return generator


class TinyGenerator(nn.Module):
    """Generate sparse, non-negative cells that grow with the energy (the first condition)."""

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


TRACK_CONDITIONS: list[dict[str, Any]] = [
    {"name": "Brunel_P", "unit": "MeV/c", "transform": "log"},
    {"name": "probe_PDG", "transform": "category", "categories": {"p": 2212, "pi": 211, "K": 321}},
    {"name": "Brunel_ETA", "transform": "linear"},
    {"name": "nTracks_Brunel", "transform": "linear", "integer": True},
]
TRACK_TARGETS: list[dict[str, Any]] = [
    {"name": "RichDLLe", "atoms": [-999.0]},
    {"name": "RichDLLk", "atoms": [0.0, -999.0]},
    {"name": "RichDLLp", "atoms": [-999.0, 0.0]},
]


def tracks_config(*, model: dict[str, Any] | None = None, **data: Any) -> Config:
    """Three DLLs with sentinels and ties, given momentum, species, pseudorapidity and occupancy."""
    settings = {
        "files": ["none.root"],
        "conditions": TRACK_CONDITIONS,
        "targets": TRACK_TARGETS,
        "ties": True,
    }
    size = {"width": 8, "depth": 2, "hinges": 6, "knots": 17}
    return parse({"data": settings | data, "model": size | ({"latent": 4} if model is None else model)})


def tracks_events(config: Config, *, n: int = 4000) -> TensorEvents:
    """Tracks of the toy RICH, as `config` describes them."""
    arrays = toys.rich_tracks(n, rng=np.random.default_rng(3), species=["pi", "K", "p"])
    condition, targets = (
        torch.from_numpy(np.stack([arrays[c.expression] for c in columns], axis=1).astype(np.float32))
        for columns in (config.data.conditions, config.data.targets)
    )
    return TensorEvents(condition, (targets,), torch.ones(n))


def tracks_generator(config: Config, *, n: int = 4000, moved: float = 0.1) -> Any:
    """The generator fitted to the toy RICH, with every weight of its network moved as after some training."""
    with torch.random.fork_rng(), mock.patch("hepgan.models.tracks._CHANCE_STEPS", 50):
        torch.manual_seed(2)
        generator = MODELS[config.model.name].generator(config.data, config.model)
        generator.fit(tracks_events(config, n=n), rng=torch.Generator().manual_seed(4))
        with torch.no_grad():
            for weight in generator.network.parameters():
                weight.add_(moved * torch.randn_like(weight))
    return generator
