"""Targets to normal numbers of equal rank and back, and quantiles under weights of either sign."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["QuantileScaling", "differences", "weighted_quantiles", "wound", "wrapped"]

TINY = 1e-12
KNOT_RANGE = 4.0  # standard deviations; one number in 16,000 lies outside and is moved to the edge
_LEAST_SLOPE = 1e-3  # of a quantile transform, relative to its mean slope: keeps it invertible
_TURN = 2 * math.pi
_TURN_DIGITS = 1e-6  # by which angles in single precision may go beyond a turn


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
    fraction = ((probabilities.to(low)[:, None] - low) / (high - low).clamp(min=TINY)).clamp(0, 1)
    return ordered.gather(0, right - 1).lerp(ordered.gather(0, right), fraction.to(ordered))


def differences(n: int, *, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Weight (n + 1, n) and bias (n + 1,) that turn n numbers falling from 1 to 0 into their n + 1 steps."""
    weight = torch.zeros(n + 1, n, device=device)
    k = torch.arange(n, device=device)
    weight[k + 1, k], weight[k, k] = 1.0, -1.0
    bias = torch.zeros(n + 1, device=device)
    bias[0] = 1.0
    return weight, bias


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
        grid = torch.linspace(-KNOT_RANGE, KNOT_RANGE, knots)
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
                    mean + ((w * (x - mean) ** 2).sum() / w.sum()).clamp(min=TINY).sqrt() * self.grid.double()
                )
            gap = _LEAST_SLOPE * (column[-1] - column[0]).clamp(min=TINY) / len(column)
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
        logs = torch.log(values.clamp(min=TINY))
        columns = [(logs if t == "log" else values)[:, k] for k, t in enumerate(self.transforms)]
        for k in self.angles:
            columns[k] = wrapped(columns[k], self.table[k, self.middle] - math.pi)
        x = torch.stack(columns).contiguous()
        index = torch.searchsorted(self.table, x, right=True).sub(1).clamp(0, len(self.grid) - 2)
        low, high = self.table.gather(1, index), self.table.gather(1, index + 1)
        z: Tensor = self.grid[index] + (x - low) / (high - low) * (self.grid[index + 1] - self.grid[index])
        return z.clamp(-2 * KNOT_RANGE, 2 * KNOT_RANGE).T
