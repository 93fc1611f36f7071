"""Observables of showers that the validation distance compares, and what classifiers of the validation see."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgan.data.tensors import TensorEvents
from hepgan.models import CaloGenerator
from hepgan.transforms.energy import ConditionalMoments
from hepgan.transforms.shower_shapes import ShowerShapes
from hepgan.transforms.showers import ShowerScaling

__all__ = ["ShowerInputs", "ShowerObservables"]


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


class ShowerInputs:
    """Shower shapes, and logarithms of all energies, each standardised at the incident energy, with all conditions.

    Args:
        training: Showers that fix the standardisation.
        generator: Gives geometry, units and the standardisation of the conditions.
        threshold: A cell counts as hit above this energy, in the unit of the cells.
    """

    tests = (
        ("auc_boosting", "boosting", "shapes"),
        ("auc_network_shapes", "network", "shapes"),
        ("auc_network_cells", "network", "cells"),
    )

    def __init__(self, training: TensorEvents, generator: CaloGenerator, *, threshold: float) -> None:
        device, geometry = training.condition.device, generator.calorimeter
        self.incident_energy = generator.incident_energy
        self.conditions = generator.condition_scaling
        self.shapes = ShowerShapes(geometry, n_overflow=generator.n_overflow, threshold=threshold).to(device)
        self.scaling = ShowerScaling(geometry, n_overflow=generator.n_overflow).to(device)
        with torch.no_grad():
            cells, overflow = training.outputs
            self.scaling.fit(cells, overflow, training.weights)
            energy = self.incident_energy(training.condition)
            self.moments = {}
            for name, values in self._values(training).items():
                self.moments[name] = ConditionalMoments(values.shape[1]).to(device)
                self.moments[name].fit(values, energy, training.weights)

    def _values(self, events: TensorEvents) -> dict[str, Tensor]:
        """Shapes and logarithms (N, F) before they are standardised."""
        cells, overflow = events.outputs
        energy = self.incident_energy(events.condition)
        return {
            "shapes": self.shapes(cells, overflow, energy),
            "cells": self.scaling(cells, overflow, energy),
        }

    def __call__(self, events: TensorEvents) -> dict[str, Tensor]:
        """Features (N, F) of N showers: "shapes" and "cells"."""
        energy, context = self.incident_energy(events.condition), self.conditions(events.condition)
        return {
            name: torch.cat([self.moments[name](values, energy), context], 1)
            for name, values in self._values(events).items()
        }
