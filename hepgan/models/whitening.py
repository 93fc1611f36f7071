r"""What is linear about continuous targets at given conditions: means, spreads and correlations.

Likelihoods of similar hypotheses are nearly the same number: their difference is thousands of times thinner than
either, and how thin follows the momentum. No distance between samples tells a generator to get such a ridge right,
because it is the same at a glance. `Whitening` finds it by regression: targets become numbers of unit spread without
linear correlation at all conditions, and a generator whose ridge is too wide is seen at once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["Whitening"]

_RIDGE = 1e-5  # of the weight sum: makes conditions without events solvable
_CHUNK = 10_000
_NORMAL_LOG = -0.6352  # mean of log|x| for a standard normal x: -(gamma + log 2) / 2
_LEAST = 1e-4  # spread of a residual, in spreads of the target


class Whitening(nn.Module):
    r"""Normal numbers z -> whitened numbers y at each condition: :math:`z = m(c) + M(c)\,e,\ e = y\,\exp s(c)`.

    M is lower triangular with ones on its diagonal; m, s and the rest of M are linear in what the networks are told
    of the condition (tent functions make that a table).

    Args:
        targets: Number V of targets.
        n_label: Numbers F that describe condition and pattern.
    """

    table: Tensor

    def __init__(self, targets: int, n_label: int) -> None:
        super().__init__()
        self.targets = targets
        self.register_buffer("table", torch.zeros((targets + 2) * targets, n_label))

    def at(self, label: Tensor, free: Tensor) -> Callable[[Tensor], Tensor]:
        """The map that whitens (B, V) normal numbers at (B, F) labels.

        Targets that are not `free` (B, V) count as zero.
        """
        v_all = self.targets
        mean, log_spread, mixing = torch.split(
            nn.functional.linear(label, self.table), [v_all, v_all, v_all**2], 1
        )
        mixing, scale = mixing.reshape(-1, v_all, v_all), torch.exp(-log_spread) * free

        def whiten(z: Tensor) -> Tensor:
            residuals: list[Tensor] = []
            for v in range(v_all):
                residual = z[:, v] - mean[:, v]
                for u, other in enumerate(residuals):
                    residual = residual - mixing[:, v, u] * other
                residuals.append(residual * free[:, v])
            return torch.stack(residuals, 1) * scale

        return whiten

    @torch.no_grad()
    def fit(self, z: Tensor, label: Tensor, free: Tensor, weights: Tensor) -> None:
        """Regress each target on the ones before it: least squares, then the mean logarithm of what is left.

        Args:
            z: (N, V) normal numbers.
            label: (N, F).
            free: (N, V) ones where a target is generated.
            weights: (N,) of either sign.
        """
        z, label, free, weights = (x.double() for x in (z, label, free, weights))
        v_all = self.targets
        table = torch.zeros(v_all + 2, v_all, label.shape[1], dtype=torch.float64, device=z.device)
        residuals: list[Tensor] = []
        for v in range(v_all):
            w = weights * free[:, v]
            found = _least_squares(label, residuals, z[:, v], w)
            table[0, v] = found[0]
            table[2 + v, :v] = found[1:]
            residual = z[:, v] - (label @ found.T * torch.stack([torch.ones_like(w), *residuals], 1)).sum(1)
            logs = torch.log(residual.abs().clamp(min=_LEAST)) - _NORMAL_LOG
            table[1, v] = _least_squares(label, [], logs, w.clamp(min=0))[0]
            residuals.append(residual * free[:, v])
        self.table.copy_(table.flatten(0, 1))


def _least_squares(label: Tensor, factors: list[Tensor], y: Tensor, weights: Tensor) -> Tensor:
    """Coefficients (1 + len(factors), F) of y ~ label . a + sum of factor * (label . b), with a small ridge."""
    columns = label.shape[1] * (1 + len(factors))
    gram = torch.zeros(columns, columns, dtype=y.dtype, device=y.device)
    right = torch.zeros(columns, dtype=y.dtype, device=y.device)
    scale = torch.stack([torch.ones_like(y), *factors], 1)
    for start in range(0, len(y), _CHUNK):
        part = slice(start, start + _CHUNK)
        design = (scale[part, :, None] * label[part, None]).flatten(1)
        weighted = weights[part, None] * design
        gram += design.T @ weighted
        right += weighted.T @ y[part]
    ridge = _RIDGE * weights.abs().sum() * torch.eye(columns, dtype=y.dtype, device=y.device)
    solved: Tensor = torch.linalg.solve(gram + ridge, right)
    return solved.reshape(-1, label.shape[1])
