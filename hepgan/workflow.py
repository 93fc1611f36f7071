"""The functions of ``import hepgan`` and of the command line: each goes from files to files in one call.

Heavy imports are inside the functions: a program that only generates never imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hepgan.errors import NotFoundError
from hepgan.files import expand
from hepgan.trees import COMPRESSION

if TYPE_CHECKING:
    from hepgan.config import Config, Settings
    from hepgan.data.events import Events
    from hepgan.data.summaries import Report
    from hepgan.evaluation.results import Results
    from hepgan.inference.checking import Check
    from hepgan.inference.generator import Generator

__all__ = [
    "check",
    "compare",
    "evaluate",
    "export",
    "generate",
    "inspect",
    "load",
    "prepare",
    "read",
    "reference_models",
    "train",
]


def train(
    config: str | Path | Config,
    *,
    out: str | Path | None = None,
    resume: bool | Literal["auto"] = False,
    settings: Settings = (),
    workers: int = 1,
    progress: bool = True,
) -> Path:
    """Train a generator as a configuration says.

    Args:
        config: A TOML file (docs/config.md), or a configuration.
        out: The run folder; default: ``runs/<name of the file>``.
        resume: Go on with the run in `out` from its last checkpoint; "auto": if there is one, else start it.
        settings: Changes of keys of the file.
        workers: Processes that share each batch (docs/scale.md); a script that asks for several needs
            ``if __name__ == "__main__":`` around what it does.
        progress: Show a progress bar on the standard error.

    Returns:
        The run folder: configuration, checkpoint, ``metrics.jsonl`` and ``model.onnx``.

    Raises:
        NotFoundError: If a file, or the run to resume, is missing.
        ConfigError: If the configuration is wrong, or the folder holds another run.
        DataError: If the events cannot be used.
        TrainingDiverged: If a loss stops being finite; the last checkpoint stays.
        WorkerFailed: If one of several workers fails or is killed; the last checkpoint stays.
        Interrupted: By Ctrl-C or SIGTERM; the run is saved, and `resume` goes on.

    Example:
        >>> run = hepgan.train("my.toml", out="runs/first", settings={"training.steps": 20})
        >>> (run / "model.onnx").is_file()
        True
    """
    from hepgan.training import loop

    recipe = _configuration(config, settings)
    if out is None:
        if not isinstance(config, (str, Path)):
            raise ValueError("out: expected a folder for the run, got none; name one")
        out = Path("runs", Path(config).stem)
    return loop.train(recipe, out, resume=resume, workers=workers, progress=progress)


def prepare(
    config: str | Path | Config,
    out: str | Path,
    *,
    workers: int | None = None,
    scheduler: str = "",
    settings: Settings = (),
    progress: bool = True,
) -> Path:
    """Read the training files once into a cache on the disk, from which trainings stream.

    For events that do not fit into the memory; ``data.cache`` in the configuration names the folder. A call that was
    stopped is repeated, and goes on.

    Args:
        config: A TOML file, or a configuration.
        out: The folder.
        workers: Processes that read; default: one for each processor.
        scheduler: Address of a Dask scheduler, whose workers read instead; they must see the files and the folder
            under the same names (needs the extra ``dask``).
        settings: Changes of keys of the file.
        progress: Show a progress bar on the standard error.

    Returns:
        The folder.

    Raises:
        NotFoundError: If a file is missing.
        ConfigError: If the configuration is wrong, or the folder holds a cache of another one.
        DataError: If the events cannot be used, or the folder holds something else.
        OSError: If there is not enough room, or the folder cannot be written.

    Example:
        >>> hepgan.prepare("my.toml", "cache", workers=1).name
        'cache'
        >>> run = hepgan.train("my.toml", out="runs/streamed", settings={"data.cache": "cache", "training.steps": 2})
    """
    from hepgan.data.cores import available_cores
    from hepgan.data.names import completed
    from hepgan.data.preparing import prepare as fill

    data = completed(_configuration(config, settings).data)
    count = available_cores() if workers is None else workers
    return fill(data, out, workers=count, scheduler=scheduler, progress=progress).folder


def evaluate(
    model: str | Path,
    *,
    data: Sequence[str | Path] | str | Path | None = None,
    out: str | Path | None = None,
    settings: Settings = (),
    seed: int | None = None,
    weights: str | Path | None = None,
    progress: bool = True,
) -> Results:
    """Compare a generator with full simulation that its training never saw: ``metrics.json`` and ``report.html``.

    Args:
        model: A run folder, an exported file, or the name of a reference model.
        data: ROOT files of reference events; default: the events that the run set aside.
        out: Folder of the report; default: ``report`` in the run folder, ``<name>-report`` beside a file.
        settings: Changes of keys, such as ``{"evaluation.fast": True}``. The split into training and held-out events
            stays the run's.
        seed: Seed of everything random in the measurement; default: the training's.
        weights: ROOT file to write, with a weight for each generated event that corrects it.
        progress: Show progress on the standard error.

    Returns:
        Every number with its uncertainty, floor and verdict; ``result.report`` is the page.

    Raises:
        NotFoundError: If the model or a file is missing.
        ModelFileError: If the file is not one of hepgan, or damaged.
        DataError: If the reference events cannot be used.

    Example:
        >>> result = hepgan.evaluate("runs/first", settings={"evaluation.fast": True})
        >>> auc = result["classifier_auc"]
        >>> 0 <= auc.value <= 1 and auc.uncertainty >= 0 and auc.floor is not None
        True
        >>> result.verdict in ("pass", "warn", "fail", "info")
        True
    """
    from hepgan.data.held_out import evaluation_events
    from hepgan.inference.generator import Generator
    from hepgan.report.writing import evaluate_events

    model = Path(model)
    generator = Generator(_model_file(model))
    recipe, own = (_recipe_of(model, generator, changes) for changes in (settings, ()))
    reference, training = evaluation_events(
        own.data,
        asked=recipe.data,
        files=None if data is None else _files(data),
        seed=own.training.seed,
        model=model,
        data_sha256=generator.metadata.provenance.get("data_sha256"),
        with_training=not recipe.evaluation.fast,  # copies of these would be memorised events
        progress=progress,
    )
    default = model / "report" if model.is_dir() else model.with_name(f"{model.stem}-report")
    return evaluate_events(
        generator,
        reference,
        training=training,
        config=recipe.evaluation,
        out=Path(out) if out is not None else default,
        seed=recipe.training.seed if seed is None else seed,
        weights=weights,
        progress=progress,
    )


def compare(
    *,
    sample: Sequence[str | Path] | str | Path,
    reference: Sequence[str | Path] | str | Path,
    config: str | Path | Config,
    out: str | Path = "comparison",
    settings: Settings = (),
    weights: str | Path | None = None,
    progress: bool = True,
) -> Results:
    """Compare two sets of ROOT files: fast simulation with full, Monte Carlo with data.

    Writes ``metrics.json`` and ``report.html``.

    Args:
        sample: Files under test.
        reference: Files to compare with.
        config: Says how to read both.
        out: Folder of the report.
        settings: Changes of keys of the configuration.
        weights: ROOT file to write, with a weight for each event of the sample that corrects it.
        progress: Show progress on the standard error.

    Returns:
        As `evaluate`.

    Raises:
        NotFoundError: If a file is missing.
        ConfigError: If the configuration is wrong.
        DataError: If the events of a file cannot be used.

    Example:
        >>> result = hepgan.compare(
        ...     sample="fast.root", reference="geant4.root", config="my.toml", settings={"evaluation.fast": True}
        ... )
        >>> result.report.name
        'report.html'
    """
    from hepgan.data.held_out import warn_of_shared
    from hepgan.data.reading import read as read_events
    from hepgan.files import digest
    from hepgan.report.writing import compare_events

    recipe = _configuration(config, settings)
    files = {"sample": _files(sample), "reference": _files(reference)}
    names = {role: ", ".join(Path(name).name for name in group) for role, group in files.items()}
    if names["sample"] == names["reference"]:
        names = {role: ", ".join(group) for role, group in files.items()}
    events = {role: read_events(recipe.data, files=group, progress=progress) for role, group in files.items()}
    warn_of_shared(events["sample"], events["reference"])
    return compare_events(
        events["sample"],
        events["reference"],
        data=recipe.data,
        config=recipe.evaluation,
        out=out,
        names=(names["sample"], names["reference"]),
        seed=recipe.training.seed,
        weights=weights,
        progress=progress,
        provenance={"files": {role: digest(group) for role, group in files.items()}},
    )


def export(
    run: str | Path,
    out: str | Path,
    *,
    format: Literal["onnx", "lwtnn", "cpp"] = "onnx",
    batch: int | None = None,
) -> Path:
    """Write the selected generator of a run as one self-describing file.

    Args:
        run: The run folder.
        out: The file.
        format: ``onnx``; ``cpp``: a C++ header, and its weights beside it; ``lwtnn``: JSON, of observables only.
        batch: ONNX: a fixed number of rows; default: any number.

    Returns:
        The file.

    Raises:
        NotFoundError: If the folder holds no run.
        ConfigError: If the format cannot express the generator.
        ModelFileError: If the checkpoint is damaged.
        ValueError: If there is no such format, or it has no batch.

    Example:
        >>> hepgan.export("runs/first", "showers.onnx").name
        'showers.onnx'
    """
    from hepgan.training.run_folder import export_run

    return export_run(run, out, batch=batch, format=format)


def load(model: str | Path, *, threads: int = 1) -> Generator:
    """Open a generator; needs no torch, unless a run folder has a checkpoint that is newer than its ``model.onnx``.

    Args:
        model: A run folder, an exported file, or the name of a reference model.
        threads: Threads of ONNX Runtime; 1 leaves the cores to the caller.

    Returns:
        The generator: ``generate`` gives showers or tracks by the names of the conditions.

    Raises:
        NotFoundError: If there is no such file.
        ModelFileError: If it is not an ONNX file of hepgan, damaged, or altered.

    Example:
        >>> generator = hepgan.load("runs/first")
        >>> showers = generator.generate(incident_energy=[10, 20], seed=1)
        >>> showers["layer_0"].shape
        (2, 3, 4)
    """
    from hepgan.inference.generator import Generator

    return Generator(_model_file(Path(model)), threads=threads)


def check(
    model: str | Path,
    *,
    target: Literal["onnxruntime", "sofie", "onnx2c"] | None = None,
    geometry: str | Path | None = None,
    particle: str | None = None,
) -> list[Check]:
    """Test an exported file: reference vectors, rows one by one against all at once, operators, physics.

    Args:
        model: A run folder, an exported file, or the name of a reference model.
        target: Also look for what this program would refuse in the file; it is not run.
        geometry: Also compare the cells of the model with those of this file: a geometry file (TOML, binning XML, ROOT
            file that carries one), a configuration, or another model.
        particle: The particle in a binning XML that has several.

    Returns:
        Name, outcome and details of each test.

    Raises:
        NotFoundError: If there is no such file.
        ModelFileError: If it is not an ONNX file of hepgan, damaged, or altered.
        ConfigError: If the geometry file does not describe a calorimeter.
        ValueError: If a geometry is given for a model of tracks.

    Example:
        >>> all(test.passed for test in hepgan.check("showers.onnx"))
        True
    """
    from hepgan.inference.geometries import read_geometry

    expected = None if geometry is None else read_geometry(geometry, particle=particle)
    return load(model).check(target=target, geometry=expected)


def generate(
    model: str | Path,
    out: str | Path,
    *,
    n: int | None = None,
    conditions: Mapping[str, float | tuple[float, float] | str] | None = None,
    conditions_from: str | Path | Sequence[str | Path] | None = None,
    seed: int = 1,
    run: int = 0,
    first_event: int = 0,
    batch_size: int | None = None,
    extrapolate: bool = False,
    out_of_range: Literal["error", "clamp", "skip", "extrapolate"] = "error",
    format: Literal["ttree", "rntuple"] = "ttree",
    compression: str = COMPRESSION,
    workers: int | None = None,
    shards: int | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Generate in bulk into ROOT files with the names of the training file; memory does not grow with `n`.

    Args:
        model: A run folder, an exported file, or the name of a reference model.
        out: The file; it appears when it is complete.
        n: Number of showers or tracks; default: as many as `conditions_from` has.
        conditions: For each condition a value, a range (low, high) to draw from, or the name of a category.
        conditions_from: Take the conditions of this ROOT file, or of these files and patterns, instead, one by one.
        seed: With `run` and the event number the key of the noise.
        run: Run number.
        first_event: Event number of the first row; jobs of one sample differ in it, or in the run.
        batch_size: Rows that the network computes at once; default: what is fastest.
        extrapolate: The same as ``out_of_range="extrapolate"``.
        out_of_range: Refuse conditions outside the trained range (``error``), ``clamp`` them to its nearest end,
            ``skip`` their rows (the branch ``condition_row`` says which are left), or ``extrapolate``; this is said.
        format: Kind of the tree.
        compression: Name and, after a colon, level: ``"zstd:5"``, ``"lz4"``, ``"zlib"``, ``"lzma"``, ``"none"``.
        workers: Threads that generate; default: all cores of the process. The content does not depend on it.
        shards: Write this number of files instead, ``OUT-0001.root`` and so on, each when it is complete.
        resume: Keep complete files of the same request, and generate only what is missing.
        progress: Show a progress bar on the standard error.

    Returns:
        The file, or a pattern for the shards.

    Raises:
        ValueError: If an argument is wrong, or a condition unknown, missing, or outside its trained range.
        DataError: If a file to read, or to keep, cannot be used.
        OSError: If a file is missing, cannot be written, or is in the way of shards.

    Example:
        >>> hepgan.generate("showers.onnx", "fast.root", n=100, conditions={"incident_energy": (2, 60)}).name
        'fast.root'
    """
    from hepgan.inference import bulk
    from hepgan.inference import shards as files

    key = {"seed": seed, "run": run, "first_event": first_event}
    bulk.generate(
        load(model),
        out,
        n=n,
        conditions=conditions,
        conditions_from=conditions_from,
        **key,
        batch_size=batch_size,
        extrapolate=extrapolate,
        out_of_range=out_of_range,
        format=format,
        compression=compression,
        workers=workers,
        shards=shards,
        resume=resume,
        progress=progress,
    )
    return Path(out) if shards is None else files.pattern(Path(out))


