"""The HTML report: one file without links to anything outside, readable offline, on a phone and in print."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from pydantic import JsonValue

from hepgan.evaluation.published import CAVEAT
from hepgan.evaluation.results import Results
from hepgan.evaluation.verdict import (
    VERDICTS,
    format_limit,
    format_measurement,
    tally,
    worst_by_section,
)
from hepgan.report.style import svg

__all__ = ["Cell", "Grid", "KindReport", "Section", "render", "render_sections"]

FEW_PEERS = 3  # published numbers beside ours in the verdict table; the others have a table of their own
OWN_ANCHORS = ("top", "verdict", "reading", "published", "features", "provenance")
"""Names of the fixed parts of the page."""

Cell = tuple[str, str]
"""Text, and the verdict that colours it (a key of `VERDICTS`, or empty)."""


@dataclass(frozen=True)
class Grid:
    """A table of the report.

    Attributes:
        heading: Titles of the columns.
        rows: Cells; the first cell of each row is its name.
    """

    heading: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Section:
    """A figure of the report, a table, or both.

    Attributes:
        anchor: Name by which the page links to it.
        title: Heading.
        caption: Content of the figure, and the look of a good one.
        figure: The figure.
        grid: The table.
    """

    anchor: str
    title: str
    caption: str
    figure: Figure | None = None
    grid: Grid | None = None


@dataclass(frozen=True)
class KindReport:
    """The parts of a report that one kind of data adds.

    Attributes:
        note: Explanation of its verdict table.
        sections: Takes the sample, the reference, the setup and the closure; gives its figures.
    """

    note: str
    sections: Callable[..., list[Section]]


def _flat(table: Mapping[str, JsonValue], prefix: str = "") -> list[tuple[str, str]]:
    """Keys and values of nested tables, without nulls."""
    rows: list[tuple[str, str]] = []
    for key, value in table.items():
        if value is None:
            continue
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", str(value)))
    return rows


def _short(values: Sequence[float]) -> list[str]:
    """Three digits each, without an exponent below a million."""
    return [f"{float(f'{value:.3g}'):g}" for value in values]


def _image(figure: Figure) -> Markup:
    """Data address of the figure: a separate image, so that its ids cannot collide with others."""
    return Markup("data:image/svg+xml;base64,") + Markup(base64.b64encode(svg(figure)).decode("ascii"))


def _with_images(sections: Sequence[Section]) -> list[tuple[Section, Markup | None]]:
    """Sections with the data addresses of their figures."""
    return [(section, _image(section.figure) if section.figure else None) for section in sections]


def _environment() -> Environment:
    """The templates of the package."""
    return Environment(
        loader=PackageLoader("hepgan"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_sections(sections: Sequence[Section], *, title: str, lead: str) -> str:
    """Make a page of figures and tables without a verdict, as text.

    Args:
        sections: The figures, in order.
        title: Heading of the page.
        lead: The outcome in a few sentences.
    """
    return (
        _environment()
        .get_template("search.html")
        .render(title=title, lead=lead, sections=_with_images(sections))
    )


def render(results: Results, sections: Sequence[Section], *, title: str, note: str = "") -> str:
    """Make the page, as text.

    A row of the verdict links to the section that it names, if there is one. Published numbers stand beside ours.

    Args:
        results: The results.
        sections: The figures, in order.
        title: Heading of the page.
        note: Explanation of the verdict table.

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
    environment = _environment()
    environment.filters |= {"measurement": format_measurement, "limit": format_limit, "short": _short}
    judged = [row for row in results.rows if row.limit is not None]
    informing = [row for row in results.rows if row.limit is None]
    return environment.get_template("report.html").render(
        title=title,
        note=note,
        samples=results.samples,
        overall=tally(results.rows),
        groups=[group for group in (("Requirements", judged), ("For information", informing)) if group[1]],
        published=[row for row in results.rows if row.peers],
        few=FEW_PEERS,
        caveat=CAVEAT,
        lights=worst_by_section(results.rows),
        anchors=anchors,
        verdicts=VERDICTS,
        features=sorted(results.features.items(), key=lambda item: -item[1].separation.value),
        single=results.classifier.single,
        sections=_with_images(sections),
        provenance=_flat(results.provenance.model_dump()),
    )
