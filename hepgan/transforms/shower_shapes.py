"""Shower shapes: the numbers by which physicists tell showers apart.

`ShowerShapes` computes them all from flat cell energies, as one differentiable module, so that the same
definitions serve the critic, the evaluation and the report. Definitions follow CaloGAN (arXiv:1705.02355,
section 4) with the layer energy, not the total, as the reference of a layer's own shapes.

`challenge_low_level` and `challenge_high_level` are what the classifiers of the CaloChallenge (arXiv:2410.21611) see,
and what its FPD and KPD are made of: for values that can be compared with published ones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hepgan.geometry import AXES, Calorimeter

__all__ = [
    "ShowerShapes",
    "challenge_high_level",
    "challenge_high_level_names",
    "challenge_low_level",
]

_TINY = 1e-12  # keeps 0/0 at 0; far below any deposit relative to a shower's energy
_WIDTH_FLOOR = {  # by the unit of length, squared; keeps the slope of the square root finite for showers of one cell
    "mm": 1e-2,
    "": 1e-6,
}
_MASS_FLOOR = 1e-6  # of the squared energy of a jet; likewise
_DEPTH_FLOOR = 1e-6  # layers^2; likewise, for showers in one layer

_CHALLENGE_ENERGY = (
    1e-8  # added to energies under the logarithm; as all below from CaloChallenge/homepage, code/
)
_CHALLENGE_LENGTH = 100.0  # mm; unit of centres and widths
_CHALLENGE_TINY = 1e-16  # MeV; keeps 0/0 at 0


class ShowerShapes(nn.Module):
    r"""Shower-shape features of batches of showers.

    For a layer with cell energies :math:`e_i` at :math:`(x_i, y_i)` and sum :math:`E_l`:
    fraction :math:`E_l / \sum_l E_l`, centre :math:`\langle x \rangle = \sum e_i x_i / E_l`, lateral width
    :math:`\sqrt{\langle x^2 \rangle - \langle x \rangle^2}`, occupancy (share of cells above threshold),
    brightest share :math:`e_1 / E_l` and energy ratio :math:`(e_1 - e_2)/(e_1 + e_2)` of the two brightest
    cells. For the shower: response :math:`E_{tot} / E_{inc}` (with overflow), depth
    :math:`s_d = \sum_l l E_l / \sum_l E_l` and its width. An empty layer has all shapes zero, widths at
    their floor (0.1 mm, which is added in quadrature).

    If all layers are in eta and phi, the cells hold transverse momenta, and the jet that they are together has a mass
    :math:`\sqrt{(\sum E)^2 - (\sum \vec p)^2}` and a transverse momentum :math:`|\sum \vec p_T|`, each cell being
    massless and at its centre (arXiv:1701.05927, section 4).

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
        coordinates = [layer.coordinates for layer in calorimeter.layers]
        self.floors = [_WIDTH_FLOOR[AXES[c].across] for c in coordinates]
        self.jets = set(coordinates) == {"eta-phi"}
        layers = calorimeter.names
        self.names = ["response", "depth", "depth_width"]
        self.units = ["", "", ""]
        for prefix, unit in (("energy", calorimeter.unit), ("fraction", "")):
            self.names += [f"{prefix}_{name}" for name in layers]
            self.units += [unit] * len(layers)
        if n_overflow:
            self.names += [f"overflow_{name}" for name in layers]
            self.units += [calorimeter.unit] * len(layers)
        for name, c in zip(layers, coordinates, strict=True):
            self.names += [f"{shape}_{name}" for shape in _LAYER_SHAPES]
            self.units += [AXES[c].across if shape in _LENGTHS else "" for shape in _LAYER_SHAPES]
        if self.jets:
            self.names += _JET_SHAPES
            self.units += [calorimeter.unit] * len(_JET_SHAPES)

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
        for s, floor in zip(slices, self.floors, strict=True):
            columns += self._layer_shapes(cells[:, s], self.centres[s], floor)
        if self.jets:
            columns += self._jet_shapes(cells)
        return torch.stack(columns, 1)

    def _jet_shapes(self, momenta: Tensor) -> list[Tensor]:
        eta, phi = self.centres[:, 0], self.centres[:, 1]
        axes = torch.stack([torch.cosh(eta), torch.sinh(eta), torch.cos(phi), torch.sin(phi)], 1)
        energy, along, x, y = (momenta @ axes).unbind(1)
        transverse = x**2 + y**2
        square = torch.relu((energy - along) * (energy + along) - transverse) + _MASS_FLOOR * energy**2
        return [torch.sqrt(square + _TINY), torch.sqrt(transverse + _TINY)]

    def _layer_shapes(self, energy: Tensor, centres: Tensor, floor: float) -> list[Tensor]:
        total = energy.sum(1)
        share = energy / (total + _TINY)[:, None]
        columns = []
        for axis in (0, 1):
            position = centres[:, axis]
            mean = share @ position
            variance = (share * (position - mean[:, None]) ** 2).sum(1)
            columns += [mean, torch.sqrt(variance + floor)]
        occupancy = (energy > self.threshold).to(energy.dtype).mean(1)
        if self.soft:
            smooth = (1 - torch.exp(-energy / self.softness)).mean(1)
            occupancy = occupancy + smooth - smooth.detach()
        brightest = torch.topk(energy, min(2, energy.shape[1]), dim=1).values
        first, second = brightest[:, 0], brightest[:, -1] if energy.shape[1] > 1 else brightest[:, 0] * 0
        ratio = (first - second) / (first + second + _TINY)
        return [*columns, occupancy, first / (total + _TINY), ratio]


