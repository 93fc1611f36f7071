"""Toy Monte Carlo with known truth: quick samples to develop on and to test against closed forms.

`rich` is a toy of a ring-imaging Cherenkov (RICH) system of two gas radiators, LHCb-inspired: tracks, Cherenkov
photons, and the differences of log-likelihoods (DLL) that an experiment's particle identification gives. It
is no simulation of the LHCb detector: photons have an angle but no place on the detector plane, rings of
different tracks do not overlap but give a flat background, and nothing is tuned to data.

* Tracks: transverse momentum with a falling power law, pseudorapidity `ETA_RANGE`, momentum `MOMENTUM_RANGE`;
  the number of tracks in the event is independent of them.
* A track crosses a radiator if its direction, with a random azimuth that is not stored, is in the rectangle of
  `Radiator`; before RICH2 a dipole field deflects it. A track that crosses none has `SENTINEL` in every DLL.
* Photons: Poisson signal around the Cherenkov angle of the true species, smeared with the resolution of a
  single photon and, common to the photons of a track, with the error of the track's direction, on Poisson
  background that is flat in the angle. Background and error of the direction grow in proportion to the number
  of tracks; the error has the tails of Student's t with two degrees of freedom, and the likelihood ignores it.
* ``DLL_h = ln L(h) - ln L(pi)`` with the extended likelihood of the photon angles,
  ``ln L(h) = -N_h + sum over photons of ln(1 + s_h(theta) / b)``, summed over the crossed radiators, where
  ``s_h`` is the expected density of the signal (integral ``N_h``) and ``b`` that of the background. A species
  below threshold has ``N_h = 0`` and hence ``ln L(h) = 0``, as the hypothesis "below threshold" (bt) always
  has: such DLLs are equal to the last bit.
* On request a part of the tracks is background of other, softer particles, and weights that subtract it come
  from a variable that is not stored (sPlot, arXiv:physics/0402083).

The gases, the resolutions and the method are about those of the LHCb RICH (arXiv:1211.6759); yields, background
and spectra are chosen such that the separation looks like one of an experiment.

`shower_shape` is the least of a shower: where the centre of its energy lies, in polar coordinates, and how much energy
was seen. The azimuth is dense on both sides of 0 = 2 pi: a generator that takes it for a number on a line is found out.

`hepgan.toys_jets.jets` are images of jets.

`ring` and `grid` are points in a plane, in equal narrow Gaussian modes: a generator that collapses loses modes, and
`hepgan.metrics.diversity.mode_coverage` counts them.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import uproot
from numpy.typing import ArrayLike, NDArray
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import hepgan
from hepgan.rootfiles import check_target, near, written
from hepgan.toys_jets import jets

__all__ = [
    "GRID_SIGMA",
    "RADIATORS",
    "RICH_SPECIES",
    "RING_SIGMA",
    "SENTINEL",
    "TOYS",
    "Radiator",
    "Toy",
    "cherenkov_angle",
    "expected_photons",
    "grid",
    "grid_centres",
    "log_likelihoods",
    "photons",
    "rich",
    "ring",
    "ring_centres",
    "shower_shape",
    "threshold",
    "write",
]

_LOG = logging.getLogger(__name__)

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
RING_SIGMA = 0.02  # of a mode, for eight on a circle of radius 2 (arXiv:1611.02163, section 3.1)
SHOWER_ENERGIES = (2.0, 50.0)  # GeV, of `shower_shape`
SHOWER_BENDING = 40.0  # mm GeV: by how much the magnetic field moves a shower, times its energy
SHOWER_POSITION = (
    8.0  # mm sqrt(GeV): resolution of the centre in each direction, times the root of the energy
)
SHOWER_LEAKAGE = 200.0  # mm: a shower that lies this far out has lost all but 1/e of its energy
SHOWER_RESOLUTION = 0.1  # sqrt(GeV): of the logarithm of the energy, times the root of the energy
GRID_SIGMA = 0.05  # of a mode, for five by five at a distance of 2 (arXiv:1712.04086, section 4)


@dataclass(frozen=True)
class Radiator:
    """A gas radiator with its photon detectors.

    Args:
        name: Its name.
        index: Refractive index.
        photons: Mean number of detected photons of a ring at the largest Cherenkov angle.
        resolution: Standard deviation of the angle of one photon (rad).
        tracking: Scale of the error that all photons of a track share (rad), in an event of `MEAN_TRACKS`.
        background: Density of background photons (1/rad) for each track of the event.
        half_x: Acceptance in the horizontal angle of the track, ``|theta_x| < half_x`` (rad).
        half_y: The same in the vertical angle (rad).
        inner: Smallest polar angle of a track (rad); the beam pipe is inside.
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
        """Largest angle at which photons are looked for (rad)."""
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
    Radiator(  # CF4; the kick is that of the LHCb dipole, 1.2 GeV, seen from half its distance
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
MEAN_TRACKS = 170  # in an event
_ETA_SHAPE = (1.3, 1.5)  # of a beta distribution in ETA_RANGE
_TRACKS_SHAPE = (1.9, 4.2)  # of a beta distribution in TRACKS_RANGE, with the mean MEAN_TRACKS
_TAIL = 2  # degrees of freedom of Student's t
_LEAST_PT = 250.0  # MeV
_PT_POWER = 6.0  # dN/dpT ~ (1 + pT / scale)^-power, with the scale of each species (MeV)
_PT_SCALE = {"e": 2_000.0, "mu": 3_500.0, "pi": 3_000.0, "K": 3_500.0, "p": 4_500.0}
_OTHER = {"e": 0.05, "mu": 0.05, "pi": 0.65, "K": 0.15, "p": 0.1}  # species of the background's tracks
_OTHER_SOFTNESS = 0.5  # of the scale of their spectrum
_MASS_WINDOW = 5.0  # half of it, in standard deviations of the signal's peak
_MASS_DECAY = 8.0  # length of the background's exponential, in the same unit
_BLOCK = 4_096  # tracks whose photons are in memory at once: they fit the cache
_CHUNK = 50_000  # tracks written at once: one basket of each branch
_COMPRESSION = uproot.ZSTD(5)


def cherenkov_angle(momentum: ArrayLike, mass: ArrayLike, radiator: Radiator) -> Float64:
    """Angle of the Cherenkov light, ``cos(theta) = 1 / (n beta)``.

    Args:
        momentum: Of the particle (MeV), any shape.
        mass: Of the particle (MeV); broadcast against the momentum.
        radiator: What it crosses.

    Returns:
        Angles (rad); 0 below threshold.
    """
    inverse_beta = np.sqrt(1 + np.square(np.divide(mass, momentum, dtype=np.float64)))
    angle: Float64 = np.arccos(np.minimum(inverse_beta / radiator.index, 1.0))
    return angle


def threshold(mass: float, radiator: Radiator) -> float:
    """Momentum above which a particle of a mass (MeV) radiates, ``m / sqrt(n^2 - 1)`` (MeV)."""
    return mass / math.sqrt(radiator.index**2 - 1)


def expected_photons(momentum: ArrayLike, mass: ArrayLike, radiator: Radiator) -> Float64:
    """Mean number of detected photons, in proportion to ``sin^2(theta)`` (Frank and Tamm).

    Args:
        momentum: Of the particle (MeV), any shape.
        mass: Of the particle (MeV); broadcast against the momentum.
        radiator: What it crosses.

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
    """Throw the photons that tracks find in a radiator.

    Args:
        momentum: Of the tracks (N,), MeV.
        mass: Of their true species (N,), MeV.
        n_tracks: In the events of the tracks (N,).
        radiator: What all of them cross.
        rng: Random numbers.

    Returns:
        For each photon the position of its track in the arguments, and its angle (rad): (M,) and (M,).
    """
    rows = np.arange(len(momentum))
    signal = rng.poisson(expected_photons(momentum, mass, radiator))
    noise = rng.poisson(radiator.background * n_tracks * radiator.window)
    error = radiator.tracking / MEAN_TRACKS * n_tracks * rng.standard_t(_TAIL, len(rows))
    centre = (cherenkov_angle(momentum, mass, radiator) + error).astype(np.float32)
    smearing = rng.standard_normal(signal.sum(), np.float32) * np.float32(radiator.resolution)
    flat = rng.random(noise.sum(), np.float32) * np.float32(radiator.window)
    track = np.concatenate([np.repeat(rows, signal), np.repeat(rows, noise)])
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
        track: Position of the track of each photon (M,).
        angle: Of each photon (M,), rad.
        momentum: Of the tracks (N,), MeV.
        n_tracks: In the events of the tracks (N,).
        radiator: What all of them cross.

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
    """Momentum (MeV), pseudorapidity and tracks in the event (n,), for scales of the spectrum (MeV, (n,))."""
    eta = ETA_RANGE[0] + (ETA_RANGE[1] - ETA_RANGE[0]) * rng.beta(*_ETA_SHAPE, n)
    # the power law between two ends, by the inverse of its integral
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
    """Which tracks cross each radiator: (n,) each."""
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
    """The signal's sWeights (n,) from a variable drawn for each track: a Gaussian peak on an exponential.

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


def rich(
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
        species: Names in `RICH_SPECIES`. The tracks are shared equally among them, in random order.
        background: Fraction of the tracks that are background, of any species. Without it each weight is 1.
        radiators: What the tracks may cross.

    Returns:
        Branches (n,) by name: ``Brunel_P`` (MeV), ``Brunel_ETA``, ``nTracks_Brunel``, ``RichDLLe``, ``k``,
        ``mu``, ``p`` and ``bt``, ``probe_sWeight``, ``hasRich`` (1, or 0 where each DLL is `SENTINEL`),
        ``probe_PDG`` (of the signal's species) and ``probe_TRUEID`` (of the true species, which differs for
        background). PDG codes do not tell the charge.

    Raises:
        ValueError: If a species is unknown or there is none, or the fraction is not in [0, 1).
    """
    names = list(RICH_SPECIES)
    if not species:
        raise ValueError(f"species: expected at least one of {names}, got none; name one")
    for name in species:
        if name not in names:
            raise ValueError(f"species {name!r}: the toy has none of this name; {near(name, names)}")
    if not 0 <= background < 1:
        raise ValueError(f"background: expected a fraction in [0, 1), got {background}; 0.3 is a good one")

    label = rng.permutation(np.array([names.index(name) for name in species])[np.arange(n) % len(species)])
    signal = rng.random(n) >= background
    true = np.where(signal, label, rng.choice(len(names), n, p=[_OTHER[name] for name in names]))
    scale = np.array([_PT_SCALE[name] for name in names])[true] * np.where(signal, 1.0, _OTHER_SOFTNESS)
    momentum, eta, n_tracks = _tracks(n, scale=scale, rng=rng)
    pdg = np.array([code for code, _ in RICH_SPECIES.values()], np.int32)
    mass = np.array([mass for _, mass in RICH_SPECIES.values()])[true]

    likelihoods = np.zeros((len(names), n))
    seen = np.zeros(n, bool)
    order = np.argsort(momentum)  # in most blocks the heavy species are below threshold: less to compute
    crossings = _crossings(momentum, eta, radiators=radiators, rng=rng)
    for radiator, crossing in zip(radiators, crossings, strict=True):
        seen |= crossing
        inside = order[crossing[order]]
        for start in range(0, len(inside), _BLOCK):
            rows = inside[start : start + _BLOCK]
            there: dict[str, Any] = {
                "momentum": momentum[rows],
                "n_tracks": n_tracks[rows],
                "radiator": radiator,
            }
            found = photons(mass=mass[rows], rng=rng, **there)
            likelihoods[:, rows] += log_likelihoods(*found, **there)
    likelihood = dict(zip(names, likelihoods, strict=True))

    def dll(hypothesis: Float64 | float) -> Float32:
        difference = hypothesis - likelihood["pi"] + 0.0  # no -0
        return np.where(seen, difference, SENTINEL).astype(np.float32)

    weights = _signal_weights(signal, background, rng) if background else np.ones(n)
    return {
        "Brunel_P": momentum.astype(np.float32),
        "Brunel_ETA": eta.astype(np.float32),
        "nTracks_Brunel": n_tracks,
        **{f"RichDLL{name.lower()}": dll(likelihood[name]) for name in ("e", "K", "mu", "p")},
        "RichDLLbt": dll(0.0),
        "probe_sWeight": weights.astype(np.float32),
        "hasRich": seen.astype(np.int32),
        "probe_PDG": pdg[label],
        "probe_TRUEID": pdg[true],
    }


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


def ring_centres(modes: int = 8, *, radius: float = 2.0) -> Float64:
    """Centres (modes, 2) of the modes of `ring`, counterclockwise from the x axis."""
    angle = 2 * np.pi * np.arange(modes) / modes
    return radius * np.column_stack([np.cos(angle), np.sin(angle)])


def grid_centres(side: int = 5, *, spacing: float = 2.0) -> Float64:
    """Centres (side * side, 2) of the modes of `grid`, around the origin, y fastest."""
    axis = spacing * (np.arange(side) - (side - 1) / 2)
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)


def _modes(n: int, centres: Float64, sigma: float, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    mode = rng.integers(len(centres), size=n, dtype=np.int32)
    x, y = (centres[mode] + sigma * rng.standard_normal((n, 2))).astype(np.float32).T
    return {"x": x, "y": y, "mode": mode}


def ring(n: int, *, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Points in eight Gaussian modes of width `RING_SIGMA` on a circle, at `ring_centres`.

    Args:
        n: Number of points.
        rng: Random numbers.

    Returns:
        Branches (n,) by name: ``x``, ``y``, ``mode`` (row of the centre).
    """
    return _modes(n, ring_centres(), RING_SIGMA, rng)


def grid(n: int, *, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Points in 25 Gaussian modes of width `GRID_SIGMA` on a square lattice, at `grid_centres`.

    Args:
        n: Number of points.
        rng: Random numbers.

    Returns:
        As `ring`.
    """
    return _modes(n, grid_centres(), GRID_SIGMA, rng)


@dataclass(frozen=True)
class Toy:
    """A toy.

    Args:
        tree: Name of the tree to write.
        title: Its title: what is in it, and the units.
        sample: Branches by name for a number of events, ``rng=`` and the toy's own options.
        options: Names of these options.
    """

    tree: str
    title: str
    sample: Callable[..., dict[str, NDArray[Any]]]
    options: tuple[str, ...] = ()


TOYS = {
    "rich": Toy("tracks", "tracks in a toy RICH: Brunel_P MeV", rich, ("species", "background")),
    "shower-shape": Toy("showers", "centres (mm, rad) and log energies (GeV) of toy showers", shower_shape),
    "ring": Toy("points", "points in eight Gaussian modes on a circle", ring),
    "grid": Toy("points", "points in 25 Gaussian modes on a square lattice", grid),
    "jets": Toy("jets", "jet images: pT in pixels of eta by phi, GeV", jets),
}


def write(
    name: str, out: str | Path, *, n: int, seed: int = 1, progress: bool = False, **options: Any
) -> int:
    """Write events of a toy to a ROOT file; memory does not grow with their number.

    Args:
        name: A name in `TOYS`.
        out: The file; it appears when it is complete, and replaces one of that name.
        n: Number of events.
        seed: The same seed gives the same events.
        progress: Show a progress bar.
        options: Of the toy, such as ``species`` and ``background`` of `rich`.

    Returns:
        The number of events.

    Raises:
        ValueError: If there is no such toy, or it has no such option, or one is out of range.
        OSError: If `out` is no file, or cannot be written, such as on a full disk; nothing is left behind.
    """
    if name not in TOYS:
        raise ValueError(f"toy {name!r}: there is none of this name; {near(name, TOYS)}")
    for option in options:
        if option not in TOYS[name].options:
            having = [other for other, toy in TOYS.items() if option in toy.options]
            remedy = (
                f"leave it out, only {' and '.join(map(repr, having))} has it" if having else "leave it out"
            )
            raise ValueError(f"{option}: the toy {name!r} has no such option; {remedy}")
    if n < 1:
        raise ValueError(f"n: expected a positive number of events, got {n}; add -n N")
    out = Path(out)
    check_target(out)
    toy, seeds = TOYS[name], np.random.SeedSequence(seed)
    samples = (
        toy.sample(min(_CHUNK, n - start), rng=np.random.default_rng(seeds.spawn(1)[0]), **options)
        for start in range(0, n, _CHUNK)
    )
    first = next(samples)  # checks the options before anything is made
    origin = {"hepgan": hepgan.__version__, "toy": name, "events": n, "seed": seed, "options": options}

    columns = [TextColumn("generating"), *Progress.get_default_columns()[1:3], MofNCompleteColumn()]
    with (
        Progress(
            *columns,
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not progress,
            transient=True,
        ) as bar,
        written(out, "events") as temporary,
        uproot.recreate(temporary, compression=_COMPRESSION) as file,
    ):
        task = bar.add_task("generating", total=n)
        types = {branch: np.dtype((values.dtype, values.shape[1:])) for branch, values in first.items()}
        tree = file.mktree(toy.tree, types, title=toy.title, initial_basket_capacity=100)
        for branches in chain([first], samples):
            tree.extend(branches)
            bar.update(task, completed=tree.num_entries)
        file["generated_by"] = json.dumps(origin)
    _LOG.info("%s: %d events", out, n)
    return n
