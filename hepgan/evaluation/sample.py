"""What is compared: samples with their observables, what a kind of data adds, and rows of the verdict.

What showers and tracks share is here; `Setup` says what a kind of data adds: `hepgan.evaluation.showers` and
`hepgan.evaluation.tracks`. All numbers together are those of `hepgan.evaluation.measure`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hepgan.config import DataConfig, EvaluationConfig
from hepgan.data.events import Events
from hepgan.metrics import TwoSampleTest, two_sample_test
from hepgan.metrics.moments import Measurement, effective_size

__all__ = [
    "Halves",
    "Sample",
    "Setup",
    "Step",
    "auc_row",
    "judge",
    "row",
    "scatter",
    "telling_rows",
]

LEAST_TOLD = 0.55  # area from which samples are told apart
MIN_CONTINUOUS = 50  # effective events off the atoms of an observable below which the atoms are not left out

Array = NDArray[np.float64]
Json = dict[str, Any]
Step = Callable[[str], None]
"""Called with the name of each step."""
Halves = Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]
"""Halvings of the reference: pairs of index arrays."""


@dataclass(frozen=True)
class Sample:
    """Events and what is looked at.

    Attributes:
        name: What the sample is called.
        events: The showers or tracks.
        features: (N, F) observables.
        atoms: (N, F) whether the observable has one of its declared exact values; None: there are none.
    """

    name: str
    events: Events
    features: Array
    atoms: NDArray[np.bool_] | None = None

    @property
    def weights(self) -> Array:
        """Event weights, (N,)."""
        return self.events.weights.astype(np.float64)

    def observed(self, column: int) -> tuple[Array, Array]:
        """A feature and its weights, (N,) each: zero where it has an atom, unless too few events would be left."""
        weights = self.weights
        if self.atoms is not None:
            continuous = np.where(self.atoms[:, column], 0.0, weights)
            weights = continuous if effective_size(continuous) >= MIN_CONTINUOUS else weights
        return self.features[:, column], weights

    def bare(self) -> Sample:
        """Without what a generator gives, of which only the observables are needed: cells take memory."""
        return replace(self, events=replace(self.events, outputs=()))

    def __len__(self) -> int:
        return len(self.events)

    def __getitem__(self, index: NDArray[Any]) -> Sample:
        atoms = None if self.atoms is None else self.atoms[index]
        return Sample(self.name, self.events[index], self.features[index], atoms)


@dataclass(frozen=True)
class Setup(ABC):
    """What does not change between the samples, and what a kind of data adds to the comparison.

    Attributes:
        data: How the events were read.
        config: Settings.
        paired: Whether row i of both samples has the same conditions.
        what: What the events are called.
    """

    data: DataConfig
    config: EvaluationConfig
    paired: bool
    what: ClassVar[str]

    @property
    @abstractmethod
    def names(self) -> list[str]:
        """Name of each feature."""

    @property
    @abstractmethod
    def units(self) -> list[str]:
        """Unit of each feature."""

    @abstractmethod
    def observe(self, name: str, events: Events) -> Sample:
        """Compute the features of at least one event.

        Raises:
            ValueError: If the events are not those of the configuration.
        """

    @abstractmethod
    def closure(self, reference: Sample, sample: Sample, *, halves: Halves, rng: np.random.Generator) -> Json:
        """The numbers of this kind: ``closure`` of ``metrics.json``."""

    @abstractmethod
    def verdict(self, metrics: Json) -> list[Json]:
        """The rows of ``verdict``, requirements first."""

    @abstractmethod
    def headline(self, metrics: Json) -> dict[str, Measurement | None]:
        """The few numbers that travel with an exported model."""

    def sample(self, name: str, events: Events) -> Sample:
        """Events with their features.

        Raises:
            ValueError: If there are no events or they are not those of the configuration.
        """
        if len(events) == 0:
            raise ValueError(
                f"{name}: expected at least one {self.what[:-1]}, got none; loosen the selection"
            )
        return self.observe(name, events)

    def looked_at(self, sample: Sample) -> Array:
        """What the classifiers see: observables and conditions, (N, F)."""
        return np.column_stack([sample.features, sample.events.conditions])

    def classify(
        self,
        reference: Sample,
        sample: Sample,
        *,
        rng: np.random.Generator,
        paired: bool | None = None,
        importances: bool = False,
    ) -> TwoSampleTest:
        """The classifier test on all observables and conditions; `paired` by default as the samples are."""
        return two_sample_test(
            self.looked_at(sample),
            self.looked_at(reference),
            rng=rng,
            reference_weights=reference.weights,
            sample_weights=sample.weights,
            folds=self.config.folds,
            paired=self.paired if paired is None else paired,
            importances=importances,
        )

    def diversity(
        self, reference: Sample, sample: Sample, *, halves: Halves, rng: np.random.Generator
    ) -> Json:
        """What `hepgan.evaluation.diversity` cannot know of a kind: for showers the similarity of images."""
        return {}


def scatter(values: Sequence[float] | Array) -> Measurement:
    """Mean and standard deviation over the halvings."""
    return float(np.mean(values)), float(np.std(values))


def judge(value: Measurement | None, limit: float, *, ideal: float = 0.0) -> str:
    """The traffic light of a number by its distance to the ideal value.

    ``pass`` within the limit; ``fail`` beyond twice the limit and by more than two standard deviations beyond
    the limit; ``warn`` between, and where the bias is not defined.
    """
    if value is None:
        return "warn"
    size, uncertainty, limit = abs(value[0] - ideal), value[1], limit - ideal
    if size <= limit:
        return "pass"
    return "fail" if size > 2 * limit and size - 2 * uncertainty > limit else "warn"


def _auc_remark(auc: float) -> str:
    """What an area means, for those who see one for the first time."""
    if auc < 1 - LEAST_TOLD:
        return "below 0.5: do the samples share events?"
    for upper, remark in (
        (LEAST_TOLD, "hardly told apart"),
        (0.7, "hard to tell apart"),
        (0.9, "often told apart"),
    ):
        if auc < upper:
            return remark
    return "nearly always told apart"


def row(
    key: str,
    metric: str,
    *,
    section: str,
    value: Measurement | None,
    floor: Measurement | None,
    limit: float | None = None,
    ideal: float = 0.0,
    percent: bool = False,
    remark: str = "",
) -> Json:
    """A row of ``verdict``; for information if there is no limit."""
    return {
        "key": key,
        "metric": metric,
        "section": section,
        "value": value,
        "floor": floor,
        "limit": limit,
        "percent": percent,
        "verdict": "info" if limit is None else judge(value, limit, ideal=ideal),
        "remark": remark,
    }


def auc_row(metrics: Json, *, key: str, limit: float | None = None) -> Json:
    """The row of the classifier's area."""
    auc, floor = metrics["classifier"]["auc"], metrics["classifier"]["auc_floor"]
    remark = _auc_remark(auc[0])
    return row(
        key,
        "Classifier AUC, all observables",
        section="classifier",
        value=auc,
        floor=floor,
        limit=limit,
        ideal=0.5,
        remark=remark,
    )


def telling_rows(metrics: Json) -> list[Json]:
    """For information: the observables that tell most."""
    features, single = metrics["features"], metrics["classifier"]["single"]
    worst = max(features, key=lambda name: features[name]["separation"][0])
    telling = max(single, key=lambda name: single[name][0])
    return [
        row(
            "single_auc_worst",
            "Largest AUC of one observable",
            section="single",
            value=single[telling],
            floor=metrics["classifier"]["single_floor"][telling],
            remark=telling,
        ),
        row(
            "separation_worst",
            "Largest separation power",
            section="features",
            value=features[worst]["separation"],
            floor=features[worst]["separation_floor"],
            remark=worst,
        ),
    ]