_LENGTHS = ("centre_x", "width_x", "centre_y", "width_y")
_LAYER_SHAPES = (*_LENGTHS, "occupancy", "brightest_share", "energy_ratio")
_JET_SHAPES = ("jet_mass", "jet_pt")


def _above(cells: Tensor, threshold: float) -> Tensor:
    return torch.where(cells < threshold, 0.0, cells)


def challenge_low_level(cells: Tensor, incident_energy: Tensor, *, threshold: float = 0.0) -> Tensor:
    """Inputs of CaloChallenge's low-level classifier: log10 of the incident energy, and each cell's share of it.

    Args:
        cells: (B, n_cells) energies; MeV, for values that can be compared.
        incident_energy: (B,) in the unit of the cells.
        threshold: Cells below are empty (cell unit). The challenge's: 1 MeV in data set 1, 15.15 keV in 2 and 3.

    Returns:
        (B, 1 + n_cells).
    """
    shares = _above(cells, threshold) / incident_energy[:, None]
    return torch.cat([torch.log10(incident_energy)[:, None], shares], dim=1)


def _transverse(calorimeter: Calorimeter) -> list[int]:
    """Layers that are segmented around the axis: where a polar layer is not, its cells have no x and y."""
    return [
        k for k, layer in enumerate(calorimeter.layers) if layer.coordinates != "polar" or layer.shape[0] > 1
    ]


def challenge_high_level(
    cells: Tensor, incident_energy: Tensor, calorimeter: Calorimeter, *, threshold: float = 0.0
) -> Tensor:
    r"""Inputs of CaloChallenge's high-level classifier: its shower shapes.

    In this order: :math:`\log_{10} E_{inc}`; :math:`\log_{10}(E_l + 10^{-8})` of each layer; centres of energy in eta,
    then in phi, then the widths in eta, then in phi, of each layer that is segmented around the axis;
    :math:`\log_{10}(E_{tot} + 10^{-8})`; share of empty cells of each layer; radial centre, then radial width, of each
    layer. Centres and widths in units of 100 mm, 0 for an empty layer. What the challenge calls eta and phi are the
    transverse x and y in mm.

    Args:
        cells: (B, n_cells) energies; MeV, for values that can be compared.
        incident_energy: (B,) in the unit of the cells.
        calorimeter: The geometry. In polar layers a cell is in the middle of its ring and angle.
        threshold: As in `challenge_low_level`.

    Returns:
        (B, n_features), named by `challenge_high_level_names`.
    """
    cells = _above(cells, threshold)
    shapes = ShowerShapes(calorimeter).to(cells)
    values = shapes(cells, cells.new_zeros(len(cells), 0), incident_energy)
    column = dict(zip(shapes.names, values.unbind(1), strict=True))
    names = calorimeter.names
    radius = torch.linalg.vector_norm(shapes.centres[:, :2], dim=1)
    radial = [_centre_and_width(cells[:, s], radius[s]) for s in calorimeter.slices()]
    segmented = [names[k] for k in _transverse(calorimeter)]

    def log_energy(energy: Tensor) -> Tensor:
        return torch.log10(energy + _CHALLENGE_ENERGY)

    def width(name: str) -> Tensor:
        return torch.sqrt((column[name] ** 2 - _WIDTH_FLOOR["mm"]).clamp(min=0.0))

    columns = [torch.log10(incident_energy)]
    columns += [log_energy(column[f"energy_{n}"]) for n in names]
    columns += [column[f"centre_{axis}_{n}"] / _CHALLENGE_LENGTH for axis in "xy" for n in segmented]
    columns += [width(f"width_{axis}_{n}") / _CHALLENGE_LENGTH for axis in "xy" for n in segmented]
    columns += [log_energy(cells.sum(1))]
    columns += [1 - column[f"occupancy_{n}"] for n in names]
    columns += [value / _CHALLENGE_LENGTH for which in (0, 1) for value in (r[which] for r in radial)]
    return torch.stack(columns, dim=1)


def _centre_and_width(energy: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    share = energy / (energy.sum(1) + _CHALLENGE_TINY)[:, None]
    centre = share @ position
    return centre, torch.sqrt((share * (position - centre[:, None]) ** 2).sum(1))


def challenge_high_level_names(calorimeter: Calorimeter) -> list[str]:
    """Names of the columns of `challenge_high_level`."""
    layers = calorimeter.names
    segmented = [layers[k] for k in _transverse(calorimeter)]
    return [
        "log_incident_energy",
        *(f"log_energy_{n}" for n in layers),
        *(f"{shape}_{n}" for shape in ("centre_x", "centre_y", "width_x", "width_y") for n in segmented),
        "log_energy",
        *(f"{shape}_{n}" for shape in ("sparsity", "centre_r", "width_r") for n in layers),
    ]
