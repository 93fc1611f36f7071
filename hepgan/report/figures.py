"""Figures: functions that take arrays and return a matplotlib `Figure`; nothing is shown or stored here.

No figure of pyplot, hence no global state: figures are freed like any other object, and the functions work in
threads and without a display. One palette throughout: the reference is dark grey, the sample red. Ticks, labels and
font are those of the ROOT style of mplhep, at the size of a page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from hepgan.metrics import histogram, uniform_edges
from hepgan.report.style import ACCENT, FLOOR, GENERATED, MARKERS, REFERENCE, SERIES, plain, styled

__all__ = [
    "RATIO_LIMITS",
    "Binned",
    "Curve",
    "Lines",
    "Overlay",
    "Profile",
    "lines",
    "matrices",
    "overlays",
    "profiles",
    "ranking",
    "roc",
    "training_curves",
]

Array = NDArray[Any]
Edges = NDArray[np.float64]

Curve = tuple[Array, Array]
"""Abscissae and ordinates, (K,) each."""

BULK = (0.05, 0.99)  # quantiles between which most showers lie
WIDE_RANGE = 30.0  # an observable whose bulk spans more than this factor is drawn in log-spaced bins
SHORT_RANGE = (
    200.0  # a logarithmic axis of bins that spans less than this factor has ticks between powers of ten
)
RATIO_LIMITS = (0.5, 1.5)
PULL_BAND = 2.0  # standard deviations between which 95 % of the pulls of equal distributions lie
PULL_LIMIT = 5.0  # of the panel of pulls; bars that touch it may be longer
LONG_NUMBERS = 1e4  # from here on the ticks of a logarithmic axis are powers of ten
TINY = 1e-6  # half the height of a panel of differences that are all zero
MOST_OFF = 9.0  # ratios further from 1 become triangles
MANY_POINTS = 30  # of a profile, from which on they are drawn smaller
MOST_NUMBERS = 16  # observables whose coefficients are written into a matrix; of more there is colour alone
SMALL_LABELS = 150.0  # points: size of their labels times their number, which the height of a matrix holds
COLUMNS = 3

# Sizes in inches. Axes are placed by hand: automatic layout of fifty axes takes longer than drawing them.
_PANEL_WIDTH, _LEFT, _RIGHT = 3.2, 0.72, 0.24
_MAIN, _STRIP, _GAP, _BELOW, _ABOVE, _HEAD = 1.55, 0.6, 0.11, 0.5, 0.28, 0.35


_KEY, _LETTER = 0.5, 0.075  # of a legend: line and space before an entry, and a letter of it


@dataclass(frozen=True)
class Overlay:
    """One observable of two samples.

    Attributes:
        label: Axis label, with the unit.
        reference: (N1,).
        generated: (N2,).
        reference_weights: (N1,) or None.
        generated_weights: (N2,) or None.
        totals: What the two histograms are divided by; default: their sums (unit-sum histograms).
        decades: May be drawn in log-spaced bins, if it is positive and spans decades.
        tails: Over the whole range of the reference, with a logarithmic ordinate.
    """

    label: str
    reference: Array
    generated: Array
    reference_weights: Array | None = None
    generated_weights: Array | None = None
    totals: tuple[float, float] | None = None
    decades: bool = False
    tails: bool = False


@dataclass(frozen=True)
class Binned:
    """Two histograms with the same bins.

    Attributes:
        label: Axis label, with the unit.
        edges: (B + 1,).
        reference: (B, 2) contents and uncertainties; NaN leaves a gap.
        generated: (B, 2).
        axis: What the contents are.
        logarithmic: Whether the abscissa is logarithmic.
        tails: Whether the ordinate is logarithmic.
    """

    label: str
    edges: Edges
    reference: Array
    generated: Array
    axis: str
    logarithmic: bool = False
    tails: bool = False


@dataclass(frozen=True)
class Profile:
    """One quantity against another, for two samples.

    Attributes:
        label: Axis label.
        reference: (B, 2) values and uncertainties.
        generated: (B, 2).
        limits: Range of the lower panel; default: chosen from the values.
        band: Half-width of the shaded band of agreement in the lower panel; 0: none.
        curves: Fits to the reference and to the sample, drawn dotted instead of lines between the points.
        difference: Draw the difference to the reference below, not the ratio: for what may be zero.
        x: (B,) place of each bin, where it is not that of the other panels.
        axis: Label of the abscissa, likewise.
    """

    label: str
    reference: Array
    generated: Array
    limits: tuple[float, float] | None = None
    band: float = 0.0
    curves: Sequence[Curve] | None = None
    difference: bool = False
    x: Array | None = None
    axis: str = ""


@dataclass(frozen=True)
class Lines:
    """Several quantities against one condition.

    Attributes:
        label: Label of the condition.
        x: (B,) place of each bin on the axis.
        series: (B, 2) values and uncertainties of each quantity, by name.
        floor: (B, 2) what statistics alone give: centre and half-width of a band.
        logarithmic: Whether the axis of the condition is logarithmic.
        ticks: Names of the bins, if they are categories.
    """

    label: str
    x: Array
    series: Mapping[str, Array]
    floor: Array
    logarithmic: bool = False
    ticks: Sequence[str] | None = None


def _panels(n: int, *, columns: int = COLUMNS, strips: int = 1) -> tuple[Figure, list[list[Axes]]]:
    """A grid of `n` panels, each a main axes above strips, and place for the legend on top.

    Returns:
        The figure, and the axes of each panel from top to bottom.
    """
    columns = max(1, min(columns, n))
    rows = math.ceil(n / columns)
    below = strips * (_STRIP + _GAP)
    cell = _ABOVE + _MAIN + below + _BELOW
    width, height = columns * _PANEL_WIDTH, _HEAD + rows * cell
    figure = Figure(figsize=(width, height))
    panels = []
    for k in range(n):
        row, column = divmod(k, columns)
        left = (column * _PANEL_WIDTH + _LEFT) / width
        across = (_PANEL_WIDTH - _LEFT - _RIGHT) / width
        bottom = height - _HEAD - (row + 1) * cell + _BELOW
        stack: list[Axes] = []
        for strip in range(strips):
            place = bottom + strip * (_STRIP + _GAP)
            axes = figure.add_axes(
                (left, place / height, across, _STRIP / height), sharex=stack[0] if stack else None
            )
            axes.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10], prune="upper"))
            axes.yaxis.set_minor_locator(NullLocator())
            stack.append(axes)
        place = bottom + below
        stack.append(figure.add_axes((left, place / height, across, _MAIN / height), sharex=stack[0]))
        for axes in stack[1:]:
            axes.tick_params(labelbottom=False)
        panels.append(stack[::-1])
    return figure, panels


def _legend_columns(labels: Sequence[str], width: float) -> int:
    """How many entries of a legend stand beside each other in a width (inches)."""
    longest = max(len(label) for label in labels)
    return max(1, min(len(labels), int(width / (_KEY + _LETTER * longest))))


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=len(labels), borderaxespad=0.2)


def _points(axes: Axes, x: Array, y: Array, error: Array, *, limits: tuple[float, float], color: str) -> None:
    """Points with errors; those beyond the limits become triangles at the border, so that none is lost."""
    low, high = limits
    axes.set_ylim(low, high)
    inside = (y >= low) & (y <= high)
    axes.errorbar(x[inside], y[inside], error[inside], fmt=".", color=color, markersize=4, linewidth=0.9)
    edge = 0.03 * (high - low)
    for beyond, marker, place in ((y > high, "^", high - edge), (y < low, "v", low + edge)):
        axes.plot(
            x[beyond], np.full(int(beyond.sum()), place), marker, color=color, markersize=4, linestyle="none"
        )


def _abscissa(axes: Axes, label: str, *, logarithmic: bool, ticks: Sequence[str] | None) -> None:
    axes.set_xlabel(plain(label))
    if ticks is not None:
        axes.set_xticks(range(len(ticks)), [plain(tick) for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
    elif logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        low, high = axes.get_xlim()
        if (
            high < LONG_NUMBERS or high < 10 * low
        ):  # else powers of ten, which is what the scale does by itself
            axes.xaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0)))
            axes.xaxis.set_major_formatter("{x:g}")


def _edges(panel: Overlay, bins: int) -> tuple[Edges, bool]:
    """Bins that show the bulk of the reference, and whether they are log-spaced.

    They reach as far as the sample does, but at most by the width of the reference on either side. Bins of an
    observable with evenly spaced values (an occupancy) hold equal numbers of them.
    """
    values, weights = np.asarray(panel.reference, dtype=np.float64), panel.reference_weights
    if panel.tails and values.min() < values.max():
        return np.linspace(values.min(), values.max(), bins + 1), False
    positive = values[values > 0]
    if panel.decades and values.min() >= 0 and len(positive) > 1:
        low, high = np.quantile(positive, BULK)
        chosen = weights[values > 0] if weights is not None else None
        if high > WIDE_RANGE * low and (chosen is None or chosen.sum() > 0):
            return np.exp(uniform_edges(np.log(positive), bins, weights=chosen)), True
    edges = uniform_edges(values, bins, weights=weights)
    width = edges[-1] - edges[0]
    low, high = np.quantile(panel.generated, BULK)
    low, high = np.clip((low, high), edges[0] - width, edges[-1] + width)
    low, high = min(low, edges[0]), max(high, edges[-1])
    steps = np.unique(values)
    gaps = np.diff(steps)
    if len(steps) > 2 and np.allclose(gaps / gaps.min(), np.round(gaps / gaps.min()), atol=1e-3):
        step = gaps.min() * max(1, math.ceil((high - low) / (bins * gaps.min())))
        start = steps[0] - 0.5 * gaps.min()
        first, last = math.floor((low - start) / step), math.ceil((high - start) / step)
        if last - first <= 2 * bins:
            return start + step * np.arange(first, last + 1), False
    return np.linspace(low, high, bins + 1), False


def _binned(panel: Overlay, bins: int) -> Binned:
    edges, logarithmic = _edges(panel, bins)
    histograms = []
    for k, (values, weights) in enumerate(
        ((panel.reference, panel.reference_weights), (panel.generated, panel.generated_weights))
    ):
        content, variance = histogram(values, edges, weights=weights)
        total = panel.totals[k] if panel.totals else content.sum()
        histograms.append(np.column_stack([content, np.sqrt(variance)]) / total)
    axis = "share per bin" if panel.totals is None else "cells per shower"
    first, second = histograms
    return Binned(panel.label, edges, first, second, axis, logarithmic, panel.tails)


@styled
def overlays(panels: Sequence[Overlay | Binned], *, names: tuple[str, str], bins: int = 40) -> Figure:
    """Histograms of two samples with statistical uncertainties, their ratios, and their pulls.

    The pull is the difference over its uncertainty, both samples' in quadrature. The first and last bin of an
    `Overlay` hold what lies outside.

    Args:
        panels: One panel each.
        names: What the reference and the sample are called.
        bins: Number of bins of an `Overlay`.

    Raises:
        ValueError: If there is no panel.
    """
    if not panels:
        raise ValueError("overlays: expected at least one panel, got none")
    figure, axes = _panels(len(panels), strips=2)
    drawn = [_binned(panel, bins) if isinstance(panel, Overlay) else panel for panel in panels]
    for k, (panel, (upper, lower, lowest)) in enumerate(zip(drawn, axes, strict=True)):
        edges = panel.edges
        (h1, e1), (h2, e2) = panel.reference.T, panel.generated.T
        middle = np.sqrt(edges[1:] * edges[:-1]) if panel.logarithmic else 0.5 * (edges[1:] + edges[:-1])
        upper.stairs(h1, edges, fill=True, color=REFERENCE, alpha=0.18)
        upper.stairs(h1, edges, color=REFERENCE, label=plain(names[0]), linewidth=1.1)
        upper.stairs(h2, edges, color=GENERATED, label=plain(names[1]), linewidth=1.1)
        upper.errorbar(middle, h2, e2, fmt="none", color=GENERATED, linewidth=0.9)
        bottom, top = (float(extreme([h1, h2])) for extreme in (np.nanmin, np.nanmax))
        upper.set_ylim(
            min(0.0, 1.12 * bottom), 1.12 * top if top > 0 else 1
        )  # weights may make a bin negative
        if panel.tails and (h1 > 0).any():
            upper.set_yscale("log")
            upper.set_ylim(0.5 * h1[h1 > 0].min(), 3 * top)
        filled = h1 > 0
        ratio, band, relative = (
            np.divide(values, h1, out=np.zeros_like(h1), where=filled) for values in (h2, e1, e2)
        )
        lower.axhline(1.0, color=REFERENCE, linewidth=0.8)
        lower.stairs(1 + band, edges, baseline=1 - band, fill=True, color=REFERENCE, alpha=0.18, linewidth=0)
        _points(lower, middle[filled], ratio[filled], relative[filled], limits=RATIO_LIMITS, color=GENERATED)
        error = np.hypot(e1, e2)
        pull = np.divide(h2 - h1, error, out=np.zeros_like(h1), where=error > 0)
        lowest.axhspan(-PULL_BAND, PULL_BAND, color=ACCENT, alpha=0.14, linewidth=0)
        lowest.axhline(0.0, color=REFERENCE, linewidth=0.8)
        lowest.stairs(np.clip(pull, -PULL_LIMIT, PULL_LIMIT), edges, fill=True, color=GENERATED, alpha=0.75)
        lowest.set_ylim(-PULL_LIMIT, PULL_LIMIT)
        lowest.set_yticks([-3, 0, 3])
        lowest.set_xlim(edges[0], edges[-1])
        lowest.set_xlabel(plain(panel.label))
        if panel.logarithmic:
            lowest.set_xscale("log")
            lowest.xaxis.set_minor_formatter(NullFormatter())
            if edges[-1] < min(SHORT_RANGE * edges[0], LONG_NUMBERS):
                lowest.xaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0)))
                lowest.xaxis.set_major_formatter("{x:g}")
        else:
            lowest.xaxis.set_major_locator(MaxNLocator(5))
        if k % COLUMNS == 0 or panel.axis != drawn[k - 1].axis:
            upper.set_ylabel(panel.axis)
        if k % COLUMNS == 0:
            lower.set_ylabel("ratio", loc="center")
            lowest.set_ylabel("pull", loc="center")
    _legend(figure, axes[0][0])
    return figure


@styled
def profiles(
    x: Array,
    panels: Sequence[Profile],
    *,
    label: str,
    names: tuple[str, str],
    logarithmic: bool = True,
    ticks: Sequence[str] | None = None,
) -> Figure:
    """Quantities in bins of a condition, with the ratio of the sample to the reference (or difference) below.

    Args:
        x: (B,) place of each bin on the axis.
        panels: One panel each.
        label: Label of the common axis.
        names: What the reference and the sample are called.
        logarithmic: Whether the common axis is logarithmic.
        ticks: Names of the bins, if they are categories: `x` counts them from 0.

    Raises:
        ValueError: If there is no panel.
    """
    if not panels:
        raise ValueError("profiles: expected at least one panel, got none")
    figure, axes = _panels(len(panels))
    for panel, (upper, lower) in zip(panels, axes, strict=True):
        place = x if panel.x is None else panel.x
        for curve, color in zip(panel.curves or (), (REFERENCE, GENERATED), strict=False):
            upper.plot(*curve, color=color, linestyle=":")
        for values, color, name, marker in (
            (panel.reference, REFERENCE, names[0], "s"),
            (panel.generated, GENERATED, names[1], "o"),
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
        ratio = ((panel.generated[:, 0] - offset) / divisor)[filled]
        error = np.abs(panel.generated[:, 1] / divisor)[filled]
        band = np.abs(panel.reference[:, 1] / divisor)
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
        _points(lower, place[filled], ratio, error, limits=limits, color=GENERATED)
        upper.set_title(plain(panel.label), loc="right")  # left is where the power of ten stands
        _abscissa(lower, panel.axis or label, logarithmic=logarithmic, ticks=ticks)
        if panel.x is not None and not logarithmic and (place == np.round(place)).all():
            lower.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    for (_, lower), panel in zip(axes[::COLUMNS], panels[::COLUMNS], strict=True):
        lower.set_ylabel("diff." if panel.difference else "ratio", loc="center")
    _legend(figure, axes[0][0])
    return figure


@styled
def lines(panels: Sequence[Lines], *, axis: str, limit: float | None = None, bottom: float = 0.0) -> Figure:
    """Several quantities in bins of conditions, one panel a condition, above what statistics alone give.

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
    figure = Figure(figsize=(columns * _PANEL_WIDTH, 0.35 + 2.6 * rows), layout="constrained")
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
        if limit is not None:
            axes.axhline(limit, color=REFERENCE, linestyle="--", linewidth=0.8, label=f"limit {limit:g}")
        _abscissa(axes, panel.label, logarithmic=panel.logarithmic, ticks=panel.ticks)
    for axes in grid[: len(panels) : columns]:
        axes.set_ylabel(axis)
    lowest = min(float(np.nanmin(v[:, 0])) for panel in panels for v in panel.series.values())
    grid[0].set_ylim(bottom=min(bottom, lowest))
    handles, labels = grid[0].get_legend_handles_labels()
    side_by_side = _legend_columns(labels, columns * _PANEL_WIDTH)
    figure.legend(handles, labels, loc="outside upper center", ncols=side_by_side)
    return figure


