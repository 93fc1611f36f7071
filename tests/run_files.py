"""Log and checkpoint of a run folder."""

from __future__ import annotations

import json
from pathlib import Path

from torch import Tensor

from hepgan.training.state import RunProgress, SavedState


def log_lines(run: Path) -> list[dict[str, float]]:
    """Lines of metrics.jsonl."""
    return [json.loads(text) for text in (run / "metrics.jsonl").read_text().splitlines()]


def saved_tensors(run: Path) -> dict[str, Tensor]:
    """Tensors of the checkpoint, named ``part.name``."""
    return SavedState.read(run / "checkpoint" / "state.safetensors").tensors


def saved_progress(run: Path) -> RunProgress:
    """How far the run has come."""
    return SavedState.read(run / "checkpoint" / "state.safetensors").progress


def differing_tensors(run: Path, other: Path) -> list[str]:
    """Names of the tensors that are not the same to the last bit in both checkpoints."""
    a, b = saved_tensors(run), saved_tensors(other)
    assert a.keys() == b.keys()
    return [key for key in a if not a[key].equal(b[key])]


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))
