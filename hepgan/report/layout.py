"""Layout that several figures share: panels, legend, points with errors, and the axis of a condition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from hepgan.report.style import plain

__all__ = [
    "COLUMNS",
    "LONG_NUMBERS",
    "PANEL_WIDTH",
    "RATIO_LIMITS",
    "Array",
    "Edges",
    "Names",
    "draw_abscissa",
    "draw_legend",
    "draw_points",
    "legend_columns",
    "panels_of",
]

Array = NDArray[Any]
Edges = NDArray[np.float64]

RATIO_LIMITS = (0.5, 1.5)
LONG_NUMBERS = 1e4  # from here on the ticks of a logarithmic axis are powers of ten
COLUMNS = 3

# Sizes in inches. Axes are placed by hand: automatic layout of fifty axes takes longer than drawing them.
PANEL_WIDTH, _LEFT, _RIGHT = 3.2, 0.72, 0.24
_MAIN, _STRIP, _GAP, _BELOW, _ABOVE, _HEAD = 1.55, 0.6, 0.11, 0.5, 0.28, 0.35
_KEY, _LETTER = 0.5, 0.075  # of a legend: line and space before an entry, and a letter of it


class Names(NamedTuple):
    """Names of the two samples in legends."""

    sample: str
    reference: str


def panels_of(n: int, *, columns: int = COLUMNS, strips: int = 1) -> tuple[Figure, list[list[Axes]]]:
    """Make a grid of `n` panels, each a main axes above strips, with room for the legend on top.

    Returns:
        The figure, and the axes of each panel from top to bottom.
    """
    columns = max(1, min(columns, n))
    rows = math.ceil(n / columns)
    below = strips * (_STRIP + _GAP)
    cell = _ABOVE + _MAIN + below + _BELOW
    width, height = columns * PANEL_WIDTH, _HEAD + rows * cell
    figure = Figure(figsize=(width, height))
    panels = []
    for k in range(n):
        row, column = divmod(k, columns)
        left = (column * PANEL_WIDTH + _LEFT) / width
        across = (PANEL_WIDTH - _LEFT - _RIGHT) / width
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


def legend_columns(labels: Sequence[str], width: float) -> int:
    """Number of entries of a legend that fit side by side into a width (inches)."""
    longest = max(len(label) for label in labels)
    return max(1, min(len(labels), int(width / (_KEY + _LETTER * longest))))


def draw_legend(figure: Figure, axes: Axes) -> None:
    """Draw the legend of the axes above the figure."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=len(labels), borderaxespad=0.2)


def draw_points(
    axes: Axes, x: Array, y: Array, error: Array, *, limits: tuple[float, float], color: str
) -> None:
    """Draw points with errors; those beyond the limits become triangles at the border, so that none is lost."""
    low, high = limits
    axes.set_ylim(low, high)
    inside = (y >= low) & (y <= high)
    axes.errorbar(x[inside], y[inside], error[inside], fmt=".", color=color, markersize=4, linewidth=0.9)
    edge = 0.03 * (high - low)
    for beyond, marker, place in ((y > high, "^", high - edge), (y < low, "v", low + edge)):
        axes.plot(
            x[beyond], np.full(int(beyond.sum()), place), marker, color=color, markersize=4, linestyle="none"
        )


def draw_abscissa(axes: Axes, label: str, *, logarithmic: bool, ticks: Sequence[str] | None) -> None:
    """Draw the label and ticks of the axis of a condition; `ticks` name its categories."""
    axes.set_xlabel(plain(label))
    if ticks is not None:
        axes.set_xticks(range(len(ticks)), [plain(tick) for tick in ticks])
        axes.set_xlim(-0.5, len(ticks) - 0.5)  # no point on the frame
        axes.xaxis.set_minor_locator(NullLocator())
    elif logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        low, high = axes.get_xlim()
        if high < LONG_NUMBERS or high < 10 * low:  # else powers of ten, the default of the scale
            axes.xaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0)))
            axes.xaxis.set_major_formatter("{x:g}")
