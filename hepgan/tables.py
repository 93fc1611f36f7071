"""Tables for the terminal: what an evaluation found, what a model says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

__all__ = ["checks", "description", "verdict"]


def verdict(metrics: Mapping[str, Any]) -> Table:
    """The headline numbers of ``metrics.json``, beside those of the reference against itself.

    Args:
        metrics: What `hepgan.evaluation.evaluate` or `compare` returned.
    """
    samples = [metrics["sample"][key]["name"] for key in ("generated", "reference")]
    events = metrics["sample"]["reference"]["events"]
    title = f"{samples[0]} against {samples[1]} ({events} showers)"
    table = Table(title=escape(title), title_justify="left")
    table.add_column("number")
    for heading in ("value", "reference against itself"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for row in metrics["verdict"]:
        numbers = (_measurement(row[key], percent=row["percent"]) for key in ("value", "floor"))
        limit = "" if row["limit"] is None else f" (limit {100 * row['limit']:g} %)"
        table.add_row(row["metric"], *numbers, row["remark"] or f"{row['verdict']}{limit}")
    return table


def _measurement(value: Sequence[float] | None, *, percent: bool) -> str:
    if value is None:
        return "not defined"
    if percent:
        return f"{100 * value[0]:.2f} ± {100 * value[1]:.2f} %"
    return f"{value[0]:.3f} ± {value[1]:.3f}"


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
        table.add_row("metric", f"{name} {_measurement(value, percent=False)}")
    for name, value in metadata["provenance"].items():
        table.add_row(name, escape(str(value)))
    return table


def checks(results: Sequence[tuple[str, bool, str]]) -> Table:
    """The outcome of `hepgan.export.onnx.OnnxGenerator.check`."""
    table = Table.grid(padding=(0, 2))
    for name, passed, detail in results:
        table.add_row("ok" if passed else "FAILED", escape(name), escape(detail))
    return table
