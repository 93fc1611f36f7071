"""The HTML report: one file without links to anything outside, readable offline, on a phone and in print."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from hepgan.plots import svg
from hepgan.tables import VERDICTS, format_limit, format_measurement, summary

__all__ = ["Cell", "Grid", "Section", "render"]


Cell = tuple[str, str]
"""Text, and the verdict that colours it (a key of `VERDICTS`, or empty)."""


@dataclass(frozen=True)
class Grid:
    """A table of the report.

    Attributes:
        heading: One word for each column.
        rows: Cells; the first of each row is its name.
    """

    heading: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Section:
    """A figure of the report, a table, or both.

    Attributes:
        anchor: Name by which the page links to it.
        title: Heading.
        caption: What is shown, and what a good one looks like.
        figure: The figure.
        grid: The table.
    """

    anchor: str
    title: str
    caption: str
    figure: Figure | None = None
    grid: Grid | None = None


def _flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", str(value)))
    return rows


def _short(values: Sequence[float]) -> list[str]:
    """Three digits each, without an exponent below a million."""
    return [f"{float(f'{value:.3g}'):g}" for value in values]


def _image(figure: Figure) -> Markup:
    """Address of the figure with the figure in it: an image of its own, so that ids cannot collide."""
    return Markup("data:image/svg+xml;base64,") + Markup(base64.b64encode(svg(figure)).decode("ascii"))


def render(metrics: Mapping[str, Any], sections: Sequence[Section], *, title: str, note: str = "") -> str:
    """The page as text.

    Args:
        metrics: What `hepgan.evaluation` measures (the content of ``metrics.json``).
        sections: The figures, in order.
        title: Heading of the page.
        note: What the verdict table needs to be understood.
    """
    environment = Environment(
        loader=PackageLoader("hepgan"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"measurement": format_measurement, "limit": format_limit, "short": _short}
    features = sorted(metrics["features"].items(), key=lambda item: -item[1]["separation"][0])
    return environment.get_template("report.html").render(
        title=title,
        note=note,
        metrics=metrics,
        summary=summary(metrics["verdict"]),
        verdicts=VERDICTS,
        features=features,
        sections=[(section, _image(section.figure) if section.figure else None) for section in sections],
        provenance=_flat(metrics["provenance"]),
    )
