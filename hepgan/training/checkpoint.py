"""Checkpoints: everything a run needs to go on, in one safetensors file that is read without executing code.

A checkpoint is a flat dictionary of tensors, named ``part.name``, and of texts, with a checksum of both. It is written
under a temporary name, flushed to the disk and renamed, so that a run killed at any moment leaves either the previous
checkpoint or the new one. The ones before stay beside it, as ``NAME-STEP.safetensors``, in case the newest is damaged.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import torch
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialised
from torch import Tensor

from hepgan.errors import ModelFileError, NotFoundError
from hepgan.files import written

__all__ = ["KEPT", "Text", "history", "load", "optimizer_state", "part", "restore_optimizer", "save"]

Text: TypeAlias = str | int | float | Mapping[str, str] | Mapping[str, float] | None
"""A value of the checkpoint's header, stored as JSON."""

KEPT = 3
"""Checkpoints of a run that are kept, the newest included."""

_CHECKSUM = "checksum"  # its name in the header; version 0.1 wrote none


def save(path: str | Path, parts: Mapping[str, Mapping[str, Tensor]], texts: Mapping[str, Text]) -> None:
    """Write named groups of tensors and a header of texts, atomically; the one before gets its step into its name.

    Args:
        path: The file, which is always the newest checkpoint.
        parts: Groups of tensors by the name of the group, which has no dot in it.
        texts: Header by name, among them ``step``.

    Raises:
        OSError: If the disk is full or the folder cannot be written; the checkpoints that are there stay.
    """
    path = Path(path)
    tensors = {
        f"{name}.{key}": value.detach().cpu().contiguous().clone()
        for name, group in parts.items()
        for key, value in group.items()
    }
    header = {key: json.dumps(value) for key, value in texts.items()}
    header[_CHECKSUM] = _checksum(tensors, header)
    step = int(header["step"])
    try:
        with written(path, "the checkpoint") as temporary:
            temporary.write_bytes(serialised(tensors, metadata=header))
            _keep(path, before=step)
    except OSError as error:
        left = "the one before is intact, and --resume goes on from it"
        if not path.exists():
            left = "it was the first: --resume starts anew"
        reason = os.strerror(error.errno) if error.errno else error
        raise OSError(f"checkpoint {path} could not be written ({reason}); make room; {left}") from error
    for number, (of_step, file) in enumerate(_older(path)):
        if of_step >= step or number >= KEPT - 1:
            with suppress(OSError):  # one too many does no harm
                file.unlink()


def history(path: str | Path) -> list[Path]:
    """Checkpoints of a run, newest first: `path`, whether it is there or not, and those before it."""
    return [Path(path), *(file for _, file in _older(Path(path)))]


def load(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Text]]:
    """Read the tensors and texts of a checkpoint.

    Returns:
        Tensors named ``part.name`` (see `part`), on the CPU, and texts.

    Raises:
        NotFoundError: If there is no such file.
        ModelFileError: If the file is not a checkpoint, cannot be read, or is not as it was written.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"checkpoint not found: {path}; the run has not written one yet, or is elsewhere")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
            header = file.metadata() or {}
        expected = header.pop(_CHECKSUM, None)
        if expected is not None and expected != (found := _checksum(tensors, header)):
            raise ModelFileError(
                f"{path}: damaged (expected a content with the checksum {expected}, got {found})"
            )
        return tensors, {key: json.loads(value) for key, value in header.items()}
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise ModelFileError(f"{path}: not a hepgan checkpoint, or damaged ({error})") from error


def _checksum(tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> str:
    """XXH3 of names, types, shapes and bytes of all tensors, and of the header."""
    total = xxhash.xxh3_128(json.dumps(header, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        total.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _keep(path: Path, *, before: int) -> None:
    """Give the newest checkpoint a second name with its step, if that is before the one to be written."""
    try:
        with safe_open(path, framework="pt") as file:
            step = int((file.metadata() or {})["step"])
    except (SafetensorError, OSError, KeyError, ValueError):  # none yet, or damaged: of no use
        return
    if step >= before:
        return
    kept = path.with_name(f"{path.stem}-{step}{path.suffix}")
    kept.unlink(missing_ok=True)
    try:
        os.link(path, kept)
    except OSError:  # a file system without hard links
        with written(kept, "the checkpoint") as temporary:
            shutil.copyfile(path, temporary)


def _older(path: Path) -> list[tuple[int, Path]]:
    """Steps and files of the checkpoints before `path`, newest first."""
    name = re.compile(rf"{re.escape(path.stem)}-(\d+){re.escape(path.suffix)}")
    matches = ((name.fullmatch(file.name), file) for file in path.parent.glob(f"*{path.suffix}"))
    return sorted(((int(match[1]), file) for match, file in matches if match), reverse=True)


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
