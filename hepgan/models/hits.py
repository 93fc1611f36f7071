r"""Number of hits of layers that have a few: drawn given the energy of the layer, so that it follows this energy.

Cells that are correlated normal numbers above thresholds give a number of hits that follows the energy of their layer
only loosely: a layer with little energy would share it among too many cells. Its number of hits is therefore chosen, by
matching quantiles. With the distances s of the normal numbers of the cells from their thresholds, the score

:math:`S = \sum_i \sigma(3 s_i)`

is a continuous number of hits, which correlates with everything else in the shower. Given the energy of the layer and
the incident energy, it becomes the number of hits n with the same quantile in the training events:
:math:`n = 1 + \sum_k [S > \theta_k]`. All normal numbers of the layer are then shifted by the same amount, the least
one for which n cells lie above their threshold, with a margin. The shift counts as fixed in derivatives.

A layer without energy is empty anyway. Layers with many hits stay as they are: there the number follows from the sum of
many cells, and a common shift would move all energies.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hepgan.geometry import Calorimeter
from hepgan.models.neighbours import LogNodes
from hepgan.transforms.energy import EnergyNodes
from hepgan.transforms.exporting import is_exporting
from hepgan.transforms.kernels import run, usable
from hepgan.transforms.quantiles import TINY

__all__ = ["FewHits"]

_STEEP = (
    3.0  # of the score: steeper, it would be the number of hits itself, which has no order inside a number
)
_MARGIN = 0.25  # of the gap between the last hit and the first empty cell, by which the latter is below its threshold
_LEAST_MARGIN = 0.01  # the same where all normal numbers have to fall: they fall no further than needed
_MOST_HITS = 16.0  # mean number of hits of a layer with a few
_MOST_FILLED = 0.5  # mean share of cells that are hit in such a layer
_MOST_CELLS = 150  # of such a layer: exported files compare all pairs of cells
_FEWEST = 30  # effective events of an entry of the table; with fewer it copies its neighbour
_BEYOND = 1.0  # score above the largest one, of numbers of hits that do not occur
_LOWEST = -100.0  # below all normal numbers


class FewHits(nn.Module):
    """Shift the normal numbers of layers with a few hits until as many cells are hit as the energy allows.

    Args:
        calorimeter: The geometry.
        nodes: Number of energies of a layer in the tables.
        energies: Number of incident energies in the tables.
        tables: Number of tables, see `EnergyNodes`.

    Attributes:
        few: Numbers of the layers with a few hits; `fit` sets them.
    """

    def __init__(
        self, calorimeter: Calorimeter, *, nodes: int = 24, energies: int = 4, tables: int = 1
    ) -> None:
        super().__init__()
        self.calorimeter = calorimeter
        self.few: list[int] = []
        self.nodes = LogNodes(calorimeter.n_layers, nodes)
        self.energies = EnergyNodes(energies, tables)
        for k, layer in enumerate(calorimeter.layers):
            if 1 < layer.n_cells <= _MOST_CELLS:
                shape = layer.n_cells - 1, nodes * self.energies.nodes
                self.register_buffer(f"scores_{k}", torch.zeros(shape))  # theta

    def choose(self, hits: Tensor, weights: Tensor) -> None:
        """Find the layers with a few hits, from (n_cells, N) bool and weights (N,)."""
        self.few = []
        for k, s in enumerate(self.calorimeter.slices()):
            mean = float((hits[s].sum(0) * weights).sum() / weights.sum())
            if hasattr(self, f"scores_{k}") and mean <= min(_MOST_HITS, _MOST_FILLED * hits[s].shape[0]):
                self.few.append(k)

    def fit(
        self,
        hits: Tensor,
        logs: Tensor,
        energy: Tensor,
        weights: Tensor,
        start: tuple[Tensor, Tensor, Tensor],
    ) -> None:
        """Tabulate the scores at which the number of hits grows.

        Args:
            hits: (n_cells, N) bool, of the events.
            logs: (L, N) logarithms of `ShowerScaling.layer_logs`.
            energy: (N,) incident energies.
            weights: (N,).
            start: Of generated events: logs (L, M), distances (n_cells, M) of normal numbers from thresholds, and
                energies (M,).
        """
        made_logs, distances, made_energy = start
        self.nodes.fit(logs)
        self.energies.fit(energy)
        for k in self.few:
            s = self.calorimeter.slices()[k]
            number = hits[s].sum(0)
            real, made = number > 0, made_logs[k] > 0
            shares = (self._weights(k, logs, energy) * weights)[:, real].double()
            score, order = _score(distances[s][:, made]).double().sort()
            made_shares = self._weights(k, made_logs, made_energy)[:, made][:, order].double()
            table = torch.full((len(shares), len(self.get_buffer(f"scores_{k}"))), torch.inf).double()
            known = [
                j for j in range(len(shares)) if min(map(_effective, (shares[j], made_shares[j]))) > _FEWEST
            ]
            for j in known:
                table[j] = _matched(number[real], shares[j], score, made_shares[j], len(table[j]))
            self.get_buffer(f"scores_{k}").copy_(self._filled(table, known).T)

    def _filled(self, table: Tensor, known: list[int]) -> Tensor:
        """Copy the nearest of the known entries (entries, numbers) to the others, those of the same energy first."""
        energies = self.energies.nodes
        if not known:
            return torch.arange(1.0, 1 + table.shape[1]).expand_as(table)
        entries = torch.arange(len(table))
        place = torch.stack([entries // energies, entries % energies * self.nodes.nodes])
        distance = (place[:, :, None] - place[:, known][:, None]).abs().sum(0)
        return table[torch.tensor(known)[distance.argmin(1)]]

    def _weights(self, layer: int, logs: Tensor, energy: Tensor) -> Tensor:
        """Weights (entries, B) in a table; its entries are all incident energies for each energy of the layer."""
        own, incident = self.nodes(logs)[layer], self.energies(energy).T
        weights: Tensor = (own[:, None] * incident).flatten(0, 1)
        return weights

    def forward(self, layer: int, distances: Tensor, logs: Tensor, energy: Tensor) -> Tensor:
        """What (B,) has to be taken from all normal numbers of a layer.

        Args:
            layer: One of `few`.
            distances: (n, B) normal numbers of its cells, relative to their thresholds.
            logs: (L, B) logarithms of `ShowerScaling.layer_logs`.
            energy: (B,) incident energies.
        """
        steps = torch.matmul(self.get_buffer(f"scores_{layer}"), self._weights(layer, logs, energy))
        number = 1 + (_score(distances) > steps).to(distances).sum(0, keepdim=True)
        last, next_one = _around(distances, number)
        # the first empty cell is never exactly at its threshold, where rounding would decide
        least = torch.where(next_one > 0, torch.lerp(next_one, last, _LEAST_MARGIN), 0.0)
        return torch.minimum(least, torch.lerp(next_one, last, _MARGIN))

    def excess(self, distances: Tensor, given: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """How far cells are above their thresholds, 0 below; of layers with a few hits only whether they are, 1 or 0.

        Args:
            distances: (n_cells, B) of normal numbers from thresholds.
            given: Logarithms (L, B) and energies (B,) of generated events, of which the hits are still to be chosen.
        """
        parts = list(torch.split(torch.relu(distances), [x.n_cells for x in self.calorimeter.layers]))
        for k in self.few:
            own = distances[self.calorimeter.slices()[k]]
            parts[k] = (own > (0.0 if given is None else self(k, own, *given))).to(own)
        return torch.cat(parts)

    def get_extra_state(self) -> Tensor:
        """The layers with a few hits, saved with the tables."""
        return torch.tensor(self.few)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore them."""
        self.few = [int(k) for k in state]


