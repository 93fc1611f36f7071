"""All numbers between two samples: what `hepgan evaluate` and `hepgan compare` write.

Every number comes with its uncertainty and with its floor: the same number between two halves of the
reference. The halves have half the events, so statistical fluctuation makes their separation power up to
twice, their distances up to 1.4 times, that of a perfect sample of full size.

Keys of ``metrics.json`` (schema 2; [v, u] is a value and its uncertainty, null what is not defined):

* ``features.<name>``: ``unit``, ``separation``, ``separation_floor``, ``wasserstein``,
  ``wasserstein_floor`` (in the unit), ``wasserstein_sigma``, ``wasserstein_sigma_floor`` (in standard
  deviations of the reference), ``chi2`` (``per_ndf``, ``ndf``, ``p_value``), ``mean`` and ``std``, each with
  ``reference`` and ``generated``, ``divergences.<name>`` and ``divergence_floors.<name>`` (not if
  ``evaluation.fast``); without declared atoms, which would decide them;
* ``conditions.<name>``: the same for the conditions (empty when they are equal by construction);
* ``classifier``: ``auc``, ``auc_floor``, ``folds``, ``single.<feature>``, ``single_floor.<feature>``,
  ``importances.<feature>`` (of the features and conditions, not if ``evaluation.fast``), ``reweighting`` (the same
  test after the sample was weighted with the ratio of the densities that the classifier found: ``auc``, and
  ``effective_share`` of the events that is left; not if ``evaluation.fast``);
* ``joint``, ``in_bins``: `hepgan.evaluation.distances`; ``diversity``: `hepgan.evaluation.diversity`;
* ``networks``: `hepgan.evaluation.networks` (if ``evaluation.networks``);
* ``closure``: the numbers of the kind: `hepgan.evaluation.showers`, `hepgan.evaluation.tracks`;
* ``verdict``: rows of ``key``, ``metric``, ``section`` (of the report), ``value``, ``floor``, ``limit``, ``percent``
  (to be shown times 100), ``verdict`` (``pass``, ``warn``, ``fail``, ``info``), ``remark``, and ``peers`` (``model``,
  ``value``, ``reference``, ``remark``) where there are published numbers;
* ``headline``: the few numbers that travel with an exported model, by name;
* ``sample``: ``what`` (showers or tracks), ``reference`` and ``generated`` (``name``, ``events``,
  ``effective_events``), ``conditions`` (``name``, ``unit``, ``range``, and ``categories`` where it has any),
  ``paired``, ``outside_range``; and ``provenance``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hepgan.evaluation import distances as comparison_joint
from hepgan.evaluation import diversity as comparison_diversity
from hepgan.evaluation import networks as comparison_networks
from hepgan.evaluation.sample import Halves, Sample, Setup, Step, scatter
from hepgan.metrics import (
    TwoSampleTest,
    chi2_test,
    mean,
    quantile_edges,
    reweighting,
    separation_power,
    single_feature_auc,
    spread,
    wasserstein,
)
from hepgan.metrics.distance import between_parts
from hepgan.metrics.divergences import histogram_divergences
from hepgan.metrics.histograms import separations_of_parts

__all__ = ["SCHEMA", "Outcome", "measure"]

SCHEMA = 2
FLOOR_SPLITS = 10  # random halvings of the reference behind each cheap floor
FAST_SPLITS = 3
REPLICAS = 20  # of the bootstrap of a divergence

Array = NDArray[np.float64]
Json = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What `measure` found.

    Attributes:
        metrics: Everything of ``metrics.json`` but ``sample`` and ``provenance``.
        test: The classifier test with its scores.
        weights: (N2,) weights with which the sample imitates the reference; None if it had to be fast.
    """

    metrics: Json
    test: TwoSampleTest
    weights: Array | None


