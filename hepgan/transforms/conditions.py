"""Conditions in physical units to network inputs: standardised numbers, one-hot categories, tent functions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hepgan.config import ConditionConfig
from hepgan.transforms.kernels import usable
from hepgan.transforms.quantiles import TINY, differences, weighted_quantiles
from hepgan.transforms.track_kernels import tents

__all__ = ["ConditionScaling", "Tents"]

# Smallest distance between two nodes, in standard deviations of the condition. Closer ones are merged: a tent between
# them would magnify the rounding of single precision by the inverse of their distance.
_LEAST_GAP = 1e-2
_GAP = 0.5  # part of the interval between two nodes without events, from which on the nodes move to its edges
_LEAST_LOG_SPREAD = (
    1e-2  # of log x, which is known to 1e-7: a narrower spectrum is not stretched to unit spread
)
_CONSTANT = 1e-6  # spread, relative to the mean, below which a condition counts as constant; its scale is 1


class ConditionScaling(nn.Module):
    r"""Standardise numeric conditions and one-hot encode categories.

    A number x becomes :math:`(t(x) - \mu) / \sigma` with t = log or identity as configured; a category with n values
    becomes n numbers, one of which is 1 and the others 0. Numbers come first.

    Args:
        conditions: Transform and categories of each condition.
        periodic: Whether angles (unit rad) enter as cosine and sine, standardised, behind the other numbers.

    Attributes:
        n_numbers: Number C of numeric inputs: one a numeric condition, or two of an angle.
        n_features: Number of outputs: C and the values of all categories.
    """

    mean: Tensor
    scale: Tensor
    logarithmic: Tensor

    def __init__(self, conditions: Sequence[ConditionConfig], *, periodic: bool = False) -> None:
        super().__init__()
        numeric = [k for k, c in enumerate(conditions) if c.transform != "category"]
        turns = [k for k in numeric if conditions[k].unit == "rad" and conditions[k].transform == "linear"]
        self.angles = turns if periodic else []
        self.columns = [k for k in numeric if k not in self.angles]
        self.n_numbers = len(self.columns) + 2 * len(self.angles)
        logarithmic = [conditions[k].transform == "log" for k in self.columns] + 2 * [False] * len(
            self.angles
        )
        self.any_log = any(logarithmic)
        self.categories = {
            k: list(c.categories.values()) for k, c in enumerate(conditions) if c.transform == "category"
        }
        self.n_features = self.n_numbers + sum(map(len, self.categories.values()))
        self.register_buffer("logarithmic", torch.tensor(logarithmic, dtype=torch.bool), persistent=False)
        self.register_buffer("mean", torch.zeros(self.n_numbers))
        self.register_buffer("scale", torch.ones(self.n_numbers))

    def fit(self, condition: Tensor, weights: Tensor) -> None:
        """Set mean and standard deviation from (N, n_conditions) physical values and (N,) weights."""
        x = self._transformed(condition.double())
        w = (weights.double() / weights.double().sum())[:, None]
        mean = (w * x).sum(0)
        self.mean.copy_(mean)
        spread = (w * (x - mean) ** 2).sum(0).clamp(min=TINY**2).sqrt()
        constant = spread <= TINY + _CONSTANT * torch.where(self.logarithmic, 1.0, mean.abs())
        scale = torch.where(self.logarithmic, spread.clamp(min=_LEAST_LOG_SPREAD), spread)
        self.scale.copy_(torch.where(constant, 1.0, scale))

    def _numeric(self, condition: Tensor) -> Tensor:
        """Numeric conditions as they are, then cosines and sines of angles, (N, C)."""
        x = condition[:, self.columns] if self.categories or self.angles else condition
        if not self.angles:
            return x
        angle = condition[:, self.angles]
        return torch.cat([x, torch.cos(angle), torch.sin(angle)], 1)

    def _transformed(self, condition: Tensor) -> Tensor:
        """Numeric inputs (N, C), those with transform "log" as their logarithm."""
        x = self._numeric(condition)
        if not self.any_log:
            return x
        return torch.where(self.logarithmic, torch.log(x.clamp(min=TINY)), x)

    def numbers(self, condition: Tensor) -> Tensor:
        """Map (B, n_conditions) physical values to (B, C) standardised numbers, without the categories."""
        x = self._numeric(condition)
        centred = x - self.mean
        if self.any_log:  # log(x / x0) keeps one more digit in float32 than log x - log x0
            middle = torch.exp(torch.where(self.logarithmic, self.mean, 0))
            centred = torch.where(self.logarithmic, torch.log((x / middle).clamp(min=TINY)), centred)
        return centred / self.scale

    def indicators(self, condition: Tensor) -> list[Tensor]:
        """One-hot codes (B, n_values) of each category in (B, n_conditions) physical values."""
        codes = []
        for k, values in self.categories.items():
            value = torch.tensor(values, device=condition.device)
            gap = min((abs(a - b) for a in values for b in values if a != b), default=1.0)
            codes.append(torch.relu(1 - (condition[:, k : k + 1] - value).abs() / gap))
        return codes

    def forward(self, condition: Tensor) -> Tensor:
        """Map (B, n_conditions) physical values to (B, n_features) network inputs."""
        parts = [self.numbers(condition), *self.indicators(condition)]
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]


def _beside_gaps(nodes: Tensor, values: Tensor) -> Tensor:
    """Nodes (H,), increasing, moved to the edges of gaps between values (N,) that fill most of an interval."""
    ordered = torch.sort(values.double()).values
    before = torch.searchsorted(ordered, nodes[:-1].contiguous(), right=True) - 1
    behind = torch.searchsorted(ordered, nodes[1:].contiguous())
    moved = nodes.clone()
    for k, (first, last) in enumerate(zip(before.tolist(), behind.tolist(), strict=True)):
        inside = ordered[max(first, 0) : last + 1].clamp(nodes[k], nodes[k + 1])
        gaps = inside[1:] - inside[:-1]
        if len(gaps) > 1 and gaps.max() > _GAP * (nodes[k + 1] - nodes[k]):
            at = int(gaps.argmax())
            moved[k], moved[k + 1] = inside[at], inside[at + 1]
    moved[0], moved[-1] = nodes[0], nodes[-1]
    return moved


class Tents(nn.Module):
    r"""Expand each condition into H tent functions with nodes on its quantiles.

    Tent h is 1 at node h, falls linearly to 0 at the neighbouring nodes and stays 0 beyond, so a linear layer of tents
    is a piecewise-linear function of the condition. A dense network behind them follows a threshold (of the momentum,
    for example) as sharply as the number of events allows. The tents of a condition sum to 1; outside the fitted range
    the outermost one stays at 1. A condition with few values, such as beam energies, has fewer nodes than H: tents
    without a node of their own are 0 everywhere. Where events are missing, the nodes nearest to the gap stand at its
    edges, so that one straight line leads from what the events before it say to what those behind it say.

    Args:
        numbers: Number of conditions C.
        nodes: Tents H of each condition (>= 2).
    """

    place: Tensor  # (C, H) nodes, increasing; the last one is repeated if there are fewer
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
        """Put the nodes on evenly spaced quantiles of (N, C) standardised conditions with (N,) weights.

        Nodes that coincide, or nearly so, become one, and nodes beside a gap move to its edges.
        """
        levels = torch.linspace(0, 1, self.nodes, dtype=torch.float64)
        quantiles = weighted_quantiles(x.double(), weights.double(), levels).T.contiguous()
        quantiles[:, 0], quantiles[:, -1] = x.amin(0), x.amax(0)
        for place, nodes, values in zip(self.place, quantiles, x.T, strict=True):
            first, *others = _beside_gaps(nodes, values).tolist()
            kept = [first]
            for node in others:
                if node - kept[-1] >= _LEAST_GAP:
                    kept.append(node)
            place.copy_(torch.tensor(kept + kept[-1:] * (self.nodes - len(kept)), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C) standardised conditions to (B, C * H) numbers from 0 to 1."""
        if usable(x, self.place) and not x.requires_grad:
            return tents(x, self.place)
        # the part of each interval between nodes that lies below x: 1 for intervals below, 0 for intervals above
        numbers, intervals = self.place.shape[0], self.nodes - 1
        gap = self.place[:, 1:] - self.place[:, :-1]
        slope = torch.where(gap > 0, 1 / gap, 0)  # 0 where nodes are merged
        own = torch.eye(numbers, device=x.device).repeat_interleave(intervals, 0) * slope.flatten()[:, None]
        covered = nn.functional.linear(x, own, -(slope * self.place[:, :-1]).flatten()).clamp(0, 1)
        return nn.functional.linear(covered, self.weight, self.bias)
