r"""Statistical start of showers in calorimeters of many cells around the axis of the shower.

With thousands of cells most are empty, and a table of each cell against the incident energy has few deposits to learn
from. A particle along the axis gives a second help: the calorimeter looks the same from all sides, so the cells of a
ring (one radius, all angles) have the same spectrum. This start therefore has one table for each ring, and it follows
the energy of the **layer**:

- Response :math:`E_{tot} / E_{inc}`, logarithms of the energy in the cells of each layer and of its overflow have
  quantiles given the incident energy (`hepgan.transforms.energy.ConditionalQuantile`). The energies are scaled to the
  sum that the response gives.
- A cell is empty below a threshold; above it, its deposit is a quantile of the ring, given the incident energy and the
  energy that the cells of its layer have together. So the number of hit cells follows the energy of the layer, and
  single hits have the energies of single hits. The cells are then scaled to the energy of the layer.
- How the cells fluctuate together, and where a shower leans to, is left to `hepgan.models.ring_copula`.

The symmetry is an assumption, which the user makes with ``model.statistics = "rings"``; `RingStart.fit` warns if the
sample contradicts it.
"""

from __future__ import annotations

import logging
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hepgan.errors import ConfigError, DataError
from hepgan.geometry import Calorimeter
from hepgan.progress import stage
from hepgan.transforms.energy import EDGE, ConditionalQuantile, EnergyNodes, from_knot, range_above, to_knot
from hepgan.transforms.quantiles import TINY

__all__ = ["RingStart"]

logger = logging.getLogger(__name__)

_INCIDENT, _INSIDE = 6, 6  # incident energies, and energies of a layer, at which its rings have a table
_NODES = _INCIDENT * _INSIDE
_KNOTS = 16  # quantiles of a ring
_BEND = 0.9  # of the knots, denser at the edge of the spectrum
_LOWEST = (
    0.005  # share of the events whose energy of a layer lies below the first node, or above the last one
)
_FEWEST = 30  # fewest deposits of a ring at a node; with fewer, farther events are taken
_SLOPE_EVENTS = 100.0  # number of deposits at which a fitted slope in energy is halved
_RIDGE = 1e-3  # ridge of the regression of the hit cells, relative to the sum of weights
_LEAST_STEP = 1e-2  # smallest distance between two nodes in the logarithm of the energy
_LEAST = 1e-3  # smallest log(1 + e/offset) of the brightest cell of a layer, as in ShowerScaling
_ASYMMETRY = 0.02  # dipole of the mean energy around the axis that is mentioned
_SIGNIFICANT = 5.0  # standard deviations of it

Array = NDArray[np.float64]


