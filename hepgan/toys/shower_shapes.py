"""A toy shower of three numbers: the centre of its energy in polar coordinates, and the measured energy.

The azimuth is dense on both sides of 0 = 2 pi, which a generator that ignores its period cannot reproduce.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["shower_shape"]

SHOWER_ENERGIES = (2.0, 50.0)
"""Range of the incident energy (GeV)."""

SHOWER_BENDING = 40.0
"""Shift of a shower by the magnetic field, times its energy (mm GeV)."""

SHOWER_POSITION = 8.0
"""Resolution of the centre in each direction, times the square root of the energy (mm sqrt(GeV))."""

SHOWER_LEAKAGE = 200.0
"""Radius at which all but 1/e of the energy is lost (mm)."""

SHOWER_RESOLUTION = 0.1
"""Resolution of the logarithm of the energy, times the square root of the energy (sqrt(GeV))."""


def shower_shape(n: int, *, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Showers of electrons and positrons: centre of the energy relative to the impact point, and measured energy.

    A magnetic field moves positrons to the right and electrons to the left by ``b = SHOWER_BENDING / E``, and the
    centre is measured with resolution ``s = SHOWER_POSITION / sqrt(E)`` in each direction. The radius hence follows a
    Rice distribution, and the azimuth has two peaks, sharp at low energy and broad at high energy
    (``b / s = 5 / sqrt(E)``). The logarithm of the energy is Gaussian with mean ``ln E - radius / SHOWER_LEAKAGE`` and
    standard deviation ``SHOWER_RESOLUTION / sqrt(E)``.

    Args:
        n: Number of showers.
        rng: Random numbers.

    Returns:
        Branches (n,) by name: ``incident_energy`` (GeV, log-uniform in `SHOWER_ENERGIES`), ``charge`` (1 or -1, not
        meant as a condition), ``radius`` (mm), ``angle`` (rad, from 0 to 2 pi), ``log_energy`` (natural logarithm of
        the measured energy in GeV).
    """
    low, high = SHOWER_ENERGIES
    energy = low * (high / low) ** rng.random(n)
    charge = rng.choice(np.array([-1, 1], np.int32), n)
    x, y = SHOWER_POSITION / np.sqrt(energy) * rng.standard_normal((2, n))
    x += charge * SHOWER_BENDING / energy
    radius = np.hypot(x, y)
    log_energy = np.log(energy) - radius / SHOWER_LEAKAGE
    log_energy += SHOWER_RESOLUTION / np.sqrt(energy) * rng.standard_normal(n)
    angle = (np.arctan2(y, x) % (2 * np.pi)).astype(np.float32)
    return {
        "incident_energy": energy.astype(np.float32),
        "charge": charge,
        "radius": radius.astype(np.float32),
        "angle": np.where(angle < 2 * np.pi, angle, np.float32(0)),  # single precision may round up to 2 pi
        "log_energy": log_energy.astype(np.float32),
    }