def _score(distances: Tensor) -> Tensor:
    """Continuous number of hits (B,) of the distances (n, B) of normal numbers from their thresholds."""
    return torch.sigmoid(_STEEP * distances).sum(0)


def _effective(weights: Tensor) -> float:
    """Number of equal weights as uncertain as these."""
    return float(weights.sum().clamp(min=0) ** 2 / weights.square().sum().clamp(min=TINY))


def _matched(number: Tensor, weights: Tensor, score: Tensor, made: Tensor, steps: int) -> Tensor:
    """Scores (steps,) with the shares of events that have at most 1, 2, ... hits.

    Args:
        number: (N,) hits, at least one.
        weights: (N,).
        score: (M,) increasing.
        made: (M,) weights.
        steps: How many.
    """
    count = torch.zeros(steps + 2).to(weights).index_add(0, number, weights)
    share = (count.cumsum(0) / count.sum())[1:-1].clamp(0, 1).cummax(0).values
    passed = (made.cumsum(0) - made / 2) / made.sum()
    place = torch.searchsorted(passed, share).clamp(1, len(passed) - 1)
    low, high = passed[place - 1], passed[place]
    part = ((share - low) / (high - low).clamp(min=TINY)).clamp(0, 1)
    result = torch.lerp(score[place - 1], score[place], part)
    never = share >= 1 - TINY  # more hits do not occur
    return torch.where(never, score[-1] + _BEYOND + never.cumsum(0), result)


def _around(distances: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
    """The n-th largest of the distances (cells, B), and the next one, (B,) each, for whole numbers n (1, B)."""
    if usable(distances):
        upper, lower = torch.empty_like(number[0]), torch.empty_like(number[0])
        run("nth_largest", *distances.shape, distances.contiguous(), number.contiguous(), upper, lower)
        return upper, lower
    if is_exporting():  # by ranks, since exported files have no operator that sorts
        rank = (distances[None] > distances[:, None]).to(distances).sum(1)
        upper, lower = (
            torch.where(rank > n, distances, _LOWEST).amax(0) for n in (number - 1.5, number - 0.5)
        )
        return upper, torch.where(number[0] < len(distances) - 0.5, lower, upper)
    order = distances.sort(0, descending=True).values
    first = number.long() - 1
    both = order.gather(0, torch.cat([first, (first + 1).clamp(max=len(order) - 1)]))
    return both[0], both[1]
