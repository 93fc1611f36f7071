"""Generator of calorimeter showers, one image per layer: ``model.name = "calo"``.

It follows CaloGAN (arXiv:1705.02355): all layers share a trunk, each layer has its own stream of locally connected
layers, and each stream passes information on to the next. Differences from CaloGAN, and their reasons:

- Every cell has its own latent number beside the shared ones. Cells of an electromagnetic shower fluctuate almost
  independently, which a short latent vector cannot produce.
- The network works on variables that are standard normal at every condition. Before any training the generator is a
  statistical model (`hepgan.models.starts`), with the right spectra, occupancy and linear correlations. The streams
  start at zero and learn from the critic what it lacks.
- The critic is that of `hepgan.models.shower_critic`.

Two options remove the dependence on cell positions, to measure its benefit: convolutions in place of locally
connected layers (`hepgan.models.convolution`), and statistics of whole layers in place of those of cells.
"""

from __future__ import annotations

import logging
import math
from functools import cached_property
from itertools import pairwise
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from hepgan.config import CaloModelConfig, DataConfig
from hepgan.data.tensors import TensorEvents
from hepgan.errors import DataError
from hepgan.geometry import CaloLayer, Calorimeter, energy_factor
from hepgan.models.convolution import Convolution2d, Enlarge
from hepgan.models.feature_maps import Resample, images, numbers
from hepgan.models.locally_connected import LocallyConnected2d
from hepgan.models.network import Network
from hepgan.models.piecewise import SLOPE
from hepgan.models.starts import STARTS, Given, Sizes, Start, kind_of_start
from hepgan.models.wiring import Numbers, Wiring
from hepgan.transforms.conditions import ConditionScaling
from hepgan.transforms.exporting import is_exporting

__all__ = ["PAINT", "CaloGenerator"]

logger = logging.getLogger(__name__)

_MOST_RESPONSE = 2.0  # largest credible mean E_tot/E_inc; more means that units differ


class _Spread(nn.Linear):
    """Make maps of a layer from the output of the trunk with a dense layer: each cell has its own weights.

    Args:
        width: Outputs of the trunk.
        channels: Channels C of the maps.
        layer: The layer, with (H, W) cells.
    """

    def __init__(self, width: int, channels: int, layer: CaloLayer) -> None:
        super().__init__(width, channels * layer.n_cells)
        self.shape, self.channels = layer.shape, channels

    def forward(self, trunk: Tensor) -> Tensor:
        """Map (B, width) to (B, C, H, W)."""
        values = torch.matmul(self.weight, trunk.T).add_(self.bias[:, None])
        return images(values, self.channels, self.shape)


PAINT: dict[str, tuple[Any, Any]] = {
    "locally-connected": (LocallyConnected2d, _Spread),
    "convolution": (Convolution2d, Enlarge),
}
"""By ``model.paint``: the class of layers on images, and the class that makes images from the output of the trunk."""


