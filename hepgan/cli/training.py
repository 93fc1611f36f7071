"""``hepgan train``, ``hepgan tune`` and ``hepgan benchmark``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from hepgan import workflow
from hepgan.cli.app import app
from hepgan.cli.options import Device, Seed, Setting, joined

__all__ = ["benchmark", "train", "tune"]


@app.command(epilog="Example: hepgan train my.toml --out runs/first --workers 4 --set training.steps=5000")
def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="see docs/config.md")],
    out: Annotated[
        Path | None, typer.Option(help="run folder; default: runs/<name of the configuration>")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="continue from the run's last checkpoint")] = False,
    auto_resume: Annotated[
        bool,
        typer.Option(
            "--auto-resume",
            help="continue the run if there is one, else start it: for batch systems and torchrun, which start the "
            "same command again",
        ),
    ] = False,
    workers: Annotated[
        int, typer.Option(min=1, help="processes that share each batch, one a core or GPU (docs/scale.md)")
    ] = 1,
    set_: Setting = None,
    seed: Seed = None,
    device: Device = None,
) -> None:
    """Train a generator; Ctrl-C saves and exits, --resume continues as if nothing had happened."""
    from hepgan.training.run_folder import selected

    settings = joined(set_, seed=seed, device=device)
    run = workflow.train(
        config, out=out, resume="auto" if auto_resume else resume, settings=settings, workers=workers
    )
    if os.environ.get("RANK", "0") == "0":  # the first of the processes that torchrun starts
        typer.echo(f"selected: {selected(run)}", err=True)
        typer.echo(f"{run}\nNext: hepgan evaluate {run}")


@app.command(epilog="Example: hepgan tune my.toml --trials 50 --workers 2")
def tune(
    config: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG.toml", help="its table tune.space says what is varied; docs/tuning.md"
        ),
    ],
    trials: Annotated[
        int,
        typer.Option(
            min=1,
            help="trials of the study in all: the same command goes on with a study that was stopped, a larger number "
            "adds trials to it",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="folder of the study; default: runs/<name of the configuration>-tune"),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="processes on this machine; others may join with the same --out")
    ] = 1,
    set_: Setting = None,
    seed: Seed = None,
    device: Device = None,
) -> None:
    """Search for the settings of the smallest validation distance; Ctrl-C saves and exits."""
    from hepgan.config import load
    from hepgan.report import tables
    from hepgan.studies import search_page, tuning

    folder = Path("runs", f"{config.stem}-tune") if out is None else out
    recipe = load(config, settings=joined(set_, seed=seed, device=device))
    results = tuning.tune(recipe, folder, trials=trials, workers=workers)
    tables.console().print(tables.plain(config.stem, *search_page.table(results)))
    typer.echo(f"Report:  {folder / 'report.html'}\nNumbers: {folder / 'results.json'}")
    if results.winner is not None:
        other = recipe.training.seed + 1  # the best of many trials is the luckiest too
        typer.echo(f"Next: hepgan train {folder / 'best.toml'} --seed {other}")


@app.command(epilog="Example: hepgan benchmark objectives --data ring --rows wgan-gp,minimax --steps 1000")
def benchmark(
    what: Annotated[Literal["objectives"], typer.Argument(help="what is compared")],
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME_or_FILE.root",
            help="ring, shower-shape, calorimeter, rich, or a file of your own; default: these four",
        ),
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME,...",
            help="objectives, also as OBJECTIVE+REGULARISER (docs/objectives.md); default: all",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="trainings of each row on each data set")] = 3,
    steps: Annotated[int, typer.Option(min=1, help="generator steps of each")] = 2000,
    out: Annotated[
        Path, typer.Option(help="folder of the results; what is there is not trained again")
    ] = Path("runs/benchmark"),
    set_: Setting = None,
    device: Device = None,
) -> None:
    """Train every objective on the same data with the same networks, and compare the generated events."""
    from hepgan.report import tables
    from hepgan.studies import benchmark as study

    names = data or list(study.WORK)
    results = study.run(
        data=names,
        rows=list(study.ROWS) if rows is None else rows.split(","),
        seeds=seeds,
        steps=steps,
        out=out,
        settings=joined(set_, device=device),
        progress=True,
    )
    for name in names:
        tables.console().print(tables.plain(name, *study.table(results, name)))
    typer.echo(f"Tables:  {out / 'results.md'}\nNumbers: {out / 'results.json'}")
