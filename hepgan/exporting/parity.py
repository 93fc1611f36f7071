"""Does an exported graph compute the generator's function? Both are judged against double precision.

Single precision gives each number an error, which depends on the network: a steep one magnifies the rounding of its
inputs. Comparing two programs in single precision therefore cannot tell rounding from a wrong translation. Here the
generator is run in double precision too. A graph passes if its error is at most a few times that of torch in single
precision, for each output and each row on their own. A wrong constant in an output of small energies stands out as
clearly as in the largest one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hepgan.inference.checking import Run, relative_differences
from hepgan.inference.metadata import Description

__all__ = ["Departure", "Rounding", "double_precision"]

_TIMES = 4.0  # error of the graph, in units of torch's own, that counts as rounding; 1.2 is the most seen
_FLOOR = 16 * float(np.finfo(np.float32).eps)  # relative error that always counts as rounding: 2e-6
_DRAWS = 8  # neighbouring inputs, each with another rounding
_STEP = 2.0**-20  # relative distance between them
_NEGLIGIBLE = (
    1e-3  # of the largest number of an output: smaller numbers count as this when errors are divided
)
_MARGIN = 4.0  # tolerance of the file, in units of torch's own error
_DIGITS = 2  # of it

Float32 = NDArray[np.float32]
Array = NDArray[np.float64]


class Departure(NamedTuple):
    """Where a graph departs from the generator.

    Attributes:
        output: Name of the output.
        row: Row of the comparison.
        error: Relative error there.
        allowed: What rounding explains.
    """

    output: str
    row: int
    error: float
    allowed: float


def double_precision(module: nn.Module) -> Callable[[Float32, Float32], list[Array]]:
    """A copy of a module that computes in double precision, from and to arrays; for ``torch.no_grad()``."""
    double = deepcopy(module).double().eval()
    device = next(double.buffers()).device

    def run(condition: Float32, latent: Float32) -> list[Array]:
        inputs = (torch.from_numpy(x).to(device).double() for x in (condition, latent))
        return [output.double().cpu().numpy() for output in double(*inputs)]

    return run


class Rounding:
    """Error of torch in single precision for some rows, and the exact outputs.

    Args:
        run: The generator in single precision.
        exact: The same in double precision.
        condition: (B, n_conditions).
        latent: (B, n_latent).
        description: Describes conditions and outputs.

    Attributes:
        expected: Exact outputs, (B, ...) each.
        errors: Relative error (n_outputs,) of single precision, the largest of all rows and some neighbouring inputs.
        tolerance: Relative difference, as `relative_differences` measures it, that rounding explains in any row.
    """

    def __init__(
        self,
        run: Run,
        exact: Callable[[Float32, Float32], list[Array]],
        condition: Float32,
        latent: Float32,
        description: Description,
    ) -> None:
        self.outputs = outputs = description.outputs
        continuous = np.array([not (c.integer or c.categories) for c in description.conditions])
        self.expected = exact(condition, latent)
        self.errors, worst = np.zeros(len(outputs)), 0.0
        for k in range(_DRAWS):
            near = np.float32(1 + k * _STEP)
            inputs = np.where(continuous, condition * near, condition), latent * near
            rounded, true = run(*inputs), exact(*inputs) if k else self.expected
            self.errors = np.maximum(self.errors, self._relative(rounded, true).max(1))
            worst = max(worst, float(relative_differences(rounded, true, outputs).max()))
        self.tolerance = float(f"{_MARGIN * worst:.{_DIGITS}g}")

    def _relative(self, got: Sequence[NDArray[Any]], true: Sequence[Array]) -> Array:
        """Largest error (n_outputs, B), relative to the row's largest number, or to the size of the output."""
        rows = []
        for values, wanted, output in zip(got, true, self.outputs, strict=True):
            size = np.abs(wanted).reshape(len(wanted), -1).max(1)
            least = _NEGLIGIBLE * size.max() if output.scale is None else output.scale
            with np.errstate(invalid="ignore"):  # infinity - infinity is NaN, which no limit passes
                error = np.abs(values - wanted).reshape(len(wanted), -1).max(1)
            rows.append(error / np.maximum(np.maximum(size, least), np.finfo(np.float32).tiny))
        return np.array(rows)

    def departure(self, got: Sequence[NDArray[Any]]) -> Departure | None:
        """The worst error of a program's outputs for the same rows; None if rounding explains all.

        Args:
            got: Outputs, (B, ...) each.
        """
        error = self._relative(got, self.expected)
        allowed = _FLOOR + _TIMES * self.errors
        if bool((error <= allowed[:, None]).all()):
            return None
        excess = np.nan_to_num(error / allowed[:, None], nan=np.inf)
        place, row = np.unravel_index(int(excess.argmax()), excess.shape)
        return Departure(self.outputs[place].name, int(row), float(error[place, row]), float(allowed[place]))
