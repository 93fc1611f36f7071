"""Means, spreads and quantiles that depend on the incident energy: tables, interpolated linearly in log E.

`EnergyNodes` gives the interpolation weights, `ConditionalMoments` standardises variables with a tabulated mean and
spread, and `ConditionalQuantile` makes them standard normal with tabulated quantiles.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from hepgan.errors import DataError
from hepgan.progress import stage
from hepgan.transforms.exporting import is_exporting
from hepgan.transforms.kernels import run, usable
from hepgan.transforms.quantiles import KNOT_RANGE, TINY, weighted_quantiles

__all__ = ["ConditionalMoments", "ConditionalQuantile", "EnergyNodes"]

_FEWEST = 30  # fewest events of an energy node; with fewer, even quartiles are uncertain by more than 20 %
_SLOPE_EVENTS = 100.0  # number of events above the floor at which a fitted slope in energy is halved
_RIDGE = 1e-6  # ridge of the regression, relative to the sum of weights: makes nodes without events solvable
_LEAST_VARIANCE = 0.05  # relative to the variance over all energies; a variable may be constant at one energy
_LEAST_STEP = 1e-2  # smallest distance between two nodes in log E, which single precision knows to 1e-6
_CONSTANT = 1e-4  # a variable whose spread is below this share of 1 + its mean magnitude counts as constant
_LEAST_DISTANCE = 1e-6  # of a non-zero deposit from the floor, in units of the variable
_MOST_NUMBERS = 2**28  # numbers of the tables of events at once: 1 GB
_LEAST_INTERVAL = 0.1  # smallest distance in z between the end of the point mass and the next knot


class EnergyNodes(nn.Module):
    r"""Interpolation weights of a table whose entries (nodes) are equally spaced in the log of the incident energy.

    With the position :math:`p = (\log E - \log E_0) / \Delta` among the nodes, node k has the weight
    :math:`\max(0, 1 - |p - k|)`.

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
        """Spread the nodes evenly in log E over the range of (N,) incident energies (any unit, always the same)."""
        log_energy = torch.log(incident_energy.double())
        self.low.copy_(log_energy.min())
        self.step.copy_(((log_energy.max() - log_energy.min()) / (self.nodes - 1)).clamp(min=_LEAST_STEP))

    def position(self, incident_energy: Tensor) -> Tensor:
        """Position p (B,) of (B,) energies among the nodes, from 0 to nodes - 1; energies out of range are clipped."""
        return ((torch.log(incident_energy) - self.low) / self.step).clamp(0, self.nodes - 1)

    def reach(self, node: int) -> float:
        """Largest distance |p - node| of the events that a node is fitted to.

        It is shorter for the outermost nodes, which have events on one side only.
        """
        return 0.25 if node in (0, self.nodes - 1) else 0.5

    def filled(self, table: Tensor, known: list[int]) -> Tensor:
        """Fill table entries (nodes, ...) that have too few events of their own.

        Entries between two `known` nodes are interpolated linearly, entries outside copy the nearest known one.
        """
        result = table.clone()
        for k in set(range(self.nodes)) - set(known):
            below = max((j for j in known if j < k), default=min(known))
            above = min((j for j in known if j > k), default=max(known))
            fraction = (k - below) / (above - below) if below < k < above else float(k > above)
            result[k] = torch.lerp(table[below], table[above], fraction)
        return result

    def forward(self, incident_energy: Tensor) -> Tensor:
        """Map (B,) energies to (B, nodes) interpolation weights, which are non-negative and sum to one."""
        return torch.relu(1 - (self.position(incident_energy)[:, None] - self.number).abs())


class ConditionalMoments(nn.Module):
    r"""Standardise variables with a mean and a spread that depend on the incident energy.

    :math:`x \mapsto (x - \mu(E)) / \sigma(E)`, with both tabulated at a few energies.

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
        """Fit the mean by least squares and the spread from the squared residuals.

        A variable that is constant in the sample (such as the occupancy of a layer that is always full) has no spread;
        its scale is 1.

        Args:
            values: (N, V).
            incident_energy: (N,).
            weights: (N,).
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
        """Map (B, V) values at (B,) energies to (B, V) residuals in units of the spread, batch innermost in memory."""
        basis = self.nodes(incident_energy).T
        if usable(values, self.mean):
            made: Tensor = _Standardised.apply(
                values.T.contiguous(), basis.contiguous(), self.mean, self.scale
            )  # type: ignore[no-untyped-call]
            return made.T
        residual: Tensor = (values.T - self.mean.T @ basis) / (self.scale.T @ basis)
        return residual.T


