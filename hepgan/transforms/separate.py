"""Tables of several particles one behind the other, along the axis of the incident energy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hepgan.errors import ConfigError

__all__ = ["Separate"]

_LARGEST = 80.0
"""Logarithm of the largest number that tables are set apart by; single precision ends at 88."""


class Separate(nn.Module):
    """Incident energies as `EnergyNodes` takes them for several tables, one for each combination of categories.

    Args:
        sizes: Number of categories of each condition that has some.
    """

    lowest: Tensor
    powers: Tensor

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes, self.tables = list(sizes), math.prod(sizes)
        if self.sizes:
            self.register_buffer("lowest", torch.ones(()))
            self.register_buffer("powers", torch.ones(sum(sizes)))  # the factor of each category

    def fit(self, incident_energy: Tensor) -> None:
        """Set the factors for (N,) energies.

        Raises:
            ConfigError: If there are too many tables for the range of energies.
        """
        if not self.sizes:
            return
        log_energy = torch.log(incident_energy.double())
        width = float(log_energy.max() - log_energy.min())
        apart = 2 * width + 1  # the space between tables is wider than any within one
        if apart * self.tables > _LARGEST:
            raise ConfigError(
                f"data.conditions: expected at most {int(_LARGEST / apart)} combinations of categories at energies "
                f"that span a factor {math.exp(width):.3g}, got {self.tables}; train them apart"
            )
        self.lowest.copy_(incident_energy.min())
        strides = [math.prod(self.sizes[:k]) for k in range(len(self.sizes))]
        exponents = [
            apart * stride * value
            for size, stride in zip(self.sizes, strides, strict=True)
            for value in range(size)
        ]
        self.powers.copy_(torch.tensor(exponents, dtype=torch.float64).exp())

    def forward(self, incident_energy: Tensor, indicators: Sequence[Tensor]) -> Tensor:
        """Map (B,) energies and the one-hot codes (B, size) of each condition with categories to (B,) numbers."""
        if not self.sizes:
            return incident_energy
        result = incident_energy / self.lowest
        for code, powers in zip(indicators, torch.split(self.powers, self.sizes), strict=True):
            result = result * (code * powers).sum(1)
        return result
