"""Samples: effective events, and weights off the atoms."""

import numpy as np
import pytest

from hepgan.data.events import Events
from hepgan.evaluation.sample import MIN_CONTINUOUS, Sample
from hepgan.metrics.moments import effective_size


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
