r"""Statistical start of showers that follows every condition: direction, position, particle, beside the energy.

Tables of each cell against the energy (`hepgan.transforms.energy.ConditionalQuantile`, `hepgan.models.copula`) would
need one table for each direction and position. Here the statistics of a cell are a smooth function of where it lies
relative to the shower:

- Energies of layers and overflow come first. They have their tables in the incident energy; a network of the
  conditions shifts and stretches their normal numbers, another one correlates them. All cells are then given the
  conditions and the energies of the layers: an early shower has more energy in front, and its centre lies elsewhere.
- A frame that moves with the shower: the expected centre in each layer is a polynomial of second degree in the
  conditions, angles entering as cosine and sine. It contains :math:`x_0 + d \sin\theta \cos\phi` with the depth d.
- For each layer, numbers :math:`h_r = a_r(x) \, b_r(y)`: a is a small network of the distances of the cell's two edges
  in x from three points on the shower's axis and of the conditions, b one of those in y. There are far fewer columns
  and rows than cells.
- Linear in these numbers are the threshold below which the cell is empty, the quantiles of its deposits above it (the
  first one is the edge of the spectrum, counted from the energy of the layer), and the loadings of a Gaussian copula,
  :math:`z \propto \Lambda g + \varepsilon`.

`hepgan.models.start_fit` fits all this once. The networks are buffers, which the training does not change.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hepgan.models.moving_frame import ROUND, Cells, Edges, Frame, Network, positive
from hepgan.transforms.energy import EDGE, LEAST_SPAN, ConditionalQuantile, from_knot, range_above, to_knot
from hepgan.transforms.kernels import run, usable
from hepgan.transforms.quantiles import KNOT_RANGE
from hepgan.transforms.showers import ShowerScaling

__all__ = ["KNOT_BEND", "ConditionalStart", "Inputs"]

KNOT_BEND = 0.9  # of the knots, denser at the edge of the spectrum
_KNOTS = 12  # quantiles of a cell
_DEAD = 2 * KNOT_RANGE  # added to the threshold of cells that are always empty
_SHAPES, _HIDDEN = 24, 32  # numbers h and hidden units of the quantiles
_FACTORS, _FACTOR_HIDDEN = 8, 16  # of the loadings


class Inputs(NamedTuple):
    """What the networks see of B events.

    Args:
        early: (C + 2, B) features of the conditions, and the tilt of the axis.
        common: (C + 2 + L, B): these, and the energies of the layers.
        logs: (L, B) logarithms of the energies of the layers.
        edges: Of the columns and rows of each layer, from `Frame`.
    """

    early: Tensor
    common: Tensor
    logs: Tensor
    edges: list[Edges]


class ConditionalStart(nn.Module):
    """Normal numbers to the variables of a shower, and independent ones to correlated ones, given all conditions.

    Args:
        scaling: What the variables are.
        features: Number C of features of the conditions.
        factors: Number K of shared numbers. At most half of them are for the energies, the others for the cells.
    """

    dead: Tensor
    tilt: Tensor
    tilt_scale: Tensor
    ratio: Tensor
    steps: Tensor
    frames: Any  # of each layer
    quantiles: Any
    loadings: Any

    def __init__(self, scaling: ShowerScaling, *, features: int, factors: int) -> None:
        super().__init__()
        self.calorimeter, self.n_global = scaling.calorimeter, scaling.n_global
        early = min(self.n_global, factors // 2)
        self.factors = [early, factors - early]
        self.pairs = [(i, j) for i in range(features) for j in range(i, features)]
        layers, terms = self.calorimeter.layers, 1 + features + len(self.pairs)
        seen, common = features + 2, features + 2 + len(layers)
        length = abs(layers[-1].depth - layers[0].depth) or 1.0
        self.frames = nn.ModuleList(Frame(x, terms, (x.z[1] - x.z[0]) / 2 / length) for x in layers)
        self.quantiles = nn.ModuleList(Cells(common, _SHAPES, _HIDDEN, 1 + _KNOTS) for _ in layers)
        self.loadings = nn.ModuleList(
            Cells(common, _FACTORS, _FACTOR_HIDDEN, factors - early) for _ in layers
        )
        self.table = ConditionalQuantile(self.n_global)
        self.moved = Network(0, seen, _HIDDEN, 2 * self.n_global)
        self.early_loadings = Network(0, seen, _FACTOR_HIDDEN, self.n_global * early)
        self.register_buffer("dead", torch.zeros(self.calorimeter.n_cells, 1))
        self.register_buffer("tilt", torch.zeros(2, terms))  # mm from the first to the last layer
        self.register_buffer("tilt_scale", torch.ones(2, 1))
        ones = torch.ones(len(layers), 1)
        self.register_buffer(
            "ratio", torch.stack([0 * ones, ones])
        )  # mean and spread of the logarithms of fractions
        self.register_buffer("steps", torch.arange(_KNOTS - 1.0)[:, None], persistent=False)

    # -- what the networks see

    def terms(self, features: Tensor) -> Tensor:
        """Polynomial (T, B) of second degree in (B, C) features."""
        columns = features.T
        rows = torch.split(columns, 1)
        products = [rows[i] * rows[j] for i, j in self.pairs]
        return torch.cat([torch.ones_like(rows[0]), columns, *products])

    def early(self, features: Tensor) -> Tensor:
        """What the networks of the energies see, (C + 2, B), of (B, C) features."""
        tilt = torch.matmul(self.tilt, self.terms(features))
        return torch.cat([features.T, tilt / self.tilt_scale])

    def inputs(self, features: Tensor, logs: Tensor) -> Inputs:
        """What all networks see.

        Args:
            features: (B, C).
            logs: (L + 1, B) logarithms of `ShowerScaling.layer_logs`.
        """
        terms, early = self.terms(features), self.early(features)
        tilt = torch.matmul(self.tilt, terms)
        layers, incident = torch.split(logs, [len(logs) - 1, 1])
        mean, spread = self.ratio
        common = torch.cat([early, (layers - incident - mean) / spread])
        return Inputs(early, common, layers, [frame(terms, tilt) for frame in self.frames])

    # -- quantiles

    def numbers(self, layer: int, edges: Edges, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
        """Thresholds (n, B), edges of spectra (n, B) and steps between quantiles (n, knots - 1, B) of cells of a layer.

        Args:
            layer: Number of the layer.
            edges: Of the cells' columns and rows.
            inputs: Of `inputs`.
        """
        numbers = self.quantiles[layer](*edges, inputs.common)
        threshold, first, rest = torch.split(numbers, [1, 1, _KNOTS - 1], 1)
        return threshold[:, 0], positive(first[:, 0] + inputs.logs[layer]), positive(rest)

    def _all_numbers(self, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
        """`numbers` of all cells; those that are always empty have high thresholds."""
        parts = [self.numbers(k, edges, inputs) for k, edges in enumerate(inputs.edges)]
        threshold, edge, rest = (torch.cat(x) for x in zip(*parts, strict=True))
        return threshold + _DEAD * self.dead, edge, rest

    def moves(self, early: Tensor) -> tuple[Tensor, Tensor]:
        """Shift and stretch of the normal numbers of the energies, (G, B) each."""
        shift, stretch = torch.split(self.moved(None, early), self.n_global)
        return shift, 2 * positive(stretch)

    def _energies(self, z: Tensor, early: Tensor, incident_energy: Tensor) -> Tensor:
        """Map normal numbers (G, B) to energies (G, B)."""
        shift, stretch = self.moves(early)
        return self.table.from_normal((shift + stretch * z).T, incident_energy).T

    def from_normal(self, z: Tensor, inputs: Inputs, incident_energy: Tensor) -> Tensor:
        """Map normal numbers to variables.

        Args:
            z: (B, V).
            inputs: Of `forward`.
            incident_energy: (B,).
        """
        first, cells = torch.split(z.T, [self.n_global, self.calorimeter.n_cells])
        made = self._energies(first, inputs.early, incident_energy)
        with torch.no_grad():  # all but the normal numbers is fixed: derivatives by them are enough
            values = self._kernel if usable(cells, self.dead) else self._values
            value, slope = values(cells, inputs, cells.requires_grad)
        if slope is not None:
            value = value + slope * (cells - cells.detach())
        return torch.cat([made, value]).T

    def _kernel(self, cells: Tensor, inputs: Inputs, derive: bool) -> tuple[Tensor, Tensor | None]:
        """`_values`, compiled."""
        cells = cells.contiguous()
        value, slope = torch.empty_like(cells), torch.empty_like(cells) if derive else None
        above = _DEAD * self.dead
        sizes = (_KNOTS, cells.shape[1], KNOT_RANGE, LEAST_SPAN, EDGE, KNOT_BEND, ROUND)
        layers = zip(self.quantiles, inputs.edges, inputs.logs, self.calorimeter.slices(), strict=True)
        for net, (x, y), logs, s in layers:
            columns, rows = (n(e, inputs.common).contiguous() for n, e in ((net.columns, x), (net.rows, y)))
            parts = (columns, rows, net.read, net.offset, logs.contiguous(), above[s], cells[s], value[s])
            sides = (len(x), len(y), columns.shape[1])
            run("frame_quantiles", *sides, *sizes, *parts, None if slope is None else slope[s])
        return value, slope

    def _values(self, cells: Tensor, inputs: Inputs, derive: bool) -> tuple[Tensor, Tensor | None]:
        """Values (n_cells, B) of normal numbers (n_cells, B) and, if wanted, their derivatives."""
        threshold, edge, rest = self._all_numbers(inputs)
        begin, width = range_above(threshold)
        over = cells - threshold
        knot = to_knot(((cells - begin) / width).clamp(0, 1), KNOT_BEND).clamp(0, 1)
        value = edge + (rest * (knot[:, None] * (_KNOTS - 1) - self.steps).clamp(0, 1)).sum(1)
        value = torch.where(over > 0, value, over)
        return value, self._slope(over, width, knot, edge, rest) if derive else None

    def _slope(self, over: Tensor, width: Tensor, knot: Tensor, edge: Tensor, rest: Tensor) -> Tensor:
        """Derivatives (n_cells, B) of values by normal numbers; that of the edge is as in ConditionalQuantile."""
        index = (knot * (_KNOTS - 1)).long().clamp(max=_KNOTS - 2)
        step = rest.gather(1, index[:, None])[:, 0] * (_KNOTS - 1)
        slope = step / (((1 - KNOT_BEND) + 2 * KNOT_BEND * knot) * width)
        slope = torch.where(knot < 1, slope, 0.0) + torch.where(over < EDGE, edge / EDGE, 0.0)
        return torch.where(over > 0, slope, 1.0)

    def to_normal(self, variables: Tensor, inputs: Inputs, incident_energy: Tensor) -> Tensor:
        """The inverse of `from_normal`, (B, V); thresholds for empty cells. `inputs` are those of the variables."""
        first, cells = torch.split(variables, [self.n_global, self.calorimeter.n_cells], 1)
        shift, stretch = self.moves(inputs.early)
        made = (self.table.to_normal(first, incident_energy).T - shift) / stretch
        threshold, edge, rest = self._all_numbers(inputs)
        begin, width = range_above(threshold)
        below = torch.cat([torch.zeros_like(edge)[:, None], rest.cumsum(1)], 1)[:, :-1] + edge[:, None]
        place = ((cells.T[:, None] - below) / rest).clamp(0, 1).sum(1)
        z = begin + from_knot(place / (_KNOTS - 1), KNOT_BEND) * width
        return torch.cat([made, torch.where(cells.T > 0, z, threshold)]).T

    # -- correlations

    def loadings_of_energies(self, early: Tensor) -> Tensor:
        """Loadings (G, K, B) of the energies, relative to their own noise."""
        loadings: Tensor = self.early_loadings(None, early).reshape(self.n_global, self.factors[0], -1)
        return loadings

    def forward(
        self, shared: Tensor, own: Tensor, features: Tensor, incident_energy: Tensor, scaling: ShowerScaling
    ) -> tuple[Tensor, Inputs]:
        """Make correlated normal numbers.

        Args:
            shared: (B, K) normal numbers.
            own: (V, B).
            features: (B, C).
            incident_energy: (B,).
            scaling: What the variables are.

        Returns:
            (V, B) normal numbers, and the inputs for `from_normal`.
        """
        early = self.early(features)
        g_early, g = torch.split(shared.T, self.factors)
        noise, *noises = torch.split(own, [self.n_global, *(x.n_cells for x in self.calorimeter.layers)])
        made = noise
        if self.factors[0]:
            loadings = self.loadings_of_energies(early)
            made = ((loadings * g_early).sum(1) + noise) / torch.sqrt(1 + loadings.square().sum(1))
        values = self._energies(made, early, incident_energy)
        inputs = self.inputs(features, scaling.layer_logs(values.T, incident_energy))
        parts = [made]
        for net, pair, cells in zip(self.loadings, inputs.edges, noises, strict=True):
            products = net.products(*pair, inputs.common)
            size = torch.matmul(net.root, products).square().sum(1)
            parts.append(((products * torch.matmul(net.read.T, g)).sum(1) + cells) / torch.sqrt(1 + size))
        return torch.cat(parts), inputs