class _Standardised(torch.autograd.Function):
    """Values (V, B) less a mean, over a spread: sums of tables (nodes, V) with weights (nodes, B)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, basis: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        value = torch.empty_like(x)
        slope = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        run("standardised", *x.shape, len(basis), x, basis, mean, scale, value, slope)
        if slope is not None:
            ctx.save_for_backward(slope)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return grads[0] * ctx.saved_tensors[0], None, None, None


class _Interpolated(torch.autograd.Function):
    """Quantiles (V, B) of normal numbers z (V, B) at positions (B,) among the energies of a table (nodes, knots, V)."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, position: Tensor, table: Tensor) -> Tensor:
        value = torch.empty_like(z)
        slope = torch.empty_like(z) if ctx.needs_input_grad[0] else None
        run("interpolated", *z.shape, *table.shape[:2], KNOT_RANGE, z, position, table, value, slope)
        if slope is not None:
            ctx.save_for_backward(slope)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return grads[0] * ctx.saved_tensors[0], None, None


class ConditionalQuantile(nn.Module):
    r"""Monotone map between variables and standard normal numbers, at every incident energy.

    Quantiles :math:`Q(\Phi(z), E)` are tabulated on a grid of energies E and of normal numbers z, and interpolated
    linearly in both. A point mass at the lower end `floor` (an empty cell) is treated as a censored value: if a share p
    of the events is empty, normal numbers below :math:`\Phi^{-1}(p)` map to values below the floor, which the caller
    cuts off.

    Args:
        variables: Number of variables V.
        floor: Values at or below it are censored.
        nodes: Number of energies of the table.
        knots: Number of normal numbers of the table, evenly spaced from -4 to 4.
    """

    table: Tensor  # (nodes, knots, V)

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
        """Tabulate the quantiles of the training events.

        Nodes with too few events copy their neighbours, so that a sample of a single energy works. Discrete energies
        that fall between nodes are described only roughly; the network has to learn the rest.

        Args:
            values: (N, V).
            incident_energy: (N,).
            weights: (N,), of either sign.

        Raises:
            DataError: If no energy has enough events.
        """
        self.nodes.fit(incident_energy)
        place = self.nodes.position(incident_energy)
        grid = self.grid.double()
        known = []
        with stage("fitting quantiles", total=self.nodes.nodes) as update:
            for k in range(self.nodes.nodes):
                near = (place - k).abs() <= self.nodes.reach(k)
                if int(near.sum()) >= _FEWEST:
                    moved = self._moved_to_node(values[near], (place - k)[near], weights[near])
                    self.table[k] = self._column(moved, weights[near], grid).to(self.table)
                    known.append(k)
                update(k + 1)
        if not known:
            raise DataError(
                f"training events: expected at least {_FEWEST} of similar energy, got {len(values)} spread over "
                f"{self.nodes.nodes} energies; give more events"
            )
        self.table.copy_(self.nodes.filled(self.table, known))

    def _moved_to_node(self, values: Tensor, distance: Tensor, weights: Tensor) -> Tensor:
        """Extrapolate (N, V) values from the energies of their events to the energy of the node, along a fitted line.

        Without it, the width of the energy window would smear every variable that depends on the energy. Values at the
        floor stay there. The slope of a variable with few values above the floor is shrunk towards zero.

        Args:
            values: (N, V).
            distance: (N,) position of each event relative to the node, in nodes.
            weights: (N,).
        """
        w = weights.clamp(min=0)[:, None] * (values > self.floor)
        number, d = w.sum(0).clamp(min=TINY), distance[:, None]
        centre, mean = (w * d).sum(0) / number, (w * values).sum(0) / number
        covariance = (w * (d - centre) * (values - mean)).sum(0)
        slope = covariance / ((w * (d - centre) ** 2).sum(0) + TINY) * number / (number + _SLOPE_EVENTS)
        return torch.where(
            values > self.floor, (values - slope * d).clamp(min=self.floor + _LEAST_DISTANCE), values
        )

    def _column(self, values: Tensor, weights: Tensor, grid: Tensor) -> Tensor:
        """Quantiles (knots, V) of (N, V) values of one energy at the normal numbers `grid` (knots,)."""
        quantiles = weighted_quantiles(values, weights, torch.special.ndtr(grid)).double()
        w = weights.double() / weights.double().sum()
        empty = (w[:, None] * (values <= self.floor)).sum(0)
        limit = 1 / (2 * len(values))
        threshold = torch.special.ndtri(empty.clamp(limit, 1 - limit))  # where the point mass ends
        above = (grid[:, None] > threshold) & (quantiles > self.floor)
        # the first tabulated point above the mass, and the line from the end of the mass to it
        infinity = torch.tensor(torch.inf, dtype=torch.float64)
        value = torch.where(above, quantiles, infinity).amin(0)
        number = torch.where(above, grid[:, None], infinity).amin(0)
        never = ~above.any(0)
        value = torch.where(never, torch.full_like(value, self.floor + 1), value)
        number = torch.where(never, torch.full_like(number, KNOT_RANGE + 1), number)
        slope = (value - self.floor) / (number - threshold).clamp(min=_LEAST_INTERVAL)
        line = self.floor - slope * (threshold - grid[:, None])
        has_mass = empty > limit
        table = torch.where(
            above | ~has_mass, quantiles, torch.where(never, line.clamp(max=self.floor), line)
        )
        return table.cummax(0).values

    def from_normal(self, z: Tensor, incident_energy: Tensor) -> Tensor:
        """Map (B, V) normal numbers at (B,) energies to (B, V) values, with the batch innermost in memory."""
        if is_exporting():
            basis, place = self.nodes(incident_energy).T, self._place(z.T)
            value = torch.zeros_like(place)
            for k in range(self.knots):  # at most two terms are not zero, so rounding does not add up
                value = value + (self.table[:, k].T @ basis) * torch.relu(1 - (place - k).abs())
            return value.T
        if usable(z, self.table):
            position = self.nodes.position(incident_energy)
            made: Tensor = _Interpolated.apply(z.T.contiguous(), position, self.table)  # type: ignore[no-untyped-call]
            return made.T
        basis, place = self.nodes(incident_energy), self._place(z)
        table = (basis @ self.table.flatten(1)).reshape(-1, self.knots, z.shape[1])
        left = place.detach().floor().clamp(max=self.knots - 2)
        index = left.long()[:, None]
        low, high = table.gather(1, index)[:, 0], table.gather(1, index + 1)[:, 0]
        between: Tensor = low + (place - left) * (high - low)
        return between

    def _place(self, z: Tensor) -> Tensor:
        """Position of normal numbers among the knots, from 0 to knots - 1."""
        place: Tensor = ((z + KNOT_RANGE) / self.spacing).clamp(0, self.knots - 1)
        return place

    def to_normal(self, values: Tensor, incident_energy: Tensor) -> Tensor:
        """Map (B, V) values at (B,) energies to (B, V) normal numbers: the inverse of `from_normal`.

        Values at the floor give the normal number where the point mass ends.
        """
        most = max(1, _MOST_NUMBERS // (self.knots * values.shape[1]))
        if len(values) > most:  # the tables of all events at once would not fit into memory
            parts = zip(*(torch.split(x, most) for x in (values, incident_energy)), strict=True)
            return torch.cat([self.to_normal(*part) for part in parts])
        basis = self.nodes(incident_energy)
        table = (basis @ self.table.flatten(1)).reshape(-1, self.knots, values.shape[1])
        index = (table <= values[:, None]).sum(1, keepdim=True).sub(1).clamp(0, self.knots - 2)
        low, high = table.gather(1, index)[:, 0], table.gather(1, index + 1)[:, 0]
        fraction = ((values - low) / (high - low).clamp(min=TINY)).clamp(0, 1)
        z: Tensor = (index[:, 0] + fraction) * self.spacing - KNOT_RANGE
        return z
