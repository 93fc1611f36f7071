"""A batch in the form that a critic scores: real events, generated events, and the context that both share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

__all__ = ["CriticView"]


@dataclass(frozen=True)
class CriticView:
    """Real and generated events of the same conditions, in the representation that a critic scores.

    Attributes:
        context: (B, n_context) numbers that a real event and the generated one share: conditions, and the pattern of
            point masses if there is one.
        real: (B, F) representation of the real events, without gradients.
        fake: Generates events from (B, n_latent) latent numbers and gives their (B, F) representation.
        codes: Maps (B, n_latent) latent numbers to (B, n_latent), with a part replaced by encoder codes of the real
            events, so that `fake` reconstructs those. Without an encoder, nothing is replaced.
        blocks: Numbers of features that parts of the critic see, each of which has a penalty of its own; () for one.
    """

    context: Tensor
    real: Tensor
    fake: Callable[[Tensor], Tensor]
    codes: Callable[[Tensor], Tensor] = lambda latent: latent
    blocks: tuple[int, ...] = ()
