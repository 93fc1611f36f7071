"""Run folder: the paths of its files, whether a training may use it, and its selected generator, also as a file."""

from __future__ import annotations

import hashlib
import logging
import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hepgan import config as configuration
from hepgan.config import Config
from hepgan.config.checking import tomllib
from hepgan.errors import ConfigError, DataError, ExportError, ModelFileError, NotFoundError
from hepgan.evaluation.records import Number
from hepgan.evaluation.results import read_results
from hepgan.exporting.formats import FORMATS, Format
from hepgan.files import check_target, exclusive, write_bytes
from hepgan.models import MODELS, CaloGenerator, ObservablesGenerator
from hepgan.training import checkpoint
from hepgan.training.state import RunProgress, SavedState

__all__ = ["RunFolder", "changed_keys", "export_run", "export_trained", "load_generator", "selected"]

logger = logging.getLogger(__name__)

_FREE_TO_CHANGE = {
    f"training.{key}" for key in ("max_minutes", "save_every_minutes", "threads", "log_every", "tensorboard")
}
_FREE_TO_CHANGE |= {"data.cache"}  # whether events are streamed is in the checkpoint
_FREE_TO_CHANGE |= {"data.output_tree", "data.calorimeter.hits.count"}  # filled in from the training file


@dataclass(frozen=True)
class RunFolder:
    """Paths in a run folder, and checks before it is trained in.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The complete configuration."""
        return self.path / "config.toml"

    @property
    def checkpoint(self) -> Path:
        """All that the run needs to go on."""
        return self.path / "checkpoint" / "state.safetensors"

    @property
    def log(self) -> Path:
        """Losses and validation distances, a line a log step."""
        return self.path / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        """Folder of the same numbers for TensorBoard."""
        return self.path / "tensorboard"

    @property
    def model(self) -> Path:
        """The selected generator as an ONNX file."""
        return self.path / "model.onnx"

    @property
    def report(self) -> Path:
        """Measurements of the last evaluation."""
        return self.path / "report" / "metrics.json"

    def check_free(self) -> None:
        """Check that no run is in the folder.

        Raises:
            ConfigError: If there is one.
        """
        if self.config.exists():
            raise ConfigError(
                f"run folder {self.path} exists already; --resume goes on with it, another --out starts anew"
            )

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other trainings out of the folder, until this one ends in whatever way.

        Raises:
            ConfigError: If another process trains in it, where the file system knows locks.
        """
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            with suppress(OSError):
                try:
                    held.enter_context(exclusive(self.checkpoint.parent))
                except BlockingIOError as error:
                    raise ConfigError(
                        f"run folder {self.path}: another process trains in it; wait for its end or stop it, or name "
                        "another --out"
                    ) from error
            yield

    def check_resumable(self, config: Config) -> None:
        """Check that the folder has a run of the same configuration, apart from keys that change no number.

        Raises:
            NotFoundError: If there is no run.
            ConfigError: If its configuration differs.
        """
        if not self.config.exists():
            raise NotFoundError(
                f"run folder {self.path} has no config.toml to resume from; leave out --resume to start"
            )
        # as this version reads it: keys that are newer than the run have their defaults
        before, now = (
            tomllib.loads(configuration.dump(c)) for c in (configuration.load(self.config), config)
        )
        changes = changed_keys(before, now)
        changes = [change for change in changes if change.split(":")[0] not in _FREE_TO_CHANGE]
        if changes:
            raise ConfigError(
                f"run folder {self.path} was started with another configuration ({'; '.join(changes)}); "
                "resume with the same one, or start a new run with another --out"
            )

    def check_writable(self) -> None:
        """Check that the folder, or the nearest one above it that exists, takes new files; leaves none behind.

        Raises:
            OSError: If it does not, or if something else stands in the place of a folder or a file of the run.
        """
        for file in (self.config, self.checkpoint, self.log, self.model):
            check_target(file)
            folder = file.parent
            while not folder.exists():
                folder = folder.parent
            try:
                with tempfile.TemporaryFile(dir=folder):
                    pass
            except OSError as error:
                raise OSError(
                    f"run folder {self.path}: expected {folder} to be a folder that can be written, got "
                    f"{error.strerror or error}; make room or give the permission, or name another --out"
                ) from error

    def saved(self) -> SavedState | None:
        """Read the checkpoint of a run to resume; None if the run was stopped before its first checkpoint.

        Raises:
            ModelFileError: If each checkpoint is damaged.
        """
        if not any(file.exists() for file in checkpoint.history(self.checkpoint)):
            return None
        return SavedState.read(self.checkpoint)

    def check_same(
        self, progress: RunProgress, *, device: str, data_sha256: str, data_files: Mapping[str, str]
    ) -> None:
        """Check that a run to resume goes on with the device and the data that it began with.

        Args:
            progress: Of its checkpoint.
            device: Type of the device to train on, cpu or cuda.
            data_sha256: Digest of the training files.
            data_files: Digest of each of them by its name.

        Raises:
            ConfigError: If it was written on a device of another type.
            DataError: If it was trained on other data.
        """
        if progress.device != device:
            raise ConfigError(
                f"run folder {self.path} was trained on {progress.device!r}, and this is {device!r}, which draws "
                f"other random numbers; resume with --device {progress.device}, or start a new run with another "
                "--out"
            )
        if progress.data_sha256 != data_sha256:
            changes = _changed_files(progress.data_files, data_files)
            raise DataError(
                f"run folder {self.path} was trained on other data ({changes}); restore the files, or start a new run "
                "with another --out"
            )


def changed_keys(old: object, new: object, prefix: str = "") -> list[str]:
    """Keys whose values differ between two TOML documents, as ``key: was ..., is ...``."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            change
            for key in sorted(old.keys() | new.keys())
            for change in changed_keys(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else key)
        ]
    return [] if old == new else [f"{prefix}: was {old!r}, is {new!r}"]


