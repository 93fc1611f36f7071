"""Figures of tracks for the report: distributions, profiles, efficiencies, exact values, correlations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hepgan.evaluation.bins import axes
from hepgan.evaluation.closures import Category, ExactShares, KsDistances, Shares, TrackClosure
from hepgan.evaluation.records import BinRanges, Curves, Number, to_array
from hepgan.evaluation.sample import Sample
from hepgan.evaluation.tracks import TrackSetup
from hepgan.evaluation.verdict import format_measurement, judge
from hepgan.report import figures as plots
from hepgan.report.page import Cell, Grid, KindReport, Section

__all__ = ["TRACK_REPORT", "sections"]


def _signed(value: float) -> str:
    return f"{100 * value:+.2f} %"


def _profile(label: str, curves: Curves, **more: Any) -> plots.Profile:
    return plots.Profile(
        label,
        sample=to_array(curves.sample),
        reference=to_array(curves.reference),
        difference=True,
        **more,
    )


def sections(sample: Sample, reference: Sample, setup: TrackSetup, closure: TrackClosure) -> list[Section]:
    """Draw the figures of tracks, in order.

    Args:
        sample: The sample to judge.
        reference: The sample that is right.
        setup: Targets and settings.
        closure: The numbers of tracks.
    """
    names, limits = plots.Names(sample=sample.name, reference=reference.name), setup.config.limits

    def against(
        key: str,
        bins: Mapping[str, BinRanges],
        panels: Callable[[str], list[plots.Profile]],
        title: str,
        caption: str,
    ) -> list[Section]:
        """Draw one figure for each condition, with the panels that `panels` gives for its name."""
        return [
            Section(
                key if k == 0 else f"{key}-{k}",
                f"{title} against {axis.name}",
                caption,
                plots.profiles(
                    axis.x,
                    panels(axis.name),
                    label=axis.label,
                    names=names,
                    logarithmic=axis.logarithmic,
                    ticks=axis.ticks,
                ),
            )
            for k, axis in enumerate(axes(setup.data.conditions, bins))
        ]

    def shares(values: Shares, limit: float) -> Callable[[str], list[plots.Profile]]:
        def panels(condition: str) -> list[plots.Profile]:
            groups: list[list[str]] = []  # a sentinel in all targets at once is one figure, not five
            for label in values.values:
                same = [group for group in groups if values.values[group[0]] == values.values[label]]
                if same:
                    same[0].append(label)
                else:
                    groups.append([label])
            return [
                _profile(
                    labels[0] + (f" (and {len(labels) - 1} more)" if len(labels) > 1 else ""),
                    values.values[labels[0]][condition],
                    band=limit,
                )
                for labels in groups
            ]

        return panels

    def means(condition: str) -> list[plots.Profile]:
        return [
            _profile(f"mean {_label(setup, k)}", curves[condition])
            for k, curves in enumerate(closure.profiles.values())
        ]

    result = [
        *_categories(closure.categories, limits),
        *_distributions(sample, reference, setup),
        *against(
            "efficiency",
            closure.efficiency.bins,
            shares(closure.efficiency, limits["efficiency"]),
            "Efficiency",
            "Share of the tracks that pass each cut. Good: the differences below lie within the blue band "
            f"(± {100 * limits['efficiency']:g} %) or within their errors. Bins hold about a thousand tracks or more.",
        ),
        *_distances(closure.ks, setup),
        *against(
            "profiles",
            closure.efficiency.bins,
            means,
            "Mean",
            "Mean of each observable, without exact values. Good: the differences scatter around 0 within their "
            "errors; a wave means that the generator has not learnt the dependence in detail.",
        ),
    ]
    if closure.atoms:
        result.append(_atoms(closure.atoms, limits["atoms"]))
        result += against(
            "shares",
            closure.atoms.bins,
            shares(closure.atoms, limits["atoms"]),
            "Exact values",
            f"Share of the tracks with an exact value. Good: within the blue band (± {100 * limits['atoms']:g} %) or "
            "within their errors.",
        )
    if closure.correlations:
        second, first = (
            np.array(matrix)[..., 0]
            for matrix in (closure.correlations.sample, closure.correlations.reference)
        )
        result.append(
            Section(
                "correlations",
                "Correlations",
                "Linear correlation coefficients of the observables, without tracks that have an exact value. Good: "
                "the differences are a few times the floor of the verdict table at most.",
                plots.matrices(setup.names, sample=second, reference=first, names=names),
            )
        )
    return result


def _label(setup: TrackSetup, column: int) -> str:
    unit = setup.units[column]
    return setup.names[column] + (f" [{unit}]" if unit else "")


def _distributions(sample: Sample, reference: Sample, setup: TrackSetup) -> list[Section]:
    """Draw histograms of the targets without atoms, linear and with a logarithmic ordinate."""

    def overlay(column: int, *, tails: bool) -> plots.Overlay:
        (y, v), (x, u) = (s.observed(column) for s in (sample, reference))
        return plots.Overlay(
            _label(setup, column),
            sample=y[v != 0],
            reference=x[u != 0],
            sample_weights=v[v != 0],
            reference_weights=u[u != 0],
            tails=tails,
        )

    exact = " Exact values are left out: see their table." if any(t.atoms for t in setup.data.targets) else ""
    outside = (
        "The outer bins include everything outside the range; triangles are ratios beyond the drawn range."
    )
    scales = (
        ("targets", "Distributions", False, f"the red line covers the grey area. {outside}{exact}"),
        (
            "tails",
            "Tails",
            True,
            f"as above; the tails decide the misidentification of hard cuts. {outside}{exact}",
        ),
    )
    return [
        Section(
            anchor,
            title,
            f"Good: {words}",
            plots.overlays(
                [overlay(k, tails=tails) for k in range(len(setup.names))],
                names=plots.Names(sample=sample.name, reference=reference.name),
            ),
        )
        for anchor, title, tails, words in scales
    ]


def _distances(ks: KsDistances, setup: TrackSetup) -> list[Section]:
    """Draw Kolmogorov-Smirnov distances in bins."""
    panels = []
    for axis in axes(setup.data.conditions, ks.bins):
        floors = np.mean([to_array(floor) for floor in ks.floors[axis.name].values()], axis=0)
        series = {name: to_array(distances) for name, distances in ks.values[axis.name].items()}
        panels.append(plots.Lines(axis.label, axis.x, series, floors, axis.logarithmic, axis.ticks))
    left_out = sum(bins.left_out for bins in ks.bins.values())
    few = f" {left_out} bin(s) with too few tracks are left out." if left_out else ""
    section = Section(
        "ks",
        "Kolmogorov-Smirnov distance in bins",
        "Largest difference of the cumulative distributions, in quantile bins of each condition. Good: the points "
        "scatter below the grey band (two halves of the reference, with half the tracks) and stay below the dashed "
        f"line.{few}",
        plots.lines(panels, axis="KS distance", limit=setup.config.limits["ks_max"]),
    )
    return [section]


def _atoms(atoms: ExactShares, limit: float) -> Section:
    rows = []
    for label, pair in atoms.overall.items():
        difference = Number(
            pair.sample.value - pair.reference.value,
            float(np.hypot(pair.reference.uncertainty, pair.sample.uncertainty)),
        )
        cells: list[Cell] = [(label, "")]
        cells += [(format_measurement(share, percent=True), "") for share in (pair.reference, pair.sample)]
        rows.append([*cells, (_signed(difference.value), judge(difference, limit))])
    return Section(
        "atoms",
        "Exact values",
        "Share of all tracks whose observable is exactly a declared value (such as a sentinel), or exactly that of "
        "another observable (tied). A generator that smears such a value never gives it exactly.",
        grid=Grid(("Value", "Reference", "Sample", "Difference"), rows),
    )


def _category(name: str, category: Category, limits: Mapping[str, float]) -> list[Cell]:
    """Row of one category."""
    ks, auc = category.ks, category.auc
    cells: list[Cell] = [
        (name, ""),
        (str(category.tracks), ""),
        (f"{ks.mean.value:.3f} ({ks.mean_perfect:.3f})", judge(ks.mean, limits["ks_mean"])),
        (f"{ks.max.value:.3f} ({ks.max_perfect:.3f})", judge(ks.max, limits["ks_max"])),
        (f"{auc.value:.3f}", judge(auc, limits["auc"], ideal=0.5)),
    ]
    for share, limit in ((category.efficiency, limits["efficiency"]), (category.atoms, limits["atoms"])):
        if share is None:
            cells.append(("none", ""))
        else:
            text = f"{_signed(share.worst.value)} ({100 * share.worst_perfect:.1f} %)"
            cells.append((text, judge(share.worst, limit)))
    return cells


def _categories(
    categories: Mapping[str, Mapping[str, Category]], limits: Mapping[str, float]
) -> list[Section]:
    """Make a table for each condition that is a category."""
    heading = ("", "Tracks", "Mean KS", "Largest KS", "AUC", "Efficiency", "Exact values")
    return [
        Section(
            f"category-{condition}",
            f"Each {condition}",
            "The requirements of the verdict table for the tracks of each category; in brackets the expectation for a "
            "perfect sample of this size.",
            grid=Grid(heading, [_category(name, category, limits) for name, category in table.items()]),
        )
        for condition, table in categories.items()
        if table
    ]


TRACK_REPORT = KindReport(
    "Differences of efficiencies and shares are absolute, sample less reference; their floors have no sign. The "
    "largest of many distances or differences in bins is large by chance alone: the expectation for a perfect sample "
    "of this size stands beside it. Means, separation and distance of the observables leave out tracks with an exact "
    "value.",
    sections,
)
"""The report of tracks."""
