"""Generators of observables, one number each, of a track or event: what all of them share.

The frame is that of `hepgan.models.dense`; models differ in the network inside, which maps latent numbers to
normal ones.

- Conditions enter as tent functions on their quantiles (`Tents`), so that a network of a few thousand weights
  follows Cherenkov thresholds, which change the distributions within a per cent of momentum.
- Point masses are drawn, not smeared: a small classifier gives the probability of each pattern of atoms and ties
  (`hepgan.transforms.point_masses`) at the given conditions, and an extra latent number chooses one.
- The continuous targets are made normal by a quantile transform.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hepgan.config import DataConfig, ObservablesModelConfig
from hepgan.data.tensors import TensorEvents
from hepgan.transforms.conditions import ConditionScaling, Tents
from hepgan.transforms.point_masses import Patterns, draw
from hepgan.transforms.quantiles import QuantileScaling

__all__ = ["ObservablesGenerator"]

_CHANCE_WIDTH = 64  # units of the classifier of patterns
_CHANCE_STEPS = 1500
_CHANCE_BATCH = 4096
_LEAST_CHANCE = 1e-6
_CHANCE_RATE = 3e-3  # learning rate at the beginning; falls to zero


class ObservablesGenerator(nn.Module):
    """Conditions and latent numbers -> targets, all in physical units.

    A model of the family says how many latent numbers its network takes, makes the network (`_make`), and maps latent
    numbers to normal ones with it (`normal`). One that brings a loss of its own has ``loss``, see docs/objectives.md.

    Args:
        data: Conditions and targets.
        model: Sizes.
        noise: Latent numbers that the network takes.

    Attributes:
        condition_range: (n_conditions, 2) smallest and largest condition seen in `fit`.
    """

    condition_range: Tensor
    model: ObservablesModelConfig

    def __init__(self, data: DataConfig, model: ObservablesModelConfig, *, noise: int) -> None:
        super().__init__()
        self.model, self.n_noise = model, noise
        self.n_conditions, self.n_targets = len(data.conditions), len(data.targets)
        self.condition_scaling = ConditionScaling(data.conditions)
        self.tents = Tents(self.condition_scaling.n_numbers, nodes=model.hinges)
        self.scaling = QuantileScaling([t.transform for t in data.targets], knots=model.knots)
        self.patterns = Patterns({t.name: t.atoms for t in data.targets}, ties=data.ties)
        self.register_buffer("condition_range", torch.zeros(self.n_conditions, 2))
        self._build()

    def _build(self) -> None:
        """Make the networks for the number of patterns that there is."""
        n_features = self.condition_scaling.n_features + self.tents.n_features
        k = self.patterns.n_patterns
        self.n_label = n_features + k
        self.chance = nn.Sequential(
            nn.Linear(n_features, _CHANCE_WIDTH), nn.ReLU(), nn.Linear(_CHANCE_WIDTH, k), nn.Softmax(1)
        ).requires_grad_(False)
        self._make()

    def _make(self) -> None:
        """Make the model's own networks."""
        raise NotImplementedError

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Load weights of any number of patterns."""
        code = state_dict.get("patterns.code")
        if code is not None and code.shape != self.patterns.code.shape:
            self.patterns.code = code.to(self.patterns.code)
            self._build()
        return super().load_state_dict(state_dict, *args, **kwargs)

    @property
    def n_latent(self) -> int:
        """Latent numbers of an event: one more than the network's where there is a pattern to choose."""
        return self.n_noise + (self.patterns.n_patterns > 1)

    @property
    def target_scale(self) -> Tensor:
        """Typical size (V,) of the continuous part of each target, in its unit: half of its central 68 %."""
        ends = torch.tensor([[-1.0], [1.0]], device=self.condition_range.device).expand(2, self.n_targets)
        low, high = self.scaling.from_normal(ends)
        scale: Tensor = 0.5 * (high - low)
        scale[self.scaling.angles] = self.scaling.winding
        return scale

    def fit(self, events: TensorEvents, *, rng: torch.Generator) -> None:
        """Set everything that statistics alone can know: scalings, quantiles, patterns and their probabilities.

        Args:
            events: Tracks.
            rng: Source of the batches of the patterns' classifier.

        Raises:
            ValueError: If a target is constant.
        """
        condition, weights, targets = events.condition, events.weights, events.outputs[0]
        with torch.no_grad():
            self.condition_range.copy_(torch.stack([condition.amin(0), condition.amax(0)], 1))
            self.condition_scaling.fit(condition, weights)
            self.tents.fit(self.condition_scaling.numbers(condition), weights)
            self.patterns.fit(targets, weights)
            pattern = self.patterns.which(targets)
            self.scaling.fit(targets, weights, pattern @ self.patterns.continuous > 0)
        self._build()
        if self.patterns.n_patterns > 1:
            self._fit_chance(events, rng=rng)

    def _fit_chance(self, events: TensorEvents, *, rng: torch.Generator) -> None:
        """Probability of each pattern, by cross entropy: its means are right where the network cannot follow.

        Logarithms end at `_LEAST_CHANCE`, so that events of negative weight cannot run away with it.
        """
        self.chance.requires_grad_(True)
        optimizer = torch.optim.Adam(self.chance.parameters(), lr=_CHANCE_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _CHANCE_STEPS)
        for _ in range(_CHANCE_STEPS):
            batch = events.batch(min(_CHANCE_BATCH, len(events)), rng=rng)
            with torch.no_grad():
                features, wanted = self.features(batch.condition), self.patterns.which(batch.outputs[0])
            surprise = -(wanted * torch.log(self.chance(features).clamp(min=_LEAST_CHANCE))).sum(1)
            optimizer.zero_grad(set_to_none=True)
            (batch.weights * surprise).mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        self.chance.requires_grad_(False)

    def features(self, condition: Tensor) -> Tensor:
        """What the networks see of (B, n_conditions) conditions."""
        numbers = self.condition_scaling.numbers(condition)
        return torch.cat([numbers, *self.condition_scaling.indicators(condition), self.tents(numbers)], 1)

    def label(self, condition: Tensor, pattern: Tensor) -> Tensor:
        """Conditions (B, n_conditions) and pattern (B, K) as the networks see them, (B, n_label)."""
        return torch.cat([self.features(condition), pattern], 1)

    def normal(self, label: Tensor, latent: Tensor) -> Tensor:
        """Continuous targets as normal numbers (B, V), from (B, n_label) and (B, >= n_noise)."""
        raise NotImplementedError

    def codes(self, label: Tensor, z: Tensor, latent: Tensor) -> Tensor:
        """Latent numbers (B, n_latent) some of which reconstruct the (B, V) events, where the model can do that."""
        return latent

    def seen(self, events: TensorEvents) -> tuple[Tensor, Tensor, Tensor]:
        """Label (B, n_label), normal numbers (B, V), and ones (B, V) where they are free, of events."""
        pattern = self.patterns.which(events.outputs[0])
        return (
            self.label(events.condition, pattern),
            self.scaling.to_normal(events.outputs[0]),
            pattern @ self.patterns.free,
        )

    def forward(self, condition: Tensor, latent: Tensor) -> tuple[Tensor]:
        """Generate.

        Args:
            condition: (B, n_conditions) in physical units.
            latent: (B, n_latent) standard normal numbers; the last one chooses the pattern.

        Returns:
            Targets (B, V) in physical units.
        """
        features = self.features(condition)
        if self.patterns.n_patterns > 1:
            pattern = draw(self.chance(features), latent[:, -1:])
        else:
            pattern = torch.ones_like(features[:, :1])
        values = self.scaling.from_normal(self.normal(torch.cat([features, pattern], 1), latent))
        return (self.patterns.assemble(values, pattern),)
