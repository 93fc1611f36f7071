"""A toy of jet images: boosted W bosons (two prongs) and single quarks or gluons (one prong), after LAGAN.

Each jet is an image of 25 x 25 pixels in pseudorapidity and azimuth; a pixel holds the transverse momentum (pT) in it,
as in arXiv:1701.05927, section 2. It is a toy: no matrix elements, no detector, nothing tuned to data.

* The pT of the boson or parton is uniform in `JET_PT_RANGE`, the window of the paper.
* Two prongs: a mass from a Breit-Wigner peak at `W_MASS` decays isotropically in its rest frame into two massless
  partons, which are boosted; decays with prongs further apart than `CONE` are not generated.
* One prong: a hard parton emits a Poisson number of soft ones, uniformly in the plane of ln 1/z and ln 1/angle
  (the soft and collinear limit of QCD), hence a falling mass spectrum without a peak.
* Each parton becomes a Poisson number of particles that grows with the logarithm of its pT; they share the pT by a
  Dirichlet distribution and get transverse kicks of `_KICK`. A few soft particles of the underlying event lie anywhere.
* The particles are rotated, before they are binned in pixels, such that the leading subjet is in the middle and the
  second one below it, and mirrored such that the half with more pT is on the right. A rotation keeps distances and so,
  for narrow jets, the mass; but transverse momenta at different azimuths are not parallel, unlike those at different
  pseudorapidities: two prongs lose 2 % of their pT.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["CONE", "HALF_WIDTH", "JET_PT_RANGE", "PIXELS", "W_MASS", "four_momenta", "jet_images"]

Float64 = NDArray[np.float64]

JET_PT_RANGE = (250.0, 300.0)
"""Range of the pT of the boson or parton (GeV)."""

W_MASS = 80.4
"""Mass of the W boson (GeV, Particle Data Group)."""

CONE = 1.0
"""Largest distance of the two prongs, in pseudorapidity and azimuth."""

PIXELS = 25
"""Number of pixels along each axis."""

HALF_WIDTH = 1.25
"""Half of the width of the image, in pseudorapidity and in azimuth (rad)."""

_W_WIDTH = 2.1  # GeV (Particle Data Group)
_MASS_WINDOW = 20.0  # GeV from the peak, at which the Breit-Wigner distribution is cut
_COUPLING = (
    0.15  # emissions per unit area: 2 alpha_s C / pi, with alpha_s = 0.12 and C between quark and gluon
)
_SHARES = (0.01, 0.5)  # range of the pT of an emission, relative to the parton
_ANGLES = (0.05, 1.0)  # range of the angle of an emission
_MULTIPLICITY = 3.0  # mean number of particles of a parton beyond the first, divided by ln(1 + pT / GeV)
_CONCENTRATION = 0.3  # parameter of the Dirichlet distribution: few particles carry most of the pT
_KICK = 0.3  # GeV in each direction
_STIFF = (
    2.0  # GeV, added to the pT of a particle in its deflection by a kick, which limits it for soft particles
)
_UNDERLYING = (4.0, 0.3)  # mean number of particles in a jet, and their mean pT (GeV)
_LEAST = 0.05  # GeV, smallest pT of a particle that is kept


def four_momenta(pt: ArrayLike, eta: ArrayLike, phi: ArrayLike) -> Float64:
    """Massless four-momenta ``pT (cosh eta, cos phi, sin phi, sinh eta)``: energy first, along the last axis.

    Args:
        pt: Transverse momenta, any shape.
        eta: Pseudorapidities; broadcast against the momenta.
        phi: Azimuths (rad); broadcast against the momenta.
    """
    pt, eta, phi = np.broadcast_arrays(*(np.asarray(a, np.float64) for a in (pt, eta, phi)))
    return np.stack([pt * np.cosh(eta), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=-1)


def _w_decay(pt: Float64, rng: np.random.Generator) -> tuple[Float64, Float64, Float64]:
    """Draw pT, pseudorapidity and azimuth of both partons, (n, 2) each, of W bosons at eta = phi = 0."""
    reach = np.arctan(2 * _MASS_WINDOW / _W_WIDTH)
    mass = W_MASS + 0.5 * _W_WIDTH * np.tan(rng.uniform(-reach, reach, len(pt)))
    # at small angles the prongs are m / (pT sqrt(z (1 - z))) apart, with 2 z = 1 + beta cos theta
    widest = np.sqrt(1 - np.square(2 * mass / (CONE * pt)))
    cosine = rng.uniform(-1, 1, len(pt)) * widest
    azimuth = rng.uniform(0, 2 * np.pi, len(pt))
    sine = np.sqrt(1 - cosine**2)
    along = np.stack([cosine, -cosine], 1)  # momenta along the boost, in units of m / 2
    across = np.stack([sine * np.cos(azimuth), sine * np.sin(azimuth)], 1)
    half = 0.5 * mass[:, None]
    x = half * (np.sqrt(1 + np.square(pt / mass))[:, None] * along + (pt / mass)[:, None])
    y, z = (half * np.stack([k, -k], 1) for k in across.T)
    transverse = np.hypot(x, y)
    return transverse, np.arcsinh(z / transverse), np.arctan2(y, x)


def _partons(
    pt: Float64, prongs: NDArray[np.int32], rng: np.random.Generator
) -> tuple[NDArray[np.intp], Float64, Float64, Float64]:
    """Draw jet index, pT, eta and phi of each parton: the leading one in the middle, the second one below it."""
    two = np.flatnonzero(prongs == 2)
    momenta, eta, phi = _w_decay(pt[two], rng)
    leading = momenta.argmax(1)[:, None]
    first, second = (np.take_along_axis(momenta, k, 1)[:, 0] for k in (leading, 1 - leading))
    distance = np.hypot(eta[:, 1] - eta[:, 0], phi[:, 1] - phi[:, 0])

    one = np.flatnonzero(prongs == 1)
    ranges = (_SHARES, _ANGLES)
    plane = [np.log(high / low) for low, high in ranges]
    emissions = rng.poisson(_COUPLING * plane[0] * plane[1], len(one))
    parent = np.repeat(np.arange(len(one)), emissions)
    share, angle = (
        low * np.exp(size * rng.random(len(parent))) for size, (low, _) in zip(plane, ranges, strict=True)
    )
    norm = 1 + np.bincount(parent, share, len(one))
    direction = rng.uniform(0, 2 * np.pi, len(parent))
    # emissions of a jet by falling pT: all are rotated such that the first one is at the bottom
    order = np.lexsort((-share, parent))
    begin = order[np.searchsorted(parent, np.arange(len(one)))[emissions > 0]]
    turn = np.zeros(len(one))
    turn[emissions > 0] = -0.5 * np.pi - direction[begin]
    direction += turn[parent]
    zero = np.zeros
    return (
        np.concatenate([two, two, one, one[parent]]),
        np.concatenate([first, second, pt[one] / norm, pt[one][parent] * share / norm[parent]]),
        np.concatenate([zero(2 * len(two)), zero(len(one)), angle * np.cos(direction)]),
        np.concatenate([zero(len(two)), -distance, zero(len(one)), angle * np.sin(direction)]),
    )


def _particles(
    pt: Float64, prongs: NDArray[np.int32], rng: np.random.Generator
) -> tuple[NDArray[np.intp], Float64, Float64, Float64]:
    """Draw jet index, pT, eta and phi of each particle in the image."""
    jet, momentum, eta, phi = _partons(pt, prongs, rng)
    parton = np.repeat(np.arange(len(jet)), 1 + rng.poisson(_MULTIPLICITY * np.log1p(momentum)))
    part = rng.gamma(_CONCENTRATION, size=len(parton)) + np.finfo(float).tiny
    carried = momentum[parton] * part / np.bincount(parton, part)[parton]
    kicks = _KICK * rng.standard_normal((2, len(parton))) / (carried + _STIFF)
    number, mean = _UNDERLYING
    soft = np.repeat(np.arange(len(pt)), rng.poisson(number, len(pt)))
    places = rng.uniform(-HALF_WIDTH, HALF_WIDTH, (2, len(soft)))
    jet = np.concatenate([jet[parton], soft])
    carried = np.concatenate([carried, rng.exponential(mean, len(soft))])
    x, y = (
        np.concatenate([of[parton] + kick, place])
        for of, kick, place in zip((eta, phi), kicks, places, strict=True)
    )
    kept = (carried > _LEAST) & (np.abs(x) < HALF_WIDTH) & (np.abs(y) < HALF_WIDTH)
    jet, carried, x, y = (values[kept] for values in (jet, carried, x, y))
    side = np.sign(np.rint(x * (PIXELS / (2 * HALF_WIDTH))))  # 0 for the column in the middle
    right = np.bincount(jet, carried * side, len(pt)) >= 0
    return jet, carried, np.where(right[jet], x, -x), y


def jet_images(n: int, *, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Jet images with one and with two prongs, in equal numbers and random order.

    Args:
        n: Number of jets.
        rng: Random numbers.

    Returns:
        Branches by name: ``parton_pt`` (n,), pT of the boson or parton (GeV); ``prongs`` (n,), 1 or 2; ``jet_mass``
        (n,), mass of the particles before they are binned (GeV); ``image`` (n, 25, 25), pT in pixels of pseudorapidity
        by azimuth (GeV).
    """
    pt = rng.uniform(*JET_PT_RANGE, n)
    prongs = rng.permutation(np.arange(n, dtype=np.int32) % 2 + 1)
    jet, carried, x, y = _particles(pt, prongs, rng)
    energy, *momentum = (np.bincount(jet, p, n) for p in four_momenta(carried, x, y).T)
    mass = np.sqrt(np.maximum(energy**2 - sum(p**2 for p in momentum), 0))
    column, row = (((v + HALF_WIDTH) * (PIXELS / (2 * HALF_WIDTH))).astype(np.intp) for v in (x, y))
    image = np.bincount((jet * PIXELS + column) * PIXELS + row, carried, n * PIXELS**2)
    return {
        "parton_pt": pt.astype(np.float32),
        "prongs": prongs,
        "jet_mass": mass.astype(np.float32),
        "image": image.reshape(n, PIXELS, PIXELS).astype(np.float32),
    }
