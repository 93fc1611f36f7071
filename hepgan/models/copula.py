r"""Gaussian copula with a factor structure that depends on the incident energy.

`hepgan.transforms.energy.ConditionalQuantile` makes each variable standard normal at every energy; the copula describes
how the variables fluctuate together: :math:`z = \Lambda(E)\,g + \psi(E)\,\varepsilon`, with a few shared standard
normal numbers g and one own number :math:`\varepsilon` per variable. `FactorCopula` is the starting point of the shower
generator; its tables are parameters, which the training changes further.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hepgan.transforms.energy import EnergyNodes

__all__ = ["FactorCopula", "censored_factor_model", "factor_model"]

_NOISE_FLOOR = 0.01  # smallest variance of the own noise of a variable
_MOST_EVENTS = 7_000  # most events of an energy node; correlations are then known to about 1 %
_SWEEPS = 5  # draws of the censored values; more change the loadings by less than their uncertainty
_FEWEST = 100  # fewest events of an energy node; with fewer, correlations are unknown
_MULTINOMIAL = 2**24  # largest number of categories of torch.multinomial
_TINY = 1e-6  # distance of probabilities from 0 and 1: keeps the normal quantile finite


def factor_model(
    z: Tensor, factors: int, *, noise: Tensor | None = None, iterations: int = 10
) -> tuple[Tensor, Tensor]:
    r"""Fit :math:`z = \Lambda g + \psi \varepsilon` with standard normal g and :math:`\varepsilon`.

    Principal-factor iteration: for given noise variances, the loadings are the leading eigenvectors of the
    noise-whitened covariance (Bishop, Pattern Recognition and Machine Learning, section 12.2.4).

    Args:
        z: (N, V) sample.
        factors: Number of factors K; at most V of them are not zero.
        noise: (V,) noise standard deviations to start from; by default half of each variance is noise.
        iterations: Number of alternations between loadings and noise.

    Returns:
        Loadings (V, K) and noise standard deviations (V,).
    """
    covariance = torch.cov(z.double().T).reshape(z.shape[1], z.shape[1])
    diagonal = covariance.diagonal()
    variance = 0.5 * diagonal.clamp(min=_NOISE_FLOOR) if noise is None else noise.double() ** 2
    used = min(factors, z.shape[1])
    loadings = torch.zeros(len(diagonal), factors, dtype=torch.float64)
    for _ in range(iterations):
        scale = variance.sqrt()
        values, vectors = torch.linalg.eigh(covariance / scale / scale[:, None])
        values, vectors = values[-used:].flip(0), vectors[:, -used:].flip(1)
        loadings[:, :used] = scale[:, None] * vectors * (values - 1).clamp(min=0).sqrt()
        variance = (diagonal - loadings.square().sum(1)).clamp(min=_NOISE_FLOOR)
    return loadings.float(), variance.sqrt().float()


def censored_factor_model(
    z: Tensor, censored: Tensor, factors: int, *, rng: torch.Generator, sweeps: int = _SWEEPS
) -> tuple[Tensor, Tensor]:
    r"""Fit the factor model to censored data: some values are only known to lie below a threshold.

    Stochastic EM: draw the shared numbers given all values, then each censored value given the shared numbers (from a
    normal distribution cut at its threshold), then fit again. Drawing each censored value on its own, as the first
    sweep does, would dilute the correlations of cells that are mostly empty.

    Args:
        z: (N, V) standard normal numbers; the threshold for censored values.
        censored: (N, V) bool, true for values that are thresholds.
        factors: Number of factors K.
        rng: Source of the draws.
        sweeps: Number of alternations between drawing and fitting.

    Returns:
        Loadings (V, K) and noise standard deviations (V,), scaled so that each variable has variance one.

    References:
        Celeux and Diebolt, Computational Statistics Quarterly 2 (1985) 73 (the SEM algorithm).
    """

    def below(mean: Tensor | float, spread: Tensor | float) -> Tensor:
        """Draw (N, V) values below z from normal distributions with mean and spread that broadcast to (N, V)."""
        share = torch.rand(z.shape, generator=rng) * torch.special.ndtr((z - mean) / spread)
        drawn: Tensor = mean + spread * torch.special.ndtri(share.clamp(_TINY, 1 - _TINY))
        return drawn

    drawn = torch.where(censored, below(0.0, 1.0), z)
    loadings, noise = factor_model(drawn, factors)
    for _ in range(sweeps if bool(censored.any()) else 0):
        weighted = loadings / noise[:, None] ** 2
        covariance = torch.linalg.inv(torch.eye(factors) + loadings.T @ weighted)
        shared = drawn @ weighted @ covariance
        shared = shared + torch.randn(shared.shape, generator=rng) @ torch.linalg.cholesky(covariance).T
        drawn = torch.where(censored, below(shared @ loadings.T, noise), z)
        loadings, noise = factor_model(drawn, factors, noise=noise, iterations=2)
    scale = (loadings.square().sum(1) + noise**2).sqrt()
    return loadings / scale[:, None], noise / scale


class FactorCopula(nn.Module):
    r"""Map shared and own normal numbers to correlated normal numbers, at every incident energy.

    :math:`z = \Lambda(E)\,g + \psi(E)\,\varepsilon`. The loadings :math:`\Lambda` and the noise :math:`\psi` are
    tabulated at a few energies and interpolated. A factor model is defined up to a rotation of the shared numbers; the
    rotation of each energy is aligned with its neighbour (orthogonal Procrustes problem), so that the interpolation is
    a factor model too, with variances of one within a few per cent.

    Args:
        variables: Number of variables V.
        factors: Number of shared numbers K.
        nodes: Number of energies of the table.

    Attributes:
        loadings: (nodes, V, K).
        noise: (nodes, V) standard deviations.
    """

    def __init__(self, variables: int, factors: int, *, nodes: int = 3) -> None:
        super().__init__()
        self.nodes = EnergyNodes(nodes)
        self.loadings = nn.Parameter(torch.zeros(nodes, variables, factors))
        self.noise = nn.Parameter(torch.ones(nodes, variables))

    @torch.no_grad()
    def fit(
        self,
        z: Tensor,
        censored: Tensor,
        incident_energy: Tensor,
        weights: Tensor,
        *,
        rng: torch.Generator,
    ) -> None:
        """Fit the factor model at each energy of the table.

        Events are drawn in proportion to their weight; events of negative weight cannot be drawn and are left out.
        Energies with too few events copy their neighbours; if no energy has enough, the variables stay independent.

        Args:
            z: (N, V) standard normal numbers; the threshold for censored values.
            censored: (N, V) bool, true for values that are thresholds.
            incident_energy: (N,).
            weights: (N,).
            rng: Source of the draws.
        """
        self.nodes.fit(incident_energy)
        place = self.nodes.position(incident_energy)
        known: list[int] = []
        for k in range(self.nodes.nodes):
            near = torch.nonzero(((place - k).abs() <= self.nodes.reach(k)) & (weights > 0))[:, 0]
            if len(near) < _FEWEST:
                continue
            near = near[:_MULTINOMIAL]
            if len(near) > _MOST_EVENTS or bool((weights[near] != weights[near[0]]).any()):
                count = min(len(near), _MOST_EVENTS)
                near = near[torch.multinomial(weights[near], count, replacement=True, generator=rng)]
            loadings, noise = censored_factor_model(z[near], censored[near], self.loadings.shape[2], rng=rng)
            if known:
                left, _, right = torch.linalg.svd(loadings.T @ self.loadings[known[-1]])
                loadings = loadings @ (left @ right)
            self.loadings[k] = loadings
            self.noise[k] = noise
            known.append(k)
        if known:
            self.loadings.copy_(self.nodes.filled(self.loadings, known))
            self.noise.copy_(self.nodes.filled(self.noise, known))

    def forward(self, shared: Tensor, own: Tensor, incident_energy: Tensor) -> Tensor:
        """Map (B, K) shared and (V, B) own normal numbers at (B,) energies to (V, B) correlated normal numbers."""
        basis = self.nodes(incident_energy)
        z = torch.zeros_like(own)
        for k in range(self.nodes.nodes):
            z = z + basis[:, k] * (torch.matmul(self.loadings[k], shared.T) + self.noise[k][:, None] * own)
        return z
