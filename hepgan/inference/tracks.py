"""Tracks in an exported file: how observables are joined, tested, named, and written to a ROOT file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hepgan.inference.metadata import Metadata, Output
from hepgan.trees import branch_name

__all__ = ["Tracks"]

_FAR = 20.0  # scales between an atom and the middle of the other values, from which on it is a sentinel

Float32 = NDArray[np.float32]


class Tracks:
    """Handling of tracks; the only array of a generator is the targets (B, n_targets).

    Attributes:
        batch: Tracks a run.
        checked: Name of the test of physics.
    """

    batch = 1024
    checked = "targets"

    def room(self, rows: int, described: Sequence[Output]) -> tuple[Float32, ...]:
        """The array for a number of tracks."""
        return (np.empty((rows, len(described)), np.float32),)

    def fill(
        self, arrays: Sequence[Float32], outputs: Sequence[Float32], described: Sequence[Output]
    ) -> None:
        """Put the graph's outputs, (B, 1) a target, into the array."""
        np.concatenate(outputs, axis=1, out=arrays[0])

    def split(self, arrays: Sequence[Float32], described: Sequence[Output]) -> dict[str, Float32]:
        """Views (B,) by the targets' names."""
        return dict(zip((output.name for output in described), arrays[0].T, strict=True))

    def physics(self, outputs: Sequence[Float32], described: Sequence[Output]) -> tuple[bool, str]:
        """Test that the graph's outputs are finite, and exact at sentinels: passed, detail.

        A value nearer to a sentinel than to the median of the other values must be the sentinel itself.
        """
        exact = 0
        for values, output in zip(outputs, described, strict=True):
            if not np.isfinite(values).all():
                return False, f"{output.name}: NaN or infinite"
            atoms, scale = output.atoms or (), output.scale or 0.0
            at = np.isin(values, np.asarray(atoms, np.float32))
            exact += int(at.sum())
            middle = float(np.median(values[~at])) if (~at).any() else 0.0
            for atom in atoms:
                near = np.abs(values - atom) < np.abs(values - middle)
                if abs(atom - middle) > _FAR * scale and (near & ~at).any():
                    return False, f"{output.name}: {values[near & ~at][0]:g} instead of {atom:g}"
        share = exact / sum(o.size for o in outputs)
        return True, f"finite over the trained range, {share:.0%} exactly at an atom"

    def branches(self, arrays: Sequence[Float32], metadata: Metadata) -> dict[str, Any]:
        """The array as branches of the training file."""
        columns = zip(metadata.data.targets, arrays[0].T, strict=True)
        return {branch_name(target.expression, target.name): column for target, column in columns}

    def branch_units(self, metadata: Metadata) -> dict[str, str]:
        """Units of the targets."""
        return {branch_name(target.expression, target.name): target.unit for target in metadata.data.targets}

    def counters(self, metadata: Metadata) -> dict[str, str]:
        """None: an entry is a track."""
        return {}
