"""Numbers that papers quote: CaloChallenge's classifier networks and physics distances on its own observables.

FPD and KPD are computed in the way of JetNet; floors are those of halves of the reference.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from hepgan.evaluation.records import Compared
from hepgan.evaluation.results import Network, Networks
from hepgan.evaluation.sample import Halves, Sample, Setup, Step
from hepgan.evaluation.verdict import Row, row
from hepgan.metrics import frechet_physics_distance, kernel_physics_distance, network_test

__all__ = ["measure_networks", "rows"]


def measure_networks(
    sample: Sample,
    reference: Sample,
    setup: Setup[Any],
    *,
    halves: Halves,
    rng: np.random.Generator,
    step: Step,
) -> Networks:
    """Train the networks and measure the distances.

    Args:
        sample: The sample to judge.
        reference: The sample that is right.
        setup: The kind of data and settings.
        halves: Halvings of the reference.
        rng: Source of random numbers.
        step: Called with the name of each step.

    Raises:
        ConfigError: If the events have no cells.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    first, second = setup.network_inputs(reference), setup.network_inputs(sample)
    (a, b), u, v = halves[0], reference.weights, sample.weights
    networks = {}
    for name in first:
        tests = []
        for what, y, x, wy, wx, paired in (
            ("", second[name], first[name], v, u, setup.paired),
            (", floor", first[name][b], first[name][a], u[b], u[a], False),
        ):

            def report(words: str, prefix: str = f"network ({name}{what})") -> None:
                step(f"{prefix}: {words}")

            tests.append(
                network_test(
                    y,
                    x,
                    rng=rng,
                    sample_weights=wy,
                    reference_weights=wx,
                    paired=paired,
                    device=device,
                    step=report,
                )
            )
        value, floor = tests
        networks[name] = Network(auc=value.auc, auc_floor=floor.auc, jsd=value.jsd, jsd_floor=floor.jsd)
    distances = {}
    for name, distance in (("fpd", frechet_physics_distance), ("kpd", kernel_physics_distance)):
        step(f"{name} of the challenge's observables")
        x, y = first["high"].astype(np.float64), second["high"].astype(np.float64)
        try:
            distances[name] = Compared(
                value=distance(y, x, rng=rng, sample_weights=v, reference_weights=u).jetnet,
                floor=distance(x[b], x[a], rng=rng, sample_weights=u[b], reference_weights=u[a]).jetnet,
            )
        except ValueError as error:  # negative weights
            distances[name] = Compared(value=None, floor=None, reason=str(error))
    return Networks(**networks, **distances)


def rows(networks: Networks) -> list[Row]:
    """Make the rows of the verdict, for information."""
    result = [
        row(
            f"network_auc_{name}",
            f"AUC of CaloChallenge's network, {words}",
            section="networks",
            value=network.auc,
            floor=network.auc_floor,
            ideal=0.5,
        )
        for name, network, words in (
            ("low", networks.low, "cells"),
            ("high", networks.high, "its observables"),
        )
    ]
    result += [
        row(
            f"challenge_{name}",
            f"{name.upper()} of the challenge's observables",
            section="networks",
            value=distance.value,
            floor=distance.floor,
            remark=distance.reason or "as JetNet computes it",
        )
        for name, distance in (("fpd", networks.fpd), ("kpd", networks.kpd))
    ]
    return result
