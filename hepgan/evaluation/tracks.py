"""The numbers of tracks: distributions, efficiencies of cuts and point masses in bins of each condition.

Keys of ``closure`` in ``metrics.json`` (the others: `hepgan.evaluation.sample`); a condition's bins are those of its
``bins`` entry, without those that were left out:

* ``ks.bins.<condition>`` and ``efficiency.bins.<condition>``: ``edges`` (pairs), ``mean`` (of the condition in the bin)
  and ``left_out`` (number of bins with fewer than 30 effective tracks of a sample). Bins hold equal shares of the
  reference, or a category each; for ``ks`` they are ``evaluation.condition_bins`` in number (fewer with less than 60
  effective tracks a bin), for ``efficiency`` as many up to that as hold 1000 each (but at least 4);
* ``ks.values.<condition>.<target>`` and ``ks.floors``: Kolmogorov-Smirnov distance in each bin; ``ks.mean`` and
  ``ks.max`` over all targets, conditions and bins, with ``mean_floor`` and ``max_floor``, ``mean_perfect`` and
  ``max_perfect`` (the floor, scaled to what a perfect sample of full size would give) and ``max_at`` (in words);
  ``ks.projected`` and ``projected_floor``: the largest of 100 random projections of the targets;
* ``efficiency.values.<cut>.<condition>``: ``reference`` and ``generated``, by bin; ``efficiency.worst``: the difference
  (generated - reference) with the largest absolute value, ``worst_floor``, ``worst_perfect``, ``worst_at``;
* ``atoms``: the same, in the same bins, for the share of tracks with a declared exact value and, if ``data.ties``, with
  the value of another target; ``atoms.overall.<label>``: ``reference`` and ``generated``. null if there are none;
* ``profiles.<target>.<condition>``: ``reference`` and ``generated`` mean in the bins of ``efficiency``, without atoms;
* ``correlations``: ``reference`` and ``generated`` (matrices of the targets, without tracks that have an atom),
  ``worst`` difference, ``worst_floor``, ``worst_at``; null for a single target;
* ``categories.<condition>.<name>``: the tracks of one category: ``tracks``, ``auc`` and, as above without ``values``,
  ``ks``, ``efficiency`` and ``atoms``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hepgan.data.events import Events
from hepgan.data.expressions import Expression
from hepgan.evaluation.bins import MIN_IN_BIN, Bins, Pairs
from hepgan.evaluation.sample import Halves, Sample, Setup, auc_row, row, scatter, telling_rows
from hepgan.files import near
from hepgan.metrics import (
    correlation_matrix,
    efficiency,
    ks_in_bins,
    ks_projected,
    mean,
    profile,
    quantile_edges,
    spread,
)
from hepgan.metrics.moments import Measurement, effective_size

__all__ = ["LIMITS", "TrackSetup"]

LIMITS = {"ks_mean": 0.03, "ks_max": 0.08, "auc": 0.60, "efficiency": 0.02, "atoms": 0.01}
"""What is called good: Kolmogorov-Smirnov distances in bins, area under the ROC curve, largest absolute differences of
efficiencies and of the shares of exact values in bins of about 1000 tracks or more."""

EFFICIENCY_TRACKS = 1000  # effective tracks in a bin of an efficiency, so that 2 % can be told
MIN_BINS = 4  # of an efficiency: with fewer tracks there is still a dependence to see
MIN_IN_CATEGORY = 200  # effective tracks of either sample: fewer tell nothing
PROJECTED_SPLITS = 3  # halvings behind the floor of the projections, which take longest

Array = NDArray[np.float64]
Json = dict[str, Any]
Passing = Callable[[Sample], NDArray[np.bool_]]
"""Which tracks of a sample pass, (N,)."""


def _plain(values: Array) -> list[Any]:
    """Rows of numbers as JSON has them: null what is not defined."""
    return [[None if np.isnan(v) else v for v in numbers] for numbers in values.tolist()]


def _distances(reference: Sample, sample: Sample, column: int, bins: Bins) -> Array:
    """Kolmogorov-Smirnov distance of a target in the used bins, (B, 2)."""
    return ks_in_bins(
        sample.features[:, column],
        reference.features[:, column],
        reference_condition=bins.of_sample(reference),
        sample_condition=bins.of_sample(sample),
        edges=bins.edges,
        reference_weights=reference.weights,
        sample_weights=sample.weights,
    )[bins.used]


def _perfect(of_halves: Array, reference: Sample, sample: Sample) -> float:
    """What a perfect sample would give: differences between halves, scaled down to the number of tracks."""
    n, m = effective_size(reference.weights), effective_size(sample.weights)
    return float(0.5 * np.sqrt(1 + n / m) * of_halves.mean())


def _kolmogorov_smirnov(
    reference: Sample, sample: Sample, *, names: Sequence[str], pairs: Pairs, bins: Sequence[Bins]
) -> Json:
    """``ks``: distances in bins, their mean and their maximum."""
    values: Json = {b.condition.name: {} for b in bins}
    floors: Json = {b.condition.name: {} for b in bins}
    found, between, means = [], [], []
    for b in bins:
        for k, name in enumerate(names):
            distances = _distances(reference, sample, k, b)
            halves = np.array([_distances(first, second, k, b)[:, 0] for first, second in pairs])
            values[b.condition.name][name] = distances.tolist()
            floors[b.condition.name][name] = np.column_stack([halves.mean(0), halves.std(0)]).tolist()
            found += [
                ((v, u), f"{name}, {b.words(number)}") for number, (v, u) in enumerate(distances.tolist())
            ]
            between.append(halves)
            # bins are independent; the same tracks are in the bins of each condition and target
            means.append(np.sqrt((distances[:, 1] ** 2).sum()) / len(distances))
    of_halves = np.concatenate(between, axis=1)  # (halvings, targets and bins of all conditions)
    largest, where = max(found)
    result: Json = {"bins": {b.condition.name: b.plain() for b in bins}, "values": values, "floors": floors}
    result["mean"] = (float(np.mean([v for (v, _), _ in found])), float(np.mean(means)))
    result |= {"max": largest, "max_at": where}
    for key, of_each in (("mean", of_halves.mean(1)), ("max", of_halves.max(1))):
        result[f"{key}_floor"] = scatter(of_each)
        result[f"{key}_perfect"] = _perfect(of_each, reference, sample)
    return result


def _shares(
    reference: Sample, sample: Sample, *, pairs: Pairs, bins: Sequence[Bins], passing: Mapping[str, Passing]
) -> Json:
    """Share of the tracks that pass, in bins of each condition, and the largest difference."""

    def share(which: Sample, passed: Passing, b: Bins) -> Array:
        return efficiency(passed(which), b.of_sample(which), b.edges, weights=which.weights)[b.used]

    values: Json = {label: {} for label in passing}
    found, between = [], []
    for label, passed in passing.items():
        for b in bins:
            first, second = (share(which, passed, b) for which in (reference, sample))
            values[label][b.condition.name] = {"reference": first.tolist(), "generated": second.tolist()}
            difference = np.column_stack([second[:, 0] - first[:, 0], np.hypot(first[:, 1], second[:, 1])])
            found += [((v, u), f"{label}, {b.words(k)}") for k, (v, u) in enumerate(difference.tolist())]
            between.append([np.abs(share(a, passed, b) - share(c, passed, b))[:, 0].max() for a, c in pairs])
    worst, where = max(found, key=lambda item: abs(item[0][0]))
    of_halves = np.max(between, axis=0)
    return {
        "bins": {b.condition.name: b.plain() for b in bins},
        "values": values,
        "worst": worst,
        "worst_floor": scatter(of_halves),
        "worst_perfect": _perfect(of_halves, reference, sample),
        "worst_at": where,
    }


@dataclass(frozen=True)
class TrackSetup(Setup):
    """Tracks with a few observables each (the targets)."""

    what = "tracks"

    @property
    def names(self) -> list[str]:
        """Name of each target."""
        return [target.name for target in self.data.targets]

    @property
    def units(self) -> list[str]:
        """Unit of each target."""
        return [target.unit for target in self.data.targets]

    def observe(self, name: str, events: Events) -> Sample:
        """Mark the atoms.

        Raises:
            ValueError: If there are other targets, or a category that the configuration does not know.
        """
        if len(events.outputs) != 1 or events.targets.shape[1] != len(self.names):
            raise ValueError(
                f"{name}: expected {len(self.names)} target(s) a track, got "
                f"{[output.shape[1] for output in events.outputs]}; read the file with the configuration of the "
                "other sample"
            )
        values = events.targets
        atoms = np.column_stack(
            [
                np.isin(x, np.array(t.atoms, np.float32))
                for x, t in zip(values.T, self.data.targets, strict=True)
            ]
        )
        return Sample(name, events, values.astype(np.float64), atoms)

    def cuts(self, reference: Sample) -> dict[str, Passing]:
        """The cuts whose efficiency is measured: ``evaluation.cuts``, or above the median of each target.

        Raises:
            ValueError: If a cut is no condition on targets.
        """
        texts = self.config.cuts
        if not texts:
            columns = [reference.observed(k) for k in range(len(self.names))]
            medians = [quantile_edges(x[w > 0], 2, weights=w[w > 0])[1] for x, w in columns]
            texts = tuple(f"{name} > {m:.3g}" for name, m in zip(self.names, medians, strict=True))

        def passing(text: str) -> Passing:
            cut = Expression(text, label="evaluation.cuts")
            for name in cut.names:
                if name not in self.names:
                    raise ValueError(
                        f"evaluation.cuts: {text!r}: there is no target {name!r}; {near(name, self.names)}"
                    )

            def passed(sample: Sample) -> NDArray[np.bool_]:
                result = np.asarray(cut(dict(zip(self.names, sample.features.T, strict=True))))
                if result.dtype != bool or result.shape != (len(sample),):
                    raise ValueError(
                        f"evaluation.cuts: expected a comparison of targets, such as {self.names[0]} > 0, got {text!r}"
                    )
                return result

            return passed

        return {text: passing(text) for text in texts}

    def exact(self, reference: Sample) -> dict[str, Passing]:
        """The point masses: each declared atom, and, if ties are kept, each target that equals another one."""
        result: dict[str, Passing] = {}

        def at(column: int, value: float) -> Passing:
            return lambda sample: np.equal(sample.features[:, column], value)

        def tied(column: int) -> Passing:
            def passed(sample: Sample) -> NDArray[np.bool_]:
                others = np.delete(sample.features, column, axis=1)
                equal: NDArray[np.bool_] = (others == sample.features[:, [column]]).any(axis=1)
                return equal if sample.atoms is None else equal & ~sample.atoms[:, column]

            return passed

        for k, target in enumerate(self.data.targets):
            result |= {f"{target.name} = {atom:g}": at(k, float(np.float32(atom))) for atom in target.atoms}
            if self.data.ties and (passed := tied(k))(reference).any():
                result[f"{target.name} tied"] = passed
        return result

    def _bins(
        self, reference: Sample, sample: Sample, *, pairs: Pairs, without: int | None = None
    ) -> tuple[list[Bins], list[Bins]]:
        """Bins of each condition (but `without`): for distances, and for efficiencies."""
        tracks = min(effective_size(which.weights) for which in (reference, sample))
        most = min(self.config.condition_bins, max(int(tracks / (2 * MIN_IN_BIN)), 1))
        coarse = max(int(tracks / EFFICIENCY_TRACKS), MIN_BINS)
        found = []
        for number in (most, min(coarse, most)):
            bins = [
                Bins.of(condition, column, reference, sample, pairs=pairs, number=number)
                for column, condition in enumerate(self.data.conditions)
                if column != without
            ]
            found.append([b for b in bins if b.used.any()])
        return found[0], found[1]

    def _numbers(
        self,
        reference: Sample,
        sample: Sample,
        *,
        pairs: Pairs,
        bins: tuple[Sequence[Bins], Sequence[Bins]],
        cuts: Mapping[str, Passing],
        exact: Mapping[str, Passing],
    ) -> Json:
        """What is measured of all tracks, and of those of each category."""
        fine, coarse = bins
        shared: Any = {"pairs": pairs, "bins": coarse}
        return {
            "ks": _kolmogorov_smirnov(reference, sample, names=self.names, pairs=pairs, bins=fine),
            "efficiency": _shares(reference, sample, passing=cuts, **shared),
            "atoms": _shares(reference, sample, passing=exact, **shared) if exact else None,
        }

    def closure(self, reference: Sample, sample: Sample, *, halves: Halves, rng: np.random.Generator) -> Json:
        """Numbers in bins of each condition, of all tracks and of each category."""
        pairs = [(reference[a], reference[b]) for a, b in halves]
        bins = self._bins(reference, sample, pairs=pairs)
        if not all(bins):
            raise ValueError(
                f"conditions: no bin holds {MIN_IN_BIN} effective tracks of both samples ({len(reference)} and "
                f"{len(sample)} tracks); give more tracks, or lower evaluation.condition_bins"
            )
        passing: Any = {"cuts": self.cuts(reference), "exact": self.exact(reference)}
        result = self._numbers(reference, sample, pairs=pairs, bins=bins, **passing)
        result["ks"] |= self._projected(reference, sample, pairs=pairs, rng=rng)
        for label, passed in passing["exact"].items():
            numbers = {
                key: mean(passed(which).astype(np.float64), which.weights)
                for key, which in (("reference", reference), ("generated", sample))
            }
            result["atoms"].setdefault("overall", {})[label] = numbers
        result["profiles"] = self._profiles(reference, sample, bins=bins[1])
        result["correlations"] = self._correlations(reference, sample, pairs=pairs)
        result["categories"] = {
            condition.name: self._categories(reference, sample, column, pairs=pairs, rng=rng, **passing)
            for column, condition in enumerate(self.data.conditions)
            if condition.categories
        }
        return result

    def _projected(
        self, reference: Sample, sample: Sample, *, pairs: Pairs, rng: np.random.Generator
    ) -> Json:
        """The largest distance of random projections of the standardised targets, atoms included."""
        columns = [reference.observed(k) for k in range(len(self.names))]
        spreads = np.array([spread(*column)[0] for column in columns])
        scaling: Any = {
            "centre": np.array([mean(*column)[0] for column in columns]),
            "scale": np.where(spreads > 0, spreads, 1.0),
        }

        def largest(first: Sample, second: Sample) -> Measurement:
            return ks_projected(
                second.features,
                first.features,
                rng=rng,
                reference_weights=first.weights,
                sample_weights=second.weights,
                **scaling,
            )

        value = largest(reference, sample)
        floor = scatter([largest(a, b)[0] for a, b in pairs[:PROJECTED_SPLITS]])
        return {"projected": value, "projected_floor": floor}

    def _profiles(self, reference: Sample, sample: Sample, *, bins: Sequence[Bins]) -> Json:
        """Mean of each target in bins, without atoms."""

        def means(which: Sample, k: int, b: Bins) -> list[Any]:
            values, weights = which.observed(k)
            return _plain(profile(values, b.of_sample(which), b.edges, weights=weights)[b.used])

        return {
            name: {
                b.condition.name: {"reference": means(reference, k, b), "generated": means(sample, k, b)}
                for b in bins
            }
            for k, name in enumerate(self.names)
        }

    def _correlations(self, reference: Sample, sample: Sample, *, pairs: Pairs) -> Json | None:
        """Correlations of the targets, without tracks that have an atom; None for a single target."""
        rows, columns = np.triu_indices(len(self.names), k=1)
        if not len(rows):
            return None

        def matrix(which: Sample) -> Array:
            weights = which.weights
            if which.atoms is not None:
                free = np.where(which.atoms.any(axis=1), 0.0, weights)
                weights = free if free.sum() > 0 else weights
            return correlation_matrix(which.features, weights, name=which.name)

        first, second = matrix(reference), matrix(sample)
        difference = np.stack([second[..., 0] - first[..., 0], np.hypot(first[..., 1], second[..., 1])], -1)
        of_pairs = difference[rows, columns]
        k = int(np.abs(of_pairs[:, 0]).argmax())
        floors = [np.abs(matrix(a) - matrix(b))[rows, columns, 0].max() for a, b in pairs]
        return {
            "reference": first.tolist(),
            "generated": second.tolist(),
            "worst": tuple(of_pairs[k].tolist()),
            "worst_floor": scatter(floors),
            "worst_at": f"{self.names[rows[k]]} with {self.names[columns[k]]}",
        }

    def _categories(
        self,
        reference: Sample,
        sample: Sample,
        column: int,
        *,
        pairs: Pairs,
        cuts: Mapping[str, Passing],
        exact: Mapping[str, Passing],
        rng: np.random.Generator,
    ) -> Json:
        """The numbers of each category that has enough tracks, against the other conditions."""
        result: Json = {}
        for name, code in self.data.conditions[column].categories.items():

            def inside(which: Sample, code: float = code) -> Sample:
                return which[which.events.conditions[:, column] == np.float32(code)]

            first, second = inside(reference), inside(sample)
            if min(effective_size(which.weights) for which in (first, second)) < MIN_IN_CATEGORY:
                continue
            halves = [(inside(a), inside(b)) for a, b in pairs]
            others = None if len(self.data.conditions) == 1 else column
            bins = self._bins(first, second, pairs=halves, without=others)
            if not all(bins):
                continue
            numbers = self._numbers(first, second, pairs=halves, bins=bins, cuts=cuts, exact=exact)
            numbers["ks"] = {k: v for k, v in numbers["ks"].items() if k not in ("values", "floors")}
            for key in ("efficiency", "atoms"):
                if numbers[key]:
                    numbers[key].pop("values")
            test = self.classify(first, second, rng=rng)
            result[name] = {"tracks": len(first), "auc": test.auc, **numbers}
        return result

    def verdict(self, metrics: Json) -> list[Json]:
        """Distances, classifier, efficiencies and point masses; the rest for information."""
        closure = metrics["closure"]
        ks = closure["ks"]

        def distance(key: str, label: str, where: str) -> Json:
            return row(
                f"ks_{key}",
                f"KS distance in bins, {label}",
                section="ks",
                value=ks[key],
                floor=ks[f"{key}_floor"],
                limit=LIMITS[f"ks_{key}"],
                remark=f"{where}perfect, at this size: about {ks[f'{key}_perfect']:.3f}",
            )

        def share(key: str, label: str) -> Json:
            numbers = closure[key]
            perfect = f"perfect, at this size: about {100 * numbers['worst_perfect']:.1f} %"
            return row(
                f"{key}_worst",
                label,
                section=key,
                value=numbers["worst"],
                floor=numbers["worst_floor"],
                limit=LIMITS[key],
                percent=True,
                remark=f"{numbers['worst_at']}; {perfect}",
            )

        rows = [
            distance("mean", "mean", ""),
            distance("max", "largest", f"{ks['max_at']}; "),
            auc_row(metrics, key="auc", limit=LIMITS["auc"]),
            share("efficiency", "Efficiency difference, worst bin"),
        ]
        if closure["atoms"]:
            rows.append(share("atoms", "Share of exact values, worst difference"))
        rows.append(
            row(
                "ks_projected",
                "Largest KS distance of random projections",
                section="targets",
                value=ks["projected"],
                floor=ks["projected_floor"],
                remark="sees correlations",
            )
        )
        if correlations := closure["correlations"]:
            rows.append(
                row(
                    "correlations_worst",
                    "Largest correlation difference",
                    section="correlations",
                    value=correlations["worst"],
                    floor=correlations["worst_floor"],
                    remark=correlations["worst_at"],
                )
            )
        return [*rows, *telling_rows(metrics)]

    def headline(self, metrics: Json) -> dict[str, Measurement | None]:
        """The numbers that have a limit."""
        closure = metrics["closure"]
        return {
            "ks_mean": closure["ks"]["mean"],
            "ks_max": closure["ks"]["max"],
            "auc": metrics["classifier"]["auc"],
            "efficiency_worst": closure["efficiency"]["worst"],
            "atoms_worst": closure["atoms"]["worst"] if closure["atoms"] else None,
        }
