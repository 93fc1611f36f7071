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

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hepgan.config import ConditionConfig
from hepgan.geometry import Calorimeter
from hepgan.layers import exporting

__all__ = [
    "ConditionScaling",
    "ConditionalMoments",
    "ConditionalQuantile",
    "EnergyNodes",
    "QuantileScaling",
    "ShowerScaling",
    "Tents",
    "differences",
    "weighted_quantiles",
    "wound",
    "wrapped",
]

_TINY = 1e-12
_LEAST = 1e-3  # log(1 + e/offset) of the brightest cell of a layer, at least: an energy of a per mille of the offset
_RIDGE = 1e-6  # of the weight sum: makes nodes without events solvable
_LEAST_VARIANCE = (
    0.05  # of the variance over all energies: a variable that is constant at some energy stays finite
)
_CONSTANT = 1e-4  # spread relative to 1 + size, up to which a variable counts as constant
_LEAST_GAP = 1e-4  # between nodes, in spreads of the condition
_LEAST_SLOPE = 1e-3  # of a quantile transform, relative to its mean slope: keeps it invertible
_TURN = 2 * math.pi
_TURN_DIGITS = 1e-6  # by which angles in single precision may go beyond a turn
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


def differences(n: int, *, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Weight (n + 1, n) and bias (n + 1,) that turn n numbers falling from 1 to 0 into their n + 1 steps."""
    weight = torch.zeros(n + 1, n, device=device)
    k = torch.arange(n, device=device)
    weight[k + 1, k], weight[k, k] = 1.0, -1.0
    bias = torch.zeros(n + 1, device=device)
    bias[0] = 1.0
    return weight, bias


class ConditionScaling(nn.Module):
    """Conditions in physical units -> what networks see.

    First the numbers, log(x) or x as the configuration says, standardised; then for each category as many zeros and
    ones as it has values, one of them one.

    Args:
        conditions: Name and transform of each condition.
    """

    mean: Tensor
    scale: Tensor
    logarithmic: Tensor

    def __init__(self, conditions: Sequence[ConditionConfig]) -> None:
        super().__init__()
        self.columns = [k for k, c in enumerate(conditions) if c.transform != "category"]
        self.n_numbers = len(self.columns)
        logarithmic = [conditions[k].transform == "log" for k in self.columns]
        self.any_log = any(logarithmic)
        self.categories = {
            k: list(c.categories.values()) for k, c in enumerate(conditions) if c.transform == "category"
        }
        self.n_features = self.n_numbers + sum(map(len, self.categories.values()))
        self.register_buffer("logarithmic", torch.tensor(logarithmic), persistent=False)
        self.register_buffer("mean", torch.zeros(self.n_numbers))
        self.register_buffer("scale", torch.ones(self.n_numbers))

    def fit(self, condition: Tensor, weights: Tensor) -> None:
        """Set mean and scale from (N, n_conditions) physical values and (N,) weights."""
        x = self._transformed(condition.double())
        w = (weights.double() / weights.double().sum())[:, None]
        mean = (w * x).sum(0)
        self.mean.copy_(mean)
        self.scale.copy_((w * (x - mean) ** 2).sum(0).clamp(min=_TINY).sqrt())

    def _transformed(self, condition: Tensor) -> Tensor:
        x = condition[:, self.columns] if self.categories else condition
        if not self.any_log:
            return x
        return torch.where(self.logarithmic, torch.log(x.clamp(min=_TINY)), x)

    def numbers(self, condition: Tensor) -> Tensor:
        """Map (B, n_conditions) physical to (B, n_numbers) standardised; categories are left out."""
        x = condition[:, self.columns] if self.categories else condition
        centred = x - self.mean
        if self.any_log:  # log(x / x0), not log x - log x0: float32 keeps a digit more
            middle = torch.exp(torch.where(self.logarithmic, self.mean, 0))
            centred = torch.where(self.logarithmic, torch.log((x / middle).clamp(min=_TINY)), centred)
        return centred / self.scale

    def indicators(self, condition: Tensor) -> list[Tensor]:
        """Zeros and ones (B, n_values) for each category in (B, n_conditions)."""
        found = []
        for k, values in self.categories.items():
            value = torch.tensor(values, device=condition.device)
            gap = min((abs(a - b) for a in values for b in values if a != b), default=1.0)
            found.append(torch.relu(1 - (condition[:, k : k + 1] - value).abs() / gap))
        return found

    def forward(self, condition: Tensor) -> Tensor:
        """Map (B, n_conditions) physical to (B, n_features)."""
        parts = [self.numbers(condition), *self.indicators(condition)]
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]


class Tents(nn.Module):
    r"""Each condition as tent functions on its quantiles: linear interpolation, ready for a network.

    A dense network that is given these responds to a threshold (of momentum, say) as sharply as its events allow. The
    tents of a condition sum to one; outside the fitted range the outermost stays at one.

    Args:
        numbers: Number of conditions C.
        nodes: Tents H of each (>= 2).
    """

    place: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, numbers: int, *, nodes: int) -> None:
        super().__init__()
        self.nodes = nodes
        self.n_features = numbers * nodes
        self.register_buffer("place", torch.arange(nodes, dtype=torch.float32).repeat(numbers, 1))
        weight, bias = differences(nodes - 1)
        self.register_buffer("weight", torch.kron(torch.eye(numbers), weight), persistent=False)
        self.register_buffer("bias", bias.repeat(numbers), persistent=False)

    def fit(self, x: Tensor, weights: Tensor) -> None:
        """Put the nodes on quantiles of (N, C) standardised conditions under (N,) weights."""
        levels = torch.linspace(0, 1, self.nodes, dtype=torch.float64)
        quantiles = weighted_quantiles(x.double(), weights.double(), levels).T.contiguous()
        quantiles[:, 0], quantiles[:, -1] = x.amin(0), x.amax(0)
        steps = torch.arange(self.nodes) * _LEAST_GAP
        self.place.copy_((quantiles - steps).cummax(1).values + steps)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C) standardised conditions to (B, C * H) numbers from 0 to 1."""
        # how far x has come from each node to the next one: 1 in the pieces behind it, 0 in those ahead
        numbers, pieces = self.place.shape[0], self.nodes - 1
        slope = 1 / (self.place[:, 1:] - self.place[:, :-1])
        spread = torch.eye(numbers, device=x.device).repeat_interleave(pieces, 0) * slope.flatten()[:, None]
        way = nn.functional.linear(x, spread, -(slope * self.place[:, :-1]).flatten()).clamp(0, 1)
        return nn.functional.linear(way, self.weight, self.bias)


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


def wrapped(angle: Tensor, start: Tensor | float) -> Tensor:
    """The same directions (rad) in the turn from `start` on, without its end."""
    turns = (angle - start) / _TURN
    part = turns - torch.floor(turns)
    return start + _TURN * (
        part - torch.floor(part)
    )  # rounding may have made a whole turn of a tiny negative one


def wound(x: Tensor, angles: Sequence[int], winding: Tensor) -> Tensor:
    """Undo `QuantileScaling.periodic`, whatever the lengths of its pairs are: (B, V + A) to (B, V)."""
    columns = list(torch.split(x, 1, 1))
    sines = columns[len(columns) - len(angles) :]
    for k, sine, turned in zip(angles, sines, winding, strict=True):
        columns[k] = torch.atan2(sine, columns[k]) / turned
    return torch.cat(columns[: len(columns) - len(angles)], 1)


class QuantileScaling(nn.Module):
    """Targets in physical units <-> normal numbers of equal rank, target by target.

    Piecewise-linear and strictly monotone between `knots` normal numbers from -4 to 4, with the slopes of the first and
    last piece beyond, hence invertible everywhere. ``linear``, ``log`` and ``angle`` targets are a single straight line
    (of x or of log x) instead. The line of an angle is wound around the circle: every number is a direction, and the
    way there from any other is free of jumps. On the way back its seam is opposite to the mean direction; whatever
    compares events looks at `periodic` numbers, which have none.

    Args:
        transforms: For each of V targets "quantile", "linear", "log" or "angle".
        knots: Knots K of each.

    Attributes:
        angles: Which of the targets are angles, A of them.
        start: (A,) where their turn begins: at 0, or at -pi where some of the data are negative.
    """

    table: Tensor
    start: Tensor
    grid: Tensor
    bends: Tensor
    sign: Tensor

    def __init__(self, transforms: Sequence[str], *, knots: int = 65) -> None:
        super().__init__()
        self.transforms = tuple(transforms)
        self.angles = [k for k, transform in enumerate(transforms) if transform == "angle"]
        self.register_buffer("start", torch.zeros(len(self.angles)), persistent=bool(self.angles))
        self.middle = knots // 2
        grid = torch.linspace(-_KNOT_RANGE, _KNOT_RANGE, knots)
        self.register_buffer("grid", grid, persistent=False)
        self.register_buffer("table", grid.repeat(len(self.transforms), 1))
        # where each piece begins, seen from the middle, and in which direction it goes
        bends = torch.cat([grid[1 : self.middle + 1], grid[self.middle : -1]])
        self.register_buffer("bends", bends, persistent=False)
        self.register_buffer(
            "sign", torch.sign(torch.arange(knots - 1) - self.middle + 0.5), persistent=False
        )

    def fit(self, values: Tensor, weights: Tensor, continuous: Tensor) -> None:
        """Tabulate the quantiles, or mean and spread, of (N, V) values under (N,) weights.

        Args:
            values: (N, V).
            weights: (N,), of either sign.
            continuous: (N, V) bool: which values count; the others are atoms.

        Raises:
            ValueError: If angles cover more than a turn.
        """
        levels = torch.special.ndtr(self.grid.double())
        for k, transform in enumerate(self.transforms):
            chosen = continuous[:, k]
            x, w = values[chosen, k].double(), weights[chosen].double()
            if len(x) < 2 or not w.sum() > 0:
                continue  # nothing but atoms
            x = torch.log(x) if transform == "log" else x
            if transform == "angle":
                x = self._unwound(k, x, w)
            if transform == "quantile":
                column = weighted_quantiles(x[:, None], w, levels)[:, 0]
            else:
                mean = (w * x).sum() / w.sum()
                column = (
                    mean
                    + ((w * (x - mean) ** 2).sum() / w.sum()).clamp(min=_TINY).sqrt() * self.grid.double()
                )
            gap = _LEAST_SLOPE * (column[-1] - column[0]).clamp(min=_TINY) / len(column)
            steps = gap * torch.arange(len(column))
            self.table[k] = ((column - steps).cummax(0).values + steps).to(self.table)

    def _unwound(self, k: int, x: Tensor, weights: Tensor) -> Tensor:
        """Angles (N,) of target k within half a turn of their mean direction; notes where their turn begins."""
        low, high = float(x.min()), float(x.max())
        start = -math.pi if low < 0 else 0.0
        if low < start - _TURN_DIGITS or high > start + _TURN + _TURN_DIGITS:
            raise ValueError(
                f"target {k + 1}: expected angles from 0 to 2 pi, or from -pi to pi (rad), got {low:g} to {high:g}; "
                "convert them in an expression of the branch, such as 0.0174533 * degrees, or list sentinels as atoms"
            )
        self.start[self.angles.index(k)] = start
        mean = torch.atan2((weights * torch.sin(x)).sum(), (weights * torch.cos(x)).sum())
        return wrapped(x, mean - math.pi)

    @property
    def winding(self) -> Tensor:
        """Angle (A,) by which a normal number of 1 turns (rad)."""
        m = self.middle
        slope: Tensor = (self.table[:, m + 1] - self.table[:, m]) / (self.grid[m + 1] - self.grid[m])
        return slope[self.angles]

    @property
    def seen(self) -> list[int]:
        """The target that each of the `periodic` numbers is about."""
        return [*range(len(self.transforms)), *self.angles]

    def periodic(self, z: Tensor) -> Tensor:
        """Map (B, V) normal numbers to (B, V + A): cosines in the place of angles, and their sines at the end."""
        if not self.angles:
            return z
        columns = list(torch.split(z, 1, 1))
        phase = torch.split(z[:, self.angles] * self.winding, 1, 1)
        for k, angle in zip(self.angles, phase, strict=True):
            columns[k] = math.sqrt(2) * torch.cos(angle)  # of variance one, if all directions are alike
        return torch.cat([*columns, *(math.sqrt(2) * torch.sin(angle) for angle in phase)], 1)

    def from_normal(self, z: Tensor) -> Tensor:
        """Map (B, V) normal numbers to (B, V) values."""
        # a sum of rectified numbers, outwards from the middle: two matrix products, and little to cancel
        slope = (self.table[:, 1:] - self.table[:, :-1]) / (self.grid[1:] - self.grid[:-1])
        inner, outer, m = slope[:, :-1], slope[:, 1:], self.middle
        turn = torch.cat([(inner - outer)[:, : m - 1], slope[:, m - 1 : m + 1], (outer - inner)[:, m:]], 1)
        own = torch.eye(len(self.table), device=z.device, dtype=z.dtype)[:, :, None]
        way = nn.functional.linear(
            z, (own * self.sign).transpose(1, 2).flatten(0, 1), (-self.sign * self.bends).repeat(len(own))
        )
        x = nn.functional.linear(torch.relu(way), (own * self.sign * turn).flatten(1), self.table[:, m])
        if not {"log", "angle"} & {*self.transforms}:
            return x
        columns = [
            torch.exp(c) if t == "log" else c
            for t, c in zip(self.transforms, torch.split(x, 1, 1), strict=True)
        ]
        for k, start in zip(self.angles, self.start, strict=True):
            columns[k] = wrapped(columns[k], start)
        return torch.cat(columns, 1)

    def to_normal(self, values: Tensor) -> Tensor:
        """Undo `from_normal`; (B, V) to (B, V), and never further out than 8."""
        logs = torch.log(values.clamp(min=_TINY))
        columns = [(logs if t == "log" else values)[:, k] for k, t in enumerate(self.transforms)]
        for k in self.angles:
            columns[k] = wrapped(columns[k], self.table[k, self.middle] - math.pi)
        x = torch.stack(columns).contiguous()
        index = torch.searchsorted(self.table, x, right=True).sub(1).clamp(0, len(self.grid) - 2)
        low, high = self.table.gather(1, index), self.table.gather(1, index + 1)
        z: Tensor = self.grid[index] + (x - low) / (high - low) * (self.grid[index + 1] - self.grid[index])
        return z.clamp(-2 * _KNOT_RANGE, 2 * _KNOT_RANGE).T


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
