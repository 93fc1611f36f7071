"""Means, spreads and quantiles that depend on the incident energy: tables, interpolated linearly in log E.

`EnergyNodes` gives the interpolation weights, `ConditionalMoments` standardises variables with a tabulated mean and
spread, and `ConditionalQuantile` makes them standard normal with tabulated quantiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from hepgan.errors import DataError
from hepgan.progress import stage
from hepgan.transforms.exporting import is_exporting
from hepgan.transforms.kernels import run, usable
from hepgan.transforms.quantiles import KNOT_RANGE, TINY, weighted_quantiles

__all__ = [
    "EDGE",
    "LEAST_SPAN",
    "ConditionalMoments",
    "ConditionalQuantile",
    "EnergyNodes",
    "from_knot",
    "range_above",
    "to_knot",
]

_FEWEST = 30  # fewest events of an energy node; with fewer, even quartiles are uncertain by more than 20 %
_SLOPE_EVENTS = 100.0  # number of events above the floor at which a fitted slope in energy is halved
_RIDGE = 1e-6  # ridge of the regression, relative to the sum of weights: makes nodes without events solvable
_LEAST_VARIANCE = 0.05  # relative to the variance over all energies; a variable may be constant at one energy
_LEAST_STEP = 1e-2  # smallest distance between two nodes in log E, which single precision knows to 1e-6
_CONSTANT = 1e-4  # a variable whose spread is below this share of 1 + its mean magnitude counts as constant
_MOST_NUMBERS = 2**28  # numbers of the tables of events at once: 1 GB
LEAST_SPAN = 0.1  # smallest width in z of the part above the floor
_NEVER = 2 * KNOT_RANGE  # threshold of a variable that is always at the floor; minus it, of one that never is
_FEWEST_DEPOSITS = (
    30  # fewest values above the floor of a variable at a node; with fewer, farther events are taken
)
_TOGETHER = 15  # knots of an exported graph: fewer operations for one event, arrays in the cache for many
_BEND = (
    0.99  # of the knots of a variable with an edge: far denser there, where the spectrum has its structure
)
EDGE = 0.5
"""Width in z above a threshold over which the derivative of the edge there is spread."""


class EnergyNodes(nn.Module):
    r"""Interpolation weights of a table whose entries (nodes) lie at a few incident energies.

    The nodes are equally spaced in log E, or at the energies themselves if there are no more of them than nodes (test
    beams, the CaloChallenge), so that these are met exactly. With the position p of an energy among the nodes, which is
    linear in log E between two of them, node k has the weight :math:`\max(0, 1 - |p - k|)`.

    Several tables, one a particle for example, stand one behind the other: the energies of table k are multiplied by
    the k-th power of a factor that sets them apart (`hepgan.transforms.separate`).

    Args:
        nodes: Number of energies at which each table has entries (>= 2).
        tables: Number of tables.

    Attributes:
        nodes: Number of entries of all tables.
        each: Number of entries of one.
    """

    place: Tensor  # (nodes,) log E of each node, increasing; the last one is repeated if there are fewer energies
    number: Tensor

    def __init__(self, nodes: int, tables: int = 1) -> None:
        super().__init__()
        self.each, self.nodes = nodes, nodes * tables
        self.register_buffer("place", torch.arange(self.nodes, dtype=torch.float32))
        self.register_buffer("number", torch.arange(self.nodes, dtype=torch.float32), persistent=False)

    def fit(self, incident_energy: Tensor) -> None:
        """Place the nodes for (N,) incident energies (any unit, always the same)."""
        values = torch.unique(torch.log(incident_energy.double()))
        tables = self.nodes // self.each
        apart = values.diff().argsort(descending=True)[: tables - 1].sort().values + 1
        parts = torch.tensor_split(values, apart.tolist())
        self.place.copy_(torch.cat([self._placed(part) for part in parts]))

    def _placed(self, values: Tensor) -> Tensor:
        """Nodes of one table for its increasing log E."""
        if len(values) <= self.each:
            gap = values.diff(prepend=values[:1] - 1)
            values = values[gap >= _LEAST_STEP]
            return torch.cat([values, values[-1:].expand(self.each - len(values))])
        step = ((values[-1] - values[0]) / (self.each - 1)).clamp(min=_LEAST_STEP)
        return values[0] + step * self.number[: self.each]

    def near(self, position: Tensor, node: int, reach: float) -> Tensor:
        """Whether positions (B,) are in the table of a node, and at most `reach` from it."""
        first = node - node % self.each
        return ((position - node).abs() <= reach) & (position >= first) & (position <= first + self.each - 1)

    def position(self, incident_energy: Tensor) -> Tensor:
        """Position p (B,) of (B,) energies among the nodes, from 0 to nodes - 1; energies out of range are clipped."""
        gap = self.place[1:] - self.place[:-1]
        slope = torch.where(gap > 0, 1 / gap.clamp(min=TINY), 0.0)
        passed = (torch.log(incident_energy)[:, None] - self.place[:-1]) * slope
        return passed.clamp(0, 1).sum(1)

    def reach(self, node: int) -> float:
        """Largest distance |p - node| of the events that a node is fitted to.

        It is shorter for the outermost nodes, which have events on one side only.
        """
        return 0.25 if node % self.each in (0, self.each - 1) else 0.5

    def filled(self, table: Tensor, known: list[int]) -> Tensor:
        """Fill table entries (nodes, ...) that have too few events of their own.

        Entries between two `known` nodes are interpolated linearly, entries outside copy the nearest known one: of
        their own table, if it has any.
        """
        result, every = table.clone(), known
        for k in set(range(self.nodes)) - set(known):
            known = [j for j in every if j // self.each == k // self.each] or every
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
            return _each("standardised", values, [len(basis)], basis.contiguous(), self.mean, self.scale)
        residual: Tensor = (values.T - self.mean.T @ basis) / (self.scale.T @ basis)
        return residual.T


class _Each(torch.autograd.Function):
    """Values (V, B) that a kernel computes of numbers x (V, B), each of one number, with its slope.

    Arguments are x, the name of the kernel, what comes before x beside its shape, and what comes after it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, name: str, sizes: Sequence[float], rest: Sequence[Tensor]) -> Tensor:
        value = torch.empty_like(x)
        slope = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        run(name, *x.shape, *sizes, x, *rest, value, slope)
        if slope is not None:
            ctx.save_for_backward(slope)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return grads[0] * ctx.saved_tensors[0], None, None, None


