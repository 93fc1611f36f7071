"""Principal components of features: combinations without linear correlations, each with the same spread."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["PrincipalComponents"]

_LEAST_VARIANCE = 0.01  # of a direction; narrower ones are not widened further, since rounding would be


class PrincipalComponents(nn.Module):
    r"""Map standardised features x to uncorrelated ones, :math:`y = \Lambda^{-1/2} V^T (x - \mu)`.

    V and :math:`\Lambda` are eigenvectors and eigenvalues of the covariance of x. Shower shapes depend on each other:
    where one of them is nearly a function of others, the joint distribution is a thin sheet, and a sample that leaves
    the sheet differs by little in every shape, but by much in the component across the sheet.

    Args:
        features: Number V of features.

    Attributes:
        mean: (V,).
        matrix: (V, V), one column a component. Directions of a variance below 1 % are widened as if it were 1 %.
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("matrix", torch.eye(features))

    def fit(self, values: Tensor, weights: Tensor) -> None:
        """Fit mean and components to (N, V) features of real events with (N,) weights, of mean one."""
        x, w = values.double(), weights.double()[:, None]
        mean = (w * x).mean(0)
        covariance = (w * (x - mean)).T @ (x - mean) / len(x)
        variance, directions = torch.linalg.eigh(covariance)
        self.mean.copy_(mean)
        self.matrix.copy_(directions / variance.clamp(min=_LEAST_VARIANCE).sqrt())

    def forward(self, values: Tensor) -> Tensor:
        """Map (B, V) features to (B, V) components, with the batch innermost in memory."""
        made: Tensor = self.matrix.T @ (values.T - self.mean[:, None])
        return made.T
