r"""Statistical start of showers that follows every condition: direction, position, particle, beside the energy.

Tables of each cell against the energy (`hepgan.transforms.energy.ConditionalQuantile`, `hepgan.models.copula`) would
need one table for each direction and position. Here the statistics of a cell are a smooth function of where it lies
relative to the shower:

- A frame that moves with the shower: the expected centre in each layer is a polynomial of second degree in the
  conditions, angles entering as cosine and sine. It contains :math:`x_0 + d \sin\theta \cos\phi` with the depth d.
- For each layer, numbers :math:`h_r = a_r(x) \, b_r(y)`: a is a small network of the distances of the cell's two edges
  in x from the centre and of the conditions, b one of those in y. There are far fewer columns and rows than cells.
- Linear in these numbers are the threshold below which the cell is empty, the quantiles of its deposits above it (the
  first one is the edge of the spectrum), and the loadings of a Gaussian copula,
  :math:`z \propto \Lambda g + \varepsilon`.

Energies of layers and overflow have their tables in the incident energy; a network of the conditions shifts and
stretches their normal numbers. The networks are fitted once, by the probability of a hit, the pinball loss of the
quantiles (Koenker and Bassett, Econometrica 46 (1978) 33) and the likelihood of the factor model, empty cells being
censored values. They are buffers, which the training does not change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hepgan.geometry import Calorimeter
from hepgan.models.moving_frame import Cells, Frame, Network, positive
from hepgan.progress import stage
from hepgan.transforms.energy import EDGE, ConditionalQuantile, from_knot, range_above, to_knot
from hepgan.transforms.quantiles import KNOT_RANGE, TINY

__all__ = ["ConditionalStart", "Inputs"]

Inputs = tuple[Tensor, list[tuple[Tensor, Tensor]]]
"""What the networks see: numbers of the event (C + 2, B), and the edges of columns and rows of each layer."""

_KNOTS = 12  # quantiles of a cell
_MIDDLE = 8  # number of the one near the median of a cell that is never empty
_LEAST_SPREAD = 0.05  # of a cell, in the logarithm of its energy
_BEND = 0.9  # of the knots, denser at the edge of the spectrum
_DEAD = 2 * KNOT_RANGE  # added to the threshold of cells that are always empty
_SHAPES, _HIDDEN = 16, 24  # numbers h and hidden units of the quantiles
_FACTORS, _FACTOR_HIDDEN = 8, 16  # of the loadings
_BATCH = 128
_MOST_STEPS = 1400  # of the quantiles; half as many of the correlations
_EPOCHS = 24.0  # of a small sample
_RATE = 5e-3  # of Adam at the start; it falls like a cosine
_HIGHEST = 3.5  # threshold whose tail is known in single precision
_LEVELS = 0.002, 0.9998  # of the pinball loss: beyond them a sample knows nothing
_WARM = 50  # steps in which the rate rises
_LEAST_SHARE = 1e-6  # distance of probabilities from 0 and 1: keeps the normal quantile finite
_PART = 512  # events at once in a pass over all of them


def _below(z: Tensor, rng: torch.Generator) -> Tensor:
    """Draw standard normal numbers below z."""
    share = torch.rand(z.shape, generator=rng) * torch.special.ndtr(z)
    drawn: Tensor = torch.special.ndtri(share.clamp(_LEAST_SHARE, 1 - _LEAST_SHARE))
    return drawn


class _Events:
    """Training events of the fit, drawn in proportion to their weights."""

    def __init__(
        self, variables: Tensor, features: Tensor, energy: Tensor, weights: Tensor, rng: torch.Generator
    ) -> None:
        self.variables, self.features, self.energy = variables, features, energy
        self.cumulative = weights.double().cumsum(0)
        self.rng = rng

    def draw(self) -> Tensor:
        """Indices of a batch."""
        share = torch.rand(_BATCH, generator=self.rng, dtype=torch.float64) * self.cumulative[-1]
        return torch.searchsorted(self.cumulative, share).clamp(max=len(self.cumulative) - 1)

    def parts(self) -> Iterator[tuple[Tensor, ...]]:
        """Variables, features and energies of all events, some at a time."""
        return zip(
            *(torch.split(x, _PART) for x in (self.variables, self.features, self.energy)), strict=True
        )


class ConditionalStart(nn.Module):
    """Normal numbers to the variables of a shower, and independent ones to correlated ones, given all conditions.

    Args:
        calorimeter: The geometry.
        n_global: Number G of variables that are not cells.
        features: Number C of features of the conditions.
        factors: Number K of shared numbers.
    """

    dead: Tensor
    scale: Tensor
    steps: Tensor
    frames: Any  # of each layer
    quantiles: Any
    loadings: Any

    def __init__(self, calorimeter: Calorimeter, *, n_global: int, features: int, factors: int) -> None:
        super().__init__()
        self.calorimeter, self.n_global, self.factors = calorimeter, n_global, factors
        self.pairs = [(i, j) for i in range(features) for j in range(i, features)]
        terms, common = 1 + features + len(self.pairs), features + 2
        layers = calorimeter.layers
        self.frames = nn.ModuleList(Frame(layer, terms) for layer in layers)
        self.quantiles = nn.ModuleList(Cells(layer, common, _SHAPES, _HIDDEN, 1 + _KNOTS) for layer in layers)
        self.loadings = nn.ModuleList(
            Cells(layer, common, _FACTORS, _FACTOR_HIDDEN, factors) for layer in layers
        )
        self.table = ConditionalQuantile(n_global)
        self.moved = Network(0, common, _HIDDEN, 2 * n_global)
        self.global_loadings = Network(0, common, _FACTOR_HIDDEN, n_global * factors)
        self.register_buffer("dead", torch.zeros(calorimeter.n_cells, 1))
        self.register_buffer("scale", torch.ones(2))  # of the tilt
        self.register_buffer("steps", torch.arange(_KNOTS - 1.0)[:, None], persistent=False)

    # -- what the networks see

    def _terms(self, features: Tensor) -> Tensor:
        """Polynomial (T, B) of second degree in (C, B) features."""
        rows = torch.split(features, 1)
        products = [rows[i] * rows[j] for i, j in self.pairs]
        return torch.cat([torch.ones_like(rows[0]), features, *products])

    def inputs(self, features: Tensor) -> Inputs:
        """Inputs of the event (C + 2, B), the last two being the tilt, and the edges of each layer.

        Args:
            features: (B, C).
        """
        columns = features.T
        terms = self._terms(columns)
        edges = [frame(terms) for frame in self.frames]
        tilt = torch.matmul(self.frames[-1].centre - self.frames[0].centre, terms) / self.scale[:, None]
        return torch.cat([columns, tilt]), edges

    # -- quantiles

    def _numbers(self, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
        """Thresholds (n_cells, B), edges (n_cells, B) and steps between quantiles (n_cells, knots - 1, B)."""
        common, edges = inputs
        numbers = torch.cat([net(*pair, common) for net, pair in zip(self.quantiles, edges, strict=True)])
        threshold, others = torch.split(numbers, [1, _KNOTS], 1)
        first, rest = torch.split(positive(others), [1, _KNOTS - 1], 1)
        return threshold[:, 0] + _DEAD * self.dead, first[:, 0], rest

    def _moves(self, common: Tensor) -> tuple[Tensor, Tensor]:
        """Shift and stretch of the normal numbers of the first variables, (G, B) each."""
        shift, stretch = torch.split(self.moved(None, common), self.n_global)
        return shift, 2 * positive(stretch)

    def from_normal(self, z: Tensor, inputs: Inputs, incident_energy: Tensor) -> Tensor:
        """Map normal numbers to variables.

        Args:
            z: (B, V).
            inputs: Of `inputs`.
            incident_energy: (B,).
        """
        first, cells = torch.split(z.T, [self.n_global, self.calorimeter.n_cells])
        shift, stretch = self._moves(inputs[0])
        made = self.table.from_normal((shift + stretch * first).T, incident_energy).T
        threshold, edge, rest = self._numbers(inputs)
        begin, width = range_above(threshold)
        over = cells - threshold
        place = to_knot(((cells - begin) / width).clamp(0, 1), _BEND).clamp(0, 1) * (_KNOTS - 1)
        value = edge + (rest * (place[:, None] - self.steps).clamp(0, 1)).sum(1)
        if torch.is_grad_enabled():  # the derivative of the edge, as in ConditionalQuantile
            rising = edge * (over / EDGE).clamp(max=1)
            value = value + rising - rising.detach()
        return torch.cat([made, torch.where(over > 0, value, over)]).T

    def _to_normal(self, variables: Tensor, features: Tensor, incident_energy: Tensor) -> Tensor:
        """The inverse of `from_normal`, (B, V); thresholds for empty cells."""
        inputs = self.inputs(features)
        first, cells = torch.split(variables, [self.n_global, self.calorimeter.n_cells], 1)
        shift, stretch = self._moves(inputs[0])
        made = (self.table.to_normal(first, incident_energy).T - shift) / stretch
        threshold, edge, rest = self._numbers(inputs)
        begin, width = range_above(threshold)
        below = torch.cat([torch.zeros_like(edge)[:, None], rest.cumsum(1)], 1)[:, :-1] + edge[:, None]
        place = ((cells.T[:, None] - below) / rest).clamp(0, 1).sum(1)
        z = begin + from_knot(place / (_KNOTS - 1), _BEND) * width
        return torch.cat([made, torch.where(cells.T > 0, z, threshold)]).T

    # -- correlations

    def forward(self, shared: Tensor, own: Tensor, inputs: Inputs) -> Tensor:
        """Map (B, K) shared and (V, B) own normal numbers to (V, B) correlated ones, given `inputs`."""
        common, edges = inputs
        g = shared.T
        first = self.global_loadings(None, common).reshape(self.n_global, self.factors, -1)
        parts, sizes = [(first * g).sum(1)], [first.square().sum(1)]
        for net, pair in zip(self.loadings, edges, strict=True):
            products = net.products(*pair, common)
            parts.append((products * torch.matmul(net.read.T, g)).sum(1))
            sizes.append(torch.matmul(net.root, products).square().sum(1))
        return (torch.cat(parts) + own) / torch.sqrt(1 + torch.cat(sizes))

    def _factors(self, features: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Loadings relative to the own noise, as products (B, n, R) and (R, K): first variables, then each layer."""
        common, edges = self.inputs(features)
        first = self.global_loadings(None, common).reshape(self.n_global, self.factors, -1)
        parts = [(first.permute(2, 0, 1), torch.eye(self.factors))]
        for net, pair in zip(self.loadings, edges, strict=True):
            parts.append((net.products(*pair, common).permute(2, 0, 1).contiguous(), net.read.T))
        return parts

    # -- fit

    @torch.no_grad()
    def fit(
        self,
        cells: Tensor,
        variables: Tensor,
        features: Tensor,
        incident_energy: Tensor,
        weights: Tensor,
        *,
        rng: torch.Generator,
    ) -> None:
        """Fit everything to the training events, which are drawn in proportion to their (positive) weights.

        Args:
            cells: (N, n_cells) energies.
            variables: (N, V) variables of `hepgan.transforms.showers.ShowerScaling`.
            features: (N, C).
            incident_energy: (N,).
            weights: (N,).
            rng: Source of the batches, and of the normal numbers of empty cells.
        """
        terms = self._terms(features.T)
        moving = [(f, s) for f, s in zip(self.frames, self.calorimeter.slices(), strict=True) if f.moves]
        sizes = [frame.fit(cells[:, s], terms, weights) for frame, s in moving]
        for frame, _ in moving:  # the core is narrow in all layers, whatever the size of their cells
            frame.width.fill_(max(min(sizes) / 2, 0.1 * float(frame.width.min())))
        tilt = torch.matmul(self.frames[-1].centre - self.frames[0].centre, terms)
        self.scale.copy_(tilt.std(1).clamp(min=1.0))
        first = variables[:, : self.n_global]
        self.table.fit(first, incident_energy, weights)
        self.dead.copy_(~(variables[:, self.n_global :] > 0).any(0)[:, None])
        events = _Events(variables, features, incident_energy, weights.clamp(min=0), rng)
        z = self.table.to_normal(first, incident_energy)
        self._descend(
            "fitting quantiles",
            _MOST_STEPS,
            [*self.quantiles, self.moved],
            events,
            lambda i: self._misfit(events, z, i),
        )
        z = torch.cat([self._to_normal(*part) for part in events.parts()]).T.contiguous()  # (V, N)
        censored = (variables <= 0).T.contiguous()
        drawn = torch.where(censored, _below(z, rng), z)
        self._descend(
            "fitting correlations",
            _MOST_STEPS // 2,
            [*self.loadings, self.global_loadings],
            events,
            lambda i: self._unlikeliness(drawn, z, censored, features, i, rng),
        )
        for net in self.loadings:
            square = (net.read.T @ net.read).double()
            net.root.copy_(torch.linalg.cholesky(square + 1e-6 * torch.eye(_FACTORS)).T)

    def _descend(
        self,
        name: str,
        most: int,
        modules: Sequence[nn.Module],
        events: _Events,
        loss: Callable[[Tensor], Tensor],
    ) -> None:
        """Minimise the mean of a loss over batches of events, given by their indices, with Adam."""
        fitted = [b for module in modules for b in module.buffers()]
        count = int(min(most, _EPOCHS * len(events.features) / _BATCH + 1))
        optimizer = torch.optim.Adam(fitted, _RATE, betas=(0.9, 0.99))
        with torch.enable_grad(), stage(name, total=count) as update:
            for buffer in fitted:
                buffer.requires_grad_()
            for k in range(count):
                warm = min(1.0, (k + 1) / _WARM)
                optimizer.param_groups[0]["lr"] = _RATE * warm * (1 + math.cos(math.pi * k / count)) / 2
                optimizer.zero_grad()
                loss(events.draw()).backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(fitted, 1.0)
                optimizer.step()
                update(k + 1)
            for buffer in fitted:
                buffer.requires_grad_(False)
                buffer.grad = None

    def _misfit(self, events: _Events, z: Tensor, index: Tensor) -> Tensor:
        """Loss of thresholds and quantiles for a batch; `z`: normal numbers (N, G) of the tables."""
        inputs = self.inputs(events.features[index])
        first, cells = torch.split(events.variables[index].T, [self.n_global, self.calorimeter.n_cells])
        shift, stretch = self._moves(inputs[0])
        residual = (z[index].T - shift) / stretch
        loss = torch.where(
            first > self.table.floor,
            residual.square() / 2 + torch.log(stretch),
            -torch.special.log_ndtr(residual),
        ).mean()
        threshold, edge, rest = self._numbers(inputs)
        hit = cells > 0
        quantiles = torch.cat([torch.zeros_like(edge)[:, None], rest.cumsum(1)], 1) + edge[:, None]
        begin, width = range_above(threshold.detach().clamp(max=_HIGHEST))
        part = from_knot(torch.linspace(0, 1, _KNOTS), _BEND)[:, None]
        tail = (
            torch.special.ndtr(-(begin[:, None] + part * width[:, None]))
            / torch.special.ndtr(-begin)[:, None]
        )
        level = (1 - tail).clamp(*_LEVELS)
        apart = cells[:, None] - quantiles
        pinball = torch.maximum(level * apart, (level - 1) * apart) / torch.sqrt(level * (1 - level))
        # the few cells that hold the energy count as much as all others, and a spread of 10 % as one of 200 %
        with torch.no_grad():
            energy = torch.expm1(quantiles[:, _MIDDLE]) * hit
            spread = quantiles[:, _MIDDLE + 1] - quantiles[:, _MIDDLE - 1] + _LEAST_SPREAD
        pinball = pinball.mean(1) / spread
        chance = -torch.special.log_ndtr(torch.where(hit, -threshold, threshold))
        for s in self.calorimeter.slices():
            weight = (energy[s] / energy[s].sum(0).clamp(min=TINY)).sqrt().sqrt()
            loss = loss + chance[s].mean() + (pinball[s] * weight).sum() / weight.sum().clamp(min=TINY)
        return loss

    def _unlikeliness(
        self,
        drawn: Tensor,
        z: Tensor,
        censored: Tensor,
        features: Tensor,
        index: Tensor,
        rng: torch.Generator,
    ) -> Tensor:
        """Loss of the factor model for a batch; draws its censored values anew, given the shared numbers.

        Args:
            drawn: (V, N) normal numbers, with the last draws of the censored ones; changed.
            z: (V, N) normal numbers, thresholds for the censored ones.
            censored: (V, N).
            features: (N, C).
            index: Events of the batch.
            rng: Source of the draws.
        """
        factors = self._factors(features[index])

        def projected(x: Tensor) -> Tensor:  # (B, V) on the shared numbers, (B, K, 1)
            rows = zip(factors, torch.split(x[:, :, None], [len(p[0]) for p, _ in factors], 1), strict=True)
            return sum((read.T @ (p.transpose(1, 2) @ row) for (p, read), row in rows), torch.zeros(()))

        scale = torch.sqrt(1 + torch.cat([((p @ (read @ read.T)) * p).sum(2) for p, read in factors], 1))
        precision = torch.eye(self.factors) + sum(
            read.T @ (p.transpose(1, 2) @ p) @ read for p, read in factors
        )
        root = torch.linalg.cholesky(precision)
        limit, empty = z[:, index].T, censored[:, index].T
        with torch.no_grad():  # one turn of stochastic EM
            mean = torch.cholesky_solve(projected(scale * drawn[:, index].T), root)
            noise = torch.randn(mean.shape, generator=rng)
            g = mean + torch.linalg.solve_triangular(root.transpose(1, 2), noise, upper=True)
            centre = torch.cat([p @ (read @ g) for p, read in factors], 1)[:, :, 0] / scale
            new = centre + _below((limit - centre) * scale, rng) / scale
            new = torch.where(empty, new, limit)
            drawn[:, index] = new.T
        x = scale * new
        explained = torch.linalg.solve_triangular(root, projected(x), upper=False).square().sum((1, 2))
        logdet = 2 * torch.log(root.diagonal(dim1=1, dim2=2)).sum(1)
        each = x.square().sum(1) - explained + logdet - 2 * torch.log(scale).sum(1)
        mean_of_all: Tensor = each.mean() / (2 * len(z))
        return mean_of_all