def read(
    files: Sequence[str | Path] | str | Path,
    config: str | Path | Config,
    *,
    settings: Settings = (),
    progress: bool = False,
) -> Events:
    """Read ROOT files as the training sees them: after the cut, checked, in the configured order.

    Args:
        files: Paths, globs or URLs.
        config: Says how to read them.
        settings: Changes of keys of the configuration.
        progress: Show a progress bar on the standard error.

    Returns:
        Conditions, cells and overflow or targets, and weights, as arrays of all events.

    Raises:
        NotFoundError: If a file is missing.
        ConfigError: If the configuration is wrong.
        DataError: If the events cannot be used.

    Example:
        >>> events = hepgan.read("geant4.root", "my.toml")
        >>> events.cells.shape[1]
        36
    """
    from hepgan.data.reading import read as read_events

    recipe = _configuration(config, settings)
    return read_events(recipe.data, files=_files(files), progress=progress)


def inspect(path: str | Path, *, progress: bool = False) -> Report:
    """Summarise the trees and branches of a ROOT file.

    Args:
        path: ``FILE.root`` or ``FILE.root:TREE``; the file may be a URL.
        progress: Show a progress bar on the standard error.

    Returns:
        For each tree its branches with types, shapes, ranges, NaN and sentinel counts.

    Raises:
        NotFoundError: If there is no such file.
        DataError: If it is not a readable ROOT file.

    Example:
        >>> [tree.name for tree in hepgan.inspect("geant4.root").trees]
        ['showers']
    """
    from hepgan.data.inspection import inspect as summarise

    return summarise(path, progress=progress)


