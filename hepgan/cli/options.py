"""Options that mean the same in every command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = [
    "Compression",
    "Device",
    "FailAbove",
    "Fast",
    "Format",
    "Model",
    "Networks",
    "Seed",
    "Setting",
    "Weights",
    "joined",
]

Setting = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="change a configuration key, such as training.steps=1000"
    ),
]
Seed = Annotated[
    int | None, typer.Option(min=0, help="seed of all random numbers; default: the configuration's")
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"] | None,
    typer.Option(help="auto: CUDA when there is one; default: the configuration's"),
]
Fast = Annotated[
    bool, typer.Option("--fast", help="leave out what takes minutes: transport, critic, copies, all bins")
]
Networks = Annotated[
    bool,
    typer.Option(
        "--networks", help="train CaloChallenge's two classifier networks too (hours without a GPU)"
    ),
]
FailAbove = Annotated[
    list[str] | None,
    typer.Option(
        metavar="METRIC=VALUE",
        help="exit with 1 if a number of the verdict (its key in metrics.json) is larger",
    ),
]
Format = Annotated[
    Literal["text", "json"], typer.Option("--format", help="a table, or metrics.json on the standard output")
]
Weights = Annotated[
    Path | None,
    typer.Option(metavar="OUT.root", help="write a weight for each event that corrects the sample"),
]
Compression = Annotated[
    str,
    typer.Option(
        metavar="NAME[:LEVEL]", help="of the file: zstd (fast), lzma (small), lz4, zlib, or none; zstd:5"
    ),
]
Model = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL.onnx",
        help="exported model, run folder, or name of a reference model (hepgan models list)",
    ),
]


def joined(
    settings: list[str] | None,
    *,
    seed: int | None = None,
    device: str | None = None,
    fast: bool = False,
    networks: bool = False,
) -> list[str]:
    """Options as settings of the configuration, after those of ``--set``, which may not contradict them."""
    given = list(settings or [])
    if seed is not None:
        given.append(f"training.seed={seed}")
    if device is not None:
        given.append(f"training.device={device}")
    return given + ["evaluation.fast=true"] * fast + ["evaluation.networks=true"] * networks
