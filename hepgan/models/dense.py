"""Conditional generator and critic of observables: one number each, of a track or event.

The line is that of conditional WGANs for the DLLs of a RICH detector (arXiv:1905.11825): dense networks, targets made
normal by a quantile transform. What differs, and why, besides the frame (`hepgan.models.tracks`):

- The game is played on the continuous targets alone, between real and generated events of the same condition and
  pattern of point masses.
- The critic, and the energy score before it, see the targets whitened too: likelihoods of similar hypotheses differ by
  a thousandth of their range, which no distance between samples resolves otherwise.
- Angles are the direction of two numbers for the generator, and cosine and sine for the critic: neither knows where a
  turn begins.
- A dense layer and its activation are one node of the exported graph, and few: a track costs microseconds.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hepgan.config import DataConfig, DllModelConfig, ObservablesModelConfig
from hepgan.data.tensors import TensorEvents
from hepgan.models.critic_view import CriticView
from hepgan.models.tracks import ObservablesGenerator
from hepgan.models.whitening import Whitening
from hepgan.transforms.quantiles import wound

__all__ = ["DllCritic", "DllGenerator", "ResidualNetwork"]

_SLOPE = 0.1  # of LeakyReLU
_MOST = 30.0  # spreads; a whitened target further out counts as this far
_WHITENING_EVENTS = 100_000  # a regression of a few hundred numbers needs no more


class ResidualNetwork(nn.Module):
    """Dense layers, each added to what came before: h + f(W h + b).

    Args:
        inputs: Numbers in.
        width: Units.
        depth: Residual layers after the first.
        outputs: Numbers out.
    """

    def __init__(self, inputs: int, width: int, depth: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.last = nn.Linear(width, outputs)
        self.activation = nn.LeakyReLU(_SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs) to (B, outputs)."""
        h = self.activation(self.first(x))
        for block in self.blocks:
            h = h + self.activation(block(h))
        out: Tensor = self.last(h)
        return out


class DllGenerator(ObservablesGenerator):
    """Dense network of label and latent numbers.

    An angle is the direction of two of its numbers. One that goes around the circle would do on paper; but once it has
    spread over a turn, all directions are alike, and no small step leads from there to two peaks.

    Args:
        data: Conditions and targets.
        model: Sizes.
    """

    model: DllModelConfig

    def __init__(self, data: DataConfig, model: DllModelConfig) -> None:
        super().__init__(data, model, noise=model.latent)

    def _make(self) -> None:
        self.network = ResidualNetwork(
            self.n_label + self.n_noise, self.model.width, self.model.depth, len(self.scaling.seen)
        )

    def normal(self, label: Tensor, latent: Tensor) -> Tensor:
        """Continuous targets as normal numbers (B, V), from (B, n_label) and (B, >= n_noise)."""
        x: Tensor = self.network(torch.cat([label, latent[:, : self.n_noise]], 1))
        return wound(x, self.scaling.angles, self.scaling.winding) if self.scaling.angles else x


class DllCritic(nn.Module):
    """Score of the continuous targets of a track, given its conditions and pattern.

    It sees the targets twice: as normal numbers (angles: cosine and sine), and whitened (`Whitening`), where the thin
    ridges between similar hypotheses are as wide as everything else.

    Args:
        generator: The generator it judges.
        model: Sizes.
        scores: Numbers S that it gives of each track.
    """

    def __init__(
        self, generator: ObservablesGenerator, model: ObservablesModelConfig, *, scores: int = 1
    ) -> None:
        super().__init__()
        n_seen = len(generator.scaling.seen)
        self.whitening = Whitening(n_seen, generator.n_label)
        inputs = 2 * n_seen + generator.n_label
        self.network = ResidualNetwork(inputs, model.critic_width, model.critic_depth, scores)

    def fit(self, generator: ObservablesGenerator, events: TensorEvents) -> None:
        """Learn the linear correlations at each condition."""
        first, scaling = events[:_WHITENING_EVENTS], generator.scaling
        label, z, free = generator.seen(first)
        self.whitening.fit(scaling.periodic(z), label, free[:, scaling.seen], first.weights)

    def view(self, generator: ObservablesGenerator, events: TensorEvents) -> CriticView:
        """Periodic and whitened targets (B, 2 W) under conditions and pattern (B, n_label).

        They are zero where the pattern leaves no freedom; generated tracks have the patterns of the real ones.
        """
        scaling = generator.scaling
        with torch.no_grad():
            label, z, free = generator.seen(events)
            each = free[:, scaling.seen]
            whiten = self.whitening.at(label, each)

        def seen(z: Tensor) -> Tensor:
            x = scaling.periodic(z)
            return torch.cat([each * x, whiten(x).clamp(-_MOST, _MOST)], 1)

        return CriticView(
            label,
            seen(z),
            lambda latent: seen(generator.normal(label, latent)),
            lambda latent: generator.codes(label, free * z, latent),
        )

    def forward(self, event: Tensor, label: Tensor) -> Tensor:
        """Score (B, 2 W) periodic and whitened numbers under (B, n_label): (B, S)."""
        score: Tensor = self.network(torch.cat([event, label], 1))
        return score