def reference_models() -> dict[str, Path]:
    """The models that come with hepgan, trained and measured: ``hepgan models card NAME`` describes one.

    Returns:
        The exported file of each by its name, which `load`, `check`, `generate` and `evaluate` take as well.

    Example:
        >>> path = hepgan.reference_models()["eplus"]
        >>> showers = hepgan.load("eplus").generate(incident_energy=[10, 20], seed=1)
        >>> showers["layer_0"].shape
        (2, 3, 96)
    """
    from hepgan.inference.shipped import reference_models as shipped

    return shipped()


def _files(files: Sequence[str | Path] | str | Path) -> list[str]:
    return expand([files] if isinstance(files, (str, Path)) else [*files])


def _configuration(config: str | Path | Config, settings: Settings) -> Config:
    from hepgan.config import Config, load, parse

    if not isinstance(config, Config):
        return load(config, settings=settings)
    return parse(config.model_dump(mode="json", exclude_none=True), settings=settings)


def _model_file(path: Path) -> Path:
    """The ONNX file of a run folder, exported now if the run was killed before; or the file or name itself."""
    if not path.is_dir():
        return path
    model, state = path / "model.onnx", path / "checkpoint" / "state.safetensors"
    if not (path / "config.toml").is_file():
        if model.is_file():
            return model
        raise NotFoundError(f"{path}: expected a run folder with config.toml, or a MODEL.onnx; got neither")
    if not model.is_file() or (state.is_file() and state.stat().st_mtime > model.stat().st_mtime):
        return export(path, model)
    return model


def _recipe_of(path: Path, generator: Generator, settings: Settings) -> Config:
    """The configuration of a run folder, or one made from the ``[data]`` table of an exported file."""
    from hepgan.config import load, parse

    if path.is_dir():
        return load(path / "config.toml", settings=settings)
    values = {"data": generator.data.model_dump(mode="json", exclude_none=True)}
    return parse(values, source=str(path), settings=settings)
