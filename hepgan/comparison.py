"""All numbers between two samples: what `hepgan evaluate` and `hepgan compare` write.

Every number comes with its uncertainty and with its floor: the same number between two halves of the
reference. The halves have half the events, so statistical fluctuation makes their separation power up to
twice, their distances up to 1.4 times, that of a perfect sample of full size.

What showers and tracks share is here; `Setup` says what a kind of data adds: `hepgan.comparison_showers` and
`hepgan.comparison_tracks`.

Keys of ``metrics.json`` (schema 1; [v, u] is a value and its uncertainty, null what is not defined):

* ``features.<name>``: ``unit``, ``separation``, ``separation_floor``, ``wasserstein``,
  ``wasserstein_floor`` (in the unit), ``wasserstein_sigma``, ``wasserstein_sigma_floor`` (in standard
  deviations of the reference), ``mean`` and ``std``, each with ``reference`` and ``generated``; without declared
  atoms, which would decide them;
* ``conditions.<name>``: the same for the conditions (empty when they are equal by construction);
* ``classifier``: ``auc``, ``auc_floor``, ``folds``, ``single.<feature>``, ``single_floor.<feature>``;
* ``closure``: the numbers of the kind: `hepgan.comparison_showers`, `hepgan.comparison_tracks`;
* ``verdict``: rows of ``metric``, ``section`` (of the report), ``value``, ``floor``, ``limit``, ``percent``
  (to be shown times 100), ``verdict`` (``pass``, ``warn``, ``fail``, ``info``) and ``remark``;
* ``headline``: the few numbers that travel with an exported model, by name;
* ``sample``: ``what`` (showers or tracks), ``reference`` and ``generated`` (``name``, ``events``,
  ``effective_events``), ``conditions`` (``name``, ``unit``, ``range``, and ``categories`` where it has any),
  ``paired``, ``outside_range``; and ``provenance``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hepgan.config import DataConfig, EvaluationConfig
from hepgan.metrics import (
    TwoSampleTest,
    mean,
    quantile_edges,
    separation_power,
    single_feature_auc,
    spread,
    two_sample_test,
    wasserstein,
)
from hepgan.metrics.moments import Measurement
from hepgan.readers import Events

__all__ = [
    "SCHEMA",
    "Halves",
    "Sample",
    "Setup",
    "auc_row",
    "effective",
    "judge",
    "measure",
    "row",
    "scatter",
    "telling_rows",
]

SCHEMA = 1
MIN_CONTINUOUS = 50  # effective events off the atoms of an observable below which the atoms are not left out
FLOOR_SPLITS = 10  # random halvings of the reference behind each cheap floor

Array = NDArray[np.float64]
Json = dict[str, Any]
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
            weights = continuous if effective(continuous) >= MIN_CONTINUOUS else weights
        return self.features[:, column], weights

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

    def classify(
        self, reference: Sample, sample: Sample, *, rng: np.random.Generator, paired: bool | None = None
    ) -> TwoSampleTest:
        """The classifier test on all observables and conditions; `paired` by default as the samples are."""
        first, second = (np.column_stack([s.features, s.events.conditions]) for s in (reference, sample))
        return two_sample_test(
            first,
            second,
            rng=rng,
            reference_weights=reference.weights,
            sample_weights=sample.weights,
            folds=self.config.folds,
            paired=self.paired if paired is None else paired,
        )


def _halves(n: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    order = rng.permutation(n)
    return order[: n // 2], order[n // 2 : 2 * (n // 2)]


def scatter(values: Sequence[float] | Array) -> Measurement:
    """Mean and standard deviation over the halvings."""
    return float(np.mean(values)), float(np.std(values))


def effective(weights: Array) -> float:
    """Number of events of weight 1 that fluctuate as much; 0 if the weights have no positive sum."""
    return float(max(weights.sum(), 0.0) ** 2 / (weights**2).sum()) if weights.any() else 0.0


def _observable(
    x: Array,
    wx: Array,
    y: Array,
    wy: Array,
    *,
    unit: str,
    halves: Halves,
    bins: int,
    rng: np.random.Generator,
) -> Json:
    """All numbers of one observable."""
    edges = quantile_edges(x, bins, weights=wx)
    distance = wasserstein(x, y, rng=rng, reference_weights=wx, sample_weights=wy)
    separations, distances = [], []
    for a, b in halves:
        weights: Any = {"reference_weights": wx[a], "sample_weights": wx[b], "rng": rng, "n_bootstrap": 0}
        separations.append(separation_power(x[a], x[b], edges=edges, **weights)[0])
        distances.append(wasserstein(x[a], x[b], **weights)[0])
    distance_floor = scatter(distances)
    sigma = spread(x, wx, name="reference")
    return {
        "unit": unit,
        "separation": separation_power(x, y, edges=edges, rng=rng, reference_weights=wx, sample_weights=wy),
        "separation_floor": scatter(separations),
        "wasserstein": distance,
        "wasserstein_floor": distance_floor,
        "wasserstein_sigma": tuple(d / sigma[0] for d in distance) if sigma[0] > 0 else None,
        "wasserstein_sigma_floor": tuple(d / sigma[0] for d in distance_floor) if sigma[0] > 0 else None,
        "mean": {"reference": mean(x, wx), "generated": mean(y, wy)},
        "std": {"reference": sigma, "generated": spread(y, wy, name="generated")},
    }


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
    for upper, remark in (
        (0.55, "hardly told apart"),
        (0.7, "hard to tell apart"),
        (0.9, "often told apart"),
    ):
        if auc < upper:
            return remark
    return "nearly always told apart"


def row(
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
        "metric": metric,
        "section": section,
        "value": value,
        "floor": floor,
        "limit": limit,
        "percent": percent,
        "verdict": "info" if limit is None else judge(value, limit, ideal=ideal),
        "remark": remark,
    }


def auc_row(metrics: Json, *, limit: float | None = None) -> Json:
    """The row of the classifier's area."""
    auc, floor = metrics["classifier"]["auc"], metrics["classifier"]["auc_floor"]
    remark = _auc_remark(auc[0])
    return row(
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
            "Largest AUC of one observable",
            section="single",
            value=single[telling],
            floor=metrics["classifier"]["single_floor"][telling],
            remark=telling,
        ),
        row(
            "Largest separation power",
            section="features",
            value=features[worst]["separation"],
            floor=features[worst]["separation_floor"],
            remark=worst,
        ),
    ]


