"""Quantiles with weights of either sign, and the quantile transform between targets and standard normal numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hepgan.errors import DataError
from hepgan.transforms.angles import TURN, wrapped

__all__ = ["KNOT_RANGE", "TINY", "QuantileScaling", "differences", "weighted_quantiles"]

TINY = 1e-12  # keeps quotients, logarithms and square roots finite
KNOT_RANGE = 4.0  # standard deviations that a table covers; one normal number in 16,000 lies outside
_LEAST_SLOPE = 1e-3  # of a quantile transform, relative to its mean slope: keeps it invertible
_TURN_TOLERANCE = 1e-6  # rad; rounding of angles in single precision at the ends of a turn


def weighted_quantiles(values: Tensor, weights: Tensor, probabilities: Tensor) -> Tensor:
    """Quantiles of each column, with weights of either sign.

    The cumulative weight is replaced by its running maximum, so that events of negative weight (sWeights) subtract but
    the quantiles stay in order.

    Args:
        values: (N, V).
        weights: (N,).
        probabilities: (P,) from 0 to 1, or (P, V) with those of each column.

    Returns:
        (P, V) quantiles.

    Raises:
        DataError: If the sum of the weights is not positive.
    """
    total = weights.sum()
    if not total > 0:
        raise DataError(f"weights: expected a positive sum, got {float(total):g}; check the weight branch")
    ordered, order = values.sort(0)
    cumulative = (weights[order].cumsum(0) - 0.5 * weights[order]) / total  # middle of each event's step
    cumulative = cumulative.cummax(0).values
    if probabilities.ndim == 1:
        probabilities = probabilities[:, None].expand(-1, values.shape[1])
    targets = probabilities.to(cumulative)
    right = torch.searchsorted(cumulative.T.contiguous(), targets.T.contiguous()).T.clamp(1, len(values) - 1)
    low, high = cumulative.gather(0, right - 1), cumulative.gather(0, right)
    fraction = ((targets - low) / (high - low).clamp(min=TINY)).clamp(0, 1)
    return ordered.gather(0, right - 1).lerp(ordered.gather(0, right), fraction.to(ordered))


def differences(n: int, *, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Linear layer that takes differences: (x_1, ..., x_n) to (1 - x_1, x_1 - x_2, ..., x_n).

    Cumulative probabilities that fall from 1 to 0 become n + 1 probabilities that sum to 1.

    Returns:
        Weight (n + 1, n) and bias (n + 1,).
    """
    weight = torch.zeros(n + 1, n, device=device)
    k = torch.arange(n, device=device)
    weight[k + 1, k], weight[k, k] = 1.0, -1.0
    bias = torch.zeros(n + 1, device=device)
    bias[0] = 1.0
    return weight, bias


