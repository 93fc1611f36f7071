"""``hepgan export``, ``check`` and ``generate``: the exported file; ``hepgan models``: those that come with hepgan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hepgan import workflow
from hepgan.cli.app import app
from hepgan.cli.options import Compression, Model
from hepgan.trees import COMPRESSION

__all__ = ["check", "export", "generate", "models"]


@app.command(epilog="Example: hepgan export runs/first --out showers.onnx")
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="run folder")],
    out: Annotated[Path, typer.Option(metavar="MODEL.onnx", help="file to write")],
    format_: Annotated[
        Literal["onnx", "lwtnn", "cpp"],
        typer.Option("--format", help="cpp: a header without a runtime, NAME.hpp, and NAME.bin beside it"),
    ] = "onnx",
    batch: Annotated[
        int | None, typer.Option(min=1, help="fix the number of rows; default: any number")
    ] = None,
) -> None:
    """Write one self-describing file that C++ frameworks run."""
    from hepgan.progress import shown, stage

    with shown(True), stage("exporting the model"):
        written = workflow.export(run, out, format=format_, batch=batch)
    typer.echo(f"{written}\nNext: hepgan check {out}" if format_ == "onnx" else str(written))


@app.command(epilog="Example: hepgan check showers.onnx --geometry calo.toml")
def check(
    model: Model,
    target: Annotated[
        Literal["onnxruntime", "sofie", "onnx2c"] | None,
        typer.Option(help="also list what stands in the way of this program"),
    ] = None,
    geometry: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="also compare the cells with those of this file: TOML with layers, binning XML, ROOT file that "
            "carries its geometry, configuration, or another model",
        ),
    ] = None,
    particle: Annotated[str | None, typer.Option(help="particle in the binning XML")] = None,
) -> None:
    """Print the description of a model, and re-run the reference vectors that it carries."""
    from hepgan.inference.geometries import read_geometry
    from hepgan.progress import shown, stage
    from hepgan.report import tables

    expected = None if geometry is None else read_geometry(geometry, particle=particle)
    with shown(True), stage("checking"):
        generator = workflow.load(model)
        results = generator.check(target=target, geometry=expected)
    tables.console().print(tables.description(generator.metadata), tables.checks(results))
    failed = [result.name for result in results if not result.passed]
    if failed:
        remedy = "take the model of these cells" if failed == ["geometry"] else "export the model again"
        typer.echo(f"hepgan: {model}: a check failed, see above; {remedy}", err=True)
        raise typer.Exit(1)


@app.command(
    epilog="Example: hepgan generate showers.onnx -n 10000 --condition incident_energy=1:65 --out fast.root"
)
def generate(
    model: Model,
    out: Annotated[Path, typer.Option(metavar="OUT.root", help="file to write")],
    number: Annotated[int | None, typer.Option("-n", "--number", min=1, help="how many events")] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="a value, or a range LOW:HIGH; once a condition"),
    ] = None,
    conditions_from: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE.root",
            help="take the conditions of these events; once a file or pattern, such as 'full/*.root'",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="seed of all random numbers")] = 1,
    run: Annotated[int, typer.Option(min=0, help="run number, the other half of the noise's key")] = 0,
    first_event: Annotated[
        int, typer.Option(min=0, help="event number of the first row; another one for each job of a sample")
    ] = 0,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="events at once; default: what is fastest")
    ] = None,
    out_of_range: Annotated[
        Literal["error", "clamp", "skip", "extrapolate"],
        typer.Option(
            help="conditions outside the trained range: refuse all, move them to its nearest end, leave such events "
            "out (branch condition_row: row of FILE.root, from 0, of each one that is left), or generate outside"
        ),
    ] = "error",
    extrapolate: Annotated[
        bool, typer.Option("--extrapolate", help="the same as --out-of-range extrapolate")
    ] = False,
    format_: Annotated[
        Literal["ttree", "rntuple"],
        typer.Option("--format", help="kind of tree; ROOT's hadd merges ttree only, see docs/root.md"),
    ] = "ttree",
    compression: Compression = COMPRESSION,
    workers: Annotated[
        int | None, typer.Option(min=1, help="threads that generate; default: all cores of this job")
    ] = None,
    shards: Annotated[
        int | None,
        typer.Option(
            min=1, help="write this number of files, OUT-0001.root and so on, each when it is complete"
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="keep complete files of the same request, generate what is missing"),
    ] = False,
) -> None:
    """Generate events in bulk into a ROOT file, or several, with the branch names of the training file.

    The same options give the same events, whatever --workers is. After a crash, repeat the command with --resume.
    """
    from hepgan.inference.bulk import parse_condition

    pairs = [parse_condition(text) for text in condition or []]
    conditions = dict(pairs)
    if len(conditions) < len(pairs):
        raise ValueError(
            f"--condition: expected each name once, got {[name for name, _ in pairs]}; "
            "give a range as NAME=LOW:HIGH"
        )
    written = workflow.generate(
        model,
        out,
        n=number,
        conditions=conditions,
        conditions_from=conditions_from,
        seed=seed,
        run=run,
        first_event=first_event,
        batch_size=batch_size,
        extrapolate=extrapolate,
        out_of_range=out_of_range,
        format=format_,
        compression=compression,
        workers=workers,
        shards=shards,
        resume=resume,
    )
    typer.echo(str(written))


@app.command(epilog="Example: hepgan models path eplus")
def models(
    action: Annotated[
        Literal["list", "path", "card"],
        typer.Argument(
            help="list: a table; path: the file of NAME, for scripts; card: what NAME is and can do"
        ),
    ],
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="of path and card")] = None,
    format_: Annotated[
        Literal["text", "json"], typer.Option("--format", help="of list and card: to read, or JSON")
    ] = "text",
) -> None:
    """List the reference models: trained, measured, ready to generate with, by NAME where a MODEL.onnx is expected."""
    from hepgan.inference.shipped import reference_model

    if action == "list":
        if name is not None:
            raise ValueError(
                f"models list: expected no NAME, got {name!r}; hepgan models card {name} shows one"
            )
        _list_models(format_)
        return
    if name is None:
        raise ValueError(
            f"models {action}: expected the NAME of a model, got none; hepgan models list has them"
        )
    path = reference_model(name)
    if action == "path":
        typer.echo(str(path))
    else:
        card = path.with_suffix(".md" if format_ == "text" else ".json")
        typer.echo(card.read_text(encoding="utf-8"), nl=False)


def _list_models(format_: str) -> None:
    """Print the reference models as a table, or as JSON."""
    import json

    from hepgan.evaluation.verdict import format_measurement
    from hepgan.inference.metadata import open_model
    from hepgan.inference.shipped import reference_models
    from hepgan.report import tables
    from hepgan.report.cards import read_card

    entries, lines = [], []
    for name, path in reference_models().items():
        card, conditions = read_card(name), open_model(path).metadata.conditions
        size, auc = path.stat().st_size, card.auc
        ranges = "; ".join(f"{c.name} {c.expected.removesuffix(' (the trained range)')}" for c in conditions)
        area = f"{format_measurement(auc.measurement)} ({format_measurement(auc.floor)})"
        lines.append((name, card.what, ranges, f"{size / 1e6:.1f} MB", area))
        entries.append(
            {
                "name": name,
                "what": card.what,
                "path": str(path),
                "bytes": size,
                "conditions": [
                    c.model_dump(include={"name", "unit", "range", "categories"}) for c in conditions
                ],
                "auc": auc.model_dump(include={"value", "uncertainty", "floor"}),
            }
        )
    if format_ == "json":
        typer.echo(json.dumps(entries, indent=1))
        return
    headings = ("name", "what", "conditions", "size", "classifier AUC (floor)")
    tables.console().print(tables.plain("reference models", headings, lines, words=3))
