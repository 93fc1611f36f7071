"""Open an exported file and generate showers or tracks with it, without torch.

`Generator` opens a file that `hepgan.exporting.onnx` wrote; export/include/hepgan/generator.hpp does the same in C++.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hepgan.config import KINDS, DataConfig, Kind
from hepgan.geometry import Calorimeter
from hepgan.inference import checking, noise
from hepgan.inference.conditions import condition_rows
from hepgan.inference.excursions import Excursions, OutOfRange, chosen
from hepgan.inference.generated import Generated
from hepgan.inference.kinds import HANDLING
from hepgan.inference.metadata import Condition, Metadata, open_model
from hepgan.inference.session import Session
from hepgan.inference.targets import TARGETS, lint
from hepgan.inference.writing import Origin

__all__ = ["Generator"]

_LOG = logging.getLogger(__name__)

Float32 = NDArray[np.float32]


class Generator:
    """A generator in an exported file.

    Example:
        >>> generator = Generator("model.onnx")
        >>> showers = generator.generate(incident_energy=[10, 20], seed=1)
        >>> showers["layer_1"].shape
        (2, 12, 12)

    Args:
        path: The file, or a run folder with a ``model.onnx``.
        threads: Threads of a run; 1 leaves the other cores to the caller.

    Attributes:
        path: The file.
        metadata: The file's description.
        kind: The kind of data: showers or tracks.
        conditions: Names, units and trained ranges of the conditions.
        data: How the training files were read.
        n_latent: Latent numbers of a shower or track.
        n_overflow: Overflow numbers of a shower: one a layer, or 0.
        outputs: Names of the graph's outputs.
        batch: The graph's batch size if it is fixed.

    Raises:
        NotFoundError: If there is no such file.
        ModelFileError: If it is not an ONNX file, not one of hepgan, damaged, of a newer schema, or was altered.
    """

    def __init__(self, path: str | Path, *, threads: int = 1) -> None:
        file = open_model(path)
        self.path, self._model = file.path, file.model
        self.metadata: Metadata = file.metadata
        self.kind: Kind = KINDS[self.metadata.kind]
        self.conditions: tuple[Condition, ...] = self.metadata.conditions
        self.data: DataConfig = self.metadata.data
        self.n_latent = self.metadata.latent.size
        self.n_overflow = sum(o.shape[0] for o in self.metadata.outputs if o.role == "overflow")
        self.outputs = [output.name for output in self.metadata.outputs]
        dimension = self._model.graph.input[0].type.tensor_type.shape.dim[0]
        self.batch: int | None = dimension.dim_value or None
        self._run = Session(file.content, self.outputs, batch=self.batch, threads=threads)
        self._handling = HANDLING[self.metadata.kind]

    def __repr__(self) -> str:
        given = ", ".join(f"{c.name}: {c.expected}" for c in self.conditions)
        return f"<generator of {self.kind.rows} {self.path}: {', '.join(self.outputs)}; {given}>"

    @cached_property
    def calorimeter(self) -> Calorimeter:
        """The geometry.

        Raises:
            ValueError: If the data are observables.
        """
        return self.metadata.calorimeter

    @property
    def operators(self) -> set[str]:
        """Operators of the graph."""
        return {node.op_type for node in self._model.graph.node}

    def lint(self, target: str) -> Sequence[str]:
        """List what another program would refuse in the file, as far as `hepgan.inference.targets` looks at it."""
        return lint(self._model, target)

    def check(
        self, *, target: str | None = None, geometry: Calorimeter | None = None
    ) -> list[checking.Check]:
        """Test the file, see `hepgan.inference.checking.check`.

        Args:
            target: Test as well whether this program can read it.
            geometry: Test as well whether the cells are those of this calorimeter.

        Raises:
            ValueError: If a geometry is given for tracks.
        """
        results = checking.check(self.metadata, self._model, self._run)
        if geometry is not None:
            results.append(checking.check_geometry(self.calorimeter, geometry))
        if target is not None:
            problems = self.lint(target)
            detail = "; ".join(problems) or TARGETS[target].looked_at
            results.append(checking.Check(f"target {target}", not problems, detail))
        return results

    def __call__(self, condition: NDArray[Any], latent: NDArray[Any]) -> tuple[Float32, ...]:
        """Run the graph on all rows at once; only shapes are checked. `sample` and `generate` do more.

        Args:
            condition: (B, n_conditions), physical units.
            latent: (B, n_latent), standard normal.

        Returns:
            Cells (B, n_cells) and overflow (B, n_overflow) in the calorimeter's unit; or targets (B, n_targets).

        Raises:
            ValueError: If a shape is wrong.
        """
        condition = self._rows("condition", condition, len(self.conditions))
        latent = self._rows("latent", latent, self.n_latent, n=len(condition))
        arrays = self._handling.room(len(condition), self.metadata.outputs)
        if len(condition):
            self._handling.fill(arrays, self._run(condition, latent), self.metadata.outputs)
        return arrays

    def _rows(self, name: str, values: NDArray[Any], width: int, *, n: int | None = None) -> Float32:
        """The values as (B, width) in single precision."""
        array = np.asarray(values, np.float32)
        if array.ndim != 2 or array.shape[1] != width or (n is not None and len(array) != n):
            rows = n if n is not None else len(array) if array.ndim else 1
            raise ValueError(
                f"{name}: expected shape ({rows}, {width}), got {array.shape}; give one row a {self.kind.row}"
            )
        return array

    def check_range(self, condition: NDArray[Any], *, extrapolate: bool = False) -> None:
        """Refuse conditions outside the trained range, and unknown categories.

        Args:
            condition: (B, n_conditions), physical units.
            extrapolate: Accept numbers outside a range with which the generator can compute.

        Raises:
            ConditionRangeError: Naming the first such condition.
            ValueError: If the shape is wrong.
        """
        action = chosen("error", extrapolate=extrapolate)
        Excursions(self.conditions, action).admit(self._rows("condition", condition, len(self.conditions)))

    def sample(
        self,
        condition: NDArray[Any],
        *,
        seed: int,
        run: int = 0,
        first_event: int = 0,
        batch_size: int = 0,
        extrapolate: bool = False,
        out_of_range: OutOfRange = "error",
    ) -> tuple[Float32, ...]:
        """Generate one shower or track for each row of conditions, from the noise of `hepgan.inference.noise`.

        Args:
            condition: (B, n_conditions), physical units.
            seed: First part of the noise's key.
            run: Second part of it.
            first_event: Event number of the first row; each following row is the next event, with track 0.
            batch_size: Rows at once; default: as many as is fast.
            extrapolate: The same as ``out_of_range="extrapolate"``.
            out_of_range: Action for conditions outside the trained range; numbers of a row that is skipped are zero, as
                in C++.

        Returns:
            Cells (B, n_cells) and overflow (B, n_overflow) in the calorimeter's unit; or targets (B, n_targets).

        Raises:
            ConditionRangeError: If a condition is outside its trained range, and that is refused.
            ValueError: If the shape is wrong, or the key outside 64 bits.
        """
        generated = self.generate_rows(
            condition,
            seed=seed,
            run=run,
            first_event=first_event,
            batch_size=batch_size,
            extrapolate=extrapolate,
            out_of_range=out_of_range,
        )
        if generated.rows is None:
            return generated.arrays
        results = tuple(np.zeros((len(condition), *a.shape[1:]), np.float32) for a in generated.arrays)
        for result, array in zip(results, generated.arrays, strict=True):
            result[generated.rows] = array
        return results

    @property
    def fastest_batch(self) -> int:
        """Rows that `sample` computes at once by default."""
        return self._handling.batch

    def generate(
        self,
        conditions: Mapping[str, ArrayLike] | None = None,
        /,
        *,
        n: int | None = None,
        seed: int = 1,
        run: int = 0,
        first_event: int = 0,
        units: Mapping[str, str] | None = None,
        extrapolate: bool = False,
        out_of_range: OutOfRange = "error",
        **named: ArrayLike,
    ) -> Generated:
        """Generate showers or tracks at conditions by name.

        Row k has the noise of event `first_event` + k, as in ``hepgan generate`` and in C++: the same key and
        conditions give the same shower.

        Example:
            >>> generator.generate(incident_energy=[10, 20], seed=1)
            >>> generator.generate(incident_energy=500, units={"incident_energy": "MeV"}, n=100)
            >>> generator.generate(P=30e3, species=["pi", "K"], nTracks=100)

        Args:
            conditions: Conditions by name, if a name is not one of Python or the same as an option here.
            n: Number of rows; default: the length of the lists of conditions, or 1.
            seed: First part of the noise's key.
            run: Second part of it.
            first_event: Event number of the first row.
            units: Unit of the given values by name, if not the model's: energies from eV to TeV are converted.
            extrapolate: The same as ``out_of_range="extrapolate"``.
            out_of_range: Action for conditions outside the trained range: refuse all rows (``error``), move them to the
                nearest end (``clamp``), leave these rows out (``skip``; ``rows`` of the result says which are left), or
                generate outside (``extrapolate``). What was done is logged with the number of rows.
            named: For each condition one value or a list with one a row; of a category its name or its value.

        Raises:
            ConditionRangeError: If a condition is outside its trained range, or no category, and that is refused.
            ValueError: If a name is unknown or missing, or values or units do not fit; if the key is outside 64 bits.
        """
        given = {} if conditions is None else conditions
        if not hasattr(given, "keys"):  # those of pandas and the like have them, and no truth value
            raise ValueError(
                f"conditions: expected values by name, got {type(given).__name__}; write "
                f"{self.conditions[0].name}=VALUE, or generate_rows(ARRAY, seed=1)"
            )
        twice = [name for name in named if name in given]
        if twice:
            raise ValueError(f"condition {twice[0]!r}: expected one value, got two; leave one out")
        condition = condition_rows(self.conditions, {**given, **named}, n=n, units=units)
        return self.generate_rows(
            condition,
            seed=seed,
            run=run,
            first_event=first_event,
            extrapolate=extrapolate,
            out_of_range=out_of_range,
        )

    def generate_rows(
        self,
        condition: NDArray[Any],
        *,
        seed: int,
        run: int = 0,
        first_event: int = 0,
        batch_size: int = 0,
        extrapolate: bool = False,
        out_of_range: OutOfRange = "error",
    ) -> Generated:
        """The same as `sample`, with names and units; rows that are skipped are left out, as in `generate`."""
        action = chosen(out_of_range, extrapolate=extrapolate)
        excursions = Excursions(self.conditions, action, self.kind.rows)
        condition = self._rows("condition", condition, len(self.conditions))
        first_event = noise.check_events(first_event, len(condition))
        condition, rows = excursions.admit(condition)
        generated = self.generate_admitted(
            condition, rows, seed=seed, run=run, first_event=first_event, batch_size=batch_size
        )
        for sentence in excursions.sentences():
            _LOG.warning("%s", sentence)
        return generated if excursions.action == "skip" else replace(generated, rows=None)

    def generate_admitted(
        self,
        condition: Float32,
        rows: NDArray[np.int64],
        *,
        seed: int,
        run: int = 0,
        first_event: int = 0,
        batch_size: int = 0,
    ) -> Generated:
        """Generate at conditions that `Excursions` admitted; several threads may do so at once.

        Args:
            condition: (B, n_conditions), physical units.
            rows: (B,) rows of all given conditions that these are; row k has the noise of event `first_event` + k.
            seed: First part of the noise's key.
            run: Second part of it.
            first_event: Event number of row 0.
            batch_size: Rows at once; default: as many as is fast.
        """
        seed, run = noise.check("seed", seed), noise.check("run", run)
        if batch_size < 0:
            raise ValueError(f"batch_size: expected a positive number, got {batch_size}; 128 is a good one")
        outputs = self.metadata.outputs
        arrays = self._handling.room(len(rows), outputs)
        batch_size = batch_size or self.fastest_batch
        events = rows.astype(np.uint64) + np.uint64(first_event)
        room = None
        if len(rows) >= batch_size:
            shapes = [tuple(output.shape) for output in outputs]
            room = self._run.room(batch_size, condition.shape[1], self.n_latent, shapes)
        for start in range(0, len(rows), batch_size):
            part = slice(start, start + batch_size)
            into = room if len(rows) - start >= batch_size else None
            latent = noise.normal(
                seed, run, events[part], size=self.n_latent, out=into.latent if into else None
            )
            if into:
                into.condition[...] = condition[part]
                values = into.run()
            else:
                values = self._run(condition[part], latent)
            self._handling.fill([array[part] for array in arrays], values, outputs)
        origin = Origin(self.path.name, seed, run, first_event)
        return Generated(self.metadata, condition, arrays, origin, rows)
