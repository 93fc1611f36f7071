r"""Energies of a shower to dimensionless variables and back, with energy sums conserved.

A calorimeter shower becomes standard normal numbers in two invertible steps:

1. `ShowerScaling`: energies to dimensionless logarithms (formulas there). The inverse rebuilds the layer energies from
   the total energy, and the overflow and the cells from their layer, so that sums are conserved for any network
   output; :math:`\max(0, e^y - 1)` gives exact zeros.
2. `hepgan.transforms.energy.ConditionalQuantile`: each variable to a number that is standard normal at every incident
   energy. A latent normal number per cell then already has the cell's spectrum and occupancy; the network only learns
   how cells fluctuate together.

The offset :math:`\epsilon` of the logarithms is an absolute energy, because the smallest deposits of a detector are
absolute; occupancy then follows the incident energy as in the data.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hepgan.errors import DataError
from hepgan.geometry import Calorimeter
from hepgan.transforms.kernels import usable
from hepgan.transforms.quantiles import TINY
from hepgan.transforms.shower_kernels import MOST_LAYERS, ShowerSettings, energies

__all__ = ["ShowerScaling"]

_LEAST = 1e-3  # smallest log(1 + e/offset) of the brightest cell of a layer: an energy of 0.1 % of the offset
_OFFSET_QUANTILE = 0.05  # the offset is this quantile of the non-zero deposits
_OFFSET_DEPOSITS = 1_000_000  # about as many deposits are used for it


class ShowerScaling(nn.Module):
    r"""Map the energies of a shower to dimensionless variables and back, with sums conserved.

    With the energy :math:`E_l` (overflow included) and overflow :math:`O_l` of layer l, cell energies e and the offset
    :math:`\epsilon`, the variables are, in this order:

    - response :math:`c = E_{tot} / E_{inc}`,
    - :math:`\log(1 + E_l/\epsilon)` of all layers but the most energetic one, in order of mean energy,
    - :math:`\log(1 + O_l/\epsilon)` of each layer, if there is overflow,
    - :math:`\log(1 + e/\epsilon)` of each cell.

    The floor of all but the first is 0.

    Args:
        calorimeter: The geometry.
        n_overflow: Number of overflow energies: one per layer, or 0.
        order: Indices of the layers from the least to the most energetic; `fit` sets it.
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
        """Number of variables that are not cells: response, layer energies, overflow."""
        return self.calorimeter.n_layers + self.n_overflow

    @property
    def n_variables(self) -> int:
        """Number of all variables."""
        return self.n_global + self.calorimeter.n_cells

    def fit(self, cells: Tensor, overflow: Tensor, weights: Tensor) -> None:
        """Set the offset and the order of the layers.

        The offset is the 5 % quantile of the non-zero deposits (without weights).

        Args:
            cells: (N, n_cells) energies.
            overflow: (N, n_overflow) energies.
            weights: (N,).

        Raises:
            DataError: If all cells are empty.
        """
        deposits = cells[cells > 0]
        if len(deposits) == 0:
            raise DataError("cells: expected deposits, got only zeros; check the branches of the layers")
        sample = deposits[:: max(1, len(deposits) // _OFFSET_DEPOSITS)]
        self.offset.copy_(torch.quantile(sample.double(), _OFFSET_QUANTILE))
        mean = weights @ self._layer_energy(cells, overflow)
        self.order = torch.argsort(mean).tolist()

    def _layer_energy(self, cells: Tensor, overflow: Tensor) -> Tensor:
        """Energy of each layer with its overflow, (B, n_layers)."""
        energy = torch.stack([cells.T[s].sum(0) for s in self.calorimeter.slices()]).T
        return energy + overflow if self.n_overflow else energy

    def forward(self, cells: Tensor, overflow: Tensor, incident_energy: Tensor) -> Tensor:
        """Map energies to variables.

        Args:
            cells: (B, n_cells) energies.
            overflow: (B, n_overflow) energies, in the unit of the cells.
            incident_energy: (B,) in the unit of the cells.

        Returns:
            (B, n_variables) dimensionless variables, with the batch innermost in memory.
        """
        energy = self._layer_energy(cells, overflow).T
        response = energy.sum(0, keepdim=True) / incident_energy
        parts = torch.cat([energy[self.order[:-1]], overflow.T, cells.T])
        return torch.cat([response, torch.log1p(parts / self.offset)]).T

    def inverse(self, variables: Tensor, incident_energy: Tensor) -> tuple[Tensor, Tensor]:
        """Map variables back to energies, all >= 0, for any values of the variables.

        Args:
            variables: (B, n_variables).
            incident_energy: (B,).

        Returns:
            Cells (B, n_cells) and overflow (B, n_overflow), in the unit of the incident energy, with the batch
            innermost in memory.
        """
        if self.calorimeter.n_layers <= MOST_LAYERS and usable(variables, incident_energy):
            settings = ShowerSettings(
                self.calorimeter, tuple(self.order), self.n_overflow > 0, float(self.offset)
            )
            inside, outside = energies(variables.T, incident_energy, settings)
            return inside.T, outside.T
        n_global, rows = self.n_global, variables.T
        within, overflow = self._within(rows, incident_energy)
        cells = []
        for inside, s in zip(within, self.calorimeter.slices(), strict=True):
            logs = rows[n_global:][s]
            # if all cells of a layer are below the floor, raise them until the brightest one can take the energy
            logs = logs - torch.clamp(logs.amax(0, keepdim=True) - _LEAST, max=0)
            raw = torch.relu(torch.exp(logs) - 1)
            cells.append(raw * (inside / (raw.sum(0, keepdim=True) + TINY)))
        return torch.cat(cells).T, overflow.T

    def layer_logs(self, variables: Tensor, incident_energy: Tensor) -> Tensor:
        r"""Map the first variables to :math:`\log(1 + E/\epsilon)` of the layers and the particle.

        The energy E of a layer is that of all its cells together.

        Args:
            variables: (B, n_global or more).
            incident_energy: (B,).

        Returns:
            (n_layers + 1, B), the incident energy last.
        """
        within, _ = self._within(variables.T, incident_energy)
        return torch.log(torch.cat([*within, incident_energy[None]]) / self.offset + 1)

    def _within(self, rows: Tensor, incident_energy: Tensor) -> tuple[list[Tensor], Tensor]:
        """Energies (1, B) that the cells of each layer hold together, and overflow (n_overflow, B)."""
        layers, n_global = self.calorimeter.n_layers, self.n_global
        total = torch.relu(rows[:1]) * incident_energy
        parts = torch.relu(torch.exp(rows[1:n_global]) - 1) * self.offset
        energy: list[Tensor] = [total] * layers
        remaining = total
        for k, layer in enumerate(self.order[:-1]):
            energy[layer] = torch.minimum(parts[k : k + 1], remaining)
            remaining = remaining - energy[layer]
        energy[self.order[-1]] = remaining
        overflow = parts[layers - 1 :]
        if self.n_overflow:
            overflow = torch.minimum(overflow, torch.cat(energy))
            energy = [
                inside - outside for inside, outside in zip(energy, torch.split(overflow, 1), strict=True)
            ]
        return energy, overflow

    def get_extra_state(self) -> Tensor:
        """Order of the layers, saved with the weights."""
        return torch.tensor(self.order)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the order of the layers."""
        self.order = [int(k) for k in state]
