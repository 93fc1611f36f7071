"""Energy resolution against energy: stochastic and constant term, by which calorimeters are compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls

from hepgan.metrics.moments import Measurement

__all__ = ["ResolutionFit", "resolution_fit"]


@dataclass(frozen=True)
class ResolutionFit:
    """Outcome of `resolution_fit`.

    Attributes:
        stochastic: Stochastic term a and its uncertainty, in the square root of the energy's unit.
        constant: Constant term b and its uncertainty, without unit.
        chi2_per_ndf: About 1 if the form describes the points within their uncertainties.
    """

    stochastic: Measurement
    constant: Measurement
    chi2_per_ndf: float

    def at(self, energy: ArrayLike) -> NDArray[np.float64]:
        """Fitted resolution at energies of any shape."""
        result: NDArray[np.float64] = np.hypot(
            self.stochastic[0] / np.sqrt(np.asarray(energy)), self.constant[0]
        )
        return result


def resolution_fit(energy: ArrayLike, resolution: ArrayLike) -> ResolutionFit | None:
    r"""Fit of :math:`\sigma_E / E = a / \sqrt{E} \oplus b`, a stochastic and a constant term in quadrature.

    Simulated deposits have no noise, hence no term c / E. The square is linear in :math:`a^2` and :math:`b^2`, so
    least squares with :math:`a^2, b^2 \ge 0` finds the only minimum without starting values.

    Args:
        energy: (B,), positive.
        resolution: (B, 2) relative widths and their uncertainties; points without uncertainty are left out.

    Returns:
        The fit, or None with fewer than three points. The uncertainty of a term that is compatible with zero is the
        square root of the uncertainty of its square.

    References:
        Fabjan and Gianotti, Rev. Mod. Phys. 75 (2003) 1243.
    """
    x, (width, uncertainty) = np.asarray(energy, np.float64), np.asarray(resolution, np.float64).T
    used = (uncertainty > 0) & (width > 0)
    if used.sum() < 3:
        return None
    x, square, error = x[used], width[used] ** 2, 2 * width[used] * uncertainty[used]
    design = np.column_stack([1 / x, np.ones(len(x))]) / error[:, None]
    if np.linalg.matrix_rank(design) < 2:
        return None
    squares, residual = nnls(design, square / error)
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ design)))
    roots = np.sqrt(squares)
    linear = np.divide(errors, 2 * roots, out=np.full(2, np.inf), where=roots > 0)
    spreads = np.minimum(linear, np.sqrt(errors))
    (a, u), (b, v) = zip(roots.tolist(), spreads.tolist(), strict=True)
    return ResolutionFit((a, u), (b, v), float(residual**2) / (len(x) - 2))
