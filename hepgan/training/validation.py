"""Validation distance: one number that selects the checkpoint, the distance of generated from validation events.

GAN losses do not tell how good the events are; this distance does. Observables are standardised at each condition and
compared by the mean one-dimensional Wasserstein distance, over all observables and over fixed random directions between
them (sliced Wasserstein), which see correlations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sized
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgan.config import SHOWERS, TRACKS, Kind
from hepgan.data.tensors import TensorEvents
from hepgan.metrics import wasserstein
from hepgan.training.showers import ShowerObservables
from hepgan.training.tracks import TrackObservables
from hepgan.training.workers import ALONE, Workers

__all__ = ["OBSERVABLES", "Observables", "Reference", "ValidationDistance"]

_PROJECTIONS = 64


class Observables(Protocol):
    """Standardised observables of events at the conditions of a reference, and the groups to compare them in."""

    groups: list[NDArray[np.intp]]

    def __call__(self, *outputs: Tensor) -> Tensor:
        """Map outputs (N, ...) to observables (N, F)."""


OBSERVABLES: dict[str, Callable[..., Observables]] = {
    SHOWERS.name: ShowerObservables,
    TRACKS.name: TrackObservables,
}
"""Observables by the name of the kind of data; made from reference, generator and ``threshold=``."""


class Reference:
    """Events to compare with, and the latent numbers from which a generator makes events at the same conditions.

    Args:
        events: N events.
        generator: Any generator of the run.
        seed: Fixes the latent numbers, so that checkpoints are compared on equal terms.
        workers: Workers that generate together; each has the same events.
    """

    def __init__(self, events: TensorEvents, generator: Any, *, seed: int, workers: Workers = ALONE) -> None:
        self.events, self.workers = events, workers
        latent_rng = torch.Generator().manual_seed(seed)
        self.latent = torch.randn(len(events), generator.n_latent, generator=latent_rng)

    @torch.no_grad()
    def generated(
        self, generator: Any, *, batch_size: int = 2000, stopped: Sized = ()
    ) -> TensorEvents | None:
        """Events of a generator at these conditions, with these weights, generated `batch_size` at once.

        Returns:
            N events; None as soon as `stopped` is not empty, of any worker.
        """
        outputs = [
            torch.zeros_like(output, memory_format=torch.contiguous_format) for output in self.events.outputs
        ]
        for first in range(0, len(self.events), batch_size * self.workers.size):
            if self.workers.largest(len(stopped))[0]:
                return None
            start = first + batch_size * self.workers.rank
            rows = slice(start, start + batch_size)
            condition = self.events.condition[rows]
            if not len(condition):
                continue
            generated = generator(condition, self.latent[rows].to(condition.device))
            for output, part in zip(outputs, generated, strict=True):
                output[rows] = part
        return replace(self.events, outputs=tuple(map(self.workers.sum, outputs)))


class ValidationDistance:
    """Distance of generated events from a reference sample, in one number.

    Zero for the sample itself; of the order of 1/sqrt(N) for another sample of the same distribution (N events in
    all, or in a bin).

    Args:
        reference: The validation part of the data, N events.
        generator: Any generator of the run, fitted: gives geometry, units and transforms.
        kind: Kind of the data.
        threshold: Showers: a cell counts as hit above this energy, in the unit of the cells.
        seed: Fixes the directions and the latent numbers, so that checkpoints are compared on equal terms.
        workers: Workers that generate together; each has the same reference.

    References:
        Bonneel et al., J. Math. Imaging Vis. 51 (2015) 22 (sliced Wasserstein distance).
    """

    def __init__(
        self,
        reference: TensorEvents,
        generator: Any,
        *,
        kind: Kind,
        threshold: float = 0.0,
        seed: int = 0,
        workers: Workers = ALONE,
    ) -> None:
        self.reference = Reference(reference, generator, seed=seed, workers=workers)
        with torch.no_grad():
            self.observables = OBSERVABLES[kind.name](reference, generator, threshold=threshold)
            observed = self.observables(*reference.outputs)
        rng = np.random.default_rng(seed)
        n = observed.shape[1]
        directions = rng.standard_normal((n, _PROJECTIONS))
        self.directions = np.concatenate([np.eye(n), directions / np.linalg.norm(directions, axis=0)], 1)
        self.weights = reference.weights.cpu().numpy()
        self.target = self._projected(observed)

    def _projected(self, observed: Tensor) -> NDArray[np.float64]:
        """Observables (N, F) along each axis and each random direction, (N, F + 64)."""
        result: NDArray[np.float64] = observed.double().cpu().numpy() @ self.directions
        return result

    @torch.no_grad()
    def between(self, *outputs: Tensor) -> float:
        """Distance of events at the reference's own conditions.

        Args:
            outputs: Outputs of a generator, (N, ...) each.

        Returns:
            The distance; infinite if a number of an event is not finite, so that such a generator is never selected.
        """
        sample = self._projected(self.observables(*outputs))
        if not np.isfinite(sample).all():
            return math.inf
        distances = []
        for group in self.observables.groups:
            weights = self.weights[group]
            for a, b in zip(sample[group].T, self.target[group].T, strict=True):
                distances.append(wasserstein(a, b, sample_weights=weights, reference_weights=weights)[0])
        return float(np.mean(distances))

    def __call__(self, generator: Any, *, batch_size: int = 2000, stopped: Sized = ()) -> float | None:
        """Distance of a generator's events at the reference's conditions, generated `batch_size` at once.

        Returns:
            The distance; None as soon as `stopped` is not empty, of any worker.
        """
        sample = self.reference.generated(generator, batch_size=batch_size, stopped=stopped)
        return None if sample is None else self.between(*sample.outputs)
