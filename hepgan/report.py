"""The HTML report: one file without links to anything outside, readable offline, on a phone and in print."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from hepgan.plots import svg

__all__ = ["VERDICTS", "Section", "format_measurement", "render", "write_text"]

VERDICTS = {
    "pass": "good",
    "warn": "look closer",
    "fail": "not good enough",
    "info": "for information",
}
"""What the traffic light says, in words: colour alone is not readable by everybody."""


@dataclass(frozen=True)
class Section:
    """A figure of the report.

    Attributes:
        anchor: Name by which the page links to it.
        title: Heading.
        caption: What is shown, and what a good one looks like.
        figure: The figure.
    """

    anchor: str
    title: str
    caption: str
    figure: Figure


def write_text(path: Path, text: str) -> None:
    """Write a text file completely or not at all: to a temporary name beside it, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def format_measurement(measurement: Sequence[float] | None, *, percent: bool = False) -> str:
    """A value and its uncertainty, rounded to two digits of the uncertainty: ``1.23 ± 0.45 %``."""
    if measurement is None:
        return "undefined"
    value, uncertainty = (100 * m if percent else m for m in measurement)
    unit = " %" if percent else ""
    if uncertainty > 0:
        digits = 1 - math.floor(math.log10(uncertainty))
        if digits > 6 or digits < -4:
            return f"{value:.3g} ± {uncertainty:.2g}{unit}"
        digits = max(digits, 0)
        return f"{value:.{digits}f} ± {uncertainty:.{digits}f}{unit}"
    return f"{value:.4g}{unit}"


def _flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", str(value)))
    return rows


def _image(figure: Figure) -> Markup:
    """Address of the figure with the figure in it: an image of its own, so that ids cannot collide."""
    return Markup("data:image/svg+xml;base64,") + Markup(base64.b64encode(svg(figure)).decode("ascii"))


def render(metrics: Mapping[str, Any], sections: Sequence[Section], *, title: str) -> str:
    """The page as text.

    Args:
        metrics: What `hepgan.evaluation` measures (the content of ``metrics.json``).
        sections: The figures, in order.
        title: Heading of the page.
    """
    environment = Environment(
        loader=PackageLoader("hepgan"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["measurement"] = format_measurement
    features = sorted(metrics["features"].items(), key=lambda item: -item[1]["separation"][0])
    return environment.get_template("report.html").render(
        title=title,
        metrics=metrics,
        verdicts=VERDICTS,
        features=features,
        figures=[(section, _image(section.figure)) for section in sections],
        provenance=_flat(metrics["provenance"]),
    )
