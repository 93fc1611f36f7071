"""Typed numbers that only one kind of data has: ``closure`` of the results, of showers and of tracks.

Biases are sample / reference - 1. Lists of numbers are by bin; a bin without a number has None. Floors are the same
numbers between two halves of the reference.
"""

from __future__ import annotations

from hepgan.evaluation.records import BinRanges, Curves, Number, Numbers, Pair, Record
from hepgan.metrics import ResolutionFit

__all__ = [
    "Biases",
    "Category",
    "CellCorrelations",
    "CellProfiles",
    "ConditionClosure",
    "Difference",
    "EnergyBins",
    "ExactShares",
    "Following",
    "KsDistances",
    "KsSummary",
    "LayerBias",
    "Offsets",
    "Profile",
    "Resolution",
    "ResolutionFits",
    "ShareSummary",
    "Shares",
    "ShowerClosure",
    "Spectrum",
    "TargetCorrelations",
    "TrackClosure",
]


class EnergyBins(Record):
    """Bins of the incident energy."""

    unit: str
    edges: list[tuple[float, float]]
    mean: list[float]
    """Mean incident energy of the reference."""


class Biases(Curves):
    """A quantity in bins of the incident energy."""

    bias: Numbers
    worst: Number | None
    """Bias with the largest absolute value."""
    worst_floor: Number | None


class ResolutionFits(Record):
    """Fits of a / sqrt(E) (+) b to the resolution; null with too few energies."""

    sample: ResolutionFit | None
    reference: ResolutionFit | None


class Resolution(Biases):
    """Relative spread of the response in bins of the incident energy."""

    fit: ResolutionFits


class LayerBias(Pair):
    """Mean of a quantity of one layer."""

    bias: Number | None
    bias_floor: Number | None
    by_energy: Curves
    """The mean in bins of the incident energy."""


class Profile(Biases):
    """Mean energy over incident energy, by layer or by ring of the distance from the axis."""

    edges: list[float] | None = None
    """Edges of the rings, mm; null for the longitudinal profile."""


class CellProfiles(Record):
    """Profiles in depth and radius."""

    longitudinal: Profile
    lateral: dict[str, Profile]
    """By layer."""


class Spectrum(Curves):
    """Number of cells of a shower in bins of the cell's energy; the outer bins include everything outside."""

    edges: list[float]
    separation: Number | None
    """Separation power of the shapes."""
    separation_floor: Number | None


class Difference(Record):
    """Mean absolute difference of the correlation coefficients of all pairs."""

    difference: Number | None
    difference_floor: Number | None


class CellCorrelations(Difference):
    """Correlations of the cells of one layer at fixed conditions."""

    x: Curves
    """Mean coefficient of cells that are 1, 2, ... cells apart along x."""
    y: Curves


class Offsets(Curves):
    """A coordinate of centre or axis of the showers, in bins."""

    unit: str
    difference: Numbers
    """Sample less reference, after both have lost what the conditions let expect."""
    worst: Number | None
    """Difference with the largest absolute value."""
    worst_floor: Number | None


class Following(Offsets):
    """A coordinate of centre or axis against what the conditions let expect of it."""

    bins: BinRanges
    """Bins of the expectation."""


class ConditionClosure(Record):
    """Showers in bins of one condition."""

    bins: BinRanges
    response: Biases
    """Total energy over incident energy."""
    fractions: dict[str, Biases]
    """Share of the deposited energy, by layer."""
    centre: dict[str, Offsets]
    """Mean position of the energy: ``centre_x``, ``centre_y``; those that the conditions move."""


class ShowerClosure(Record):
    """Numbers of showers."""

    energy: EnergyBins
    response: Biases
    """Total energy over incident energy."""
    resolution: Resolution
    fractions: dict[str, LayerBias]
    """Share of the deposited energy, by layer."""
    occupancy: dict[str, LayerBias]
    """Share of the cells above threshold, by layer."""
    profiles: CellProfiles
    spectrum: dict[str, Spectrum | None]
    """By layer; null for a layer without energy in the reference."""
    correlations: dict[str, CellCorrelations | None]
    """By layer; null for a layer of one cell, or without energy in the reference."""
    observables: Difference
    """Correlations of the shower shapes."""
    conditions: dict[str, ConditionClosure] = {}
    """By condition, without the incident energy."""
    following: dict[str, Following] = {}
    """Centre and axis: ``centre_x``, ``centre_y``, ``slope_x``, ``slope_y``; those that the conditions move."""


class KsSummary(Record):
    """Kolmogorov-Smirnov distances in bins of each condition, summed up."""

    bins: dict[str, BinRanges]
    """By condition."""
    mean: Number
    """Mean over all targets, conditions and bins."""
    mean_floor: Number
    mean_perfect: float
    """The floor scaled to a perfect sample of full size."""
    max: Number
    max_floor: Number
    max_perfect: float
    max_at: str
    """Place of the largest distance in words."""


class KsDistances(KsSummary):
    """Kolmogorov-Smirnov distances in bins of each condition."""

    values: dict[str, dict[str, list[Number]]]
    """By condition and target."""
    floors: dict[str, dict[str, list[Number]]]
    projected: Number
    """Largest distance of 100 random projections of the targets."""
    projected_floor: Number


class ShareSummary(Record):
    """Largest difference (sample - reference) of a share of the tracks in bins of each condition."""

    bins: dict[str, BinRanges]
    worst: Number
    worst_floor: Number
    worst_perfect: float
    """The floor scaled to a perfect sample of full size."""
    worst_at: str


class Shares(ShareSummary):
    """Shares of the tracks in bins of each condition."""

    values: dict[str, dict[str, Curves]]
    """By cut or exact value, and condition."""


class ExactShares(Shares):
    """Shares of the tracks with an exact value: a declared one, or that of another target."""

    overall: dict[str, Pair]
    """Of all tracks, by exact value."""


class TargetCorrelations(Record):
    """Correlation matrices of the targets, without tracks that have an exact value."""

    sample: list[list[Number]]
    reference: list[list[Number]]
    worst: Number
    """Largest difference, sample - reference."""
    worst_floor: Number
    worst_at: str


class Category(Record):
    """The tracks of one category."""

    tracks: int
    auc: Number
    ks: KsSummary
    efficiency: ShareSummary
    atoms: ShareSummary | None


class TrackClosure(Record):
    """Numbers of tracks."""

    ks: KsDistances
    efficiency: Shares
    atoms: ExactShares | None
    """Null without exact values."""
    profiles: dict[str, dict[str, Curves]]
    """Mean of each target without exact values, by target and condition."""
    correlations: TargetCorrelations | None
    """Null for a single target."""
    categories: dict[str, dict[str, Category]]
    """By condition and category."""
