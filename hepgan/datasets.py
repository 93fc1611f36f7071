"""Splits and batches: which events train, which select the checkpoint, which are kept for the numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hepgan.config import DataConfig
from hepgan.readers import Events, read

__all__ = ["Batch", "TensorEvents", "split", "test_events", "training_events"]

Batch = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class TensorEvents:
    """Events as tensors on a device; weights have mean one, so that a weighted mean is the mean of w * x.

    Attributes:
        condition: (N, n_conditions) physical units.
        cells: (N, n_cells).
        overflow: (N, n_overflow).
        weights: (N,).
    """

    condition: Tensor
    cells: Tensor
    overflow: Tensor
    weights: Tensor

    @classmethod
    def of(cls, events: Events, *, device: torch.device | str = "cpu") -> TensorEvents:
        """Wrap arrays (without a copy on the CPU) and normalise the weights.

        Raises:
            ValueError: If the weights have no positive sum: dividing by their mean would turn their sign around.
        """
        weights = torch.from_numpy(events.weights)
        if not weights.sum() > 0:
            raise ValueError(
                f"weights: expected a positive sum over the {len(events)} events of each part of the data, got "
                f"{float(weights.sum()):g}; give more events, or check data.weight"
            )
        arrays = (events.conditions, events.cells, events.overflow)
        condition, cells, overflow = (torch.from_numpy(array).to(device) for array in arrays)
        return cls(condition, cells, overflow, (weights / weights.mean()).to(device))

    def __len__(self) -> int:
        return len(self.condition)

    def batch(self, size: int, *, generator: torch.Generator) -> Batch:
        """Draw `size` events with replacement."""
        chosen = torch.randint(len(self), (size,), generator=generator).to(self.condition.device)
        return self.condition[chosen], self.cells[chosen], self.overflow[chosen], self.weights[chosen]


def split(data: DataConfig, n: int, *, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of the training, validation and test events out of `n`, disjoint and fixed by the seed.

    Raises:
        ValueError: If one of the parts that are asked for would be empty.
    """
    order = np.random.default_rng(seed).permutation(n)
    test = 0 if data.test_files else round(n * data.test)
    validation = round(n * data.validation)
    parts = order[test + validation :], order[test : test + validation], order[:test]
    wanted = (True, True, data.test > 0 and not data.test_files)
    if any(len(part) == 0 for part, needed in zip(parts, wanted, strict=True) if needed):
        raise ValueError(
            f"data: {n} events are too few to split into training, validation ({data.validation}) and test "
            f"({data.test}) parts; give more files or loosen the cut"
        )
    return tuple(np.sort(part) for part in parts)  # type: ignore[return-value]


def training_events(
    data: DataConfig, *, seed: int, base: str | Path = ".", progress: bool = False
) -> tuple[Events, Events]:
    """Read the files and return the training and the validation part."""
    events = read(data, base=base, progress=progress)
    training, validation, _ = split(data, len(events), seed=seed)
    return events[training], events[validation]


def test_events(data: DataConfig, *, seed: int, base: str | Path = ".") -> Events:  # noqa: PT028
    """The events never used in training: the test files if there are any, else the test part.

    Raises:
        ValueError: If the configuration sets neither aside.
    """
    if data.test_files:
        return read(data, files=data.test_files, base=base)
    if data.test == 0:
        raise ValueError("data.test is 0 and data.test_files is empty; name a file with --data")
    events = read(data, base=base)
    return events[split(data, len(events), seed=seed)[2]]


test_events.__test__ = False  # type: ignore[attr-defined]  # a reader, not a pytest test
