"""A batch as a critic gets it: real events, generated events, and the context that both share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

__all__ = ["CriticView"]


@dataclass(frozen=True)
class CriticView:
    """Real and generated events of the same conditions, as numbers for a critic.

    Attributes:
        context: (B, L) numbers that describe what a real event and the generated one share.
        real: (B, F) numbers of the real events, without gradients.
        fake: From (B, n_latent) latent numbers to (B, F) numbers of generated events.
        codes: From (B, n_latent) latent numbers to others, some of which the model's encoder gives for the real events:
            `fake` of them are reconstructions. Without an encoder they stay as they are.
    """

    context: Tensor
    real: Tensor
    fake: Callable[[Tensor], Tensor]
    codes: Callable[[Tensor], Tensor] = lambda latent: latent
