"""Histograms of two samples, with their ratio and pull."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from hepgan.metrics import histogram, uniform_edges
from hepgan.report.layout import (
    COLUMNS,
    LONG_NUMBERS,
    RATIO_LIMITS,
    Array,
    Edges,
    Names,
    draw_legend,
    draw_points,
    panels_of,
)
from hepgan.report.style import ACCENT, GENERATED, REFERENCE, plain, styled

__all__ = ["PULL_BAND", "PULL_LIMIT", "Binned", "Overlay", "overlays"]

BULK = (0.05, 0.99)  # quantiles between which most showers lie
WIDE_RANGE = 30.0  # an observable whose bulk spans more than this factor is drawn in log-spaced bins
SHORT_RANGE = 200.0  # a logarithmic axis that spans less than this factor has ticks between powers of ten
PULL_BAND = 2.0  # standard deviations between which 95 % of the pulls of equal distributions lie
PULL_LIMIT = 5.0  # of the panel of pulls; bars that touch it may be longer


@dataclass(frozen=True)
class Overlay:
    """One observable of two samples.

    Attributes:
        label: Axis label, with the unit.
        sample: (N1,).
        reference: (N2,).
        sample_weights: (N1,) or None.
        reference_weights: (N2,) or None.
        totals: Divisors of the histograms of the sample and of the reference; default: their sums.
        decades: Whether log-spaced bins may be used, if the observable is positive and spans decades.
        tails: Whether to draw the whole range of the reference with a logarithmic ordinate.
    """

    label: str
    _: KW_ONLY
    sample: Array
    reference: Array
    sample_weights: Array | None = None
    reference_weights: Array | None = None
    totals: tuple[float, float] | None = None
    decades: bool = False
    tails: bool = False


@dataclass(frozen=True)
class Binned:
    """Two histograms with the same bins.

    Attributes:
        label: Axis label, with the unit.
        edges: (B + 1,).
        sample: (B, 2) contents and uncertainties; NaN leaves a gap.
        reference: (B, 2).
        axis: Label of the contents.
        logarithmic: Whether the abscissa is logarithmic.
        tails: Whether the ordinate is logarithmic.
    """

    label: str
    _: KW_ONLY
    edges: Edges
    sample: Array
    reference: Array
    axis: str
    logarithmic: bool = False
    tails: bool = False


def _edges(panel: Overlay, bins: int) -> tuple[Edges, bool]:
    """Choose bins that show the bulk of the reference, and whether they are log-spaced.

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
    low, high = np.quantile(panel.sample, BULK)
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
        ((panel.sample, panel.sample_weights), (panel.reference, panel.reference_weights))
    ):
        content, variance = histogram(values, edges, weights=weights)
        total = panel.totals[k] if panel.totals else content.sum()
        histograms.append(np.column_stack([content, np.sqrt(variance)]) / total)
    sample, reference = histograms
    return Binned(
        panel.label,
        edges=edges,
        sample=sample,
        reference=reference,
        axis="share per bin" if panel.totals is None else "cells per shower",
        logarithmic=logarithmic,
        tails=panel.tails,
    )


@styled
def overlays(panels: Sequence[Overlay | Binned], *, names: Names, bins: int = 40) -> Figure:
    """Draw histograms of two samples with statistical uncertainties, their ratios, and their pulls.

    The pull is the difference over its uncertainty, both samples' in quadrature. The first and last bin of an
    `Overlay` include everything outside the range.

    Args:
        panels: One panel each.
        names: Names of the samples.
        bins: Number of bins of an `Overlay`.

    Raises:
        ValueError: If there is no panel.
    """
    if not panels:
        raise ValueError("overlays: expected at least one panel, got none")
    figure, axes = panels_of(len(panels), strips=2)
    drawn = [_binned(panel, bins) if isinstance(panel, Overlay) else panel for panel in panels]
    for k, (panel, (upper, lower, lowest)) in enumerate(zip(drawn, axes, strict=True)):
        edges = panel.edges
        (h1, e1), (h2, e2) = panel.reference.T, panel.sample.T
        middle = np.sqrt(edges[1:] * edges[:-1]) if panel.logarithmic else 0.5 * (edges[1:] + edges[:-1])
        upper.stairs(h1, edges, fill=True, color=REFERENCE, alpha=0.18)
        upper.stairs(h1, edges, color=REFERENCE, label=plain(names.reference), linewidth=1.1)
        upper.stairs(h2, edges, color=GENERATED, label=plain(names.sample), linewidth=1.1)
        upper.errorbar(middle, h2, e2, fmt="none", color=GENERATED, linewidth=0.9)
        bottom, top = (float(extreme([h1, h2])) for extreme in (np.nanmin, np.nanmax))
        lowest_shown = min(0.0, 1.12 * bottom)  # weights may make a bin negative
        upper.set_ylim(lowest_shown, 1.12 * top if top > 0 else 1)
        if panel.tails and (h1 > 0).any():
            upper.set_yscale("log")
            upper.set_ylim(0.5 * h1[h1 > 0].min(), 3 * top)
        filled = h1 > 0
        ratio, band, relative = (
            np.divide(values, h1, out=np.zeros_like(h1), where=filled) for values in (h2, e1, e2)
        )
        lower.axhline(1.0, color=REFERENCE, linewidth=0.8)
        lower.stairs(1 + band, edges, baseline=1 - band, fill=True, color=REFERENCE, alpha=0.18, linewidth=0)
        draw_points(
            lower, middle[filled], ratio[filled], relative[filled], limits=RATIO_LIMITS, color=GENERATED
        )
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
    draw_legend(figure, axes[0][0])
    return figure
