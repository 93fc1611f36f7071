"""Errors that a caller can distinguish; each is also a built-in error.

============================ ===================== =================================================================
error                        is also a             raised for
============================ ===================== =================================================================
`DataError`                  `ValueError`          a file, tree, branch or event that cannot be used
`ConfigError`                `ValueError`          a configuration with unknown, missing or impossible values
`ModelFileError`             `ValueError`          an exported model or checkpoint of another origin, damaged or altered
`ConditionRangeError`        `ValueError`          a condition outside its trained range
`NotFoundError`              `FileNotFoundError`   a file or run folder that does not exist
`TrainingDiverged`           `FloatingPointError`  a training whose loss became infinite or NaN
`ExportError`                `ValueError`          an exported model that is not its generator, or cannot be written
`ReportError`                `ValueError`          a report page that cannot be made; the numbers are on the disk
`Interrupted`                `KeyboardInterrupt`   a training stopped by Ctrl-C or SIGTERM, after its state was saved
`WorkerFailed`               `RuntimeError`        a training on several workers, of which one failed or was killed
============================ ===================== =================================================================

Each message names the wrong value or file, the expected and the given value, and a remedy. Impossible arguments of a
Python call (a negative number of events) raise a plain `ValueError`.
"""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "ConditionRangeError",
    "ConfigError",
    "DataError",
    "ExportError",
    "HepganError",
    "Interrupted",
    "ModelFileError",
    "NotFoundError",
    "ReportError",
    "TrainingDiverged",
    "WorkerFailed",
]


class HepganError(Exception):
    """Base of all errors of this package."""


class DataError(HepganError, ValueError):
    """A file, tree, branch or event that cannot be used."""


class ConfigError(HepganError, ValueError):
    """A configuration with unknown, missing or impossible values."""


class ModelFileError(HepganError, ValueError):
    """An exported model or checkpoint that hepgan did not write, or that is damaged, altered or of a newer version."""


class ConditionRangeError(HepganError, ValueError):
    """A condition outside the range that the generator was trained on."""


class NotFoundError(HepganError, FileNotFoundError):
    """A file or run folder that does not exist."""


class TrainingDiverged(HepganError, FloatingPointError):
    """A training whose loss became infinite or NaN; the last checkpoint is kept."""


class ExportError(HepganError, ValueError):
    """An exported model that does not compute what its generator does, or cannot be written; the checkpoint is kept.

    Attributes:
        content: The ONNX file that failed its comparison; None if there is none.
    """

    def __init__(self, message: str, *, content: bytes | None = None) -> None:
        super().__init__(message)
        self.content = content


class ReportError(HepganError, ValueError):
    """A report page, or a file of weights, that cannot be made; the measured numbers are in ``metrics.json``."""


class Interrupted(HepganError, KeyboardInterrupt):
    """A training stopped by Ctrl-C or SIGTERM, after its state was saved; ``resume`` continues it.

    Attributes:
        run: The run folder, with checkpoint and exported model.
        step: Number of steps that were trained.
    """

    def __init__(self, message: str, *, run: Path, step: int) -> None:
        super().__init__(message)
        self.run, self.step = run, step


class WorkerFailed(HepganError, RuntimeError):
    """A training on several workers, of which one failed or was killed; the last checkpoint is kept."""
