"""Splits: events to train on, events to select the checkpoint, and events held out for the evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hepgan.config import DataConfig
from hepgan.data.events import Events
from hepgan.data.reading import read
from hepgan.errors import ConfigError, DataError

__all__ = ["split", "test_events", "training_events"]


def split(data: DataConfig, n: int, *, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of the training, validation and test events out of `n`, disjoint and fixed by the seed.

    Raises:
        DataError: If one of the parts would be empty although the configuration asks for it.
    """
    order = np.random.default_rng(seed).permutation(n)
    test = 0 if data.test_files else round(n * data.test)
    validation = round(n * data.validation)
    parts = order[test + validation :], order[test : test + validation], order[:test]
    needed = (True, True, data.test > 0 and not data.test_files)
    if any(len(part) == 0 for part, must in zip(parts, needed, strict=True) if must):
        raise DataError(
            f"data: {n} events are too few to split into training, validation ({data.validation}) and test "
            f"({data.test}) parts; give more files or loosen the cut"
        )
    return tuple(np.sort(part) for part in parts)  # type: ignore[return-value]


def training_events(
    data: DataConfig, *, seed: int, base: str | Path = ".", progress: bool = False
) -> tuple[Events, Events]:
    """Read the files; the training and the validation part.

    Raises:
        NotFoundError: If a file is missing.
        DataError: If the input is not what the configuration says, or has too few events to split.
    """
    events = read(data, base=base, progress=progress)
    training, validation, _ = split(data, len(events), seed=seed)
    return events[training], events[validation]


def test_events(data: DataConfig, *, seed: int, base: str | Path = ".") -> Events:  # noqa: PT028
    """Read the events never used in training: the test files if there are any, else the test part.

    Raises:
        NotFoundError: If a file is missing.
        ConfigError: If the configuration has neither test files nor a test part.
        DataError: If the input is not what the configuration says, or has too few events to split.
    """
    if data.test_files:
        return read(data, files=data.test_files, base=base)
    if data.test == 0:
        raise ConfigError("data.test is 0 and data.test_files is empty; name a file with --data")
    events = read(data, base=base)
    return events[split(data, len(events), seed=seed)[2]]


test_events.__test__ = False  # type: ignore[attr-defined]  # a reader, not a pytest test
