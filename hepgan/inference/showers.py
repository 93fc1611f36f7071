"""Showers in an exported file: how cells are joined, tested, named, and written to a ROOT file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hepgan.inference.metadata import Metadata, Output
from hepgan.trees import branch_name

__all__ = ["Showers"]

Float32 = NDArray[np.float32]


class Showers:
    """Handling of showers; the arrays of a generator are cells (B, n_cells) and overflow (B, n_overflow).

    Attributes:
        batch: Showers a run: with more the activations leave the cache, and it gets slower.
        checked: Name of the test of physics.
    """

    batch = 128
    checked = "energies"

    def room(self, rows: int, described: Sequence[Output]) -> tuple[Float32, ...]:
        """Arrays for a number of showers."""
        sizes = {"layer": 0, "overflow": 0}
        for output in described:
            sizes[output.role] += math.prod(output.shape)
        return tuple(np.empty((rows, size), np.float32) for size in sizes.values())

    def fill(
        self, arrays: Sequence[Float32], outputs: Sequence[Float32], described: Sequence[Output]
    ) -> None:
        """Put the graph's outputs, (B, n_x, n_y) a layer and (B, n_overflow), into arrays of as many rows."""
        cells, overflow = arrays
        begin = 0
        for output, values in zip(described, outputs, strict=True):
            if output.role == "overflow":
                overflow[...] = values
                continue
            end = begin + math.prod(output.shape)
            cells[:, begin:end] = values.reshape(len(values), -1)
            begin = end

    def split(self, arrays: Sequence[Float32], described: Sequence[Output]) -> dict[str, Float32]:
        """Views by the outputs' names."""
        cells, overflow = arrays
        named, begin = {}, 0
        for output in described:
            if output.role == "overflow":
                named[output.name] = overflow
                continue
            size = math.prod(output.shape)
            named[output.name] = cells[:, begin : begin + size].reshape(-1, *output.shape)
            begin += size
        return named

    def physics(self, outputs: Sequence[Float32], described: Sequence[Output]) -> tuple[bool, str]:
        """Test that the graph's outputs are finite and not negative: passed, detail."""
        energies = np.concatenate([o.ravel() for o in outputs])
        if not (np.isfinite(energies).all() and (energies >= 0).all()):
            return False, "NaN, infinite or negative energies"
        return (
            True,
            f"finite and >= 0 over the trained range, {np.mean(energies == 0):.0%} of the cells empty",
        )

    def branches(self, arrays: Sequence[Float32], metadata: Metadata) -> dict[str, Any]:
        """Arrays as branches of the training file's layout."""
        from hepgan.data.branches import LAYOUTS  # needs awkward, which running a file does not

        calo = metadata.data.calo
        cells, overflow = arrays
        n_overflow = overflow.shape[1]
        tail = n_overflow > 0 and calo.has_tail
        if tail:
            cells = np.concatenate([cells, overflow], axis=1)
        branches = LAYOUTS[calo.layout].write(cells, calo, metadata.calorimeter)
        if n_overflow and not tail:
            branches[calo.overflow or "overflow"] = overflow
        return {branch_name(name, name): values for name, values in branches.items()}

    def branch_units(self, metadata: Metadata) -> dict[str, str]:
        """The unit of the cells, for all branches with energies."""
        from hepgan.data.branches import LAYOUTS

        calo, calorimeter = metadata.data.calo, metadata.calorimeter
        energies = LAYOUTS[calo.layout].energies(calo, calorimeter)
        if not calo.has_tail and any(output.role == "overflow" for output in metadata.outputs):
            energies = [*energies, calo.overflow or "overflow"]
        return {branch_name(name, name): calo.unit for name in energies}

    def counters(self, metadata: Metadata) -> dict[str, str]:
        """Of hits: one counter for all their branches, named as in the training file."""
        from hepgan.data.branches import LAYOUTS

        counters = LAYOUTS[metadata.data.calo.layout].counters(metadata.data.calo)
        return {branch_name(name, name): counter for name, counter in counters.items()}
