"""The command line: thin, one function a command; the work and the heavy imports are inside the commands.

Exit code 0: done; 1: a check failed; 2: bad input, with one message on stderr.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.logging import RichHandler
from typer.core import TyperGroup

import hepgan

if TYPE_CHECKING:
    from hepgan.config import Config
    from hepgan.data.events import Events
    from hepgan.evaluation.results import Results
    from hepgan.export.onnx import OnnxGenerator

__all__ = ["app", "main"]

PACKAGE = Path(__file__).parent
DEMO_SHOWERS = 1000

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
Model = Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="exported model, or a run folder")]


class _Commands(TyperGroup):
    """Turns bad input into one message and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (ValueError, OSError, FloatingPointError) as error:
            if ctx.params.get("debug"):
                raise
            typer.echo(f"hepgan: {error}", err=True)
            raise typer.Exit(1 if isinstance(error, FloatingPointError) else 2) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Entry point of the ``hepgan`` program."""
    app()


def _version(value: bool) -> None:
    if value:
        typer.echo(f"hepgan {hepgan.__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
    debug: Annotated[
        bool, typer.Option(envvar="HEPGAN_DEBUG", help="show the traceback of an error")
    ] = False,
) -> None:
    """Generators of detector response: trained on MC ROOT files, exported to one ONNX file that C++ runs."""
    handler = RichHandler(console=Console(stderr=True), show_path=False, show_level=False)
    logging.basicConfig(format="%(message)s", handlers=[handler], level=logging.WARNING)
    logging.getLogger("hepgan").setLevel(logging.DEBUG if debug else logging.INFO)


def _settings(settings: list[str] | None, *, seed: int | None, device: str | None = None) -> list[str]:
    """``--seed`` and ``--device`` as settings of the configuration, which ``--set`` may not contradict."""
    given = list(settings or [])
    if seed is not None:
        given.append(f"training.seed={seed}")
    if device is not None:
        given.append(f"training.device={device}")
    return given


def _model_file(path: Path) -> Path:
    """The ONNX file that a run folder or a path stands for."""
    if not path.is_dir():
        return path
    if not (path / "config.toml").is_file():
        raise FileNotFoundError(
            f"{path}: expected a run folder with config.toml, or a MODEL.onnx; got neither"
        )
    model, state = path / "model.onnx", path / "checkpoint" / "state.safetensors"
    if not model.is_file() or (state.is_file() and state.stat().st_mtime > model.stat().st_mtime):
        from hepgan.training.loop import export_run  # the run was killed before its last export

        return export_run(path, model)
    return model


def _recipe(path: Path, model: OnnxGenerator, settings: list[str]) -> Config:
    """The configuration of a run folder, or what an exported model says of its data."""
    from hepgan import config

    if path.is_dir():
        return config.load(path / "config.toml", settings=settings)
    values: dict[str, Any] = {"data": model.data.model_dump(mode="json", exclude_none=True)}
    for setting in settings:
        config.override(values, setting)
    return config.parse(values, source=str(path))


def _evaluation(settings: list[str] | None, *, fast: bool, networks: bool) -> list[str]:
    """Options of evaluate and compare as settings of the configuration."""
    given = list(settings or [])
    return given + ["evaluation.fast=true"] * fast + ["evaluation.networks=true"] * networks


def _conclude(results: Results, *, limits: dict[str, float], format_: str) -> None:
    """Print the outcome; exit with 1 if a limit is exceeded.

    Raises:
        ValueError: If a limit names nothing that was measured.
    """
    from hepgan.evaluation import gates
    from hepgan.report import tables

    if format_ == "json":
        typer.echo(results.to_json())
    else:
        tables.console().print(tables.verdict(results))
        typer.echo(f"Report: {results.report}")
    words = gates.exceeded(results, limits)
    for sentence in words:
        typer.echo(f"hepgan: {sentence}", err=True)
    if words:
        raise typer.Exit(1)


def _held_out(path: Path, recipe: Config) -> Events:
    """The events that training never saw."""
    from hepgan.data import splits as datasets

    if not path.is_dir() and not recipe.data.test_files:
        raise ValueError(
            f"{path}: an exported model does not hold the split of its training data; "
            "name events with --data FILE.root, or evaluate the run folder"
        )
    return datasets.test_events(recipe.data, seed=recipe.training.seed)


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
    from hepgan import config
    from hepgan.export.onnx import OnnxGenerator
    from hepgan.training import loop as training

    root = Path(os.path.relpath(PACKAGE.parent))
    sample = root / "data" / "eplus.root"
    if not sample.is_file():
        raise FileNotFoundError(
            f"demo sample not found: {sample}; expected the repository's data/ folder beside the package; "
            "run the demo from a checkout of it, installed with make install"
        )
    files = [
        f"data.files={[sample.as_posix()]}",
        f"data.test_files={[(root / 'data' / 'eplus_test.root').as_posix()]}",
        f"training.max_minutes={minutes}",
    ]
    settings = files + _settings(set_, seed=seed, device=device)
    recipe = config.load(PACKAGE / "configs" / "demo.toml", settings=settings)
    run = training.train(recipe, out, resume=(out / "config.toml").exists())
    model, showers = run / "model.onnx", run / "showers.root"
    evaluate(run, fast=True)
    export(run, out=model)  # once more: now it carries the numbers of the report
    check(model)
    energy = OnnxGenerator(model).conditions[0]
    wanted = f"{energy.name}={energy.low}:{energy.high}"
    generate(model, out=showers, number=DEMO_SHOWERS, condition=[wanted], seed=recipe.training.seed)
    typer.echo(f"Model:   {model}\nShowers: {showers}\nReport:  {run / 'report' / 'report.html'}")


@app.command(epilog="Example: hepgan inspect data/eplus.root --config > my.toml")
def inspect(
    file: Annotated[str, typer.Argument(metavar="FILE.root[:TREE]", help="ROOT file, and a tree in it")],
    config: Annotated[bool, typer.Option("--config", help="print a starting configuration instead")] = False,
) -> None:
    """Say what is in a ROOT file: trees, branches, types, shapes, ranges, NaN and sentinel values."""
    from hepgan.data import inspection

    if config:
        typer.echo(inspection.starting_config(file), nl=False)
    else:
        Console().print(inspection.render(inspection.inspect(file)))


@app.command(
    epilog="Example: hepgan convert photons.hdf5 photons.root --binning binning.xml --particle photon"
)
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN.hdf5", help="CaloGAN or CaloChallenge file")],
    out: Annotated[Path, typer.Argument(metavar="OUT.root", help="file to write")],
    binning: Annotated[Path | None, typer.Option(help="CaloChallenge binning XML")] = None,
    particle: Annotated[str | None, typer.Option(help="particle in the binning XML")] = None,
) -> None:
    """Convert CaloGAN and CaloChallenge HDF5 files to ROOT."""
    from hepgan.data import convert as conversion

    number = conversion.convert(source, out, binning=binning, particle=particle)
    typer.echo(f"{out}: {number} showers\nNext: hepgan inspect {out}")
    if binning is not None:
        typer.echo(
            f"The cells' positions stay in the binning: geometry = {binning.as_posix()!r} under [data.calorimeter]"
        )


@app.command(epilog="Example: hepgan train my.toml --out runs/first --set training.steps=5000")
def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="see docs/config.md")],
    out: Annotated[
        Path | None, typer.Option(help="run folder; default: runs/<name of the configuration>")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="continue from the run's last checkpoint")] = False,
    set_: Setting = None,
    seed: Seed = None,
    device: Device = None,
) -> None:
    """Train a generator; Ctrl-C saves and exits, --resume continues as if nothing had happened."""
    from hepgan.config import load
    from hepgan.training import loop as training

    recipe = load(config, settings=_settings(set_, seed=seed, device=device))
    run = training.train(recipe, out or Path("runs", config.stem), resume=resume)
    typer.echo(f"{run}\nNext: hepgan evaluate {run}")


@app.command(epilog="Example: hepgan evaluate runs/first --data data/eplus_test.root")
def evaluate(
    model: Annotated[Path, typer.Argument(metavar="RUN_or_MODEL.onnx", help="run folder or exported model")],
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
    from hepgan.data import reading as readers
    from hepgan.data import splits as datasets
    from hepgan.evaluation import gates
    from hepgan.export.onnx import OnnxGenerator
    from hepgan.report import writing

    limits = gates.parse(fail_above or [])
    generator = OnnxGenerator(_model_file(model))
    recipe = _recipe(model, generator, _evaluation(set_, fast=fast, networks=networks))
    if data:
        reference = readers.read(recipe.data, files=data, progress=True)
    else:  # as the training split them, whatever --set says
        reference = _held_out(model, _recipe(model, generator, []))
    training = None
    if model.is_dir() and not recipe.evaluation.fast:  # copies of them would be memorised showers
        training = datasets.training_events(recipe.data, seed=recipe.training.seed, progress=True)[0]
    report = out or (model / "report" if model.is_dir() else model.with_name(f"{model.stem}-report"))
    number = recipe.training.seed if seed is None else seed
    results = writing.evaluate_events(
        generator,
        reference,
        training=training,
        config=recipe.evaluation,
        out=report,
        seed=number,
        weights=weights,
    )
    _conclude(results, limits=limits, format_=format_)


@app.command(epilog="Example: hepgan compare fast.root geant4.root --config my.toml --out comparison")
def compare(
    first: Annotated[Path, typer.Argument(metavar="A.root", help="sample under test")],
    second: Annotated[Path, typer.Argument(metavar="B.root", help="reference sample")],
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
    from hepgan import files
    from hepgan.config import load
    from hepgan.data import reading as readers
    from hepgan.evaluation import gates
    from hepgan.report import writing

    limits = gates.parse(fail_above or [])
    settings = _settings(_evaluation(set_, fast=fast, networks=networks), seed=seed)
    recipe = load(config, settings=settings)
    sample, reference = (
        readers.read(recipe.data, files=[str(file)], progress=True) for file in (first, second)
    )
    results = writing.compare_events(
        sample,
        reference,
        data=recipe.data,
        config=recipe.evaluation,
        out=out,
        names=(first.name, second.name) if second.name != first.name else (str(first), str(second)),
        seed=recipe.training.seed,
        weights=weights,
        provenance={
            "files": {
                role: files.digest([str(file)]) for role, file in (("sample", first), ("reference", second))
            }
        },
    )
    _conclude(results, limits=limits, format_=format_)


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
    if format_ != "onnx" and batch is not None:
        raise ValueError(f"--batch: {format_} computes one row at a time; leave it out")
    if not (run / "config.toml").is_file():
        raise FileNotFoundError(
            f"{run}: expected a run folder with config.toml, got none; name the --out of hepgan train"
        )
    from hepgan.training.loop import export_run

    written = export_run(run, out, batch=batch, format=format_)
    typer.echo(f"{written}\nNext: hepgan check {out}" if format_ == "onnx" else str(written))


@app.command(epilog="Example: hepgan check showers.onnx --target sofie")
def check(
    model: Model,
    target: Annotated[
        Literal["onnxruntime", "sofie", "onnx2c"] | None,
        typer.Option(help="also list what stands in the way of this program"),
    ] = None,
) -> None:
    """Print what a model says of itself, and re-run the reference vectors that it carries."""
    from hepgan.export.onnx import OnnxGenerator
    from hepgan.report import tables

    generator = OnnxGenerator(_model_file(model))
    results = generator.check()
    if target is not None:
        lines = generator.lint(target)
        results.append((f"target {target}", not lines, "; ".join(lines) or "nothing stands in the way"))
    tables.console().print(tables.description(generator.metadata), tables.checks(results))
    if not all(passed for _, passed, _ in results):
        typer.echo(f"hepgan: {model}: a check failed, see above; export the model again", err=True)
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
        Path | None, typer.Option(metavar="FILE.root", help="take the conditions of these events")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="seed of all random numbers")] = 1,
    run: Annotated[int, typer.Option(min=0, help="run number, the other half of the noise's key")] = 0,
    first_event: Annotated[
        int, typer.Option(min=0, help="event number of the first row; another one for each job of a sample")
    ] = 0,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="events at once; default: what is fastest")
    ] = None,
    extrapolate: Annotated[
        bool, typer.Option("--extrapolate", help="accept conditions outside the trained range")
    ] = False,
    format_: Annotated[Literal["ttree", "rntuple"], typer.Option("--format", help="kind of tree")] = "ttree",
) -> None:
    """Generate events in bulk into a ROOT file with the branch names of the training file."""
    from hepgan.export.onnx import OnnxGenerator
    from hepgan.inference import bulk as generation

    pairs = [generation.parse_condition(text) for text in condition or []]
    conditions = dict(pairs)
    if len(conditions) < len(pairs):
        raise ValueError(
            f"--condition: expected each name once, got {[name for name, _ in pairs]}; "
            "give a range as NAME=LOW:HIGH"
        )
    generation.generate(
        OnnxGenerator(_model_file(model)),
        out,
        n=number,
        conditions=conditions,
        conditions_from=conditions_from,
        seed=seed,
        run=run,
        first_event=first_event,
        batch_size=batch_size,
        extrapolate=extrapolate,
        format=format_,
        progress=True,
    )
    typer.echo(str(out))


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
) -> None:
    """Write toy Monte Carlo with known truth."""
    from hepgan import toys

    given = {"species": species or None, "background": background}
    options = {key: value for key, value in given.items() if value is not None}
    toys.write(name, out, n=number, seed=seed, progress=True, **options)
    typer.echo(f"{out}\nNext: hepgan inspect {out}")


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
    """Train every objective on the same data with the same networks, and compare what is left."""
    from hepgan.report import tables
    from hepgan.studies import benchmark as comparison

    results = comparison.run(
        data=data or list(comparison.WORK),
        rows=list(comparison.ROWS) if rows is None else rows.split(","),
        seeds=seeds,
        steps=steps,
        out=out,
        settings=_settings(set_, seed=None, device=device),
        progress=True,
    )
    for name in data or comparison.WORK:
        tables.console().print(tables.plain(name, *comparison.table(results, name)))
    typer.echo(f"Tables:  {out / 'results.md'}\nNumbers: {out / 'results.json'}")
