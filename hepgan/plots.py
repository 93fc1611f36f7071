"""Figures: functions that take arrays and return a matplotlib `Figure`; nothing is shown or stored here.

No pyplot, hence no global state: figures are freed like any other object, and the functions work in
threads and without a display. One palette throughout: the reference is dark grey, the sample red. Ticks and labels
are those of the experiments' styles: ticks inwards on all four sides with minor ones between, labels at the ends of
the axes.
"""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from hepgan.geometry import Calorimeter
from hepgan.metrics import histogram, uniform_edges

__all__ = [
    "GENERATED",
    "REFERENCE",
    "Curve",
    "Lines",
    "Overlay",
    "Profile",
    "layer_images",
    "lines",
    "matrices",
    "overlays",
    "profiles",
    "ranking",
    "roc",
    "svg",
    "training_curves",
]

Array = NDArray[Any]
Edges = NDArray[np.float64]
P = ParamSpec("P")

Curve = tuple[Array, Array]
"""Abscissae and ordinates, (K,) each."""

REFERENCE = "#3b3f46"
GENERATED = "#e42536"  # with its companions from Petroff, arXiv:2107.02270: told apart in every colour vision
ACCENT = "#5790fc"
FLOOR = "#c9ccd1"
SERIES = ("#5790fc", "#f89c20", "#964a8b", "#e42536", "#7a21dd", "#9c9ca1")  # the same palette
MARKERS = ("o", "s", "^", "v", "D", "P")  # for those who do not see the colours

STYLE: Any = {
    "axes.axisbelow": False,
    "axes.formatter.limits": (-3, 5),
    "axes.formatter.use_mathtext": True,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.titlesize": 9,
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "svg.fonttype": "path",
    "svg.hashsalt": "hepgan",
    "xaxis.labellocation": "right",
    "xtick.direction": "in",
    "xtick.minor.visible": True,
    "xtick.top": True,
    "yaxis.labellocation": "top",
    "ytick.direction": "in",
    "ytick.minor.visible": True,
    "ytick.right": True,
}

BULK = (0.05, 0.99)  # quantiles between which most showers lie
WIDE_RANGE = 30.0  # an observable whose bulk spans more than this factor is drawn in log-spaced bins
RATIO_LIMITS = (0.5, 1.5)
LONG_NUMBERS = 1e4  # from here on the ticks of a logarithmic axis are powers of ten
TINY = 1e-6  # half the height of a panel of differences that are all zero
MOST_OFF = 9.0  # ratios further from 1 become triangles
COLUMNS = 3

# Sizes in inches. Axes are placed by hand: automatic layout of fifty axes takes longer than drawing them.
_PANEL_WIDTH, _LEFT, _RIGHT = 3.2, 0.72, 0.12
_MAIN, _RATIO, _GAP, _BELOW, _ABOVE, _HEAD = 1.55, 0.6, 0.06, 0.5, 0.28, 0.35


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
    """

    label: str
    reference: Array
    generated: Array
    limits: tuple[float, float] | None = None
    band: float = 0.0
    curves: Sequence[Curve] | None = None
    difference: bool = False


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


def _styled(function: Callable[P, Figure]) -> Callable[P, Figure]:
    @functools.wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return function(*args, **kwargs)

    return inner


def svg(figure: Figure) -> bytes:
    """The figure as SVG: the same bytes for the same figure, text as outlines, needs no fonts."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _plain(text: str) -> str:
    """Text that matplotlib does not take for a formula."""
    return text.replace("$", r"\$")