def measure(
    reference: Sample, sample: Sample, setup: Setup, *, seed: int, step: Callable[[str], None]
) -> tuple[Json, TwoSampleTest]:
    """Everything of ``metrics.json`` but ``sample`` and ``provenance``.

    Args:
        reference: What is right.
        sample: What is judged.
        setup: The kind of data, settings, whether row i of both has the same conditions.
        seed: Fixes bootstraps, halvings and folds.
        step: Called with the name of each step.

    Returns:
        The metrics, and the classifier test with its scores.
    """
    observables, tests = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))
    wx, wy = reference.weights, sample.weights
    halves = [_halves(len(reference), observables) for _ in range(FLOOR_SPLITS)]
    step("observables")
    options: Any = {"halves": halves, "bins": setup.config.bins, "rng": observables}
    features = {
        name: _observable(*reference.observed(k), *sample.observed(k), unit=unit, **options)
        for k, (name, unit) in enumerate(zip(setup.names, setup.units, strict=True))
    }
    conditions = {}
    if not setup.paired:
        for k, condition in enumerate(setup.data.conditions):
            x, y = (s.events.conditions[:, k].astype(np.float64) for s in (reference, sample))
            conditions[condition.name] = _observable(x, wx, y, wy, unit=condition.unit, **options)
    closure = setup.closure(reference, sample, halves=halves, rng=observables)

    step("single observables")
    a, b = halves[0]
    single, single_floor = {}, {}
    for k, name in enumerate(setup.names):
        x, y = reference.features[:, k], sample.features[:, k]
        single[name] = single_feature_auc(
            x, y, rng=tests, reference_weights=wx, sample_weights=wy, paired=setup.paired
        )
        single_floor[name] = single_feature_auc(
            x[a], x[b], rng=tests, reference_weights=wx[a], sample_weights=wx[b]
        )
    step("classifier")
    test = setup.classify(reference, sample, rng=tests)
    step("classifier, floor")
    floor = setup.classify(reference[a], reference[b], rng=tests, paired=False)
    metrics: Json = {
        "schema": SCHEMA,
        "features": features,
        "conditions": conditions,
        "classifier": {
            "auc": test.auc,
            "auc_floor": floor.auc,
            "folds": test.fold_aucs,
            "single": single,
            "single_floor": single_floor,
        },
        "closure": closure,
    }
    metrics["verdict"] = setup.verdict(metrics)
    numbers = setup.headline(metrics).items()
    metrics["headline"] = {name: number for name, number in numbers if number is not None}
    return metrics, test
