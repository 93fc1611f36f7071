"""The toy of shower shapes against closed forms."""

from __future__ import annotations

import numpy as np
from scipy import stats

from hepgan.toys.shower_shapes import (
    SHOWER_BENDING,
    SHOWER_ENERGIES,
    SHOWER_LEAKAGE,
    SHOWER_POSITION,
    SHOWER_RESOLUTION,
    shower_shape,
)


def test_centres_of_showers_follow_rice_on_both_sides_of_the_seam() -> None:
    n = 40_000
    showers = shower_shape(n, rng=np.random.default_rng(1))
    energy = showers["incident_energy"].astype(np.float64)
    scale = SHOWER_POSITION / np.sqrt(energy)
    moved = SHOWER_BENDING / energy
    limit = 1.63 / np.sqrt(n)  # of Kolmogorov's statistic, at 1 %
    log_low, log_high = np.log(SHOWER_ENERGIES)
    uniform = {
        "energy": (np.log(energy) - log_low) / (log_high - log_low),
        "radius": stats.rice.cdf(showers["radius"] / scale, moved / scale),
        "log energy": stats.norm.cdf(
            (showers["log_energy"] - np.log(energy) + showers["radius"] / SHOWER_LEAKAGE)
            * np.sqrt(energy)
            / SHOWER_RESOLUTION
        ),
        "across": stats.norm.cdf(showers["radius"] * np.sin(showers["angle"]) / scale),
        "along": stats.norm.cdf(
            (showers["radius"] * np.cos(showers["angle"]) - showers["charge"] * moved) / scale
        ),
    }
    for name, values in uniform.items():
        assert stats.kstest(values, "uniform").statistic < limit, name
    angle = showers["angle"]
    assert ((angle >= 0) & (angle < 2 * np.pi)).all()
    slow = angle[energy < 4]
    assert min((slow < 0.2).mean(), (slow > 2 * np.pi - 0.2).mean()) > 1.5 * 0.2 / (2 * np.pi)
