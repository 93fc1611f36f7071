"""The HTML report: one file without links to anything outside, readable offline, on a phone and in print."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from hepgan.evaluation.published import CAVEAT
from hepgan.evaluation.verdict import VERDICTS, format_limit, format_measurement, tally
from hepgan.report.style import svg

__all__ = ["Cell", "Grid", "Section", "render"]


FEW_PEERS = 3  # published numbers beside ours in the verdict table; the others have a table of their own
OWN_ANCHORS = ("top", "verdict", "reading", "published", "features", "provenance")
"""Parts of the page that are always called so."""

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


def _worst(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The worst verdict on a requirement, by the section that shows it."""
    order = list(VERDICTS)
    worst: dict[str, str] = {}
    for row in rows:
        if row["limit"] is not None:
            before = worst.get(row["section"], order[0])
            worst[row["section"]] = max(before, row["verdict"], key=order.index)
    return worst


def render(metrics: Mapping[str, Any], sections: Sequence[Section], *, title: str, note: str = "") -> str:
    """The page as text.

    A row of the verdict leads to the section that it names, if there is one. Published numbers (``peers`` of a row:
    ``model``, ``value`` with its uncertainty or null, ``reference``, ``remark``) stand beside ours.

    Args:
        metrics: What `hepgan.report.writing` measures (the content of ``metrics.json``).
        sections: The figures, in order.
        title: Heading of the page.
        note: What the verdict table needs to be understood.

    Raises:
        ValueError: If two sections have the same anchor, or one has that of a part of the page.
    """
    anchors = [*OWN_ANCHORS, *(section.anchor for section in sections)]
    if len(set(anchors)) < len(anchors):
        twice = sorted({anchor for anchor in anchors if anchors.count(anchor) > 1})
        raise ValueError(
            f"sections: expected anchors that differ, from each other and from {list(OWN_ANCHORS)}, got {twice} "
            "more than once; rename the section"
        )
    environment = Environment(
        loader=PackageLoader("hepgan"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"measurement": format_measurement, "limit": format_limit, "short": _short}
    rows = [{"peers": [], **row} for row in metrics["verdict"]]
    judged = [row for row in rows if row["limit"] is not None]
    informing = [row for row in rows if row["limit"] is None]
    return environment.get_template("report.html").render(
        title=title,
        note=note,
        metrics=metrics,
        overall=tally(rows),
        groups=[group for group in (("Requirements", judged), ("For information", informing)) if group[1]],
        published=[row for row in rows if row["peers"]],
        few=FEW_PEERS,
        caveat=CAVEAT,
        lights=_worst(rows),
        anchors=anchors,
        verdicts=VERDICTS,
        features=sorted(metrics["features"].items(), key=lambda item: -item[1]["separation"][0]),
        single=metrics.get("classifier", {}).get("single", {}),
        sections=[(section, _image(section.figure) if section.figure else None) for section in sections],
        provenance=_flat(metrics["provenance"]),
    )
