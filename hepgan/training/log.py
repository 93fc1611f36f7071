"""Reports of a training: ``metrics.jsonl``, TensorBoard, a progress bar, and the rate of events."""

from __future__ import annotations

import json
import math
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hepgan.errors import ConfigError
from hepgan.files import write_text
from hepgan.progress import stage
from hepgan.training.run_folder import RunFolder

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["EventRate", "Log", "ProgressBar"]

_SHOWN = (
    ("W", "wasserstein", ".3f"),
    ("value", "divergence", ".3f"),
    ("penalty", "penalty", ".3f"),
    ("distance", "distance", ".4f"),
    ("AUC", "auc", ".3f"),
    ("samples/s", "samples_per_second", ".0f"),
)  # name in the progress bar, key in metrics.jsonl, format


class Log:
    """metrics.jsonl, and TensorBoard on request; lines later than `step` are dropped.

    Args:
        folder: The run folder.
        step: Step of the checkpoint that the run goes on from; -1 for a new run.
        tensorboard: Write to TensorBoard too.
        writes: Whether anything is written at all: only the first of several workers does.

    Raises:
        ConfigError: If TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: RunFolder, *, step: int, tensorboard: bool, writes: bool = True) -> None:
        self.path, self.writes = folder.log, writes
        self.writer: SummaryWriter | None = None
        if not writes:
            return
        if self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            kept = [text for text in lines if _step_of(text) <= step]
            write_text(self.path, "".join(f"{text}\n" for text in kept))
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise ConfigError(
                    "training.tensorboard: expected the package tensorboard, which is not installed; "
                    "pip install 'hepgan[tensorboard]'"
                ) from error
            self.writer = SummaryWriter(str(folder.tensorboard), purge_step=step + 1)

    def __enter__(self) -> Log:
        self.file = self.path.open("a", encoding="utf-8") if self.writes else None
        return self

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            with suppress(OSError):  # `write` has said it
                self.file.close()
        if self.writer is not None:
            self.writer.close()

    def write(self, line: dict[str, float]) -> None:
        """Append one line of numbers by name, among them ``step``.

        Raises:
            OSError: If the disk is full, or the file cannot be written.
        """
        if self.file is None:
            return
        try:
            self.file.write(json.dumps(line) + "\n")
            self.file.flush()
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else error
            raise OSError(
                f"log {self.path} could not be written ({reason}); make room; the checkpoints are intact, and --resume "
                "goes on from the last one"
            ) from error
        if self.writer is not None:
            for key, value in line.items():
                self.writer.add_scalar(key, value, int(line["step"]))


def _step_of(text: str) -> float:
    """Step of a line of metrics.jsonl; infinite for a line that a kill cut short."""
    try:
        return float(json.loads(text)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


class ProgressBar:
    """Progress of a training: step, value of the game, penalty, physics distance, samples/s, time left.

    Args:
        steps: Number of steps of the whole training.
        step: Number of steps done.
    """

    def __init__(self, steps: int, step: int) -> None:
        self.stage = stage("training", total=steps, done=step)
        self.shown: dict[str, float] = {}

    def __enter__(self) -> ProgressBar:
        self.show = self.stage.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.stage.__exit__(*error)

    def update(self, step: int, line: dict[str, float]) -> None:
        """Show the step and the newest numbers of the log; numbers that `line` lacks stay as they are."""
        self.shown |= line
        numbers = [f"{name} {self.shown[key]:{form}}" for name, key, form in _SHOWN if key in self.shown]
        self.show(step, note="  ".join(numbers))


class EventRate:
    """Events trained on per second of wall time, since the last call of `restart` or `per_second`."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget what was counted, such as after a validation, which trains nothing."""
        self.since, self.events = time.monotonic(), 0

    def count(self, events: int) -> None:
        """Add the events of a batch."""
        self.events += events

    def per_second(self) -> float:
        """Rate (1/s) since the last restart; starts anew."""
        now = time.monotonic()
        rate = self.events / (now - self.since)
        self.since, self.events = now, 0
        return rate
