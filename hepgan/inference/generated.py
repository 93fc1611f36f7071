"""Generated showers or tracks: named arrays in physical units, and their ways to NumPy, Awkward Array and ROOT."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hepgan.config import KINDS
from hepgan.files import near
from hepgan.geometry import energy_factor
from hepgan.inference.branches import shared_branches
from hepgan.inference.kinds import HANDLING
from hepgan.inference.metadata import Metadata
from hepgan.inference.writing import Origin, generated_file
from hepgan.trees import COMPRESSION, Format, cluster_rows

__all__ = ["ROW_BRANCH", "Generated"]

ROW_BRANCH = "condition_row"
"""Branch with the row of the conditions, in files from which rows may have been left out."""

Float32 = NDArray[np.float32]


@dataclass(frozen=True, repr=False, eq=False)
class Generated:
    """Showers or tracks that a model generated, in its units; row k of all arrays belongs together.

    ``showers["layer_0"]`` is the array of an output or a condition, ``len(showers)`` the number of rows, and iterating
    gives the names of the outputs, as `dict` expects it.

    Attributes:
        metadata: Description of the model: units, geometry, provenance.
        condition_array: Conditions (N, n_conditions), in the model's order.
        arrays: What the generator gives: cells (N, n_cells) and overflow (N, n_overflow), or targets (N, n_targets).
        origin: Name of the model's file, seed, run, and event number of the first row.
        rows: (N,) row of the given conditions to which each belongs, if some may have been skipped (the event number of
            its noise is that of the first row plus this number); else None, and row k belongs to row k.
    """

    metadata: Metadata
    condition_array: Float32
    arrays: tuple[Float32, ...]
    origin: Origin
    rows: NDArray[np.int64] | None = None

    @property
    def names(self) -> list[str]:
        """Names of the outputs: layers and overflow, or targets."""
        return [output.name for output in self.metadata.outputs]

    @property
    def units(self) -> dict[str, str]:
        """Unit of each condition and output."""
        conditions = {condition.name: condition.unit for condition in self.metadata.conditions}
        return conditions | {output.name: output.unit for output in self.metadata.outputs}

    @cached_property
    def conditions(self) -> dict[str, NDArray[Any]]:
        """(N,) values of each condition; counts and codes of categories are integers."""
        columns = zip(self.metadata.conditions, self.condition_array.T, strict=True)
        return {condition.name: condition.stored(values) for condition, values in columns}

    @cached_property
    def _outputs(self) -> dict[str, Float32]:
        return HANDLING[self.metadata.kind].split(self.arrays, self.metadata.outputs)

    def keys(self) -> list[str]:
        """The same as `names`."""
        return self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self._outputs or name in self.conditions)

    def __len__(self) -> int:
        return len(self.condition_array)

    def __getitem__(self, name: str) -> NDArray[Any]:
        if not isinstance(name, str):
            raise TypeError(
                f"index: expected the name of an array, got {name!r}; index the array: x[{self.names[0]!r}][...]"
            )
        for table in (self._outputs, self.conditions):
            if name in table:
                return table[name]
        raise KeyError(f"no array {name!r}; {near(name, [*self._outputs, *self.conditions])}")

    def __repr__(self) -> str:
        kind, origin = KINDS[self.metadata.kind], self.origin
        units = self.units
        shapes = ", ".join(
            f"{name} {'x'.join(map(str, self[name].shape[1:])) or 'number'}{units[name] and f' [{units[name]}]'}"
            for name in self.names
        )
        given = ", ".join(f"{name}{units[name] and f' [{units[name]}]'}" for name in self.conditions)
        return (
            f"<{len(self)} generated {kind.rows if len(self) != 1 else kind.row}: {shapes}; at {given}; "
            f"{origin.model}, seed {origin.seed}, run {origin.run}, events from {origin.first_event}>"
        )

    @property
    def total_energy(self) -> NDArray[np.float64]:
        """Showers: sum of cells and overflow, (N,), in the unit of the cells.

        Raises:
            ValueError: If these are tracks.
        """
        _ = self.metadata.calorimeter
        total: NDArray[np.float64] = sum(a.sum(axis=1, dtype=np.float64) for a in self.arrays)
        return total

    @property
    def incident_energy(self) -> NDArray[np.float64]:
        """Showers: incident energy, (N,), in the unit of the cells: ``total_energy / incident_energy`` is the response.

        Raises:
            ValueError: If these are tracks.
        """
        calo, conditions = self.metadata.data.calo, self.metadata.conditions
        column = [condition.name for condition in conditions].index(calo.incident_energy)
        factor = energy_factor(conditions[column].unit or calo.unit, calo.unit)
        return factor * self.condition_array[:, column].astype(np.float64)

    def to_numpy(self) -> dict[str, NDArray[Any]]:
        """Conditions and outputs by name, without copying, as ``uproot``'s ``library="np"`` has them."""
        return self.conditions | self._outputs

    def to_awkward(self) -> Any:
        """Conditions and outputs as an `awkward.Array` of N records, with layers of fixed size."""
        import awkward as ak

        columns = {name: ak.from_numpy(a, regulararray=True) for name, a in self.to_numpy().items()}
        return ak.zip(columns, depth_limit=1)

    def branches(self) -> dict[str, Any]:
        """Branches of a ROOT file like the training file."""
        own = HANDLING[self.metadata.kind].branches(self.arrays, self.metadata)
        rows = {} if self.rows is None else {ROW_BRANCH: self.rows}
        return shared_branches(self.condition_array, self.metadata) | own | rows

    def to_root(self, path: str | Path, *, format: Format = "ttree", compression: str = COMPRESSION) -> Path:
        """Write a ROOT file with the tree, branches and layout of the training file, as ``hepgan generate`` does.

        Args:
            path: The file; an existing one is replaced.
            format: Kind of the tree: ``"ttree"`` or ``"rntuple"``.
            compression: Name and, after a colon, level: ``"zstd:5"``, ``"lz4"``, ``"zlib"``, ``"lzma"``, ``"none"``.

        Returns:
            The file.

        Raises:
            ValueError: If there is no such format or compression.
            OSError: If it cannot be written; nothing is left behind.
        """
        path = Path(path)
        rows = cluster_rows(sum(array.shape[1] for array in self.arrays))
        with generated_file(
            path, self.metadata, self.origin, rows=rows, format=format, compression=compression
        ) as tree:
            tree.extend(self.branches())
        return path
