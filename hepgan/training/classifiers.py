"""Classifiers that select the checkpoint: how well validation events can be told from generated ones.

A distance of single observables does not see how they vary together. Classifiers do: they are trained on training
events against generated ones at the same conditions, and judged on validation events, which neither generator nor
classifiers have seen, against generated ones. The area under the ROC curve is 0.5 where they can only guess.

Events, latent numbers, start values and batches are the same at every validation, so that checkpoints are compared on
equal terms; docs/model.md says how large a difference counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Sized
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgan.config import SHOWERS, TRACKS, Kind
from hepgan.data.tensors import TensorEvents
from hepgan.metrics import area_under_curve
from hepgan.metrics.classifier import boosting
from hepgan.metrics.network import trained_network
from hepgan.progress import stage
from hepgan.training.showers import ShowerInputs
from hepgan.training.tracks import TrackInputs
from hepgan.training.validation import Reference
from hepgan.training.workers import ALONE, Workers

__all__ = ["FEWEST_EVENTS", "INPUTS", "Inputs", "ValidationClassifiers"]

FEWEST_EVENTS = 100  # validation events; with fewer, areas are uncertain by more than 0.04
_MOST_EVENTS = 10_000  # training events, and validation events, that classifiers see
_MOST_NUMBERS = 30_000_000  # of their features: 120 MB

_Columns = Mapping[str, NDArray[np.float32]]


class Inputs(Protocol):
    """Features of events that classifiers get, in named groups, and which classifiers are trained."""

    @property
    def tests(self) -> Sequence[tuple[str, str, str]]:
        """Name in the log, classifier ("boosting" or "network") and group of features of each."""

    def __call__(self, events: TensorEvents) -> dict[str, Tensor]:
        """Map N events to features (N, F) of each group, conditions among them."""


INPUTS: dict[str, Callable[..., Inputs]] = {SHOWERS.name: ShowerInputs, TRACKS.name: TrackInputs}
"""Inputs by the name of the kind of data; made from training events, generator and ``threshold=``."""


class _Stopped(Exception):
    """A classifier was stopped while it was trained."""


class ValidationClassifiers:
    """Areas under the ROC curves of classifiers between generated and validation events.

    Args:
        training: The training part of the data, of which at most 10 000 random events train the classifiers.
        validation: The validation part.
        generator: Any generator of the run, fitted: gives geometry, units and transforms.
        kind: Kind of the data.
        threshold: Showers: a cell counts as hit above this energy, in the unit of the cells.
        seed: Fixes the events, the latent numbers and all that classifiers draw.
        workers: Workers that generate together and share the classifiers; each has the same events.
    """

    def __init__(
        self,
        training: TensorEvents,
        validation: TensorEvents,
        generator: Any,
        *,
        kind: Kind,
        threshold: float = 0.0,
        seed: int = 0,
        workers: Workers = ALONE,
    ) -> None:
        self.workers, self.seed = workers, seed
        self.device = validation.condition.device
        shuffled = [_shuffled(events, seed).to(self.device) for events in (training, validation)]
        self.inputs = INPUTS[kind.name](shuffled[0], generator, threshold=threshold)
        with torch.no_grad():
            features = sum(columns.shape[1] for columns in self.inputs(shuffled[0][:1]).values())
        most = max(FEWEST_EVENTS, _MOST_NUMBERS // features)
        self.references = [
            Reference(events[:most], generator, seed=seed + k, workers=workers)
            for k, events in enumerate(shuffled, start=1)
        ]
        self.real = [self._columns(reference.events) for reference in self.references]

    @torch.no_grad()
    def _columns(self, events: TensorEvents) -> _Columns:
        return {name: columns.cpu().numpy() for name, columns in self.inputs(events).items()}

    def __call__(self, generator: Any, *, stopped: Sized = ()) -> dict[str, float] | None:
        """Train and judge the classifiers.

        Returns:
            The area of each by its name in the log, and their mean, "auc"; infinite if a number of a generated event is
            not finite, so that such a generator is never selected. None as soon as `stopped` is not empty, of any
            worker.
        """
        tests = self.inputs.tests
        names = [name for name, _, _ in tests]
        generated: list[_Columns] = []
        for reference in self.references:
            events = reference.generated(generator, stopped=stopped)
            if events is None:
                return None
            generated.append(self._columns(events))
        if not all(np.isfinite(x).all() for columns in generated for x in columns.values()):
            return dict.fromkeys([*names, "auc"], math.inf)
        areas = torch.zeros(len(tests), dtype=torch.float64)
        with stage("training the classifiers", total=len(tests)) as update:
            for k in range(self.workers.rank, len(tests), self.workers.size):
                try:
                    areas[k] = self._area(*tests[k][1:], generated, stopped)
                except _Stopped:
                    break
                update(k + 1)
        if self.workers.largest(len(stopped))[0]:
            return None
        values = self.workers.sum(areas).tolist()
        return dict(zip(names, values, strict=True)) | {"auc": float(np.mean(values))}

    def _area(self, classifier: str, group: str, generated: Sequence[_Columns], stopped: Sized) -> float:
        """Area of one classifier.

        Raises:
            _Stopped: If `stopped` is not empty.
        """

        def step(_: int) -> None:
            if len(stopped):
                raise _Stopped

        step(0)
        weights = [reference.events.weights.double().cpu().numpy() for reference in self.references]
        (x1, y1), (x2, y2) = ([columns[group] for columns in part] for part in (generated, self.real))
        fit: Any = (
            boosting if classifier == "boosting" else partial(trained_network, device=self.device, step=step)
        )
        score = fit((x1, weights[0]), (x2, weights[0]), rng=np.random.default_rng(self.seed))
        return area_under_curve(
            score(y1), score(y2), sample_weights=weights[1], reference_weights=weights[1]
        )[0]


def _shuffled(events: TensorEvents, seed: int) -> TensorEvents:
    """At most `_MOST_EVENTS` random events."""
    order = torch.randperm(len(events), generator=torch.Generator().manual_seed(seed))
    return events[order[:_MOST_EVENTS].to(events.condition.device)]
