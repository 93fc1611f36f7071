"""Run the graph of an exported file with ONNX Runtime."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

__all__ = ["Batch", "Session"]

Float32 = NDArray[np.float32]


class Batch:
    """Runs of one size in memory that is there: nothing is copied or allocated for a run. For one thread.

    Args:
        runtime: The runtime's session.
        inputs: Shapes of the inputs by name.
        outputs: Shapes of the outputs by name.

    Attributes:
        condition: (B, n_conditions), to be filled before a run.
        latent: (B, n_latent), likewise.
    """

    def __init__(
        self, runtime: Any, inputs: Mapping[str, tuple[int, ...]], outputs: Mapping[str, tuple[int, ...]]
    ) -> None:
        self._runtime, self._binding = runtime, runtime.io_binding()
        given = {name: np.zeros(shape, np.float32) for name, shape in inputs.items()}
        results = {name: np.zeros(shape, np.float32) for name, shape in outputs.items()}
        value = onnxruntime.OrtValue.ortvalue_from_numpy
        for name, array in given.items():
            self._binding.bind_ortvalue_input(name, value(array))
        for name, array in results.items():
            self._binding.bind_ortvalue_output(name, value(array))
        self.condition, self.latent = given["condition"], given["latent"]
        self._outputs: list[Float32] = [*results.values()]

    def run(self) -> list[Float32]:
        """The outputs, (B, *shape) each, of what is in the inputs; the next run overwrites them."""
        self._runtime.run_with_iobinding(self._binding)
        return self._outputs


class Session:
    """A graph that takes any number of rows, also if its batch size is fixed.

    Args:
        content: The ONNX model as bytes.
        outputs: Names of the outputs to compute.
        batch: The graph's batch size if it is fixed.
        threads: Threads of a run; 1 leaves the other cores to the caller.
    """

    def __init__(
        self, content: bytes, outputs: Sequence[str], *, batch: int | None, threads: int = 1
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors
        self.runtime = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self.outputs, self.batch = list(outputs), batch
        self._own = threading.local()

    def __call__(self, condition: Float32, latent: Float32) -> list[Float32]:
        """Compute the outputs, (B, *shape) each, of conditions (B, n_conditions) and latent numbers (B, n_latent)."""
        if self.batch is None:
            return self._run(condition, latent)
        rows, step = len(condition), self.batch
        missing = -rows % step
        if missing:
            condition = np.concatenate([condition, np.repeat(condition[-1:], missing, axis=0)])
            latent = np.concatenate([latent, np.repeat(latent[-1:], missing, axis=0)])
        parts = [
            self._run(condition[i : i + step], latent[i : i + step]) for i in range(0, len(condition), step)
        ]
        return [np.concatenate(columns)[:rows] for columns in zip(*parts, strict=True)]

    def room(
        self, rows: int, n_conditions: int, n_latent: int, shapes: Sequence[tuple[int, ...]]
    ) -> Batch | None:
        """Memory of the calling thread for batches of a number of rows; None if the graph's batch size is another.

        Args:
            rows: Rows of a batch.
            n_conditions: Numbers of a row of conditions.
            n_latent: Latent numbers of a row.
            shapes: Shape of a row of each output.
        """
        if self.batch not in (None, rows):
            return None
        known: Batch | None = getattr(self._own, "batch", None)
        if known is None or len(known.condition) != rows:
            inputs = {"condition": (rows, n_conditions), "latent": (rows, n_latent)}
            outputs = {name: (rows, *shape) for name, shape in zip(self.outputs, shapes, strict=True)}
            known = self._own.batch = Batch(self.runtime, inputs, outputs)
        return known

    def _run(self, condition: Float32, latent: Float32) -> list[Float32]:
        results: list[Float32] = self.runtime.run(self.outputs, {"condition": condition, "latent": latent})
        return results
