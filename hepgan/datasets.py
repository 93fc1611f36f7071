"""Splits and batches: which events train, which select the checkpoint, which are kept for the numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hepgan.config import DataConfig
from hepgan.readers import Events, read

__all__ = ["TensorEvents", "split", "test_events", "training_events"]


@dataclass(frozen=True)
class TensorEvents:
    """Events as tensors on a device; weights have mean one, so that a weighted mean is the mean of w * x.

    Attributes:
        condition: (N, n_conditions) physical units.
        outputs: For showers (N, n_cells) and (N, n_overflow), for tracks (N, n_targets).
        weights: (N,).
        integer: (n_conditions,) one for conditions that are whole numbers and dithered in `batch`, else zero; or None.
    """

    condition: Tensor
    outputs: tuple[Tensor, ...]
    weights: Tensor
    integer: Tensor | None = None

    @classmethod
    def of(
        cls, events: Events, data: DataConfig | None = None, *, device: torch.device | str = "cpu"
    ) -> TensorEvents:
        """Wrap arrays (without a copy on the CPU) and normalise the weights; `data` says which conditions are counts.

        Raises:
            ValueError: If the weights have no positive sum: dividing by their mean would turn their sign around.
        """
        weights = torch.from_numpy(events.weights)
        if not weights.sum() > 0:
            raise ValueError(
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
        outputs = tuple(output[index] for output in self.outputs)
        return TensorEvents(self.condition[index], outputs, self.weights[index], self.integer)

    def batch(self, size: int, *, generator: torch.Generator) -> TensorEvents:
        """Draw `size` events with replacement; whole-number conditions are dithered by up to half a unit."""
        chosen = self[torch.randint(len(self), (size,), generator=generator).to(self.condition.device)]
        if self.integer is None:
            return chosen
        shift = torch.rand(chosen.condition.shape, generator=generator).to(self.integer) - 0.5
        return replace(chosen, condition=chosen.condition + self.integer * shift)


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
