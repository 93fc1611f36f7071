"""Figures and tables that all kinds of data share: classifier, distances, diversity, divergences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hepgan.evaluation.binned import IN_BINS
from hepgan.evaluation.bins import axes
from hepgan.evaluation.distances import JOINT
from hepgan.evaluation.diversity import entries
from hepgan.evaluation.records import Compared, to_array
from hepgan.evaluation.results import Classifier, Diversity, Feature, InBins, Metrics, Networks
from hepgan.evaluation.sample import Sample, Setup
from hepgan.evaluation.verdict import format_measurement
from hepgan.metrics import DIVERGENCES, TwoSampleTest, roc_curve
from hepgan.report import figures as plots
from hepgan.report.page import Cell, Grid, Section

__all__ = ["classifier_sections", "sections"]

IN_BINS_CAPTION = (
    "A model may be right on average and wrong in the corners. Good: the points lie in the grey band (two halves of "
    "the reference, with half the events of each bin) everywhere; one far above it is a corner to look at."
)


def classifier_sections(
    sample: Sample, reference: Sample, setup: Setup[Any], *, classifier: Classifier, test: TwoSampleTest
) -> list[Section]:
    """Draw the classifier's ROC curve and scores, and the area of each observable alone."""
    names = plots.Names(sample=sample.name, reference=reference.name)
    rows = setup.data.kind.rows
    weights: Any = {"sample_weights": sample.weights, "reference_weights": reference.weights}
    return [
        Section(
            "classifier",
            "Classifier two-sample test",
            f"Gradient boosting on all observables and conditions, scored on {rows} that it was not trained with. "
            "Good: the curve follows the diagonal and both score distributions are one peak at 0.5. Between halves of "
            f"the reference: {classifier.auc_floor.value:.3f} ± {classifier.auc_floor.uncertainty:.3f}, with half the "
            f"{rows}.",
            plots.roc(
                roc_curve(test.sample_scores, test.reference_scores, **weights),
                sample_scores=test.sample_scores,
                reference_scores=test.reference_scores,
                auc=test.auc,
                names=names,
                **weights,
            ),
        ),
        Section(
            "single",
            "Which observable gives the sample away",
            "Area under the ROC curve of the best classifier of one observable alone. Good: all bars end at their "
            "tick mark (two halves of the reference), near 0.5.",
            plots.ranking(
                [name.replace("_", " ") for name in setup.names],
                to_array(list(classifier.single.values())),
                to_array(list(classifier.single_floor.values())),
                axis="AUC of one observable",
                start=0.5,
            ),
        ),
    ]


def sections(metrics: Metrics, setup: Setup[Any]) -> list[Section]:
    """Draw the other figures and tables, in order.

    Args:
        metrics: The numbers.
        setup: The kind of data and settings.
    """
    return [
        _joint(metrics.joint),
        *_in_bins(metrics.in_bins, setup),
        *_importances(metrics.classifier),
        *_networks(metrics.networks),
        *_diversity(metrics.diversity),
        *_divergences(metrics.features),
    ]


def _row(name: str, numbers: Compared, *words: str, percent: bool = False) -> list[Cell]:
    """Name, value, floor, and more."""
    values = (format_measurement(number, percent=percent) for number in (numbers.value, numbers.floor))
    return [(name, ""), *((text, "") for text in (*values, *words))]


def _joint(joint: Mapping[str, Compared]) -> Section:
    return Section(
        "joint",
        "All observables together",
        "Distances between the samples as a whole, observables and conditions in spreads of the reference. They see "
        "correlations, which no single observable shows. Good: the value agrees with its floor within the errors.",
        grid=Grid(
            ("Distance", "This sample", "Floor", "Remark"),
            [
                _row(JOINT[key].title, numbers, numbers.reason or JOINT[key].remark)
                for key, numbers in joint.items()
            ],
        ),
    )


def _in_bins(tables: Mapping[str, InBins], setup: Setup[Any]) -> list[Section]:
    """Draw a figure for each distance, with a panel for each condition."""
    titles = {"auc": ("Classifier AUC", "AUC", 0.5)}
    titles |= {key: (metric.title, metric.axis, 0.0) for key, metric in IN_BINS.items()}
    result: list[Section] = []
    for key, (title, label, ideal) in titles.items():
        bins = {name: table.bins for name, table in tables.items() if key in table.distances}
        panels = [
            plots.Lines(
                axis.label,
                axis.x,
                {"this sample": to_array(tables[axis.name].distances[key].value)},
                to_array(tables[axis.name].distances[key].floor),
                axis.logarithmic,
                axis.ticks,
                axis.withheld,
            )
            for axis in axes(setup.data.conditions, bins)
        ]
        if panels:
            result.append(
                Section(
                    f"in-bins-{len(result)}" if result else "in-bins",
                    f"In bins: {title}",
                    "As above." if result else IN_BINS_CAPTION,
                    plots.lines(panels, axis=label, bottom=ideal),
                )
            )
    return result