def _changed_files(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """Training files that differ, by their digests, in words."""
    if not old:  # a checkpoint of version 0.1
        return "the files' sha256 differs"
    names = [*old, *(name for name in new if name not in old)]
    kinds = {
        "changed": [name for name in names if name in old and name in new and old[name] != new[name]],
        "missing": [name for name in names if name not in new],
        "new": [name for name in names if name not in old],
    }
    listed = [f"{kind}: {', '.join(files)}" for kind, files in kinds.items() if files]
    return "; ".join(listed) or f"the same files in another order: was {[*old]}, is {[*new]}"


def load_generator(run: str | Path) -> tuple[CaloGenerator | ObservablesGenerator, Config, RunProgress]:
    """Load the selected generator of a run folder, on the CPU.

    Returns:
        The generator that ``training.select`` chose, the run's configuration, and how far the run has come.

    Raises:
        NotFoundError: If the folder holds no run or no checkpoint.
        ConfigError: If the configuration is damaged.
        ModelFileError: If each checkpoint is damaged, or does not fit the configuration.
    """
    folder = RunFolder(Path(run))
    config = configuration.load(folder.config)
    tensors, progress = SavedState.read(folder.checkpoint)
    generator: CaloGenerator | ObservablesGenerator = MODELS[config.model.name][0](config.data, config.model)
    try:
        generator.load_state_dict(checkpoint.part(tensors, "best"))
    except RuntimeError as error:
        raise ModelFileError(
            f"{run}: the checkpoint does not fit the model that config.toml describes; expected one of this version of "
            f"hepgan ({error}); export it with the version that trained it"
        ) from error
    return generator.eval(), config, progress


def selected(run: str | Path) -> str:
    """Say which step of a run is its selected generator, and by which number.

    Raises:
        NotFoundError: If the folder holds no checkpoint.
        ModelFileError: If each checkpoint is damaged.
    """
    progress = SavedState.read(RunFolder(Path(run)).checkpoint).progress
    if math.isinf(progress.best_distance):
        return "step 0, the start: no validation had finite numbers"
    distance = f"validation distance {progress.best_distance:.4f}"
    by_area = f"mean AUC of classifiers {progress.best_auc:.3f}, {distance}"
    measured = distance if math.isinf(progress.best_auc) else by_area
    return f"step {progress.best_step} of {progress.step}, {measured}"


def export_run(
    run: str | Path,
    out: str | Path,
    *,
    batch: int | None = None,
    format: Format = "onnx",
) -> Path:
    """Write the selected generator of a run folder as one file.

    Args:
        run: The run folder.
        out: The file.
        batch: ONNX: fixed batch size; None leaves it free.
        format: Format of the file; "cpp" is a header with the weights in a file beside it.

    Returns:
        The file.

    Raises:
        NotFoundError: If the folder holds no run or no checkpoint.
        ConfigError: If the format cannot express the generator.
        ExportError: If the file is not the generator; it is kept as ``NAME.unverified.onnx``.
        ValueError: If there is no such format, or it has no batch.
    """
    if format not in FORMATS:
        raise ValueError(f"format: expected one of {[*FORMATS]}, got {format!r}; choose one")
    if format != "onnx" and batch is not None:
        raise ValueError(f"--batch: {format} computes one row at a time; leave it out")
    folder = RunFolder(Path(run))
    if not folder.config.is_file():
        raise NotFoundError(
            f"{run}: expected a run folder with config.toml, got none; name the --out of hepgan train"
        )
    generator, config, progress = load_generator(run)
    provenance = {
        "config_sha256": hashlib.sha256(folder.config.read_bytes()).hexdigest(),
        "data_sha256": progress.data_sha256,
        "step": progress.best_step,
    }
    validated = {"validation_distance": progress.best_distance, "validation_auc": progress.best_auc}
    # infinite: stopped before the first validation, or not measured
    metrics = {name: (value, 0.0) for name, value in validated.items() if math.isfinite(value)}
    metrics |= _headline(folder, provenance)
    options = {} if batch is None else {"batch": batch}
    try:
        FORMATS[format](generator, out, data=config.data, provenance=provenance, metrics=metrics, **options)
    except ExportError as error:
        if error.content is None:
            raise
        kept = Path(out).with_suffix(".unverified.onnx")
        write_bytes(kept, error.content, content="the unverified model")
        raise ExportError(f"{error}; the file is kept as {kept}, for a look at it") from error
    return Path(out)


def export_trained(folder: RunFolder) -> None:
    """Write ``model.onnx`` at the end of a training, which is saved already.

    Raises:
        ExportError: If that fails, for whatever reason; says what is there, and how to go on.
    """
    try:
        export_run(folder.path, folder.model)
    except Exception as error:
        raise ExportError(
            f"run folder {folder.path}: the training is saved, but its {folder.model.name} could not be made: "
            f"{str(error) or type(error).__name__}. Nothing is lost: weights and state are in "
            f"{folder.checkpoint.parent}, the log in {folder.log.name}. Go on with: "
            f"hepgan export {folder.path} --out {folder.model}"
        ) from error


def _headline(folder: RunFolder, provenance: Mapping[str, object]) -> dict[str, Number]:
    """Headline numbers of the last evaluation, if it was one of this very generator: the run may have gone on since."""
    if not folder.report.is_file():
        return {}
    try:
        results = read_results(folder.report)
    except DataError as error:  # the generator is worth exporting without them
        logger.warning("%s; the exported file goes without its numbers", error)
        return {}
    evaluated = results.provenance.model
    same = evaluated is not None and all(
        getattr(evaluated, key) == provenance[key] for key in ("step", "config_sha256")
    )
    return dict(results.headline) if same else {}
