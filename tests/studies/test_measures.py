"""Collapses that the benchmark notices."""

import numpy as np
import pytest

from hepgan import config, toys
from hepgan.data.events import Events
from hepgan.studies.measures import Features, measure
from hepgan.studies.work import WORK, Work


@pytest.mark.parametrize(("kept", "failure"), [(8, ""), (5, ""), (3, "collapsed"), (1, "collapsed")])
def test_a_sample_of_few_modes_has_collapsed(kept, failure):
    work, rng = WORK["ring"], np.random.default_rng(3)
    recipe = config.parse({"data": {"files": ["x.root"], **work.data}})

    def events(modes):
        points = toys.ring(3000, rng=rng)
        chosen = points["mode"] < modes
        targets = np.column_stack([points["x"], points["y"]])[chosen]
        ones = np.ones((len(targets), 1), np.float32)
        return Events(ones, (targets,), ones[:, 0])

    features = Features(recipe, reference := events(8))
    modes = {"centres": work.centres, "radius": work.radius}
    measured = measure(features, events(kept), reference, rng=rng, **modes)
    assert measured.failure == failure
    assert measured.numbers["modes"][0] == kept


@pytest.mark.parametrize(("factor", "failure"), [(1.0, ""), (0.5, ""), (0.1, "collapsed")])
def test_a_sample_that_only_follows_its_conditions_has_collapsed(factor, failure):
    """The spread over all conditions is nearly that of the data."""
    work = Work(
        {"conditions": [{"name": "p", "transform": "linear"}], "targets": [{"name": "a"}, {"name": "b"}]}
    )
    recipe, rng = config.parse({"data": {"files": ["x.root"], **work.data}}), np.random.default_rng(4)

    def events(factor):
        p, noise = rng.standard_normal((1000, 1)), rng.standard_normal((1000, 2))
        targets = np.hstack([3 * p, p]) + noise * [factor, 1]
        return Events(p.astype(np.float32), (targets.astype(np.float32),), np.ones(1000, np.float32))

    features = Features(recipe, reference := events(1.0))
    assert measure(features, events(factor), reference, rng=rng).failure == failure
