"""Statistics that follow the incident energy: tables interpolated in its logarithm."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hepgan.transforms.exporting import exporting
from hepgan.transforms.quantiles import KNOT_RANGE, TINY, weighted_quantiles

__all__ = ["ConditionalMoments", "ConditionalQuantile", "EnergyNodes"]

_FEWEST = 30  # events per energy node: below it not even the quartiles are known to 20 %
_SLOPE_EVENTS = 100.0  # events above the floor from which a slope in energy counts half
_RIDGE = 1e-6  # of the weight sum: makes nodes without events solvable
_LEAST_VARIANCE = (
    0.05  # of the variance over all energies: a variable that is constant at some energy stays finite
)
_CONSTANT = 1e-4  # spread relative to 1 + size, up to which a variable counts as constant


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
        scale = torch.maximum(variance, _LEAST_VARIANCE * overall).clamp(min=TINY).sqrt()
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
        self.spacing = 2 * KNOT_RANGE / (knots - 1)
        self.register_buffer("table", torch.zeros(nodes, knots, variables))

    @property
    def grid(self) -> Tensor:
        """The normal numbers of the table, (knots,)."""
        return torch.linspace(-KNOT_RANGE, KNOT_RANGE, self.knots)

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
        number, d = w.sum(0).clamp(min=TINY), distance[:, None]
        centre, mean = (w * d).sum(0) / number, (w * values).sum(0) / number
        covariance = (w * (d - centre) * (values - mean)).sum(0)
        slope = covariance / ((w * (d - centre) ** 2).sum(0) + TINY) * number / (number + _SLOPE_EVENTS)
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
        number = torch.where(never, torch.full_like(number, KNOT_RANGE + 1), number)
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
        place: Tensor = ((z + KNOT_RANGE) / self.spacing).clamp(0, self.knots - 1)
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
        fraction = ((values - low) / (high - low).clamp(min=TINY)).clamp(0, 1)
        z: Tensor = (index[:, 0] + fraction) * self.spacing - KNOT_RANGE
        return z
