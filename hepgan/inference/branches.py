"""Names, values and units of the branches of generated rows: those of the training file.

A program that reads the full simulation then reads the generated file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hepgan.inference.metadata import Metadata
from hepgan.trees import branch_name

__all__ = ["shared_branches", "shared_units"]

Float32 = NDArray[np.float32]


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
