r"""The fit of the start that follows every condition, `hepgan.models.conditional_start`, to training events.

Frames and tables are solved for; the networks descend along the probability of a hit, the pinball loss of the quantiles
(Koenker and Bassett, Econometrica 46 (1978) 33) and then the likelihood of the factor model, empty cells being censored
values. A step looks at the columns and rows next to the shower, and at some of the others, which count for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from hepgan.models.conditional_start import KNOT_BEND, ConditionalStart, Inputs
from hepgan.models.copula import below
from hepgan.models.moving_frame import Edges
from hepgan.progress import stage
from hepgan.transforms.energy import from_knot, range_above
from hepgan.transforms.quantiles import TINY
from hepgan.transforms.showers import ShowerScaling

__all__ = ["fit_start"]

_MIDDLE = 8  # number of the quantile near the median of a cell that is never empty
_LEAST_SPREAD = 0.05  # of a cell, in the logarithm of its energy
_BATCH = 128
_MOST_STEPS = 2000  # of the quantiles; half as many of the correlations
_EPOCHS = 24.0  # of a small sample
_RATE = 1e-2  # of Adam at the start, half of it for the correlations; it falls like a cosine
_HIGHEST = 3.5  # threshold whose tail is known in single precision
_LEVELS = 0.002, 0.9998  # of the pinball loss: beyond them a sample knows nothing
_WARM = 50  # steps in which the rate rises
_PART = 512  # events at once in a pass over all of them
_NEAR, _FAR = 8, 4  # columns (and rows) next to the shower, and others, in a step


def _strips(edges: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Numbers (m, B) of the columns of a step, given (n, F, B) edges, and how many columns each stands for, (m, 1)."""
    n, points, batch = len(edges), edges.shape[1] // 2, edges.shape[2]
    if n <= _NEAR + _FAR:
        return torch.arange(n)[:, None].expand(-1, batch), torch.ones(n, 1)
    middle = edges.detach()[:, points // 2] + edges.detach()[:, points + points // 2]
    order = middle.abs().argsort(0)
    others = torch.randint(_NEAR, n, (_FAR, batch), generator=rng)
    count = torch.tensor([1.0] * _NEAR + [(n - _NEAR) / _FAR] * _FAR)
    return torch.cat([order[:_NEAR], order.gather(0, others)]), count[:, None]


def _window(edges: Edges, rng: torch.Generator) -> tuple[Edges, Tensor, Tensor]:
    """Edges of some columns and rows of a layer, numbers (n, B) of their cells, and what each counts for, (n, 1)."""
    (i, columns), (j, rows) = (_strips(x, rng) for x in edges)
    x, y = (x.gather(0, k[:, None].expand(-1, x.shape[1], -1)) for x, k in zip(edges, (i, j), strict=True))
    cells = (i[:, None] * len(edges[1]) + j).flatten(0, 1)
    return (x, y), cells, (columns * rows[:, 0]).reshape(-1, 1)


class _Fit:
    """Training events, drawn in proportion to their weights, and the losses of batches of them.

    Args:
        start: What is fitted.
        variables: (N, V).
        features: (N, C).
        incident_energy: (N,).
        weights: (N,).
        scaling: What the variables are.
        rng: Source of the batches, and of the normal numbers of empty cells.
    """

    def __init__(
        self,
        start: ConditionalStart,
        variables: Tensor,
        features: Tensor,
        incident_energy: Tensor,
        weights: Tensor,
        scaling: ShowerScaling,
        rng: torch.Generator,
    ) -> None:
        self.start, self.features, self.incident_energy, self.rng = start, features, incident_energy, rng
        self.values = variables.T.contiguous()  # (V, N)
        self.logs = scaling.layer_logs(variables, incident_energy)  # (L + 1, N)
        self.cumulative = weights.double().cumsum(0)
        self.n_global, self.slices = start.n_global, start.calorimeter.slices()
        self.z = start.table.to_normal(variables[:, : self.n_global], incident_energy).T

    def inputs(self, index: Tensor) -> Inputs:
        """What the networks see of some events."""
        return self.start.inputs(self.features[index], self.logs[:, index])

    def descend(
        self, name: str, most: int, rate: float, fitted: Sequence[Tensor], loss: Callable[[Tensor], Tensor]
    ) -> None:
        """Minimise the mean of a loss over batches of events, given by their indices, with Adam."""
        count = int(min(most, _EPOCHS * len(self.features) / _BATCH + 1))
        optimizer = torch.optim.Adam(fitted, rate, betas=(0.9, 0.99))
        with torch.enable_grad(), stage(name, total=count) as update:
            for buffer in fitted:
                buffer.requires_grad_()
            for k in range(count):
                warm = min(1.0, (k + 1) / _WARM)
                optimizer.param_groups[0]["lr"] = rate * warm * (1 + math.cos(math.pi * k / count)) / 2
                optimizer.zero_grad()
                share = torch.rand(_BATCH, generator=self.rng, dtype=torch.float64) * self.cumulative[-1]
                index = torch.searchsorted(self.cumulative, share).clamp(max=len(self.cumulative) - 1)
                loss(index).backward()  # type: ignore[no-untyped-call]
                if torch.isfinite(nn.utils.clip_grad_norm_(fitted, 1.0)):
                    optimizer.step()
                update(k + 1)
            for buffer in fitted:
                buffer.requires_grad_(False)
                buffer.grad = None

    def misfit(self, index: Tensor) -> Tensor:
        """Loss of thresholds and quantiles for a batch."""
        start, inputs = self.start, self.inputs(index)
        shift, stretch = start.moves(inputs.early)
        residual = (self.z[:, index] - shift) / stretch
        loss = torch.where(
            self.values[: self.n_global, index] > start.table.floor,
            residual.square() / 2 + torch.log(stretch),
            -torch.special.log_ndtr(residual),
        ).mean()
        for k, (s, edges) in enumerate(zip(self.slices, inputs.edges, strict=True)):
            window, places, count = _window(edges, self.rng)
            cells = self.values[self.n_global + s.start + places, index]
            loss = loss + _misfit(cells, *start.numbers(k, window, inputs), count)
        return loss

    def normal(self) -> Iterator[Tensor]:
        """Normal numbers (V, n) of all events, some at a time."""
        for index in torch.split(torch.arange(len(self.features)), _PART):
            yield self.start.to_normal(
                self.values[:, index].T, self.inputs(index), self.incident_energy[index]
            ).T

    def correlate(self) -> None:
        """Fit the correlations."""
        start, n_global = self.start, self.n_global
        z = torch.cat(list(self.normal()), 1)
        censored = self.values <= 0
        drawn = torch.where(censored, below(z, 0.0, 1.0, self.rng), z)

        def unlikeliness(index: Tensor) -> Tensor:
            inputs = self.inputs(index)
            rows, parts = [], []
            for net, s, edges in zip(start.loadings, self.slices, inputs.edges, strict=True):
                window, places, _ = _window(edges, self.rng)
                rows.append(n_global + s.start + places)
                parts.append((net.products(*window, inputs.common).permute(2, 0, 1).contiguous(), net.read.T))
            loss = self._unlikeliness(drawn, z, censored, parts, torch.cat(rows), index)
            if start.factors[0]:
                loadings = start.loadings_of_energies(inputs.early).permute(2, 0, 1).contiguous()
                rows_of_energies = torch.arange(n_global)[:, None].expand(-1, len(index))
                early = [(loadings, torch.eye(start.factors[0]))]
                loss = loss + self._unlikeliness(drawn, z, censored, early, rows_of_energies, index)
            return loss

        fitted = [b for module in (start.loadings, start.early_loadings) for b in module.buffers()]
        self.descend("fitting correlations", _MOST_STEPS // 2, _RATE / 2, fitted, unlikeliness)
        for net in start.loadings:
            square = (net.read.T @ net.read).double()
            net.root.copy_(torch.linalg.cholesky(square + 1e-6 * torch.eye(len(square))).T)

    def _unlikeliness(
        self,
        drawn: Tensor,
        z: Tensor,
        censored: Tensor,
        factors: list[tuple[Tensor, Tensor]],
        rows: Tensor,
        index: Tensor,
    ) -> Tensor:
        """Loss of a factor model for a batch; draws its censored values anew, given the shared numbers.

        Args:
            drawn: (V, N) normal numbers, with the last draws of the censored ones; changed.
            z: (V, N) normal numbers, thresholds for the censored ones.
            censored: (V, N).
            factors: Loadings relative to the own noise, as products (B, n, R) and (R, K).
            rows: (n, B) variables of the loadings, all together.
            index: (B,) events.
        """
        shared = factors[0][1].shape[1]

        def projected(x: Tensor) -> Tensor:  # (B, n) on the shared numbers, (B, K, 1)
            parts = zip(factors, torch.split(x[:, :, None], [p.shape[1] for p, _ in factors], 1), strict=True)
            return sum((read.T @ (p.transpose(1, 2) @ row) for (p, read), row in parts), torch.zeros(()))

        scale = torch.sqrt(1 + torch.cat([((p @ (read @ read.T)) * p).sum(2) for p, read in factors], 1))
        precision = torch.eye(shared) + sum(read.T @ (p.transpose(1, 2) @ p) @ read for p, read in factors)
        root = torch.linalg.cholesky(precision)
        limit, empty = z[rows, index].T, censored[rows, index].T
        with torch.no_grad():  # one turn of stochastic EM
            mean = torch.cholesky_solve(projected(scale * drawn[rows, index].T), root)
            noise = torch.randn(mean.shape, generator=self.rng)
            g = mean + torch.linalg.solve_triangular(root.transpose(1, 2), noise, upper=True)
            centre = torch.cat([p @ (read @ g) for p, read in factors], 1)[:, :, 0] / scale
            new = torch.where(empty, below(limit, centre, 1 / scale, self.rng), limit)
            drawn[rows, index] = new.T
        x = scale * new
        explained = torch.linalg.solve_triangular(root, projected(x), upper=False).square().sum((1, 2))
        logdet = 2 * torch.log(root.diagonal(dim1=1, dim2=2)).sum(1)
        each = x.square().sum(1) - explained + logdet - 2 * torch.log(scale).sum(1)
        mean_of_all: Tensor = each.mean() / (2 * len(rows))
        return mean_of_all


def _misfit(cells: Tensor, threshold: Tensor, edge: Tensor, rest: Tensor, count: Tensor) -> Tensor:
    """Loss of thresholds and quantiles of cells of a layer.

    Args:
        cells: (n, B) variables.
        threshold: (n, B).
        edge: (n, B) first quantiles.
        rest: (n, knots - 1, B) steps between quantiles.
        count: (n, 1) cells that each stands for.
    """
    hit = cells > 0
    chance = -torch.special.log_ndtr(torch.where(hit, -threshold, threshold))
    quantiles = torch.cat([edge[:, None], rest], 1).cumsum(1)
    apart = cells[:, None] - quantiles
    with torch.no_grad():
        begin, width = range_above(threshold.clamp(max=_HIGHEST))
        part = from_knot(torch.linspace(0, 1, quantiles.shape[1]), KNOT_BEND)[:, None]
        tail = torch.special.ndtr(-(begin[:, None] + part * width[:, None]))
        level = (1 - tail / torch.special.ndtr(-begin)[:, None]).clamp(*_LEVELS)
        slope = (level - (apart < 0).to(level)) / torch.sqrt(level * (1 - level))
        # the few cells that hold the energy count as much as all others, and a spread of 10 % as one of 200 %
        energy = torch.expm1(quantiles[:, _MIDDLE]) * hit
        spread = quantiles[:, _MIDDLE + 1] - quantiles[:, _MIDDLE - 1] + _LEAST_SPREAD
        weight = count * (energy / (count * energy).sum(0).clamp(min=TINY)).sqrt()
        slope *= (weight / (spread * len(part) * weight.sum().clamp(min=TINY)))[:, None]
    loss: Tensor = (count * chance).mean() / count.mean() + (slope * apart).sum()
    return loss


@torch.no_grad()
def fit_start(
    start: ConditionalStart,
    cells: Tensor,
    variables: Tensor,
    features: Tensor,
    incident_energy: Tensor,
    weights: Tensor,
    *,
    scaling: ShowerScaling,
    rng: torch.Generator,
) -> None:
    """Fit everything to the training events, which are drawn in proportion to their (positive) weights.

    Args:
        start: What is fitted.
        cells: (N, n_cells) energies.
        variables: (N, V) variables of the scaling.
        features: (N, C).
        incident_energy: (N,).
        weights: (N,).
        scaling: What the variables are.
        rng: Source of the batches, and of the normal numbers of empty cells.
    """
    terms, slices = start.terms(features), start.calorimeter.slices()
    for frame, s in zip(start.frames, slices, strict=True):
        if frame.moves:
            frame.fit(cells[:, s], terms, weights)
    first, last = start.frames[0], start.frames[-1]
    start.tilt.copy_(last.unit * last.centre - first.unit * first.centre)
    start.tilt_scale.copy_((start.tilt @ terms).std(1, keepdim=True).clamp(min=1.0))
    start.table.fit(variables[:, : start.n_global], incident_energy, weights)
    start.dead.copy_(~(variables[:, start.n_global :] > 0).any(0)[:, None])
    fit = _Fit(start, variables, features, incident_energy, weights.clamp(min=0), scaling, rng)
    fractions = fit.logs[:-1] - fit.logs[-1:]
    start.ratio.copy_(torch.stack([fractions.mean(1), fractions.std(1).clamp(min=_LEAST_SPREAD)])[:, :, None])
    fitted = [b for module in (start.quantiles, start.moved) for b in module.buffers()]
    for frame in start.frames:
        fitted += frame.fitted
    fit.descend("fitting quantiles", _MOST_STEPS, _RATE, fitted, fit.misfit)
    fit.correlate()
