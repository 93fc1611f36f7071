r"""Objectives: the losses of critic and generator, in one table, `OBJECTIVES`; regularisers in `REGULARISERS`.

A critic gives each event one or more scores, which the objective's witness function turns into one number :math:`v`.
The critic maximises the value of a `Game`,

.. math:: E_{data}[gain(v)] - E_{model}[cost(v)].

With an output activation as gain and its conjugate as cost, the value is the lower bound of an f-divergence
(arXiv:1606.00709, equation 4); with the identity for both it is the Wasserstein distance. The generator minimises a
loss of its own choice, which each objective names. Objectives without a critic compare generated events with the data
directly, and a model may bring its own loss (`Objective.own`).

Use "wgan-gp": its value falls with the distance between the samples even if they do not overlap, it takes weights of
both signs, and it loses no modes. "energy-score" is faster for few observables. The others are for comparison; see
docs/objectives.md.
"""

from __future__ import annotations

from hepgan.objectives.games import (
    DIVERGENCES_F,
    OBJECTIVES,
    Game,
    Objective,
    alpha_divergence,
    chosen,
    energy_distance,
    energy_score,
    first_score,
    kernel_score,
    power_ratio,
)
from hepgan.objectives.penalties import (
    REGULARISERS,
    Regulariser,
    around,
    between,
    expectation,
    gradient_penalty,
    linear_gradient_penalty,
    one_sided,
    two_sided,
)

__all__ = [
    "DIVERGENCES_F",
    "OBJECTIVES",
    "REGULARISERS",
    "Game",
    "Objective",
    "Regulariser",
    "alpha_divergence",
    "around",
    "between",
    "chosen",
    "energy_distance",
    "energy_score",
    "expectation",
    "first_score",
    "gradient_penalty",
    "kernel_score",
    "linear_gradient_penalty",
    "one_sided",
    "power_ratio",
    "two_sided",
]
