"""What is quoted in papers: CaloChallenge's classifier networks and physics distances on its own observables.

Keys of ``networks`` in ``metrics.json``: ``low`` (the network sees the cells) and ``high`` (it sees the challenge's
observables) with ``auc``, ``auc_floor``, ``jsd``, ``jsd_floor``; ``fpd`` and ``kpd`` of these observables, in the way
that JetNet computes them, with ``value`` and ``floor``. Floors are those of halves of the reference.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hepgan.evaluation.published import peers
from hepgan.evaluation.sample import Halves, Sample, Setup, Step, row
from hepgan.evaluation.showers import ShowerSetup
from hepgan.geometry import energy_factor
from hepgan.metrics import frechet_physics_distance, kernel_physics_distance, network_test
from hepgan.transforms.shower_shapes import challenge_high_level, challenge_low_level

__all__ = ["cells_of", "networks", "rows", "with_peers"]

Json = dict[str, Any]

UNIT = "MeV"  # of the challenge: its observables hold logarithms of energies
_CHUNK = 5000  # showers at once


def _inputs(sample: Sample, setup: ShowerSetup) -> dict[str, NDArray[np.float32]]:
    """What each network sees of a sample, (N, F)."""
    calorimeter, threshold = setup.calorimeter, setup.config.threshold
    factor = energy_factor(calorimeter.unit, UNIT)
    energy = torch.from_numpy(setup.energy(sample)).float() * energy_factor(setup.energy_unit, UNIT)
    cells = torch.from_numpy(sample.events.cells)
    parts: dict[str, list[torch.Tensor]] = {"low": [], "high": []}
    for start in range(0, len(sample), _CHUNK):
        part, e = cells[start : start + _CHUNK] * factor, energy[start : start + _CHUNK]
        parts["low"].append(challenge_low_level(part, e, threshold=factor * threshold))
        parts["high"].append(challenge_high_level(part, e, calorimeter, threshold=factor * threshold))
    return {name: torch.cat(tensors).numpy() for name, tensors in parts.items()}


def cells_of(setup: Setup) -> ShowerSetup:
    """The setup, if it is one of showers.

    Raises:
        ValueError: If it is not.
    """
    if not isinstance(setup, ShowerSetup):
        raise ValueError(
            f"evaluation.networks: expected showers, got {setup.what}; CaloChallenge's networks see cells: leave it out"
        )
    return setup


def networks(
    reference: Sample, sample: Sample, setup: Setup, *, halves: Halves, rng: np.random.Generator, step: Step
) -> Json:
    """``networks`` of ``metrics.json``.

    Args:
        reference: What is right.
        sample: What is judged.
        setup: The kind of data and settings; showers.
        halves: Halvings of the reference.
        rng: Source of everything random.
        step: Called with the name of each step.

    Raises:
        ValueError: If these are no showers.
    """
    setup = cells_of(setup)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    first, second = _inputs(reference, setup), _inputs(sample, setup)
    (a, b), u, v = halves[0], reference.weights, sample.weights
    result: Json = {}
    for name in first:
        found = []
        for what, x, y, wx, wy, paired in (
            ("", first[name], second[name], u, v, setup.paired),
            (", floor", first[name][a], first[name][b], u[a], u[b], False),
        ):

            def said(words: str, prefix: str = f"network ({name}{what})") -> None:
                step(f"{prefix}: {words}")

            found.append(
                network_test(
                    y,
                    x,
                    rng=rng,
                    reference_weights=wx,
                    sample_weights=wy,
                    paired=paired,
                    device=device,
                    step=said,
                )
            )
        value, floor = found
        result[name] = {"auc": value.auc, "auc_floor": floor.auc, "jsd": value.jsd, "jsd_floor": floor.jsd}
    for name, distance in (("fpd", frechet_physics_distance), ("kpd", kernel_physics_distance)):
        step(f"{name} of the challenge's observables")
        x, y = first["high"].astype(np.float64), second["high"].astype(np.float64)
        try:
            numbers = {
                "value": distance(y, x, rng=rng, reference_weights=u, sample_weights=v).jetnet,
                "floor": distance(x[b], x[a], rng=rng, reference_weights=u[a], sample_weights=u[b]).jetnet,
            }
        except ValueError as error:  # negative weights
            result[name] = {"value": None, "floor": None, "reason": str(error)}
        else:
            result[name] = numbers
    return result


def rows(networks: Json) -> list[Json]:
    """Rows of the verdict, for information."""
    found = [
        row(
            f"network_auc_{name}",
            f"AUC of CaloChallenge's network, {words}",
            section="networks",
            value=networks[name]["auc"],
            floor=networks[name]["auc_floor"],
        )
        for name, words in (("low", "cells"), ("high", "its observables"))
    ]
    found += [
        row(
            f"challenge_{name}",
            f"{name.upper()} of the challenge's observables",
            section="networks",
            value=networks[name]["value"],
            floor=networks[name]["floor"],
            remark=networks[name].get("reason", "as JetNet computes it"),
        )
        for name in ("fpd", "kpd")
    ]
    return found


_COMPARABLE = {
    "classifier_auc": ("auc_high", "auc_low"),
    "network_auc_low": ("auc_low",),
    "network_auc_high": ("auc_high",),
    "challenge_fpd": ("fpd",),
}
"""Which published numbers stand beside which row."""


def with_peers(verdict: list[Json], setup: Setup) -> list[Json]:
    """The rows with the published numbers of generators for the same cells."""
    if not isinstance(setup, ShowerSetup):
        return verdict
    result = []
    for line in verdict:
        metrics: Any = _COMPARABLE.get(line["key"], ())
        known = [peer.as_dict() for metric in metrics for peer in peers(setup.calorimeter, metric=metric)]
        result.append({**line, "peers": known} if known else line)
    return result
