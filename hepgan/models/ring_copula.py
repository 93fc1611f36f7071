r"""Gaussian copula of a calorimeter that looks the same from all sides of the axis of the shower.

Turned around the axis, a shower is as probable as before. Then only waves of the same number m of periods around the
axis are correlated, cosine with cosine and sine with sine, alike: a factor model for m = 0 (how wide and how deep the
shower is, together with the energies of the layers), one for m = 1 (where it leans to, from layer to layer), and so on.
Each has one number a ring instead of one a cell, so that a few thousand showers determine it, without a covariance of
all cells.

.. math::
    z_{\alpha r} = \sum_k \Lambda^0_{r k}\,g_k + \sum_{m \ge 1, k} \Lambda^m_{r k}
        (g^c_{m k} \cos m\alpha + g^s_{m k} \sin m\alpha) + \psi_r\,\varepsilon_{\alpha r}

as in `hepgan.models.copula`, at a few incident energies.
"""

from __future__ import annotations

import math
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn import functional

from hepgan.geometry import Calorimeter
from hepgan.models.copula import below, drawn_again, events_near, factor_model
from hepgan.progress import stage
from hepgan.transforms.energy import EnergyNodes

__all__ = ["RingCopula"]

_NODES = 4  # incident energies
_PAIRS = (5, 2, 1)  # factors of waves of 1, 2, 3 periods, as cosine and sine, of `_OF` factors
_OF = 32
_ITERATIONS = 10  # of the first fit of a factor model
_SWEEPS = 5  # draws of the censored values
_NOISE_FLOOR = 0.01  # smallest variance of the own noise