@styled
def matrices(labels: Sequence[str], reference: Array, generated: Array, *, names: tuple[str, str]) -> Figure:
    """Correlation matrices of the reference and of the sample, and their difference.

    Coefficients are written in as long as they can be read.

    Args:
        labels: Names of the F observables.
        reference: (F, F) coefficients.
        generated: (F, F).
        names: What the reference and the sample are called.
    """
    difference = generated - reference
    reach = max(float(np.abs(difference).max()), 0.01)
    n = len(labels)
    many = n > MOST_NUMBERS
    figure = Figure(figsize=(9.6, 4.0 if many else 1.3 + 0.38 * max(n, 4)), layout="constrained")
    titles = (names[0], names[1], f"{names[1]} - {names[0]}")
    for k, (axes, matrix) in enumerate(
        zip(figure.subplots(1, 3, sharey=True), (reference, generated, difference), strict=True)
    ):
        most = reach if k == 2 else 1.0
        image = axes.imshow(matrix, cmap="RdBu_r", vmin=-most, vmax=most)
        for (row, column), value in np.ndenumerate(np.empty((0, 0)) if many else matrix):
            dark = abs(value) > 0.6 * most
            axes.text(
                column,
                row,
                f"{round(value, 2 + k // 2) + 0.0:.{2 + k // 2}f}",  # no -0.00
                ha="center",
                va="center",
                fontsize=min(7.5, 38 / n),
                color="white" if dark else "black",
            )
        texts = [plain(label) for label in labels]
        small: Any = {"fontsize": SMALL_LABELS / n} if many else {}
        turned: Any = {"rotation": 90, "va": "center"} if many else {"rotation": 45}
        axes.set_xticks(range(n), texts, ha="right", rotation_mode="anchor", **turned, **small)
        axes.set_yticks(range(n), texts, **small)
        axes.tick_params(which="both", length=0)
        axes.minorticks_off()
        axes.set_title(plain(titles[k]))
        if k:
            figure.colorbar(image, ax=axes, pad=0.02, shrink=0.5 if many else 1.0)
    return figure


