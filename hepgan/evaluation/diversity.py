"""Is the sample as diverse as its reference, and new? Similarity of images, repetitions, copies of training events.

Keys of ``diversity`` in ``metrics.json``, each with ``value`` and ``floor`` (halves of the reference; null where
there is none):

* ``similarity.<layer>`` (showers): mean MS-SSIM of pairs of images of similar energy, sample minus reference, with
  ``reference`` and ``generated``;
* ``repeats``: share of events that equal an earlier one exactly, minus that of the reference; ``duplicates``: share of
  events nearer to another one than it should be; ``copies``: share of events nearer to a training event than
  it should be (where the training events are at hand), each with ``nearer`` and ``p_value``;
* ``species_score`` (a condition with several categories): inception-style score of the sample minus that of the
  reference.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hepgan.evaluation.sample import Halves, Sample, Setup, Step, row
from hepgan.metrics import classifier_score, duplication, memorisation
from hepgan.metrics.copies import Memorisation

__all__ = ["TITLES", "diversity", "rows"]

Array = NDArray[np.float64]
Json = dict[str, Any]

LEAST_OF_A_CATEGORY = 100  # events of the reference: fewer teach a classifier nothing


def _near(found: Memorisation, floor: Memorisation | None) -> Json:
    return {
        "value": found.excess,
        "floor": floor.excess if floor else None,
        "nearer": found.nearer,
        "p_value": found.p_value,
    }


def diversity(
    reference: Sample,
    sample: Sample,
    setup: Setup,
    *,
    training: Sample | None,
    halves: Halves,
    rng: np.random.Generator,
    step: Step,
) -> Json:
    """``diversity`` of ``metrics.json``; nothing if it has to be fast.

    Args:
        reference: What is right.
        sample: What is judged.
        setup: The kind of data and settings.
        training: What the generator was trained with, if it is at hand.
        halves: Halvings of the reference.
        rng: Source of everything random.
        step: Called with the name of each step.
    """
    if setup.config.fast:
        return {}
    a, b = halves[0]
    step("diversity")
    result: Json = setup.diversity(reference, sample, halves=halves, rng=rng)
    first, second = reference.bare(), sample.bare()
    (x, u), (y, v) = ((setup.looked_at(which), which.weights) for which in (first, second))
    step("repetitions")
    within = duplication(y, x, rng=rng, reference_weights=u, sample_weights=v)
    between = duplication(x[b], x[a], rng=rng, reference_weights=u[a], sample_weights=u[b])
    (copies, error), (expected, of_expected) = within.copies, within.expected_copies
    result["repeats"] = {
        "value": (copies - expected, float(np.hypot(error, of_expected))),
        "floor": (between.copies[0] - between.expected_copies[0], between.copies[1]),
    }
    result["duplicates"] = _near(within, between)
    if training is not None:
        step("copies of training events")
        known = setup.looked_at(training)
        found = memorisation(y, x, training=known, rng=rng, sample_weights=v, test_weights=u)
        floor = memorisation(x[b], x[a], training=known, rng=rng, sample_weights=u[b], test_weights=u[a])
        result["copies"] = _near(found, floor)
    result |= _species(first, second, setup, halves=halves, rng=rng, step=step)
    return result


def _species(
    reference: Sample,
    sample: Sample,
    setup: Setup,
    *,
    halves: Halves,
    rng: np.random.Generator,
    step: Step,
) -> Json:
    """The score of the first condition that has several categories with enough events."""
    a, b = halves[0]
    for column, condition in enumerate(setup.data.conditions):
        labels = reference.events.conditions[:, column]
        counts = np.unique(labels[a], return_counts=True)[1]
        if not condition.categories or len(counts) < 2 or counts.min() < LEAST_OF_A_CATEGORY:
            continue
        step(f"score of {condition.name}")

        def score(first: Sample, second: Sample, column: int = column) -> tuple[float, float]:
            others = [
                np.column_stack([which.features, np.delete(which.events.conditions, column, axis=1)])
                for which in (second, first)
            ]
            return classifier_score(
                *others,
                reference_species=first.events.conditions[:, column],
                rng=rng,
                reference_weights=first.weights,
                sample_weights=second.weights,
            ).difference

        return {
            "species_score": {"value": score(reference, sample), "floor": score(reference[a], reference[b])}
        }
    return {}


TITLES: dict[str, tuple[str, str]] = {
    "repeats": ("Share of exact repetitions", "beyond those of the reference"),
    "duplicates": ("Share of near repetitions", "nearer to another event than 99 % of the reference"),
    "copies": ("Share of copies of training events", "nearer to one than 99 % of the reference"),
    "species_score": ("Inception-style score of the species", "less that of the reference"),
}


def rows(metrics: Json) -> list[Json]:
    """Rows of the verdict, for information."""
    numbers = metrics["diversity"]
    found = [
        row(
            key,
            title,
            section="diversity",
            value=numbers[key]["value"],
            floor=numbers[key]["floor"],
            percent=key != "species_score",
            remark=remark,
        )
        for key, (title, remark) in TITLES.items()
        if key in numbers
    ]
    similar = {
        name: entry for name, entry in numbers.get("similarity", {}).items() if entry["value"] is not None
    }
    if similar:
        worst = max(similar, key=lambda name: abs(similar[name]["value"][0]))
        found.append(
            row(
                "similarity_worst",
                "MS-SSIM of pairs, sample less reference",
                section="diversity",
                value=similar[worst]["value"],
                floor=similar[worst]["floor"],
                remark=f"{worst}; positive: less diverse",
            )
        )
    return found
