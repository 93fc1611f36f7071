"""Run the graph of an exported file with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime
from numpy.typing import NDArray

__all__ = ["Session"]

Float32 = NDArray[np.float32]


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

    def _run(self, condition: Float32, latent: Float32) -> list[Float32]:
        results: list[Float32] = self.runtime.run(self.outputs, {"condition": condition, "latent": latent})
        return results
