"""Numbers of a generated sample in the benchmark: distances from held-out events, and whether it collapsed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel
from scipy.spatial import cKDTree

from hepgan import metrics
from hepgan.config import Config
from hepgan.data.events import Events
from hepgan.metrics.moments import Measurement
from hepgan.metrics.transport import standardised
from hepgan.transforms.conditions import ConditionScaling
from hepgan.transforms.quantiles import QuantileScaling

__all__ = ["COLLAPSED", "EVENTS", "METRICS", "Features", "Measured", "Metric", "measure"]

Array = NDArray[np.float64]

COLLAPSED = 0.25  # of the data's fluctuation; a sample below has lost most of a dimension
EVENTS = (
    2000  # held-out events of sample and reference at most: an exact transport plan of so many takes a second
)


@dataclass(frozen=True)
class Metric:
    """A number of a sample against a reference.

    Attributes:
        heading: Heading of its column.
        between: Function of (N2, F) features of the sample, (N1, F) of the reference, and ``rng=``.
    """

    heading: str
    between: Callable[..., Measurement]


def _parzen(sample: ArrayLike, reference: ArrayLike, *, rng: np.random.Generator) -> Measurement:
    return metrics.parzen_log_likelihood(sample, reference, rng=rng).measurement


METRICS: dict[str, Metric] = {
    "earth_movers_distance": Metric(
        "EMD", partial(metrics.earth_movers_distance, most=EVENTS // 2, subsets=2)
    ),
    "sliced_wasserstein": Metric("sliced W", metrics.sliced_wasserstein),
    "classifier_auc": Metric(
        "AUC", lambda sample, reference, *, rng: metrics.two_sample_test(sample, reference, rng=rng).auc
    ),
    "mmd": Metric(
        "MMD²",
        lambda sample, reference, *, rng: metrics.mmd(sample, reference, rng=rng, permutations=0).measurement,
    ),
    "parzen": Metric("Parzen (nats)", _parzen),
}
"""Metrics by name, computed on conditions and targets together, in spreads of the reference."""


class Features:
    """Conditions and targets of events as features: standardised as for the networks, constant ones left out.

    Args:
        config: Conditions, targets and their transforms.
        reference: Events that fix the scales.
    """

    def __init__(self, config: Config, reference: Events) -> None:
        conditions, targets, weights = map(
            torch.from_numpy, (reference.conditions, reference.targets, reference.weights)
        )
        self.conditions = ConditionScaling(config.data.conditions)
        self.conditions.fit(conditions, weights)
        self.targets = QuantileScaling([target.transform for target in config.data.targets])
        self.targets.fit(targets, weights, torch.ones_like(targets, dtype=torch.bool))
        self.varying = np.ptp(self.conditions(conditions).numpy(), axis=0) > 0

    def of_conditions(self, events: Events) -> Array:
        """Features (N, F1) of the conditions."""
        values: Array = self.conditions(torch.from_numpy(events.conditions)).double().numpy()
        return values[:, self.varying]

    def of_targets(self, events: Events) -> Array:
        """Features (N, F2) of the targets."""
        normal = self.targets.to_normal(torch.from_numpy(events.targets))
        values: Array = self.targets.periodic(normal).double().numpy()
        return values

    def __call__(self, events: Events) -> Array:
        """All features, (N, F1 + F2)."""
        return np.concatenate([self.of_conditions(events), self.of_targets(events)], axis=1)

    def fluctuation(self, events: Events) -> Array:
        """Mean difference of each target (F2,) between an event and the event of the most similar conditions."""
        targets, conditions = self.of_targets(events), self.of_conditions(events)
        if conditions.shape[1]:
            nearest = cKDTree(conditions).query(conditions, k=2)[1][:, 1]
        else:
            nearest = np.arange(len(events)) - 1
        difference: Array = np.abs(targets - targets[nearest]).mean(axis=0)
        return difference


class Measured(BaseModel):
    """Outcome of one sample.

    Attributes:
        failure: "diverged", "collapsed" or "got worse"; empty for none.
        numbers: Value and uncertainty by name; None if a metric is not defined for the sample.
    """

    failure: str = ""
    numbers: dict[str, Measurement | None] = {}


def measure(
    features: Features,
    sample: Events,
    reference: Events,
    *,
    rng: np.random.Generator,
    centres: Array | None = None,
    radius: float = 0.0,
) -> Measured:
    """Compute all numbers of one sample, and whether it has collapsed.

    Args:
        features: Features to compare.
        sample: Generated events, or other held-out ones.
        reference: Held-out events.
        rng: Source of the metrics' random numbers.
        centres: (K, T) centres of the modes of the T targets, if they are known.
        radius: Events closer than this to a centre belong to its mode.
    """
    collapsed = (features.fluctuation(sample) < COLLAPSED * features.fluctuation(reference)).any()
    numbers: dict[str, Measurement | None] = {}
    if centres is not None:
        coverage = metrics.mode_coverage(sample.targets, centres, radius=radius)
        numbers |= {"modes": (float(coverage.covered), 0.0), "in_modes": coverage.high_quality}
        collapsed |= coverage.covered < len(centres) / 2
    y, x = standardised(features(sample), features(reference))
    for name, metric in METRICS.items():
        try:
            numbers[name] = metric.between(y, x, rng=rng)
        except ValueError:  # not defined, such as the likelihood of a sample that is one point
            numbers[name] = None
    return Measured(failure="collapsed" if collapsed else "", numbers=numbers)
