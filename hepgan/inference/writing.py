"""Generated showers or tracks as a ROOT file like the training file.

Tree and branch names come from the description, so that a program that reads the full simulation reads this file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

import hepgan
from hepgan.files import written
from hepgan.inference.metadata import Metadata

__all__ = ["Format", "Origin", "Writer", "branch_name", "check_format", "root_file", "shared_branches"]

Format = Literal["ttree", "rntuple"]

_COMPRESSION = (
    1  # level of ZSTD: 4 times faster than ROOT's default at the same size; ROOT reads it since 6.20
)

Float32 = NDArray[np.float32]


class Origin(NamedTuple):
    """Where generated rows come from.

    Attributes:
        model: Name of the model's file.
        seed: First part of the noise's key.
        run: Second part of it.
        first_event: Event number of the first row.
    """

    model: str
    seed: int
    run: int
    first_event: int


def branch_name(expression: str, name: str) -> str:
    """The branch to write: the same as in the training file unless it was computed from several branches."""
    return expression if re.fullmatch(r"[A-Za-z_]\w*", expression) else name


def shared_branches(condition: Float32, metadata: Metadata) -> dict[str, NDArray[Any]]:
    """Branches of the conditions (B, n_conditions), and of weights, all 1, if the training had weights."""
    data = metadata.data
    branches = {
        branch_name(table.expression, table.name): described.stored(condition[:, k])
        for k, (table, described) in enumerate(zip(data.conditions, metadata.conditions, strict=True))
    }
    if data.weight is not None:
        branches[branch_name(data.weight, "weight")] = np.ones(len(condition), np.float32)
    return branches


def check_format(format: str) -> None:
    """Refuse an unknown kind of tree.

    Raises:
        ValueError: With the kinds that there are.
    """
    if format not in ("ttree", "rntuple"):
        raise ValueError(f"format: expected 'ttree' or 'rntuple', got {format!r}; choose one")


class Writer:
    """A tree that grows chunk by chunk, in a ROOT file that is open for writing.

    Args:
        file: The file (`uproot.WritableDirectory`).
        tree: Name of the tree.
        format: Kind of the tree.
    """

    def __init__(self, file: Any, tree: str, format: Format) -> None:
        self._file, self._name, self._format = file, tree, format
        self._tree: Any = None

    def extend(self, branches: Mapping[str, Any]) -> None:
        """Append rows; the first ones decide names and types of the branches."""
        if self._tree is not None:
            self._tree.extend(branches)
        elif self._format == "ttree":
            self._tree = self._file.mktree(self._name, branches, initial_basket_capacity=100)
        else:  # an RNTuple has fixed-size arrays only if the type says so
            import awkward as ak

            regular = {
                key: ak.from_numpy(values, regulararray=True) if isinstance(values, np.ndarray) else values
                for key, values in branches.items()
            }
            self._tree = self._file.mkrntuple(self._name, regular)


@contextmanager
def root_file(
    path: Path, metadata: Metadata, origin: Origin, *, content: str, format: Format
) -> Iterator[Writer]:
    """Open a ROOT file for generated rows; it appears when it is complete, and replaces one of that name.

    Args:
        path: The file.
        metadata: Description of the generator.
        origin: Written to the file under ``generated_by``, as JSON.
        content: Name of the content, for messages.
        format: Kind of the tree.

    Yields:
        Its tree.

    Raises:
        OSError: If it cannot be written, such as on a full disk; nothing is left behind.
    """
    import uproot

    with (
        written(path, content) as temporary,
        uproot.recreate(temporary, compression=uproot.ZSTD(_COMPRESSION)) as file,
    ):
        yield Writer(file, metadata.tree, format)
        table = {"hepgan": hepgan.__version__, "model": origin.model}
        key = {"seed": origin.seed, "run": origin.run, "first_event": origin.first_event}
        file["generated_by"] = json.dumps(table | {"weights_sha256": metadata.weights_sha256} | key)