def _halves(n: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    order = rng.permutation(n)
    return order[: n // 2], order[n // 2 : 2 * (n // 2)]


def _observable(
    x: Array,
    wx: Array,
    y: Array,
    wy: Array,
    *,
    unit: str,
    halves: Halves,
    setup: Setup,
    rng: np.random.Generator,
) -> Json:
    """All numbers of one observable."""
    edges = quantile_edges(x, setup.config.bins, weights=wx)
    weights: Any = {"reference_weights": wx, "sample_weights": wy}
    distance, distance_floor = wasserstein(y, x, **weights), scatter(between_parts(x, halves, weights=wx))
    sigma = spread(x, wx, name="reference")
    chi2 = chi2_test(y, x, edges=edges, **weights)
    result: Json = {
        "unit": unit,
        "separation": separation_power(y, x, edges=edges, rng=rng, **weights),
        "separation_floor": scatter(separations_of_parts(x, halves, edges, weights=wx)),
        "wasserstein": distance,
        "wasserstein_floor": distance_floor,
        "wasserstein_sigma": tuple(d / sigma[0] for d in distance) if sigma[0] > 0 else None,
        "wasserstein_sigma_floor": tuple(d / sigma[0] for d in distance_floor) if sigma[0] > 0 else None,
        "chi2": {"per_ndf": chi2.per_ndf, "ndf": chi2.ndf, "p_value": chi2.p_value},
        "mean": {"reference": mean(x, wx), "generated": mean(y, wy)},
        "std": {"reference": sigma, "generated": spread(y, wy, name="generated")},
    }
    if not setup.config.fast:
        a, b = halves[0]
        for key, samples, given in (
            ("divergences", (y, x), weights),
            ("divergence_floors", (x[b], x[a]), {"reference_weights": wx[a], "sample_weights": wx[b]}),
        ):
            result[key] = histogram_divergences(*samples, edges=edges, rng=rng, n_bootstrap=REPLICAS, **given)
    return result


def _classifiers(
    reference: Sample,
    sample: Sample,
    setup: Setup,
    *,
    halves: Halves,
    rng: np.random.Generator,
    step: Step,
) -> tuple[Json, tuple[TwoSampleTest, TwoSampleTest], Array | None]:
    """``classifier``, the tests between the samples and between halves, and the weights that correct the sample."""
    (a, b), wx, wy = halves[0], reference.weights, sample.weights
    thorough = not setup.config.fast
    step("single observables")
    single, single_floor = {}, {}
    for k, name in enumerate(setup.names):
        x, y = reference.features[:, k], sample.features[:, k]
        single[name] = single_feature_auc(
            y, x, rng=rng, reference_weights=wx, sample_weights=wy, paired=setup.paired
        )
        single_floor[name] = single_feature_auc(
            x[b], x[a], rng=rng, reference_weights=wx[a], sample_weights=wx[b]
        )
    step("classifier")
    test = setup.classify(reference, sample, rng=rng, importances=thorough)
    step("classifier, floor")
    floor = setup.classify(reference[a], reference[b], rng=rng, paired=False)
    result: Json = {
        "auc": test.auc,
        "auc_floor": floor.auc,
        "folds": test.fold_aucs,
        "single": single,
        "single_floor": single_floor,
    }
    weights = None
    if thorough:
        names = [*setup.names, *(condition.name for condition in setup.data.conditions)]
        result["importances"] = dict(zip(names, test.importances, strict=True))
        step("reweighting")
        try:
            found = reweighting(
                setup.looked_at(sample),
                setup.looked_at(reference),
                rng=rng,
                reference_weights=wx,
                sample_weights=wy,
                folds=setup.config.folds,
                paired=setup.paired,
                test=test,
            )
        except ValueError as error:  # negative weights
            result["reweighting"] = {"auc": None, "effective_share": None, "reason": str(error)}
        else:
            weights = found.weights
            result["reweighting"] = {"auc": found.after, "effective_share": found.effective_share}
    return result, (test, floor), weights


def measure(
    reference: Sample,
    sample: Sample,
    setup: Setup,
    *,
    seed: int,
    step: Step,
    training: Sample | None = None,
) -> Outcome:
    """Everything between two samples.

    Args:
        reference: What is right.
        sample: What is judged.
        setup: The kind of data, settings, whether row i of both has the same conditions.
        seed: Fixes bootstraps, halvings and folds.
        step: Called with the name of each step.
        training: What the generator of the sample was trained with, to find copies.

    Raises:
        ValueError: If the samples do not fit the setup, or networks are asked for that have no cells to see.
    """
    if setup.config.networks:
        comparison_networks.cells_of(setup)  # before minutes are spent on the others
    observables, tests, together = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(3))
    splits = FAST_SPLITS if setup.config.fast else FLOOR_SPLITS
    halves = [_halves(len(reference), observables) for _ in range(splits)]
    step("observables")
    options: Any = {"halves": halves, "setup": setup, "rng": observables}
    features = {
        name: _observable(*reference.observed(k), *sample.observed(k), unit=unit, **options)
        for k, (name, unit) in enumerate(zip(setup.names, setup.units, strict=True))
    }
    conditions = {}
    if not setup.paired:
        wx, wy = reference.weights, sample.weights
        for k, condition in enumerate(setup.data.conditions):
            x, y = (s.events.conditions[:, k].astype(np.float64) for s in (reference, sample))
            conditions[condition.name] = _observable(x, wx, y, wy, unit=condition.unit, **options)
    closure = setup.closure(reference, sample, halves=halves, rng=observables)

    first, second = reference.bare(), sample.bare()
    classifier, both, weights = _classifiers(first, second, setup, halves=halves, rng=tests, step=step)
    shared: Any = {"halves": halves, "rng": together, "step": step}
    metrics: Json = {
        "schema": SCHEMA,
        "features": features,
        "conditions": conditions,
        "classifier": classifier,
        "joint": comparison_joint.joint(first, second, setup, **shared),
        "in_bins": comparison_joint.in_bins(first, second, setup, tests=both, **shared),
        "diversity": comparison_diversity.diversity(reference, sample, setup, training=training, **shared),
        "closure": closure,
    }
    if setup.config.networks:
        metrics["networks"] = comparison_networks.networks(reference, sample, setup, **shared)
    verdict = [
        *setup.verdict(metrics),
        *comparison_joint.rows(metrics),
        *comparison_diversity.rows(metrics),
        *(comparison_networks.rows(metrics["networks"]) if setup.config.networks else ()),
    ]
    metrics["verdict"] = comparison_networks.with_peers(verdict, setup)
    numbers = setup.headline(metrics).items()
    metrics["headline"] = {name: number for name, number in numbers if number is not None}
    return Outcome(metrics, both[0], weights)
