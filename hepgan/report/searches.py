"""Figures of a search for settings: distances in the order of the trials, and against each setting."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from hepgan.report.layout import COLUMNS, PANEL_WIDTH, Array
from hepgan.report.style import ACCENT, GENERATED, REFERENCE, plain, styled

__all__ = ["Trials", "search_history", "search_scatter"]

_HEIGHT = 2.5  # of a panel (inches)
_AXIS = "physics distance (validation)"


class Trials(NamedTuple):
    """Outcome of N trials.

    Attributes:
        distances: (N,) distances.
        errors: (N,) their uncertainties.
        complete: (N,) whether the trial was trained to its end.
        best: Index of the best trial; None if none is complete.
    """

    distances: Array
    errors: Array
    complete: Array
    best: int | None


def _draw_trials(axes: Axes, x: Array, trials: Trials) -> None:
    """Draw trials at x: complete ones filled, with errors, others hollow, the best one in red."""
    distances, errors, complete, best = trials
    axes.errorbar(
        x[complete],
        distances[complete],
        errors[complete],
        fmt="o",
        color=ACCENT,
        markersize=4,
        linewidth=0.9,
        label="complete",
    )
    hollow: Any = {"color": REFERENCE, "markersize": 4, "fillstyle": "none", "label": "given up"}
    axes.plot(x[~complete], distances[~complete], "o", **hollow)
    if best is not None:
        axes.plot(x[best], distances[best], "D", color=GENERATED, markersize=6, label="best")
    if (distances > errors).all():
        axes.set_yscale("log")


@styled
def search_history(numbers: Array, trials: Trials) -> Figure:
    """Draw the distance of each trial in their order, and the smallest of the complete ones so far.

    Args:
        numbers: (N,) numbers of the trials.
        trials: Their distances.
    """
    figure = Figure(figsize=(2 * PANEL_WIDTH, 3.0), layout="constrained")
    axes = figure.subplots()
    _draw_trials(axes, numbers, trials)
    so_far = np.minimum.accumulate(np.where(trials.complete, trials.distances, math.inf))
    known = np.isfinite(so_far)
    axes.plot(numbers[known], so_far[known], drawstyle="steps-post", color=ACCENT)
    axes.set(xlabel="trial", ylabel=_AXIS)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.xaxis.set_minor_locator(NullLocator())
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


@styled
def search_scatter(
    columns: Mapping[str, Sequence[object]],
    trials: Trials,
    *,
    logarithmic: Container[str] = (),
    categories: Container[str] = (),
) -> Figure:
    """Draw the distance against each setting.

    Args:
        columns: (N,) values of each setting by its key.
        trials: Their distances.
        logarithmic: Keys with a logarithmic axis.
        categories: Keys whose values have a place each.
    """
    n = min(COLUMNS, len(columns))
    rows = math.ceil(len(columns) / n)
    figure = Figure(figsize=(n * PANEL_WIDTH, rows * _HEIGHT), layout="constrained")
    panels = figure.subplots(rows, n, sharey=True, squeeze=False).ravel()
    for axes in panels[len(columns) :]:
        axes.remove()
    for axes, (key, values) in zip(panels, columns.items(), strict=False):
        if key in categories:
            names = sorted({str(value) for value in values}, key=lambda name: (len(name), name))
            x = np.array([names.index(str(value)) for value in values], np.float64)
            axes.set_xticks(range(len(names)), [plain(name) for name in names])
            axes.set_xlim(-0.5, len(names) - 0.5)
            axes.xaxis.set_minor_locator(NullLocator())
        else:
            x = np.asarray(values, np.float64)
        if key in logarithmic:
            axes.set_xscale("log")
        _draw_trials(axes, x, trials)
        axes.set_xlabel(plain(key))
    for axes in panels[: len(columns) : n]:
        axes.set_ylabel(_AXIS)
    return figure
