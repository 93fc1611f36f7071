"""Statistical starts of the shower generator: what it knows of showers before any game, in one table, `STARTS`.

A start makes normal numbers that fluctuate together as the cells do, and maps normal numbers to energies. In between,
the streams of the generator correct the normal numbers; they begin at zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from hepgan.errors import ConfigError
from hepgan.geometry import Calorimeter
from hepgan.models.conditional_start import ConditionalStart, Inputs
from hepgan.models.copula import FactorCopula
from hepgan.models.hits import FewHits
from hepgan.models.neighbours import Neighbours
from hepgan.models.ring_copula import RingCopula
from hepgan.models.ring_start import RingStart
from hepgan.models.start_fit import fit_start
from hepgan.transforms.energy import ConditionalQuantile
from hepgan.transforms.separate import Separate
from hepgan.transforms.showers import ShowerScaling

__all__ = ["STARTS", "Given", "Sizes", "Start", "kind_of_start"]

_MOST_NUMBERS = 2**24  # normal numbers of the events that the start is compared with: 64 MB


class Given(NamedTuple):
    """What is known of B events before their showers.

    Args:
        energy: (B,) incident energies in the unit of the cells.
        features: (B, C) of all conditions.
        indicators: One-hot codes (B, categories) of each condition with categories.
    """

    energy: Tensor
    features: Tensor
    indicators: Sequence[Tensor]


class Sizes(NamedTuple):
    """What the size of a start depends on.

    Args:
        calorimeter: The geometry.
        n_overflow: Number of overflow energies: one a layer, or 0.
        features: Number C of features of the conditions.
        categories: Number of categories of each condition that has some.
        factors: Number K of shared numbers.
    """

    calorimeter: Calorimeter
    n_overflow: int
    features: int
    categories: list[int]
    factors: int


class Start(Protocol):
    """A module with these methods.

    Attributes:
        n_global: Number G of variables that are not cells; they come first.
        by_category: Whether it has statistics of its own for each combination of categories.
    """

    n_global: int
    by_category: bool

    def fit(
        self, cells: Tensor, overflow: Tensor, given: Given, weights: Tensor, *, rng: torch.Generator
    ) -> None:
        """Fit everything to (N, n_cells) and (N, n_overflow) energies with weights (N,).

        Raises:
            DataError: If there are too few events.
        """

    def __call__(self, shared: Tensor, own: Tensor, given: Given) -> tuple[Tensor, Any]:
        """Map (B, K) shared and (V, B) own normal numbers to (V, B) correlated ones, and to what `showers` needs."""

    def showers(self, z: Tensor, given: Given, seen: Any) -> tuple[Tensor, Tensor]:
        """Map (B, V) normal numbers to cells (B, n_cells) and overflow (B, n_overflow)."""


class Tables(nn.Module):
    """Quantiles of each variable and correlations of all of them, tabulated in the incident energy.

    Neighbours are correlated further, and layers with a few hits get their number of hits: both follow the energies of
    the layers.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.scaling = ShowerScaling(sizes.calorimeter, n_overflow=sizes.n_overflow)
        self.n_global, variables = self.scaling.n_global, self.scaling.n_variables
        self.separate = Separate(sizes.categories)
        self.by_category = bool(sizes.categories)
        tables = self.separate.tables
        self.quantile = ConditionalQuantile(variables, tables=tables)
        self.copula = FactorCopula(variables, sizes.factors, tables=tables)
        self.neighbours = Neighbours(sizes.calorimeter)
        self.hits = FewHits(sizes.calorimeter, tables=tables)

    def fit(
        self, cells: Tensor, overflow: Tensor, given: Given, weights: Tensor, *, rng: torch.Generator
    ) -> None:
        """Fit scaling, tables and correlations; see `Start`."""
        self.scaling.fit(cells, overflow, weights)
        self.separate.fit(given.energy)
        energy = self._place(given)
        variables = self.scaling(cells, overflow, given.energy)
        self.quantile.fit(variables, energy, weights)
        z = self.quantile.to_normal(variables, energy)
        self.copula.fit(z, variables <= self.quantile.floor, energy, weights, rng=rng)
        some = torch.arange(0, len(z), -(-z.numel() // _MOST_NUMBERS))
        few = Given(given.energy[some], given.features[some], [x[some] for x in given.indicators])
        shared = torch.randn(len(some), self.copula.loadings.shape[2], generator=rng)
        own = torch.randn(z.shape[1], len(some), generator=rng)

        hits, logs = cells.T > 0, self.scaling.layer_logs(variables, given.energy)[:-1]
        self.hits.choose(hits, weights)

        def start() -> tuple[Tensor, Tensor]:
            made, place = self(shared, own, few)
            made_logs, distances = self._logs(made, place, few.energy), self._distances(made, place)
            self.hits.fit(hits, logs, energy, weights, (made_logs, distances, place))
            return made_logs, self.hits.excess(distances, (made_logs, place))

        excess = self.hits.excess(self._distances(z[some].T, energy[some]))
        self.neighbours.fit(logs[:, some], excess, weights[some], start)
        start()

    def _place(self, given: Given) -> Tensor:
        """Incident energies (B,) for the tables, of which each combination of categories has its own."""
        energy: Tensor = self.separate(given.energy, given.indicators)
        return energy

    def _logs(self, z: Tensor, place: Tensor, incident_energy: Tensor) -> Tensor:
        """Logarithms (L, B) of the energies of the layers, of (V, B) normal numbers; those of cells do not matter."""
        made = self.quantile.from_normal(z[: self.n_global].T, place, first=self.n_global)
        return self.scaling.layer_logs(made, incident_energy)[:-1]

    def _distances(self, z: Tensor, place: Tensor) -> Tensor:
        """Distances (n_cells, B) of the normal numbers (V, B) of cells from their thresholds."""
        return self.quantile.distances(z[self.n_global :], place, slice(self.n_global, None))

    def forward(self, shared: Tensor, own: Tensor, given: Given) -> tuple[Tensor, Tensor]:
        """Correlated normal numbers (V, B), and places in the tables; see `Start`."""
        place = self._place(given)
        first, cells = torch.split(own, [self.n_global, len(own) - self.n_global])
        with torch.no_grad():
            early = self.copula(shared, first, place, first=self.n_global)
            logs = self._logs(early, place, given.energy)
            own = torch.cat([first, *self.neighbours(cells, logs)])
        return self.copula(shared, own, place), place

    def showers(self, z: Tensor, given: Given, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Cells and overflow of normal numbers; see `Start`."""
        if self.hits.few:
            z = self._with_few_hits(z.T, given, seen).T
        return self.scaling.inverse(self.quantile.from_normal(z, seen), given.energy)

    def _with_few_hits(self, z: Tensor, given: Given, place: Tensor) -> Tensor:
        """Normal numbers (V, B) that are shifted until as many cells are hit as the energies of layers allow."""
        layers = self.scaling.calorimeter.layers
        parts = list(torch.split(z, [self.n_global, *(layer.n_cells for layer in layers)]))
        with torch.no_grad():
            logs = self._logs(z, place, given.energy)
        for k in self.hits.few:
            s = self.scaling.calorimeter.slices()[k]
            cells = slice(self.n_global + s.start, self.n_global + s.stop)
            with torch.no_grad():
                distances = self.quantile.distances(parts[1 + k], place, cells)
                shift = self.hits(k, distances, logs, place)
            parts[1 + k] = parts[1 + k] - shift
        return torch.cat(parts)


class LayerTables(nn.Module):
    """Quantiles that all cells of a layer share, and no correlations: nothing depends on the position of a cell."""

    by_category = False

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.scaling = ShowerScaling(sizes.calorimeter, n_overflow=sizes.n_overflow)
        self.n_global = self.scaling.n_global
        self.quantile = ConditionalQuantile(self.scaling.n_variables)

    def fit(
        self, cells: Tensor, overflow: Tensor, given: Given, weights: Tensor, *, rng: torch.Generator
    ) -> None:
        """Fit scaling and tables; see `Start`."""
        self.scaling.fit(cells, overflow, weights)
        variables = self.scaling(cells, overflow, given.energy)
        self.quantile.fit(variables, given.energy, weights)
        for s in self.scaling.calorimeter.slices():
            place = slice(self.n_global + s.start, self.n_global + s.stop)
            values = variables[:, place]
            together = ConditionalQuantile(1)
            repeated = (x.repeat_interleave(values.shape[1]) for x in (given.energy, weights))
            together.fit(values.reshape(-1, 1), *repeated)
            self.quantile.table[place] = together.table
            self.quantile.threshold[place] = together.threshold

    def forward(self, shared: Tensor, own: Tensor, given: Given) -> tuple[Tensor, None]:
        """The own numbers as they are; see `Start`."""
        return own, None

    def showers(self, z: Tensor, given: Given, seen: None) -> tuple[Tensor, Tensor]:
        """Cells and overflow of normal numbers; see `Start`."""
        return self.scaling.inverse(self.quantile.from_normal(z, given.energy), given.energy)


class Rings(nn.Module):
    """Quantiles of each ring of polar layers given the energy of its layer, and correlations of all cells."""

    by_category = False

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.scaling = ShowerScaling(sizes.calorimeter, n_overflow=sizes.n_overflow)
        self.rings = RingStart(sizes.calorimeter, n_overflow=sizes.n_overflow)
        self.n_global = self.rings.n_global
        self.copula = RingCopula(sizes.calorimeter, self.n_global, sizes.factors)

    def fit(
        self, cells: Tensor, overflow: Tensor, given: Given, weights: Tensor, *, rng: torch.Generator
    ) -> None:
        """Fit tables and correlations; see `Start`."""
        self.scaling.fit(cells, overflow, weights)
        z, censored = self.rings.fit(cells, overflow, given.energy, weights, offset=self.scaling.offset)
        self.copula.fit(z, censored, given.energy, weights, rng=rng)

    def forward(self, shared: Tensor, own: Tensor, given: Given) -> tuple[Tensor, None]:
        """Correlated normal numbers (V, B); see `Start`."""
        return self.copula(shared, own, given.energy), None

    def showers(self, z: Tensor, given: Given, seen: None) -> tuple[Tensor, Tensor]:
        """Cells and overflow of normal numbers; see `Start`."""
        return self.rings.from_normal(z, given.energy)


class AllConditions(nn.Module):
    """Quantiles and correlations of all cells as functions of all conditions."""

    by_category = False

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.scaling = ShowerScaling(sizes.calorimeter, n_overflow=sizes.n_overflow)
        self.n_global = self.scaling.n_global
        self.functions = ConditionalStart(self.scaling, features=sizes.features, factors=sizes.factors)

    def fit(
        self, cells: Tensor, overflow: Tensor, given: Given, weights: Tensor, *, rng: torch.Generator
    ) -> None:
        """Fit all functions; see `Start`."""
        self.scaling.fit(cells, overflow, weights)
        variables = self.scaling(cells, overflow, given.energy)
        events = cells, variables, given.features, given.energy, weights
        fit_start(self.functions, *events, scaling=self.scaling, rng=rng)

    def forward(self, shared: Tensor, own: Tensor, given: Given) -> tuple[Tensor, Inputs]:
        """Correlated normal numbers (V, B), and what the functions see; see `Start`."""
        made: tuple[Tensor, Inputs] = self.functions(shared, own, given.features, given.energy, self.scaling)
        return made

    def showers(self, z: Tensor, given: Given, seen: Inputs) -> tuple[Tensor, Tensor]:
        """Cells and overflow of normal numbers; see `Start`."""
        return self.scaling.inverse(self.functions.from_normal(z, seen, given.energy), given.energy)


STARTS: dict[str, Callable[[Sizes], Start]] = {
    "cells": Tables,
    "conditions": AllConditions,
    "layers": LayerTables,
    "rings": Rings,
}
"""By ``model.statistics``; "conditions" stands in for "cells" where there is more than the energy and categories."""


def kind_of_start(statistics: str, *, conditions: Sequence[str], categories: int) -> str:
    """Name in `STARTS` for ``model.statistics``, given the conditions' names, and how many have categories.

    Raises:
        ConfigError: If that start does not follow all conditions.
    """
    if statistics == "rings" and len(conditions) > 1:
        raise ConfigError(
            'model.statistics: expected the incident energy as the only condition for "rings", got '
            f'{", ".join(conditions)}; use "cells", which follows all of them, or leave the others out'
        )
    return "conditions" if statistics == "cells" and len(conditions) > 1 + categories else statistics
