"""Observables of tracks that the validation distance compares."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hepgan.data.tensors import TensorEvents
from hepgan.metrics import bin_number, quantile_edges
from hepgan.models import ObservablesGenerator

__all__ = ["TrackObservables"]

_BINS = 8  # of each condition
_LEAST_IN_BIN = 50  # tracks; the distance in a smaller bin is mostly fluctuation


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