def _panels(n: int, *, columns: int = COLUMNS) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """A grid of `n` panels, each a main axes above a ratio axes, with a strip for the legend on top."""
    columns = max(1, min(columns, n))
    rows = math.ceil(n / columns)
    cell = _ABOVE + _MAIN + _GAP + _RATIO + _BELOW
    width, height = columns * _PANEL_WIDTH, _HEAD + rows * cell
    figure = Figure(figsize=(width, height))
    axes = []
    for k in range(n):
        row, column = divmod(k, columns)
        left = (column * _PANEL_WIDTH + _LEFT) / width
        across = (_PANEL_WIDTH - _LEFT - _RIGHT) / width
        bottom = height - _HEAD - (row + 1) * cell + _BELOW
        lower = figure.add_axes((left, bottom / height, across, _RATIO / height))
        upper = figure.add_axes(
            (left, (bottom + _RATIO + _GAP) / height, across, _MAIN / height), sharex=lower
        )
        upper.tick_params(labelbottom=False)
        lower.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10], prune="upper"))
        lower.yaxis.set_minor_locator(NullLocator())
        axes.append((upper, lower))
    return figure, axes


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
    axes.set_xlabel(_plain(label))
    if ticks is not None:
        axes.set_xticks(range(len(ticks)), [_plain(tick) for tick in ticks])
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


@_styled
def overlays(panels: Sequence[Overlay], *, names: tuple[str, str], bins: int = 40) -> Figure:
    """Histograms of two samples with ratio panels and statistical uncertainties.

    The first and last bin hold what lies outside.

    Args:
        panels: One panel each.
        names: What the reference and the sample are called.
        bins: Number of bins.

    Raises:
        ValueError: If there is no panel.
    """
    if not panels:
        raise ValueError("overlays: expected at least one panel, got none")
    figure, axes = _panels(len(panels))
    for panel, (upper, lower) in zip(panels, axes, strict=True):
        edges, logarithmic = _edges(panel, bins)
        contents, errors = [], []
        for k, (values, weights) in enumerate(
            ((panel.reference, panel.reference_weights), (panel.generated, panel.generated_weights))
        ):
            content, variance = histogram(values, edges, weights=weights)
            total = panel.totals[k] if panel.totals else content.sum()
            contents.append(content / total)
            errors.append(np.sqrt(variance) / total)
        (h1, h2), (e1, e2) = contents, errors
        middle = np.sqrt(edges[1:] * edges[:-1]) if logarithmic else 0.5 * (edges[1:] + edges[:-1])
        upper.stairs(h1, edges, fill=True, color=REFERENCE, alpha=0.18)
        upper.stairs(h1, edges, color=REFERENCE, label=_plain(names[0]), linewidth=1.1)
        upper.stairs(h2, edges, color=GENERATED, label=_plain(names[1]), linewidth=1.1)
        upper.errorbar(middle, h2, e2, fmt="none", color=GENERATED, linewidth=0.9)
        top = max(h1.max(), h2.max())
        upper.set_ylim(0, 1.12 * top if top > 0 else 1)
        if panel.tails and top > 0:
            upper.set_yscale("log")
            upper.set_ylim(0.5 * h1[h1 > 0].min(), 3 * top)
        filled = h1 > 0
        ratio = np.divide(h2, h1, out=np.zeros_like(h1), where=filled)
        band = np.divide(e1, h1, out=np.zeros_like(h1), where=filled)
        lower.axhline(1.0, color=REFERENCE, linewidth=0.8)
        lower.stairs(1 + band, edges, baseline=1 - band, fill=True, color=REFERENCE, alpha=0.18, linewidth=0)
        relative = np.divide(e2, h1, out=np.zeros_like(h1), where=filled)
        _points(lower, middle[filled], ratio[filled], relative[filled], limits=RATIO_LIMITS, color=GENERATED)
        lower.set_xlim(edges[0], edges[-1])
        lower.set_xlabel(_plain(panel.label))
        if logarithmic:
            lower.set_xscale("log")
        else:
            lower.xaxis.set_major_locator(MaxNLocator(5))
    for upper, lower in axes[::COLUMNS]:
        upper.set_ylabel("share per bin" if panels[0].totals is None else "cells per shower")
        lower.set_ylabel("ratio", loc="center")
    _legend(figure, axes[0][0])
    return figure