class QuantileScaling(nn.Module):
    r"""Map each target in physical units to a standard normal number and back.

    The map is piecewise linear between K knots, normal numbers from -4 to 4, and strictly monotone; beyond them it
    goes on with the slope of the first or last piece, so it is invertible everywhere. The form depends on the target:

    - ``quantile``: knot z maps to the quantile of the data at :math:`\Phi(z)`.
    - ``linear``, ``log``: a single straight line, :math:`x = \mu + \sigma z` or :math:`\log x = \mu + \sigma z`.
    - ``angle``: also :math:`\mu + \sigma z`, wrapped into one turn, so that every normal number is a direction. The
      inverse cuts the circle opposite the mean direction; compare events with `periodic` (cos, sin), which is
      continuous.

    Args:
        transforms: For each of V targets "quantile", "linear", "log" or "angle".
        knots: Number of knots K.

    Attributes:
        angles: Indices of the A targets that are angles.
        start: (A,) beginning of the turn of each angle (rad): 0, or -pi if some of the data are negative.
        table: (V, K) value of each target (or of its logarithm) at the knots.
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
        # the inner end of each piece, as seen from the middle knot, and the direction that leads away from the middle
        bends = torch.cat([grid[1 : self.middle + 1], grid[self.middle : -1]])
        self.register_buffer("bends", bends, persistent=False)
        self.register_buffer(
            "sign", torch.sign(torch.arange(knots - 1) - self.middle + 0.5), persistent=False
        )

    def fit(self, values: Tensor, weights: Tensor, continuous: Tensor) -> None:
        """Tabulate the quantiles, or mean and standard deviation, of each target.

        Args:
            values: (N, V) targets in physical units.
            weights: (N,), of either sign.
            continuous: (N, V) bool, false for values that are atoms, which are left out.

        Raises:
            DataError: If angles cover more than a turn.
        """
        levels = torch.special.ndtr(self.grid.double())
        for k, transform in enumerate(self.transforms):
            chosen = continuous[:, k]
            x, w = values[chosen, k].double(), weights[chosen].double()
            if len(x) < 2 or not w.sum() > 0:
                continue  # the target has only atoms; keep the initial table
            x = torch.log(x) if transform == "log" else x
            if transform == "angle":
                x = self._centred_angles(k, x, w)
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

    def _centred_angles(self, k: int, x: Tensor, weights: Tensor) -> Tensor:
        """Wrap angles (N,) of target k to within half a turn of their mean direction, and set their `start`."""
        low, high = float(x.min()), float(x.max())
        start = -math.pi if low < 0 else 0.0
        if low < start - _TURN_TOLERANCE or high > start + TURN + _TURN_TOLERANCE:
            raise DataError(
                f"target {k + 1}: expected angles from 0 to 2 pi, or from -pi to pi (rad), got {low:g} to {high:g}; "
                "convert them in an expression of the branch, such as 0.0174533 * degrees, or list sentinels as atoms"
            )
        self.start[self.angles.index(k)] = start
        mean = torch.atan2((weights * torch.sin(x)).sum(), (weights * torch.cos(x)).sum())
        return wrapped(x, mean - math.pi)

    @property
    def winding(self) -> Tensor:
        """Angle per unit of the normal number (A,), in rad: the standard deviation of each angle."""
        m = self.middle
        slope: Tensor = (self.table[:, m + 1] - self.table[:, m]) / (self.grid[m + 1] - self.grid[m])
        return slope[self.angles]

    @property
    def periodic_targets(self) -> list[int]:
        """Index of the target that each of the V + A `periodic` numbers describes."""
        return [*range(len(self.transforms)), *self.angles]

    def periodic(self, z: Tensor) -> Tensor:
        r"""Map (B, V) normal numbers to (B, V + A) numbers that are continuous around the circle.

        Angles are replaced by :math:`\sqrt 2 \cos`, and their :math:`\sqrt 2 \sin` is appended; both have variance 1
        if all directions are equally likely. Undone by `hepgan.transforms.angles.from_periodic`.
        """
        if not self.angles:
            return z
        columns = list(torch.split(z, 1, 1))
        phase = torch.split(z[:, self.angles] * self.winding, 1, 1)
        for k, angle in zip(self.angles, phase, strict=True):
            columns[k] = math.sqrt(2) * torch.cos(angle)
        return torch.cat([*columns, *(math.sqrt(2) * torch.sin(angle) for angle in phase)], 1)

    def from_normal(self, z: Tensor) -> Tensor:
        """Map (B, V) normal numbers to (B, V) values in physical units."""
        # table[middle] + sum over bends of (change of slope) * relu(distance beyond the bend), outwards from the
        # middle: two matrix products in the exported graph, and terms that hardly cancel
        slope = (self.table[:, 1:] - self.table[:, :-1]) / (self.grid[1:] - self.grid[:-1])
        inner, outer, m = slope[:, :-1], slope[:, 1:], self.middle
        change = torch.cat([(inner - outer)[:, : m - 1], slope[:, m - 1 : m + 1], (outer - inner)[:, m:]], 1)
        own = torch.eye(len(self.table), device=z.device, dtype=z.dtype)[:, :, None]
        beyond = nn.functional.linear(
            z, (own * self.sign).transpose(1, 2).flatten(0, 1), (-self.sign * self.bends).repeat(len(own))
        )
        x = nn.functional.linear(torch.relu(beyond), (own * self.sign * change).flatten(1), self.table[:, m])
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
        """Map (B, V) values to (B, V) normal numbers from -8 to 8: the inverse of `from_normal`."""
        logs = torch.log(values.clamp(min=TINY))
        columns = [(logs if t == "log" else values)[:, k] for k, t in enumerate(self.transforms)]
        for k in self.angles:
            columns[k] = wrapped(columns[k], self.table[k, self.middle] - math.pi)
        x = torch.stack(columns).contiguous()
        index = torch.searchsorted(self.table, x, right=True).sub(1).clamp(0, len(self.grid) - 2)
        low, high = self.table.gather(1, index), self.table.gather(1, index + 1)
        z: Tensor = self.grid[index] + (x - low) / (high - low) * (self.grid[index + 1] - self.grid[index])
        return z.clamp(-2 * KNOT_RANGE, 2 * KNOT_RANGE).T
