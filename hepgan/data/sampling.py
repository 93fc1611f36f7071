r"""How batches are drawn: each event alike, in proportion to the size of its weight, or in equal shares of bins.

An event with weight :math:`w_i` is drawn in proportion to a rate :math:`q_i`, and counts with
:math:`w_i / q_i \cdot \bar q` in the losses, so that the expectation of each mean over a batch stays the same:
:math:`\langle w x \rangle`. What changes is its variance:

- ``uniform``: :math:`q = 1`; the weights stay. Many events of small weight cost steps that teach little.
- ``weights``: :math:`q = |w|`; the weights become their sign (times a constant: their mean is one), so the batch has
  the largest effective size that weights of these signs allow.
- ``strata``: :math:`q` is the reciprocal share of the events in a bin of a condition, so that rare energies occur as
  often as frequent ones. With ``undo = false`` the events keep :math:`w_i`: the losses are then those of a sample whose
  spectrum is flat in the bins, which changes nothing in the distribution at each condition.

References:
    Kahn, Marshall, J. Oper. Res. Soc. Am. 1 (1953) 263 (importance sampling).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hepgan.config import Config, DataConfig
from hepgan.data.draws import own_rows
from hepgan.data.tensors import TensorEvents

__all__ = ["SampledEvents", "Sampling", "sampling"]


@dataclass(frozen=True)
class Sampling:
    """How often events are drawn, and what they count.

    Attributes:
        rate: Maps conditions (N, n_conditions) and weights (N,) to rates (N,), not negative, with a mean of about one.
        undo: Whether the weights of drawn events are divided by their rates.
        norm: Without `undo`, the factor with which the weights of drawn events have a mean of one.
    """

    rate: Callable[[Tensor, Tensor], Tensor]
    undo: bool = True
    norm: float = 1.0

    def weights(self, events: TensorEvents, rates: Tensor, *, mean: float) -> Tensor:
        """Weights (B,) of drawn events with their rates (B,) and the mean rate of those they were drawn from."""
        return events.weights / rates * mean if self.undo else events.weights * self.norm


def sampling(config: Config, events: TensorEvents) -> Sampling | None:
    """The sampling that ``training.sampling`` names; None for ``uniform``.

    Args:
        config: The configuration.
        events: The training part, or a random sample of it, which fixes the bins.
    """
    return _SAMPLINGS[config.training.sampling](config, events)


def _in_proportion(config: Config, events: TensorEvents) -> Sampling:
    return Sampling(lambda condition, weights: weights.abs())


def _in_strata(config: Config, events: TensorEvents) -> Sampling:
    """Equal shares of bins; the rate of an event is the reciprocal share of its bin, over all bins with events."""
    strata = config.training.strata
    names = [condition.name for condition in config.data.conditions]
    column = names.index(strata.condition) if strata.condition else 0
    number = _binning(config.data, column, strata.bins, events.condition[:, column])
    counts = torch.bincount(number(events.condition[:, column])).double()
    filled = counts > 0
    rates = torch.where(filled, counts.sum() / (filled.sum() * counts), 1.0).float()

    def rate(condition: Tensor, weights: Tensor) -> Tensor:
        bins: Tensor = number(condition[:, column]).clamp(max=len(rates) - 1)
        return rates.to(condition.device)[bins]

    drawn = rate(events.condition, events.weights)
    norm = float(drawn.mean() / (drawn * events.weights).mean())
    return Sampling(rate, strata.undo, norm)


def _binning(data: DataConfig, column: int, bins: int, values: Tensor) -> Callable[[Tensor], Tensor]:
    """Numbers of the bins of a condition, of equal width in it or in its logarithm; a category is a bin."""
    condition = data.conditions[column]
    if condition.categories:
        known = torch.tensor(sorted(condition.categories.values()))
        return lambda x: torch.bucketize(x, known.to(x))
    scale = torch.log if condition.transform == "log" else torch.Tensor.double
    low, high = (float(scale(x)) for x in torch.aminmax(values))
    edges = torch.linspace(low, high, bins + 1)[1:-1]
    return lambda x: torch.bucketize(scale(x).float(), edges.to(x.device))


_SAMPLINGS: dict[str, Callable[[Config, TensorEvents], Sampling | None]] = {
    "uniform": lambda config, events: None,
    "weights": _in_proportion,
    "strata": _in_strata,
}
"""The samplings by their names in ``training.sampling``."""


class SampledEvents:
    """Events in memory, of which batches are drawn by a `Sampling`; see `TensorEvents` for the rest.

    Args:
        events: N events.
        sampling: How to draw them.
    """

    def __init__(self, events: TensorEvents, sampling: Sampling) -> None:
        self.events, self.sampling = events, sampling
        self.rates = sampling.rate(events.condition, events.weights)
        self._sums = self.rates.double().cumsum(0).cpu()

    def __len__(self) -> int:
        return len(self.events)

    def mapped(
        self, function: Callable[[TensorEvents], tuple[Tensor, ...]], *, key: str = ""
    ) -> SampledEvents:
        """Represent the events; see `TensorEvents.mapped`."""
        return SampledEvents(self.events.mapped(function, key=key), self.sampling)

    def drawn(self, size: int, *, rng: torch.Generator, first: int = 0) -> Tensor:
        """Draw the numbers (size,) of events with replacement, in proportion to their rates, on the CPU."""
        place = torch.rand(size, generator=rng, dtype=torch.float64) * self._sums[-1]
        return torch.searchsorted(self._sums, place, right=True).clamp(max=len(self) - 1)

    def batch(self, size: int, *, rng: torch.Generator, first: int = 0) -> TensorEvents:
        """Draw `size` events, or the rows of them that a worker computes; see `TensorEvents.batch`."""
        chosen = self.drawn(size, rng=rng)[own_rows(rng)].to(self.rates.device)
        events, mean = self.events[chosen], float(self._sums[-1]) / len(self)
        weights = self.sampling.weights(events, self.rates[chosen], mean=mean)
        return replace(events, weights=weights).dithered(rng=rng)
