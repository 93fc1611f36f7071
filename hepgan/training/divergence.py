"""Watch for losses and weights that are not finite, without waiting for the device at each step."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hepgan.data.tensors import TensorEvents
from hepgan.errors import TrainingDiverged
from hepgan.training.state import RunState

__all__ = ["Watch"]

_NEVER = 2**62  # number of a batch that no run reaches
_SHOWN = 8  # events of the batch in the message


class Watch:
    """Remembers on the device which batch first gave a loss or a weight that is not finite.

    A weight that is NaN makes each later loss NaN, so that no log and no checkpoint comes between: both look first.

    Args:
        state: The run.
        events: The training events, of which the batches are drawn.
        batch_size: Events of a batch.
    """

    def __init__(self, state: RunState, events: TensorEvents, *, batch_size: int) -> None:
        self.state, self.events, self.batch_size = state, events, batch_size
        self.first = torch.full((), _NEVER, device=state.device)
        self._forget()

    def _forget(self) -> None:
        self.batches: list[str] = []  # since the last look
        self.rng_state = self.state.batch_rng.get_state()

    @torch.no_grad()
    def see(self, network: nn.Module, losses: Mapping[str, Tensor], *, name: str) -> None:
        """Note the outcome of one batch.

        Args:
            network: The network whose weights it changed.
            losses: () numbers by name.
            name: The network's turn, for the message.
        """
        norm = nn.utils.get_total_norm(network.parameters())
        finite = torch.isfinite(torch.stack([norm, *(loss.float() for loss in losses.values())])).all()
        self.first = torch.minimum(self.first, torch.where(finite, _NEVER, len(self.batches)))
        self.batches.append(name)

    def look(self) -> None:
        """Wait for the device, and stop if a batch since the last look was bad.

        Raises:
            TrainingDiverged: If one was; names the first.
        """
        first = int(self.first)
        if first == _NEVER:
            self._forget()
            return
        rng = torch.Generator()
        rng.set_state(self.rng_state)
        for _ in range(first):
            self.events.batch(self.batch_size, rng=rng)
        drawn = self.events.drawn(self.batch_size, rng=rng)[:_SHOWN].tolist()
        raise TrainingDiverged(
            f"training: losses or weights are not finite in {self.batches[first]} (its batch: training events "
            f"{', '.join(map(str, drawn))}, ... of {len(self.events)}); the checkpoint before stays, and its generator "
            "can be exported; --resume comes to the same batch again: train anew with another --out and a lower "
            "lr_critic or lr_generator, or a higher objective.penalty"
        )