class RingStart(nn.Module):
    """Normal numbers to the energies of a shower, and back; one table for all cells of a ring.

    The variables are the response, logarithms of the energies in the cells of all layers and of their overflow, then
    the cells. A table of a ring has entries (nodes) at some incident energies and, for each of them, at some energies
    of the layer, from the lowest to the highest that occur there; in between, it is linear in both logarithms.

    Args:
        calorimeter: The geometry; all layers are polar.
        n_overflow: Number of overflow energies: one a layer, or 0.

    Attributes:
        ends: (2, L, E nodes) smallest and largest logarithm of the energy of a layer at each incident energy.
        threshold: (R, nodes) of each ring of each layer; layers one after the other.
        table: (R, nodes, knots): edge of the spectrum, then steps from quantile to quantile.

    Raises:
        ConfigError: If a layer is not segmented in angle and radius.
    """

    offset: Tensor
    ends: Tensor
    threshold: Tensor
    table: Tensor
    number: Tensor

    def __init__(self, calorimeter: Calorimeter, *, n_overflow: int) -> None:
        super().__init__()
        layers = calorimeter.layers
        other = [layer.name for layer in layers if layer.coordinates != "polar"]
        if other:
            raise ConfigError(
                f'model.statistics: expected layers of coordinates "polar" for "rings", got others: '
                f'{", ".join(other)}; use "cells", or give the layers angles and radii'
            )
        self.calorimeter, self.n_overflow = calorimeter, n_overflow
        self.n_global = 1 + calorimeter.n_layers + n_overflow
        self.n_variables = self.n_global + calorimeter.n_cells
        self.first = ConditionalQuantile(self.n_global)
        rings = [layer.shape[1] for layer in layers]
        self.slices = [slice(a, b) for a, b in zip(np.cumsum([0, *rings]), np.cumsum(rings), strict=False)]
        self.blocks = [(len([*same]), shape) for shape, same in groupby(calorimeter.shapes)]
        self.register_buffer("offset", torch.ones(()))
        self.energies = EnergyNodes(_INCIDENT)
        self.register_buffer("ends", torch.zeros(2, len(layers), _INCIDENT))
        self.register_buffer("threshold", torch.zeros(sum(rings), _NODES))
        self.register_buffer("table", torch.zeros(sum(rings), _NODES, _KNOTS))
        self.register_buffer("number", torch.arange(float(_INSIDE))[:, None], persistent=False)

    # -- energies from normal numbers

    def from_normal(self, z: Tensor, incident_energy: Tensor) -> tuple[Tensor, Tensor]:
        """Map normal numbers to energies.

        Args:
            z: (B, n_variables).
            incident_energy: (B,) in the unit of the cells.

        Returns:
            Cells (B, n_cells) and overflow (B, n_overflow), with the batch innermost in memory.
        """
        first, cells = torch.split(z.T, [self.n_global, self.calorimeter.n_cells])
        inside, overflow = self._layers(first, incident_energy)
        basis = self._basis(torch.log(inside + TINY), incident_energy)
        made, layer = [], 0
        sizes = [count * shape[0] * shape[1] for count, shape in self.blocks]
        for (count, shape), rows in zip(self.blocks, torch.split(cells, sizes), strict=True):
            numbers = rows.reshape(count, *shape, -1)
            here = slice(layer, layer + count)
            ring = slice(self.slices[layer].start, self.slices[layer + count - 1].stop)
            values = self._values(numbers, basis[here], ring)
            # if all cells of a layer are below their threshold, raise them until the nearest one takes the energy
            most = values.amax((1, 2), keepdim=True)
            raw = torch.relu(torch.exp(values - torch.clamp(most - _LEAST, max=0)) - 1)
            share = inside[here, None, None] / (raw.sum((1, 2), keepdim=True) + TINY)
            made.append((raw * share).reshape(len(rows), -1))
            layer += count
        return torch.cat(made).T, overflow.T

    def _layers(self, z: Tensor, incident_energy: Tensor) -> tuple[Tensor, Tensor]:
        """Energies in the cells of each layer (L, B), and overflow (n_overflow, B), from (G, B) normal numbers."""
        rows = self.first.from_normal(z.T, incident_energy).T
        response, logs = torch.split(rows, [1, self.n_global - 1])
        share = torch.relu(torch.exp(logs) - 1)
        energy = torch.relu(response) * incident_energy * share / (share.sum(0, keepdim=True) + TINY)
        inside, overflow = torch.split(energy, [self.calorimeter.n_layers, self.n_overflow])
        return inside, overflow

    def _positions(self, log_inside: Tensor, weights: Tensor) -> Tensor:
        """Positions (L, B) of logarithms of energies of layers (L, B) among those of the table.

        `weights` (E nodes, B) are those of the incident energies.
        """
        low, high = torch.matmul(self.ends, weights)
        position: Tensor = ((log_inside - low) / (high - low)).clamp(0, 1) * (_INSIDE - 1)
        return position

    def _basis(self, log_inside: Tensor, incident_energy: Tensor) -> Tensor:
        """Weights (L, nodes, B) of the nodes of each layer."""
        weights = self.energies(incident_energy).T
        tents = torch.relu(1 - (self._positions(log_inside, weights)[:, None] - self.number).abs())
        basis: Tensor = (weights[:, None] * tents[:, None]).reshape(len(log_inside), _NODES, -1)
        return basis

    def _values(self, z: Tensor, basis: Tensor, ring: slice) -> Tensor:
        """Logarithms of the deposits of layers of one shape, below 0 for empty cells, as z (L, A, R, B)."""
        layers, _, rings, _ = z.shape
        tables = torch.cat(
            [self.threshold[ring][..., None], self.table[ring]], 2
        )  # (L * R, nodes, 1 + knots)
        tables = tables.reshape(layers, rings, _NODES, -1).transpose(2, 3).flatten(1, 2)
        # what each ring has in this event, (L, 1, R, B) for each number of the table
        entries = torch.matmul(tables, basis).reshape(layers, rings, 1 + _KNOTS, -1)
        threshold, edge, *steps = (x.transpose(1, 2) for x in torch.split(entries, 1, 2))
        begin, width = range_above(threshold)
        over = z - threshold
        place = to_knot(((z - begin) / width).clamp(0, 1), _BEND).clamp(0, 1) * (_KNOTS - 1)
        value = edge.expand_as(z)
        for k, step in enumerate(steps):
            value = value + step * (place - k).clamp(0, 1)
        if torch.is_grad_enabled():  # the derivative of the edge, as in ConditionalQuantile
            rising = edge * (over / EDGE).clamp(max=1)
            value = value + rising - rising.detach()
        return torch.where(over > 0, value, over)

    # -- fit

    @torch.no_grad()
    def fit(
        self, cells: Tensor, overflow: Tensor, incident_energy: Tensor, weights: Tensor, *, offset: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Fit all tables.

        Args:
            cells: (N, n_cells) energies.
            overflow: (N, n_overflow).
            incident_energy: (N,) in the unit of the cells.
            weights: (N,), of either sign.
            offset: Offset of the logarithms, in the unit of the cells.

        Returns:
            Normal numbers (N, n_variables) of these showers, for empty cells their thresholds, and which are such
            thresholds, bool; both with the events innermost in memory.

        Raises:
            DataError: If there are too few events.
        """
        self.offset.copy_(offset)
        slices, layers = self.calorimeter.slices(), self.calorimeter.layers
        inside = torch.stack([cells[:, s].sum(1) for s in slices])
        energies = torch.cat([inside, overflow.T])
        first = torch.cat([energies.sum(0, keepdim=True) / incident_energy, torch.log1p(energies / offset)])
        self.first.fit(first.T, incident_energy, weights)
        z = first.new_empty(self.n_variables, len(cells))
        censored = torch.zeros_like(z, dtype=torch.bool)
        z[: self.n_global] = self.first.to_normal(first.T, incident_energy).T
        censored[1 : self.n_global] = first[1:] <= 0
        self._warn_of_asymmetry(cells, weights)
        positive = weights.clamp(min=0).double().numpy()
        self.energies.fit(incident_energy)
        log_inside = torch.log(inside + TINY)
        self._fit_ends(log_inside, inside > 0, incident_energy)
        basis = self._basis(log_inside, incident_energy)
        with stage("fitting rings", total=len(layers)) as update:
            for k, (layer, s) in enumerate(zip(layers, slices, strict=True)):
                deposits = cells[:, s].reshape(-1, *layer.shape)
                rows = slice(self.n_global + s.start, self.n_global + s.stop)
                z[rows], censored[rows] = self._fit_layer(k, deposits, inside[k] > 0, basis[k], positive)
                update(k + 1)
        return z.T, censored.T

    def _fit_ends(self, log_inside: Tensor, used: Tensor, incident_energy: Tensor) -> None:
        """Find the range of the logarithms (L, N) of the energies of each layer at each incident energy."""
        position = self.energies.position(incident_energy)
        levels = torch.tensor([_LOWEST, 1 - _LOWEST])
        for k, (name, x, use) in enumerate(zip(self.calorimeter.names, log_inside, used, strict=True)):
            if int(use.sum()) < _FEWEST:
                raise DataError(
                    f"training events: expected at least {_FEWEST} with energy in layer {name!r}, got "
                    f"{int(use.sum())}; give more events, or leave the layer out"
                )
            for node in range(_INCIDENT):
                distance = (position - node).abs() + 1e9 * ~use
                near = distance <= max(0.5, float(distance.kthvalue(_FEWEST).values))
                low, high = torch.quantile(x[near], levels)
                self.ends[:, k, node] = torch.stack([low, torch.maximum(high, low + _LEAST_STEP)])

    def _fit_layer(
        self, k: int, deposits: Tensor, used: Tensor, basis: Tensor, weights: Array
    ) -> tuple[Tensor, Tensor]:
        """Fit the rings of layer k to (N, A, R) deposits in events with weights (nodes, N) of the nodes.

        Returns:
            Normal numbers (A * R, N) of the deposits, thresholds for empty cells, and which cells are empty.
        """
        both = basis.reshape(_INCIDENT, _INSIDE, -1).double()
        steps = torch.arange(float(max(_INCIDENT, _INSIDE))).double()
        position = torch.stack([steps[:_INCIDENT] @ both.sum(1), steps[:_INSIDE] @ both.sum(0)]).numpy()
        weights = weights * used.numpy()
        hit = deposits > 0
        ring = self.slices[k]
        self._fit_thresholds(
            ring, hit.double().mean(1).numpy(), basis.double().numpy(), weights, hit.shape[1]
        )
        logs = torch.log1p(deposits / self.offset)
        for j in range(hit.shape[2]):
            event, angle = torch.nonzero(hit[:, :, j], as_tuple=True)
            table = _tables(
                logs[event, angle, j].double().numpy(),
                position[:, event.numpy()],
                weights[event.numpy()],
                self.threshold[ring.start + j],
            )
            self.table[ring.start + j] = torch.from_numpy(table).to(self.table)
        return self._to_normal(ring, logs, hit, basis)

    def _fit_thresholds(self, ring: slice, share: Array, basis: Array, weights: Array, angles: int) -> None:
        """Fit thresholds of rings to shares (N, R) of hit cells, by least squares in weights (nodes, N) of nodes."""
        total = weights.sum()
        mean = (weights @ share) / total
        gram = (basis * weights) @ basis.T + _RIDGE * total * np.eye(_NODES) / _NODES
        fitted = np.linalg.solve(gram, (basis * weights) @ (share - mean)) + mean
        near = np.maximum(1.0, basis @ (weights > 0)) * angles
        limit = 1 / (2 * near[:, None])
        empty = torch.from_numpy(1 - np.clip(fitted, limit, 1 - limit))
        self.threshold[ring] = torch.special.ndtri(empty).T.to(self.threshold)

    def _to_normal(self, ring: slice, logs: Tensor, hit: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
        """Normal numbers (A * R, N) of logarithms (N, A, R) of deposits; thresholds where there is no hit."""
        threshold = (self.threshold[ring] @ basis).T  # (N, R)
        z = threshold[:, None].expand_as(logs).clone()
        event, _, j = torch.nonzero(hit, as_tuple=True)
        tables = self.table[ring].flatten(2)  # (R, nodes, knots)
        table = torch.empty(len(j), _KNOTS)
        for k in range(len(tables)):
            table[j == k] = basis.T[event[j == k]] @ tables[k]
        edge, steps = table[:, :1], table[:, 1:].clamp(min=TINY)
        below = torch.cat([edge, edge + steps.cumsum(1)[:, :-1]], 1)
        place = ((logs[hit][:, None] - below) / steps).clamp(0, 1).sum(1)
        begin, width = range_above(threshold[event, j])
        z[hit] = begin + from_knot(place / (_KNOTS - 1), _BEND) * width
        return z.flatten(1).T, ~hit.flatten(1).T

    def _warn_of_asymmetry(self, cells: Tensor, weights: Tensor) -> None:
        """Say that the mean shower is not symmetric around the axis, if it is not."""
        x, y = (torch.tensor(self.calorimeter.cell_centres[:, axis]).float() for axis in (0, 1))
        radius = torch.hypot(x, y).clamp(min=TINY)
        visible = cells.sum(1).clamp(min=TINY)
        for name, unit in (("x", x / radius), ("y", y / radius)):
            lean = (cells @ unit) / visible
            total = weights.sum()
            mean = float(weights @ lean / total)
            error = float(lean.std()) / max(float(total**2 / weights.square().sum()), 1.0) ** 0.5
            if abs(mean) > max(_ASYMMETRY, _SIGNIFICANT * error):
                logger.warning(
                    "the mean shower leans to %s = %+.3f of the radius (uncertain by %.3f), but model.statistics = "
                    '"rings" takes it as symmetric around the axis; use "cells", or check the conditions',
                    name,
                    mean,
                    error,
                )


def _tables(logs: Array, position: Array, weights: Array, threshold: Tensor) -> Array:
    """Edge and steps (nodes, knots) of the quantiles of the deposits of a ring.

    Args:
        logs: (n,) logarithms of deposits.
        position: (2, n) of their events among the nodes, in incident energy and in energy of the layer.
        weights: (n,).
        threshold: (nodes,) of the ring.
    """
    made = np.full((_NODES, _KNOTS), TINY)
    made[:, 0] = 1.0
    if not len(logs):
        return made
    order = np.argsort(position[0])
    logs, position, weights = logs[order], position[:, order], weights[order]
    begin, width = (x.double()[:, None] for x in range_above(threshold))
    knots = begin + from_knot(torch.linspace(0, 1, _KNOTS).double(), _BEND) * width
    levels = (1 - torch.special.ndtr(-knots) / torch.special.ndtr(-begin)).numpy()  # (nodes, knots)
    wanted = min(_FEWEST, len(logs))
    for node, (incident, inner) in enumerate(np.ndindex(_INCIDENT, _INSIDE)):
        strip = slice(*np.searchsorted(position[0], [incident - 0.5, incident + 0.5]))
        if strip.stop - strip.start < wanted:
            strip = slice(None)
        away = position[:, strip] - np.array([[incident], [inner]])
        distance = np.abs(away).max(0)
        near = distance <= 0.5
        if near.sum() < wanted:
            near = distance <= np.partition(distance, wanted - 1)[wanted - 1]
        x, d, w = logs[strip][near], away[:, near], weights[strip][near]
        total = w.sum()
        off = d - (d @ w)[:, None] / total
        gram = (off * w) @ off.T + _RIDGE * total * np.eye(2)
        slope = np.linalg.solve(gram, (off * w) @ (x - (w @ x) / total)) * len(x) / (len(x) + _SLOPE_EVENTS)
        moved = np.maximum(x - slope @ d, x.min())
        order = np.argsort(moved)
        cumulative = np.cumsum(w[order])
        quantiles = np.interp(levels[node] * total, cumulative - 0.5 * w[order], moved[order])
        quantiles[0] = moved[order[0]]
        made[node] = np.diff(quantiles, prepend=0.0)
    return made
