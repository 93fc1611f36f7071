"""Generators of tracks: the parts that all models of continuous observables share.

Targets are numbers of a track or event, such as DLLs, momenta or angles. The models (`hepgan.models.dense`,
`hepgan.models.vae`, `hepgan.models.flow`) differ only in the network that maps latent numbers to normal ones. Around
it, `ObservablesGenerator` does the rest:

- Conditions are expanded into tent functions on their quantiles (`hepgan.transforms.conditions.Tents`), so that a
  network of a few thousand weights can follow Cherenkov thresholds, which change the distributions within a per cent of
  momentum.
- Point masses are drawn, not smeared: a small classifier gives the probability of each pattern of atoms and ties
  (`hepgan.transforms.point_masses`) at the given conditions, and one more latent number chooses the pattern.
- Continuous targets are made standard normal by a quantile transform (`hepgan.transforms.quantiles`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hepgan.config import DataConfig, ObservablesModelConfig
from hepgan.data.tensors import TensorEvents
from hepgan.progress import stage
from hepgan.transforms.conditions import ConditionScaling, Tents
from hepgan.transforms.point_masses import Patterns, draw
from hepgan.transforms.quantiles import QuantileScaling

__all__ = ["ObservablesGenerator"]

# The classifier that gives the probability (chance) of each pattern, and its training:
_CHANCE_WIDTH = 64  # units of its hidden layer
_CHANCE_STEPS = 1500
_CHANCE_BATCH = 4096  # events per step
_LEAST_CHANCE = 1e-6  # smallest probability under the logarithm of the loss
_CHANCE_RATE = 3e-3  # learning rate at the beginning; it falls to zero


class ObservablesGenerator(nn.Module):
    """Generate V targets of tracks from conditions and latent numbers, all in physical units.

    Base class. A model passes the number of latent numbers of its network to the constructor, builds the network in
    `_make`, and maps latent numbers to normal ones in `normal`. A model with its own loss has ``loss(events,
    rng=...)``, see docs/objectives.md.

    Args:
        data: Conditions and targets.
        model: Sizes of the networks.
        noise: Number of latent numbers of the network.

    Attributes:
        n_latent: Number of latent numbers of an event.
        n_context: Number of features of conditions and pattern.
        condition_range: (n_conditions, 2) smallest and largest value of each condition in the training events.
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
        """Build the networks for the present number of patterns."""
        n_features = self.condition_scaling.n_features + self.tents.n_features
        k = self.patterns.n_patterns
        self.n_context = n_features + k
        self.chance = nn.Sequential(
            nn.Linear(n_features, _CHANCE_WIDTH), nn.ReLU(), nn.Linear(_CHANCE_WIDTH, k), nn.Softmax(1)
        ).requires_grad_(False)
        self._make()

    def _make(self) -> None:
        """Build the networks of the model; they need `n_context`."""
        raise NotImplementedError

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Load weights; the networks are rebuilt if the number of patterns differs."""
        code = state_dict.get("patterns.code")
        if code is not None and code.shape != self.patterns.code.shape:
            self.patterns.code = code.to(self.patterns.code)
            self._build()
        return super().load_state_dict(state_dict, *args, **kwargs)

    @property
    def n_latent(self) -> int:
        """Number of latent numbers of an event: those of the network, and one that chooses between patterns."""
        return self.n_noise + (self.patterns.n_patterns > 1)

    @property
    def target_scale(self) -> Tensor:
        """Scale (V,) of the continuous part of each target, in its unit: half the width of its central 68 %."""
        ends = torch.tensor([[-1.0], [1.0]], device=self.condition_range.device).expand(2, self.n_targets)
        low, high = self.scaling.from_normal(ends)
        scale: Tensor = 0.5 * (high - low)
        scale[self.scaling.angles] = self.scaling.winding
        return scale

    def fit(self, events: TensorEvents, *, rng: torch.Generator) -> None:
        """Fit scalings, quantiles, patterns and their probabilities to the training events, before any game.

        Args:
            events: Training events.
            rng: Source of the batches that the classifier of patterns is trained on.

        Raises:
            DataError: If a target is constant, or angles cover more than a turn.
        """
        condition, weights, targets = events.condition, events.weights, events.outputs[0]
        with torch.no_grad():
            self.condition_range.copy_(torch.stack([condition.amin(0), condition.amax(0)], 1))
            self.condition_scaling.fit(condition, weights)
            self.tents.fit(self.condition_scaling.numbers(condition), weights)
            self.patterns.fit(targets, weights)
            pattern = self.patterns.one_hot(targets)
            self.scaling.fit(targets, weights, pattern @ self.patterns.continuous > 0)
        self._build()
        if self.patterns.n_patterns > 1:
            self._fit_chance(events, rng=rng)

    def _fit_chance(self, events: TensorEvents, *, rng: torch.Generator) -> None:
        """Train the classifier of patterns with cross entropy.

        With this loss, mean probabilities are right even where the network cannot follow the conditions. Probabilities
        under the logarithm are at least `_LEAST_CHANCE`, so that events of negative weight cannot make it diverge.
        """
        self.chance.requires_grad_(True)
        optimizer = torch.optim.Adam(self.chance.parameters(), lr=_CHANCE_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _CHANCE_STEPS)
        with stage("fitting the point masses", total=_CHANCE_STEPS) as update:
            for step in range(_CHANCE_STEPS):
                batch = events.batch(min(_CHANCE_BATCH, len(events)), rng=rng)
                with torch.no_grad():
                    features, pattern = (
                        self.features(batch.condition),
                        self.patterns.one_hot(batch.outputs[0]),
                    )
                surprise = -(pattern * torch.log(self.chance(features).clamp(min=_LEAST_CHANCE))).sum(1)
                optimizer.zero_grad(set_to_none=True)
                (batch.weights * surprise).mean().backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                update(step + 1)
        self.chance.requires_grad_(False)

    def features(self, condition: Tensor) -> Tensor:
        """Map (B, n_conditions) physical conditions to (B, n_features): numbers, one-hot categories, tents."""
        numbers = self.condition_scaling.numbers(condition)
        return torch.cat([numbers, *self.condition_scaling.indicators(condition), self.tents(numbers)], 1)

    def context(self, condition: Tensor, pattern: Tensor) -> Tensor:
        """Join features of (B, n_conditions) physical conditions and a (B, K) one-hot pattern to (B, n_context)."""
        return torch.cat([self.features(condition), pattern], 1)

    def normal(self, context: Tensor, latent: Tensor) -> Tensor:
        """Generate the continuous targets as normal numbers, before the quantile transform.

        Args:
            context: (B, n_context).
            latent: (B, n_latent) standard normal numbers; the network uses the first n_noise.

        Returns:
            (B, V) normal numbers; those of targets that the pattern fixes have no meaning.
        """
        raise NotImplementedError

    def codes(self, context: Tensor, z: Tensor, latent: Tensor) -> Tensor:
        """Replace part of a latent batch by encoder codes of the real events; without an encoder, nothing.

        Args:
            context: (B, n_context).
            z: (B, V) normal numbers of the real events, zero for targets that the pattern fixes.
            latent: (B, n_latent) standard normal numbers.

        Returns:
            (B, n_latent) latent numbers.
        """
        return latent

    def representation(self, events: TensorEvents) -> tuple[Tensor, Tensor, Tensor]:
        """Represent B events in network units.

        Returns:
            Context (B, n_context); normal numbers (B, V) of the targets; ones (B, V) for targets that are free, zeros
            for those that the pattern fixes.
        """
        pattern, z = events.represented or self.represented(events)
        return self.context(events.condition, pattern), z, pattern @ self.patterns.free

    def represented(self, events: TensorEvents) -> tuple[Tensor, Tensor]:
        """Represent the targets of N events: one-hot patterns (N, K), and normal numbers (N, V)."""
        (targets,) = events.outputs
        return self.patterns.one_hot(targets), self.scaling.to_normal(targets)

    def forward(self, condition: Tensor, latent: Tensor) -> tuple[Tensor]:
        """Generate tracks.

        Args:
            condition: (B, n_conditions) in physical units.
            latent: (B, n_latent) standard normal numbers; if there are several patterns, the last one chooses.

        Returns:
            Targets (B, V) in physical units, in a tuple of one.
        """
        features = self.features(condition)
        if self.patterns.n_patterns > 1:
            pattern = draw(self.chance(features), latent[:, -1:])
        else:
            pattern = torch.ones_like(features[:, :1])
        values = self.scaling.from_normal(self.normal(torch.cat([features, pattern], 1), latent))
        return (self.patterns.assemble(values, pattern),)
