"""Distances, shares, means and correlations of the observables (targets) of tracks, in bins of each condition.

Bins hold equal shares of the reference, or a category each. For distances there are ``evaluation.condition_bins`` of
them (fewer with less than 60 effective tracks a bin), for shares as many up to that as hold 1000 tracks each (but at
least 4). Bins with fewer than 30 effective tracks of a sample are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hepgan.evaluation.bins import MIN_IN_BIN, Bins, Pairs
from hepgan.evaluation.closures import KsSummary, ShareSummary, TargetCorrelations
from hepgan.evaluation.records import Array, Curves, Number, Numbers, numbers
from hepgan.evaluation.sample import Sample, Setup, scatter
from hepgan.metrics import (
    correlation_matrix,
    efficiency,
    ks_in_bins,
    ks_projected,
    mean,
    profile,
    spread,
)
from hepgan.metrics.moments import Measurement, effective_size

__all__ = [
    "Passing",
    "correlations",
    "ks_distances",
    "means",
    "projected_distance",
    "shares",
    "track_bins",
]

SHARE_TRACKS = 1000  # effective tracks in a bin of a share, so that 2 % can be told
MIN_BINS = 4  # of a share, also with fewer tracks, or no dependence could be seen
PROJECTED_SPLITS = 3  # halvings behind the floor of the projections, which take longest

Passing = Callable[[Sample], NDArray[np.bool_]]
"""Whether each track of a sample passes, (N,)."""


def track_bins(
    sample: Sample,
    reference: Sample,
    setup: Setup[Any],
    *,
    pairs: Pairs,
    without: int | None = None,
) -> tuple[list[Bins], list[Bins]]:
    """Bins of each condition (except column `without`): for distances, and for shares."""
    tracks = min(effective_size(s.weights) for s in (sample, reference))
    most = min(setup.config.condition_bins, max(int(tracks / (2 * MIN_IN_BIN)), 1))
    coarse = max(int(tracks / SHARE_TRACKS), MIN_BINS)

    def bins(number: int) -> list[Bins]:
        every = [
            Bins.of(setup.data, column, sample, reference, pairs=pairs, number=number)
            for column in range(len(setup.data.conditions))
            if column != without
        ]
        return [b for b in every if b.used.any()]

    return bins(most), bins(min(coarse, most))


def _distances(sample: Sample, reference: Sample, column: int, bins: Bins) -> Array:
    """Kolmogorov-Smirnov distance of a target in the used bins, (B, 2)."""
    return ks_in_bins(
        sample.features[:, column],
        reference.features[:, column],
        sample_condition=bins.of_sample(sample),
        reference_condition=bins.of_sample(reference),
        edges=bins.edges,
        sample_weights=sample.weights,
        reference_weights=reference.weights,
    )[bins.used]


def _perfect(of_halves: Array, sample: Sample, reference: Sample) -> float:
    """Expectation for a perfect sample: mean difference between halves, scaled down to the number of tracks."""
    n, m = effective_size(reference.weights), effective_size(sample.weights)
    return float(0.5 * np.sqrt(1 + n / m) * of_halves.mean())


ByBin = dict[str, dict[str, list[Number]]]
"""Numbers in bins, by condition and target."""


def ks_distances(
    sample: Sample,
    reference: Sample,
    *,
    names: Sequence[str],
    pairs: Pairs,
    bins: Sequence[Bins],
) -> tuple[KsSummary, ByBin, ByBin]:
    """Measure Kolmogorov-Smirnov distances in bins.

    Args:
        sample: The sample to judge.
        reference: The sample that is right.
        names: Names of the targets.
        pairs: Halves of the reference.
        bins: Bins of each condition.

    Returns:
        The summary, the distances, and their floors.
    """
    values: ByBin = {b.condition.name: {} for b in bins}
    floors: ByBin = {b.condition.name: {} for b in bins}
    every: list[tuple[Number, str]] = []
    between, errors = [], []
    for b in bins:
        for k, name in enumerate(names):
            measured = _distances(sample, reference, k, b)
            halves = np.array([_distances(second, first, k, b)[:, 0] for first, second in pairs])
            distances = [Number(*pair) for pair in measured.tolist()]
            floor = np.column_stack([halves.mean(0), halves.std(0)])
            values[b.condition.name][name] = distances
            floors[b.condition.name][name] = [Number(*pair) for pair in floor.tolist()]
            every += [(distance, f"{name}, {b.words(k)}") for k, distance in enumerate(distances)]
            between.append(halves)
            # bins are independent; the same tracks are in the bins of each condition and target
            errors.append(np.sqrt((measured[:, 1] ** 2).sum()) / len(measured))
    of_halves = np.concatenate(between, axis=1)  # (halvings, targets and bins of all conditions)
    means, largest = of_halves.mean(1), of_halves.max(1)
    worst, place = max(every)
    summary = KsSummary(
        bins={b.condition.name: b.ranges() for b in bins},
        mean=(float(np.mean([distance.value for distance, _ in every])), float(np.mean(errors))),
        mean_floor=scatter(means),
        mean_perfect=_perfect(means, sample, reference),
        max=worst,
        max_floor=scatter(largest),
        max_perfect=_perfect(largest, sample, reference),
        max_at=place,
    )
    return summary, values, floors


def projected_distance(
    sample: Sample, reference: Sample, *, pairs: Pairs, rng: np.random.Generator
) -> tuple[Measurement, Measurement]:
    """Largest distance of random projections of the standardised targets, atoms included, and its floor."""
    columns = [reference.observed(k) for k in range(reference.features.shape[1])]
    spreads = np.array([spread(*column)[0] for column in columns])
    scaling: Any = {
        "centre": np.array([mean(*column)[0] for column in columns]),
        "scale": np.where(spreads > 0, spreads, 1.0),
    }

    def largest(second: Sample, first: Sample) -> Measurement:
        return ks_projected(
            second.features,
            first.features,
            rng=rng,
            sample_weights=second.weights,
            reference_weights=first.weights,
            **scaling,
        )

    value = largest(sample, reference)
    return value, scatter([largest(b, a)[0] for a, b in pairs[:PROJECTED_SPLITS]])


def shares(
    sample: Sample, reference: Sample, *, pairs: Pairs, bins: Sequence[Bins], passing: Mapping[str, Passing]
) -> tuple[ShareSummary, dict[str, dict[str, Curves]]]:
    """Measure the share of the tracks that pass, in bins of each condition.

    Args:
        sample: The sample to judge.
        reference: The sample that is right.
        pairs: Halves of the reference.
        bins: Bins of each condition.
        passing: The cuts or exact values.

    Returns:
        The largest difference, and the shares by cut and condition.
    """

    def share(events: Sample, passed: Passing, b: Bins) -> Array:
        return efficiency(passed(events), b.of_sample(events), b.edges, weights=events.weights)[b.used]

    values: dict[str, dict[str, Curves]] = {label: {} for label in passing}
    every: list[tuple[Number, str]] = []
    between = []
    for label, passed in passing.items():
        for b in bins:
            second, first = (share(events, passed, b) for events in (sample, reference))
            values[label][b.condition.name] = Curves(sample=second.tolist(), reference=first.tolist())
            difference = np.column_stack([second[:, 0] - first[:, 0], np.hypot(first[:, 1], second[:, 1])])
            every += [(Number(*pair), f"{label}, {b.words(k)}") for k, pair in enumerate(difference.tolist())]
            between.append([np.abs(share(a, passed, b) - share(c, passed, b))[:, 0].max() for a, c in pairs])
    worst, place = max(every, key=lambda item: abs(item[0].value))
    of_halves = np.max(between, axis=0)
    summary = ShareSummary(
        bins={b.condition.name: b.ranges() for b in bins},
        worst=worst,
        worst_floor=scatter(of_halves),
        worst_perfect=_perfect(of_halves, sample, reference),
        worst_at=place,
    )
    return summary, values


def means(
    sample: Sample, reference: Sample, *, names: Sequence[str], bins: Sequence[Bins]
) -> dict[str, dict[str, Curves]]:
    """Mean of each target in bins, without atoms, by target and condition."""

    def curve(events: Sample, k: int, b: Bins) -> Numbers:
        values, weights = events.observed(k)
        return numbers(*profile(values, b.of_sample(events), b.edges, weights=weights)[b.used].T)

    return {
        name: {
            b.condition.name: Curves(sample=curve(sample, k, b), reference=curve(reference, k, b))
            for b in bins
        }
        for k, name in enumerate(names)
    }


def correlations(
    sample: Sample, reference: Sample, *, names: Sequence[str], pairs: Pairs
) -> TargetCorrelations | None:
    """Correlations of the targets, without tracks that have an atom; None for a single target."""
    rows, columns = np.triu_indices(len(names), k=1)
    if not len(rows):
        return None

    def matrix(events: Sample) -> Array:
        weights = events.weights
        if events.atoms is not None:
            free = np.where(events.atoms.any(axis=1), 0.0, weights)
            weights = free if free.sum() > 0 else weights
        return correlation_matrix(events.features, weights, name=events.name)

    second, first = matrix(sample), matrix(reference)
    difference = np.stack([second[..., 0] - first[..., 0], np.hypot(first[..., 1], second[..., 1])], -1)
    of_pairs = difference[rows, columns]
    k = int(np.abs(of_pairs[:, 0]).argmax())
    floors = [np.abs(matrix(a) - matrix(b))[rows, columns, 0].max() for a, b in pairs]
    return TargetCorrelations(
        sample=second.tolist(),
        reference=first.tolist(),
        worst=of_pairs[k].tolist(),
        worst_floor=scatter(floors),
        worst_at=f"{names[rows[k]]} with {names[columns[k]]}",
    )
