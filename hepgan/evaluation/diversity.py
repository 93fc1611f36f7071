"""Diversity and novelty of the sample: similarity of images, repetitions, copies of training events."""

from __future__ import annotations

from typing import Any

import numpy as np

from hepgan.evaluation.records import Compared
from hepgan.evaluation.results import Diversity, Nearness
from hepgan.evaluation.sample import Halves, Sample, Setup, Step
from hepgan.evaluation.verdict import Row, row
from hepgan.metrics import classifier_score, duplication, memorisation
from hepgan.metrics.copies import Memorisation
from hepgan.metrics.moments import Measurement

__all__ = ["Title", "entries", "measure_diversity", "rows"]

LEAST_OF_A_CATEGORY = 100  # events of the reference; fewer are not enough to train a classifier


def _nearness(sample: Memorisation, floor: Memorisation) -> Nearness:
    return Nearness(value=sample.excess, floor=floor.excess, nearer=sample.nearer, p_value=sample.p_value)


def measure_diversity(
    sample: Sample,
    reference: Sample,
    setup: Setup[Any],
    *,
    training: Sample | None,
    halves: Halves,
    rng: np.random.Generator,
    step: Step,
) -> Diversity | None:
    """Measure similarities, repetitions and copies; None with ``evaluation.fast``.

    Args:
        sample: The sample to judge.
        reference: The sample that is right.
        setup: The kind of data and settings.
        training: Training events of the generator, if they are at hand.
        halves: Halvings of the reference.
        rng: Source of random numbers.
        step: Called with the name of each step.
    """
    if setup.config.fast:
        return None
    a, b = halves[0]
    step("diversity")
    similarity = setup.similarity(sample, reference, halves=halves, rng=rng)
    second, first = sample.without_outputs(), reference.without_outputs()
    (y, v), (x, u) = ((setup.classifier_inputs(s), s.weights) for s in (second, first))
    step("repetitions")
    within = duplication(y, x, rng=rng, sample_weights=v, reference_weights=u)
    between = duplication(x[b], x[a], rng=rng, sample_weights=u[b], reference_weights=u[a])
    (copies, error), (expected, of_expected) = within.copies, within.expected_copies
    repeats = Compared(
        value=(copies - expected, float(np.hypot(error, of_expected))),
        floor=(between.copies[0] - between.expected_copies[0], between.copies[1]),
    )
    copied = None
    if training is not None:
        step("copies of training events")
        known = setup.classifier_inputs(training)
        of_sample = memorisation(y, x, training=known, rng=rng, sample_weights=v, test_weights=u)
        floor = memorisation(x[b], x[a], training=known, rng=rng, sample_weights=u[b], test_weights=u[a])
        copied = _nearness(of_sample, floor)
    return Diversity(
        repeats=repeats,
        duplicates=_nearness(within, between),
        copies=copied,
        species_score=_species(second, first, setup, halves=halves, rng=rng, step=step),
        similarity=similarity,
    )


def _species(
    sample: Sample,
    reference: Sample,
    setup: Setup[Any],
    *,
    halves: Halves,
    rng: np.random.Generator,
    step: Step,
) -> Compared | None:
    """Score of the first condition that has several categories with enough events."""
    a, b = halves[0]
    for column, condition in enumerate(setup.data.conditions):
        counts = np.unique(reference.events.conditions[:, column][a], return_counts=True)[1]
        if not condition.categories or len(counts) < 2 or counts.min() < LEAST_OF_A_CATEGORY:
            continue
        step(f"score of {condition.name}")

        def score(second: Sample, first: Sample, column: int = column) -> Measurement:
            others = [
                np.column_stack([s.features, np.delete(s.events.conditions, column, axis=1)])
                for s in (second, first)
            ]
            return classifier_score(
                *others,
                reference_species=first.events.conditions[:, column],
                rng=rng,
                sample_weights=second.weights,
                reference_weights=first.weights,
            ).difference

        value = score(sample, reference)
        return Compared(value=value, floor=score(reference[b], reference[a]))
    return None


Title = tuple[str, str, str, bool]
"""Key of a row, title, remark, and whether the number is shown in per cent."""

_TITLES: tuple[Title, ...] = (
    ("repeats", "Share of exact repetitions", "beyond those of the reference", True),
    ("duplicates", "Share of near repetitions", "nearer to another event than 99 % of the reference", True),
    ("copies", "Share of copies of training events", "nearer to one than 99 % of the reference", True),
    ("species_score", "Inception-style score of the species", "less that of the reference", False),
)


def entries(diversity: Diversity) -> list[tuple[Title, Compared]]:
    """The numbers that were measured, without similarities, in the order of the report."""
    numbers = (diversity.repeats, diversity.duplicates, diversity.copies, diversity.species_score)
    return [(title, number) for title, number in zip(_TITLES, numbers, strict=True) if number is not None]


def rows(diversity: Diversity) -> list[Row]:
    """Make the rows of the verdict, for information."""
    result = [
        row(
            key,
            title,
            section="diversity",
            value=numbers.value,
            floor=numbers.floor,
            percent=percent,
            remark=remark,
        )
        for (key, title, remark, percent), numbers in entries(diversity)
    ]
    sizes = {name: abs(s.value.value) for name, s in diversity.similarity.items() if s.value is not None}
    if sizes:
        worst = max(sizes, key=lambda name: sizes[name])
        result.append(
            row(
                "similarity_worst",
                "MS-SSIM of pairs, sample less reference",
                section="diversity",
                value=diversity.similarity[worst].value,
                floor=diversity.similarity[worst].floor,
                remark=f"{worst}; positive: less diverse",
            )
        )
    return result
