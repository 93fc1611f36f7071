"""The numbers of showers: response, resolution, energy fractions and occupancy against the incident energy.

Biases are sample / reference - 1, their floors the mean of the absolute value between halves of the reference. The fit
of the resolution is that of points at the harmonic mean energy of each bin. The numbers of single cells are in
`hepgan.evaluation.cells`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from hepgan.config import DataConfig, EvaluationConfig
from hepgan.data.events import Events
from hepgan.errors import DataError
from hepgan.evaluation.biases import Binned, Statistic, bias, bias_floor, biases
from hepgan.evaluation.cells import CellSample, cell_closure
from hepgan.evaluation.closures import (
    Biases,
    Difference,
    EnergyBins,
    LayerBias,
    Resolution,
    ResolutionFits,
    ShowerClosure,
)
from hepgan.evaluation.common_rows import auc_row, worst_observables
from hepgan.evaluation.published import Metric, Peer, peers
from hepgan.evaluation.records import Array, Curves, Number, number, to_array
from hepgan.evaluation.results import Classifier, Feature, Similarity
from hepgan.evaluation.sample import Halves, Sample, Setup
from hepgan.evaluation.shower_conditions import Shape, in_bins_of_conditions
from hepgan.evaluation.shower_rows import bias_rows, cell_rows, condition_rows
from hepgan.evaluation.verdict import Row
from hepgan.geometry import Calorimeter, energy_factor
from hepgan.metrics import (
    image_diversity,
    mean,
    quantile_edges,
    relative_spread,
    resolution_fit,
)
from hepgan.metrics.cells import correlation_difference, correlation_sums, correlations, smooth_terms
from hepgan.metrics.diversity import ImageDiversity
from hepgan.metrics.groups import between_halves, jackknife, random_groups
from hepgan.metrics.moments import Measurement
from hepgan.transforms.shower_shapes import (
    ShowerShapes,
    challenge_high_level,
    challenge_low_level,
)

__all__ = ["ShowerSetup"]

MIN_IN_BIN = 10  # showers of either sample below which an energy bin is left out
CHALLENGE_UNIT = "MeV"  # the observables of the CaloChallenge hold logarithms of energies
_CHUNK = 2000  # showers at once through the feature module
_CHALLENGE_CHUNK = 5000  # showers at once through the observables of the challenge

_PUBLISHED: dict[str, tuple[Metric, ...]] = {
    "classifier_auc": ("auc_high", "auc_low"),
    "network_auc_low": ("auc_low",),
    "network_auc_high": ("auc_high",),
    "challenge_fpd": ("fpd",),
}
"""Published metrics that stand beside each row."""


def _energy_bins(sample: Sample, reference: Sample, setup: ShowerSetup) -> list[tuple[float, float]]:
    """Bins with equal shares of the reference; those that a sample hardly fills are left out."""
    energies = [setup.energy(s) for s in (reference, sample)]
    edges = quantile_edges(energies[0], setup.config.energy_bins, weights=reference.weights)
    edges[-1] = np.nextafter(edges[-1], np.inf)
    bins = []
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if all(int(((e >= low) & (e < high)).sum()) >= MIN_IN_BIN for e in energies):
            bins.append((low, high))
    if not bins:
        raise DataError(
            f"incident energy: no bin holds {MIN_IN_BIN} showers of both samples ({len(reference)} and "
            f"{len(sample)} showers); give more showers, or lower evaluation.energy_bins"
        )
    return bins


def _resolution(values: Array, weights: Array) -> Measurement | None:
    """Spread over mean; None if no shower left any energy."""
    return relative_spread(values, weights) if values.any() else None


def _inside(energy: Array, bins: Sequence[tuple[float, float]]) -> list[NDArray[np.bool_]]:
    return [(energy >= low) & (energy < high) for low, high in bins]


@dataclass(frozen=True)
class ShowerSetup(Setup[ShowerClosure]):
    """Showers in a calorimeter.

    Attributes:
        calorimeter: The geometry.
        shapes: Computes the observables, the shower shapes.
    """

    calorimeter: Calorimeter
    shapes: ShowerShapes

    @classmethod
    def of(
        cls,
        data: DataConfig,
        config: EvaluationConfig,
        *,
        paired: bool,
        reference: Events,
        calorimeter: Callable[[], Calorimeter],
    ) -> ShowerSetup:
        """Make the setup with the shower shapes of the geometry."""
        geometry, n_overflow = calorimeter(), reference.overflow.shape[1]
        shapes = ShowerShapes(geometry, n_overflow=n_overflow, threshold=config.threshold)
        return cls(data, config, paired, geometry, shapes)

    @property
    def names(self) -> list[str]:
        """Name of each shower shape."""
        return self.shapes.names

    @property
    def units(self) -> list[str]:
        """Unit of each shower shape."""
        return self.shapes.units

    @property
    def layers(self) -> list[str]:
        """Names of the layers."""
        return self.calorimeter.names

    @property
    def energy_column(self) -> int:
        """Column of the incident energy among the conditions."""
        return [c.name for c in self.data.conditions].index(self.data.calo.incident_energy)

    @property
    def energy_unit(self) -> str:
        """Unit of the incident energy."""
        return self.data.conditions[self.energy_column].unit or self.calorimeter.unit

    def energy(self, sample: Sample) -> Array:
        """Incident energy of each shower, (N,), in the unit of the condition."""
        return sample.events.conditions[:, self.energy_column].astype(np.float64)

    def column(self, quantity: Literal["fraction", "occupancy"], layer: str) -> int:
        """Column of a quantity of a layer among the shower shapes."""
        return self.names.index(f"{quantity}_{layer}")

    def cell_sample(self, sample: Sample) -> CellSample:
        """The parts of a sample that the numbers of cells need."""
        columns = [
            np.log(values) if c.transform == "log" and values.min() > 0 else values
            for c, values in zip(self.data.conditions, sample.events.conditions.T, strict=True)
        ]
        factor = energy_factor(self.energy_unit, self.calorimeter.unit)
        energy = factor * self.energy(sample)
        return CellSample(sample.events.cells, energy, np.column_stack(columns), sample.weights)

    def observe(self, name: str, events: Events) -> Sample:
        """Compute the shower shapes.

        Raises:
            DataError: If the cells are not those of the calorimeter.
        """
        wanted = (self.calorimeter.n_cells, self.shapes.n_overflow)
        got = (events.cells.shape[1], events.overflow.shape[1])
        if got != wanted:
            raise DataError(
                f"{name}: expected {wanted[0]} cells and {wanted[1]} overflow numbers a shower, "
                f"got {got[0]} and {got[1]}; read the file with the configuration of the other sample"
            )
        energy = events.conditions[:, self.energy_column]
        factor = energy_factor(self.energy_unit, self.calorimeter.unit)
        arrays = (events.cells, events.overflow, (energy * factor).astype(np.float32))
        tensors = [torch.from_numpy(np.ascontiguousarray(a)) for a in arrays]
        with torch.no_grad():
            parts = [
                self.shapes(*(t[start : start + _CHUNK] for t in tensors))
                for start in range(0, len(events), _CHUNK)
            ]
        return Sample(name, events, torch.cat(parts).numpy().astype(np.float64))

    def closure(
        self, sample: Sample, reference: Sample, *, halves: Halves, rng: np.random.Generator
    ) -> ShowerClosure:
        """Measure biases in bins of the incident energy, and the numbers of single cells."""
        bins = _energy_bins(sample, reference, self)
        energy, weights = self.energy(reference), reference.weights

        def binned(column: int, events: Sample) -> Binned:
            inside = _inside(self.energy(events), bins)
            return Binned(events.features[:, column], events.weights, inside)

        def compared(column: int, statistic: Statistic) -> Biases:
            both = (binned(column, events) for events in (sample, reference))
            return biases(*both, statistic=statistic, halves=halves)

        def layers(quantity: Literal["fraction", "occupancy"]) -> dict[str, LayerBias]:
            result = {}
            for layer in self.layers:
                column = self.column(quantity, layer)
                first, second = (mean(s.features[:, column], s.weights) for s in (reference, sample))
                result[layer] = LayerBias(
                    sample=second,
                    reference=first,
                    bias=bias(second, first),
                    bias_floor=bias_floor(reference.features[:, column], weights, halves),
                    by_energy=Curves(sample=binned(column, sample)(), reference=binned(column, reference)()),
                )
            return result

        centres = [mean(energy[i], weights[i])[0] for i in _inside(energy, bins)]
        response = self.names.index("response")
        resolution = compared(response, _resolution)
        fits = ResolutionFits(
            **{
                name: resolution_fit(self._harmonic_energies(events, bins), to_array(numbers))
                for name, events, numbers in (
                    ("sample", sample, resolution.sample),
                    ("reference", reference, resolution.reference),
                )
            }
        )
        shape = Shape(self.calorimeter, self.names, self.data)
        conditions, following = in_bins_of_conditions(
            sample, reference, shape, halves=halves, most=self.config.condition_bins
        )
        cells = cell_closure(
            self.cell_sample(sample),
            self.cell_sample(reference),
            self.calorimeter,
            threshold=self.config.threshold,
            rng=rng,
        )
        return ShowerClosure(
            energy=EnergyBins(unit=self.energy_unit, edges=bins, mean=centres),
            response=compared(response, mean),
            resolution=Resolution(**vars(resolution), fit=fits),
            fractions=layers("fraction"),
            occupancy=layers("occupancy"),
            profiles=cells.profiles,
            spectrum=cells.spectrum,
            correlations=cells.correlations,
            observables=self._observables(sample, reference, rng=rng),
            conditions=conditions,
            following=following,
        )

    def _harmonic_energies(self, sample: Sample, bins: Sequence[tuple[float, float]]) -> list[float]:
        """Harmonic mean energy of each bin, at which a^2 / E has its mean over the bin."""
        energy = self.energy(sample)
        return [1 / mean(1 / energy[i], sample.weights[i])[0] for i in _inside(energy, bins)]

    def _products(self, sample: Sample, group: NDArray[np.intp]) -> Array:
        """Sums of products of the shower shapes, in single precision as they are computed."""
        terms = smooth_terms(self.cell_sample(sample).conditions)
        return correlation_sums(sample.features, terms, group, weights=sample.weights)

    def correlations(self, sample: Sample) -> Array:
        """Correlation coefficients of all pairs of shower shapes at fixed conditions, (F, F)."""
        total = self._products(sample, np.zeros(len(sample), np.intp))[0]
        return correlations(total, len(self.names))[0]

    def _observables(self, sample: Sample, reference: Sample, *, rng: np.random.Generator) -> Difference:
        """Difference of the correlations of the shower shapes."""
        first, second = (self._products(s, random_groups(len(s), rng)) for s in (reference, sample))
        difference = functools.partial(correlation_difference, n=len(self.names))
        return Difference(
            difference=number(*jackknife(difference, second, first)),
            difference_floor=between_halves(difference, first, rng=rng),
        )

    def similarity(
        self, sample: Sample, reference: Sample, *, halves: Halves, rng: np.random.Generator
    ) -> dict[str, Similarity]:
        """Similarity of pairs of images of each layer, at similar energies; undefined where a layer is always empty."""
        a, b = halves[0]

        def images(second: Sample, first: Sample, k: int) -> ImageDiversity:
            place, shape = self.calorimeter.slices()[k], self.calorimeter.layers[k].shape
            return image_diversity(
                *(s.events.cells[:, place].reshape(-1, *shape) for s in (second, first)),
                rng=rng,
                sample_weights=second.weights,
                reference_weights=first.weights,
                sample_condition=self.energy(second),
                reference_condition=self.energy(first),
            )

        result = {}
        for k, name in enumerate(self.layers):
            try:
                value = images(sample, reference, k)
                floor = images(reference[b], reference[a], k)
            except ValueError as error:  # negative energies or weights: said instead of a number
                result[name] = Similarity(value=None, floor=None, reason=str(error))
                continue
            result[name] = Similarity(
                value=value.difference,
                floor=floor.difference,
                sample=value.sample,
                reference=value.reference,
            )
        return result

    def check_networks(self) -> None:
        """Accept the networks: showers have cells."""

    def network_inputs(self, sample: Sample) -> dict[str, NDArray[np.float32]]:
        """Inputs of CaloChallenge's networks, (N, F) each: the cells (``low``) and its observables (``high``)."""
        calorimeter, threshold = self.calorimeter, self.config.threshold
        factor = energy_factor(calorimeter.unit, CHALLENGE_UNIT)
        scale = energy_factor(self.energy_unit, CHALLENGE_UNIT)
        energy = torch.from_numpy(self.energy(sample)).float() * scale
        cells = torch.from_numpy(sample.events.cells)
        parts: dict[str, list[torch.Tensor]] = {"low": [], "high": []}
        for start in range(0, len(sample), _CHALLENGE_CHUNK):
            chunk = slice(start, start + _CHALLENGE_CHUNK)
            part, e = cells[chunk] * factor, energy[chunk]
            parts["low"].append(challenge_low_level(part, e, threshold=factor * threshold))
            parts["high"].append(challenge_high_level(part, e, calorimeter, threshold=factor * threshold))
        return {name: torch.cat(tensors).numpy() for name, tensors in parts.items()}

    def published(self, key: str) -> list[Peer]:
        """Published numbers of generators for the same cells."""
        metrics = _PUBLISHED.get(key, ())
        return [peer for metric in metrics for peer in peers(self.calorimeter, metric=metric)]

    def verdict(
        self, closure: ShowerClosure, *, features: Mapping[str, Feature], classifier: Classifier
    ) -> list[Row]:
        """Make the rows of biases, then those for information."""
        return [
            *bias_rows(closure, self.config.limits),
            *cell_rows(closure),
            *condition_rows(closure),
            auc_row(classifier, key="classifier_auc"),
            *worst_observables(features, classifier),
        ]

    def headline(self, closure: ShowerClosure, *, classifier: Classifier) -> dict[str, Number | None]:
        """Choose the classifier's area and the biases."""
        return {
            "classifier_auc": classifier.auc,
            "response_bias_worst": closure.response.worst,
            **{f"fraction_bias_{layer}": values.bias for layer, values in closure.fractions.items()},
            **{f"occupancy_bias_{layer}": values.bias for layer, values in closure.occupancy.items()},
        }
