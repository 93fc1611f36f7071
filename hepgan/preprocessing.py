r"""Physical units to network units and back, as modules that travel inside the exported graph.

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
from hepgan.layers import exporting

__all__ = [
    "ConditionScaling",
    "ConditionalMoments",
    "ConditionalQuantile",
    "EnergyNodes",
    "ShowerScaling",
    "weighted_quantiles",
]

_TINY = 1e-12
_LEAST = 1e-3  # log(1 + e/offset) of the brightest cell of a layer, at least: an energy of a per mille of the offset
_RIDGE = 1e-6  # of the weight sum: makes nodes without events solvable
_LEAST_VARIANCE = (
    0.05  # of the variance over all energies: a variable that is constant at some energy stays finite
)
_CONSTANT = 1e-4  # spread relative to 1 + size, up to which a variable counts as constant
_KNOT_RANGE = 4.0  # standard deviations; one number in 16,000 lies outside and is moved to the edge


def weighted_quantiles(values: Tensor, weights: Tensor, probabilities: Tensor) -> Tensor:
    """Quantiles of each column under weights of either sign.

    The cumulative weight is made monotone by its running maximum, so that events of negative weight (sWeights)
    subtract without ever turning the order around.

    Args:
        values: (N, V).
        weights: (N,).
        probabilities: (P,) in 0..1.

    Returns:
        (P, V).

    Raises:
        ValueError: If the weights do not have a positive sum.
    """
    total = weights.sum()
    if not total > 0:
        raise ValueError(f"weights: expected a positive sum, got {float(total):g}; check the weight branch")
    ordered, order = values.sort(0)
    cumulative = (weights[order].cumsum(0) - 0.5 * weights[order]) / total  # middle of each event's step
    cumulative = cumulative.cummax(0).values
    targets = probabilities.to(cumulative)[:, None].expand(-1, values.shape[1]).T.contiguous()
    right = torch.searchsorted(cumulative.T.contiguous(), targets).T.clamp(1, len(values) - 1)
    low, high = cumulative.gather(0, right - 1), cumulative.gather(0, right)
    fraction = ((probabilities.to(low)[:, None] - low) / (high - low).clamp(min=_TINY)).clamp(0, 1)
    return ordered.gather(0, right - 1).lerp(ordered.gather(0, right), fraction.to(ordered))


class ConditionScaling(nn.Module):
    """Conditions in physical units -> standardised numbers, log(x) or x as the configuration says.

    Args:
        logarithmic: For each condition, whether its logarithm is taken.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, logarithmic: list[bool]) -> None:
        super().__init__()
        self.logarithmic = logarithmic
        self.register_buffer("mean", torch.zeros(len(logarithmic)))
        self.register_buffer("scale", torch.ones(len(logarithmic)))

    def fit(self, condition: Tensor, weights: Tensor) -> None:
        """Set mean and scale from (N, n_conditions) physical values and (N,) weights."""
        x = self._transformed(condition.double())
        w = (weights.double() / weights.double().sum())[:, None]
        mean = (w * x).sum(0)
        self.mean.copy_(mean)
        self.scale.copy_((w * (x - mean) ** 2).sum(0).clamp(min=_TINY).sqrt())

    def _transformed(self, condition: Tensor) -> Tensor:
        columns = [
            torch.log(condition[:, k : k + 1]) if log else condition[:, k : k + 1]
            for k, log in enumerate(self.logarithmic)
        ]
        return torch.cat(columns, 1)

    def forward(self, condition: Tensor) -> Tensor:
        """Map (B, n_conditions) physical to (B, n_conditions) standardised."""
        return (self._transformed(condition) - self.mean) / self.scale

    def inverse(self, x: Tensor) -> Tensor:
        """Undo `forward`."""
        y = x * self.scale + self.mean
        columns = [
            torch.exp(y[:, k : k + 1]) if log else y[:, k : k + 1] for k, log in enumerate(self.logarithmic)
        ]
        return torch.cat(columns, 1)


