"""Critic of calorimeter showers, and what it sees of them: ``model.name = "calo"``.

It gets standardised logarithms of all energies and the shower shapes. Locally connected layers (or convolutions)
process the image of each layer; dense layers combine them. There is no batch normalisation, because the gradient
penalty is defined for each event alone (arXiv:1704.00028, section 4).
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
from hepgan.transforms.shower_kernels import MOST_LAYERS, ShowerSettings, features
from hepgan.transforms.shower_shapes import ShowerShapes
from hepgan.transforms.showers import ShowerScaling

__all__ = ["CaloCritic", "ShowerRepresentation"]

_LONG = 8  # cells along an axis from which on the windows move in steps of two


class ShowerRepresentation(nn.Module):
    """Represent a shower for the critic: logarithms of all energies, and shower shapes, standardised at each energy.

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
        self.n_features = self.scaling.n_variables + len(self.shapes.names)
        self.moments = ConditionalMoments(self.n_features)

    def _raw(self, cells: Tensor, overflow: Tensor, energy: Tensor) -> Tensor:
        """Features (B, n_features) before they are standardised; arguments as in `forward`."""
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
            self.moments.fit(self._raw(cells, overflow, energy), energy, weights)

    def forward(self, cells: Tensor, overflow: Tensor, energy: Tensor) -> Tensor:
        """Compute the representation.

        Args:
            cells: (B, n_cells) energies.
            overflow: (B, n_overflow) energies, in the unit of the cells.
            energy: (B,) incident energies in the unit of the cells.

        Returns:
            (B, n_features): response and layer energies, cells, shower shapes.
        """
        event: Tensor = self.moments(self._raw(cells, overflow, energy), energy)
        return event


class CaloCritic(nn.Module):
    """Score showers given their conditions; the scores are unbounded.

    Locally connected layers (or convolutions) process the image of each layer; dense layers combine their outputs with
    the energies, the shower shapes and the conditions.

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
        fan_in = self.representation.n_features - self.calorimeter.n_cells + self.n_context
        for layer in self.calorimeter.layers:
            size, channels = layer.shape, 1
            steps: list[nn.Module] = []
            for _ in range(2):
                stride = (2 if size[0] >= _LONG else 1, 2 if size[1] >= _LONG else 1)
                around = {"size": size, "kernel_size": 3, "stride": stride, "padding": 1, "wrap": layer.wraps}
                step = local(channels, model.critic_channels, **around)
                steps.append(step)
                size, channels = step.output_size, model.critic_channels
            streams.append(nn.ModuleDict(_numbered(steps)))
            fan_in += size[0] * size[1] * channels
        self.streams = nn.ModuleList(streams)
        dense: list[nn.Module] = []
        for _ in range(model.critic_depth):
            dense.append(nn.Linear(fan_in, model.critic_width))
            fan_in = model.critic_width
        self.dense = nn.ModuleDict(_numbered([*dense, nn.Linear(fan_in, scores)]))

    def fit(self, generator: CaloGenerator, events: TensorEvents) -> None:
        """Fit the standardisation of the representation to the training events."""
        cells, overflow = events.outputs
        self.representation.fit(cells, overflow, generator.incident_energy(events.condition), events.weights)

    def view(self, generator: CaloGenerator, events: TensorEvents) -> CriticView:
        """Represent B real showers, and generated ones with the same conditions.

        The representation is (B, n_features), see `ShowerRepresentation`; the context (B, n_context) has the
        standardised conditions.
        """
        energy = generator.incident_energy(events.condition)

        def represent(cells: Tensor, overflow: Tensor) -> Tensor:
            event: Tensor = self.representation(cells, overflow, energy)
            return event

        with torch.no_grad():
            context = generator.condition_scaling(events.condition)
            real = events.represented[0] if events.represented else represent(*events.outputs)
            real = real.T.contiguous().T
        return CriticView(context, real, lambda latent: represent(*generator(events.condition, latent)))

    def represented(self, generator: CaloGenerator, events: TensorEvents) -> tuple[Tensor, ...]:
        """What `view` needs of real showers beside their conditions: the representation, (N, n_features)."""
        real: Tensor = self.representation(*events.outputs, generator.incident_energy(events.condition))
        return (real,)

    def traced(self, x: Tensor, context: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Scores (B, S), and the function of directions (B, n_features) that `linear_gradient_penalty` needs."""
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
        n_global, cells = self.representation.n_global, self.calorimeter.n_cells
        others = [n_global, self.representation.n_features - n_global - cells]
        energies, shapes, context = (wiring.numbers(n) for n in (*others, self.n_context))
        images = [wiring.numbers(*layer.shape, 1) for layer in self.calorimeter.layers]
        ends = []
        for stream, maps in zip(self.streams, images, strict=True):
            for local in cast(nn.ModuleDict, stream).values():
                maps = wiring.apply(local, maps, slope=SLOPE)
            ends.append(maps.ravel())
        h = np.concatenate([energies, shapes, context, *ends])
        *dense, final = self.dense.values()
        for layer in dense:
            h = wiring.apply(layer, h, slope=SLOPE)
        wiring.output(wiring.apply(final, h))
        wiring.input(np.concatenate([energies, *(image.ravel() for image in images), shapes]))
        wiring.input(context, wanted=False)

    def forward(self, x: Tensor, context: Tensor, *, step: Step = activated) -> Tensor:
        """Score (B, n_features) representations in (B, n_context) contexts: (B, S); `step` applies the layers."""
        n_global, layers = self.representation.n_global, self.calorimeter.layers
        cells = [layer.n_cells for layer in layers]
        sizes = [n_global, *cells, x.shape[1] - n_global - sum(cells)]
        first, *logs, shapes = torch.split(x.T.contiguous(), sizes)
        parts = [first, shapes, context.T]
        for stream, layer, values in zip(self.streams, layers, logs, strict=True):
            maps = images(values, 1, layer.shape)
            for local in cast(nn.ModuleDict, stream).values():
                maps = step(local, maps, SLOPE)
            parts.append(numbers(maps))
        h, (*dense, final) = torch.cat(parts).T, self.dense.values()
        for hidden in dense:
            h = step(hidden, h, SLOPE)
        return step(final, h, 1.0)


def _numbered(layers: list[nn.Module]) -> dict[str, nn.Module]:
    """Layers by the even numbers, as in checkpoints, where each was followed by a module of its leaky ReLU."""
    return {str(2 * k): layer for k, layer in enumerate(layers)}
