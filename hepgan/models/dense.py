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
from hepgan.models.piecewise import SLOPE, Step, Trace, activated, given
from hepgan.models.rosenblatt import Rosenblatt
from hepgan.models.tracks import ObservablesGenerator
from hepgan.models.whitening import Whitening
from hepgan.progress import stage
from hepgan.transforms.angles import from_periodic
from hepgan.transforms.kernels import usable
from hepgan.transforms.track_kernels import Pass, residual

__all__ = ["DllCritic", "DllGenerator", "ResidualNetwork"]

_MOST = 30.0  # standard deviations; whitened targets are clipped to +- this value
_WHITENING_EVENTS = 100_000  # enough to fit the few hundred coefficients of the whitening
_RANKING_BATCH = 4096  # events from which a step learns ranks


class ResidualNetwork(nn.Module):
    r"""Dense network with residual layers: :math:`h \leftarrow h + f(W h + b)`, with f = LeakyReLU.

    Args:
        inputs: Number of inputs.
        width: Units of each layer.
        depth: Number of residual layers after the first layer.
        outputs: Number of outputs.
        context: Which inputs, the first or the last ones, are the context of an event: most of them are zero, and
            derivatives by them are not wanted.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        depth: int,
        outputs: int,
        *,
        context: range = range(0),
    ) -> None:
        super().__init__()
        self.context = context
        self.first = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.last = nn.Linear(width, outputs)

    def forward(self, x: Tensor, *, step: Step = activated) -> Tensor:
        """Map (B, inputs) to (B, outputs); `step` applies the layers."""
        h = step(self.first, x, SLOPE)
        for block in self.blocks:
            h = h + step(block, h, SLOPE)
        return step(self.last, h, 1.0)

    def at(self, context: Tensor, x: Tensor) -> Tensor:
        """Outputs (B, S) of contexts (B, C) and other inputs (B, F); with first derivatives only, if that is faster."""
        if not self._compiles(x):
            return self(self._joined(x, context))  # type: ignore[no-any-return]
        return residual(x.T, context, self.weights, begins=self.context.start, slope=SLOPE).T

    def traced(self, context: Tensor, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Outputs (B, S), and the function of directions (B, F) of the inputs without context of `Trace.along`."""
        if self._compiles(x):
            passed, weights = Pass(), self.weights
            # without the weights: the derivatives by them would be computed, and never used
            fixed = [p.detach() for p in weights]
            outputs = residual(x.T, context, fixed, begins=self.context.start, slope=SLOPE, passed=passed).T
            return outputs, lambda direction: given(passed.along(direction.T)[::2], weights[::2])
        trace, zero = Trace(), torch.zeros_like(context)

        def network(direction: Tensor, step: Step) -> Tensor:
            return self(self._joined(direction, zero), step=step)  # type: ignore[no-any-return]

        outputs = self(self._joined(x, context), step=trace.record)
        return outputs, lambda direction: trace.along(network, direction)

    @property
    def weights(self) -> list[Tensor]:
        """Weight and bias of each layer, as they are at the moment."""
        layers = self.first, *self.blocks, self.last
        return [p for layer in layers for p in (layer.weight, layer.bias)]

    def _joined(self, x: Tensor, context: Tensor) -> Tensor:
        return torch.cat([x, context] if self.context.start else [context, x], 1)

    def _compiles(self, x: Tensor) -> bool:
        """Whether compiled functions can compute with this input in the precision that is wanted."""
        return usable(x, *self.weights) and not torch.is_autocast_enabled("cpu")


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
            context=range(self.n_context),
        )

    def normal(self, context: Tensor, latent: Tensor) -> Tensor:
        """Generate normal numbers (B, V); arguments as in `ObservablesGenerator.normal`."""
        x = self.network.at(context, latent[:, : self.n_noise])
        return from_periodic(x, self.scaling.angles, self.scaling.winding) if self.scaling.angles else x


