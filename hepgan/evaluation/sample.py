"""A sample with its observables, and the interface that a kind of data implements to be compared.

`Setup` is implemented by `hepgan.evaluation.showers` and `hepgan.evaluation.tracks`; the table of both is
`hepgan.evaluation.setups`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from hepgan.config import DataConfig, EvaluationConfig
from hepgan.data.events import Events
from hepgan.errors import DataError
from hepgan.evaluation.published import Peer
from hepgan.evaluation.records import Array, Number, Record
from hepgan.evaluation.results import Classifier, Feature, Similarity
from hepgan.evaluation.verdict import Row
from hepgan.geometry import Calorimeter
from hepgan.metrics import TwoSampleTest, two_sample_test
from hepgan.metrics.moments import Measurement, effective_size

__all__ = ["Halves", "Sample", "Setup", "Step", "scatter"]

MIN_CONTINUOUS = 50  # effective events off the atoms of an observable below which the atoms are not left out

Step = Callable[[str], None]
"""Called with the name of each step."""
Halves = Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]
"""Halvings of the reference: pairs of index arrays. The first half plays the reference, the second the sample."""
Closure = TypeVar("Closure", bound=Record)


@dataclass(frozen=True)
class Sample:
    """Events and their observables.

    Attributes:
        name: Name in the report.
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
        """A feature and its weights, (N,) each; weights are 0 at atoms, unless too few other events are left."""
        weights = self.weights
        if self.atoms is not None:
            continuous = np.where(self.atoms[:, column], 0.0, weights)
            weights = continuous if effective_size(continuous) >= MIN_CONTINUOUS else weights
        return self.features[:, column], weights

    def without_outputs(self) -> Sample:
        """Copy without cells or targets, to save memory; later steps need only the observables."""
        return replace(self, events=replace(self.events, outputs=()))

    def __len__(self) -> int:
        return len(self.events)

    def __getitem__(self, index: NDArray[Any]) -> Sample:
        atoms = None if self.atoms is None else self.atoms[index]
        return Sample(self.name, self.events[index], self.features[index], atoms)


@dataclass(frozen=True)
class Setup(ABC, Generic[Closure]):
    """Settings that both samples share, and the numbers that one kind of data adds to the comparison.

    Attributes:
        data: How the events were read.
        config: Settings.
        paired: Whether event i of both samples has the same conditions.
    """

    data: DataConfig
    config: EvaluationConfig
    paired: bool

    @classmethod
    @abstractmethod
    def of(
        cls,
        data: DataConfig,
        config: EvaluationConfig,
        *,
        paired: bool,
        reference: Events,
        calorimeter: Callable[[], Calorimeter],
    ) -> Setup[Closure]:
        """Make the setup of a comparison.

        Args:
            data: How the events were read.
            config: Settings.
            paired: Whether event i of both samples has the same conditions.
            reference: Events of the reference.
            calorimeter: Gives the geometry, where the data have one.
        """

    @property
    @abstractmethod
    def names(self) -> list[str]:
        """Name of each feature."""

    @property
    @abstractmethod
    def units(self) -> list[str]:
        """Unit of each feature."""

    @property
    @abstractmethod
    def layers(self) -> list[str]:
        """Names of the calorimeter's layers; empty for tracks."""

    @abstractmethod
    def observe(self, name: str, events: Events) -> Sample:
        """Compute the features of at least one event.

        Raises:
            DataError: If the events do not fit the configuration.
        """

    @abstractmethod
    def closure(
        self, sample: Sample, reference: Sample, *, halves: Halves, rng: np.random.Generator
    ) -> Closure:
        """Measure the numbers that only this kind has."""

    @abstractmethod
    def verdict(
        self, closure: Closure, *, features: Mapping[str, Feature], classifier: Classifier
    ) -> list[Row]:
        """Make the rows of the verdict, requirements first."""

    @abstractmethod
    def headline(self, closure: Closure, *, classifier: Classifier) -> dict[str, Number | None]:
        """Choose the few numbers that travel with an exported model."""

    @abstractmethod
    def check_networks(self) -> None:
        """Refuse CaloChallenge's networks if the events have no cells.

        Raises:
            ConfigError: If they have none.
        """

    @abstractmethod
    def network_inputs(self, sample: Sample) -> dict[str, NDArray[np.float32]]:
        """Inputs of CaloChallenge's networks, (N, F) each: ``low`` and ``high``.

        Raises:
            ConfigError: If the events have no cells.
        """

    def similarity(
        self, sample: Sample, reference: Sample, *, halves: Halves, rng: np.random.Generator
    ) -> dict[str, Similarity]:
        """Similarity of pairs of images, by layer; nothing for events without images."""
        return {}

    def published(self, key: str) -> list[Peer]:
        """Published numbers that stand beside a row of the verdict."""
        return []

    def sample(self, name: str, events: Events) -> Sample:
        """Compute the features of the events.

        Raises:
            DataError: If there are no events, or they do not fit the configuration.
        """
        if len(events) == 0:
            raise DataError(
                f"{name}: expected at least one {self.data.kind.row}, got none; loosen the selection"
            )
        return self.observe(name, events)

    def classifier_inputs(self, sample: Sample) -> Array:
        """Inputs of the classifiers: observables and conditions, (N, F)."""
        return np.column_stack([sample.features, sample.events.conditions])

    def classify(
        self,
        sample: Sample,
        reference: Sample,
        *,
        rng: np.random.Generator,
        paired: bool | None = None,
        importances: bool = False,
    ) -> TwoSampleTest:
        """Run the classifier test on all observables and conditions; `paired` is by default that of the setup."""
        return two_sample_test(
            self.classifier_inputs(sample),
            self.classifier_inputs(reference),
            rng=rng,
            sample_weights=sample.weights,
            reference_weights=reference.weights,
            folds=self.config.folds,
            paired=self.paired if paired is None else paired,
            importances=importances,
        )


def scatter(values: Sequence[float] | Array) -> Measurement:
    """Mean and standard deviation over the halvings."""
    return float(np.mean(values)), float(np.std(values))