class EnergyNodes(nn.Module):
    """Weights that interpolate a table linearly in the logarithm of the incident energy.

    Args:
        nodes: Number of energies at which the table has entries (>= 2).
    """

    low: Tensor
    step: Tensor
    number: Tensor

    def __init__(self, nodes: int) -> None:
        super().__init__()
        self.nodes = nodes
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("step", torch.ones(()))
        self.register_buffer("number", torch.arange(nodes, dtype=torch.float32), persistent=False)

    def fit(self, incident_energy: Tensor) -> None:
        """Spread the nodes evenly in log energy over the range of (N,) energies."""
        log_energy = torch.log(incident_energy.double())
        self.low.copy_(log_energy.min())
        self.step.copy_(((log_energy.max() - log_energy.min()) / (self.nodes - 1)).clamp(min=1e-6))

    def position(self, incident_energy: Tensor) -> Tensor:
        """Place of (B,) energies among the nodes, clipped to the fitted range."""
        return ((torch.log(incident_energy) - self.low) / self.step).clamp(0, self.nodes - 1)

    def reach(self, node: int) -> float:
        """How far around a node its events are taken from: shorter where there are some on one side only."""
        return 0.25 if node in (0, self.nodes - 1) else 0.5

    def filled(self, table: Tensor, known: list[int]) -> Tensor:
        """Fill the entries (nodes, ...) of energies without events: a line between neighbours, their value outside."""
        result = table.clone()
        for k in set(range(self.nodes)) - set(known):
            below = max((j for j in known if j < k), default=min(known))
            above = min((j for j in known if j > k), default=max(known))
            fraction = (k - below) / (above - below) if below < k < above else float(k > above)
            result[k] = torch.lerp(table[below], table[above], fraction)
        return result

    def forward(self, incident_energy: Tensor) -> Tensor:
        """Map (B,) energies to (B, nodes) non-negative weights that sum to one."""
        return torch.relu(1 - (self.position(incident_energy)[:, None] - self.number).abs())


