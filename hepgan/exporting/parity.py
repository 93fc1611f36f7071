"""Does an exported graph compute the generator's function? Both are judged against double precision.

Single precision gives each number an error, which depends on the network: a steep one magnifies the rounding of its
inputs. Comparing two programs in single precision therefore cannot tell rounding from a wrong translation. Here the
generator is run in double precision too, and again with a random error of one unit in the last place of single
precision behind each operation (Vignes, Math. Comput. Simul. 35 (1993) 233). A graph passes if its error is at most a
few times that of torch in single precision, or of these runs, in each output on its own. A wrong constant in an output
of small energies stands out as clearly as in the largest one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from hepgan.inference.checking import relative_differences
from hepgan.inference.metadata import Output

__all__ = ["Departure", "Rounding", "double_precision"]

_TIMES = (
    2.0  # error of the graph, in units of the largest of these, that counts as rounding; 0.7 is the most seen
)
_FLOOR = 16 * float(np.finfo(np.float32).eps)  # relative error that always counts as rounding: 2e-6
_DRAWS = 6  # runs with random rounding
_UNIT = 2.0**-23  # largest relative error of an operation in them: one unit in the last place
_SEED = 1993  # any number
_NEGLIGIBLE = (
    1e-3  # of the largest number of an output: smaller numbers count as this when errors are divided
)
_MARGIN = 2.0  # tolerance of the file, in units of torch's own error
_DIGITS = 2  # of it

Float32 = NDArray[np.float32]
Array = NDArray[np.float64]


_CHOICES = (
    "abs",
    "clamp",
    "clamp_max",
    "clamp_min",
    "max",
    "maximum",
    "min",
    "minimum",
    "neg",
    "relu",
    "topk",
    "where",
)
_MOVES = (
    "_to_copy",
    "cat",
    "clone",
    "constant_pad_nd",
    "copy_",
    "gather",
    "index",
    "index_select",
    "repeat",
    "stack",
)
_EXACT = frozenset([*_CHOICES, *_MOVES, "tril", "triu"])  # operations that compute nothing


class _RandomRounding(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Gives each result in double precision a random error of the size of single precision.

    Whole numbers stay exact: they are masks, places in tables, or zeros.
    """

    def __init__(self, rng: torch.Generator) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rng = rng

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        is_view = any(returned.alias_info is not None for returned in func._schema.returns)
        name = func._schema.name.split("::")[-1]
        if is_view or name in _EXACT or not (isinstance(result, Tensor) and result.dtype == torch.float64):
            return result
        noise = torch.rand(result.shape, generator=self.rng, dtype=result.dtype)
        return torch.where(
            result == result.round(), result, result * (1 + _UNIT * (2 * noise.to(result.device) - 1))
        )


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
    """Error of single precision for some rows, and the exact outputs.

    Args:
        rounded: Outputs of torch in single precision, (B, ...) each.
        exact: The generator in double precision.
        condition: (B, n_conditions).
        latent: (B, n_latent).
        outputs: Describes the outputs.

    Attributes:
        expected: Exact outputs, (B, ...) each.
        errors: Relative error (n_outputs,) of single precision, the largest of all rows.
        tolerance: Relative difference, as `relative_differences` measures it, that rounding explains in any row.
    """

    def __init__(
        self,
        rounded: Sequence[NDArray[Any]],
        exact: Callable[[Float32, Float32], list[Array]],
        condition: Float32,
        latent: Float32,
        outputs: Sequence[Output],
    ) -> None:
        self.outputs = outputs
        self.expected = exact(condition, latent)
        runs: list[Sequence[NDArray[Any]]] = [rounded]
        with _RandomRounding(torch.Generator().manual_seed(_SEED)):
            runs += [exact(condition, latent) for _ in range(_DRAWS)]
        self.errors = np.max([self._relative(run).max(1) for run in runs], axis=0)
        worst = max(float(relative_differences(run, self.expected, outputs).max()) for run in runs)
        self.tolerance = float(f"{_MARGIN * worst:.{_DIGITS}g}")

    def _relative(self, got: Sequence[NDArray[Any]]) -> Array:
        """Largest error (n_outputs, B), relative to the row's largest number, or to the size of the output."""
        rows = []
        for values, wanted, output in zip(got, self.expected, self.outputs, strict=True):
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
        error = self._relative(got)
        allowed = _FLOOR + _TIMES * self.errors
        if bool((error <= allowed[:, None]).all()):
            return None
        excess = np.nan_to_num(error / allowed[:, None], nan=np.inf)
        place, row = map(int, np.unravel_index(int(excess.argmax()), excess.shape))
        return Departure(self.outputs[place].name, row, float(error[place, row]), float(allowed[place]))
