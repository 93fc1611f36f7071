"""Is a number good enough? Rounded numbers and verdicts in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["VERDICTS", "format_limit", "format_measurement", "summary", "tally"]

VERDICTS = {
    "pass": "good",
    "warn": "look closer",
    "fail": "not good enough",
    "info": "for information",
}
"""What the traffic light says, in words: colour alone is not readable by everybody."""

_MOST_DECIMALS = (
    6  # with more, or with more than four zeros before the point, numbers are written with exponents
)


def format_measurement(measurement: Sequence[float | None] | None, *, percent: bool = False) -> str:
    """A value and its uncertainty, rounded to two digits of the uncertainty: ``1.23 ± 0.45 %``."""
    if measurement is None or measurement[0] is None:
        return "undefined"
    value, uncertainty = (100 * (m or 0.0) if percent else m or 0.0 for m in measurement)
    unit = " %" if percent else ""
    if uncertainty > 0:
        digits = 1 - math.floor(math.log10(uncertainty))
        if digits > _MOST_DECIMALS or digits < -4:
            return f"{value:.3g} ± {uncertainty:.2g}{unit}"
        digits = max(digits, 0)
        return f"{value:.{digits}f} ± {uncertainty:.{digits}f}{unit}"
    return f"{value:.4g}{unit}"


def format_limit(row: Mapping[str, Any]) -> str:
    """Largest value of a row of ``verdict`` that is called good: ``3 %``, or nothing if it is for information."""
    if row["limit"] is None:
        return ""
    return f"{100 * row['limit']:g} %" if row["percent"] else f"{row['limit']:g}"


def _requirements(rows: Sequence[Mapping[str, Any]]) -> tuple[str, str, dict[str, list[str]]]:
    """The worst verdict, how many requirements are met in words, and the names of those that are not."""
    judged = [row for row in rows if row["limit"] is not None]
    if not judged:
        return "info", "no number has a limit: all are for information", {}
    missed = {kind: [row["metric"] for row in judged if row["verdict"] == kind] for kind in ("warn", "fail")}
    worst = next((kind for kind in ("fail", "warn") if missed[kind]), "pass")
    met = sum(row["verdict"] == "pass" for row in judged)
    return worst, f"{met} of {len(judged)} requirements are met", missed


def summary(rows: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The verdict of a whole evaluation, with the names of what is not good.

    Args:
        rows: ``verdict`` of ``metrics.json``.

    Returns:
        The worst verdict (a key of `VERDICTS`) among the rows that have a limit (``info`` if none has), and a sentence.
    """
    worst, text, missed = _requirements(rows)
    for kind, names in missed.items():
        if names:
            text += f"; {VERDICTS[kind]}: {', '.join(names)}"
    return worst, f"{text}."


def tally(rows: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The same as `summary`, with numbers instead of names: for above a table that has the names."""
    worst, text, missed = _requirements(rows)
    for kind in ("fail", "warn"):
        if missed.get(kind):
            text += f"; {VERDICTS[kind]}: {len(missed[kind])}"
    return worst, f"{text[0].upper()}{text[1:]}."
