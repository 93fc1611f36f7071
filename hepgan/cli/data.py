"""``hepgan inspect``, ``convert``, ``prepare`` and ``toy``: ROOT files to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hepgan import workflow
from hepgan.cli.app import app
from hepgan.cli.options import Compression, Setting
from hepgan.trees import COMPRESSION

__all__ = ["convert", "inspect", "prepare", "toy"]


@app.command(epilog="Example: hepgan inspect data/eplus.root --config > my.toml")
def inspect(
    file: Annotated[str, typer.Argument(metavar="FILE.root[:TREE]", help="ROOT file, and a tree in it")],
    config: Annotated[bool, typer.Option("--config", help="print a starting configuration instead")] = False,
    kind: Annotated[
        Literal["showers", "tracks"] | None, typer.Option(help="--config: read the file as these")
    ] = None,
) -> None:
    """Say what is in a ROOT file: trees, branches, types, shapes, ranges, NaN and sentinel values."""
    from hepgan.progress import shown, stage

    if config:
        from hepgan.data.starting import starting_config

        with shown(True), stage("inspecting"):
            text = starting_config(file, kind=kind)
        typer.echo(text, nl=False)
    else:
        from hepgan.data.inspection import render
        from hepgan.report.tables import console

        console().print(render(workflow.inspect(file, progress=True)))


@app.command(
    epilog="Example: hepgan convert photons.hdf5 photons.root --binning binning.xml --particle photon"
)
def convert(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN",
            help="CaloGAN or CaloChallenge file (HDF5); for OUT.toml: binning XML, ROOT file that carries its "
            "geometry, configuration, or model",
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="OUT.root: showers; OUT.toml: a geometry file")],
    binning: Annotated[
        Path | None, typer.Option(help="CaloChallenge binning XML, or the geometry in TOML")
    ] = None,
    particle: Annotated[str | None, typer.Option(help="particle in the binning XML")] = None,
    compression: Compression = COMPRESSION,
) -> None:
    """Convert CaloGAN and CaloChallenge files: showers from HDF5 to ROOT, a binning to a geometry file in TOML."""
    if out.suffix.lower() == ".toml":
        _convert_geometry(source, out, particle=particle)
        return
    from hepgan.data.convert import convert_hdf5
    from hepgan.progress import shown, stage

    with shown(True), stage("converting"):
        number = convert_hdf5(source, out, binning=binning, particle=particle, compression=compression)
    typer.echo(f"{out}: {number} showers\nNext: hepgan inspect {out} --config > my.toml")


def _convert_geometry(source: Path, out: Path, *, particle: str | None) -> None:
    """Write the geometry of a file as TOML."""
    from hepgan.config.geometry import geometry_text
    from hepgan.files import check_target, write_text
    from hepgan.inference.geometries import read_geometry

    check_target(out)
    calorimeter = read_geometry(source, particle=particle)
    write_text(out, geometry_text(calorimeter))
    typer.echo(
        f"{out}: {calorimeter.n_layers} layers, {calorimeter.n_cells} cells\n"
        f"Next: geometry = {out.as_posix()!r} under [data.calorimeter]"
    )


@app.command(epilog="Example: hepgan prepare my.toml --out /scratch/cache --workers 8")
def prepare(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="see docs/config.md")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="folder of the cache")],
    workers: Annotated[
        int | None, typer.Option(min=1, help="processes that read; default: one for each processor")
    ] = None,
    scheduler: Annotated[
        str,
        typer.Option(
            metavar="tcp://HOST:PORT", help="Dask scheduler, whose workers read instead of processes"
        ),
    ] = "",
    set_: Setting = None,
) -> None:
    """Read ROOT files that do not fit into the memory once into a cache on the disk, which trainings stream from.

    Stopped, it goes on with the same command.
    """
    folder = workflow.prepare(config, out, workers=workers, scheduler=scheduler, settings=set_ or ())
    typer.echo(f"{folder}\nNext: hepgan train {config} --set data.cache={folder}")


@app.command(epilog="Example: hepgan toy rich -n 100000 --species K --species pi --out tracks.root")
def toy(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="rich: tracks with Cherenkov likelihoods; shower-shape: centre and energy of showers; jets: images "
            "of jets; ring, grid: points in Gaussian modes of a plane",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="OUT.root", help="file to write")],
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="how many events")],
    species: Annotated[
        list[str] | None,
        typer.Option(help="of rich, particle: e, mu, pi, K or p; default: all, in equal shares"),
    ] = None,
    background: Annotated[
        float | None, typer.Option(help="of rich, fraction of tracks that sWeights subtract; default: 0")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="seed of all random numbers")] = 1,
    compression: Compression = COMPRESSION,
) -> None:
    """Write toy Monte Carlo with known truth."""
    from hepgan import toys

    given = {"species": species or None, "background": background}
    options = {key: value for key, value in given.items() if value is not None}
    toys.write(name, out, n=number, seed=seed, compression=compression, progress=True, **options)
    typer.echo(f"{out}\nNext: hepgan inspect {out}")
