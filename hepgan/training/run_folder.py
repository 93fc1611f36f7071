"""Run folder: the paths of its files, whether a training may use it, and its selected generator, also as a file."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hepgan import config as configuration
from hepgan.config import Config
from hepgan.config.checking import tomllib
from hepgan.errors import ConfigError, DataError, ExportError, ModelFileError, NotFoundError
from hepgan.evaluation.records import Number
from hepgan.evaluation.results import read_results
from hepgan.exporting.formats import FORMATS, Format
from hepgan.files import write_bytes
from hepgan.models import MODELS, CaloGenerator, ObservablesGenerator
from hepgan.training import checkpoint
from hepgan.training.state import RunProgress, SavedState

__all__ = ["RunFolder", "changed_keys", "export_run", "export_trained", "load_generator"]

logger = logging.getLogger(__name__)

_FREE_TO_CHANGE = {f"training.{key}" for key in ("max_minutes", "threads", "log_every", "tensorboard")}
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

    def saved_state(self, *, device: str, data_sha256: str) -> SavedState | None:
        """Read the checkpoint of a run to resume; None if the run was stopped before its first checkpoint.

        Args:
            device: Type of the device to train on, cpu or cuda.
            data_sha256: Digest of the training files.

        Raises:
            ModelFileError: If the checkpoint is damaged.
            ConfigError: If it was written on a device of another type.
            DataError: If it was trained on other data.
        """
        if not self.checkpoint.exists():
            return None
        saved = SavedState.read(self.checkpoint)
        if saved.progress.device != device:
            raise ConfigError(
                f"run folder {self.path} was trained on {saved.progress.device!r}, and this is {device!r}, which draws "
                f"other random numbers; resume with --device {saved.progress.device}, or start a new run with another "
                "--out"
            )
        if saved.progress.data_sha256 != data_sha256:
            raise DataError(
                f"run folder {self.path} was trained on other data (the files' sha256 differs); restore the files, or "
                "start a new run with another --out"
            )
        return saved


def changed_keys(old: object, new: object, prefix: str = "") -> list[str]:
    """Keys whose values differ between two TOML documents, as ``key: was ..., is ...``."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            change
            for key in sorted(old.keys() | new.keys())
            for change in changed_keys(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else key)
        ]
    return [] if old == new else [f"{prefix}: was {old!r}, is {new!r}"]


def load_generator(run: str | Path) -> tuple[CaloGenerator | ObservablesGenerator, Config, RunProgress]:
    """Load the selected generator of a run folder, on the CPU.

    Returns:
        The generator of the smallest validation distance, the run's configuration, and how far the run has come.

    Raises:
        NotFoundError: If the folder holds no run or no checkpoint.
        ConfigError: If the configuration is damaged.
        ModelFileError: If the checkpoint is damaged, or does not fit the configuration.
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
    metrics = {"validation_distance": (progress.best_distance, 0.0), **_headline(folder, provenance)}
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
