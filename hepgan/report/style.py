"""Style of all figures: one palette, and SVG that is small and reproducible.

The reference is dark grey, the sample red; ticks, labels and font are those of the ROOT style of mplhep, at the size
of a page.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable
from typing import Any, ParamSpec

import matplotlib
import mplhep
from matplotlib.figure import Figure

__all__ = [
    "ACCENT",
    "FLOOR",
    "GENERATED",
    "MARKERS",
    "REFERENCE",
    "SERIES",
    "STYLE",
    "plain",
    "styled",
    "svg",
]

P = ParamSpec("P")

REFERENCE = "#3b3f46"
GENERATED = "#e42536"  # palette of Petroff, arXiv:2107.02270, for every colour vision
ACCENT = "#5790fc"
FLOOR = "#c9ccd1"
SERIES = ("#5790fc", "#f89c20", "#964a8b", "#e42536", "#7a21dd", "#9c9ca1")  # the same palette
MARKERS = ("o", "s", "^", "v", "D", "P")  # for readers who cannot tell the colours apart

STYLE: Any = {
    **mplhep.style.ROOT,  # ticks inwards on all sides with minor ones between, labels at the ends of the axes
    "axes.axisbelow": False,
    "axes.formatter.limits": (-3, 5),
    "axes.formatter.use_mathtext": True,
    "axes.labelsize": 9.5,
    "axes.linewidth": 0.8,
    "axes.titlesize": 9.5,
    "axes.unicode_minus": True,
    "font.family": ["TeX Gyre Heros", "DejaVu Sans"],  # mplhep ships the first; the second has all signs
    "font.size": 9,
    "legend.fontsize": 9.5,
    "lines.linewidth": 1.2,
    "mathtext.fontset": "dejavusans",  # ROOT's own font is not found outside of this style
    "svg.fonttype": "path",
    "svg.hashsalt": "hepgan",
    "xtick.labelsize": 9,
    "xtick.major.pad": 5,
    "xtick.major.size": 5,
    "xtick.minor.ndivs": 2,  # more would blur at this size, and take most of the drawing time
    "xtick.minor.size": 2.5,
    "ytick.labelsize": 9,
    "ytick.major.pad": 5,
    "ytick.major.size": 5,
    "ytick.minor.ndivs": 2,
    "ytick.minor.size": 2.5,
}


def styled(function: Callable[P, Figure]) -> Callable[P, Figure]:
    """Make a function draw in the style of all figures."""

    @functools.wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            figure = function(*args, **kwargs)
            for axes in figure.axes:  # by default it is at the right, under the label
                axes.xaxis.get_offset_text().set(x=0, horizontalalignment="left")
            return figure

    return inner


def svg(figure: Figure) -> bytes:
    """Write a figure as SVG: the same bytes for the same figure, with text as outlines that need no fonts."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _compact(buffer.getvalue().decode()).encode()


def _compact(text: str) -> str:
    """Halve the SVG: drop comments and unreferenced ids, turn repeated styles into classes."""
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    referred = set(re.findall(r"#([\w.-]+)", text))
    text = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in referred else "", text)
    text = re.sub(r'(?<=[ \n]d=")[^"]*|(?<= [xy]=")[^"]*', lambda match: _rounded(match[0]), text)
    names: dict[str, str] = {}

    def named(match: re.Match[str]) -> str:
        return f' class="s{names.setdefault(match[1], str(len(names)))}"'

    text = re.sub(r' style="([^"]*)"', named, text)
    style = "".join(f".s{name}{{{rules}}}" for rules, name in names.items())
    text = text.replace("</style>", f"{style}</style>", 1)
    text = re.sub(r"\s+", " ", text).replace("> <", "><")
    kept: list[bool] = []  # for each open group: whether it has attributes

    def group(match: re.Match[str]) -> str:
        if match[0] == "</g>":
            return "</g>" if kept.pop() else ""
        kept.append(match[0] != "<g>")
        return match[0] if kept[-1] else ""

    return re.sub(r"<g(?: [^>]*)?>|</g>", group, text)


def _rounded(coordinates: str) -> str:
    """Round numbers to hundredths of a point, finer than any screen or printer."""
    return re.sub(r"\d+\.\d+", lambda match: f"{float(match[0]):.2f}".rstrip("0").rstrip("."), coordinates)


def plain(text: str) -> str:
    """Escape text so that matplotlib does not take it for a formula."""
    return text.replace("$", r"\$")
