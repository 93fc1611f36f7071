"""A toy ring-imaging Cherenkov detector, with likelihoods of particle hypotheses.

`rich_tracks` is a toy of a ring-imaging Cherenkov (RICH) system of two gas radiators, inspired by LHCb: tracks,
Cherenkov photons, and the differences of log-likelihoods (DLL) that particle identification uses. It is no simulation
of the LHCb detector: photons have an angle but no position on the detector plane, rings of other tracks are a flat
background, and nothing is tuned to data.

* Tracks: transverse momentum with a falling power law, pseudorapidity `ETA_RANGE`, momentum `MOMENTUM_RANGE`;
  the number of tracks in the event is independent of them.
* A track crosses a radiator if its direction, with a random azimuth that is not stored, is in the rectangle of
  `Radiator`; before RICH2 a dipole field deflects it. A track that crosses no radiator has `SENTINEL` in every DLL.
* Photons: Poisson signal around the Cherenkov angle of the true species, smeared with the resolution of a
  single photon and with the error of the track's direction, which all photons of the track share; and Poisson
  background that is flat in the angle. Background and direction error are proportional to the number of tracks; the
  error follows Student's t distribution with two degrees of freedom, and the likelihood ignores it.
* ``DLL_h = ln L(h) - ln L(pi)`` with the extended likelihood of the photon angles,
  ``ln L(h) = -N_h + sum over photons of ln(1 + s_h(theta) / b)``, summed over the crossed radiators, where
  ``s_h`` is the expected density of the signal (integral ``N_h``) and ``b`` the density of the background. A
  species below threshold has ``N_h = 0`` and hence ``ln L(h) = 0``, like the hypothesis "below threshold" (bt) for
  every track: such DLLs are equal to the last bit.
* On request a fraction of the tracks is background of other, softer particles; weights that subtract it come from a
  variable that is not stored (sPlot, arXiv:physics/0402083).

The gases, the resolutions and the method are similar to those of the LHCb RICH (arXiv:1211.6759); yields, background
and spectra are chosen for a separation that is typical of an experiment.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hepgan.files import near

__all__ = [
    "RADIATORS",
    "RICH_SPECIES",
    "SENTINEL",
    "Radiator",
    "cherenkov_angle",
    "expected_photons",
    "log_likelihoods",
    "photons",
    "rich_tracks",
    "threshold",
]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

RICH_SPECIES = {  # PDG code of the particle or antiparticle, mass (MeV; Particle Data Group)
    "e": (11, 0.51099895),
    "mu": (13, 105.6583755),
    "pi": (211, 139.57039),
    "K": (321, 493.677),
    "p": (2212, 938.27208816),
}
SENTINEL = -999.0  # DLL of a track that crosses no radiator


@dataclass(frozen=True)
class Radiator:
    """A gas radiator with its photon detectors.

    Args:
        name: Name.
        index: Refractive index.
        photons: Mean number of detected photons of a ring at the largest Cherenkov angle.
        resolution: Standard deviation of the angle of one photon (rad).
        tracking: Scale of the error that all photons of a track share (rad), in an event with `MEAN_TRACKS` tracks.
        background: Density of background photons (1/rad) for each track of the event.
        half_x: Acceptance in the horizontal angle of the track, ``|theta_x| < half_x`` (rad).
        half_y: Acceptance in the vertical angle of the track, ``|theta_y| < half_y`` (rad).
        inner: Smallest polar angle of a track, outside the beam pipe (rad).
        kick: Horizontal deflection of a track before the radiator, times its momentum (MeV rad).
    """

    name: str
    index: float
    photons: float
    resolution: float
    tracking: float
    background: float
    half_x: float
    half_y: float
    inner: float
    kick: float

    @property
    def largest_angle(self) -> float:
        """Cherenkov angle at the speed of light (rad)."""
        return math.acos(1 / self.index)

    @property
    def window(self) -> float:
        """Largest angle at which photons are searched (rad)."""
        return self.largest_angle + 5 * self.resolution


RADIATORS = (
    Radiator(  # C4F10
        "RICH1",
        index=1.0014,
        photons=25.0,
        resolution=1.65e-3,
        tracking=0.4e-3,
        background=6.0,
        half_x=0.300,
        half_y=0.250,
        inner=0.025,
        kick=0.0,
    ),
    Radiator(  # CF4; half the kick of the LHCb dipole (1.2 GeV), which is halfway from the vertex
        "RICH2",
        index=1.0005,
        photons=20.0,
        resolution=0.67e-3,
        tracking=0.12e-3,
        background=8.0,
        half_x=0.120,
        half_y=0.100,
        inner=0.015,
        kick=600.0,
    ),
)

MOMENTUM_RANGE = (2_000.0, 200_000.0)  # MeV
ETA_RANGE = (2.0, 5.0)
TRACKS_RANGE = (20, 500)
MEAN_TRACKS = 170  # in an event, with TRACKS_RANGE and _TRACKS_SHAPE
_ETA_SHAPE = (1.3, 1.5)  # of a beta distribution in ETA_RANGE
_TRACKS_SHAPE = (1.9, 4.2)  # of a beta distribution in TRACKS_RANGE, with the mean MEAN_TRACKS
_TAIL = 2  # degrees of freedom of Student's t
_LEAST_PT = 250.0  # MeV
_PT_POWER = 6.0  # dN/dpT ~ (1 + pT / scale)^-power, with the scale of each species (MeV)
_PT_SCALE = {"e": 2_000.0, "mu": 3_500.0, "pi": 3_000.0, "K": 3_500.0, "p": 4_500.0}
_OTHER = {"e": 0.05, "mu": 0.05, "pi": 0.65, "K": 0.15, "p": 0.1}  # species of background tracks
_OTHER_SOFTNESS = 0.5  # factor on the scale of the spectrum of background tracks
_MASS_WINDOW = 5.0  # half of the window, in standard deviations of the signal's peak
_MASS_DECAY = 8.0  # length of the background's exponential, in the same unit
_BLOCK = 4_096  # tracks whose photons are in memory at once: they fit the cache


def cherenkov_angle(momentum: ArrayLike, mass: ArrayLike, radiator: Radiator) -> Float64:
    """Angle of the Cherenkov light, ``cos(theta) = 1 / (n beta)``.

    Args:
        momentum: Momentum of the particle (MeV), any shape.
        mass: Mass of the particle (MeV); broadcast against the momentum.
        radiator: The radiator that it crosses.

    Returns:
        Angles (rad); 0 below threshold.
    """
    inverse_beta = np.sqrt(1 + np.square(np.divide(mass, momentum, dtype=np.float64)))
    angle: Float64 = np.arccos(np.minimum(inverse_beta / radiator.index, 1.0))
    return angle


def threshold(mass: float, radiator: Radiator) -> float:
    """Momentum (MeV) above which a particle of a given mass (MeV) radiates, ``m / sqrt(n^2 - 1)``."""
    return mass / math.sqrt(radiator.index**2 - 1)


def expected_photons(momentum: ArrayLike, mass: ArrayLike, radiator: Radiator) -> Float64:
    """Mean number of detected photons, proportional to ``sin^2(theta)`` (Frank and Tamm).

    Args:
        momentum: Momentum of the particle (MeV), any shape.
        mass: Mass of the particle (MeV); broadcast against the momentum.
        radiator: The radiator that it crosses.

    Returns:
        The numbers; 0 below threshold.
    """
    angle = cherenkov_angle(momentum, mass, radiator)
    return radiator.photons * np.square(np.sin(angle) / math.sin(radiator.largest_angle))


def photons(
    momentum: Float64,
    mass: Float64,
    n_tracks: NDArray[np.int32],
    *,
    radiator: Radiator,
    rng: np.random.Generator,
) -> tuple[NDArray[np.intp], Float32]:
    """Draw the photons that are detected around tracks in a radiator.

    Args:
        momentum: Momenta of the tracks (N,), MeV.
        mass: Masses of their true species (N,), MeV.
        n_tracks: Numbers of tracks in their events (N,).
        radiator: The radiator that all of them cross.
        rng: Random numbers.

    Returns:
        For each photon the index of its track in the arguments, and its angle (rad): (M,) and (M,).
    """
    index = np.arange(len(momentum))
    signal = rng.poisson(expected_photons(momentum, mass, radiator))
    noise = rng.poisson(radiator.background * n_tracks * radiator.window)
    error = radiator.tracking / MEAN_TRACKS * n_tracks * rng.standard_t(_TAIL, len(index))
    centre = (cherenkov_angle(momentum, mass, radiator) + error).astype(np.float32)
    smearing = rng.standard_normal(signal.sum(), np.float32) * np.float32(radiator.resolution)
    flat = rng.random(noise.sum(), np.float32) * np.float32(radiator.window)
    track = np.concatenate([np.repeat(index, signal), np.repeat(index, noise)])
    return track, np.concatenate([np.repeat(centre, signal) + smearing, flat])


def log_likelihoods(
    track: NDArray[np.intp],
    angle: Float32,
    *,
    momentum: Float64,
    n_tracks: NDArray[np.int32],
    radiator: Radiator,
) -> Float64:
    """Extended ``ln L(h) = -N_h + sum over photons of ln(1 + s_h(theta) / b)``.

    Args:
        track: Index of the track of each photon (M,).
        angle: Angle of each photon (M,), rad.
        momentum: Momenta of the tracks (N,), MeV.
        n_tracks: Numbers of tracks in their events (N,).
        radiator: The radiator that all of them cross.

    Returns:
        For each species of `RICH_SPECIES` and each track (5, N); exactly 0 below threshold.
    """
    masses = np.array([mass for _, mass in RICH_SPECIES.values()])[:, None]
    expected = expected_photons(momentum, masses, radiator)
    density = math.sqrt(2 * math.pi) * radiator.resolution * radiator.background * n_tracks
    peaks = (expected / density).astype(np.float32)
    rings = (cherenkov_angle(momentum, masses, radiator) / radiator.resolution).astype(np.float32)
    pull = angle / np.float32(radiator.resolution)
    result = np.zeros_like(expected)
    for h, (ring, peak) in enumerate(zip(rings, peaks, strict=True)):
        if peak.any():
            ratio = peak[track] * np.exp(np.square(pull - ring[track]) * np.float32(-0.5))
            result[h] = np.bincount(track, weights=np.log1p(ratio), minlength=len(momentum)) - expected[h]
    return result


def _tracks(
    n: int, *, scale: Float64, rng: np.random.Generator
) -> tuple[Float64, Float64, NDArray[np.int32]]:
    """Draw momentum (MeV), pseudorapidity and number of tracks in the event, (n,) each.

    Args:
        n: Number of tracks.
        scale: Scales of their spectra (n,), MeV.
        rng: Random numbers.
    """
    eta = ETA_RANGE[0] + (ETA_RANGE[1] - ETA_RANGE[0]) * rng.beta(*_ETA_SHAPE, n)
    # a power law between two ends, from the inverse of its integral
    ends = [np.maximum(p / np.cosh(eta), _LEAST_PT) for p in MOMENTUM_RANGE]
    low, high = ((1 + pt / scale) ** (1 - _PT_POWER) for pt in ends)
    pt = scale * ((low + rng.random(n) * (high - low)) ** (1 / (1 - _PT_POWER)) - 1)
    momentum = np.clip(pt * np.cosh(eta), *MOMENTUM_RANGE)  # rounding
    few, many = TRACKS_RANGE
    n_tracks = few + (many + 1 - few) * rng.beta(*_TRACKS_SHAPE, n)
    return momentum, eta, n_tracks.astype(np.int32)


def _crossings(
    momentum: Float64, eta: Float64, *, radiators: Sequence[Radiator], rng: np.random.Generator
) -> list[NDArray[np.bool_]]:
    """For each radiator, whether each track crosses it (n,)."""
    polar = 2 * np.arctan(np.exp(-eta))
    azimuth = rng.uniform(0, 2 * np.pi, len(eta))
    y = polar * np.sin(azimuth)
    bend = rng.choice([-1.0, 1.0], len(eta)) / momentum
    crossings = []
    for radiator in radiators:
        x = polar * np.cos(azimuth) + radiator.kick * bend
        crossings.append(
            (abs(x) < radiator.half_x) & (abs(y) < radiator.half_y) & (np.hypot(x, y) > radiator.inner)
        )
    return crossings


def _signal_weights(signal: NDArray[np.bool_], fraction: float, rng: np.random.Generator) -> Float64:
    """The sWeights (n,) of the signal, from a variable drawn for each track: a Gaussian peak on an exponential.

    ``w(m) = sum_j V_sj f_j(m) / sum_k nu_k f_k(m)`` with ``1 / V_ij = integral of f_i f_j / sum_k nu_k f_k``
    (arXiv:physics/0402083, in the limit of a large sample), with the true densities f and fractions nu.
    """
    end, decay = _MASS_WINDOW, _MASS_DECAY
    uniform = rng.random(len(signal))
    exponential = -end - decay * np.log1p(uniform * np.expm1(-2 * end / decay))
    mass = np.where(signal, rng.standard_normal(len(signal)), exponential)

    def densities(m: NDArray[np.floating[Any]]) -> Float64:
        gauss = np.exp(-np.square(m) / 2) / math.sqrt(2 * math.pi)
        return np.stack([gauss, np.exp(-(m + end) / decay) / (-decay * math.expm1(-2 * end / decay))])

    fractions = np.array([1 - fraction, fraction])
    cells = 10_000  # of the midpoint rule
    on_grid = densities((np.arange(cells) + 0.5) * (2 * end / cells) - end)
    inverse = (on_grid[:, None] * on_grid / (fractions @ on_grid)).mean(axis=-1) * 2 * end
    here = densities(mass)
    weights: Float64 = np.linalg.inv(inverse)[0] @ here / (fractions @ here)
    return weights


def rich_tracks(
    n: int,
    *,
    rng: np.random.Generator,
    species: Sequence[str] = tuple(RICH_SPECIES),
    background: float = 0.0,
    radiators: Sequence[Radiator] = RADIATORS,
) -> dict[str, NDArray[Any]]:
    """Tracks with the DLLs of a toy RICH system.

    Args:
        n: Number of tracks.
        rng: Random numbers.
        species: Names in `RICH_SPECIES`, in equal numbers and random order.
        background: Fraction of the tracks that are background, of any species. For 0 each weight is 1.
        radiators: The radiators.

    Returns:
        Branches (n,) by name: ``Brunel_P`` (MeV), ``Brunel_ETA``, ``nTracks_Brunel``, ``RichDLLe``, ``k``,
        ``mu``, ``p`` and ``bt``, ``probe_sWeight``, ``hasRich`` (0 if each DLL is `SENTINEL`, else 1), ``probe_PDG``
        (PDG code of the requested species) and ``probe_TRUEID`` (PDG code of the true species, which differs for
        background). All PDG codes are positive.

    Raises:
        ValueError: If a species is unknown, there is no species, or the fraction is not in [0, 1).
    """
    names = list(RICH_SPECIES)
    if not species:
        raise ValueError(f"species: expected at least one of {names}, got none; name one")
    for name in species:
        if name not in names:
            raise ValueError(f"species {name!r}: the toy has none of this name; {near(name, names)}")
    if not 0 <= background < 1:
        raise ValueError(f"background: expected a fraction in [0, 1), got {background}; 0.3 is a good one")

    probe = rng.permutation(np.array([names.index(name) for name in species])[np.arange(n) % len(species)])
    signal = rng.random(n) >= background
    true = np.where(signal, probe, rng.choice(len(names), n, p=[_OTHER[name] for name in names]))
    scale = np.array([_PT_SCALE[name] for name in names])[true] * np.where(signal, 1.0, _OTHER_SOFTNESS)
    momentum, eta, n_tracks = _tracks(n, scale=scale, rng=rng)
    pdg = np.array([code for code, _ in RICH_SPECIES.values()], np.int32)
    mass = np.array([mass for _, mass in RICH_SPECIES.values()])[true]

    likelihoods = np.zeros((len(names), n))
    crossed = np.zeros(n, bool)
    order = np.argsort(momentum)  # in most blocks the heavy species are below threshold: less to compute
    crossings = _crossings(momentum, eta, radiators=radiators, rng=rng)
    for radiator, crossing in zip(radiators, crossings, strict=True):
        crossed |= crossing
        inside = order[crossing[order]]
        for start in range(0, len(inside), _BLOCK):
            block = inside[start : start + _BLOCK]
            p, multiplicity = momentum[block], n_tracks[block]
            track, angle = photons(p, mass[block], multiplicity, radiator=radiator, rng=rng)
            likelihoods[:, block] += log_likelihoods(
                track, angle, momentum=p, n_tracks=multiplicity, radiator=radiator
            )
    likelihood = dict(zip(names, likelihoods, strict=True))

    def dll(hypothesis: Float64 | float) -> Float32:
        difference = hypothesis - likelihood["pi"] + 0.0  # turns -0 into 0
        return np.where(crossed, difference, SENTINEL).astype(np.float32)

    weights = _signal_weights(signal, background, rng) if background else np.ones(n)
    return {
        "Brunel_P": momentum.astype(np.float32),
        "Brunel_ETA": eta.astype(np.float32),
        "nTracks_Brunel": n_tracks,
        **{f"RichDLL{name.lower()}": dll(likelihood[name]) for name in ("e", "K", "mu", "p")},
        "RichDLLbt": dll(0.0),
        "probe_sWeight": weights.astype(np.float32),
        "hasRich": crossed.astype(np.int32),
        "probe_PDG": pdg[probe],
        "probe_TRUEID": pdg[true],
    }
