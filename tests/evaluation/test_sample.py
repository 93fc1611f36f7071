"""What all kinds of data share: lights, weights off the atoms."""

import numpy as np
import pytest

from hepgan.data.events import Events
from hepgan.evaluation.sample import MIN_CONTINUOUS, Sample, judge, row
from hepgan.metrics.moments import effective_size


@pytest.mark.parametrize(
    ("bias", "verdict"),
    [
        ((0.02, 0.0), "pass"),
        ((-0.03, 0.02), "pass"),
        ((0.05, 0.001), "warn"),
        ((-0.07, 0.001), "fail"),
        ((0.07, 0.03), "warn"),  # could be statistics
        (None, "warn"),
    ],
)
def test_judge(bias, verdict):
    assert judge(bias, 0.03) == verdict


@pytest.mark.parametrize(
    ("auc", "verdict"),
    [((0.49, 0.01), "pass"), ((0.6, 0.01), "pass"), ((0.65, 0.01), "warn"), ((0.75, 0.01), "fail")],
)
def test_areas_are_judged_by_their_distance_to_one_half(auc, verdict):
    assert judge(auc, 0.6, ideal=0.5) == verdict


def test_rows_without_a_limit_are_for_information():
    numbers = {"section": "ks", "value": (0.5, 0.1), "floor": None}
    assert row("a", "A", **numbers)["verdict"] == "info"
    assert row("a", "A", **numbers, limit=0.1)["verdict"] == "fail"


def test_effective_events():
    assert effective_size(np.ones(7)) == pytest.approx(7)
    assert effective_size(np.array([2.0, 2.0, 0.0])) == pytest.approx(2)
    assert effective_size(np.array([1.0, -1.0])) == 0
    assert effective_size(np.zeros(3)) == 0


def test_atoms_have_no_weight_unless_they_are_nearly_all():
    def observed(n_free):
        values = np.full((200, 1), -999.0)
        values[:n_free] = 1.0
        events = Events(np.ones((200, 1), np.float32), (values,), np.full(200, 2, np.float32))
        return Sample("tracks", events, values, values == -999).observed(0)[1]

    assert observed(100).tolist() == [2.0] * 100 + [0.0] * 100
    assert (observed(MIN_CONTINUOUS - 1) == 2).all()
