"""Figures of tracks for the report: distributions, profiles, efficiencies, point masses, correlations."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hepgan.evaluation.bins import axes
from hepgan.evaluation.sample import Sample, judge
from hepgan.evaluation.tracks import LIMITS, TrackSetup
from hepgan.evaluation.verdict import format_measurement
from hepgan.report import figures as plots
from hepgan.report.page import Cell, Grid, Section

__all__ = ["NOTE", "sections"]

NOTE = (
    "Differences of efficiencies and shares are absolute, generated less reference; their floors have no sign. "
    "Distances and differences in bins are largest by chance alone somewhere among many bins: what a perfect sample of "
    "this size would give stands beside them. Means, separation and distance of the observables leave out tracks with "
    "an exact value."
)
"""What the verdict table of tracks needs to be understood."""

Json = dict[str, Any]
Array = NDArray[np.float64]


def _numbers(values: Any) -> Array:
    """Values and uncertainties of a JSON table: null is NaN."""
    return np.array(values, dtype=np.float64)


def _signed(value: float) -> str:
    return f"{100 * value:+.2f} %"


def sections(reference: Sample, sample: Sample, setup: TrackSetup, *, metrics: Json) -> list[Section]:
    """The figures, in order.

    Args:
        reference: What is right.
        sample: What is judged.
        setup: Targets and settings.
        metrics: The content of ``metrics.json``.
    """
    names = (reference.name, sample.name)
    closure = metrics["closure"]

    def against(key: str, bins: Json, panels: Any, title: str, caption: str) -> list[Section]:
        """One figure for each condition, with what `panels` gives for its name."""
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

    def shares(key: str) -> Any:
        def panels(condition: str) -> list[plots.Profile]:
            same: dict[str, list[str]] = {}  # a sentinel in all targets at once is one figure, not five
            for label, values in closure[key]["values"].items():
                same.setdefault(json.dumps(values), []).append(label)
            return [
                plots.Profile(
                    labels[0] + (f" (and {len(labels) - 1} more)" if len(labels) > 1 else ""),
                    _numbers(json.loads(values)[condition]["reference"]),
                    _numbers(json.loads(values)[condition]["generated"]),
                    band=LIMITS[key],
                    difference=True,
                )
                for values, labels in same.items()
            ]

        return panels

    def means(condition: str) -> list[plots.Profile]:
        return [
            plots.Profile(
                f"mean {_label(setup, k)}",
                _numbers(values[condition]["reference"]),
                _numbers(values[condition]["generated"]),
                difference=True,
            )
            for k, values in enumerate(closure["profiles"].values())
        ]

    band = f"within the blue band (± {100 * LIMITS['efficiency']:g} %) or within their errors"
    result = [
        *_categories(closure["categories"]),
        *_distributions(reference, sample, setup),
        *against(
            "efficiency",
            closure["efficiency"]["bins"],
            shares("efficiency"),
            "Efficiency",
            "Share of the tracks that pass each cut. Good: the differences below lie "
            f"{band}. Bins hold about a thousand tracks or more.",
        ),
        *_distances(closure["ks"], setup),
        *against(
            "profiles",
            closure["efficiency"]["bins"],
            means,
            "Mean",
            "Mean of each observable, without exact values. Good: the differences scatter around 0 within their "
            "errors; a wave means that the dependence is not learnt in detail.",
        ),
    ]
    if closure["atoms"]:
        result.append(_atoms(closure["atoms"]))
        result += against(
            "shares",
            closure["atoms"]["bins"],
            shares("atoms"),
            "Exact values",
            f"Share of the tracks with an exact value. Good: within the blue band (± {100 * LIMITS['atoms']:g} %) or "
            "within their errors.",
        )
    if closure["correlations"]:
        matrices = (_numbers(closure["correlations"][key])[..., 0] for key in ("reference", "generated"))
        result.append(
            Section(
                "correlations",
                "Correlations",
                "Linear correlation coefficients of the observables, without tracks that have an exact value. Good: "
                "the differences are a few times the floor of the verdict table at most.",
                plots.matrices(setup.names, *matrices, names=names),
            )
        )
    return result


def _label(setup: TrackSetup, column: int) -> str:
    unit = setup.units[column]
    return setup.names[column] + (f" [{unit}]" if unit else "")


def _distributions(reference: Sample, sample: Sample, setup: TrackSetup) -> list[Section]:
    """Histograms of the targets, linear and with a logarithmic ordinate, without atoms."""

    def overlay(column: int, *, tails: bool) -> plots.Overlay:
        (x, u), (y, v) = (which.observed(column) for which in (reference, sample))
        x, y, u, v = x[u != 0], y[v != 0], u[u != 0], v[v != 0]
        return plots.Overlay(_label(setup, column), x, y, u, v, tails=tails)

    exact = " Exact values are left out: see their table." if any(t.atoms for t in setup.data.targets) else ""
    outside = "The first and last bin hold what lies outside; triangles are ratios beyond the drawn range."
    kinds = (
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
                names=(reference.name, sample.name),
            ),
        )
        for anchor, title, tails, words in kinds
    ]


def _distances(ks: Json, setup: TrackSetup) -> list[Section]:
    """Kolmogorov-Smirnov distances in bins."""
    panels = []
    for axis in axes(setup.data.conditions, ks["bins"]):
        floors = _numbers(list(ks["floors"][axis.name].values())).mean(axis=0)
        series = {name: _numbers(values) for name, values in ks["values"][axis.name].items()}
        panels.append(plots.Lines(axis.label, axis.x, series, floors, axis.logarithmic, axis.ticks))
    left_out = sum(bins["left_out"] for bins in ks["bins"].values())
    few = f" {left_out} bin(s) with too few tracks are left out." if left_out else ""
    section = Section(
        "ks",
        "Kolmogorov-Smirnov distance in bins",
        "Largest difference of the cumulative distributions, in quantile bins of each condition. Good: the points "
        f"scatter below the grey band (two halves of the reference, with half the tracks) and stay below the dashed "
        f"line.{few}",
        plots.lines(panels, axis="KS distance", limit=LIMITS["ks_max"]),
    )
    return [section]


def _atoms(atoms: Json) -> Section:
    rows = []
    for label, numbers in atoms["overall"].items():
        (first, u), (second, v) = numbers["reference"], numbers["generated"]
        difference = (second - first, float(np.hypot(u, v)))
        cells: list[Cell] = [(label, "")]
        cells += [(format_measurement(numbers[key], percent=True), "") for key in ("reference", "generated")]
        rows.append([*cells, (_signed(difference[0]), judge(difference, LIMITS["atoms"]))])
    return Section(
        "atoms",
        "Exact values",
        "Share of all tracks whose observable is exactly a declared value (such as a sentinel), or exactly that of "
        "another observable (tied). A generator that smears such a value has none of it.",
        grid=Grid(("Value", "Reference", "Sample", "Difference"), rows),
    )


def _categories(categories: Json) -> list[Section]:
    """A table for each condition that is a category."""
    result = []
    for condition, table in categories.items():
        rows = []
        for name, numbers in table.items():
            ks = numbers["ks"]
            cells: list[Cell] = [(name, ""), (str(numbers["tracks"]), "")]
            for key in ("mean", "max"):
                light = judge(ks[key], LIMITS[f"ks_{key}"])
                cells.append((f"{ks[key][0]:.3f} ({ks[f'{key}_perfect']:.3f})", light))
            cells.append((f"{numbers['auc'][0]:.3f}", judge(numbers["auc"], LIMITS["auc"], ideal=0.5)))
            for key in ("efficiency", "atoms"):
                if worst := numbers[key]:
                    light = judge(worst["worst"], LIMITS[key])
                    text = f"{_signed(worst['worst'][0])} ({100 * worst['worst_perfect']:.1f} %)"
                    cells.append((text, light))
                else:
                    cells.append(("none", ""))
            rows.append(cells)
        if rows:
            heading = ("", "Tracks", "Mean KS", "Largest KS", "AUC", "Efficiency", "Exact values")
            result.append(
                Section(
                    f"category-{condition}",
                    f"Each {condition}",
                    "The requirements of the verdict table for the tracks of each category; in brackets what a perfect "
                    "sample of this size gives.",
                    grid=Grid(heading, rows),
                )
            )
    return result
