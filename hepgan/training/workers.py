"""Workers: processes that train one model together, each on its own rows of every batch (data parallelism).

All workers have the same weights and take the same steps. Each computes the gradient of its rows; the mean over the
workers, weighted with their numbers of rows, is the gradient of the whole batch, because every loss is a mean over the
batch (`hepgan.objectives.expectation`) with weights that have mean one over all training events. What they decide (to
stop, to give up) they decide together, and only the first writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from hepgan.data.draws import RowGenerator
from hepgan.errors import WorkerFailed

__all__ = ["ALONE", "Workers"]

T = TypeVar("T")


@dataclass(frozen=True)
class Workers:
    """The workers of a training, as one of them sees them; the defaults are a process that trains alone.

    Attributes:
        rank: Number of this worker, from 0 on.
        size: Number of workers.
        local_rank: Number of this worker on its machine; its GPU.
        local_size: Number of workers on this machine, which share its cores.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the worker that writes, and shows the progress."""
        return self.rank == 0

    def share(self, batch: int) -> float:
        """Fraction of a batch that this worker computes."""
        return len(range(self.rank, batch, self.size)) / batch

    def generator(self, rng: torch.Generator, *, batch: int) -> torch.Generator:
        """Give a source of random numbers that is in the same state everywhere this worker's rows of a batch."""
        if self.size == 1:
            return rng
        return RowGenerator.like(rng, batch=batch, first=self.rank, step=self.size)

    def average_gradients(self, parameters: Iterable[Tensor], *, batch: int) -> None:
        """Replace the gradients by those of the whole batch: one sum over the workers of one flat vector."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients]) * self.share(batch)
        self.sum(flat)
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [p.view_as(g) for p, g in zip(parts, gradients, strict=True)])

    def mean(self, values: Mapping[str, Tensor], *, batch: int) -> dict[str, float]:
        """Means over the batch, from means () over this worker's rows."""
        if not values:
            return {}
        together = torch.stack([value.detach().double() for value in values.values()]) * self.share(batch)
        return dict(zip(values, self.sum(together).tolist(), strict=True))

    def sum(self, tensor: Tensor) -> Tensor:
        """Add the tensors of all workers, in place."""
        if self.size > 1 and tensor.numel():
            with _collective():
                dist.all_reduce(tensor)
        return tensor

    def largest(self, *values: float) -> list[float]:
        """The largest of each value over all workers."""
        if self.size == 1:
            return [*values]
        tensor = torch.tensor(values, dtype=torch.float64)
        with _collective():
            dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return tensor.tolist()

    def in_turn(self, function: Callable[[], T]) -> T:
        """Call a function in the first worker, then in the first of each other machine, then in all others.

        So a file that is written once is there when the next ones look for it, be the disk of one machine or of all.
        """
        own = 0 if self.is_first else 1 if self.local_rank == 0 else 2
        results = []
        for turn in range(3):
            if turn == own:
                results.append(function())
            self.largest(turn)  # wait for all
        return results[0]

    def from_first(self, value: T) -> T:
        """The value of the first worker, for all."""
        if self.size == 1:
            return value
        values = [value]
        with _collective():
            dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
        return values[0]


ALONE = Workers()
"""A process that trains alone."""


@contextmanager
def _collective() -> Iterator[None]:
    """Say what it means if the other workers do not answer.

    Raises:
        WorkerFailed: If one is gone.
    """
    try:
        yield
    except RuntimeError as error:
        raise WorkerFailed(
            "another worker of this training is gone, failed or killed; look for its message. The last checkpoint "
            "stays, --resume goes on from it"
        ) from error
