"""All numbers between two samples of showers: what `hepgan evaluate` and `hepgan compare` write.

Every number comes with its uncertainty and with its floor: the same number between two halves of the
reference. The halves have half the showers, so statistical fluctuation makes their separation power up to
twice, their Wasserstein distance up to 1.4 times, that of a perfect sample of full size.

Keys of ``metrics.json`` (schema 1; [v, u] is a value and its uncertainty, null what is not defined):

* ``features.<name>``: ``unit``, ``separation``, ``separation_floor``, ``wasserstein``,
  ``wasserstein_floor`` (in the unit), ``wasserstein_sigma``, ``wasserstein_sigma_floor`` (in standard
  deviations of the reference), ``mean`` and ``std``, each with ``reference`` and ``generated``;
* ``conditions.<name>``: the same for the conditions (empty when they are equal by construction);
* ``classifier``: ``auc``, ``auc_floor``, ``folds``, ``single.<feature>``, ``single_floor.<feature>``;
* ``closure``: ``energy`` (``unit``, ``edges``, ``mean`` of each bin), ``response`` and ``resolution``
  (``reference``, ``generated``, ``bias`` by bin, ``worst``, ``worst_floor``), ``resolution.fit`` (``reference``,
  ``generated``: ``stochastic``, ``constant``, ``chi2_per_ndf`` of `resolution_fit`, or null),
  ``fractions.<layer>`` and
  ``occupancy.<layer>`` (``reference``, ``generated``, ``bias``, ``bias_floor``, ``by_energy``); biases are
  generated / reference - 1, their floors the mean of the absolute value;
* ``verdict``: rows of ``metric``, ``section`` (of the report), ``value``, ``floor``, ``limit``, ``percent``
  (to be shown times 100), ``verdict`` (``pass``, ``warn``, ``fail``, ``info``) and ``remark``;
* ``headline``: the few numbers that travel with an exported model, by name;
* ``sample``: ``reference`` and ``generated`` (``name``, ``events``, ``effective_events``), ``conditions``,
  ``paired``, ``outside_range``; and ``provenance``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hepgan.config import DataConfig, EvaluationConfig
from hepgan.features import ShowerShapes, energy_factor
from hepgan.geometry import Calorimeter
from hepgan.metrics import (
    TwoSampleTest,
    mean,
    quantile_edges,
    relative_difference,
    relative_spread,
    resolution_fit,
    separation_power,
    single_feature_auc,
    spread,
    two_sample_test,
    wasserstein,
)
from hepgan.metrics.moments import Measurement
from hepgan.readers import Events

__all__ = ["LIMITS", "SCHEMA", "Sample", "Setup", "headline", "judge", "measure"]

SCHEMA = 1

LIMITS = {"response": 0.03, "fractions": 0.05, "occupancy": 0.10}
"""Largest relative bias that is called good: response in every energy bin, mean fraction and occupancy of
every layer."""

FLOOR_SPLITS = 10  # random halvings of the reference behind each cheap floor
MIN_IN_BIN = 10  # showers of either sample below which an energy bin is left out
_CHUNK = 2000  # showers at once through the feature module

Array = NDArray[np.float64]
Json = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """Showers with their features (N, F) and their incident energy (N,), in the unit of the condition."""

    name: str
    events: Events
    features: Array
    energy: Array

    @property
    def weights(self) -> Array:
        """Event weights, (N,)."""
        return self.events.weights.astype(np.float64)

    def __len__(self) -> int:
        return len(self.events)


@dataclass(frozen=True)
class Setup:
    """What does not change between the samples."""

    calorimeter: Calorimeter
    data: DataConfig
    config: EvaluationConfig
    shapes: ShowerShapes
    paired: bool

    @property
    def energy_column(self) -> int:
        """Which condition is the incident energy."""
        return [c.name for c in self.data.conditions].index(self.data.calorimeter.incident_energy)

    @property
    def energy_unit(self) -> str:
        """Unit of the incident energy."""
        return self.data.conditions[self.energy_column].unit or self.calorimeter.unit

    def column(self, kind: str, layer: str) -> int:
        """Where a feature of a layer is."""
        return self.shapes.names.index(f"{kind}_{layer}")

    def sample(self, name: str, events: Events) -> Sample:
        """Compute the features.

        Raises:
            ValueError: If there are no events or the cells are not those of the calorimeter.
        """
        wanted = (self.calorimeter.n_cells, self.shapes.n_overflow)
        got = (events.cells.shape[1], events.overflow.shape[1])
        if got != wanted:
            raise ValueError(
                f"{name}: expected {wanted[0]} cells and {wanted[1]} overflow numbers a shower, "
                f"got {got[0]} and {got[1]}; read the file with the configuration of the other sample"
            )
        if len(events) == 0:
            raise ValueError(f"{name}: expected at least one shower, got none; loosen the selection")
        energy = events.conditions[:, self.energy_column]
        factor = energy_factor(self.energy_unit, self.calorimeter.unit)
        arrays = (events.cells, events.overflow, (energy * factor).astype(np.float32))
        tensors = [torch.from_numpy(np.ascontiguousarray(a)) for a in arrays]
        with torch.no_grad():
            parts = [
                self.shapes(*(t[start : start + _CHUNK] for t in tensors))
                for start in range(0, len(events), _CHUNK)
            ]
        return Sample(name, events, torch.cat(parts).numpy().astype(np.float64), energy.astype(np.float64))


def _halves(n: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    order = rng.permutation(n)
    return order[: n // 2], order[n // 2 : 2 * (n // 2)]


def _scatter(values: Sequence[float]) -> Measurement:
    """Mean and standard deviation over the halvings."""
    return float(np.mean(values)), float(np.std(values))


def _observable(
    x: Array,
    wx: Array,
    y: Array,
    wy: Array,
    *,
    unit: str,
    halves: Sequence[Any],
    bins: int,
    rng: np.random.Generator,
) -> Json:
    """All numbers of one observable; `halves` are pairs of index arrays into the reference."""
    edges = quantile_edges(x, bins, weights=wx)
    distance = wasserstein(x, y, rng=rng, reference_weights=wx, sample_weights=wy)
    separations, distances = [], []
    for a, b in halves:
        weights: Any = {"reference_weights": wx[a], "sample_weights": wx[b], "rng": rng, "n_bootstrap": 0}
        separations.append(separation_power(x[a], x[b], edges=edges, **weights)[0])
        distances.append(wasserstein(x[a], x[b], **weights)[0])
    distance_floor = _scatter(distances)
    sigma = spread(x, wx, name="reference")
    return {
        "unit": unit,
        "separation": separation_power(x, y, edges=edges, rng=rng, reference_weights=wx, sample_weights=wy),
        "separation_floor": _scatter(separations),
        "wasserstein": distance,
        "wasserstein_floor": distance_floor,
        "wasserstein_sigma": tuple(d / sigma[0] for d in distance) if sigma[0] > 0 else None,
        "wasserstein_sigma_floor": tuple(d / sigma[0] for d in distance_floor) if sigma[0] > 0 else None,
        "mean": {"reference": mean(x, wx), "generated": mean(y, wy)},
        "std": {"reference": sigma, "generated": spread(y, wy, name="generated")},
    }


def _energy_bins(reference: Sample, sample: Sample, number: int) -> list[tuple[float, float]]:
    """Bins with equal shares of the reference; those that a sample hardly fills are left out."""
    edges = quantile_edges(reference.energy, number, weights=reference.weights)
    edges[-1] = np.nextafter(edges[-1], np.inf)
    bins = []
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if all(int(((s.energy >= low) & (s.energy < high)).sum()) >= MIN_IN_BIN for s in (reference, sample)):
            bins.append((low, high))
    if not bins:
        raise ValueError(
            f"incident energy: no bin holds {MIN_IN_BIN} showers of both samples ({len(reference)} and "
            f"{len(sample)} showers); give more showers, or lower evaluation.energy_bins"
        )
    return bins


Statistic = Callable[[Array, Array], Measurement]


def _by_energy(
    values: Array, energy: Array, weights: Array, bins: Sequence[tuple[float, float]], statistic: Statistic
) -> list[Measurement]:
    inside = [(energy >= low) & (energy < high) for low, high in bins]
    return [statistic(values[i], weights[i]) for i in inside]


def _bias_floor(values: Array, weights: Array, halves: Sequence[Any]) -> Measurement | None:
    biases = [
        relative_difference(mean(values[b], weights[b]), mean(values[a], weights[a])) for a, b in halves
    ]
    defined = [abs(bias[0]) for bias in biases if bias is not None]
    return _scatter(defined) if defined else None


def _largest(biases: Sequence[Measurement | None]) -> Measurement | None:
    return max((b for b in biases if b is not None), key=lambda b: abs(b[0]), default=None)


def _worst_floor(
    reference: Sample,
    column: int,
    bins: Sequence[tuple[float, float]],
    statistic: Statistic,
    halves: Sequence[Any],
) -> Measurement | None:
    """Size of the largest relative difference in the bins, between halves of the reference."""
    values, energy, weights = reference.features[:, column], reference.energy, reference.weights
    sizes = []
    for pair in halves:
        first, second = (_by_energy(values[i], energy[i], weights[i], bins, statistic) for i in pair)
        worst = _largest([relative_difference(b, a) for a, b in zip(first, second, strict=True)])
        if worst is not None:
            sizes.append(abs(worst[0]))
    return _scatter(sizes) if sizes else None


def _closure(reference: Sample, sample: Sample, setup: Setup, *, halves: Sequence[Any]) -> Json:
    bins = _energy_bins(reference, sample, setup.config.energy_bins)

    def profile(column: int, which: Sample, statistic: Statistic = mean) -> list[Measurement]:
        return _by_energy(which.features[:, column], which.energy, which.weights, bins, statistic)

    energy = _by_energy(reference.energy, reference.energy, reference.weights, bins, mean)
    result: Json = {"energy": {"unit": setup.energy_unit, "edges": bins, "mean": [m for m, _ in energy]}}
    response = setup.shapes.names.index("response")
    for key, statistic in (("response", mean), ("resolution", relative_spread)):
        first, second = (profile(response, which, statistic) for which in (reference, sample))
        bias = [relative_difference(b, a) for a, b in zip(first, second, strict=True)]
        result[key] = {
            "reference": first,
            "generated": second,
            "bias": bias,
            "worst": _largest(bias),
            "worst_floor": _worst_floor(reference, response, bins, statistic, halves),
        }
    fits = {
        name: resolution_fit(result["energy"]["mean"], result["resolution"][name])
        for name in ("reference", "generated")
    }
    result["resolution"]["fit"] = {name: asdict(fit) if fit else None for name, fit in fits.items()}
    for key, kind in (("fractions", "fraction"), ("occupancy", "occupancy")):
        result[key] = {}
        for layer in setup.calorimeter.names:
            column = setup.column(kind, layer)
            means = [mean(s.features[:, column], s.weights) for s in (reference, sample)]
            result[key][layer] = {
                "reference": means[0],
                "generated": means[1],
                "bias": relative_difference(means[1], means[0]),
                "bias_floor": _bias_floor(reference.features[:, column], reference.weights, halves),
                "by_energy": {"reference": profile(column, reference), "generated": profile(column, sample)},
            }
    return result


def judge(bias: Measurement | None, limit: float) -> str:
    """The traffic light of a relative bias.

    ``pass`` within the limit; ``fail`` beyond twice the limit and by more than two standard deviations beyond
    the limit; ``warn`` between, and where the bias is not defined.
    """
    if bias is None:
        return "warn"
    size, uncertainty = abs(bias[0]), bias[1]
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


def _verdict(metrics: Json) -> list[Json]:
    closure = metrics["closure"]
    rows = [
        {
            "metric": f"Response bias, worst of {len(closure['response']['bias'])} energy bins",
            "section": "response",
            "value": closure["response"]["worst"],
            "floor": closure["response"]["worst_floor"],
            "limit": LIMITS["response"],
        }
    ]
    for key, label in (("fractions", "Mean energy fraction"), ("occupancy", "Mean occupancy")):
        rows += [
            {
                "metric": f"{label} bias, {layer}",
                "section": key,
                "value": numbers["bias"],
                "floor": numbers["bias_floor"],
                "limit": LIMITS[key],
            }
            for layer, numbers in closure[key].items()
        ]
    for row in rows:
        row |= {"percent": True, "verdict": judge(row["value"], row["limit"]), "remark": ""}
    rows.append(
        {
            "metric": f"Resolution bias, worst of {len(closure['resolution']['bias'])} energy bins",
            "section": "response",
            "value": closure["resolution"]["worst"],
            "floor": closure["resolution"]["worst_floor"],
            "limit": None,
            "percent": True,
            "verdict": "info",
            "remark": "spread of the response",
        }
    )
    features, single = metrics["features"], metrics["classifier"]["single"]
    worst = max(features, key=lambda name: features[name]["separation"][0])
    telling = max(single, key=lambda name: single[name][0])
    information: list[Json] = [
        {
            "metric": "Classifier AUC, all observables",
            "section": "classifier",
            "value": metrics["classifier"]["auc"],
            "floor": metrics["classifier"]["auc_floor"],
            "remark": _auc_remark(metrics["classifier"]["auc"][0]),
        },
        {
            "metric": "Largest AUC of one observable",
            "section": "single",
            "value": single[telling],
            "floor": metrics["classifier"]["single_floor"][telling],
            "remark": telling,
        },
        {
            "metric": "Largest separation power",
            "section": "features",
            "value": features[worst]["separation"],
            "floor": features[worst]["separation_floor"],
            "remark": worst,
        },
    ]
    return [*rows, *(row | {"limit": None, "percent": False, "verdict": "info"} for row in information)]


def headline(metrics: Mapping[str, Any]) -> dict[str, Measurement]:
    """The few numbers that travel with an exported model.

    Args:
        metrics: What `measure` returned, or the content of ``metrics.json``.
    """
    closure = metrics["closure"]
    numbers = {
        "classifier_auc": metrics["classifier"]["auc"],
        "response_bias_worst": closure["response"]["worst"],
    }
    for key, name in (("fractions", "fraction"), ("occupancy", "occupancy")):
        numbers |= {f"{name}_bias_{layer}": values["bias"] for layer, values in closure[key].items()}
    return {name: (number[0], number[1]) for name, number in numbers.items() if number is not None}


def measure(
    reference: Sample, sample: Sample, setup: Setup, *, seed: int, step: Callable[[str], None]
) -> tuple[Json, TwoSampleTest]:
    """Everything of ``metrics.json`` but ``sample`` and ``provenance``.

    Args:
        reference: What is right.
        sample: What is judged.
        setup: Geometry, settings, whether row i of both has the same conditions.
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
        name: _observable(reference.features[:, k], wx, sample.features[:, k], wy, unit=unit, **options)
        for k, (name, unit) in enumerate(zip(setup.shapes.names, setup.shapes.units, strict=True))
    }
    conditions = {}
    if not setup.paired:
        for k, condition in enumerate(setup.data.conditions):
            x, y = (s.events.conditions[:, k].astype(np.float64) for s in (reference, sample))
            conditions[condition.name] = _observable(x, wx, y, wy, unit=condition.unit, **options)
    closure = _closure(reference, sample, setup, halves=halves)

    step("single observables")
    a, b = halves[0]
    single, single_floor = {}, {}
    for k, name in enumerate(setup.shapes.names):
        x, y = reference.features[:, k], sample.features[:, k]
        single[name] = single_feature_auc(
            x, y, rng=tests, reference_weights=wx, sample_weights=wy, paired=setup.paired
        )
        single_floor[name] = single_feature_auc(
            x[a], x[b], rng=tests, reference_weights=wx[a], sample_weights=wx[b]
        )
    step("classifier")
    all_of_reference, all_of_sample = (
        np.column_stack([s.features, s.events.conditions]) for s in (reference, sample)
    )
    test = two_sample_test(
        all_of_reference,
        all_of_sample,
        rng=tests,
        reference_weights=wx,
        sample_weights=wy,
        folds=setup.config.folds,
        paired=setup.paired,
    )
    step("classifier, floor")
    floor = two_sample_test(
        all_of_reference[a],
        all_of_reference[b],
        rng=tests,
        reference_weights=wx[a],
        sample_weights=wx[b],
        folds=setup.config.folds,
    )
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
    metrics["verdict"] = _verdict(metrics)
    metrics["headline"] = headline(metrics)
    return metrics, test
