"""Dense generator and critic of tracks: ``model.name = "dll"``, a conditional GAN of continuous observables.

It follows the conditional WGANs for the DLLs of a RICH detector (arXiv:1905.11825): dense networks, and targets made
normal by a quantile transform. `hepgan.models.tracks` has the parts that all track generators share. Differences from
the paper, and their reasons:

- The critic compares only the continuous targets, of real and generated tracks with the same conditions and the same
  pattern of point masses.
- The critic, and the energy score in front of it, get the targets whitened too: likelihoods of similar hypotheses
  differ by a thousandth of their range, which no distance between samples resolves otherwise.
- An angle is the direction of two network outputs for the generator, and cosine and sine for the critic, so that
  neither sees where a turn begins.
- A dense layer and its activation are one node of the exported graph, and there are few: a track takes microseconds.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from hepgan.config import DataConfig, DllModelConfig, ObservablesModelConfig
from hepgan.data.tensors import TensorEvents
from hepgan.models.critic_view import CriticView
from hepgan.models.piecewise import SLOPE, Step, Trace, activated
from hepgan.models.tracks import ObservablesGenerator
from hepgan.models.whitening import Whitening
from hepgan.transforms.angles import from_periodic

__all__ = ["DllCritic", "DllGenerator", "ResidualNetwork"]

_MOST = 30.0  # standard deviations; whitened targets are clipped to +- this value
_WHITENING_EVENTS = 100_000  # enough to fit the few hundred coefficients of the whitening


class ResidualNetwork(nn.Module):
    r"""Dense network with residual layers: :math:`h \leftarrow h + f(W h + b)`, with f = LeakyReLU.

    Args:
        inputs: Number of inputs.
        width: Units of each layer.
        depth: Number of residual layers after the first layer.
        outputs: Number of outputs.
    """

    def __init__(self, inputs: int, width: int, depth: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.last = nn.Linear(width, outputs)

    def forward(self, x: Tensor, *, step: Step = activated) -> Tensor:
        """Map (B, inputs) to (B, outputs); `step` applies the layers."""
        h = step(self.first, x, SLOPE)
        for block in self.blocks:
            h = h + step(block, h, SLOPE)
        return step(self.last, h, 1.0)


class DllGenerator(ObservablesGenerator):
    """Generate the continuous targets of tracks with a dense network of context and latent numbers.

    An angle is the direction of two network outputs. A single angle would suffice in principle, but once it covers
    2 pi, gradients no longer lead to two peaks.

    Args:
        data: Conditions and targets.
        model: Sizes of the network.
    """

    model: DllModelConfig

    def __init__(self, data: DataConfig, model: DllModelConfig) -> None:
        super().__init__(data, model, noise=model.latent)

    def _make(self) -> None:
        self.network = ResidualNetwork(
            self.n_context + self.n_noise,
            self.model.width,
            self.model.depth,
            len(self.scaling.periodic_targets),
        )

    def normal(self, context: Tensor, latent: Tensor) -> Tensor:
        """Generate normal numbers (B, V); arguments as in `ObservablesGenerator.normal`."""
        x: Tensor = self.network(torch.cat([context, latent[:, : self.n_noise]], 1))
        return from_periodic(x, self.scaling.angles, self.scaling.winding) if self.scaling.angles else x


class DllCritic(nn.Module):
    """Score tracks of any `ObservablesGenerator` by their continuous targets, given conditions and pattern.

    Its input has the targets twice: as W periodic numbers (normal numbers; cosine and sine of angles), and whitened
    (`Whitening`), which makes the thin ridges between similar hypotheses as wide as everything else.

    Args:
        generator: Generator whose events it scores.
        model: Sizes of the network.
        scores: Number S of scores per track.
    """

    def __init__(
        self, generator: ObservablesGenerator, model: ObservablesModelConfig, *, scores: int = 1
    ) -> None:
        super().__init__()
        n_periodic = len(generator.scaling.periodic_targets)
        self.whitening = Whitening(n_periodic, generator.n_context)
        inputs = 2 * n_periodic + generator.n_context
        self.network = ResidualNetwork(inputs, model.critic_width, model.critic_depth, scores)

    def fit(self, generator: ObservablesGenerator, events: TensorEvents) -> None:
        """Fit the whitening to the training events."""
        first, scaling = events[:_WHITENING_EVENTS], generator.scaling
        context, z, free = generator.representation(first)
        self.whitening.fit(scaling.periodic(z), context, free[:, scaling.periodic_targets], first.weights)

    def represented(self, generator: ObservablesGenerator, events: TensorEvents) -> tuple[Tensor, ...]:
        """What `view` needs of real tracks beside their conditions: see `ObservablesGenerator.represented`."""
        return generator.represented(events)

    def view(self, generator: ObservablesGenerator, events: TensorEvents) -> CriticView:
        """Represent B real tracks, and generated ones with the same conditions and patterns.

        The representation (B, 2 W) has periodic, then whitened numbers, which are zero for targets that the pattern
        fixes; the context (B, n_context) has conditions and pattern.
        """
        scaling = generator.scaling
        with torch.no_grad():
            context, z, free = generator.representation(events)
            free_periodic = free[:, scaling.periodic_targets]
            whiten = self.whitening.at(context, free_periodic)

        def represent(z: Tensor) -> Tensor:
            x = scaling.periodic(z)
            return torch.cat([free_periodic * x, whiten(x).clamp(-_MOST, _MOST)], 1)

        return CriticView(
            context,
            represent(z),
            lambda latent: represent(generator.normal(context, latent)),
            lambda latent: generator.codes(context, free * z, latent),
        )

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Score (B, 2 W) representations in (B, n_context) contexts: (B, S)."""
        score: Tensor = self.network(torch.cat([x, context], 1))
        return score

    def scores(self, x: Tensor, context: Tensor) -> Tensor:
        """Score as `forward`; with first derivatives only, if that is faster."""
        return self(x, context)  # type: ignore[no-any-return]

    def traced(self, x: Tensor, context: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Scores (B, S), and the function of directions (B, 2 W) that `linear_gradient_penalty` needs."""
        trace, zero = Trace(), torch.zeros_like(context)
        scores = self.network(torch.cat([x, context], 1), step=trace.record)

        def network(direction: Tensor, step: Step) -> Tensor:
            return self.network(torch.cat([direction, zero], 1), step=step)  # type: ignore[no-any-return]

        return scores, lambda direction: trace.along(network, direction)
