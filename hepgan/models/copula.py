r"""Gaussian copula with a factor structure that depends on the incident energy.

`hepgan.transforms.energy.ConditionalQuantile` makes each variable standard normal at every energy; the copula describes
how the variables fluctuate together: :math:`z = \Lambda(E)\,g + \psi(E)\,\varepsilon`, with a few shared standard
normal numbers g and one own number :math:`\varepsilon` per variable. `FactorCopula` is the starting point of the shower
generator; its tables are parameters, which the training changes further.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from hepgan.progress import duration, stage
from hepgan.transforms.energy import EnergyNodes

__all__ = ["FactorCopula", "below", "censored_factor_model", "drawn_again", "events_near", "factor_model"]

logger = logging.getLogger(__name__)

_NOISE_FLOOR = 0.01  # smallest variance of the own noise of a variable
_MOST_EVENTS = 7_000  # most events of an energy node; correlations are then known to about 1 %
_SWEEPS = 5  # draws of the censored values; more change the loadings by less than their uncertainty
_FEWEST = 100  # fewest events of an energy node; with fewer, correlations are unknown
_MULTINOMIAL = 2**24  # largest number of categories of torch.multinomial
_MANY = 1_000  # variables from which on only the leading eigenvectors are computed, without the covariance
_MORE = 8  # directions beside those that are wanted
_FIRST_ROUNDS, _ROUNDS = 6, 1  # of the subspace iteration: at the start, and from the last result on
_PRODUCT = 512  # rows of the matrix product that measures how fast this machine is
_LONG = 30.0  # seconds of a fit that are announced
_LARGE = 2e9  # bytes of a fit that are announced
_TINY = 1e-6  # distance of probabilities from 0 and 1: keeps the normal quantile finite


def _spectrum(z: Tensor, used: int) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]]:
    """Prepare the leading eigenvectors of the covariance of an (N, V) sample, for any scales of the variables.

    With many variables the covariance is never made: the subspace of the leading vectors follows from products with the
    sample (subspace iteration), and each call begins where the last one ended. Memory and time grow like N V.

    Args:
        z: (N, V) in single precision.
        used: Number K of eigenvectors, at most N and V.

    Returns:
        The variances (V,), and a function from scales (V,) to the K largest eigenvalues (K,) of the covariance divided
        by the scales, and their vectors (V, K); the largest first. All in double precision.

    References:
        Halko, Martinsson and Tropp, SIAM Review 53 (2011) 217 (algorithm 4.4).
    """
    if z.shape[1] <= _MANY:
        covariance = torch.cov(z.double().T).reshape(z.shape[1], z.shape[1])

        def primal(scale: Tensor) -> tuple[Tensor, Tensor]:
            values, vectors = torch.linalg.eigh(covariance / scale / scale[:, None])
            return values[-used:].flip(0), vectors[:, -used:].flip(1)

        return covariance.diagonal(), primal
    centred = (z - z.mean(0)) / (len(z) - 1) ** 0.5
    wide = min(used + _MORE, *z.shape)
    begin = torch.Generator().manual_seed(0)  # any directions, but the same each time
    last = torch.randn(z.shape[1], wide, generator=begin)
    rounds = _FIRST_ROUNDS

    def iterated(scale: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal last, rounds
        inverse = (1 / scale).to(centred)[:, None]
        for _ in range(rounds):
            basis = torch.linalg.qr(last)[0]
            last = inverse * (centred.T @ (centred @ (inverse * basis)))
        rounds = _ROUNDS
        basis = torch.linalg.qr(last)[0]
        _, sizes, turn = torch.linalg.svd(centred @ (inverse * basis), full_matrices=False)
        last = basis @ turn.T
        return sizes[:used].double() ** 2, last[:, :used].double()

    return centred.square().sum(0).double(), iterated


def factor_model(
    z: Tensor, factors: int, *, noise: Tensor | None = None, iterations: int = 10
) -> tuple[Tensor, Tensor]:
    r"""Fit :math:`z = \Lambda g + \psi \varepsilon` with standard normal g and :math:`\varepsilon`.

    Principal-factor iteration: for given noise variances, the loadings are the leading eigenvectors of the
    noise-whitened covariance (Bishop, Pattern Recognition and Machine Learning, section 12.2.4).

    Args:
        z: (N, V) sample.
        factors: Number of factors K; at most V, and at most N, of them are not zero.
        noise: (V,) noise standard deviations to start from; by default half of each variance is noise.
        iterations: Number of alternations between loadings and noise.

    Returns:
        Loadings (V, K) and noise standard deviations (V,).
    """
    used = min(factors, *z.shape)
    diagonal, leading = _spectrum(z, used)
    variance = 0.5 * diagonal.clamp(min=_NOISE_FLOOR) if noise is None else noise.double() ** 2
    loadings = torch.zeros(len(diagonal), factors, dtype=torch.float64)
    for _ in range(iterations):
        scale = variance.sqrt()
        values, vectors = leading(scale)
        loadings[:, :used] = scale[:, None] * vectors * (values - 1).clamp(min=0).sqrt()
        variance = (diagonal - loadings.square().sum(1)).clamp(min=_NOISE_FLOOR)
    return loadings.float(), variance.sqrt().float()


def below(limit: Tensor, mean: Tensor | float, spread: Tensor | float, rng: torch.Generator) -> Tensor:
    """Draw (N, V) values below limits (N, V) from normal distributions; mean and spread broadcast to (N, V)."""
    share = torch.rand(limit.shape, generator=rng) * torch.special.ndtr((limit - mean) / spread)
    drawn: Tensor = mean + spread * torch.special.ndtri(share.clamp(_TINY, 1 - _TINY))
    return drawn


def drawn_again(
    drawn: Tensor, z: Tensor, censored: Tensor, loadings: Tensor, noise: Tensor, rng: torch.Generator
) -> Tensor:
    """Draw the shared numbers given the last draw (N, V), then each censored value given these.

    Args:
        drawn: (N, V) values, with the last draws of the censored ones.
        z: (N, V) values; the threshold for censored ones.
        censored: (N, V) bool.
        loadings: (V, K).
        noise: (V,) standard deviations.
        rng: Source of the draws.
    """
    weighted = loadings / noise[:, None] ** 2
    covariance = torch.linalg.inv(torch.eye(loadings.shape[1]) + loadings.T @ weighted)
    shared = drawn @ weighted @ covariance
    shared = shared + torch.randn(shared.shape, generator=rng) @ torch.linalg.cholesky(covariance).T
    return torch.where(censored, below(z, shared @ loadings.T, noise, rng), z)


def events_near(
    nodes: EnergyNodes, node: int, incident_energy: Tensor, weights: Tensor, *, rng: torch.Generator
) -> Tensor | None:
    """Indices of events to fit an energy node to, in proportion to their weights; None if they are too few.

    Events of negative weight cannot be drawn and are left out.
    """
    place = nodes.position(incident_energy)
    near = torch.nonzero(((place - node).abs() <= nodes.reach(node)) & (weights > 0))[:, 0]
    if len(near) < _FEWEST:
        return None
    near = near[:_MULTINOMIAL]
    if len(near) > _MOST_EVENTS or bool((weights[near] != weights[near[0]]).any()):
        count = min(len(near), _MOST_EVENTS)
        near = near[torch.multinomial(weights[near], count, replacement=True, generator=rng)]
    return near


def censored_factor_model(
    z: Tensor,
    censored: Tensor,
    factors: int,
    *,
    rng: torch.Generator,
    sweeps: int = _SWEEPS,
    tell: Callable[[int], object] = lambda done: None,
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
        tell: Called with the number of fits that are done, 1 + sweeps at the end.

    Returns:
        Loadings (V, K) and noise standard deviations (V,), scaled so that each variable has variance one.

    References:
        Celeux and Diebolt, Computational Statistics Quarterly 2 (1985) 73 (the SEM algorithm).
    """
    drawn = torch.where(censored, below(z, 0.0, 1.0, rng), z)
    loadings, noise = factor_model(drawn, factors)
    for sweep in range(sweeps if bool(censored.any()) else 0):
        tell(1 + sweep)
        drawn = drawn_again(drawn, z, censored, loadings, noise, rng)
        loadings, noise = factor_model(drawn, factors, noise=noise, iterations=2)
    tell(1 + sweeps)
    scale = (loadings.square().sum(1) + noise**2).sqrt()
    return loadings / scale[:, None], noise / scale


