"""Figures and tables of what all kinds of data share: distances of whole samples, in bins, diversity, importances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hepgan.evaluation.bins import axes
from hepgan.evaluation.distances import IN_BINS, JOINT
from hepgan.evaluation.diversity import TITLES
from hepgan.evaluation.sample import Setup
from hepgan.evaluation.verdict import format_measurement
from hepgan.metrics import DIVERGENCES
from hepgan.report import figures as plots
from hepgan.report.page import Cell, Grid, Section

__all__ = ["sections"]

Json = dict[str, Any]

IN_BINS_CAPTION = (
    "A model may be right on average and wrong in the corners. Good: the points lie in the grey band (two halves of "
    "the reference, with half the events of each bin) everywhere; one far above it is a corner to look at."
)


def sections(metrics: Json, setup: Setup) -> list[Section]:
    """The figures and tables, in order.

    Args:
        metrics: The content of ``metrics.json``.
        setup: The kind of data and settings.
    """
    return [
        _joint(metrics["joint"]),
        *_in_bins(metrics["in_bins"], setup),
        *_importances(metrics["classifier"]),
        *_networks(metrics.get("networks", {})),
        *_diversity(metrics["diversity"]),
        *_divergences(metrics["features"]),
    ]


def _row(name: str, numbers: Mapping[str, Any], *words: str, percent: bool = False) -> list[Cell]:
    """Name, value, floor, and more."""
    values = (format_measurement(numbers[key], percent=percent) for key in ("value", "floor"))
    return [(name, ""), *((text, "") for text in (*values, *words))]


def _joint(joint: Json) -> Section:
    return Section(
        "joint",
        "All observables together",
        "Distances between the samples as a whole, observables and conditions in spreads of the reference. They see "
        "what no single observable shows: how observables hang together. Good: the value agrees with its floor within "
        "the errors; what cannot be measured says why.",
        grid=Grid(
            ("Distance", "This sample", "Floor", "What it sees"),
            [
                _row(JOINT[key].title, numbers, numbers.get("reason", JOINT[key].remark))
                for key, numbers in joint.items()
            ],
        ),
    )


def _in_bins(tables: Json, setup: Setup) -> list[Section]:
    """A figure for each distance, with a panel for each condition."""
    titles = {"auc": ("Classifier AUC", "AUC", 0.5)}
    titles |= {key: (metric.title, metric.axis, 0.0) for key, metric in IN_BINS.items()}
    result: list[Section] = []
    for key, (title, label, ideal) in titles.items():
        panels = [
            plots.Lines(
                axis.label,
                axis.x,
                {"this sample": np.array(tables[axis.name][key]["value"])},
                np.array(tables[axis.name][key]["floor"]),
                axis.logarithmic,
                axis.ticks,
            )
            for axis in axes(
                setup.data.conditions, {name: table["bins"] for name, table in tables.items() if key in table}
            )
        ]
        if panels:
            result.append(
                Section(
                    "in-bins" if not result else f"in-bins-{len(result)}",
                    f"In bins: {title}",
                    "As above." if result else IN_BINS_CAPTION,
                    plots.lines(panels, axis=label, bottom=ideal),
                )
            )
    return result


def _importances(classifier: Json) -> list[Section]:
    """What the classifier loses when an observable is permuted."""
    importances = classifier.get("importances")
    if importances is None:
        return []
    found = classifier["reweighting"]
    words = (
        f"The sample cannot be weighted to imitate the reference: {found['reason']}."
        if found["auc"] is None
        else "Weighted with the ratio of the densities that the classifier found, the sample has an AUC of "
        f"{format_measurement(found['auc'])} with {100 * found['effective_share']:.0f} % of its statistical power."
    )
    names = [name.replace("_", " ") for name in importances]
    return [
        Section(
            "importances",
            "Where the classifier looks",
            "Loss of AUC when the values of one observable are permuted among the events. Good: all bars are short. "
            "The long ones are where to improve first; observables that say the same share their importance. "
            + words,
            plots.ranking(
                names,
                np.array(list(importances.values())),
                None,
                axis="loss of AUC",
                start=0.0,
            ),
        )
    ]


def _networks(networks: Json) -> list[Section]:
    if not networks:
        return []
    rows = [
        [
            (name, ""),
            *((format_measurement(numbers[key]), "") for key in ("auc", "auc_floor", "jsd", "jsd_floor")),
        ]
        for name, numbers in networks.items()
        if "auc" in numbers
    ]
    for name in ("fpd", "kpd"):
        numbers = networks[name]
        rows.append(_row(name.upper(), numbers, "", ""))
    return [
        Section(
            "networks",
            "Classifier networks of CaloChallenge",
            "Three hidden layers of 2048 units that see the cells (low) or the observables of the challenge (high), on "
            "events that they were not trained with; FPD and KPD are those of the challenge's observables. Good: AUC "
            "0.5, and the others 0, as their floors.",
            grid=Grid(("Input", "AUC or distance", "Floor", "JSD", "Floor"), rows),
        )
    ]


def _diversity(diversity: Json) -> list[Section]:
    """Similarities, repetitions and copies."""
    if not diversity:
        return []
    rows = [
        _row(title, diversity[key], remark, percent=key != "species_score")
        for key, (title, remark) in TITLES.items()
        if key in diversity
    ]
    for layer, numbers in diversity.get("similarity", {}).items():
        if "reason" in numbers:
            continue
        pairs = " against ".join(format_measurement(numbers[key]) for key in ("generated", "reference"))
        rows.append(_row(f"MS-SSIM of pairs, {layer}", numbers, pairs))
    return [
        Section(
            "diversity",
            "Diversity and memorisation",
            "Does the generator repeat itself, or what it was trained with? Good: all values agree with 0 within the "
            "errors. A positive similarity means that showers are more alike than they should be.",
            grid=Grid(("Number", "Sample less reference", "Floor", ""), rows),
        )
    ]


def _divergences(features: Json) -> list[Section]:
    """The table of f-divergences, largest Jensen-Shannon divergence first."""
    found = {name: numbers for name, numbers in features.items() if "divergences" in numbers}
    if not found:
        return []
    order = sorted(found, key=lambda name: -found[name]["divergences"]["jensen_shannon"][0])
    rows: list[Sequence[Cell]] = []
    for name in order:
        numbers = found[name]
        cells: list[Cell] = [(name.replace("_", " "), "")]
        cells += [
            (f"{numbers['divergences'][key][0]:.4f} ({numbers['divergence_floors'][key][0]:.4f})", "")
            for key in DIVERGENCES
        ]
        chi2 = numbers["chi2"]
        cells.append((f"{chi2['per_ndf'][0]:.2f} (p = {chi2['p_value']:.2g})", ""))
        rows.append(cells)
    return [
        Section(
            "divergences",
            "Divergences of each observable",
            "f-divergences of the binned distributions, in brackets between halves of the reference. Good: no larger "
            "than in brackets. Infinite ones count half an event in an empty bin. χ²/ndf grows with the number of "
            "events for any difference: with many, a p-value of 0 does not mean that the difference matters.",
            grid=Grid(("Observable", *(d.title for d in DIVERGENCES.values()), "χ²/ndf"), rows),
        )
    ]
