"""``hepgan demo``: the whole line on the shipped sample."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from hepgan import workflow
from hepgan.cli.app import app
from hepgan.cli.evaluation import evaluate
from hepgan.cli.models import check
from hepgan.cli.options import Device, Seed, Setting, joined
from hepgan.errors import NotFoundError
from hepgan.files import PACKAGE

__all__ = ["demo"]

DEMO_SHOWERS = 1000


@app.command(epilog="Example: hepgan demo --out demo-run")
def demo(
    out: Annotated[Path, typer.Option(help="run folder; an earlier demo there is continued")] = Path(
        "demo-run"
    ),
    minutes: Annotated[float, typer.Option(min=0.01, help="training time")] = 3.0,
    set_: Setting = None,
    seed: Seed = None,
    device: Device = None,
) -> None:
    """Train, evaluate, export, check and run a small calorimeter model on the shipped sample."""
    root = Path(os.path.relpath(PACKAGE.parent))
    sample = root / "data" / "eplus.root"
    if not sample.is_file():
        raise NotFoundError(
            f"demo sample not found: {sample}; expected the repository's data/ folder beside the package; "
            "run the demo from a checkout of it, installed with make install"
        )
    settings = [
        f"data.files={[sample.as_posix()]}",
        f"data.test_files={[(root / 'data' / 'eplus_test.root').as_posix()]}",
        f"training.max_minutes={minutes}",
        *joined(set_, seed=seed, device=device),
    ]
    run = workflow.train(
        PACKAGE / "configs" / "demo.toml", out=out, resume=(out / "config.toml").exists(), settings=settings
    )
    model, showers = run / "model.onnx", run / "showers.root"
    evaluate(run, fast=True)
    workflow.export(run, model)  # once more: now it carries the numbers of the report
    check(model)
    generator = workflow.load(model)
    energy = generator.conditions[0]
    workflow.generate(
        model,
        showers,
        n=DEMO_SHOWERS,
        conditions={energy.name: (energy.low, energy.high)},
        seed=1 if seed is None else seed,
    )
    typer.echo(f"Model:   {model}\nShowers: {showers}\nReport:  {run / 'report' / 'report.html'}")
