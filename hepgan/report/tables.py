"""Results in words: rounded numbers, verdicts, and the tables of the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from hepgan.evaluation.verdict import VERDICTS, format_limit, format_measurement, summary
from hepgan.inference.checking import Check
from hepgan.inference.metadata import Metadata

__all__ = ["checks", "description", "plain", "verdict"]


def verdict(metrics: Mapping[str, Any]) -> Table:
    """The headline numbers of ``metrics.json``, beside those of the reference against itself.

    Args:
        metrics: What `hepgan.report.writing.evaluate` or `compare` returned.
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


def description(metadata: Metadata) -> Table:
    """What an exported model takes and gives, and where it comes from (docs/onnx.md)."""
    table = Table.grid(padding=(0, 2))
    for condition in metadata.conditions:
        text = f"{condition.name} [{condition.unit}], trained on {condition.low:g} to {condition.high:g}"
        table.add_row("condition", escape(text))
    table.add_row("latent", f"{metadata.latent.size} numbers, {metadata.latent.distribution}")
    for output in metadata.outputs:
        table.add_row("output", escape(f"{output.name} {list(output.shape)} [{output.unit}]"))
    for name, measurement in metadata.metrics.items():
        table.add_row("metric", escape(f"{name} {format_measurement(measurement)}"))
    for name, value in metadata.provenance.items():
        table.add_row(name, escape(str(value)))
    return table


def checks(results: Sequence[Check]) -> Table:
    """The outcome of `hepgan.inference.generator.Generator.check`."""
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
