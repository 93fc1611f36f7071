"""The smallest shower there is: the centre of its energy, in polar coordinates, and the energy that was seen.

The azimuth is dense on both sides of 0 = 2 pi: a generator that takes it for a number on a line is found out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["shower_shape"]

SHOWER_ENERGIES = (2.0, 50.0)  # GeV, of `shower_shape`
SHOWER_BENDING = 40.0  # mm GeV: by how much the magnetic field moves a shower, times its energy
SHOWER_POSITION = (
    8.0  # mm sqrt(GeV): resolution of the centre in each direction, times the root of the energy
)
SHOWER_LEAKAGE = 200.0  # mm: a shower that lies this far out has lost all but 1/e of its energy
SHOWER_RESOLUTION = 0.1  # sqrt(GeV): of the logarithm of the energy, times the root of the energy


def shower_shape(n: int, *, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Showers of electrons and positrons: centre of the energy around the impact point, and the energy seen.

    A magnetic field moves positrons to the right and electrons to the left, by ``b = SHOWER_BENDING / E``, and the
    centre is measured with ``s = SHOWER_POSITION / sqrt(E)`` in each direction. The radius hence follows Rice's
    distribution, and the azimuth has two peaks that are sharp at low energies and low at high ones,
    ``b / s = 5 / sqrt(E)``. The logarithm of the energy is Gaussian, of mean ``ln E - radius / SHOWER_LEAKAGE`` and
    spread ``SHOWER_RESOLUTION / sqrt(E)``.

    Args:
        n: Number of showers.
        rng: Random numbers.

    Returns:
        Branches (n,) by name: ``incident_energy`` (GeV, its logarithm uniform in `SHOWER_ENERGIES`), ``charge`` (1 or
        -1, not for the generator to know), ``radius`` (mm), ``angle`` (rad, from 0 to 2 pi), ``log_energy`` (of the
        energy in GeV).
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
