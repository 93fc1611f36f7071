"""Distances of whole samples on toys: a corner of a condition is found, and a row that cannot be measured says why."""

import numpy as np
import pytest

from hepgan.config import EvaluationConfig, parse
from hepgan.data.events import Events
from hepgan.evaluation import distances
from hepgan.evaluation.binned import IN_BINS, measure_in_bins
from hepgan.evaluation.distances import JOINT, measure_joint
from hepgan.evaluation.sample import Sample
from hepgan.evaluation.tracks import TrackSetup
from hepgan.metrics.classifier import BOOSTING

N = 3000


@pytest.fixture(scope="module", autouse=True)
def quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BOOSTING, "max_iter", 30)
        patch.setattr(distances, "CRITIC_STEPS", (60, 60))
        yield


def make_setup(*, fast, withheld=None):
    targets = [{"name": "a"}, {"name": "b"}]
    conditions = [{"name": "P", "unit": "GeV"}, {"name": "eta", "transform": "linear"}]
    table = {"files": ["none"], "conditions": conditions, "targets": targets, "withheld": withheld or {}}
    data = parse({"data": table}).data
    return TrackSetup(data, EvaluationConfig(folds=2, condition_bins=4, fast=fast), False)


def events(seed, *, n=N, shift=0.0, above=0.0, weights=None):
    """Two correlated observables of two conditions; `shift` moves the first where P is `above`."""
    rng = np.random.default_rng(seed)
    conditions = np.column_stack([rng.uniform(1, 100, n), rng.normal(size=n)])
    a = rng.normal(size=n) + shift * (conditions[:, 0] > above)
    targets = np.column_stack([a, 0.5 * a + rng.normal(size=n)])
    w = np.ones(n) if weights is None else weights
    return Events(conditions.astype(np.float32), (targets.astype(np.float32),), w.astype(np.float32))


def halves_of(n):
    order = np.random.default_rng(5).permutation(n)
    return [(order[: n // 2], order[n // 2 :]), (order[::2], order[1::2])]


def measured(second, first, *, fast=True, withheld=None):
    setup = make_setup(fast=fast, withheld=withheld)
    sample, reference = (setup.sample(name, e) for name, e in (("sample", second), ("reference", first)))
    halves, rng = halves_of(len(reference)), np.random.default_rng(1)
    shared = {"halves": halves, "rng": rng, "step": lambda _: None}
    a, b = halves[0]
    tests = (
        setup.classify(sample, reference, rng=rng),
        setup.classify(reference[b], reference[a], rng=rng, paired=False),
    )
    joint = measure_joint(sample, reference, setup, **shared)
    return joint, measure_in_bins(sample, reference, setup, tests=tests, **shared)


def beyond(numbers):
    """How many standard deviations a value is above its floor."""
    (value, error), (floor, of_floor) = numbers.value, numbers.floor
    return (value - floor) / np.hypot(error, of_floor)


def test_equal_samples_are_at_their_floor_and_a_shift_is_seen_by_every_distance():
    same, _ = measured(events(2), events(1), fast=False)
    moved, _ = measured(events(2, shift=0.5), events(1), fast=False)
    assert list(same) == list(moved) == list(JOINT)
    for key in JOINT:
        assert beyond(same[key]) < 3, key
        assert beyond(moved[key]) > 3, key


def test_the_fast_subset_leaves_out_what_takes_long():
    joint, bins = measured(events(2), events(1))
    assert set(joint) == {key for key, distance in JOINT.items() if not distance.thorough}
    assert set(bins["P"].distances) == {"auc"} | {key for key, m in IN_BINS.items() if not m.thorough}


def test_what_cannot_be_measured_says_why():
    weights = np.where(np.arange(N) % 10 == 0, -0.5, 1.0)
    joint, _ = measured(events(2, weights=weights), events(1), fast=False)
    assert joint["emd"].value is None
    assert "negative" in joint["emd"].reason
    assert joint["sliced_wasserstein"].value is not None
    rows = {row.key: row for row in distances.rows(joint)}
    assert rows["emd"].remark == joint["emd"].reason
    assert rows["emd"].value is rows["emd"].uncertainty is rows["emd"].floor is None
    assert rows["sliced_wasserstein"].unit == "spreads"


def test_atoms_far_away_do_not_decide_alone():
    """A sentinel counts as ten spreads."""
    first = events(1)
    setup = make_setup(fast=True)
    first.targets[:30, 0] = -1e6
    sample = setup.sample("reference", first)
    values = distances.in_spreads(sample, sample, setup)[0].values
    assert np.abs(values).max() <= distances.MOST_SPREADS


def test_samples_without_cells():
    sample = Sample("a", events(1), np.zeros((N, 1)))
    assert sample.without_outputs().events.outputs == ()
    assert len(sample.without_outputs()[np.arange(5)]) == 5
