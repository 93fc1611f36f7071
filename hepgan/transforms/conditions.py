"""Conditions in physical units to what networks see."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hepgan.config import ConditionConfig
from hepgan.transforms.quantiles import TINY, differences, weighted_quantiles

__all__ = ["ConditionScaling", "Tents"]

_LEAST_GAP = 1e-4  # between nodes, in spreads of the condition


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
        self.scale.copy_((w * (x - mean) ** 2).sum(0).clamp(min=TINY).sqrt())

    def _transformed(self, condition: Tensor) -> Tensor:
        x = condition[:, self.columns] if self.categories else condition
        if not self.any_log:
            return x
        return torch.where(self.logarithmic, torch.log(x.clamp(min=TINY)), x)

    def numbers(self, condition: Tensor) -> Tensor:
        """Map (B, n_conditions) physical to (B, n_numbers) standardised; categories are left out."""
        x = condition[:, self.columns] if self.categories else condition
        centred = x - self.mean
        if self.any_log:  # log(x / x0), not log x - log x0: float32 keeps a digit more
            middle = torch.exp(torch.where(self.logarithmic, self.mean, 0))
            centred = torch.where(self.logarithmic, torch.log((x / middle).clamp(min=TINY)), centred)
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
