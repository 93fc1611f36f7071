"""The numbers of tracks: distributions, efficiencies of cuts and exact values in bins of each condition.

A track has a few observables, the targets. A target may have atoms, exact values such as a sentinel, and, if
``data.ties``, the value of another target; shares of both are measured like efficiencies. The numbers themselves are in
`hepgan.evaluation.track_numbers`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hepgan.config import DataConfig, EvaluationConfig
from hepgan.data.events import Events
from hepgan.data.expressions import Expression, quoted
from hepgan.errors import ConfigError, DataError
from hepgan.evaluation.bins import MIN_IN_BIN, Pairs
from hepgan.evaluation.closures import Category, ExactShares, KsDistances, Shares, TrackClosure
from hepgan.evaluation.common_rows import auc_row, worst_observables
from hepgan.evaluation.records import Number, Pair
from hepgan.evaluation.results import Classifier, Feature
from hepgan.evaluation.sample import Halves, Sample, Setup
from hepgan.evaluation.track_numbers import (
    Passing,
    correlations,
    ks_distances,
    means,
    projected_distance,
    shares,
    track_bins,
)
from hepgan.evaluation.verdict import Row, row
from hepgan.files import near
from hepgan.geometry import Calorimeter
from hepgan.metrics import mean, quantile_edges
from hepgan.metrics.moments import effective_size

__all__ = ["TrackSetup"]

MIN_IN_CATEGORY = 200  # effective tracks of either sample; fewer say nothing about a category


@dataclass(frozen=True)
class TrackSetup(Setup[TrackClosure]):
    """Tracks with a few observables each (the targets)."""

    @classmethod
    def of(
        cls,
        data: DataConfig,
        config: EvaluationConfig,
        *,
        paired: bool,
        reference: Events,
        calorimeter: Callable[[], Calorimeter],
    ) -> TrackSetup:
        """Make the setup; tracks have no geometry."""
        return cls(data, config, paired)

    @property
    def names(self) -> list[str]:
        """Name of each target."""
        return [target.name for target in self.data.targets]

    @property
    def units(self) -> list[str]:
        """Unit of each target."""
        return [target.unit for target in self.data.targets]

    @property
    def layers(self) -> list[str]:
        """No layers."""
        return []

    def observe(self, name: str, events: Events) -> Sample:
        """Take the targets as features, and mark the atoms.

        Raises:
            DataError: If there are other targets than in the configuration.
        """
        if len(events.outputs) != 1 or events.targets.shape[1] != len(self.names):
            raise DataError(
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
        """Make the cuts whose efficiency is measured: ``evaluation.cuts``, or above the median of each target.

        Raises:
            ConfigError: If a cut is not a comparison of targets.
        """
        texts = self.config.cuts
        if not texts:
            columns = [reference.observed(k) for k in range(len(self.names))]
            medians = [quantile_edges(x[w > 0], 2, weights=w[w > 0])[1] for x, w in columns]
            texts = tuple(f"{quoted(name)} > {m:.3g}" for name, m in zip(self.names, medians, strict=True))

        def passing(text: str) -> Passing:
            cut = Expression(text, branches=self.names, label="evaluation.cuts", cut=True)
            for name in cut.names:
                if name not in self.names:
                    raise ConfigError(
                        f"evaluation.cuts: {text!r}: there is no target {name!r}; "
                        f"{near(name, self.names)}{cut.advice(self.names)}"
                    )

            def passed(sample: Sample) -> NDArray[np.bool_]:
                result = np.asarray(cut(dict(zip(self.names, sample.features.T, strict=True))))
                if result.dtype != bool or result.shape != (len(sample),):
                    raise ConfigError(
                        f"evaluation.cuts: expected a comparison of targets, such as {quoted(self.names[0])} > 0, "
                        f"got {text!r}"
                    )
                return result

            return passed

        return {text: passing(text) for text in texts}

    def exact(self, reference: Sample) -> dict[str, Passing]:
        """Make the exact values: each declared atom, and, if ties are kept, each target that equals another one."""
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

    def closure(
        self, sample: Sample, reference: Sample, *, halves: Halves, rng: np.random.Generator
    ) -> TrackClosure:
        """Measure all tracks and each category in bins of each condition."""
        pairs = [(reference[a], reference[b]) for a, b in halves]
        fine, coarse = track_bins(sample, reference, self, pairs=pairs)
        if not (fine and coarse):
            raise DataError(
                f"conditions: no bin holds {MIN_IN_BIN} effective tracks of both samples ({len(reference)} and "
                f"{len(sample)} tracks); give more tracks, or lower evaluation.condition_bins"
            )
        cuts, exact = self.cuts(reference), self.exact(reference)
        shared: Any = {"pairs": pairs, "bins": coarse}
        ks, values, floors = ks_distances(sample, reference, names=self.names, pairs=pairs, bins=fine)
        passed, efficiencies = shares(sample, reference, passing=cuts, **shared)
        atoms = None
        if exact:
            masses, by_bin = shares(sample, reference, passing=exact, **shared)
            overall = {
                label: Pair(
                    **{
                        name: mean(has(events).astype(np.float64), events.weights)
                        for name, events in (("sample", sample), ("reference", reference))
                    }
                )
                for label, has in exact.items()
            }
            atoms = ExactShares(**vars(masses), values=by_bin, overall=overall)
        projected, floor = projected_distance(sample, reference, pairs=pairs, rng=rng)
        return TrackClosure(
            ks=KsDistances(
                **vars(ks), values=values, floors=floors, projected=projected, projected_floor=floor
            ),
            efficiency=Shares(**vars(passed), values=efficiencies),
            atoms=atoms,
            profiles=means(sample, reference, names=self.names, bins=coarse),
            correlations=correlations(sample, reference, names=self.names, pairs=pairs),
            categories={
                condition.name: self._categories(
                    sample, reference, column, pairs=pairs, cuts=cuts, exact=exact, rng=rng
                )
                for column, condition in enumerate(self.data.conditions)
                if condition.categories
            },
        )

    def _categories(
        self,
        sample: Sample,
        reference: Sample,
        column: int,
        *,
        pairs: Pairs,
        cuts: Mapping[str, Passing],
        exact: Mapping[str, Passing],
        rng: np.random.Generator,
    ) -> dict[str, Category]:
        """Measure each category that has enough tracks, in bins of the other conditions."""
        result = {}
        for name, code in self.data.conditions[column].categories.items():

            def inside(events: Sample, code: float = code) -> Sample:
                return events[events.events.conditions[:, column] == np.float32(code)]

            second, first = inside(sample), inside(reference)
            if min(effective_size(s.weights) for s in (second, first)) < MIN_IN_CATEGORY:
                continue
            halves = [(inside(a), inside(b)) for a, b in pairs]
            others = None if len(self.data.conditions) == 1 else column
            fine, coarse = track_bins(second, first, self, pairs=halves, without=others)
            if not (fine and coarse):
                continue
            shared: Any = {"pairs": halves, "bins": coarse}
            ks, _, _ = ks_distances(second, first, names=self.names, pairs=halves, bins=fine)
            efficiency, _ = shares(second, first, passing=cuts, **shared)
            atoms = shares(second, first, passing=exact, **shared)[0] if exact else None
            auc = self.classify(second, first, rng=rng).auc
            result[name] = Category(tracks=len(first), auc=auc, ks=ks, efficiency=efficiency, atoms=atoms)
        return result

    def check_networks(self) -> None:
        """Refuse the networks: tracks have no cells.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            f"evaluation.networks: expected showers, got {self.data.kind.rows}; CaloChallenge's networks see cells: "
            "leave it out"
        )

    def network_inputs(self, sample: Sample) -> dict[str, NDArray[np.float32]]:
        """Refuse, as `check_networks`."""
        self.check_networks()
        return {}

    def verdict(
        self, closure: TrackClosure, *, features: Mapping[str, Feature], classifier: Classifier
    ) -> list[Row]:
        """Make the rows of distances, classifier, efficiencies and exact values, then those for information."""
        limits, ks, atoms = self.config.limits, closure.ks, closure.atoms

        def perfect(summary: Shares) -> str:
            return f"{summary.worst_at}; perfect, at this size: about {100 * summary.worst_perfect:.1f} %"

        rows = [
            row(
                "ks_mean",
                "KS distance in bins, mean",
                section="ks",
                value=ks.mean,
                floor=ks.mean_floor,
                limit=limits["ks_mean"],
                remark=f"perfect, at this size: about {ks.mean_perfect:.3f}",
            ),
            row(
                "ks_max",
                "KS distance in bins, largest",
                section="ks",
                value=ks.max,
                floor=ks.max_floor,
                limit=limits["ks_max"],
                remark=f"{ks.max_at}; perfect, at this size: about {ks.max_perfect:.3f}",
            ),
            auc_row(classifier, key="auc", limit=limits["auc"]),
        ]
        for key, title, summary in (
            ("efficiency", "Efficiency difference, worst bin", closure.efficiency),
            ("atoms", "Share of exact values, worst difference", atoms),
        ):
            if summary:
                rows.append(
                    row(
                        f"{key}_worst",
                        title,
                        section=key,
                        value=summary.worst,
                        floor=summary.worst_floor,
                        limit=limits[key],
                        percent=True,
                        remark=perfect(summary),
                    )
                )
        rows.append(
            row(
                "ks_projected",
                "Largest KS distance of random projections",
                section="targets",
                value=ks.projected,
                floor=ks.projected_floor,
                remark="sees correlations",
            )
        )
        if closure.correlations:
            rows.append(
                row(
                    "correlations_worst",
                    "Largest correlation difference",
                    section="correlations",
                    value=closure.correlations.worst,
                    floor=closure.correlations.worst_floor,
                    remark=closure.correlations.worst_at,
                )
            )
        return [*rows, *worst_observables(features, classifier)]

    def headline(self, closure: TrackClosure, *, classifier: Classifier) -> dict[str, Number | None]:
        """Choose the numbers that have a limit."""
        return {
            "ks_mean": closure.ks.mean,
            "ks_max": closure.ks.max,
            "auc": classifier.auc,
            "efficiency_worst": closure.efficiency.worst,
            "atoms_worst": closure.atoms.worst if closure.atoms else None,
        }