@_styled
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
        for curve, color in zip(panel.curves or (), (REFERENCE, GENERATED), strict=False):
            upper.plot(*curve, color=color, linestyle=":")
        for values, color, name, marker in (
            (panel.reference, REFERENCE, names[0], "s"),
            (panel.generated, GENERATED, names[1], "o"),
        ):
            upper.errorbar(
                x,
                values[:, 0],
                values[:, 1],
                color=color,
                label=_plain(name),
                linestyle="none" if panel.curves or ticks is not None else "-",
                marker=marker,
                markersize=3.5,
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
        lower.fill_between(x, ideal - band, ideal + band, color=REFERENCE, alpha=0.18, linewidth=0)
        limits = panel.limits
        if limits is None:
            reach = 1.2 * float(np.nanmax(np.abs(ratio - ideal) + error, initial=panel.band))
            smallest, largest = (TINY, math.inf) if panel.difference else (0.01, MOST_OFF)
            reach = min(max(reach, smallest), largest)
            limits = (ideal - reach if panel.difference else max(1 - reach, 0.0), ideal + reach)
        if panel.band:
            lower.axhspan(ideal - panel.band, ideal + panel.band, color=ACCENT, alpha=0.12, linewidth=0)
        _points(lower, x[filled], ratio, error, limits=limits, color=GENERATED)
        upper.set_title(_plain(panel.label), loc="right")  # left is where the power of ten stands
        _abscissa(lower, label, logarithmic=logarithmic, ticks=ticks)
    for (_, lower), panel in zip(axes[::COLUMNS], panels[::COLUMNS], strict=True):
        lower.set_ylabel("diff." if panel.difference else "ratio", loc="center")
    _legend(figure, axes[0][0])
    return figure


@_styled
def lines(panels: Sequence[Lines], *, axis: str, limit: float | None = None) -> Figure:
    """Several quantities in bins of conditions, one panel a condition, above what statistics alone give.

    Args:
        panels: One panel each, with the same quantities.
        axis: Label of the quantities, which are not negative.
        limit: Largest value that is good, drawn dashed.

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
                label=_plain(name),
            )
        if limit is not None:
            axes.axhline(limit, color=REFERENCE, linestyle="--", linewidth=0.8, label=f"limit {limit:g}")
        _abscissa(axes, panel.label, logarithmic=panel.logarithmic, ticks=panel.ticks)
    for axes in grid[: len(panels) : columns]:
        axes.set_ylabel(axis)
    grid[0].set_ylim(bottom=0)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 2 + 2 * columns))
    return figure


@_styled
def matrices(labels: Sequence[str], reference: Array, generated: Array, *, names: tuple[str, str]) -> Figure:
    """Correlation matrices of the reference and of the sample, and their difference.

    Args:
        labels: Names of the F observables.
        reference: (F, F) coefficients.
        generated: (F, F).
        names: What the reference and the sample are called.
    """
    difference = generated - reference
    reach = max(float(np.abs(difference).max()), 0.01)
    n = len(labels)
    figure = Figure(figsize=(9.6, 1.3 + 0.38 * max(n, 4)), layout="constrained")
    titles = (names[0], names[1], f"{names[1]} - {names[0]}")
    for k, (axes, matrix) in enumerate(
        zip(figure.subplots(1, 3, sharey=True), (reference, generated, difference), strict=True)
    ):
        most = reach if k == 2 else 1.0
        image = axes.imshow(matrix, cmap="RdBu_r", vmin=-most, vmax=most)
        for (row, column), value in np.ndenumerate(matrix):
            dark = abs(value) > 0.6 * most
            axes.text(
                column,
                row,
                f"{round(value, 2 + k // 2) + 0.0:.{2 + k // 2}f}",  # no -0.00
                ha="center",
                va="center",
                fontsize=min(7.5, 45 / n),
                color="white" if dark else "black",
            )
        plain = [_plain(label) for label in labels]
        axes.set_xticks(range(n), plain, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(n), plain)
        axes.tick_params(which="both", length=0)
        axes.minorticks_off()
        axes.set_title(_plain(titles[k]))
        if k:
            figure.colorbar(image, ax=axes, pad=0.02)
    return figure


@_styled
def layer_images(
    calorimeter: Calorimeter,
    reference: Array,
    generated: Array,
    *,
    names: tuple[str, str],
    layers: Sequence[int] | None = None,
) -> Figure:
    """Mean energy of each cell: reference, sample and their ratio, one row a layer.

    Args:
        calorimeter: The geometry.
        reference: (n_cells,) mean energies.
        generated: (n_cells,).
        names: What the reference and the sample are called.
        layers: Which layers; default: all.
    """
    layers = range(calorimeter.n_layers) if layers is None else layers
    figure = Figure(figsize=(9.6, 0.3 + 2.45 * len(layers)), layout="constrained")
    axes = np.atleast_2d(figure.subplots(len(layers), 3, squeeze=False))
    for row, k in zip(axes, layers, strict=True):
        layer, place = calorimeter.layers[k], calorimeter.slices()[k]
        first, second = (image[place].reshape(layer.shape).T for image in (reference, generated))
        largest = max(float(first.max()), float(second.max()))
        smallest = min((float(i[i > 0].min()) for i in (first, second) if (i > 0).any()), default=0.1)
        norm = LogNorm(max(smallest, 1e-6 * largest), largest) if largest > smallest else None
        ratio = np.divide(second, first, out=np.full_like(first, np.nan), where=first > 0)
        polar = layer.coordinates == "polar"
        for column, (axis, image) in enumerate(zip(row, (first, second, ratio), strict=True)):
            mesh = axis.pcolormesh(
                np.asarray(layer.x),
                np.asarray(layer.y),
                np.ma.masked_where(~(image > 0), image),
                cmap="RdBu_r" if column == 2 else "viridis",
                rasterized=True,
                **({"vmin": RATIO_LIMITS[0], "vmax": RATIO_LIMITS[1]} if column == 2 else {"norm": norm}),
            )
            axis.set_facecolor("#eceef0")
            if column in (1, 2):
                bar = figure.colorbar(mesh, ax=axis, pad=0.02, extend="both" if column == 2 else "neither")
                bar.set_label("ratio" if column == 2 else f"mean energy [{calorimeter.unit}]")
            axis.set_title(_plain((*names, f"{names[1]} / {names[0]}")[column]))
            axis.set_xlabel(r"$\alpha$ [rad]" if polar else "x [mm]")
            axis.tick_params(which="both", top=False, right=False, direction="out")
        row[0].set_ylabel(_plain(layer.name) + "\n" + ("r [mm]" if polar else "y [mm]"))
    return figure


@_styled
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
    left.set_xlabel(_plain(f"{names[0]} taken for {names[1]}"))
    left.set_ylabel(_plain(f"{names[1]} recognised"))
    left.legend(loc="lower right")
    edges = np.linspace(0, 1, 41)
    for values, w, color, name in zip(scores, weights, (REFERENCE, GENERATED), names, strict=True):
        content, _ = histogram(values, edges, weights=w)
        right.stairs(
            content / content.sum(),
            edges,
            color=color,
            label=_plain(name),
            fill=color == REFERENCE,
            alpha=0.35 if color == REFERENCE else 1,
        )
    right.set(xlim=(0, 1), xlabel="classifier score", ylabel="share per bin")
    right.set_ylim(0, 1.3 * right.get_ylim()[1])
    right.legend(loc="upper center", ncols=2)
    return figure


@_styled
def ranking(
    labels: Sequence[str], values: Array, floor: Array, *, axis: str, start: float, most: int = 20
) -> Figure:
    """Horizontal bars, largest first, with the floor drawn in.

    Args:
        labels: What each bar is.
        values: (F, 2) values and uncertainties.
        floor: (F, 2) values and uncertainties between halves of the reference.
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
    axes.plot(floor[order, 0], place, "|", color=REFERENCE, markersize=9, markeredgewidth=1.6, label="floor")
    axes.set_yticks(place, [_plain(labels[k]) for k in order])
    axes.set_xlabel(axis)
    axes.set_xlim(left=start)
    axes.set_ylim(-0.7, len(order) - 0.3)
    axes.tick_params(axis="y", which="both", right=False, length=0)
    axes.legend(loc="lower right")
    return figure


@_styled
def training_curves(records: Sequence[Mapping[str, Any]]) -> Figure:
    """The lines of metrics.jsonl: Wasserstein estimate, physics distance, penalty against the step.

    Keys that no line has are left out.

    Args:
        records: Parsed lines, each with ``step`` and some of the keys.

    Raises:
        ValueError: If no line has anything to draw.
    """
    wanted = (
        ("wasserstein", "critic's Wasserstein estimate"),
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
