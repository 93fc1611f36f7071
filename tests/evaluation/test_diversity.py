"""Repetitions, copies of training events and the score of species, through the setup of tracks."""

import numpy as np
import pytest

from hepgan.config import EvaluationConfig, parse
from hepgan.data.events import Events
from hepgan.evaluation.diversity import measure_diversity, rows
from hepgan.evaluation.tracks import TrackSetup
from hepgan.metrics.classifier import BOOSTING

N = 2000


@pytest.fixture(scope="module", autouse=True)
def quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BOOSTING, "max_iter", 20)
        yield


def make_setup(*, fast=False):
    conditions = [
        {"name": "P", "unit": "GeV"},
        {"name": "species", "transform": "category", "categories": {"pi": 211, "K": 321}},
    ]
    data = parse(
        {"data": {"files": ["none"], "conditions": conditions, "targets": [{"name": "a"}, {"name": "b"}]}}
    ).data
    return TrackSetup(data, EvaluationConfig(fast=fast), False)


def events(seed, *, separation=3.0):
    rng = np.random.default_rng(seed)
    species = rng.choice([211, 321], N)
    targets = rng.normal(size=(N, 2)) + separation * (species == 321)[:, None]
    conditions = np.column_stack([rng.uniform(1, 100, N), species])
    return Events(conditions.astype(np.float32), (targets.astype(np.float32),), np.ones(N, np.float32))


def measured(sample, *, training=None, fast=False):
    setup = make_setup(fast=fast)
    second, first = (setup.sample(name, e) for name, e in (("sample", sample), ("reference", events(1))))
    known = None if training is None else setup.sample("training", training)
    order = np.random.default_rng(5).permutation(N)
    return measure_diversity(
        second,
        first,
        setup,
        training=known,
        halves=[(order[: N // 2], order[N // 2 :])],
        rng=np.random.default_rng(3),
        step=lambda _: None,
    )


def with_copies(sample, source, share):
    number = int(share * N)
    conditions, targets = sample.conditions.copy(), sample.targets.copy()
    conditions[:number], targets[:number] = source.conditions[-number:], source.targets[-number:]
    return Events(conditions, (targets,), sample.weights)


def z(numbers):
    value, error = numbers.value
    return value / error


def test_an_honest_sample():
    numbers = measured(events(2), training=events(3))
    assert numbers.repeats.value.value == 0
    for part in (numbers.duplicates, numbers.copies, numbers.species_score):
        assert abs(z(part)) < 3, part
    assert numbers.similarity == {}
    assert [row.section for row in rows(numbers)] == ["diversity"] * 4
    keys = [row.key for row in rows(numbers)]
    assert keys == ["repeats", "duplicates", "copies", "species_score"]
    EvaluationConfig(limits=dict.fromkeys(keys, 1.0))  # none is refused


def test_copies_of_training_events_are_found_and_are_not_repetitions():
    training = events(3)
    numbers = measured(with_copies(events(2), training, 0.1), training=training)
    assert numbers.copies.value.value == pytest.approx(0.1, abs=3 * numbers.copies.value.uncertainty)
    assert z(numbers.copies) > 5
    assert abs(z(numbers.duplicates)) < 3


def test_repetitions_are_found_without_the_training_events():
    numbers = measured(with_copies(events(2), events(2), 0.1))
    assert numbers.copies is None
    assert numbers.repeats.value.value == pytest.approx(0.1)
    assert z(numbers.duplicates) > 5


def test_blurred_species_have_a_lower_score():
    assert z(measured(events(2, separation=1.0)).species_score) < -5


def test_fast_has_none():
    assert measured(events(2), fast=True) is None
