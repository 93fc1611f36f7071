"""Observables of tracks that the validation distance compares, and what classifiers of the validation see."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgan.data.tensors import TensorEvents
from hepgan.metrics import bin_number, quantile_edges
from hepgan.models import ObservablesGenerator
from hepgan.models.whitening import Whitening

__all__ = ["TrackInputs", "TrackObservables"]

_BINS = 8  # of each condition
_LEAST_IN_BIN = 50  # tracks; the distance in a smaller bin is mostly fluctuation
_MOST = 10.0  # standard deviations; whitened targets are clipped to +- this value


class TrackObservables:
    """Targets as normal numbers, compared in quantile bins of each condition.

    Bins, because a generator of tracks is used in narrow ranges of momentum.

    Args:
        reference: N tracks to compare with; they fix the bins.
        generator: Gives the transform of the targets.
        threshold: Not used.

    Attributes:
        groups: Indices of tracks that are compared with each other, a group for each bin of each condition.
    """

    groups: list[NDArray[np.intp]]

    def __init__(self, reference: TensorEvents, generator: ObservablesGenerator, *, threshold: float) -> None:
        self.scaling = generator.scaling
        weights = reference.weights.cpu().numpy()
        groups = []
        for column in reference.condition.cpu().numpy().T:
            edges = quantile_edges(column, _BINS, weights=weights)
            number = bin_number(column, edges)
            groups += [np.flatnonzero(number == k) for k in range(len(edges) - 1)]
        groups = [g for g in groups if len(g) >= _LEAST_IN_BIN and weights[g].sum() > 0]
        self.groups = groups or [np.arange(len(reference))]

    def __call__(self, *outputs: Tensor) -> Tensor:
        """Standardised observables (N, F) of N tracks."""
        return self.scaling.periodic(self.scaling.to_normal(*outputs))


class TrackInputs:
    """Pattern of point masses, targets as normal numbers and whitened at their conditions, and the conditions.

    Trees and small networks do not find the thin ridges between similar hypotheses; whitened targets show them.

    Args:
        training: Tracks that fix the whitening.
        generator: Gives the transforms of conditions, patterns and targets.
        threshold: Not used.
    """

    tests = (("auc_boosting", "boosting", "targets"), ("auc_network", "network", "targets"))

    def __init__(self, training: TensorEvents, generator: ObservablesGenerator, *, threshold: float) -> None:
        self.generator = generator
        self.whitening = Whitening(len(generator.scaling.periodic_targets), generator.n_context)
        self.whitening.to(training.condition.device)
        context, z, free, _ = self._represented(training)
        self.whitening.fit(z, context, free, training.weights)

    @torch.no_grad()
    def _represented(self, tracks: TensorEvents) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Context (N, C), periodic numbers (N, W), ones (N, W) where they are free, and patterns (N, K)."""
        (targets,) = tracks.outputs
        generator, scaling = self.generator, self.generator.scaling
        pattern = generator.patterns.one_hot(targets)
        free = (pattern @ generator.patterns.free)[:, scaling.periodic_targets]
        context = generator.context(tracks.condition, pattern)
        return context, scaling.periodic(scaling.to_normal(targets)), free, pattern

    def __call__(self, events: TensorEvents) -> dict[str, Tensor]:
        """Features (N, F) of N tracks: "targets"."""
        context, z, free, pattern = self._represented(events)
        beside = self.whitening.beside(context, free, most=_MOST)(z)
        return {
            "targets": torch.cat([beside, pattern, self.generator.condition_scaling(events.condition)], 1)
        }
