"""The one number that selects the checkpoint: how far generated events are from the validation events.

A loss says nothing about quality; this does. Observables are standardised at each condition, and compared by the mean
one-dimensional Wasserstein distance over all of them and over fixed random directions between them (sliced
Wasserstein), which see correlations; for tracks in bins of each condition, because a generator of tracks is used in
narrow ranges of momentum. `VIEWS` says what is looked at for each kind of data.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hepgan.data.tensors import TensorEvents
from hepgan.metrics import bin_number, quantile_edges, wasserstein
from hepgan.models import CaloGenerator, ObservablesGenerator
from hepgan.transforms.energy import ConditionalMoments
from hepgan.transforms.shower_shapes import ShowerShapes

__all__ = ["VIEWS", "PhysicsDistance"]

_PROJECTIONS = 64
_BINS = 8  # of each condition: of tracks
_LEAST_IN_BIN = 50  # tracks in a bin, below which its distance is mostly fluctuation

View = Callable[[tuple[Tensor, ...]], Tensor]
"""Outputs of N events at the reference's conditions -> (N, F) standardised observables."""

Groups = list[NDArray[np.intp]]
"""Events that are compared with each other, (n,) indices a group."""


def _showers(reference: TensorEvents, generator: CaloGenerator, threshold: float) -> tuple[View, Groups]:
    """Shower shapes in spreads at their incident energy, and the energy itself."""
    energy = generator.incident_energy(reference.condition)
    shapes = ShowerShapes(generator.calorimeter, n_overflow=generator.n_overflow, threshold=threshold)
    shapes.to(energy.device)
    features = shapes(*reference.outputs, energy)
    moments = ConditionalMoments(features.shape[1]).to(energy.device)
    moments.fit(features, energy, reference.weights)
    log_energy = torch.log(energy)
    log_energy = (log_energy - log_energy.mean()) / log_energy.std().clamp(min=1e-6)

    def view(outputs: tuple[Tensor, ...]) -> Tensor:
        return torch.cat([moments(shapes(*outputs, energy), energy), log_energy[:, None]], 1)

    return view, [np.arange(len(reference))]


def _tracks(
    reference: TensorEvents, generator: ObservablesGenerator, threshold: float
) -> tuple[View, Groups]:
    """Targets as normal numbers, in quantile bins of each condition."""
    weights = reference.weights.cpu().numpy()
    groups: Groups = []
    for column in reference.condition.cpu().numpy().T:
        edges = quantile_edges(column, _BINS, weights=weights)
        number = bin_number(column, edges)
        groups += [np.flatnonzero(number == k) for k in range(len(edges) - 1)]
    groups = [g for g in groups if len(g) >= _LEAST_IN_BIN and weights[g].sum() > 0]

    def view(outputs: tuple[Tensor, ...]) -> Tensor:
        return generator.scaling.periodic(generator.scaling.to_normal(*outputs))

    return view, groups or [np.arange(len(reference))]


VIEWS: dict[type[nn.Module], Callable[[TensorEvents, Any, float], tuple[View, Groups]]] = {
    CaloGenerator: _showers,
    ObservablesGenerator: _tracks,
}


class PhysicsDistance:
    """How far generated events are from a reference sample, in one number.

    Zero for the sample itself; of the order of 1/sqrt(N) for another sample of the same distribution (N events in
    all, or in a bin).

    Args:
        reference: The events to compare with (the validation part).
        generator: Says what is looked at.
        threshold: Showers: a cell is hit above this energy.
        seed: Fixes the directions and the latent numbers, so that checkpoints are compared on equal terms.

    References:
        Bonneel et al., J. Math. Imaging Vis. 51 (2015) 22 (sliced Wasserstein distance).
    """

    def __init__(
        self,
        reference: TensorEvents,
        generator: CaloGenerator | ObservablesGenerator,
        *,
        threshold: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.reference = reference
        with torch.no_grad():
            look = next(look for kind, look in VIEWS.items() if isinstance(generator, kind))
            self.view, self.groups = look(reference, generator, threshold)
            observed = self.view(reference.outputs)
        self.rng = np.random.default_rng(seed)
        n = observed.shape[1]
        directions = self.rng.standard_normal((n, _PROJECTIONS))
        self.directions = np.concatenate([np.eye(n), directions / np.linalg.norm(directions, axis=0)], 1)
        self.weights = reference.weights.cpu().numpy()
        self.target = self._projected(observed)
        random = torch.Generator().manual_seed(seed)
        self.latent = torch.randn(len(reference), generator.n_latent, generator=random)

    def _projected(self, observed: Tensor) -> NDArray[np.float64]:
        result: NDArray[np.float64] = observed.double().cpu().numpy() @ self.directions
        return result

    @torch.no_grad()
    def between(self, *outputs: Tensor) -> float:
        """Distance of events at the reference's own conditions, (N, ...) each; infinite if one is not finite."""
        sample = self._projected(self.view(outputs))
        if not np.isfinite(sample).all():
            return math.inf  # a generator that is never selected, and may recover
        distances = []
        for group in self.groups:
            weights = self.weights[group]
            both: Any = {"reference_weights": weights, "sample_weights": weights}
            for a, b in zip(self.target[group].T, sample[group].T, strict=True):
                distances.append(wasserstein(b, a, **both)[0])
        return float(np.mean(distances))

    @torch.no_grad()
    def __call__(self, generator: CaloGenerator | ObservablesGenerator, *, batch_size: int = 2000) -> float:
        """Distance of the generator's events at the reference's conditions."""
        conditions = torch.split(self.reference.condition, batch_size)
        latents = torch.split(self.latent, batch_size)
        parts = [generator(c, z.to(c.device)) for c, z in zip(conditions, latents, strict=True)]
        return self.between(*(torch.cat(columns) for columns in zip(*parts, strict=True)))