def _each(name: str, x: Tensor, sizes: Sequence[float], *rest: Tensor) -> Tensor:
    """Call `_Each` with (B, V) numbers, for (B, V) values."""
    made: Tensor = _Each.apply(x.T.contiguous(), name, sizes, rest)  # type: ignore[no-untyped-call]
    return made.T


def from_knot(x: Tensor, bend: float) -> Tensor:
    """Part of the range of a table at which the point x of its knots (0 to 1) lies; denser at the beginning."""
    return (1 - bend) * x + bend * x**2


def to_knot(fraction: Tensor, bend: float) -> Tensor:
    """The inverse of `from_knot`."""
    return (torch.sqrt((1 - bend) ** 2 + 4 * bend * fraction) - (1 - bend)) / (2 * bend)


def range_above(threshold: Tensor) -> tuple[Tensor, Tensor]:
    """First normal number and width of the range of a table of quantiles above a threshold."""
    begin = threshold.clamp(min=-KNOT_RANGE)
    return begin, (KNOT_RANGE - begin).clamp(min=LEAST_SPAN)


def _bent(threshold: Tensor) -> Tensor:
    """Variables with an edge, (V, 1), of thresholds (V, nodes)."""
    return threshold[:, :1] > -KNOT_RANGE


class ConditionalQuantile(nn.Module):
    r"""Monotone map between variables and standard normal numbers, at every incident energy, with a sharp edge.

    A variable is at its lower end, the floor (an empty cell), in a share p of the events: where the normal number z
    lies below the threshold :math:`z_0 = \Phi^{-1}(p)`. Above it, the value is a quantile of the part above the floor,
    which begins at its smallest value: nothing lies between that edge and the floor. Thresholds are tabulated at a few
    energies; quantiles at these energies and at `knots` points from the threshold (at least -4) to 4. Both are
    interpolated linearly in log E, the quantiles also between the points. Point :math:`x \in [0, 1]` lies at the part
    :math:`(1 - b) x + b x^2` of this range: evenly (b = 0) for a variable that is never at the floor, else denser near
    the edge (b = `_BEND`).

    Below the threshold the value is the floor and the (negative) distance from the threshold: the caller cuts it off,
    but knows which empty cell was nearest to a deposit.

    The derivative of the edge: a small change of z moves events across the threshold in proportion to their density
    there. Above the threshold the height of the edge is therefore spread over `EDGE`, in the derivative only.

    Args:
        variables: Number of variables V.
        floor: Values at or below it are censored.
        nodes: Number of energies of the table.
        knots: Number of points of the table.
        tables: Number of tables, see `EnergyNodes`; `nodes` are those of each.

    Attributes:
        threshold: (V, nodes).
        table: (V, nodes, knots).
    """

    threshold: Tensor
    table: Tensor

    def __init__(
        self, variables: int, *, floor: float = 0.0, nodes: int = 16, knots: int = 29, tables: int = 1
    ) -> None:
        super().__init__()
        self.nodes = EnergyNodes(nodes, tables)
        self.floor = floor
        self.knots = knots
        self.register_buffer("threshold", torch.full((variables, self.nodes.nodes), -_NEVER))
        self.register_buffer("table", torch.zeros(variables, self.nodes.nodes, knots))

    def fit(self, values: Tensor, incident_energy: Tensor, weights: Tensor) -> None:
        """Tabulate thresholds and quantiles of the training events.

        Nodes with too few events copy their neighbours. A variable with few values above the floor at a node takes its
        quantiles there from farther events, too.

        Args:
            values: (N, V).
            incident_energy: (N,).
            weights: (N,), of either sign.

        Raises:
            DataError: If no energy has enough events.
        """
        self.nodes.fit(incident_energy)
        place = self.nodes.position(incident_energy)
        always = (values > self.floor).all(0)
        known = []
        with stage("fitting quantiles", total=self.nodes.nodes) as update:
            for k in range(self.nodes.nodes):
                distance = place - k
                reach = self.nodes.reach(k)
                near = self.nodes.near(place, k, reach)
                if int(near.sum()) >= _FEWEST:
                    threshold = self._threshold(values[near], weights[near])
                    self.threshold[:, k] = torch.where(always, -_NEVER, threshold).to(self.table)
                    columns = torch.arange(values.shape[1], device=values.device)
                    while len(columns):
                        x = self._moved_to_node(values[near][:, columns], distance[near], weights[near])
                        made = self._quantiles(x, weights[near], self.threshold[columns, k])
                        self.table[columns, k] = made.T.to(self.table)
                        if reach > self.nodes.nodes:
                            break
                        columns = columns[(x > self.floor).sum(0) < _FEWEST_DEPOSITS]
                        reach = 2 * reach
                        near = self.nodes.near(place, k, reach)
                    known.append(k)
                update(k + 1)
        if not known:
            raise DataError(
                f"training events: expected at least {_FEWEST} of similar energy, got {len(values)} spread over "
                f"{self.nodes.nodes} energies; give more events"
            )
        for entry in (self.threshold, self.table):
            entry.copy_(self.nodes.filled(entry.transpose(0, 1), known).transpose(0, 1))
        self.threshold[~(values > self.floor).any(0)] = _NEVER

    def _moved_to_node(self, values: Tensor, distance: Tensor, weights: Tensor) -> Tensor:
        """Extrapolate (N, V) values from the energies of their events to the energy of the node, along a fitted line.

        Without it, the width of the energy window would smear every variable that depends on the energy. Values at the
        floor stay there, and none passes the smallest one above it. The slope of a variable with few values above the
        floor is shrunk towards zero.

        Args:
            values: (N, V).
            distance: (N,) position of each event relative to the node, in nodes.
            weights: (N,).
        """
        above = values > self.floor
        w = weights.clamp(min=0)[:, None] * above
        number, d = w.sum(0).clamp(min=TINY), distance[:, None]
        centre, mean = (w * d).sum(0) / number, (w * values).sum(0) / number
        covariance = (w * (d - centre) * (values - mean)).sum(0)
        slope = covariance / ((w * (d - centre) ** 2).sum(0) + TINY) * number / (number + _SLOPE_EVENTS)
        edge = torch.where(above, values, torch.inf).amin(0)
        return torch.where(above, torch.maximum(values - slope * d, edge), values)

    def _threshold(self, values: Tensor, weights: Tensor) -> Tensor:
        """Normal numbers (V,) below which a variable is at the floor, from (N, V) values of one energy."""
        w = weights.double() / weights.double().sum()
        limit = 1 / (2 * len(values))
        empty = w @ (values <= self.floor).double()
        number: Tensor = torch.special.ndtri(empty.clamp(limit, 1 - limit))
        return number

    def _quantiles(self, values: Tensor, weights: Tensor, threshold: Tensor) -> Tensor:
        """Quantiles (knots, V) of the part above the floor of (N, V) values of one energy."""
        above = values > self.floor
        w = weights.double() / weights.double().sum()
        empty = w @ (~above).double()
        begin, width = range_above(threshold.double())
        knot = torch.linspace(0, 1, self.knots, dtype=torch.float64, device=values.device)[:, None]
        fraction = torch.where(threshold > -KNOT_RANGE, from_knot(knot, _BEND), knot)
        tail = torch.special.ndtr(-(begin + fraction * width))
        # the same share of the part above the floor, whose size at farther energies may be another
        share = tail / torch.special.ndtr(-begin)
        quantiles = weighted_quantiles(values, weights, 1 - share * (1 - empty).clamp(0, 1)).double()
        edge = torch.where(above, values, torch.inf).amin(0).double()
        edge = torch.where(above.any(0), edge, self.floor + 1.0)
        return torch.maximum(quantiles, edge).cummax(0).values

    def from_normal(self, z: Tensor, incident_energy: Tensor, *, first: int | None = None) -> Tensor:
        """Map (B, V) normal numbers at (B,) energies to (B, V) values, with the batch innermost in memory.

        With `first`, z holds the numbers of so many first variables. (In an exported graph a shape is no constant, so
        that the tables would be cut anew for each event.)
        """
        thresholds, tables = self.threshold[:first], self.table[:first]
        if usable(z, self.table):
            sizes = (*self.table.shape[1:], KNOT_RANGE, self.floor, LEAST_SPAN, EDGE, _BEND)
            position = self.nodes.position(incident_energy)
            return _each("sharp_quantiles", z, sizes, position, thresholds, tables)
        basis = self.nodes(incident_energy).T
        place, over = self._place(z.T, basis, thresholds)
        if is_exporting():
            value = torch.zeros_like(place)
            for some in torch.split(torch.arange(self.knots), _TOGETHER):
                heights = (tables[:, :, some].permute(2, 0, 1).flatten(0, 1) @ basis).reshape(
                    len(some), len(place), -1
                )
                # at most two terms are not zero, so rounding does not add up
                value = value + (heights * torch.relu(1 - (place - some[:, None, None]).abs())).sum(0)
        else:
            table = tables.transpose(1, 2) @ basis  # (V, knots, B)
            left = place.detach().floor().clamp(max=self.knots - 2)
            index = left.long()[:, None]
            low, high = table.gather(1, index)[:, 0], table.gather(1, index + 1)[:, 0]
            value = low + (place - left) * (high - low)
            rising = (table[:, 0] - self.floor).clamp(min=0) * (over / EDGE).clamp(max=1)
            value = value + torch.where(_bent(thresholds), rising - rising.detach(), 0.0)
        return torch.where(over > 0, value, self.floor + over).T

    def _place(self, z: Tensor, basis: Tensor, thresholds: Tensor) -> tuple[Tensor, Tensor]:
        """Places among the knots and distances above the threshold of normal numbers, (V, B) each."""
        threshold = thresholds @ basis
        begin, width = range_above(threshold)
        fraction = ((z - begin) / width).clamp(0, 1)
        place = torch.where(_bent(thresholds), to_knot(fraction, _BEND), fraction).clamp(min=0)
        place = place * (self.knots - 1)
        return place, z - threshold

    def distances(self, z: Tensor, incident_energy: Tensor, variables: slice) -> Tensor:
        """Distances (n, B) of normal numbers (n, B) of some variables from their thresholds, at (B,) energies."""
        threshold: Tensor = self.threshold[variables] @ self.nodes(incident_energy).T
        return z - threshold

    def to_normal(self, values: Tensor, incident_energy: Tensor) -> Tensor:
        """Map (B, V) values at (B,) energies to (B, V) normal numbers: the inverse of `from_normal`.

        Values at the floor give the threshold.
        """
        most = max(1, _MOST_NUMBERS // (self.knots * values.shape[1]))
        if len(values) > most:  # the tables of all events at once would not fit into memory
            parts = zip(*(torch.split(x, most) for x in (values, incident_energy)), strict=True)
            return torch.cat([self.to_normal(*part) for part in parts])
        basis = self.nodes(incident_energy).T
        table = self.table.transpose(1, 2) @ basis  # (V, knots, B)
        rows = values.T
        index = (table <= rows[:, None]).sum(1, keepdim=True).sub(1).clamp(0, self.knots - 2)
        low, high = table.gather(1, index)[:, 0], table.gather(1, index + 1)[:, 0]
        fraction = ((rows - low) / (high - low).clamp(min=TINY)).clamp(0, 1)
        threshold = self.threshold @ basis
        begin, width = range_above(threshold)
        knot = (index[:, 0] + fraction) / (self.knots - 1)
        z = begin + torch.where(_bent(self.threshold), from_knot(knot, _BEND), knot) * width
        return torch.where(rows > self.floor, z, threshold).T