class _Stream(nn.Module):
    """Correct the normal numbers of the cells of one layer, given the trunk, noise and the maps of the previous layer.

    Args:
        layer: The layer, with (H, W) cells.
        previous: The previous layer, or None for the first.
        model: Sizes, and the kind of layers.
    """

    def __init__(self, layer: CaloLayer, previous: CaloLayer | None, model: CaloModelConfig) -> None:
        super().__init__()
        local, spread = PAINT[model.paint]
        channels, self.shape = model.channels, layer.shape
        self.spread = spread(model.width, channels, layer)
        self.resample = Resample(previous, layer) if previous is not None else None
        incoming = channels + 1 + model.cell_latent + (channels if previous is not None else 0)
        self.gate = (
            local(2 * channels, channels, size=layer.shape, kernel_size=1) if previous is not None else None
        )
        around = {"size": layer.shape, "kernel_size": 3, "padding": 1, "wrap": layer.wraps}
        self.paint = local(incoming, channels, **around)
        self.finish = local(channels, 1, **around)
        for parameter in self.finish.parameters():
            nn.init.zeros_(parameter)

    def forward(
        self, trunk: Tensor, base: Tensor, noise: Tensor, previous: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Compute the corrections.

        Args:
            trunk: (B, width) output of the trunk.
            base: (H * W, B) normal numbers of the cells before correction.
            noise: (n_own, H * W, B) own latent numbers of the cells.
            previous: (B, channels, H_previous, W_previous) maps of the previous layer, or None for the first.

        Returns:
            Corrections (H * W, B) and the maps (B, channels, H, W) of this layer.
        """
        inputs = [self.spread(trunk)]
        if previous is not None and self.resample is not None and self.gate is not None:
            carried = self.resample(previous)
            attention = torch.sigmoid(self.gate([inputs[0], carried]))
            inputs.append(attention * carried)
        inputs.append(images(base, 1, self.shape))
        inputs += [images(own, 1, self.shape) for own in noise.unbind(0)]
        maps = self.paint(inputs, slope=SLOPE)
        return numbers(self.finish(maps)), maps

    def draw(
        self, wiring: Wiring, trunk: Numbers, previous: Numbers | None, *, own: int
    ) -> tuple[Numbers, Numbers, Numbers]:
        """Draw what `forward` does, for numbers of the trunk and the maps of the previous layer.

        Returns:
            Places of the normal numbers of the cells and of their own latent numbers (H, W, 1 + own), of the
            corrections (H, W, 1), and of the maps (H, W, channels).
        """
        channels, parts = self.paint.out_channels, 1 if self.resample is None else 2
        each = -(-channels // wiring.per) * wiring.per
        joined = wiring.numbers(*self.shape, parts * each + 1 + own)
        read = [joined[..., k * each : k * each + channels] for k in range(parts)]
        spread = wiring.apply(self.spread, trunk, to=read[0].ravel()).reshape(read[0].shape)
        if previous is not None and self.resample is not None and self.gate is not None:
            carried = wiring.average(
                self.resample.row_overlap.numpy(), self.resample.column_overlap.numpy(), previous
            )
            attention = wiring.apply(self.gate, np.concatenate([spread, carried], 2), sigmoid=True)
            wiring.product(attention, carried, to=read[1])
        image = joined[..., parts * each :]
        maps = wiring.apply(self.paint, np.concatenate([*read, image], 2), slope=SLOPE)
        return image, wiring.apply(self.finish, maps), maps


class CaloGenerator(nn.Module):
    """Generate showers from conditions and latent numbers, all in physical units.

    Args:
        data: Conditions and calorimeter.
        model: Sizes and options of the network.
        calorimeter: The geometry; by default the one of `data`.

    Attributes:
        n_latent: Number of latent numbers of a shower: n_shared, and n_own for each of n_variables.
        in_half: Whether the streams, if they are a compiled function, compute in half precision; trainings set it.
        condition_range: (n_conditions, 2) smallest and largest value of each condition in the training events.
    """

    condition_range: Tensor
    in_half = False

    def __init__(
        self, data: DataConfig, model: CaloModelConfig, *, calorimeter: Calorimeter | None = None
    ) -> None:
        super().__init__()
        calo = data.calo
        self.calorimeter = calorimeter or calo.calorimeter()
        self.n_conditions = len(data.conditions)
        self.n_overflow = self.calorimeter.n_layers if calo.overflow else 0
        names = [condition.name for condition in data.conditions]
        self.energy_name = calo.incident_energy
        self.energy_index = names.index(self.energy_name)
        self.energy_unit = energy_factor(data.conditions[self.energy_index].unit or calo.unit, calo.unit)
        self.condition_scaling = ConditionScaling(data.conditions, periodic=True)
        categories = [len(values) for values in self.condition_scaling.categories.values()]
        kind = kind_of_start(model.statistics, conditions=names, categories=len(categories))
        features = self.condition_scaling.n_features
        sizes = Sizes(self.calorimeter, self.n_overflow, features, categories, model.latent)
        self.start: Start = STARTS[kind](sizes)
        self.n_global = n_global = self.start.n_global
        self.n_variables = self.n_global + self.calorimeter.n_cells
        self.register_buffer("condition_range", torch.zeros(self.n_conditions, 2))

        self.n_shared, self.n_own = model.latent, model.cell_latent
        self.painted, self.trunk_width = model.paint, model.width
        self.n_latent = self.n_shared + self.n_own * self.n_variables
        widths = [features + self.n_shared + self.n_own * n_global] + [model.width] * model.depth
        trunk: list[nn.Module] = []
        for fan_in, fan_out in pairwise(widths):
            trunk += [nn.Linear(fan_in, fan_out), nn.SiLU()]
        self.trunk = nn.Sequential(*trunk)
        self.energies = nn.Linear(model.width, n_global)
        nn.init.zeros_(self.energies.weight)
        nn.init.zeros_(self.energies.bias)
        layers = self.calorimeter.layers
        self.streams = nn.ModuleList(
            _Stream(layer, layers[k - 1] if k else None, model) for k, layer in enumerate(layers)
        )

    def incident_energy(self, condition: Tensor) -> Tensor:
        """Incident energy (B,) in the unit of the cells, from (B, n_conditions) conditions."""
        return condition[:, self.energy_index] * self.energy_unit

    def fit(self, events: TensorEvents, *, rng: torch.Generator) -> None:
        """Fit scalings, quantiles and the copula to the training events, before any game.

        Args:
            events: Training events.
            rng: Source of the normal numbers that replace empty cells in the fit of the copula.

        Raises:
            DataError: If there are too few events, or only empty cells.
        """
        (cells, overflow), condition, weights = events.outputs, events.condition, events.weights
        with torch.no_grad():
            self.condition_range.copy_(torch.stack([condition.amin(0), condition.amax(0)], 1))
            self._check_categories(condition)
            self.condition_scaling.fit(condition, weights)
            energy = self.incident_energy(condition)
            response = float((weights * (cells.sum(1) + overflow.sum(1))).sum() / (weights * energy).sum())
            if response > _MOST_RESPONSE:
                logger.warning(
                    "the calorimeter measures %.3g times the incident energy; check the units of the cells and of %r",
                    response,
                    self.energy_name,
                )
            self.start.fit(cells, overflow, self._given(condition), weights, rng=rng)

    def _given(self, condition: Tensor) -> Given:
        """What is known of events with (B, n_conditions) conditions before their showers."""
        scaling = self.condition_scaling
        indicators = scaling.indicators(condition) if self.start.by_category else []
        return Given(self.incident_energy(condition), scaling(condition), indicators)

    def _check_categories(self, condition: Tensor) -> None:
        """Check that each category, or each combination of them that has a table, has events.

        Raises:
            DataError: If one has none.
        """
        columns = list(self.condition_scaling.categories)
        together = [columns] if self.start.by_category else [[column] for column in columns]
        for group in together:
            expected = math.prod(len(self.condition_scaling.categories[column]) for column in group)
            found = torch.unique(condition[:, group], dim=0)
            if len(found) < expected:
                raise DataError(
                    f"training events: expected some of each of {expected} categories, or combinations of them, got "
                    f"only those with {found.tolist()}; remove the others from data.conditions, or add files"
                )

    def forward(self, condition: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Generate showers.

        Args:
            condition: (B, n_conditions) in physical units.
            latent: (B, n_latent) standard normal numbers: the shared ones, then the own ones of each variable.

        Returns:
            Cells (B, n_cells) and overflow (B, n_overflow), never negative, in the unit of the calorimeter.
        """
        given = self._given(condition)
        z, seen = self._normal(given, latent)
        return self.start.showers(z, given, seen)

    def normal(self, condition: Tensor, latent: Tensor) -> Tensor:
        """Generate showers as (B, n_variables) normal numbers, before the quantiles; arguments as in `forward`."""
        return self._normal(self._given(condition), latent)[0]

    def _normal(self, given: Given, latent: Tensor) -> tuple[Tensor, Any]:
        """Normal numbers (B, n_variables), and what the start needs to make showers of them."""
        n_global = self.n_global
        shared = latent[:, : self.n_shared]
        own = latent[:, self.n_shared :].T.reshape(self.n_own, self.n_variables, -1)
        base, seen = self.start(shared, own[0], given)
        # split, not sliced: the derivative of a slice is a copy of the whole
        sizes = [n_global, *(layer.n_cells for layer in self.calorimeter.layers)]
        noise, *noises = torch.split(own, sizes, 1)
        first, *bases = torch.split(base, sizes)
        small = noise.reshape(self.n_own * n_global, -1).T
        trunk = self.trunk(torch.cat([given.features, shared, small], 1))
        parts = [first + self.energies(trunk).T]
        network = None if is_exporting() else self.network
        if network is not None and network.usable(trunk):
            cells, numbers = (torch.split(x, [n_global, x.shape[-2] - n_global], -2)[1] for x in (base, own))
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.in_half):
                parts.append(cells + network(trunk.T, cells, *numbers.unbind(0)))
            return torch.cat(parts).T, seen
        maps: Tensor | None = None
        for stream, image, noise in zip(self.streams, bases, noises, strict=True):
            correction, maps = stream(trunk, image, noise, maps)
            parts.append(image + correction)
        return torch.cat(parts).T, seen

    @cached_property
    def network(self) -> Network | None:
        """The streams as one compiled function; None if they are convolutions."""
        return Network(self._draw) if self.painted == "locally-connected" else None

    def _draw(self, wiring: Wiring) -> None:
        """Draw the streams: inputs are trunk, normal numbers of the cells, and their own latent numbers."""
        trunk = wiring.numbers(self.trunk_width)
        wiring.input(trunk)
        images, corrections = [], []
        maps = None
        for stream in self.streams:
            image, correction, maps = cast(_Stream, stream).draw(wiring, trunk, maps, own=self.n_own)
            images.append(image.reshape(-1, 1 + self.n_own))
            corrections.append(correction.ravel())
        wiring.output(np.concatenate(corrections))
        for k, part in enumerate(np.concatenate(images).T):
            wiring.input(part, wanted=k == 0)