@styled
def roc(
    curve: tuple[Array, Array],
    scores: tuple[Array, Array],
    *,
    auc: tuple[float, float],
    names: tuple[str, str],
    weights: tuple[Array, Array] | tuple[None, None] = (None, None),
) -> Figure:
    """ROC curve of the classifier, and the scores that it gives to either sample.

    Args:
        curve: False- and true-positive rate, (K,) each.
        scores: Scores of the reference (N1,) and of the sample (N2,).
        auc: Area and its uncertainty.
        names: What the reference and the sample are called.
        weights: Of the scores; default: ones.
    """
    figure = Figure(figsize=(8.0, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color=REFERENCE, linestyle="--", label="cannot tell (0.5)")
    left.plot(*curve, color=GENERATED, label=rf"AUC = {auc[0]:.3f} $\pm$ {auc[1]:.3f}")
    left.set(xlim=(0, 1), ylim=(0, 1.005), aspect="equal")
    left.set_xlabel(plain(f"{names[0]} taken for {names[1]}"))
    left.set_ylabel(plain(f"{names[1]} recognised"))
    left.legend(loc="lower right")
    edges = np.linspace(0, 1, 41)
    for values, w, color, name in zip(scores, weights, (REFERENCE, GENERATED), names, strict=True):
        content, _ = histogram(values, edges, weights=w)
        right.stairs(
            content / content.sum(),
            edges,
            color=color,
            label=plain(name),
            fill=color == REFERENCE,
            alpha=0.35 if color == REFERENCE else 1,
        )
    right.set(xlim=(0, 1), xlabel="classifier score", ylabel="share per bin")
    right.set_ylim(0, 1.3 * right.get_ylim()[1])
    right.legend(loc="upper center", ncols=2)
    return figure


@styled
def ranking(
    labels: Sequence[str], values: Array, floor: Array | None, *, axis: str, start: float, most: int = 20
) -> Figure:
    """Horizontal bars, largest first, with the floor drawn in.

    Args:
        labels: What each bar is.
        values: (F, 2) values and uncertainties.
        floor: (F, 2) values and uncertainties between halves of the reference, or None.
        axis: Label of the axis of values.
        start: Where the bars begin.
        most: Number of bars drawn.
    """
    order = np.argsort(-values[:, 0])[:most][::-1]
    place = np.arange(len(order))
    figure = Figure(figsize=(7.0, 0.9 + 0.21 * len(order)), layout="constrained")
    axes = figure.subplots()
    axes.barh(place, values[order, 0] - start, left=start, color=GENERATED, alpha=0.85, height=0.62)
    axes.errorbar(values[order, 0], place, xerr=values[order, 1], fmt="none", color=REFERENCE, linewidth=0.9)
    if floor is not None:
        axes.plot(
            floor[order, 0], place, "|", color=REFERENCE, markersize=9, markeredgewidth=1.6, label="floor"
        )
        axes.legend(loc="lower right")
    axes.set_yticks(place, [plain(labels[k]) for k in order])
    axes.set_xlabel(axis)
    axes.set_xlim(left=start)
    axes.set_ylim(-0.7, len(order) - 0.3)
    axes.tick_params(axis="y", which="both", right=False, length=0)
    return figure


@styled
def training_curves(records: Sequence[Mapping[str, Any]]) -> Figure:
    """The lines of metrics.jsonl: value of the critic's game, physics distance, penalty against the step.

    Keys that no line has are left out.

    Args:
        records: Parsed lines, each with ``step`` and some of the keys.

    Raises:
        ValueError: If no line has anything to draw.
    """
    wanted = (
        ("wasserstein", "critic's Wasserstein estimate"),
        ("divergence", "value of the critic's game"),
        ("distance", "physics distance (validation)"),
        ("penalty", "gradient penalty"),
    )
    curves = []
    for key, label in wanted:
        points = [(r["step"], r[key]) for r in records if "step" in r and r.get(key) is not None]
        if points:
            curves.append((label, np.asarray(points, dtype=np.float64).T))
    if not curves:
        raise ValueError(
            f"training curves: expected lines with step and one of {[k for k, _ in wanted]}, got none"
        )
    figure = Figure(figsize=(3.2 * len(curves), 2.7), layout="constrained")
    for axes, (label, (steps, values)) in zip(np.ravel(figure.subplots(1, len(curves))), curves, strict=True):
        axes.plot(steps, values, color=ACCENT, marker="." if len(steps) < 40 else "", markersize=4)
        axes.set(xlabel="generator step")
        axes.set_title(label, loc="left")
        axes.xaxis.set_major_locator(MaxNLocator(4))
        if (values > 0).all():
            axes.set_yscale("log")
    return figure
