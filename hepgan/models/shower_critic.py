"""Critic of calorimeter showers, and what it sees of them: ``model.name = "calo"``.

It is the sum of two critics, each with its own penalty. The first gets standardised logarithms of all energies and the
shower shapes: locally connected layers (or convolutions) process the image of each layer, and dense layers combine
their maps with the cells themselves, of which no window sees two that are far apart. The second gets nothing but
principal components of layer energies and shapes: among hundreds of cells, which fluctuate independently, these few
numbers have a small share of the slope that the penalty allows; alone, they have all of it. There is no batch
normalisation, because the gradient penalty is defined for each event alone (arXiv:1704.00028, section 4).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from hepgan.config import CaloModelConfig
from hepgan.data.tensors import TensorEvents
from hepgan.geometry import Calorimeter
from hepgan.models.critic_view import CriticView
from hepgan.models.feature_maps import images, numbers
from hepgan.models.locally_connected import LocallyConnected2d
from hepgan.models.network import Network
from hepgan.models.piecewise import SLOPE, Step, Trace, activated
from hepgan.models.showers import PAINT, CaloGenerator
from hepgan.models.wiring import Wiring
from hepgan.transforms.energy import ConditionalMoments
from hepgan.transforms.kernels import usable
from hepgan.transforms.principal import PrincipalComponents
from hepgan.transforms.shower_kernels import MOST_LAYERS, ShowerSettings, features
from hepgan.transforms.shower_shapes import ShowerShapes
from hepgan.transforms.showers import ShowerScaling

__all__ = ["CaloCritic", "ShowerRepresentation"]

_LONG = 8  # cells along an axis from which on the windows move in steps of two
_MOST_CELLS = 2_000  # that dense layers see themselves; of more, they see the maps of the images


class ShowerRepresentation(nn.Module):
    """Represent a shower for the critic: logarithms of all energies, and shower shapes, standardised at each energy.

    Behind them stand principal components of all of these but the cells.

    Args:
        calorimeter: The geometry.
        n_overflow: Number of overflow energies per shower: one per layer, or 0.
    """

    def __init__(self, calorimeter: Calorimeter, *, n_overflow: int) -> None:
        super().__init__()
        self.scaling = ShowerScaling(calorimeter, n_overflow=n_overflow)
        self.shapes = ShowerShapes(calorimeter, n_overflow=n_overflow, softness=1.0)
        self.n_global = self.scaling.n_global
        self.n_cells = calorimeter.n_cells
        self.n_shapes = len(self.shapes.names)
        self.moments = ConditionalMoments(self.scaling.n_variables + self.n_shapes)
        self.components = PrincipalComponents(self.n_global + self.n_shapes)

    @property
    def blocks(self) -> tuple[int, int]:
        """Numbers of features of the two parts: energies, cells and shapes; principal components."""
        return self.scaling.n_variables + self.n_shapes, self.n_global + self.n_shapes

    def _raw(self, cells: Tensor, overflow: Tensor, energy: Tensor) -> Tensor:
        """Energies, cells and shapes before they are standardised, (B, blocks[0]); arguments as in `forward`."""
        scaling, shapes = self.scaling, self.shapes
        layers = scaling.calorimeter.n_layers
        if layers > MOST_LAYERS or shapes.jets or not usable(cells, overflow, energy):
            return torch.cat([scaling(cells, overflow, energy).T, shapes(cells, overflow, energy).T]).T
        settings = ShowerSettings(
            scaling.calorimeter,
            tuple(scaling.order),
            scaling.n_overflow > 0,
            float(scaling.offset),
            tuple(shapes.floors),
            shapes.threshold,
            float(shapes.softness),
        )
        return features(cells.T, overflow.T, energy, settings).T

    def fit(self, cells: Tensor, overflow: Tensor, energy: Tensor, weights: Tensor) -> None:
        """Fit the standardisation to showers with (N,) weights; the other arguments as in `forward`."""
        with torch.no_grad():
            self.scaling.fit(cells, overflow, weights)
            self.shapes.softness.copy_(self.scaling.offset)
            raw = self._raw(cells, overflow, energy)
            self.moments.fit(raw, energy, weights)
            self.components.fit(self._few(self.moments(raw, energy)), weights)

    def _few(self, standardised: Tensor) -> Tensor:
        """Layer energies and shapes (B, blocks[1]) of (B, blocks[0]) features."""
        energies, _, shapes = torch.split(standardised.T, [self.n_global, self.n_cells, self.n_shapes])
        return torch.cat([energies, shapes]).T

    def forward(self, cells: Tensor, overflow: Tensor, energy: Tensor) -> Tensor:
        """Compute the representation.

        Args:
            cells: (B, n_cells) energies.
            overflow: (B, n_overflow) energies, in the unit of the cells.
            energy: (B,) incident energies in the unit of the cells.

        Returns:
            (B, sum of blocks): response and layer energies, cells, shower shapes, principal components.
        """
        event: Tensor = self.moments(self._raw(cells, overflow, energy), energy)
        return torch.cat([event.T, self.components(self._few(event)).T]).T


class CaloCritic(nn.Module):
    """Score showers given their conditions; the scores are unbounded sums of those of its two parts.

    Args:
        generator: Generator whose showers it scores; gives geometry, conditions and units.
        model: Sizes of the network.
        scores: Number S of scores per shower.
    """

    def __init__(self, generator: CaloGenerator, model: CaloModelConfig, *, scores: int = 1) -> None:
        super().__init__()
        self.calorimeter = generator.calorimeter
        self.representation = ShowerRepresentation(self.calorimeter, n_overflow=generator.n_overflow)
        streams, (local, _) = [], PAINT[model.paint]
        self.n_context = generator.condition_scaling.n_features
        fan_in, n_components = (n + self.n_context for n in self.representation.blocks)
        self.sees_cells = self.calorimeter.n_cells <= _MOST_CELLS
        fan_in -= 0 if self.sees_cells else self.calorimeter.n_cells
        for layer in self.calorimeter.layers:
            size, channels = layer.shape, 1
            steps: list[nn.Module] = []
            for _ in range(2):
                stride = (2 if size[0] >= _LONG else 1, 2 if size[1] >= _LONG else 1)
                around = {"size": size, "kernel_size": 3, "stride": stride, "padding": 1, "wrap": layer.wraps}
                step = local(channels, model.critic_channels, **around)
                steps.append(step)
                size, channels = step.output_size, model.critic_channels
            streams.append(nn.ModuleList(steps))
            fan_in += size[0] * size[1] * channels
        self.streams = nn.ModuleList(streams)
        self.dense = nn.ModuleList(_dense(fan_in, model.critic_width, model.critic_depth))
        half = -(-model.critic_width // 2)
        self.shapes = nn.ModuleList(_dense(n_components, half, model.critic_depth))
        self.final = nn.Linear(model.critic_width + half, scores)

    def fit(self, generator: CaloGenerator, events: TensorEvents) -> None:
        """Fit the standardisation of the representation to the training events."""
        cells, overflow = events.outputs
        self.representation.fit(cells, overflow, generator.incident_energy(events.condition), events.weights)

    def view(self, generator: CaloGenerator, events: TensorEvents) -> CriticView:
        """Represent B real showers, and generated ones with the same conditions.

        The representation is (B, F), see `ShowerRepresentation`; the context (B, n_context) has the standardised
        conditions.
        """
        energy = generator.incident_energy(events.condition)

        def represent(cells: Tensor, overflow: Tensor) -> Tensor:
            event: Tensor = self.representation(cells, overflow, energy)
            return event

        with torch.no_grad():
            context = generator.condition_scaling(events.condition)
            real = events.represented[0] if events.represented else represent(*events.outputs)
            real = real.T.contiguous().T

        def fake(latent: Tensor) -> Tensor:
            return represent(*generator(events.condition, latent))

        return CriticView(context, real, fake, blocks=self.representation.blocks)

    def represented(self, generator: CaloGenerator, events: TensorEvents) -> tuple[Tensor, ...]:
        """What `view` needs of real showers beside their conditions: the representation, (N, F)."""
        real: Tensor = self.representation(*events.outputs, generator.incident_energy(events.condition))
        return (real,)

    def traced(self, x: Tensor, context: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Scores (B, S), and the function of directions (B, F) that `linear_gradient_penalty` needs."""
        network = self.network
        if network is not None and network.usable(x):
            scores, along = network.traced(x.T, context.T)
            zero = torch.zeros_like(context).T
            return scores.T, lambda direction: along(direction.T, zero)
        trace, zero = Trace(), torch.zeros_like(context)
        scores = self(x, context, step=trace.record)

        def again(direction: Tensor, step: Step) -> Tensor:
            return self(direction, zero, step=step)  # type: ignore[no-any-return]

        return scores, lambda direction: trace.along(again, direction)

    def scores(self, x: Tensor, context: Tensor) -> Tensor:
        """Score as `forward`, but with first derivatives only, which is faster."""
        network = self.network
        if network is None or not network.usable(x):
            return self(x, context)  # type: ignore[no-any-return]
        return network(x.T, context.T).T

    @cached_property
    def network(self) -> Network | None:
        """The layers as one compiled function; None if some have no kernel, or their weights follow from others."""
        layers = [m for m in self.modules() if not [*m.children()] and [*m.parameters()]]
        if not all(type(m) in (LocallyConnected2d, nn.Linear) for m in layers) or is_parametrized(self):
            return None
        return Network(self._draw)

    def _draw(self, wiring: Wiring) -> None:
        """Draw the layers; inputs are representation and context."""
        shown = self.representation
        sizes = shown.n_global, shown.n_shapes, shown.blocks[1], self.n_context
        energies, shapes, components, context = (wiring.numbers(n) for n in sizes)
        images = [wiring.numbers(*layer.shape, 1) for layer in self.calorimeter.layers]
        ends = []
        for stream, maps in zip(self.streams, images, strict=True):
            for local in cast(nn.ModuleList, stream):
                maps = wiring.apply(local, maps, slope=SLOPE)
            ends.append(maps.ravel())
        cells = [image.ravel() for image in images]
        seen = np.concatenate([energies, *cells, shapes])
        few = seen if self.sees_cells else np.concatenate([energies, shapes])
        h, own = np.concatenate([few, context, *ends]), np.concatenate([components, context])
        for layer in self.dense:
            h = wiring.apply(layer, h, slope=SLOPE)
        for layer in self.shapes:
            own = wiring.apply(layer, own, slope=SLOPE)
        wiring.output(wiring.apply(self.final, np.concatenate([h, own])))
        wiring.input(np.concatenate([seen, components]))
        wiring.input(context, wanted=False)

    def forward(self, x: Tensor, context: Tensor, *, step: Step = activated) -> Tensor:
        """Score (B, F) representations in (B, n_context) contexts: (B, S); `step` applies the layers."""
        shown, layers = self.representation, self.calorimeter.layers
        seen, components = torch.split(x.T.contiguous(), list(shown.blocks))
        _, *logs, _ = torch.split(
            seen, [shown.n_global, *(layer.n_cells for layer in layers), shown.n_shapes]
        )
        parts = [seen, context.T]
        for stream, layer, values in zip(self.streams, layers, logs, strict=True):
            maps = images(values, 1, layer.shape)
            for local in cast(nn.ModuleList, stream):
                maps = step(local, maps, SLOPE)
            parts.append(numbers(maps))
        h, own = torch.cat(parts).T, torch.cat([components, context.T]).T
        for hidden in self.dense:
            h = step(hidden, h, SLOPE)
        for hidden in self.shapes:
            own = step(hidden, own, SLOPE)
        return step(self.final, torch.cat([h, own], 1), 1.0)


def _dense(fan_in: int, width: int, depth: int) -> list[nn.Module]:
    """Dense layers of one width."""
    return [nn.Linear(n, width) for n in [fan_in, *[width] * (depth - 1)]]
