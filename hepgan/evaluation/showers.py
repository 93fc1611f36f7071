"""The numbers of showers: response, resolution, energy fractions and occupancy against the incident energy.

Keys of ``closure`` in ``metrics.json`` (the others: `hepgan.evaluation.measure`): ``energy`` (``unit``, ``edges``,
``mean`` of each bin), ``response`` and ``resolution`` (``reference``, ``generated``, ``bias`` by bin, ``worst``,
``worst_floor``), ``resolution.fit`` (``reference``, ``generated``: ``stochastic``, ``constant``, ``chi2_per_ndf`` of
`resolution_fit`, or null), ``fractions.<layer>`` and ``occupancy.<layer>`` (``reference``, ``generated``, ``bias``,
``bias_floor``, ``by_energy``); biases are generated / reference - 1, their floors the mean of the absolute value.
``resolution.fit`` is that of points at the harmonic mean energy of each bin. The numbers of single cells
(``profiles``, ``spectrum``, ``correlations``): `hepgan.evaluation.cells`. ``observables``: ``difference`` and
``difference_floor`` (mean absolute difference of the correlation coefficients of all pairs of shower shapes).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hepgan.data.events import Events
from hepgan.evaluation.cells import CellSample, cell_closure, furthest
from hepgan.evaluation.sample import Halves, Sample, Setup, auc_row, row, scatter, telling_rows
from hepgan.geometry import Calorimeter
from hepgan.metrics import (
    image_diversity,
    mean,
    quantile_edges,
    relative_difference,
    relative_spread,
    resolution_fit,
)
from hepgan.metrics.cells import correlation_difference, correlation_sums, correlations, smooth_terms
from hepgan.metrics.diversity import ImageDiversity
from hepgan.metrics.groups import between_halves, jackknife, random_groups
from hepgan.metrics.moments import Measurement
from hepgan.transforms.shower_shapes import ShowerShapes, energy_factor

__all__ = ["LIMITS", "ShowerSetup"]

LIMITS = {"response": 0.03, "fractions": 0.05, "occupancy": 0.10}
"""Largest relative bias that is called good: response in every energy bin, mean fraction and occupancy of
every layer."""

MIN_IN_BIN = 10  # showers of either sample below which an energy bin is left out
_CHUNK = 2000  # showers at once through the feature module

Array = NDArray[np.float64]
Json = dict[str, Any]


def _energy_bins(reference: Sample, sample: Sample, setup: ShowerSetup) -> list[tuple[float, float]]:
    """Bins with equal shares of the reference; those that a sample hardly fills are left out."""
    energies = [setup.energy(s) for s in (reference, sample)]
    edges = quantile_edges(energies[0], setup.config.energy_bins, weights=reference.weights)
    edges[-1] = np.nextafter(edges[-1], np.inf)
    bins = []
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if all(int(((e >= low) & (e < high)).sum()) >= MIN_IN_BIN for e in energies):
            bins.append((low, high))
    if not bins:
        raise ValueError(
            f"incident energy: no bin holds {MIN_IN_BIN} showers of both samples ({len(reference)} and "
            f"{len(sample)} showers); give more showers, or lower evaluation.energy_bins"
        )
    return bins


Statistic = Callable[[Array, Array], Measurement]


def _by_energy(
    values: Array, energy: Array, weights: Array, bins: Sequence[tuple[float, float]], statistic: Statistic
) -> list[Measurement]:
    inside = [(energy >= low) & (energy < high) for low, high in bins]
    return [statistic(values[i], weights[i]) for i in inside]


def _bias_floor(values: Array, weights: Array, halves: Halves) -> Measurement | None:
    biases = [
        relative_difference(mean(values[b], weights[b]), mean(values[a], weights[a])) for a, b in halves
    ]
    defined = [abs(bias[0]) for bias in biases if bias is not None]
    return scatter(defined) if defined else None


def _largest(biases: Sequence[Measurement | None]) -> Measurement | None:
    return max((b for b in biases if b is not None), key=lambda b: abs(b[0]), default=None)


def _worst_floor(
    values: Array,
    energy: Array,
    weights: Array,
    bins: Sequence[tuple[float, float]],
    *,
    statistic: Statistic,
    halves: Halves,
) -> Measurement | None:
    """Size of the largest relative difference in the bins, between halves of the reference."""
    sizes = []
    for pair in halves:
        first, second = (_by_energy(values[i], energy[i], weights[i], bins, statistic) for i in pair)
        worst = _largest([relative_difference(b, a) for a, b in zip(first, second, strict=True)])
        if worst is not None:
            sizes.append(abs(worst[0]))
    return scatter(sizes) if sizes else None


def _cell_rows(closure: Json) -> list[Json]:
    """For information: the numbers of single cells, each of the layer where it is furthest above its floor."""
    rows = []
    for name, metric, section, layers, key, what in (
        (
            "longitudinal_worst",
            "Longitudinal profile",
            "profiles",
            {"": closure["profiles"]["longitudinal"]},
            "worst",
            "largest bias",
        ),
        (
            "lateral_worst",
            "Lateral profile",
            "profiles",
            closure["profiles"]["lateral"],
            "worst",
            "largest bias",
        ),
        (
            "cell_spectrum_worst",
            "Cell spectrum",
            "cells",
            closure["spectrum"],
            "separation",
            "separation power",
        ),
        (
            "cell_correlations_worst",
            "Cell correlations, worst layer",
            "correlations",
            closure["correlations"],
            "difference",
            "mean difference of coefficients",
        ),
    ):
        measured = {where: (n[key], n[f"{key}_floor"]) for where, n in layers.items() if n}
        layer = furthest(measured)
        value, floor = measured[layer] if layer is not None else (None, None)
        remark = f"{what}, {layer}" if layer else what
        percent = section == "profiles"
        rows.append(
            row(name, metric, section=section, value=value, floor=floor, percent=percent, remark=remark)
        )
    return rows


@dataclass(frozen=True)
class ShowerSetup(Setup):
    """Showers in a calorimeter.

    Attributes:
        calorimeter: The geometry.
        shapes: What is looked at.
    """

    calorimeter: Calorimeter
    shapes: ShowerShapes
    what = "showers"

    @property
    def names(self) -> list[str]:
        """Name of each shower shape."""
        return self.shapes.names

    @property
    def units(self) -> list[str]:
        """Unit of each shower shape."""
        return self.shapes.units

    @property
    def energy_column(self) -> int:
        """Which condition is the incident energy."""
        return [c.name for c in self.data.conditions].index(self.data.calo.incident_energy)

    @property
    def energy_unit(self) -> str:
        """Unit of the incident energy."""
        return self.data.conditions[self.energy_column].unit or self.calorimeter.unit

    def energy(self, sample: Sample) -> Array:
        """Incident energy of each shower, (N,), in the unit of the condition."""
        return sample.events.conditions[:, self.energy_column].astype(np.float64)

    def column(self, kind: str, layer: str) -> int:
        """Where a feature of a layer is."""
        return self.names.index(f"{kind}_{layer}")

    def cell_sample(self, sample: Sample) -> CellSample:
        """What single cells are compared by."""
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
            ValueError: If the cells are not those of the calorimeter.
        """
        wanted = (self.calorimeter.n_cells, self.shapes.n_overflow)
        got = (events.cells.shape[1], events.overflow.shape[1])
        if got != wanted:
            raise ValueError(
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

    def closure(self, reference: Sample, sample: Sample, *, halves: Halves, rng: np.random.Generator) -> Json:
        """Biases in bins of the incident energy, and the numbers of single cells."""
        bins = _energy_bins(reference, sample, self)

        def profile(column: int, which: Sample, statistic: Statistic = mean) -> list[Measurement]:
            return _by_energy(which.features[:, column], self.energy(which), which.weights, bins, statistic)

        energy, weights = self.energy(reference), reference.weights
        centres = [m for m, _ in _by_energy(energy, energy, weights, bins, mean)]
        result: Json = {"energy": {"unit": self.energy_unit, "edges": bins, "mean": centres}}
        response = self.names.index("response")
        for key, statistic in (("response", mean), ("resolution", relative_spread)):
            first, second = (profile(response, which, statistic) for which in (reference, sample))
            bias = [relative_difference(b, a) for a, b in zip(first, second, strict=True)]
            result[key] = {
                "reference": first,
                "generated": second,
                "bias": bias,
                "worst": _largest(bias),
                "worst_floor": _worst_floor(
                    reference.features[:, response], energy, weights, bins, statistic=statistic, halves=halves
                ),
            }
        fits = {}
        for name, which in (("reference", reference), ("generated", sample)):
            inverse = _by_energy(1 / self.energy(which), self.energy(which), which.weights, bins, mean)
            # the mean of a^2 / E over a bin is that at the harmonic mean of E
            fits[name] = resolution_fit([1 / value for value, _ in inverse], result["resolution"][name])
        result["resolution"]["fit"] = {name: asdict(fit) if fit else None for name, fit in fits.items()}
        for key, kind in (("fractions", "fraction"), ("occupancy", "occupancy")):
            result[key] = {}
            for layer in self.calorimeter.names:
                column = self.column(kind, layer)
                means = [mean(s.features[:, column], s.weights) for s in (reference, sample)]
                result[key][layer] = {
                    "reference": means[0],
                    "generated": means[1],
                    "bias": relative_difference(means[1], means[0]),
                    "bias_floor": _bias_floor(reference.features[:, column], weights, halves),
                    "by_energy": {
                        "reference": profile(column, reference),
                        "generated": profile(column, sample),
                    },
                }
        first_cells, second_cells = (self.cell_sample(s) for s in (reference, sample))
        result |= cell_closure(
            first_cells, second_cells, self.calorimeter, threshold=self.config.threshold, rng=rng
        )
        result["observables"] = self._observables(reference, sample, rng=rng)
        return result

    def _products(self, sample: Sample, group: NDArray[np.intp]) -> Array:
        """Sums of products of the shower shapes, in single precision as they are computed."""
        terms = smooth_terms(self.cell_sample(sample).conditions)
        return correlation_sums(sample.features, terms, group, weights=sample.weights)

    def correlations(self, sample: Sample) -> Array:
        """Correlation coefficients of all pairs of shower shapes at fixed conditions, (F, F)."""
        total = self._products(sample, np.zeros(len(sample), np.intp))[0]
        return correlations(total, len(self.names))[0]

    def _observables(self, reference: Sample, sample: Sample, *, rng: np.random.Generator) -> Json:
        """How different the correlations of the shower shapes are."""
        first, second = (self._products(s, random_groups(len(s), rng)) for s in (reference, sample))
        difference = functools.partial(correlation_difference, n=len(self.names))
        value, uncertainty = (float(number) for number in jackknife(difference, second, first))
        return {
            "difference": (value, uncertainty) if np.isfinite([value, uncertainty]).all() else None,
            "difference_floor": between_halves(difference, first, rng=rng),
        }

    def diversity(
        self, reference: Sample, sample: Sample, *, halves: Halves, rng: np.random.Generator
    ) -> Json:
        """Similarity of pairs of images of each layer, at similar energies; null where a layer is always empty."""
        a, b = halves[0]

        def similarity(first: Sample, second: Sample, k: int) -> ImageDiversity:
            s, shape = self.calorimeter.slices()[k], self.calorimeter.layers[k].shape
            images = [which.events.cells[:, s].reshape(-1, *shape) for which in (second, first)]
            return image_diversity(
                *images,
                rng=rng,
                reference_weights=first.weights,
                sample_weights=second.weights,
                reference_condition=self.energy(first),
                sample_condition=self.energy(second),
            )

        found: Json = {}
        for k, name in enumerate(self.calorimeter.names):
            try:
                value, floor = similarity(reference, sample, k), similarity(reference[a], reference[b], k)
            except ValueError as error:  # negative energies or weights: said instead of a number
                found[name] = {"value": None, "floor": None, "reason": str(error)}
                continue
            found[name] = {
                "value": value.difference,
                "floor": floor.difference,
                "reference": value.reference,
                "generated": value.sample,
            }
        return {"similarity": found}

    def verdict(self, metrics: Json) -> list[Json]:
        """Biases, and the classifier for information."""
        closure = metrics["closure"]
        rows = [
            row(
                "response_bias_worst",
                f"Response bias, worst of {len(closure['response']['bias'])} energy bins",
                section="response",
                value=closure["response"]["worst"],
                floor=closure["response"]["worst_floor"],
                limit=LIMITS["response"],
                percent=True,
            )
        ]
        for key, label in (("fractions", "Mean energy fraction"), ("occupancy", "Mean occupancy")):
            rows += [
                row(
                    f"{key.rstrip('s')}_bias_{layer}",
                    f"{label} bias, {layer}",
                    section=key,
                    value=numbers["bias"],
                    floor=numbers["bias_floor"],
                    limit=LIMITS[key],
                    percent=True,
                )
                for layer, numbers in closure[key].items()
            ]
        resolution = row(
            "resolution_bias_worst",
            f"Resolution bias, worst of {len(closure['resolution']['bias'])} energy bins",
            section="response",
            value=closure["resolution"]["worst"],
            floor=closure["resolution"]["worst_floor"],
            percent=True,
            remark="spread of the response",
        )
        return [
            *rows,
            resolution,
            *_cell_rows(closure),
            auc_row(metrics, key="classifier_auc"),
            *telling_rows(metrics),
        ]

    def headline(self, metrics: Json) -> dict[str, Measurement | None]:
        """The classifier's area and the biases."""
        closure = metrics["closure"]
        numbers: dict[str, Measurement | None] = {
            "classifier_auc": metrics["classifier"]["auc"],
            "response_bias_worst": closure["response"]["worst"],
        }
        for key, name in (("fractions", "fraction"), ("occupancy", "occupancy")):
            numbers |= {f"{name}_bias_{layer}": values["bias"] for layer, values in closure[key].items()}
        return numbers