class DllCritic(nn.Module):
    """Score tracks of any `ObservablesGenerator` by their continuous targets, given conditions and pattern.

    Its input has the targets twice: as W periodic numbers (normal numbers; cosine and sine of angles), and whitened
    (`Whitening`), which makes the thin ridges between similar hypotheses as wide as everything else. With `model.ranks`
    it also has the ranks of both (`Rosenblatt`), F = 4 W numbers instead of 2 W.

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
        self.rank_steps = model.ranks
        self.rosenblatt = Rosenblatt(n_periodic, generator.n_context) if model.ranks else None
        n_numbers = (4 if model.ranks else 2) * n_periodic
        context = range(n_numbers, n_numbers + generator.n_context)
        self.network = ResidualNetwork(
            context.stop, model.critic_width, model.critic_depth, scores, context=context
        )

    def fit(self, generator: ObservablesGenerator, events: TensorEvents) -> None:
        """Fit the whitening, and learn the ranks if the model has some, from the training events."""
        first, scaling = events[:_WHITENING_EVENTS], generator.scaling
        context, z, free = generator.representation(first)
        self.whitening.fit(scaling.periodic(z), context, free[:, scaling.periodic_targets], first.weights)
        if self.rosenblatt is None:
            return
        rng = torch.Generator().manual_seed(torch.initial_seed())

        def draw() -> tuple[Tensor, Tensor, Tensor, Tensor]:
            batch = events.batch(min(_RANKING_BATCH, len(events)), rng=rng)
            with torch.no_grad():
                context, z, free = generator.representation(batch)
                free = free[:, scaling.periodic_targets]
                x = self.whitening.beside(context, free, most=_MOST)(scaling.periodic(z))
            return x, context, free, batch.weights

        with stage("learning the ranks", total=self.rank_steps) as update:
            self.rosenblatt.fit(draw, steps=self.rank_steps, update=update)

    def represented(self, generator: ObservablesGenerator, events: TensorEvents) -> tuple[Tensor, ...]:
        """What `view` needs of real tracks beside their conditions: see `ObservablesGenerator.represented`."""
        return generator.represented(events)

    def view(self, generator: ObservablesGenerator, events: TensorEvents) -> CriticView:
        """Represent B real tracks, and generated ones with the same conditions and patterns.

        The representation (B, F) has periodic, then whitened numbers, which are zero for targets that the pattern
        fixes; the context (B, n_context) has conditions and pattern.
        """
        scaling = generator.scaling
        with torch.no_grad():
            context, z, free = generator.representation(events)
            beside = self._numbers(context, free[:, scaling.periodic_targets])
            real = beside(scaling.periodic(z))
        return CriticView(
            context,
            real,
            lambda latent: beside(scaling.periodic(generator.normal(context, latent))),
            lambda latent: generator.codes(context, free * z, latent),
        )

    def _numbers(self, context: Tensor, free: Tensor) -> Callable[[Tensor], Tensor]:
        """Function from (B, W) periodic numbers to (B, F): them, whitened ones, and the ranks of both if there are."""
        beside = self.whitening.beside(context, free, most=_MOST)
        if self.rosenblatt is None:
            return beside
        rank = self.rosenblatt.at(context, free)

        def numbers(z: Tensor) -> Tensor:
            x = beside(z)
            return torch.cat([x, rank(x)], 1)

        return numbers

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Score (B, F) representations in (B, n_context) contexts: (B, S)."""
        score: Tensor = self.network(torch.cat([x, context], 1))
        return score

    def scores(self, x: Tensor, context: Tensor) -> Tensor:
        """Score as `forward`; with first derivatives only, if that is faster."""
        return self.network.at(context, x)

    def traced(self, x: Tensor, context: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Scores (B, S), and the function of directions (B, F) that `linear_gradient_penalty` needs."""
        return self.network.traced(context, x)
