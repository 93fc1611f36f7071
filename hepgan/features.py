"""Shower shapes: the numbers by which physicists tell showers apart.

`ShowerShapes` computes them all from flat cell energies, as one differentiable module, so that the same
definitions serve the critic, the evaluation and the report. Definitions follow CaloGAN (arXiv:1705.02355,
section 4) with the layer energy, not the total, as the reference of a layer's own shapes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hepgan.geometry import Calorimeter

__all__ = ["ENERGY_UNITS", "ShowerShapes", "energy_factor"]

ENERGY_UNITS = {"eV": 1e-6, "keV": 1e-3, "MeV": 1.0, "GeV": 1e3, "TeV": 1e6}  # in MeV

_TINY = 1e-12  # keeps 0/0 at 0; far below any deposit relative to a shower's energy
_WIDTH_FLOOR = 1e-2  # mm^2; keeps the slope of the square root finite for showers of one cell
_DEPTH_FLOOR = 1e-6  # layers^2; likewise, for showers in one layer


def energy_factor(source: str, target: str) -> float:
    """Factor from one unit of energy to another.

    Raises:
        ValueError: If a unit is not one of `ENERGY_UNITS`.
    """
    for unit in (source, target):
        if unit not in ENERGY_UNITS:
            raise ValueError(
                f"unit of energy: expected one of {list(ENERGY_UNITS)}, got {unit!r}; change the unit"
            )
    return ENERGY_UNITS[source] / ENERGY_UNITS[target]


class ShowerShapes(nn.Module):
    r"""Shower-shape features of batches of showers.

    For a layer with cell energies :math:`e_i` at :math:`(x_i, y_i)` and sum :math:`E_l`:
    fraction :math:`E_l / \sum_l E_l`, centre :math:`\langle x \rangle = \sum e_i x_i / E_l`, lateral width
    :math:`\sqrt{\langle x^2 \rangle - \langle x \rangle^2}`, occupancy (share of cells above threshold),
    brightest share :math:`e_1 / E_l` and energy ratio :math:`(e_1 - e_2)/(e_1 + e_2)` of the two brightest
    cells. For the shower: response :math:`E_{tot} / E_{inc}` (with overflow), depth
    :math:`s_d = \sum_l l E_l / \sum_l E_l` and its width. An empty layer has all shapes zero, widths at
    their floor (0.1 mm, which is added in quadrature).

    Args:
        calorimeter: The geometry.
        n_overflow: Overflow numbers per shower: one a layer, or 0.
        threshold: A cell counts as hit above this energy (cell unit).
        softness: If positive, the occupancy passes a gradient: its value stays the share of hit cells, its
            derivative is that of 1 - exp(-e / softness) (a straight-through estimator, arXiv:1308.3432; cell unit).

    Attributes:
        names: Name of each feature, in order of the columns.
        units: Unit of each feature ("" where it has none).
    """

    centres: Tensor
    softness: Tensor

    def __init__(
        self,
        calorimeter: Calorimeter,
        *,
        n_overflow: int = 0,
        threshold: float = 0.0,
        softness: float = 0.0,
    ) -> None:
        super().__init__()
        if n_overflow not in (0, calorimeter.n_layers):
            raise ValueError(
                f"overflow: expected one number a layer ({calorimeter.n_layers}) or none, got {n_overflow}"
            )
        self.calorimeter = calorimeter
        self.n_overflow = n_overflow
        self.threshold = threshold
        self.soft = softness > 0
        self.register_buffer("softness", torch.tensor(softness))
        self.register_buffer(
            "centres", torch.tensor(calorimeter.cell_centres, dtype=torch.float32), persistent=False
        )
        layers = calorimeter.names
        self.names = ["response", "depth", "depth_width"]
        self.units = ["", "", ""]
        for prefix, unit in (("energy", calorimeter.unit), ("fraction", "")):
            self.names += [f"{prefix}_{name}" for name in layers]
            self.units += [unit] * len(layers)
        if n_overflow:
            self.names += [f"overflow_{name}" for name in layers]
            self.units += [calorimeter.unit] * len(layers)
        for name in layers:
            for shape, unit in _LAYER_SHAPES:
                self.names.append(f"{shape}_{name}")
                self.units.append(unit)

    def forward(self, cells: Tensor, overflow: Tensor, incident_energy: Tensor) -> Tensor:
        """Compute all features.

        Args:
            cells: (B, n_cells) energies.
            overflow: (B, n_overflow) energies outside the window.
            incident_energy: (B,) in the unit of the cells.

        Returns:
            (B, n_features).
        """
        slices = self.calorimeter.slices()
        layer_energy = torch.stack([cells[:, s].sum(1) for s in slices], 1)
        visible = layer_energy.sum(1)
        fraction = layer_energy / (visible + _TINY)[:, None]
        number = torch.arange(len(slices), dtype=cells.dtype, device=cells.device)
        depth = (fraction * number).sum(1)
        spread = (fraction * (number - depth[:, None]) ** 2).sum(1)
        total = visible + overflow.sum(1)
        columns = [total / incident_energy, depth, torch.sqrt(spread + _DEPTH_FLOOR)]
        columns += [*layer_energy.unbind(1), *fraction.unbind(1), *overflow.unbind(1)]
        for s in slices:
            columns += self._layer_shapes(cells[:, s], self.centres[s])
        return torch.stack(columns, 1)

    def _layer_shapes(self, energy: Tensor, centres: Tensor) -> list[Tensor]:
        total = energy.sum(1)
        share = energy / (total + _TINY)[:, None]
        columns = []
        for axis in (0, 1):
            position = centres[:, axis]
            mean = share @ position
            variance = (share * (position - mean[:, None]) ** 2).sum(1)
            columns += [mean, torch.sqrt(variance + _WIDTH_FLOOR)]
        occupancy = (energy > self.threshold).to(energy.dtype).mean(1)
        if self.soft:
            smooth = (1 - torch.exp(-energy / self.softness)).mean(1)
            occupancy = occupancy + smooth - smooth.detach()
        brightest = torch.topk(energy, min(2, energy.shape[1]), dim=1).values
        first, second = brightest[:, 0], brightest[:, -1] if energy.shape[1] > 1 else brightest[:, 0] * 0
        ratio = (first - second) / (first + second + _TINY)
        return [*columns, occupancy, first / (total + _TINY), ratio]


_LAYER_SHAPES = (
    ("centre_x", "mm"),
    ("width_x", "mm"),
    ("centre_y", "mm"),
    ("width_y", "mm"),
    ("occupancy", ""),
    ("brightest_share", ""),
    ("energy_ratio", ""),
)
