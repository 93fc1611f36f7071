"""Checkpoints: everything a run needs to go on, in one safetensors file that is read without executing code.

A checkpoint is a flat dictionary of tensors, named ``part.name``, and of texts. It is written under a temporary name
and renamed, so that a run killed at any moment leaves either the previous checkpoint or the new one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hepgan.errors import ModelFileError, NotFoundError
from hepgan.files import written

__all__ = ["Text", "load", "optimizer_state", "part", "restore_optimizer", "save"]

Text = str | int | float | None
"""A value of the checkpoint's header, stored as JSON."""


def save(path: str | Path, parts: Mapping[str, Mapping[str, Tensor]], texts: Mapping[str, Text]) -> None:
    """Write named groups of tensors and a header of texts, atomically.

    Args:
        path: The file.
        parts: Groups of tensors by the name of the group, which has no dot in it.
        texts: Header by name.

    Raises:
        OSError: If the disk is full or the folder cannot be written; the old checkpoint stays.
    """
    path = Path(path)
    tensors = {
        f"{name}.{key}": value.detach().cpu().contiguous().clone()
        for name, group in parts.items()
        for key, value in group.items()
    }
    try:
        with written(path, "the checkpoint") as temporary:
            save_file(tensors, temporary, metadata={key: json.dumps(value) for key, value in texts.items()})
    except (OSError, SafetensorError) as error:
        left = "the one before is intact, and --resume goes on from it"
        if not path.exists():
            left = "it was the first: --resume starts anew"
        raise OSError(f"checkpoint {path} could not be written ({error}); make room; {left}") from error


def load(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Text]]:
    """Read the tensors and texts of a checkpoint.

    Returns:
        Tensors named ``part.name`` (see `part`), on the CPU, and texts.

    Raises:
        NotFoundError: If there is no such file.
        ModelFileError: If the file is not a checkpoint or is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"checkpoint not found: {path}; the run has not written one yet, or is elsewhere")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
            texts = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ModelFileError(f"{path}: not a hepgan checkpoint, or damaged ({error})") from error
    return tensors, texts


def part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Select one group of a loaded checkpoint, without the name of the group in the keys."""
    return {
        key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")
    }


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Tensors of an optimizer's state, named ``<parameter number>.<quantity>``."""
    state = optimizer.state_dict()["state"]
    return {f"{number}.{key}": value for number, group in state.items() for key, value in group.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put the tensors of `optimizer_state` back into an optimizer of the same parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, key = name.split(".", 1)
        state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
