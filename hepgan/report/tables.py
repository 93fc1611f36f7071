"""Tables for the terminal: the verdict, the description of a model, the outcome of its checks."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hepgan.evaluation.results import Results
from hepgan.evaluation.verdict import VERDICTS, format_limit, format_measurement
from hepgan.inference.checking import Check
from hepgan.inference.metadata import Metadata

__all__ = ["checks", "console", "description", "plain", "verdict"]

PIPE_WIDTH = 10_000  # characters: wider than any table


def console() -> Console:
    """Make a console for tables on the standard output; in a pipe or a file, no table is wrapped or cut."""
    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=PIPE_WIDTH)


def verdict(results: Results) -> Table:
    """Make the table of the verdict: each number beside that of the reference against itself.

    Args:
        results: Results of an evaluation or comparison.
    """
    samples = results.samples
    title = (
        f"{samples.sample.name} against {samples.reference.name} ({samples.reference.events} {samples.what})"
    )
    table = Table(
        title=escape(title),
        title_justify="left",
        caption=escape(results.summary),
        caption_justify="left",
    )
    table.add_column("number", overflow="fold")
    for heading in ("value", "reference against itself"):
        table.add_column(heading, justify="right")
    table.add_column("verdict", overflow="fold")
    for row in results.rows:
        numbers = (format_measurement(number, percent=row.percent) for number in (row.measurement, row.floor))
        limit = f"{VERDICTS[row.verdict]} (limit {format_limit(row)})" if row.limit is not None else ""
        words = "; ".join(part for part in (limit, row.remark) if part) or VERDICTS[row.verdict]
        table.add_row(escape(row.metric), *numbers, escape(words))
    return table


def description(metadata: Metadata) -> Table:
    """Make the table of an exported model's inputs, outputs and provenance (docs/onnx.md)."""
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
    """Make the table of the outcome of `hepgan.inference.generator.Generator.check`."""
    table = Table.grid(padding=(0, 2))
    for name, passed, detail in results:
        table.add_row("ok" if passed else "FAILED", escape(name), escape(detail))
    return table


def plain(title: str, headings: Sequence[str], lines: Sequence[Sequence[str]], *, words: int = 1) -> Table:
    """Make a table of text: a name in the first column, words in the first `words`, numbers in the others."""
    table = Table(title=escape(title), title_justify="left")
    for k, heading in enumerate(headings):
        table.add_column(heading, justify="left" if k < words else "right", overflow="fold", no_wrap=k == 0)
    for line in lines:
        table.add_row(*map(escape, line))
    return table
