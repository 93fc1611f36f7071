"""Shower shapes: observables of one shower (depth, widths, occupancy, ...), computed from its cell energies.

`ShowerShapes` computes them as one differentiable module, so that critic, evaluation and report share one definition.
Definitions follow CaloGAN (arXiv:1705.02355, section 4), but the shapes of a layer refer to the energy of that layer
and not to the total.

`challenge_low_level` and `challenge_high_level` are the inputs of the classifiers of the CaloChallenge
(arXiv:2410.21611) and of its FPD and KPD; use them for values that are compared with published ones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hepgan.geometry import AXES, CaloLayer, Calorimeter

__all__ = [
    "ShowerShapes",
    "challenge_high_level",
    "challenge_high_level_names",
    "challenge_low_level",
]

_TINY = 1e-12  # in the unit of the cells; makes 0/0 zero, and is far below any deposit

# Added under square roots, whose derivative would be infinite at zero:
_WIDTH_FLOOR = {
    "mm": 1e-2,
    "": 1e-6,
}  # to the variance within a layer (unit of length squared); showers of one cell
_MASS_FLOOR = 1e-6  # to the squared mass of a jet, relative to its squared energy; massless jets
_DEPTH_FLOOR = 1e-6  # to the variance of the depth (layers squared); showers in one layer

# From the code of the CaloChallenge (github.com/CaloChallenge/homepage, folder code/):
_CHALLENGE_ENERGY = 1e-8  # MeV; added to energies under the logarithm
_CHALLENGE_LENGTH = 100.0  # mm; unit of centres and widths
_CHALLENGE_TINY = 1e-16  # MeV; makes 0/0 zero


class ShowerShapes(nn.Module):
    r"""Compute the shower shapes of batches of showers.

    Shapes of the shower: response :math:`E_{tot} / E_{inc}` (with overflow), depth
    :math:`s_d = \sum_l l E_l / \sum_l E_l` (in layers) and its width. Shapes of a layer with cell energies :math:`e_i`
    at :math:`(x_i, y_i)`, brightest first, and sum :math:`E_l`: the energy itself, fraction :math:`E_l / \sum_l E_l`,
    centre :math:`\langle x \rangle = \sum_i e_i x_i / E_l`, lateral width
    :math:`\sqrt{\langle x^2 \rangle - \langle x \rangle^2}`, occupancy (share of cells above threshold), brightest
    share :math:`e_1 / E_l` and energy ratio :math:`(e_1 - e_2)/(e_1 + e_2)`. All shapes of an empty layer are zero but
    the widths, which have a floor (0.1 mm, added in quadrature).

    If all layers are in eta and phi, the cells hold transverse momenta and together are a jet, with the mass
    :math:`\sqrt{(\sum E)^2 - (\sum \vec p)^2}` and the transverse momentum :math:`|\sum \vec p_T|`; each cell counts
    as a massless particle at its centre (arXiv:1701.05927, section 4).

    Args:
        calorimeter: The geometry.
        n_overflow: Number of overflow energies per shower: one per layer, or 0.
        threshold: A cell counts as hit above this energy (unit of the cells).
        softness: If positive, the occupancy passes a gradient: its value stays the share of hit cells, its derivative
            is that of 1 - exp(-e / softness) (straight-through estimator, arXiv:1308.3432; unit of the cells).

    Attributes:
        names: Name of each shape, in order of the columns.
        units: Unit of each shape ("" for dimensionless ones).

    Raises:
        ValueError: If the number of overflow energies does not fit the geometry.

    Example:
        >>> from hepgan.geometry import Calorimeter
        >>> layer = {"shape": (3, 4), "x": (-30, 30), "y": (-40, 40), "z": (0, 10)}
        >>> shapes = ShowerShapes(Calorimeter.from_dicts([layer]))
        >>> values = shapes(torch.ones(5, 12), torch.zeros(5, 0), torch.full((5,), 24.0))
        >>> values.shape, shapes.names[0], values[0, 0].item()
        (torch.Size([5, 12]), 'response', 0.5)
    """

    centres: Tensor  # (n_cells, 3) mm, or eta and phi in the place of x and y
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
        """Compute all shapes.

        Args:
            cells: (B, n_cells) energies.
            overflow: (B, n_overflow) energies outside the window of each layer.
            incident_energy: (B,) in the unit of the cells.

        Returns:
            (B, n_shapes) values in the units of `units`.
        """
        rows, slices = cells.T, self.calorimeter.slices()
        layer_energy = torch.stack([rows[s].sum(0) for s in slices])
        visible = layer_energy.sum(0)
        fraction = layer_energy / (visible + _TINY)
        number = torch.arange(len(slices), dtype=cells.dtype, device=cells.device)[:, None]
        depth = (fraction * number).sum(0)
        spread = (fraction * (number - depth) ** 2).sum(0)
        total = visible + overflow.sum(1)
        parts = [torch.stack([total / incident_energy, depth, torch.sqrt(spread + _DEPTH_FLOOR)])]
        parts += [layer_energy, fraction, overflow.T]
        for s, layer, floor in zip(slices, self.calorimeter.layers, self.floors, strict=True):
            columns = self._layer_shapes(rows[s], self.centres[s], layer, floor)
            parts.append(torch.stack(columns))
        if self.jets:
            parts.append(torch.stack(self._jet_shapes(cells)))
        return torch.cat(parts).T

    def _jet_shapes(self, momenta: Tensor) -> list[Tensor]:
        """Mass and transverse momentum, each (B,), of cells with (B, n_cells) transverse momenta."""
        eta, phi = self.centres[:, 0], self.centres[:, 1]
        axes = torch.stack([torch.cosh(eta), torch.sinh(eta), torch.cos(phi), torch.sin(phi)], 1)
        energy, along, x, y = (momenta @ axes).unbind(1)
        transverse = x**2 + y**2
        square = torch.relu((energy - along) * (energy + along) - transverse) + _MASS_FLOOR * energy**2
        return [torch.sqrt(square + _TINY), torch.sqrt(transverse + _TINY)]

    def _layer_shapes(self, energy: Tensor, centres: Tensor, layer: CaloLayer, floor: float) -> list[Tensor]:
        """Shapes `_LAYER_SHAPES`, each (B,), of (n, B) energies of the cells of a layer at (n, 3) centres."""
        total = energy.sum(0)
        inverse = 1 / (total + _TINY)
        columns = []
        for axis in (0, 1):
            if layer.coordinates == "polar":
                position, share = centres[:, axis, None], energy * inverse
            else:  # all cells of a row have the same x, all of a column the same y
                sums = energy.reshape(*layer.shape, -1).sum(1 - axis)
                position, share = (
                    centres[:, axis].reshape(layer.shape).select(1 - axis, 0)[:, None],
                    sums * inverse,
                )
            mean = (share * position).sum(0)
            variance = (share * (position - mean) ** 2).sum(0)
            columns += [mean, torch.sqrt(variance + floor)]
        occupancy = (energy > self.threshold).to(energy.dtype).mean(0)
        if self.soft and torch.is_grad_enabled():
            smooth = (1 - torch.exp(-energy / self.softness)).mean(0)
            occupancy = occupancy + smooth - smooth.detach()
        first, place = energy.max(0, keepdim=True)
        others = energy.scatter(0, place, -1.0) if len(energy) > 1 else energy * 0
        first, second = first[0], others.amax(0)
        ratio = (first - second) / (first + second + _TINY)
        return [*columns, occupancy, first * inverse, ratio]


_LENGTHS = ("centre_x", "width_x", "centre_y", "width_y")
_LAYER_SHAPES = (*_LENGTHS, "occupancy", "brightest_share", "energy_ratio")
_JET_SHAPES = ("jet_mass", "jet_pt")


def _above(cells: Tensor, threshold: float) -> Tensor:
    """Cell energies, zero if below the threshold."""
    return torch.where(cells < threshold, 0.0, cells)


def challenge_low_level(cells: Tensor, incident_energy: Tensor, *, threshold: float = 0.0) -> Tensor:
    """Inputs of the low-level classifier of the CaloChallenge: cell energies relative to the incident energy.

    Args:
        cells: (B, n_cells) energies; in MeV, if the result is compared with published values.
        incident_energy: (B,) in the unit of the cells.
        threshold: Energy below which a cell counts as empty (unit of the cells). The challenge uses 1 MeV in data set
            1, 15.15 keV in data sets 2 and 3.

    Returns:
        (B, 1 + n_cells): log10 of the incident energy, then e / E_inc of each cell.
    """
    shares = _above(cells, threshold) / incident_energy[:, None]
    return torch.cat([torch.log10(incident_energy)[:, None], shares], dim=1)


def _transverse(calorimeter: Calorimeter) -> list[int]:
    """Indices of the layers whose cells have x and y: all but polar layers that are not segmented in the angle."""
    return [
        k for k, layer in enumerate(calorimeter.layers) if layer.coordinates != "polar" or layer.shape[0] > 1
    ]


def challenge_high_level(
    cells: Tensor, incident_energy: Tensor, calorimeter: Calorimeter, *, threshold: float = 0.0
) -> Tensor:
    r"""Inputs of the high-level classifier of the CaloChallenge: its own set of shower shapes.

    In this order: :math:`\log_{10} E_{inc}`; :math:`\log_{10}(E_l + 10^{-8})` of each layer; centres of energy in x,
    then in y, then widths in x, then in y, of each layer that is segmented around the axis;
    :math:`\log_{10}(E_{tot} + 10^{-8})`; share of empty cells of each layer; radial centres, then radial widths, of
    each layer. Centres and widths are in units of 100 mm, and 0 for an empty layer. The challenge calls x and y eta
    and phi.

    Args:
        cells: (B, n_cells) energies; in MeV, if the result is compared with published values.
        incident_energy: (B,) in the unit of the cells.
        calorimeter: The geometry. Cells of polar layers are placed at the middle of their ring and angle.
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
    centres, widths = zip(*radial, strict=True)
    columns += [value / _CHALLENGE_LENGTH for value in (*centres, *widths)]
    return torch.stack(columns, dim=1)


def _centre_and_width(energy: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (B,) of (n,) positions, weighted with (B, n) energies."""
    share = energy / (energy.sum(1) + _CHALLENGE_TINY)[:, None]
    centre = share @ position
    return centre, torch.sqrt((share * (position - centre[:, None]) ** 2).sum(1))


def challenge_high_level_names(calorimeter: Calorimeter) -> list[str]:
    """Names of the columns of `challenge_high_level`, in order."""
    layers = calorimeter.names
    segmented = [layers[k] for k in _transverse(calorimeter)]
    return [
        "log_incident_energy",
        *(f"log_energy_{n}" for n in layers),
        *(f"{shape}_{n}" for shape in ("centre_x", "centre_y", "width_x", "width_y") for n in segmented),
        "log_energy",
        *(f"{shape}_{n}" for shape in ("sparsity", "centre_r", "width_r") for n in layers),
    ]
