"""Spectral normalisation of a critic (Miyato et al., arXiv:1802.05957)."""

from __future__ import annotations

from torch import nn

from hepgan.models.locally_connected import LocallyConnected2d

__all__ = ["normalise_spectrum"]


def normalise_spectrum(critic: nn.Module) -> None:
    """Divide the matrix of each layer by its largest singular value.

    Raises:
        ValueError: If a layer is locally connected: one matrix for each cell, each of which reads cells of others, and
            no singular value of one of them bounds the layer.
    """
    for name, layer in list(critic.named_modules()):
        if isinstance(layer, LocallyConnected2d):
            raise ValueError(
                "objective.spectral_norm: expected a critic of dense and convolutional layers, got the locally "
                f"connected layer {name!r}; leave it out, a regulariser such as 'wgan-gp' takes its place"
            )
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.utils.parametrizations.spectral_norm(layer)
