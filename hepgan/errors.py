"""Errors that a caller can catch apart; each is also the built-in error that it would otherwise be.

============================ ===================== =================================================================
error                        is also a             raised for
============================ ===================== =================================================================
`DataError`                  `ValueError`          a file, tree, branch or event that cannot be used
`ConfigError`                `ValueError`          a configuration with unknown, missing or impossible values
`ModelFileError`             `ValueError`          an exported model or checkpoint that is not ours, damaged or altered
`ConditionRangeError`        `ValueError`          a condition outside its trained range
`NotFoundError`              `FileNotFoundError`   a file or run folder that does not exist
`TrainingDiverged`           `FloatingPointError`  a loss that stopped being finite
`Interrupted`                `KeyboardInterrupt`   a training stopped by Ctrl-C or SIGTERM; its state is saved
============================ ===================== =================================================================

Every message gives the name of what is wrong, what was expected, what was found and what to do. Arguments that are
wrong in themselves (a negative number of events) raise a plain `ValueError`.
"""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "ConditionRangeError",
    "ConfigError",
    "DataError",
    "HepganError",
    "Interrupted",
    "ModelFileError",
    "NotFoundError",
    "TrainingDiverged",
]


class HepganError(Exception):
    """Base of all errors of this package."""


class DataError(HepganError, ValueError):
    """A file, tree, branch or event that cannot be used."""


class ConfigError(HepganError, ValueError):
    """A configuration with unknown, missing or impossible values."""


class ModelFileError(HepganError, ValueError):
    """An exported model or a checkpoint that is not one of hepgan, damaged, altered, or of a newer version."""


class ConditionRangeError(HepganError, ValueError):
    """A condition outside the range that the generator was trained on."""


class NotFoundError(HepganError, FileNotFoundError):
    """A file or run folder that does not exist."""


class TrainingDiverged(HepganError, FloatingPointError):
    """A training whose loss stopped being finite; the last checkpoint stays."""


class Interrupted(HepganError, KeyboardInterrupt):
    """A training that Ctrl-C or SIGTERM stopped; its state is saved and ``resume`` goes on from it.

    Attributes:
        run: The run folder, with checkpoint and exported model.
        step: Number of steps that were trained.
    """

    def __init__(self, message: str, *, run: Path, step: int) -> None:
        super().__init__(message)
        self.run, self.step = run, step
