"""Names, values and units of the branches of generated rows: those of the training file.

A program that reads the full simulation then reads the generated file.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hepgan.inference.metadata import Metadata

__all__ = ["branch_name", "shared_branches", "shared_units"]

Float32 = NDArray[np.float32]

_NAME = re.compile(r"[^\W\d]\w*((\.|::)\w+)*|`([^`]|``)+`")


def branch_name(expression: str, name: str) -> str:
    """The branch to write: the same as in the training file unless it was computed from several branches.

    Args:
        expression: A name, with dots (``kin.P``) or in backticks too, or an expression of branches.
        name: The name to take for an expression.
    """
    text = expression.strip()
    if not _NAME.fullmatch(text):
        return name
    return text[1:-1].replace("``", "`") if text.startswith("`") else text


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


def shared_units(metadata: Metadata) -> dict[str, str]:
    """Units of the branches of the conditions."""
    return {branch_name(table.expression, table.name): table.unit for table in metadata.data.conditions}
