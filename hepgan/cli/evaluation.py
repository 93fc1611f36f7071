"""``hepgan evaluate`` and ``hepgan compare``: is the sample good enough?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hepgan import workflow
from hepgan.cli.app import app
from hepgan.cli.options import FailAbove, Fast, Format, Networks, Seed, Setting, Weights, joined

if TYPE_CHECKING:
    from hepgan.evaluation.results import Results

__all__ = ["compare", "evaluate"]


def _conclude(result: Results, *, limits: dict[str, float], format_: str) -> None:
    """Print the outcome; exit with 1 if a limit is exceeded.

    Raises:
        ValueError: If a limit names nothing that was measured.
    """
    from hepgan.evaluation import gates

    if format_ == "json":
        typer.echo(result.to_json())
    else:
        from hepgan.report import tables

        tables.console().print(tables.verdict(result))
        typer.echo(f"Report: {result.report}")
    try:
        sentences = gates.exceeded(result, limits)
    except ValueError as error:
        raise ValueError(f"{error}; the results themselves are complete: {result.report}") from error
    for sentence in sentences:
        typer.echo(f"hepgan: {sentence}", err=True)
    if sentences:
        raise typer.Exit(1)


@app.command(epilog="Example: hepgan evaluate runs/first --data data/eplus_test.root")
def evaluate(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_or_MODEL.onnx", help="run folder, exported model, or name of a reference model"
        ),
    ],
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE.root", help="reference events; default: the held-out ones"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="folder of the report; default: RUN/report")] = None,
    fast: Fast = False,
    networks: Networks = False,
    fail_above: FailAbove = None,
    weights: Weights = None,
    format_: Format = "text",
    set_: Setting = None,
    seed: Seed = None,
) -> None:
    """Compare with full simulation that training never saw: metrics.json and report.html."""
    from hepgan.evaluation import gates

    limits = gates.parse(fail_above or [])
    result = workflow.evaluate(
        model,
        data=data or None,
        out=out,
        settings=joined(set_, fast=fast, networks=networks),
        seed=seed,
        weights=weights,
    )
    _conclude(result, limits=limits, format_=format_)


@app.command(epilog="Example: hepgan compare fast.root geant4.root --config my.toml --out comparison")
def compare(
    sample: Annotated[str, typer.Argument(metavar="A.root", help="sample under test")],
    reference: Annotated[str, typer.Argument(metavar="B.root", help="reference sample")],
    config: Annotated[Path, typer.Option(metavar="CONFIG.toml", help="says how to read both files")],
    out: Annotated[Path, typer.Option(help="folder of the report")] = Path("comparison"),
    fast: Fast = False,
    networks: Networks = False,
    fail_above: FailAbove = None,
    weights: Weights = None,
    format_: Format = "text",
    set_: Setting = None,
    seed: Seed = None,
) -> None:
    """Compare two files: fast simulation with data, or one simulation with another."""
    from hepgan.evaluation import gates

    limits = gates.parse(fail_above or [])
    result = workflow.compare(
        sample=sample,
        reference=reference,
        config=config,
        out=out,
        settings=joined(set_, seed=seed, fast=fast, networks=networks),
        weights=weights,
    )
    _conclude(result, limits=limits, format_=format_)
