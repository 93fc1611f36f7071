r"""Conditional variational autoencoder of tracks, and alpha-GAN, its hybrid with a GAN: ``model.name = "vae"``.

An encoder maps an event to a latent code, a decoder maps a code to an event; both get the context (conditions and
pattern). Only training needs the encoder: the exported generator draws codes from a standard normal distribution and
decodes them.

- ``likelihood = "normal"`` (arXiv:1312.6114): the decoder gives mean and standard deviation of each target, and further
  latent numbers draw from them, which adds the fluctuations that codes do not describe. The loss is minus the evidence
  lower bound, :math:`-E_q \ln p(x|z, c) + KL(q(z|x, c) \| N(0, 1))`.
- ``likelihood = "synthetic"`` (alpha-GAN, arXiv:1706.04987): the decoder gives the target itself. The likelihood is a
  distance :math:`\lambda \|x - \hat x\|_1` and the score of a critic for reconstructed and generated events (objective
  ``alpha-gan``); a second critic, of codes, replaces the KL term. It gets the context too: codes have to be normal at
  every condition.

At the beginning, a code is a copy of the event with a little noise, and the decoder copies it back. If training began
with codes that tell nothing, the decoder would learn to ignore them, and would never find a second mode.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import softplus

from hepgan.config import DataConfig, VaeModelConfig
from hepgan.data.draws import normal
from hepgan.data.tensors import TensorEvents
from hepgan.models.dense import ResidualNetwork
from hepgan.models.tracks import ObservablesGenerator

__all__ = ["VaeGenerator"]

_LEAST_LOG_SPREAD = -7.0  # smallest log standard deviation of a decoded target; keeps the bound finite
_FIRST_LOG_SPREAD = -2.0  # log standard deviation of codes and of decoded targets before training


class VaeGenerator(ObservablesGenerator):
    """Generate the continuous targets of tracks by decoding latent codes; trained with an encoder.

    Args:
        data: Conditions and targets.
        model: Sizes of the networks, and the likelihood.
    """

    model: VaeModelConfig
    straight: Tensor  # (latent, V) identity, the shortcut from targets to codes and back

    def __init__(self, data: DataConfig, model: VaeModelConfig) -> None:
        drawn = len(data.targets) if model.likelihood == "normal" else 0
        super().__init__(data, model, noise=model.latent + drawn)

    @property
    def drawn(self) -> int:
        """Number of targets that are drawn around their decoded mean: V or 0."""
        return self.n_noise - self.model.latent

    def _make(self) -> None:
        n, m = self.n_context, self.model
        self.encoder = ResidualNetwork(n + self.n_targets, m.width, m.depth, 2 * m.latent)
        self.network = ResidualNetwork(n + m.latent, m.width, m.depth, self.n_targets + self.drawn)
        with torch.no_grad():
            self.encoder.last.bias[m.latent :] = _FIRST_LOG_SPREAD
            self.network.last.bias[self.n_targets :] = _FIRST_LOG_SPREAD
        self.register_buffer("straight", torch.eye(m.latent, self.n_targets), persistent=False)
        if not self.drawn:
            self.critic = ResidualNetwork(n + m.latent, m.critic_width, m.critic_depth, 1)

    def encode(self, context: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Encode (B, V) normal numbers in (B, n_context) contexts: mean and log spread of codes, (B, latent) each."""
        mean, log_spread = self.encoder(torch.cat([context, z], 1)).chunk(2, 1)
        return mean + z @ self.straight.T, log_spread

    def decode(self, context: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        """Decode (B, latent) codes in (B, n_context) contexts: mean (B, V) and log spread (B, V or 0)."""
        mean, log_spread = self.network(torch.cat([context, code], 1)).split([self.n_targets, self.drawn], 1)
        mean = mean + code @ self.straight
        return mean, softplus(log_spread - _LEAST_LOG_SPREAD) + _LEAST_LOG_SPREAD

    def normal(self, context: Tensor, latent: Tensor) -> Tensor:
        """Generate normal numbers (B, V); arguments as in `ObservablesGenerator.normal`."""
        n = self.model.latent
        mean, log_spread = self.decode(context, latent[:, :n])
        return mean + torch.exp(log_spread) * latent[:, n : self.n_noise] if self.drawn else mean

    def codes(self, context: Tensor, z: Tensor, latent: Tensor) -> Tensor:
        """Replace the first half of a latent batch by encoder codes of the real events.

        Arguments and result as in `ObservablesGenerator.codes`. No gradient reaches the encoder, which takes no part
        in the game.
        """
        half, n = len(latent) // 2, self.model.latent
        with torch.no_grad():
            mean, log_spread = self.encode(context[:half], z[:half])
            code = mean + torch.exp(log_spread) * latent[:half, :n]
        return torch.cat([torch.cat([code, latent[:half, n:]], 1), latent[half:]])

    def loss(self, events: TensorEvents, *, rng: torch.Generator) -> Tensor:
        """Loss of each event: minus the evidence lower bound of its free targets, or alpha-GAN without its critic.

        Args:
            events: B events.
            rng: Source of the noise of the codes.

        Returns:
            (B,) losses.
        """
        context, z, free = self.representation(events)
        z = free * z
        mean, log_spread = self.encode(context, z)
        noise = normal(*mean.shape, rng=rng)
        code = mean + torch.exp(log_spread) * noise
        decoded, log_width = self.decode(context, code)
        if self.drawn:
            pull = (z - decoded) * torch.exp(-log_width)
            surprise = (free * (0.5 * pull**2 + log_width + 0.5 * math.log(2 * math.pi))).sum(1)
            divergence = (0.5 * (mean**2 + torch.expm1(2 * log_spread)) - log_spread).sum(1)
            return surprise + divergence
        distance = (free * (z - decoded).abs()).sum(1)
        prior = normal(*code.shape, rng=rng)
        return self.model.reconstruction * distance + self._codes_game(context, code, prior)

    def _codes_game(self, context: Tensor, code: Tensor, prior: Tensor) -> Tensor:
        r"""Loss of the critic of codes, and of the encoder that it teaches (alpha-GAN).

        The critic learns :math:`\ln p_{prior}(z) / q(z)`, the encoder raises it for its codes.

        Args:
            context: (B, n_context).
            code: (B, latent) codes of the encoder.
            prior: (B, latent) standard normal numbers.

        Returns:
            (B,) losses.
        """

        def score(code: Tensor, *, learning: bool) -> Tensor:
            """Scores (B,) of codes; no gradient reaches the weights of the critic unless it is `learning`."""
            weights = {
                name: value if learning else value.detach() for name, value in self.critic.named_parameters()
            }
            v: Tensor = functional_call(self.critic, weights, (torch.cat([context, code], 1),))[:, 0]
            return v

        critic = softplus(-score(prior, learning=True)) + softplus(score(code.detach(), learning=True))
        return critic - score(code, learning=False)