class ConditionalMoments(nn.Module):
    """Standardise variables with a mean and a spread that depend on the incident energy.

    Args:
        variables: Number of variables V.
        nodes: Energies at which mean and spread are tabulated.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, variables: int, *, nodes: int = 9) -> None:
        super().__init__()
        self.nodes = EnergyNodes(nodes)
        self.register_buffer("mean", torch.zeros(nodes, variables))
        self.register_buffer("scale", torch.ones(nodes, variables))

    def fit(self, values: Tensor, incident_energy: Tensor, weights: Tensor) -> None:
        """Fit mean (least squares) and spread (of its residuals) of (N, V) values at (N,) energies.

        A variable that is constant in the sample (the occupancy of a layer that is always full) has no spread to be
        measured in, and keeps its own unit.
        """
        self.nodes.fit(incident_energy)
        basis = self.nodes(incident_energy)
        ridge = _RIDGE * weights.sum() * torch.eye(basis.shape[1], device=basis.device, dtype=basis.dtype)
        gram = basis.T @ (weights[:, None] * basis) + ridge
        self.mean.copy_(torch.linalg.solve(gram, basis.T @ (weights[:, None] * values)))
        square = (values - basis @ self.mean) ** 2
        variance = torch.linalg.solve(gram, basis.T @ (weights[:, None] * square))
        overall = (weights @ square) / weights.sum()
        scale = torch.maximum(variance, _LEAST_VARIANCE * overall).clamp(min=_TINY).sqrt()
        size = (weights @ values.abs()) / weights.sum()
        constant = overall.sqrt() <= _CONSTANT * (1 + size)
        self.scale.copy_(torch.where(constant, torch.ones_like(scale), scale))

    def forward(self, values: Tensor, incident_energy: Tensor) -> Tensor:
        """Map (B, V) values at (B,) energies to residuals in units of the spread."""
        basis = self.nodes(incident_energy)
        residual: Tensor = (values - basis @ self.mean) / (basis @ self.scale)
        return residual


class ConditionalQuantile(nn.Module):
    """Monotone map between variables and standard normal numbers, at every incident energy.

    Quantiles are tabulated on a grid of energies and of normal numbers, and interpolated linearly in both. A point
    mass at the lower end `floor` (an empty cell) is a censored value: normal numbers below the mass's share map
    to values below the floor, which the caller cuts.

    Args:
        variables: Number of variables V.
        floor: Values at or below it are censored.
        nodes: Energies of the table.
        knots: Normal numbers of the table, from -4 to 4.
    """

    table: Tensor

    def __init__(self, variables: int, *, floor: float = 0.0, nodes: int = 9, knots: int = 17) -> None:
        super().__init__()
        self.nodes = EnergyNodes(nodes)
        self.floor = floor
        self.knots = knots
        self.spacing = 2 * _KNOT_RANGE / (knots - 1)
        self.register_buffer("table", torch.zeros(nodes, knots, variables))

    @property
    def grid(self) -> Tensor:
        """The normal numbers of the table, (knots,)."""
        return torch.linspace(-_KNOT_RANGE, _KNOT_RANGE, self.knots)

    def fit(self, values: Tensor, incident_energy: Tensor, weights: Tensor) -> None:
        """Tabulate the quantiles of (N, V) values at (N,) energies under (N,) weights.

        Energies with too few events take the entries of their neighbours, so that a sample of one energy is fine.
        Discrete energies that fall between nodes are met only roughly; the network has to learn the rest.

        Raises:
            ValueError: If there are too few events at all energies.
        """
        self.nodes.fit(incident_energy)
        place = self.nodes.position(incident_energy)
        grid = self.grid.double()
        known = []
        for k in range(self.nodes.nodes):
            near = (place - k).abs() <= self.nodes.reach(k)
            if int(near.sum()) >= _FEWEST:
                moved = self._moved_to_node(values[near], (place - k)[near], weights[near])
                self.table[k] = self._column(moved, weights[near], grid).to(self.table)
                known.append(k)
        if not known:
            raise ValueError(
                f"training events: expected at least {_FEWEST} of similar energy, got {len(values)} spread over "
                f"{self.nodes.nodes} energies; give more events"
            )
        self.table.copy_(self.nodes.filled(self.table, known))

    def _moved_to_node(self, values: Tensor, distance: Tensor, weights: Tensor) -> Tensor:
        """Carry (N, V) values from their events' energies to the node's, along a straight line.

        Without it the window's width would smear every variable that follows the energy. Values at the floor stay.
        The slope of a variable with few values above the floor is drawn towards zero.
        """
        w = weights.clamp(min=0)[:, None] * (values > self.floor)
        number, d = w.sum(0).clamp(min=_TINY), distance[:, None]
        centre, mean = (w * d).sum(0) / number, (w * values).sum(0) / number
        covariance = (w * (d - centre) * (values - mean)).sum(0)
        slope = covariance / ((w * (d - centre) ** 2).sum(0) + _TINY) * number / (number + _SLOPE_EVENTS)
        return torch.where(values > self.floor, (values - slope * d).clamp(min=self.floor + 1e-6), values)

    def _column(self, values: Tensor, weights: Tensor, grid: Tensor) -> Tensor:
        quantiles = weighted_quantiles(values, weights, torch.special.ndtr(grid)).double()
        w = weights.double() / weights.double().sum()
        empty = (w[:, None] * (values <= self.floor)).sum(0)
        limit = 1 / (2 * len(values))
        threshold = torch.special.ndtri(empty.clamp(limit, 1 - limit))  # normal number where the mass ends
        above = (grid[:, None] > threshold) & (quantiles > self.floor)
        # first tabulated point above the mass, and the line from the end of the mass to it
        infinity = torch.tensor(torch.inf, dtype=torch.float64)
        value = torch.where(above, quantiles, infinity).amin(0)
        number = torch.where(above, grid[:, None], infinity).amin(0)
        never = ~above.any(0)
        value = torch.where(never, torch.full_like(value, self.floor + 1), value)
        number = torch.where(never, torch.full_like(number, _KNOT_RANGE + 1), number)
        slope = (value - self.floor) / (number - threshold).clamp(min=0.1)
        line = self.floor - slope * (threshold - grid[:, None])
        has_mass = empty > limit
        table = torch.where(
            above | ~has_mass, quantiles, torch.where(never, line.clamp(max=self.floor), line)
        )
        return table.cummax(0).values

    def from_normal(self, z: Tensor, incident_energy: Tensor) -> Tensor:
        """Map (B, V) normal numbers at (B,) energies to (B, V) values."""
        basis = self.nodes(incident_energy)
        place: Tensor = ((z + _KNOT_RANGE) / self.spacing).clamp(0, self.knots - 1)
        if exporting():
            value = torch.zeros_like(z)
            for k in range(self.knots):  # two terms are not zero: no rounding is added up
                value = value + (basis @ self.table[:, k]) * torch.relu(1 - (place - k).abs())
            return value
        table = (basis @ self.table.flatten(1)).reshape(-1, self.knots, z.shape[1])
        left = place.detach().floor().clamp(max=self.knots - 2)
        index = left.long()[:, None]
        low, high = table.gather(1, index)[:, 0], table.gather(1, index + 1)[:, 0]
        between: Tensor = low + (place - left) * (high - low)
        return between

    def to_normal(self, values: Tensor, incident_energy: Tensor) -> Tensor:
        """Undo `from_normal`; values at the floor give the normal number where the mass ends."""
        basis = self.nodes(incident_energy)
        table = (basis @ self.table.flatten(1)).reshape(-1, self.knots, values.shape[1])
        index = (table <= values[:, None]).sum(1, keepdim=True).sub(1).clamp(0, self.knots - 2)
        low, high = table.gather(1, index)[:, 0], table.gather(1, index + 1)[:, 0]
        fraction = ((values - low) / (high - low).clamp(min=_TINY)).clamp(0, 1)
        z: Tensor = (index[:, 0] + fraction) * self.spacing - _KNOT_RANGE
        return z


_SLOPE_EVENTS = 100.0  # events above the floor from which a slope in energy counts half
_FEWEST = 30  # events per energy node: below it not even the quartiles are known to 20 %


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
            cells.append(raw * (inside / (raw.sum(1, keepdim=True) + _TINY)))
        return torch.cat(cells, 1), overflow

    def get_extra_state(self) -> Tensor:
        """The order of the layers, saved with the weights."""
        return torch.tensor(self.order)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the order of the layers."""
        self.order = [int(k) for k in state]
