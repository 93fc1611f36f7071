"""Distances of whole samples on toys: a corner of a condition is found, and a row that cannot be measured says why."""

import numpy as np
import pytest

from hepgan.config import EvaluationConfig, parse
from hepgan.data.events import Events
from hepgan.evaluation import distances as comparison_joint
from hepgan.evaluation.distances import IN_BINS, JOINT, in_bins, joint
from hepgan.evaluation.sample import Sample
from hepgan.evaluation.tracks import TrackSetup
from hepgan.metrics.classifier import BOOSTING

N = 3000


@pytest.fixture(scope="module", autouse=True)
def quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BOOSTING, "max_iter", 30)
        patch.setattr(comparison_joint, "CRITIC_STEPS", (60, 60))
        yield


def make_setup(*, fast):
    targets = [{"name": "a"}, {"name": "b"}]
    conditions = [{"name": "P", "unit": "GeV"}, {"name": "eta", "transform": "linear"}]
    data = parse({"data": {"files": ["none"], "conditions": conditions, "targets": targets}}).data
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


def measured(first, second, *, fast=True):
    setup = make_setup(fast=fast)
    a, b = (setup.sample(name, e) for name, e in (("reference", first), ("sample", second)))
    halves, rng = halves_of(len(a)), np.random.default_rng(1)
    shared = {"halves": halves, "rng": rng, "step": lambda _: None}
    tests = (
        setup.classify(a, b, rng=rng),
        setup.classify(a[halves[0][0]], a[halves[0][1]], rng=rng, paired=False),
    )
    return joint(a, b, setup, **shared), in_bins(a, b, setup, tests=tests, **shared)


def beyond(numbers):
    """How many standard deviations a value is above its floor."""
    (value, error), (floor, of_floor) = numbers["value"], numbers["floor"]
    return (value - floor) / np.hypot(error, of_floor)


def test_equal_samples_are_at_their_floor_and_a_shift_is_seen_by_every_distance():
    same, _ = measured(events(1), events(2), fast=False)
    moved, _ = measured(events(1), events(2, shift=0.5), fast=False)
    assert list(same) == list(moved) == list(JOINT)
    for key in JOINT:
        assert beyond(same[key]) < 3, key
        assert beyond(moved[key]) > 3, key


def test_the_fast_subset_leaves_out_what_takes_long():
    found, bins = measured(events(1), events(2))
    assert set(found) == {key for key, distance in JOINT.items() if not distance.thorough}
    assert set(bins["P"]) == {"bins", "auc"} | {key for key, m in IN_BINS.items() if not m.thorough}


def test_a_wrong_corner_is_found_in_the_bins_of_its_condition():
    _, bins = measured(events(1), events(2, shift=1.0, above=75), fast=False)
    for key in ("auc", *IN_BINS):
        values, floors = (np.array(bins["P"][key][name]) for name in ("value", "floor"))
        assert values[:, 0].argmax() == 3, key
        assert values[3, 0] > floors[3, 0] + 3 * np.hypot(values[3, 1], floors[3, 1]), key
        assert bins["P"][key]["worst"] == tuple(values[3])
        assert bins["P"][key]["worst_at"].endswith("GeV")
    assert bins["P"]["ks"]["worst_at"].startswith("a, P 7")
    # the other condition does not depend on it: a quarter of the events is wrong in each of its bins
    areas = np.array(bins["eta"]["auc"]["value"])[:, 0]
    assert np.ptp(areas) < 0.15
    assert areas.max() < bins["P"]["auc"]["worst"][0]


def test_what_cannot_be_measured_says_why():
    weights = np.where(np.arange(N) % 10 == 0, -0.5, 1.0)
    found, _ = measured(events(1), events(2, weights=weights), fast=False)
    assert found["emd"]["value"] is None
    assert "negative" in found["emd"]["reason"]
    assert found["sliced_wasserstein"]["value"] is not None
    rows = comparison_joint.rows({"joint": found, "in_bins": {}})
    assert {row["key"]: row["remark"] for row in rows}["emd"] == found["emd"]["reason"]


def test_atoms_far_away_do_not_decide_alone():
    """A sentinel counts as ten spreads."""
    first = events(1)
    setup = make_setup(fast=True)
    first.targets[:30, 0] = -1e6
    sample = setup.sample("reference", first)
    values = comparison_joint._points(sample, sample, setup)[0].values
    assert np.abs(values).max() <= comparison_joint.MOST_SPREADS


def test_samples_without_cells():
    sample = Sample("a", events(1), np.zeros((N, 1)))
    assert sample.bare().events.outputs == ()
    assert len(sample.bare()[np.arange(5)]) == 5
