"""Quantities against a condition: profiles of two samples with their ratio, and distances above their floor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hepgan.report.layout import (
    COLUMNS,
    PANEL_WIDTH,
    Array,
    Names,
    draw_abscissa,
    draw_legend,
    draw_points,
    legend_columns,
    panels_of,
)
from hepgan.report.style import ACCENT, FLOOR, GENERATED, MARKERS, REFERENCE, SERIES, plain, styled

__all__ = ["Curve", "Lines", "Profile", "lines", "profiles"]

Curve = tuple[Array, Array]
"""Abscissae and ordinates, (K,) each."""

TINY = 1e-6  # half the height of a panel of differences that are all zero
MOST_OFF = 9.0  # ratios further from 1 become triangles
MANY_POINTS = 30  # of a profile, from which on they are drawn smaller


@dataclass(frozen=True)
class Profile:
    """One quantity against another, for two samples.

    Attributes:
        label: Axis label.
        sample: (B, 2) values and uncertainties.
        reference: (B, 2).
        limits: Range of the lower panel; default: chosen from the values.
        band: Half-width of the shaded band of agreement in the lower panel; 0: none.
        curves: Fits to the sample and to the reference, drawn dotted instead of lines between the points.
        difference: Draw the difference to the reference below, not the ratio, for quantities that may be zero.
        below: (B, 2) this difference, or ratio, if it is known better than from both means.
        x: (B,) place of each bin, if the panel has an axis of its own.
        axis: Label of that axis.
    """

    label: str
    _: KW_ONLY
    sample: Array
    reference: Array
    limits: tuple[float, float] | None = None
    band: float = 0.0
    curves: Sequence[Curve] | None = None
    difference: bool = False
    below: Array | None = None
    x: Array | None = None
    axis: str = ""


@dataclass(frozen=True)
class Lines:
    """Several quantities against one condition.

    Attributes:
        label: Label of the condition.
        x: (B,) place of each bin on the axis.
        series: (B, 2) values and uncertainties of each quantity, by name.
        floor: (B, 2) centre and half-width of the band that statistics alone give.
        logarithmic: Whether the axis of the condition is logarithmic.
        ticks: Names of the bins, if they are categories.
        withheld: Range of which the training saw no event; shaded.
    """

    label: str
    x: Array
    series: Mapping[str, Array]
    floor: Array
    logarithmic: bool = False
    ticks: Sequence[str] | None = None
    withheld: tuple[float, float] | None = None


@styled
def profiles(
    x: Array,
    panels: Sequence[Profile],
    *,
    label: str,
    names: Names,
    logarithmic: bool = True,
    ticks: Sequence[str] | None = None,
) -> Figure:
    """Draw quantities in bins of a condition, with the ratio of the sample to the reference (or difference) below.

    Args:
        x: (B,) place of each bin on the axis.
        panels: One panel each.
        label: Label of the common axis.
        names: Names of the samples.
        logarithmic: Whether the common axis is logarithmic.
        ticks: Names of the bins, if they are categories: `x` counts them from 0.

    Raises:
        ValueError: If there is no panel.
    """
    if not panels:
        raise ValueError("profiles: expected at least one panel, got none")
    figure, axes = panels_of(len(panels))
    for panel, (upper, lower) in zip(panels, axes, strict=True):
        place = x if panel.x is None else panel.x
        for curve, color in zip(panel.curves or (), (GENERATED, REFERENCE), strict=False):
            upper.plot(*curve, color=color, linestyle=":")
        for values, color, name, marker in (
            (panel.reference, REFERENCE, names.reference, "s"),
            (panel.sample, GENERATED, names.sample, "o"),
        ):
            upper.errorbar(
                place,
                values[:, 0],
                values[:, 1],
                color=color,
                label=plain(name),
                linestyle="none" if panel.curves or ticks is not None else "-",
                marker=marker,
                markersize=3.5 if len(place) < MANY_POINTS else 1.8,
                fillstyle="none" if marker == "s" else "full",
            )
        ideal = 0.0 if panel.difference else 1.0
        filled = np.isfinite(panel.reference[:, 0]) & (panel.difference | (panel.reference[:, 0] != 0))
        divisor = np.where(filled & (not panel.difference), panel.reference[:, 0], 1.0)
        offset = panel.reference[:, 0] if panel.difference else 0.0
        ratio = ((panel.sample[:, 0] - offset) / divisor)[filled]
        error = np.abs(panel.sample[:, 1] / divisor)[filled]
        band = np.abs(panel.reference[:, 1] / divisor)
        if panel.below is not None:
            ratio, error = panel.below[filled].T
            band = np.zeros(len(filled))
        lower.axhline(ideal, color=REFERENCE, linewidth=0.8)
        lower.fill_between(place, ideal - band, ideal + band, color=REFERENCE, alpha=0.18, linewidth=0)
        limits = panel.limits
        if limits is None:
            reach = 1.2 * float(np.nanmax(np.abs(ratio - ideal) + error, initial=panel.band))
            smallest, largest = (TINY, math.inf) if panel.difference else (0.01, MOST_OFF)
            reach = min(max(reach, smallest), largest)
            limits = (ideal - reach if panel.difference else max(1 - reach, 0.0), ideal + reach)
        if panel.band:
            lower.axhspan(ideal - panel.band, ideal + panel.band, color=ACCENT, alpha=0.12, linewidth=0)
        draw_points(lower, place[filled], ratio, error, limits=limits, color=GENERATED)
        upper.set_title(plain(panel.label), loc="right")  # left is where the power of ten stands
        draw_abscissa(lower, panel.axis or label, logarithmic=logarithmic, ticks=ticks)
        if panel.x is not None and not logarithmic and (place == np.round(place)).all():
            lower.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    for (_, lower), panel in zip(axes[::COLUMNS], panels[::COLUMNS], strict=True):
        lower.set_ylabel("diff." if panel.difference else "ratio", loc="center")
    draw_legend(figure, axes[0][0])
    return figure


@styled
def lines(panels: Sequence[Lines], *, axis: str, limit: float | None = None, bottom: float = 0.0) -> Figure:
    """Draw several quantities in bins of conditions, one panel a condition, above the band of statistics alone.

    Args:
        panels: One panel each, with the same quantities.
        axis: Label of the quantities, which are not negative.
        limit: Largest value that is good, drawn dashed.
        bottom: Where the axis begins, if no point is below.

    Raises:
        ValueError: If there is no panel.
    """
    if not panels:
        raise ValueError("lines: expected at least one panel, got none")
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(columns * PANEL_WIDTH, 0.35 + 2.6 * rows), layout="constrained")
    grid = np.ravel(figure.subplots(rows, columns, squeeze=False, sharey=True))
    for spare in grid[len(panels) :]:
        spare.remove()
    for axes, panel in zip(grid, panels, strict=False):
        low, high = panel.floor[:, 0] - panel.floor[:, 1], panel.floor[:, 0] + panel.floor[:, 1]
        axes.fill_between(panel.x, low, high, color=FLOOR, alpha=0.7, linewidth=0, label="floor")
        for k, (name, values) in enumerate(panel.series.items()):
            axes.errorbar(
                panel.x,
                values[:, 0],
                values[:, 1],
                color=SERIES[k % len(SERIES)],
                marker=MARKERS[k % len(MARKERS)],
                markersize=3,
                linewidth=0.9,
                linestyle="none" if panel.ticks is not None else "-",
                label=plain(name),
            )
        if panel.withheld is not None:
            axes.axvspan(*panel.withheld, color=ACCENT, alpha=0.12, linewidth=0, label="withheld")
        if limit is not None:
            axes.axhline(limit, color=REFERENCE, linestyle="--", linewidth=0.8, label=f"limit {limit:g}")
        draw_abscissa(axes, panel.label, logarithmic=panel.logarithmic, ticks=panel.ticks)
    for axes in grid[: len(panels) : columns]:
        axes.set_ylabel(axis)
    lowest = min(float(np.nanmin(v[:, 0])) for panel in panels for v in panel.series.values())
    grid[0].set_ylim(bottom=min(bottom, lowest))
    every = [
        pair for axes in grid[: len(panels)] for pair in zip(*axes.get_legend_handles_labels(), strict=True)
    ]
    by_label = {label: handle for handle, label in reversed(every)}
    labels = list(dict.fromkeys(label for _, label in every))
    handles = [by_label[label] for label in labels]
    side_by_side = legend_columns(labels, columns * PANEL_WIDTH)
    figure.legend(handles, labels, loc="outside upper center", ncols=side_by_side)
    return figure
