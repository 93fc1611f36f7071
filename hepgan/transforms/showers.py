r"""Energies of a shower to dimensionless numbers and back.

The chain for a calorimeter shower has two invertible steps:

1. `ShowerScaling`: energies -> dimensionless logarithms. Response :math:`c = E_{tot}/E_{inc}`; energy of each layer
   but the main one, :math:`\log(1 + D_l/\epsilon)`, overflow of each layer and energy of each cell likewise. The way
   back rebuilds the layers from the total, the overflow and the cells from their layer, so that sums are
   conserved whatever the network says, and :math:`\max(0, e^y - 1)` gives exact zeros.
2. `ConditionalQuantile`: each of these variables -> a number that is standard normal at every incident energy.
   A latent normal number per cell therefore already has the cell's spectrum and occupancy; the network learns what
   is left: how cells fluctuate together.

The offset :math:`\epsilon` is an absolute energy, because the smallest deposits of a detector are: it makes
occupancy follow the incident energy as it should.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hepgan.geometry import Calorimeter
from hepgan.transforms.quantiles import TINY

__all__ = ["ShowerScaling"]

_LEAST = 1e-3  # log(1 + e/offset) of the brightest cell of a layer, at least: an energy of a per mille of the offset


class ShowerScaling(nn.Module):
    r"""Energies of a shower <-> dimensionless variables, with sums conserved on the way back.

    Variables, in this order: response :math:`c = E_{tot}/E_{inc}`; for each layer but the main one, from the least
    to the most energetic, :math:`\log(1 + D_l/\epsilon)` of its energy with overflow; for each layer (if there is
    overflow) :math:`\log(1 + O_l/\epsilon)`; for each cell :math:`\log(1 + e/\epsilon)`. Zero is the floor of all
    but the first.

    Args:
        calorimeter: The geometry.
        n_overflow: Overflow numbers: one a layer, or 0.
    """

    offset: Tensor

    def __init__(self, calorimeter: Calorimeter, *, n_overflow: int, order: list[int] | None = None) -> None:
        super().__init__()
        self.calorimeter = calorimeter
        self.n_overflow = n_overflow
        self.order = order if order is not None else list(range(calorimeter.n_layers))
        self.register_buffer("offset", torch.ones(()))

    @property
    def n_global(self) -> int:
        """Variables that are not cells."""
        return self.calorimeter.n_layers + self.n_overflow

    @property
    def n_variables(self) -> int:
        """All variables."""
        return self.n_global + self.calorimeter.n_cells

    def fit(self, cells: Tensor, overflow: Tensor, weights: Tensor) -> None:
        """Choose the offset (5 % quantile of the non-zero deposits, without weights) and the order of the layers.

        Raises:
            ValueError: If all cells are empty.
        """
        deposits = cells[cells > 0]
        if len(deposits) == 0:
            raise ValueError("cells: expected deposits, got only zeros; check the branches of the layers")
        sample = deposits[:: max(1, len(deposits) // 1_000_000)]
        self.offset.copy_(torch.quantile(sample.double(), 0.05))
        mean = weights @ self._layer_energy(cells, overflow)
        self.order = torch.argsort(mean).tolist()

    def _layer_energy(self, cells: Tensor, overflow: Tensor) -> Tensor:
        energy = torch.stack([cells[:, s].sum(1) for s in self.calorimeter.slices()], 1)
        return energy + overflow if self.n_overflow else energy

    def forward(self, cells: Tensor, overflow: Tensor, incident_energy: Tensor) -> Tensor:
        """Map energies to variables.

        Args:
            cells: (B, n_cells).
            overflow: (B, n_overflow).
            incident_energy: (B,) in the unit of the cells.

        Returns:
            (B, n_variables).
        """
        energy = self._layer_energy(cells, overflow)
        response = energy.sum(1, keepdim=True) / incident_energy[:, None]
        parts = torch.cat([energy[:, self.order[:-1]], overflow, cells], 1)
        return torch.cat([response, torch.log1p(parts / self.offset)], 1)

    def inverse(self, variables: Tensor, incident_energy: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, n_variables) back to (B, n_cells) and (B, n_overflow) energies, all >= 0."""
        layers, n_global = self.calorimeter.n_layers, self.n_global
        total = torch.relu(variables[:, :1]) * incident_energy[:, None]
        parts = torch.relu(torch.exp(variables[:, 1:n_global]) - 1) * self.offset
        energy: list[Tensor] = [total] * layers
        remaining = total
        for k, layer in enumerate(self.order[:-1]):
            energy[layer] = torch.minimum(parts[:, k : k + 1], remaining)
            remaining = remaining - energy[layer]
        energy[self.order[-1]] = remaining
        overflow = parts[:, layers - 1 :]
        if self.n_overflow:
            overflow = torch.minimum(overflow, torch.cat(energy, 1))
        cells = []
        for layer, s in enumerate(self.calorimeter.slices()):
            inside = energy[layer] - overflow[:, layer : layer + 1] if self.n_overflow else energy[layer]
            logs = variables[:, n_global:][:, s]
            # a layer whose cells are all below the floor is raised until its brightest cell takes the energy
            logs = logs - torch.clamp(logs.max(1, keepdim=True).values - _LEAST, max=0)
            raw = torch.relu(torch.exp(logs) - 1)
            cells.append(raw * (inside / (raw.sum(1, keepdim=True) + TINY)))
        return torch.cat(cells, 1), overflow

    def get_extra_state(self) -> Tensor:
        """The order of the layers, saved with the weights."""
        return torch.tensor(self.order)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the order of the layers."""
        self.order = [int(k) for k in state]