class RingCopula(nn.Module):
    """Map shared and own normal numbers to correlated normal numbers, alike from all sides of the axis.

    Args:
        calorimeter: The geometry, polar layers.
        n_global: Number G of variables that are not cells.
        factors: Number K of shared numbers.

    Attributes:
        loadings: For each number of periods (nodes, R, K_m); those of none have the G first variables before the rings.
        noise: (nodes, G + R) standard deviations.
    """

    def __init__(self, calorimeter: Calorimeter, n_global: int, factors: int) -> None:
        super().__init__()
        self.shapes, self.n_global = calorimeter.shapes, n_global
        self.blocks = [(len([*same]), shape) for shape, same in groupby(self.shapes)]
        self.nodes = EnergyNodes(_NODES)
        most = max(shape[0] for shape in self.shapes)
        pairs = [factors * n // _OF for m, n in enumerate(_PAIRS, 1) if 2 * m < most and factors * n >= _OF]
        self.sizes = [factors - 2 * sum(pairs), *pairs]
        self.n_rings = sum(shape[1] for shape in self.shapes)
        rows = [n_global + self.n_rings] + [self.n_rings] * len(pairs)
        self.loadings = nn.ParameterList(
            nn.Parameter(torch.zeros(_NODES, n, k)) for n, k in zip(rows, self.sizes, strict=True)
        )
        self.noise = nn.Parameter(torch.ones(_NODES, rows[0]))
        for k, (_, (angles, _)) in enumerate(self.blocks):
            self.register_buffer(f"waves_{k}", self._waves(angles), persistent=False)

    def _waves(self, angles: int) -> Tensor:
        """Constant, then cosine and sine of each number of periods, (A, C) at the cells of a ring."""
        alpha = 2 * math.pi * (torch.arange(angles) + 0.5) / angles - math.pi
        columns = [torch.ones(angles)]
        for m in range(1, len(self.sizes)):
            known = float(2 * m < angles)  # finer waves than the cells show nothing
            columns += [known * torch.cos(m * alpha), known * torch.sin(m * alpha)]
        return torch.stack(columns, 1)

    def forward(self, shared: Tensor, own: Tensor, incident_energy: Tensor) -> Tensor:
        """Map (B, K) shared and (V, B) own normal numbers at (B,) energies to (V, B) correlated normal numbers."""
        basis = self.nodes(incident_energy).T  # (nodes, B)
        numbers = torch.split(shared.T, [self.sizes[0], *(n for n in self.sizes[1:] for _ in "cs")])
        amplitudes = []
        for c, g in enumerate(numbers):
            stacked = torch.cat([row * g for row in basis.split(1)])  # (nodes * K_m, B)
            loadings = torch.cat(list(self.loadings[(c + 1) // 2]), 1)
            amplitudes.append(torch.matmul(loadings, stacked))
        first, amplitudes[0] = torch.split(amplitudes[0], [self.n_global, self.n_rings])
        noise_first, noise = torch.split(torch.matmul(self.noise.T, basis), [self.n_global, self.n_rings])
        rings = torch.stack(amplitudes)  # (C, R, B)
        ring_sizes = [count * shape[1] for count, shape in self.blocks]
        cell_sizes = [count * shape[0] * shape[1] for count, shape in self.blocks]
        own_first, *own_cells = torch.split(own, [self.n_global, *cell_sizes])
        size_first, size = torch.split(self._size(basis), [self.n_global, self.n_rings])
        made = [(first + noise_first * own_first) * size_first]
        for k, (count, (angles, radii)) in enumerate(self.blocks):
            here = slice(sum(ring_sizes[:k]), sum(ring_sizes[: k + 1]))
            wave: Tensor = getattr(self, f"waves_{k}")
            turned = rings[:, here].reshape(len(rings), count, -1).transpose(0, 1)  # (L, C, R * B)
            z = torch.matmul(wave, turned).reshape(count, angles, radii, -1)
            spread = noise[here].reshape(count, 1, radii, -1)
            z = z + spread * own_cells[k].reshape(count, angles, radii, -1)
            made.append((z * size[here].reshape(count, 1, radii, -1)).reshape(len(own_cells[k]), -1))
        return torch.cat(made)

    def _size(self, basis: Tensor) -> Tensor:
        """Factors (G + R, B) that make the variances exactly one, also between the nodes with weights (nodes, B)."""
        around = [functional.pad(part, (0, 0, self.n_global, 0)) for part in self.loadings[1:]]
        parts = torch.cat([self.loadings[0], *around, self.noise[..., None]], 2)  # (nodes, G + R, K + 1)
        own, neighbours = parts.square().sum(2), (parts[1:] * parts[:-1]).sum(2)
        variance = torch.matmul(own.T, basis * basis) + 2 * torch.matmul(neighbours.T, basis[1:] * basis[:-1])
        return 1 / torch.sqrt(variance)

    # -- fit

    @torch.no_grad()
    def fit(
        self, z: Tensor, censored: Tensor, incident_energy: Tensor, weights: Tensor, *, rng: torch.Generator
    ) -> None:
        """Fit the factor models at each energy of the table; arguments as for `FactorCopula.fit`."""
        self.nodes.fit(incident_energy)
        known: list[int] = []
        fits = 1 + _SWEEPS
        with stage("fitting correlations", total=fits * _NODES) as update:
            for k in range(_NODES):
                near = events_near(self.nodes, k, incident_energy, weights, rng=rng)
                if near is None:
                    continue
                values, empty = z.T[:, near].T, censored.T[:, near].T
                drawn = torch.where(empty, below(values, 0.0, 1.0, rng), values)
                loadings, noise = self._fitted(drawn, None)
                for sweep in range(_SWEEPS if bool(empty.any()) else 0):
                    update(fits * k + 1 + sweep)
                    drawn = self._drawn(drawn, values, empty, loadings, noise, rng)
                    loadings, noise = self._fitted(drawn, loadings)
                for m, fitted in enumerate(loadings):
                    if known:
                        left, _, right = torch.linalg.svd(fitted.T @ self.loadings[m][known[-1]])
                        fitted = fitted @ (left @ right)
                    self.loadings[m][k] = fitted
                self.noise[k] = noise
                known.append(k)
        if known:
            for parameter in (*self.loadings, self.noise):
                parameter.copy_(self.nodes.filled(parameter, known))

    def _amplitudes(self, drawn: Tensor) -> list[Tensor]:
        """Mean of each ring (N, R), and its waves of each number of periods (2 N, R), cosines first."""
        parts: list[list[Tensor]] = [[] for _ in self.sizes]
        cells = drawn.T[self.n_global :]
        begin = 0
        for k, (count, (angles, radii)) in enumerate(self.blocks):
            size = count * angles * radii
            block = cells[begin : begin + size].reshape(count, angles, radii, -1)
            begin += size
            wave: Tensor = getattr(self, f"waves_{k}")
            norm = wave.square().sum(0).clamp(min=1.0)
            found = torch.einsum("ac,larn->clrn", wave / norm, block).flatten(1, 2)  # (C, L * R, N)
            parts[0].append(found[0].T)
            for m in range(1, len(self.sizes)):
                parts[m].append(torch.cat([found[2 * m - 1].T, found[2 * m].T]))
        return [torch.cat(part, 1) for part in parts]

    def _fitted(self, drawn: Tensor, last: list[Tensor] | None) -> tuple[list[Tensor], Tensor]:
        """Loadings for each number of periods, and noise (G + R,), of (N, V) numbers; scaled to variances of one."""
        mean, *waves = self._amplitudes(drawn)
        first = drawn[:, : self.n_global]
        loadings = []
        for m, x in enumerate((torch.cat([first, mean], 1), *waves)):
            scale = x.std(0).clamp(min=1e-6)
            fitted, _ = factor_model(x / scale, self.sizes[m], iterations=_ITERATIONS if last is None else 3)
            loadings.append(fitted * scale[:, None])
        variance = torch.cat(
            [first.var(0), self._ring_mean((drawn - drawn.mean(0)).square().mean(0)[self.n_global :])]
        )
        shared = loadings[0].square().sum(1)
        for part in loadings[1:]:
            shared[self.n_global :] += part.square().sum(1)
        noise = (variance - shared).clamp(min=_NOISE_FLOOR)
        scale = (shared + noise).sqrt()
        rings = scale[self.n_global :]
        loadings = [loadings[0] / scale[:, None], *(part / rings[:, None] for part in loadings[1:])]
        return loadings, noise.sqrt() / scale

    def _ring_mean(self, values: Tensor) -> Tensor:
        """Means (R,) over rings of numbers (n_cells,)."""
        parts = torch.split(values, [a * r for a, r in self.shapes])
        return torch.cat([x.reshape(shape).mean(0) for x, shape in zip(parts, self.shapes, strict=True)])

    def _of_cells(self, rings: Tensor, columns: list[Tensor]) -> Tensor:
        """Spread numbers of rings (R, K) over their cells, times waves given for each shape (A,): (n_cells, K)."""
        made, begin = [], 0
        for (count, (angles, radii)), wave in zip(self.blocks, columns, strict=True):
            part = rings[begin : begin + count * radii].reshape(count, 1, radii, -1)
            begin += count * radii
            made.append((wave[:, None, None] * part).reshape(count * angles * radii, -1))
        return torch.cat(made)

    def _drawn(
        self,
        drawn: Tensor,
        values: Tensor,
        empty: Tensor,
        loadings: list[Tensor],
        noise: Tensor,
        rng: torch.Generator,
    ) -> Tensor:
        """Draw the shared numbers given the last draw, then each censored value given these, for (N, V) values."""
        waves = [getattr(self, f"waves_{k}") for k in range(len(self.blocks))]
        g, r = torch.split(loadings[0], [self.n_global, self.n_rings])
        columns = [self._of_cells(r, [wave[:, 0] for wave in waves])]
        for m, part in enumerate(loadings[1:], 1):
            columns += [self._of_cells(part, [wave[:, c] for wave in waves]) for c in (2 * m - 1, 2 * m)]
        cells = torch.cat(columns, 1)
        dense = torch.cat([torch.cat([g, g.new_zeros(len(g), cells.shape[1] - g.shape[1])], 1), cells])
        ones = [torch.ones(shape[0]) for _, shape in self.blocks]
        spread = torch.cat([noise[: self.n_global], self._of_cells(noise[self.n_global :, None], ones)[:, 0]])
        return drawn_again(drawn, values, empty, dense, spread, rng)