def _cost(events: int, variables: int) -> tuple[float, float]:
    """Multiplications and bytes of `censored_factor_model`, roughly, measured on one core."""
    n, v = events, variables
    if v <= _MANY:
        products, eigen = 1.0 + _SWEEPS, 10.0 + 2 * _SWEEPS  # of matrices of events; of eigenvectors
        return products * 2.0 * n * v**2 + eigen * 30.0 * v**3, 8.0 * (3 * v**2 + 4 * n * v)
    return 1.5e4 * n * v, 32.0 * n * v


def _announce(events: list[int], variables: int) -> None:
    """Say how long the fit of nodes with these numbers of events will take, and what it needs, if it is much."""
    costs = [_cost(n, variables) for n in events]
    square = torch.ones(_PRODUCT, _PRODUCT, dtype=torch.float64)
    torch.mm(square, square)
    begin = time.perf_counter()
    torch.mm(square, square)
    rate = 2 * _PRODUCT**3 / (time.perf_counter() - begin)
    seconds, memory = sum(c for c, _ in costs) / rate, max((m for _, m in costs), default=0.0)
    if seconds > _LONG or memory > _LARGE:
        logger.info(
            "fitting the start: correlations of %d variables at %d energies: about %s and %.1f GB; "
            'model.statistics = "layers" starts without them, data.max_events takes fewer events',
            variables,
            len(events),
            duration(seconds),
            memory / 1e9,
        )


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
        tables: Number of tables, see `EnergyNodes`; `nodes` are those of each.

    Attributes:
        loadings: (nodes, V, K).
        noise: (nodes, V) standard deviations.
    """

    def __init__(self, variables: int, factors: int, *, nodes: int = 3, tables: int = 1) -> None:
        super().__init__()
        self.nodes = EnergyNodes(nodes, tables)
        nodes = self.nodes.nodes
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
        far = [(place - k).abs() > self.nodes.reach(k) for k in range(self.nodes.nodes)]
        numbers = [int((~away & (weights > 0)).sum()) for away in far]
        _announce([min(n, _MOST_EVENTS) for n in numbers if n >= _FEWEST], z.shape[1])
        known: list[int] = []
        fits = 1 + _SWEEPS
        with stage("fitting correlations", total=fits * self.nodes.nodes) as update:
            for k in range(self.nodes.nodes):
                near = events_near(self.nodes, k, incident_energy, weights, rng=rng)
                if near is None:
                    continue
                loadings, noise = censored_factor_model(
                    z[near],
                    censored[near],
                    self.loadings.shape[2],
                    rng=rng,
                    tell=lambda done, before=fits * k: update(before + done),  # type: ignore[misc]
                )
                if known:
                    left, _, right = torch.linalg.svd(loadings.T @ self.loadings[known[-1]])
                    loadings = loadings @ (left @ right)
                self.loadings[k] = loadings
                self.noise[k] = noise
                known.append(k)
        if known:
            self.loadings.copy_(self.nodes.filled(self.loadings, known))
            self.noise.copy_(self.nodes.filled(self.noise, known))

    def forward(
        self, shared: Tensor, own: Tensor, incident_energy: Tensor, *, first: int | None = None
    ) -> Tensor:
        """Map (B, K) shared and (V, B) own normal numbers at (B,) energies to (V, B) correlated normal numbers.

        With `first`, the own numbers are those of so many first variables.
        """
        basis = self.nodes(incident_energy).T  # (nodes, B)
        stacked = torch.cat([row * shared.T for row in basis.split(1)])  # (nodes * K, B)
        loadings = torch.cat(list(self.loadings[:, :first]), 1)  # (V, nodes * K)
        return torch.matmul(loadings, stacked) + torch.matmul(self.noise[:, :first].T, basis) * own