def _importances(classifier: Classifier) -> list[Section]:
    """Draw the classifier's loss of area when an observable is permuted."""
    importances, weighted = classifier.importances, classifier.reweighting
    if importances is None or weighted is None:
        return []
    words = (
        f"The sample cannot be weighted to imitate the reference: {weighted.reason}."
        if weighted.auc is None
        else "Weighted with the ratio of the densities that the classifier found, the sample has an AUC of "
        f"{format_measurement(weighted.auc)} with {100 * (weighted.effective_share or 0.0):.0f} % of its statistical "
        "power."
    )
    return [
        Section(
            "importances",
            "Where the classifier looks",
            "Loss of AUC when the values of one observable are permuted among the events. Good: all bars are short. "
            "The long ones are where to improve first; observables with the same information share their importance. "
            + words,
            plots.ranking(
                [name.replace("_", " ") for name in importances],
                to_array(list(importances.values())),
                None,
                axis="loss of AUC",
                start=0.0,
            ),
        )
    ]


def _networks(networks: Networks | None) -> list[Section]:
    if networks is None:
        return []
    rows: list[list[Cell]] = []
    for name, network in (("low", networks.low), ("high", networks.high)):
        numbers = (network.auc, network.auc_floor, network.jsd, network.jsd_floor)
        rows.append([(name, ""), *((format_measurement(number), "") for number in numbers)])
    rows += [_row("FPD", networks.fpd, "", ""), _row("KPD", networks.kpd, "", "")]
    return [
        Section(
            "networks",
            "Classifier networks of the CaloChallenge",
            "Three hidden layers of 2048 units on the cells (low) or on the observables of the challenge (high), "
            "scored on events that they were not trained with; FPD and KPD are those of the challenge's observables. "
            "Good: AUC 0.5, and the other numbers at their floors.",
            grid=Grid(("Input", "AUC or distance", "Floor", "JSD", "Floor"), rows),
        )
    ]


def _diversity(diversity: Diversity | None) -> list[Section]:
    """Tabulate similarities, repetitions and copies."""
    if diversity is None:
        return []
    rows = [
        _row(title, numbers, remark, percent=percent)
        for (_, title, remark, percent), numbers in entries(diversity)
    ]
    for layer, similarity in diversity.similarity.items():
        if similarity.reason is None:
            pairs = (format_measurement(number) for number in (similarity.sample, similarity.reference))
            rows.append(_row(f"MS-SSIM of pairs, {layer}", similarity, " against ".join(pairs)))
    return [
        Section(
            "diversity",
            "Diversity and memorisation",
            "Does the generator repeat itself, or its training events? Good: all values agree with 0 within the "
            "errors. A positive similarity means that showers are more alike than they should be.",
            grid=Grid(("Number", "Sample less reference", "Floor", "Remark"), rows),
        )
    ]


def _divergences(features: Mapping[str, Feature]) -> list[Section]:
    """Tabulate the f-divergences, largest Jensen-Shannon divergence first."""
    lines: list[tuple[float, Sequence[Cell]]] = []
    for name, feature in features.items():
        values, floors = feature.divergences, feature.divergence_floors
        if values is None or floors is None:
            continue
        cells: list[Cell] = [(name.replace("_", " "), "")]
        cells += [(f"{values[key].value:.4f} ({floors[key].value:.4f})", "") for key in DIVERGENCES]
        cells.append((f"{feature.chi2.per_ndf.value:.2f} (p = {feature.chi2.p_value:.2g})", ""))
        lines.append((values["jensen_shannon"].value, cells))
    if not lines:
        return []
    return [
        Section(
            "divergences",
            "Divergences of each observable",
            "f-divergences of the binned distributions, in brackets between halves of the reference. Good: no larger "
            "than in brackets. Where a divergence would be infinite, an empty bin counts as half an event. χ²/ndf "
            "grows with the number of events for any difference: with many, a p-value of 0 does not mean that the "
            "difference matters.",
            grid=Grid(
                ("Observable", *(d.title for d in DIVERGENCES.values()), "χ²/ndf"),
                [cells for _, cells in sorted(lines, key=lambda line: -line[0])],
            ),
        )
    ]
