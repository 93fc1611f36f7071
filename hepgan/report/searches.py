"""Figures of a search for settings: distances in the order of the trials, and against each setting."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from hepgan.report.layout import COLUMNS, PANEL_WIDTH, Array
from hepgan.report.style import ACCENT, GENERATED, REFERENCE, plain, styled

__all__ = ["search_history", "search_scatter"]

_HEIGHT = 2.5  # of a panel (inches)
_AXIS = "physics distance (validation)"


def _draw_points(axes: Axes, x: Array, y: Array, complete: Array, *, best: int | None) -> None:
    """Draw trials at x: complete ones filled, others hollow, the best one in red."""
    axes.plot(x[complete], y[complete], "o", color=ACCENT, markersize=4, label="complete")
    axes.plot(
        x[~complete], y[~complete], "o", color=REFERENCE, markersize=4, fillstyle="none", label="given up"
    )
    if best is not None:
        axes.plot(x[best], y[best], "D", color=GENERATED, markersize=6, label="best")


@styled
def search_history(numbers: Array, distances: Array, complete: Array, *, best: int | None) -> Figure:
    """Draw the smallest distance of each trial in their order, and the smallest of the complete ones so far.

    Args:
        numbers: (N,) numbers of the trials.
        distances: (N,) distances.
        complete: (N,) whether the trial was trained to its end.
        best: Index of the best trial.
    """
    figure = Figure(figsize=(2 * PANEL_WIDTH, 3.0), layout="constrained")
    axes = figure.subplots()
    _draw_points(axes, numbers, distances, complete, best=best)
    so_far = np.minimum.accumulate(np.where(complete, distances, math.inf))
    known = np.isfinite(so_far)
    axes.plot(numbers[known], so_far[known], drawstyle="steps-post", color=ACCENT)
    axes.set(xlabel="trial", ylabel=_AXIS)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.xaxis.set_minor_locator(NullLocator())
    if (distances > 0).all():
        axes.set_yscale("log")
    axes.legend(loc="upper right")
    return figure


@styled
def search_scatter(
    columns: Mapping[str, Sequence[object]],
    distances: Array,
    complete: Array,
    *,
    best: int | None,
    logarithmic: Sequence[str] = (),
) -> Figure:
    """Draw the distance against each setting; settings that are no numbers are categories.

    Args:
        columns: (N,) values of each setting by its key.
        distances: (N,) distances.
        complete: (N,) whether the trial was trained to its end.
        best: Index of the best trial.
        logarithmic: Keys with a logarithmic axis.
    """
    n = min(COLUMNS, len(columns))
    rows = math.ceil(len(columns) / n)
    figure = Figure(figsize=(n * PANEL_WIDTH, rows * _HEIGHT), layout="constrained")
    panels = figure.subplots(rows, n, sharey=True, squeeze=False).ravel()
    for axes in panels[len(columns) :]:
        axes.remove()
    for axes, (key, values) in zip(panels, columns.items(), strict=False):
        if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
            x = np.asarray(values, np.float64)
        else:
            names = sorted({str(value) for value in values})
            x = np.array([names.index(str(value)) for value in values], np.float64)
            axes.set_xticks(range(len(names)), [plain(name) for name in names])
            axes.set_xlim(-0.5, len(names) - 0.5)
            axes.xaxis.set_minor_locator(NullLocator())
        if key in logarithmic:
            axes.set_xscale("log")
        if (distances > 0).all():
            axes.set_yscale("log")
        _draw_points(axes, x, distances, complete, best=best)
        axes.set_xlabel(plain(key))
    for axes in panels[: len(columns) : n]:
        axes.set_ylabel(_AXIS)
    return figure
