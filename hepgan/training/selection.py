"""Validation: the numbers that tell how good a generator is, and which of them selects the checkpoint."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from typing import Any

from hepgan.training.classifiers import ValidationClassifiers
from hepgan.training.validation import ValidationDistance

__all__ = ["Validation"]


@dataclass(frozen=True)
class Validation:
    """Measures a generator on the validation events.

    Attributes:
        distance: Distance of observables, which is always measured.
        classifiers: Classifiers, if they select the checkpoint.
    """

    distance: ValidationDistance
    classifiers: ValidationClassifiers | None = None

    def __call__(self, generator: Any, *, stopped: Sized = ()) -> dict[str, float] | None:
        """Measure.

        Returns:
            Numbers by their names in the log: "distance", and with classifiers the area of each, and "auc", their mean,
            which selects the checkpoint then. None as soon as `stopped` is not empty, of any worker.
        """
        distance = self.distance(generator, stopped=stopped)
        areas = (
            self.classifiers(generator, stopped=stopped) if self.classifiers and distance is not None else {}
        )
        return None if distance is None or areas is None else {"distance": distance, **areas}
