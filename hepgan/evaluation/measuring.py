"""All numbers between two samples, as `hepgan evaluate` and `hepgan compare` write them to ``metrics.json``.

Every number comes with its uncertainty and with its floor: the same number between two halves of the
reference. The halves have half the events, so statistical fluctuation makes their separation power up to
twice, their distances up to 1.4 times, that of a perfect sample of full size.

The records of the results are in `hepgan.evaluation.results`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hepgan.config.tables import CONDITION_ROWS, LAYER_ROWS, LIMITS
from hepgan.errors import ConfigError
from hepgan.evaluation import binned, distances, diversity, networks
from hepgan.evaluation.records import Array, Number, Pair
from hepgan.evaluation.results import Chi2, Classifier, Feature, Metrics, Reweighting
from hepgan.evaluation.sample import Halves, Sample, Setup, Step, scatter
from hepgan.evaluation.verdict import Row, with_limits
from hepgan.files import near
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

__all__ = ["Outcome", "check_settings", "measure"]

_LOG = logging.getLogger(__name__)

FLOOR_SPLITS = 10  # random halvings of the reference behind each cheap floor
FAST_SPLITS = 3
REPLICAS = 20  # of the bootstrap of a divergence

Weighted = tuple[Array, Array]
"""Values and weights, (N,) each."""


@dataclass(frozen=True)
class Outcome:
    """Outcome of `measure`.

    Attributes:
        metrics: The numbers.
        test: The classifier test with its scores.
        weights: (N1,) weights with which the sample imitates the reference; None if there are none.
    """

    metrics: Metrics
    test: TwoSampleTest
    weights: Array | None


def check_settings(setup: Setup[Any]) -> None:
    """Refuse settings that this kind of data cannot follow, before minutes are spent.

    Raises:
        ConfigError: If networks are asked for without cells, or a limit names a layer or condition that is not there.
    """
    if setup.config.networks:
        setup.check_networks()
    conditions = [condition.name for condition in setup.data.conditions]
    for prefixes, names in (
        (LAYER_ROWS, setup.layers),
        (CONDITION_ROWS, conditions),
    ):
        known = [f"{prefix}{name}" for prefix in prefixes for name in names]
        for key in setup.config.limits:
            if key.startswith(prefixes) and key not in known:
                raise ConfigError(
                    f"evaluation.limits: there is no row {key!r} of these {setup.data.kind.rows}; {near(key, known)}"
                )


def _halves(n: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    order = rng.permutation(n)
    return order[: n // 2], order[n // 2 : 2 * (n // 2)]


def _over(distance: Number, sigma: float) -> Number | None:
    return Number(distance.value / sigma, distance.uncertainty / sigma) if sigma > 0 else None


def _feature(
    sample: Weighted,
    reference: Weighted,
    *,
    unit: str,
    halves: Halves,
    setup: Setup[Any],
    rng: np.random.Generator,
) -> Feature:
    """Measure one observable."""
    (y, wy), (x, wx) = sample, reference
    edges = quantile_edges(x, setup.config.bins, weights=wx)
    weights: Any = {"reference_weights": wx, "sample_weights": wy}
    distance = Number(*wasserstein(y, x, **weights))
    distance_floor = Number(*scatter(between_parts(x, halves, weights=wx)))
    sigma = spread(x, wx, name="reference")
    chi2 = chi2_test(y, x, edges=edges, **weights)
    separation = separation_power(y, x, edges=edges, rng=rng, **weights)
    separation_floor = scatter(separations_of_parts(x, halves, edges, weights=wx))
    pairs = {
        "mean": Pair(sample=mean(y, wy), reference=mean(x, wx)),
        "std": Pair(sample=spread(y, wy, name="sample"), reference=sigma),
    }
    divergences: dict[str, Any] = {}
    if not setup.config.fast:
        a, b = halves[0]
        for key, samples, given in (
            ("divergences", (y, x), weights),
            ("divergence_floors", (x[b], x[a]), {"reference_weights": wx[a], "sample_weights": wx[b]}),
        ):
            divergences[key] = histogram_divergences(
                *samples, edges=edges, rng=rng, n_bootstrap=REPLICAS, **given
            )
    return Feature(
        unit=unit,
        separation=separation,
        separation_floor=separation_floor,
        wasserstein=distance,
        wasserstein_floor=distance_floor,
        wasserstein_sigma=_over(distance, sigma[0]),
        wasserstein_sigma_floor=_over(distance_floor, sigma[0]),
        chi2=Chi2(per_ndf=chi2.per_ndf, ndf=chi2.ndf, p_value=chi2.p_value),
        **pairs,
        **divergences,
    )


def _classifiers(
    sample: Sample,
    reference: Sample,
    setup: Setup[Any],
    *,
    halves: Halves,
    rng: np.random.Generator,
    step: Step,
) -> tuple[Classifier, tuple[TwoSampleTest, TwoSampleTest], Array | None]:
    """Run the classifier tests.

    Returns:
        The numbers, the tests between the samples and between halves of the reference, and the weights that correct
        the sample.
    """
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
    test = setup.classify(sample, reference, rng=rng, importances=thorough)
    step("classifier, floor")
    floor = setup.classify(reference[b], reference[a], rng=rng, paired=False)
    importances, weighted, weights = None, None, None
    if thorough:
        names = [*setup.names, *(condition.name for condition in setup.data.conditions)]
        importances = dict(zip(names, test.importances, strict=True))
        step("reweighting")
        try:
            ratio = reweighting(
                setup.classifier_inputs(sample),
                setup.classifier_inputs(reference),
                rng=rng,
                sample_weights=wy,
                reference_weights=wx,
                folds=setup.config.folds,
                paired=setup.paired,
                test=test,
            )
        except ValueError as error:  # negative weights
            weighted = Reweighting(auc=None, effective_share=None, reason=str(error))
        else:
            weights = ratio.weights
            weighted = Reweighting(auc=ratio.after, effective_share=ratio.effective_share)
    classifier = Classifier(
        auc=test.auc,
        auc_floor=floor.auc,
        folds=list(test.fold_aucs),
        single=single,
        single_floor=single_floor,
        importances=importances,
        reweighting=weighted,
    )
    return classifier, (test, floor), weights


def _judged(rows: list[Row], setup: Setup[Any]) -> list[Row]:
    """Judge the rows by the limits of the configuration, and add published numbers."""
    limits = setup.config.limits
    keys = [row.key for row in rows]
    for name in limits.keys() - LIMITS.keys() - set(keys):
        _LOG.warning("evaluation.limits: %r is not measured in this comparison; %s", name, near(name, keys))
    return [
        row.model_copy(update={"peers": [peer.record() for peer in setup.published(row.key)]})
        for row in with_limits(rows, limits)
    ]


def measure(
    sample: Sample,
    reference: Sample,
    setup: Setup[Any],
    *,
    seed: int,
    step: Step,
    training: Sample | None = None,
) -> Outcome:
    """Measure all numbers between two samples.

    Args:
        sample: The sample to judge.
        reference: The sample that is right.
        setup: The kind of data and settings.
        seed: Fixes bootstraps, halvings and folds.
        step: Called with the name of each step.
        training: Training events of the generator of the sample, to find copies.

    Raises:
        ConfigError: If the settings do not fit the kind of data (`check_settings`).
        DataError: If the samples do not fit the setup.
    """
    check_settings(setup)
    observables, tests, together = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(3))
    splits = FAST_SPLITS if setup.config.fast else FLOOR_SPLITS
    halves = [_halves(len(reference), observables) for _ in range(splits)]
    step("observables")
    options: Any = {"halves": halves, "setup": setup, "rng": observables}
    features = {
        name: _feature(sample.observed(k), reference.observed(k), unit=unit, **options)
        for k, (name, unit) in enumerate(zip(setup.names, setup.units, strict=True))
    }
    conditions = {}
    if not setup.paired:
        for k, condition in enumerate(setup.data.conditions):
            columns = [(s.events.conditions[:, k].astype(np.float64), s.weights) for s in (sample, reference)]
            conditions[condition.name] = _feature(*columns, unit=condition.unit, **options)
    closure = setup.closure(sample, reference, halves=halves, rng=observables)

    second, first = sample.without_outputs(), reference.without_outputs()
    classifier, both, weights = _classifiers(second, first, setup, halves=halves, rng=tests, step=step)
    shared: Any = {"halves": halves, "rng": together, "step": step}
    joint = distances.measure_joint(second, first, setup, **shared)
    in_bins = binned.measure_in_bins(second, first, setup, tests=both, **shared)
    diverse = diversity.measure_diversity(sample, reference, setup, training=training, **shared)
    quoted = networks.measure_networks(sample, reference, setup, **shared) if setup.config.networks else None
    rows = [
        *setup.verdict(closure, features=features, classifier=classifier),
        *distances.rows(joint),
        *binned.rows(in_bins),
        *(diversity.rows(diverse) if diverse else ()),
        *(networks.rows(quoted) if quoted else ()),
    ]
    headline = setup.headline(closure, classifier=classifier).items()
    metrics = Metrics(
        features=features,
        conditions=conditions,
        classifier=classifier,
        joint=joint,
        in_bins=in_bins,
        diversity=diverse,
        networks=quoted,
        closure=closure,
        rows=_judged(rows, setup),
        headline={name: value for name, value in headline if value is not None},
    )
    return Outcome(metrics, both[0], weights)
