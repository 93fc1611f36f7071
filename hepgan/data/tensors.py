"""Showers or tracks as tensors, and random batches of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hepgan.config import DataConfig
from hepgan.data.draws import own_rows, uniform
from hepgan.data.events import Events
from hepgan.errors import DataError

__all__ = ["TensorEvents"]

_CHUNK = 4096  # events that `mapped` passes on at once


@dataclass(frozen=True)
class TensorEvents:
    """Events as tensors on a device; weights have mean one, so that a weighted mean is the mean of w * x.

    Attributes:
        condition: (N, n_conditions) physical units.
        outputs: For showers (N, n_cells) and (N, n_overflow), for tracks (N, n_targets).
        weights: (N,).
        integer: (n_conditions,) one for conditions that are whole numbers, which `batch` dithers, zero for the others;
            None without such conditions.
        represented: What a critic computes of real events once, before the training: (N, ...) each, or nothing.
    """

    condition: Tensor
    outputs: tuple[Tensor, ...]
    weights: Tensor
    integer: Tensor | None = None
    represented: tuple[Tensor, ...] = ()

    @classmethod
    def of(
        cls, events: Events, data: DataConfig | None = None, *, device: torch.device | str = "cpu"
    ) -> TensorEvents:
        """Wrap arrays (without a copy on the CPU) and normalise the weights.

        Args:
            events: The arrays.
            data: Names the conditions that are counts; default: none is.
            device: Device of the tensors.

        Raises:
            DataError: If the sum of the weights is not positive: dividing by their mean would flip their sign.
        """
        weights = torch.from_numpy(events.weights)
        if not weights.sum() > 0:
            raise DataError(
                f"weights: expected a positive sum over the {len(events)} events of each part of the data, got "
                f"{float(weights.sum()):g}; give more events, or check data.weight"
            )
        condition, *outputs = (
            torch.from_numpy(array).to(device) for array in (events.conditions, *events.outputs)
        )
        counts = [float(c.integer) for c in data.conditions] if data else []
        integer = torch.tensor(counts, device=device) if any(counts) else None
        return cls(condition, tuple(outputs), (weights / weights.mean()).to(device), integer)

    def __len__(self) -> int:
        return len(self.condition)

    def __getitem__(self, index: Tensor | slice) -> TensorEvents:
        outputs, represented = (
            tuple(column[index] for column in columns) for columns in (self.outputs, self.represented)
        )
        return TensorEvents(self.condition[index], outputs, self.weights[index], self.integer, represented)

    def to(self, device: torch.device) -> TensorEvents:
        """These events on another device."""
        outputs, represented = (
            tuple(column.to(device) for column in columns) for columns in (self.outputs, self.represented)
        )
        integer = None if self.integer is None else self.integer.to(device)
        return TensorEvents(self.condition.to(device), outputs, self.weights.to(device), integer, represented)

    def mapped(
        self, function: Callable[[TensorEvents], tuple[Tensor, ...]], *, key: str = ""
    ) -> TensorEvents:
        """Events with `represented` computed by a function of each event alone, and without `outputs`.

        Args:
            function: Maps events to columns (N, ...).
            key: A digest of what the function depends on, under which a stream keeps the result; not used here.
        """
        with torch.no_grad():
            parts = [function(self[k : k + _CHUNK]) for k in range(0, len(self), _CHUNK)]
        columns = tuple(torch.cat(column) for column in zip(*parts, strict=True))
        return replace(self, outputs=(), represented=columns)

    def drawn(self, size: int, *, rng: torch.Generator, first: int = 0) -> Tensor:
        """Draw the numbers (size,) of events with replacement, on the CPU; arguments as in `batch`."""
        return torch.randint(len(self), (size,), generator=rng)

    def batch(self, size: int, *, rng: torch.Generator, first: int = 0) -> TensorEvents:
        """Draw `size` events with replacement; whole-number conditions are dithered by up to half a unit.

        With the source of a worker, the result is the worker's rows of the batch (`hepgan.data.draws`).

        Args:
            size: Number of events.
            rng: Source of random numbers.
            first: Number of events drawn before, from which a stream from a cache goes on; not used here.
        """
        chosen = self.drawn(size, rng=rng)[own_rows(rng)]
        return self[chosen.to(self.condition.device)].dithered(rng=rng)

    def dithered(self, *, rng: torch.Generator) -> TensorEvents:
        """These events, rows of a batch, with whole-number conditions shifted by up to half a unit."""
        if self.integer is None:
            return self
        shift = uniform(*self.condition.shape, rng=rng).to(self.integer) - 0.5
        return replace(self, condition=self.condition + self.integer * shift)
