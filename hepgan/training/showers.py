"""Observables of showers that the validation distance compares."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgan.data.tensors import TensorEvents
from hepgan.models import CaloGenerator
from hepgan.transforms.energy import ConditionalMoments
from hepgan.transforms.shower_shapes import ShowerShapes

__all__ = ["ShowerObservables"]


class ShowerObservables:
    """Shower shapes, standardised at their incident energy, and the incident energy itself.

    Args:
        reference: N showers to compare with; they fix the standardisation.
        generator: Gives geometry and units.
        threshold: A cell counts as hit above this energy, in the unit of the cells.

    Attributes:
        groups: Indices of showers that are compared with each other: all of them.
    """

    groups: list[NDArray[np.intp]]

    def __init__(self, reference: TensorEvents, generator: CaloGenerator, *, threshold: float) -> None:
        self.energy = generator.incident_energy(reference.condition)
        self.shapes = ShowerShapes(
            generator.calorimeter, n_overflow=generator.n_overflow, threshold=threshold
        )
        self.shapes.to(self.energy.device)
        features = self.shapes(*reference.outputs, self.energy)
        self.moments = ConditionalMoments(features.shape[1]).to(self.energy.device)
        self.moments.fit(features, self.energy, reference.weights)
        log_energy = torch.log(self.energy)
        self.log_energy = (log_energy - log_energy.mean()) / log_energy.std().clamp(min=1e-6)
        self.groups = [np.arange(len(reference))]

    def __call__(self, *outputs: Tensor) -> Tensor:
        """Standardised observables (N, F) of N showers at the incident energies of the reference."""
        shapes = self.moments(self.shapes(*outputs, self.energy), self.energy)
        return torch.cat([shapes, self.log_energy[:, None]], 1)
