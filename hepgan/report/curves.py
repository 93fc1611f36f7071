"""Curves and bars of the classifier, of rankings and of the training, and correlation matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hepgan.metrics import histogram
from hepgan.report.layout import Array, Names
from hepgan.report.style import ACCENT, GENERATED, REFERENCE, plain, styled

__all__ = ["MOST_NUMBERS", "matrices", "ranking", "roc", "training_curves"]

MOST_NUMBERS = 16  # observables whose coefficients are written into a matrix; with more there is colour alone
SMALL_LABELS = 150.0  # points: size of their labels times their number that fits the height of a matrix


@styled
def matrices(labels: Sequence[str], *, sample: Array, reference: Array, names: Names) -> Figure:
    """Draw correlation matrices of the reference and of the sample, and their difference.

    Coefficients are written into the cells as long as they can be read.

    Args:
        labels: Names of the F observables.
        sample: (F, F) coefficients.
        reference: (F, F).
        names: Names of the samples.
    """
    difference = sample - reference
    reach = max(float(np.abs(difference).max()), 0.01)
    n = len(labels)
    many = n > MOST_NUMBERS
    figure = Figure(figsize=(9.6, 4.0 if many else 1.3 + 0.38 * max(n, 4)), layout="constrained")
    titles = (names.reference, names.sample, f"{names.sample} - {names.reference}")
    for k, (axes, matrix) in enumerate(
        zip(figure.subplots(1, 3, sharey=True), (reference, sample, difference), strict=True)
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
    *,
    sample_scores: Array,
    reference_scores: Array,
    auc: tuple[float, float],
    names: Names,
    sample_weights: Array | None = None,
    reference_weights: Array | None = None,
) -> Figure:
    """Draw the ROC curve of the classifier, and its scores of either sample.

    Args:
        curve: False- and true-positive rate, (K,) each.
        sample_scores: (N1,).
        reference_scores: (N2,).
        auc: Area and its uncertainty.
        names: Names of the samples.
        sample_weights: (N1,), default ones.
        reference_weights: (N2,), default ones.
    """
    figure = Figure(figsize=(8.0, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color=REFERENCE, linestyle="--", label="cannot tell (0.5)")
    left.plot(*curve, color=GENERATED, label=rf"AUC = {auc[0]:.3f} $\pm$ {auc[1]:.3f}")
    left.set(xlim=(0, 1), ylim=(0, 1.005), aspect="equal")
    left.set_xlabel(plain(f"{names.reference} taken for {names.sample}"))
    left.set_ylabel(plain(f"{names.sample} recognised"))
    left.legend(loc="lower right")
    edges = np.linspace(0, 1, 41)
    for values, w, color, name in (
        (reference_scores, reference_weights, REFERENCE, names.reference),
        (sample_scores, sample_weights, GENERATED, names.sample),
    ):
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
    """Draw horizontal bars, largest first, with a tick at the floor.

    Args:
        labels: Name of each bar.
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
    if axes.get_xlim()[1] > start:  # all bars are empty if two samples are the same
        axes.set_xlim(left=start)
    axes.set_ylim(-0.7, len(order) - 0.3)
    axes.tick_params(axis="y", which="both", right=False, length=0)
    return figure


@styled
def training_curves(records: Sequence[Mapping[str, float | None]]) -> Figure:
    """Draw the lines of metrics.jsonl: value of the critic's game, validation, penalty against the step.

    Quantities that no line has are left out.

    Args:
        records: Parsed lines, each with ``step`` and some of the keys.

    Raises:
        ValueError: If no line has anything to draw.
    """
    wanted = (
        ("wasserstein", "critic's Wasserstein estimate"),
        ("divergence", "value of the critic's game"),
        ("distance", "physics distance (validation)"),
        ("auc", "AUC of classifiers (validation)"),
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
        if (values > 0).all() and not label.startswith("AUC"):
            axes.set_yscale("log")
    return figure
