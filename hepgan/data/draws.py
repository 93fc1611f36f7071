"""Random numbers for the rows of a batch, of which a worker may compute only some.

Workers that train one model together hold sources of random numbers in the same state. Each draws the numbers of the
whole batch and keeps those of its own rows. The numbers of an event therefore do not depend on the number of workers,
and a training goes on with another number of workers as if it had not changed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["RowGenerator", "normal", "own_rows", "uniform"]


class RowGenerator(torch.Generator):
    """Source of random numbers of a worker that computes every `step`-th row of a batch, from row `first` on.

    Functions of torch draw from it as from any generator; the functions of this module draw for the batch and keep the
    worker's rows. Rows alternate between the workers: half of a worker's rows are in the first half of the batch.

    Attributes:
        batch: Rows of the whole batch.
        rows: The worker's rows.
    """

    batch: int
    rows: slice

    @classmethod
    def like(cls, rng: torch.Generator, *, batch: int, first: int, step: int) -> RowGenerator:
        """Copy a generator: the same device and state."""
        new = cls(rng.device)
        new.set_state(rng.get_state())
        new.batch, new.rows = batch, slice(first, None, step)
        return new


def own_rows(rng: torch.Generator) -> slice:
    """Rows of a batch that belong to the worker of a source: all of them for a plain `torch.Generator`."""
    return rng.rows if isinstance(rng, RowGenerator) else slice(None)


def normal(*shape: int, rng: torch.Generator, axis: int = 0) -> Tensor:
    """Draw standard normal numbers for the rows of a worker, on the device of `rng`.

    Args:
        shape: Shape of the result.
        rng: The source.
        axis: Axis of `shape` that counts the worker's rows.

    Raises:
        ValueError: If the number of rows is not that of the worker.
    """
    return _drawn(torch.randn, shape, rng, axis)


def uniform(*shape: int, rng: torch.Generator, axis: int = 0) -> Tensor:
    """Draw uniform numbers from 0 to 1; arguments and errors as in `normal`."""
    return _drawn(torch.rand, shape, rng, axis)


def _drawn(draw: Callable[..., Tensor], shape: tuple[int, ...], rng: torch.Generator, axis: int) -> Tensor:
    if not isinstance(rng, RowGenerator):
        return draw(shape, generator=rng, device=rng.device)
    rows = len(range(*rng.rows.indices(rng.batch)))
    if rows != shape[axis]:
        raise ValueError(
            f"rows: expected the {rows} rows of this worker, got {shape[axis]}; draw for these rows alone"
        )
    whole = draw((*shape[:axis], rng.batch, *shape[axis + 1 :]), generator=rng, device=rng.device)
    return whole[(slice(None),) * axis + (rng.rows,)].contiguous()
