r"""Conditional variational autoencoder of observables, and its hybrid with a GAN.

An encoder tells each event's code, a decoder the event at a code; both know the conditions. The encoder is there in
training only: the exported generator draws codes from a standard normal distribution and decodes them.

- ``likelihood = "normal"`` (arXiv:1312.6114): the decoder gives mean and spread of each target, and further latent
  numbers draw from them, so that what codes do not tell is not lost. The loss is minus the evidence lower bound,
  :math:`-E_q \ln p(x|z, c) + KL(q(z|x, c) \| N(0, 1))`.
- ``likelihood = "synthetic"`` (alpha-GAN, arXiv:1706.04987): the decoder gives the target itself. The likelihood is a
  distance :math:`\lambda \|x - \hat x\|_1` plus what a critic of events says of reconstructions and generated events
  (objective ``alpha-gan``), and a second critic, of codes, takes the place of the KL term. It knows the conditions too:
  codes have to be normal at each of them.

Codes begin as the events themselves with a little noise, and the decoder as their copy. From zero, where codes tell
nothing, a decoder learns to do without them first, and never finds a second mode.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import softplus

from hepgan.config import DataConfig, VaeModelConfig
from hepgan.data.tensors import TensorEvents
from hepgan.models.dense import ResidualNetwork
from hepgan.models.tracks import ObservablesGenerator

__all__ = ["VaeGenerator"]

_LEAST_LOG_SPREAD = -7.0  # of targets at a code, a thousandth of their own: the bound stays finite
_FIRST_LOG_SPREAD = -2.0  # of codes, and of targets at a code, before training


class VaeGenerator(ObservablesGenerator):
    """Decoder of codes, trained with an encoder.

    Args:
        data: Conditions and targets.
        model: Sizes.
    """

    model: VaeModelConfig
    straight: Tensor

    def __init__(self, data: DataConfig, model: VaeModelConfig) -> None:
        drawn = len(data.targets) if model.likelihood == "normal" else 0
        super().__init__(data, model, noise=model.latent + drawn)

    @property
    def drawn(self) -> int:
        """Targets that are drawn around what is decoded: all of them or none."""
        return self.n_noise - self.model.latent

    def _make(self) -> None:
        n, m = self.n_label, self.model
        self.encoder = ResidualNetwork(n + self.n_targets, m.width, m.depth, 2 * m.latent)
        self.network = ResidualNetwork(n + m.latent, m.width, m.depth, self.n_targets + self.drawn)
        with torch.no_grad():
            self.encoder.last.bias[m.latent :] = _FIRST_LOG_SPREAD
            self.network.last.bias[self.n_targets :] = _FIRST_LOG_SPREAD
        self.register_buffer("straight", torch.eye(m.latent, self.n_targets), persistent=False)
        if not self.drawn:
            self.critic = ResidualNetwork(n + m.latent, m.critic_width, m.critic_depth, 1)

    def encode(self, label: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the spread of the code (B, latent), from (B, n_label) and (B, V) normal numbers."""
        mean, log_spread = self.encoder(torch.cat([label, z], 1)).chunk(2, 1)
        return mean + z @ self.straight.T, log_spread

    def decode(self, label: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the spread of the normal numbers, (B, V) and (B, V or 0)."""
        mean, log_spread = self.network(torch.cat([label, code], 1)).split([self.n_targets, self.drawn], 1)
        mean = mean + code @ self.straight
        return mean, softplus(log_spread - _LEAST_LOG_SPREAD) + _LEAST_LOG_SPREAD

    def normal(self, label: Tensor, latent: Tensor) -> Tensor:
        """Continuous targets as normal numbers (B, V), from (B, n_label) and (B, >= n_noise)."""
        n = self.model.latent
        mean, log_spread = self.decode(label, latent[:, :n])
        return mean + torch.exp(log_spread) * latent[:, n : self.n_noise] if self.drawn else mean

    def codes(self, label: Tensor, z: Tensor, latent: Tensor) -> Tensor:
        """Latent numbers (B, n_latent) of which the first half reconstruct the (B, V) events.

        The encoder has no part in the game: nothing flows back to it.
        """
        half, n = len(latent) // 2, self.model.latent
        with torch.no_grad():
            mean, log_spread = self.encode(label[:half], z[:half])
            code = mean + torch.exp(log_spread) * latent[:half, :n]
        return torch.cat([torch.cat([code, latent[:half, n:]], 1), latent[half:]])

    def loss(self, events: TensorEvents, *, rng: torch.Generator) -> Tensor:
        """Minus the evidence lower bound of the free targets, or the terms of alpha-GAN without events' critic, (B,).

        Args:
            events: B events.
            rng: Draws the codes.
        """
        label, z, free = self.seen(events)
        z = free * z
        mean, log_spread = self.encode(label, z)
        noise = torch.randn(mean.shape, generator=rng, device=z.device)
        code = mean + torch.exp(log_spread) * noise
        decoded, log_width = self.decode(label, code)
        if self.drawn:
            pull = (z - decoded) * torch.exp(-log_width)
            surprise = (free * (0.5 * pull**2 + log_width + 0.5 * math.log(2 * math.pi))).sum(1)
            divergence = (0.5 * (mean**2 + torch.expm1(2 * log_spread)) - log_spread).sum(1)
            return surprise + divergence
        distance = (free * (z - decoded).abs()).sum(1)
        prior = torch.randn(code.shape, generator=rng, device=z.device)
        return self.model.reconstruction * distance + self._codes_game(label, code, prior)

    def _codes_game(self, label: Tensor, code: Tensor, prior: Tensor) -> Tensor:
        """The critic of codes learns the log ratio prior : code, and the encoder raises it, (B,)."""

        def score(code: Tensor, *, learning: bool) -> Tensor:
            weights = {
                name: value if learning else value.detach() for name, value in self.critic.named_parameters()
            }
            v: Tensor = functional_call(self.critic, weights, (torch.cat([label, code], 1),))[:, 0]
            return v

        critic = softplus(-score(prior, learning=True)) + softplus(score(code.detach(), learning=True))
        return critic - score(code, learning=False)
