"""Watch for losses and weights that are not finite, without waiting for the device at each step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hepgan.data.streaming import TrainingEvents
from hepgan.errors import TrainingDiverged
from hepgan.training.state import RunState

__all__ = ["Watch"]

_SHOWN = 8  # events of the batch in the message


class Watch:
    """Keeps the losses and the size of the weights after each batch on the device, until `look`.

    One NaN makes all later losses NaN. So a look before each log, validation and checkpoint is enough to let none of it
    out, and the batch at which it began is still known.

    Args:
        state: The run.
        events: The training events, of which the batches are drawn.
        batch_size: Events of a batch.
    """

    def __init__(self, state: RunState, events: TrainingEvents, *, batch_size: int) -> None:
        self.state, self.events, self.batch_size = state, events, batch_size
        self.workers = state.workers
        self._forget()

    def _forget(self) -> None:
        self.turns: list[str] = []
        self.names: list[tuple[str, ...]] = []
        self.numbers: list[Tensor] = []
        self.rng_state, self.drawn = self.state.batch_rng.get_state(), self.state.drawn

    @torch.no_grad()
    def see(self, weights: Sequence[Tensor], losses: Mapping[str, Tensor], *, turn: str) -> None:
        """Note the outcome of one batch.

        Args:
            weights: The weights that it changed.
            losses: () numbers by name.
            turn: Whose turn it was, in which step.
        """
        self.turns.append(turn)
        self.names.append((*losses, "norm of the weights"))
        flat = torch.cat([w.flatten() for w in weights])
        size = torch.dot(flat, flat).sqrt()
        self.numbers.append(torch.stack([*losses.values(), size]))

    def look(self) -> None:
        """Wait for the device, and stop if something was not finite since the last look; workers look together.

        Raises:
            TrainingDiverged: If a number was not; says at which batch it began.
        """
        if not self.numbers:
            return
        own = torch.cat(self.numbers) * self.workers.share(self.batch_size)
        means = self.workers.sum(own)  # over each batch
        if not torch.isfinite(means).all():
            numbers = torch.split(means, [len(row) for row in self.numbers])
            first = next(k for k, row in enumerate(numbers) if not torch.isfinite(row).all())
            rng = torch.Generator()
            rng.set_state(self.rng_state)
            begins = range(self.drawn, self.drawn + (first + 1) * self.batch_size, self.batch_size)
            for begin in begins[:-1]:
                self.events.batch(self.batch_size, rng=rng, first=begin)
            drawn = self.events.drawn(self.batch_size, rng=rng, first=begins[-1])[:_SHOWN].tolist()
            named = zip(self.names[first], numbers[first].tolist(), strict=True)
            raise TrainingDiverged(
                f"training: expected finite losses and weights, got {', '.join(f'{k} {v:g}' for k, v in named)} in "
                f"{self.turns[first]}, whose batch is training events {', '.join(map(str, drawn))}, ... of "
                f"{len(self.events)}; the checkpoint before stays, and its generator can be exported; --resume comes "
                "to the same batch again: train anew with another --out and a lower lr_critic or lr_generator, or a "
                "higher objective.penalty"
            )
        self._forget()
