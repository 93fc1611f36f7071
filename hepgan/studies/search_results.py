"""Results of a search: the content of results.json."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel

from hepgan import __version__
from hepgan.config import Dimension
from hepgan.config.tuning import Choice
from hepgan.metrics.moments import Measurement

__all__ = ["Search", "TrialResult"]

MEANING = (
    "distance: of the generator that the training selected, to the validation events, mean over five sets of latent "
    "numbers and directions that selected nothing, and its standard error. smallest: the training's own smallest "
    "validation distance, which is a lucky one. The distance of the best trial is the smallest of many, to the same "
    "events, and thus too good itself. No test data were used."
)


class TrialResult(BaseModel):
    """One trial.

    Attributes:
        number: Its number from 0; its run folder is ``trials/NNNN``.
        state: ``pruned``: given up; ``diverged``: a loss or all distances were not finite; ``failed``: see `reason`.
        reason: Why it diverged or failed.
        parameters: Values by key.
        distance: Distance of the selected generator at fresh latent numbers; of complete trials.
        smallest: Smallest validation distance, which selected it.
        step: Step of the smallest distance.
        steps: Step of the last validation.
        seconds: Time of training.
    """

    number: int
    state: Literal["complete", "pruned", "diverged", "failed", "running"]
    reason: str = ""
    parameters: dict[str, Choice] = {}
    distance: Measurement | None = None
    smallest: float | None = None
    step: int | None = None
    steps: int = 0
    seconds: float | None = None

    @property
    def ranked(self) -> float:
        """The number by which it counts: its distance, or the smallest one if it is not complete."""
        if self.distance is not None:
            return self.distance[0]
        return math.inf if self.smallest is None else self.smallest


class Search(BaseModel):
    """Content of results.json.

    Attributes:
        hepgan: Version.
        meaning: What the distances are.
        model: Name of the model.
        objective: Name of the objective.
        steps: Steps of each trial, unless they are varied.
        space: Values by key.
        best: Number of the complete trial of the smallest distance; None if there is none.
        importance: Importance of each key and its uncertainty, the largest first; of few trials none.
        trials: All trials in order.
    """

    hepgan: str = __version__
    meaning: str = MEANING
    model: str
    objective: str
    steps: int
    space: dict[str, Dimension]
    best: int | None = None
    importance: dict[str, Measurement] = {}
    trials: list[TrialResult] = []

    @property
    def winner(self) -> TrialResult | None:
        """The best trial."""
        return next((trial for trial in self.trials if trial.number == self.best), None)
