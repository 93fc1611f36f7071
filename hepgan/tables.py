"""Results in words: rounded numbers, verdicts, and the tables of the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

__all__ = [
    "VERDICTS",
    "checks",
    "description",
    "format_limit",
    "format_measurement",
    "plain",
    "summary",
    "tally",
    "verdict",
]

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


def verdict(metrics: Mapping[str, Any]) -> Table:
    """The headline numbers of ``metrics.json``, beside those of the reference against itself.

    Args:
        metrics: What `hepgan.evaluation.evaluate` or `compare` returned.
    """
    samples = [metrics["sample"][key]["name"] for key in ("generated", "reference")]
    events = metrics["sample"]["reference"]["events"]
    title = f"{samples[0]} against {samples[1]} ({events} {metrics['sample']['what']})"
    table = Table(
        title=escape(title),
        title_justify="left",
        caption=escape(summary(metrics["verdict"])[1]),
        caption_justify="left",
    )
    table.add_column("number")
    for heading in ("value", "reference against itself"):
        table.add_column(heading, justify="right")
    table.add_column("verdict", overflow="fold")
    for row in metrics["verdict"]:
        numbers = (format_measurement(row[key], percent=row["percent"]) for key in ("value", "floor"))
        limit = f"{VERDICTS[row['verdict']]} (limit {format_limit(row)})" if format_limit(row) else ""
        words = "; ".join(part for part in (limit, row["remark"]) if part) or VERDICTS[row["verdict"]]
        table.add_row(escape(row["metric"]), *numbers, escape(words))
    return table


def description(metadata: Mapping[str, Any]) -> Table:
    """What an exported model takes and gives, and where it comes from (docs/onnx.md)."""
    table = Table.grid(padding=(0, 2))
    for condition in metadata["conditions"]:
        low, high = condition["range"]
        text = f"{condition['name']} [{condition['unit']}], trained on {low:g} to {high:g}"
        table.add_row("condition", escape(text))
    table.add_row("latent", f"{metadata['latent']['size']} numbers, {metadata['latent']['distribution']}")
    for output in metadata["outputs"]:
        table.add_row("output", escape(f"{output['name']} {output['shape']} [{output['unit']}]"))
    for name, value in metadata["metrics"].items():
        table.add_row("metric", escape(f"{name} {format_measurement(value)}"))
    for name, value in metadata["provenance"].items():
        table.add_row(name, escape(str(value)))
    return table


def checks(results: Sequence[tuple[str, bool, str]]) -> Table:
    """The outcome of `hepgan.export.onnx.OnnxGenerator.check`."""
    table = Table.grid(padding=(0, 2))
    for name, passed, detail in results:
        table.add_row("ok" if passed else "FAILED", escape(name), escape(detail))
    return table


def plain(title: str, headings: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    """Cells as they are: text in the first column, numbers in the others."""
    table = Table(title=escape(title), title_justify="left")
    for k, heading in enumerate(headings):
        table.add_column(heading, justify="right" if k else "left", overflow="fold", no_wrap=k == 0)
    for line in lines:
        table.add_row(*map(escape, line))
    return table
