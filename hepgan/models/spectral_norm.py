"""Spectral normalisation of a critic (Miyato et al., arXiv:1802.05957)."""

from __future__ import annotations

from torch import nn

from hepgan.errors import ConfigError
from hepgan.models.locally_connected import LocallyConnected2d

__all__ = ["normalise_spectrum"]


def normalise_spectrum(critic: nn.Module) -> None:
    """Divide the weight matrix of each dense or convolutional layer by its largest singular value, in place.

    Raises:
        ConfigError: If a layer is locally connected. It has one matrix per cell, and as their windows overlap, no
            singular value of a single matrix bounds the layer.
    """
    for name, layer in list(critic.named_modules()):
        if isinstance(layer, LocallyConnected2d):
            raise ConfigError(
                "objective.spectral_norm: expected a critic of dense and convolutional layers, got the locally "
                f"connected layer {name!r}; leave it out, a regulariser such as 'wgan-gp' takes its place"
            )
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.utils.parametrizations.spectral_norm(layer)
