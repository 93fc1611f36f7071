"""Whiten continuous targets at each condition: remove their means, spreads and linear correlations.

The likelihoods of similar hypotheses are almost equal: their difference is thousands of times narrower than each of
them, and its width depends on the momentum. Such a thin ridge hardly changes any distance between samples, so a
distance cannot teach it to a generator. `Whitening` removes it by linear regression: the whitened targets have unit
spread and no linear correlation at any condition, and a generator whose ridge is too wide stands out.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from hepgan.transforms.kernels import usable
from hepgan.transforms.track_kernels import sparse_sums, whitened

__all__ = ["Whitening"]

_RIDGE = 1e-5  # ridge of the regression, relative to the sum of weights: allows conditions without events
_CHUNK = 10_000  # events whose design matrix is in memory at once
_NORMAL_LOG = -0.6352  # mean of log|x| for a standard normal x: -(gamma + log 2) / 2
_LEAST = 1e-4  # smallest magnitude of a residual, in standard deviations of the target


class Whitening(nn.Module):
    r"""Map normal numbers z to whitened numbers y at each context c.

    :math:`z = m(c) + M(c)\,e` and :math:`e_v = y_v \exp s_v(c)`, with M lower triangular and ones on its diagonal. The
    mean m, the log spread s and the other elements of M are linear in the context (whose tent functions make them
    tables in the conditions).

    Args:
        targets: Number V of normal numbers.
        n_context: Number of context features C.
    """

    table: Tensor  # ((V + 2) V, C): rows of m, of s, then of M

    def __init__(self, targets: int, n_context: int) -> None:
        super().__init__()
        self.targets = targets
        self.register_buffer("table", torch.zeros((targets + 2) * targets, n_context))

    def at(self, context: Tensor, free: Tensor) -> Callable[[Tensor], Tensor]:
        """Function that whitens events of a given context.

        Args:
            context: (B, C).
            free: (B, V) ones for targets that are generated; the residuals and results of the others are zero.

        Returns:
            Function from (B, V) normal numbers to (B, V) whitened ones.
        """
        v_all = self.targets
        mean, log_spread, mixing = torch.split(
            nn.functional.linear(context, self.table), [v_all, v_all, v_all**2], 1
        )
        mixing, scale = mixing.reshape(-1, v_all, v_all), torch.exp(-log_spread)
        # the residuals are a triangular matrix times z - m, the same for all z: its rows, one from those above
        rows: list[Tensor] = []
        for v, unit in enumerate(torch.eye(v_all, dtype=mean.dtype, device=mean.device)):
            row = unit - sum(
                (mixing[:, v, u, None] * other for u, other in enumerate(rows)), torch.zeros_like(mean)
            )
            rows.append(row * free[:, v, None])
        matrix = torch.stack(rows, 1) * scale[:, :, None]

        def whiten(z: Tensor) -> Tensor:
            return torch.matmul(matrix, (z - mean)[:, :, None])[:, :, 0]

        return whiten

    def beside(self, context: Tensor, free: Tensor, *, most: float) -> Callable[[Tensor], Tensor]:
        """Function that puts whitened numbers of events of a given context beside the numbers.

        Args:
            context: (B, C), without derivatives.
            free: (B, V) as in `at`.
            most: Whitened numbers are clipped to +- this value.

        Returns:
            Function from (B, V) normal numbers to (B, 2 V): them, then whitened ones; zero where they are not free.
        """
        if usable(context, self.table):
            coefficients, open_ = sparse_sums(context, self.table), free.T.contiguous()
            return lambda z: whitened(z.T, open_, coefficients, most=most).T
        whiten = self.at(context, free)
        return lambda z: torch.cat([free * z, whiten(z).clamp(-most, most)], 1)

    @torch.no_grad()
    def fit(self, z: Tensor, context: Tensor, free: Tensor, weights: Tensor) -> None:
        """Regress each target on the earlier ones by least squares, and log|residual| on the context.

        Args:
            z: (N, V) normal numbers.
            context: (N, C).
            free: (N, V) ones for targets that are generated.
            weights: (N,), of either sign.
        """
        z, context, free, weights = (x.double() for x in (z, context, free, weights))
        v_all = self.targets
        table = torch.zeros(v_all + 2, v_all, context.shape[1], dtype=torch.float64, device=z.device)
        residuals: list[Tensor] = []
        for v in range(v_all):
            w = weights * free[:, v]
            coefficients = _least_squares(context, residuals, z[:, v], w)
            table[0, v] = coefficients[0]
            table[2 + v, :v] = coefficients[1:]
            residual = z[:, v] - (
                context @ coefficients.T * torch.stack([torch.ones_like(w), *residuals], 1)
            ).sum(1)
            logs = torch.log(residual.abs().clamp(min=_LEAST)) - _NORMAL_LOG
            table[1, v] = _least_squares(context, [], logs, w.clamp(min=0))[0]
            residuals.append(residual * free[:, v])
        self.table.copy_(table.flatten(0, 1))


def _least_squares(context: Tensor, factors: list[Tensor], y: Tensor, weights: Tensor) -> Tensor:
    r"""Weighted least squares with a small ridge: :math:`y \approx a \cdot c + \sum_k f_k\, (b_k \cdot c)`.

    Args:
        context: (N, C) features c.
        factors: K factors f_k, each (N,).
        y: (N,).
        weights: (N,), of either sign.

    Returns:
        Coefficients (1 + K, C): a, then each b_k; zero if all weights are, as for a target that is always an atom.
    """
    if not weights.any():
        return context.new_zeros(1 + len(factors), context.shape[1])
    columns = context.shape[1] * (1 + len(factors))
    gram = torch.zeros(columns, columns, dtype=y.dtype, device=y.device)
    right = torch.zeros(columns, dtype=y.dtype, device=y.device)
    scale = torch.stack([torch.ones_like(y), *factors], 1)
    for start in range(0, len(y), _CHUNK):
        part = slice(start, start + _CHUNK)
        design = (scale[part, :, None] * context[part, None]).flatten(1)
        weighted = weights[part, None] * design
        gram += design.T @ weighted
        right += weighted.T @ y[part]
    ridge = _RIDGE * weights.abs().sum() * torch.eye(columns, dtype=y.dtype, device=y.device)
    solved: Tensor = torch.linalg.solve(gram + ridge, right)
    return solved.reshape(-1, context.shape[1])
