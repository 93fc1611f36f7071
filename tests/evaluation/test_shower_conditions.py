"""Showers in bins of every condition: what does not follow position or direction is seen, with its floor."""

from dataclasses import replace

import numpy as np
import pytest

from hepgan.config import EvaluationConfig, load
from hepgan.data.reading import read
from hepgan.evaluation import bins
from hepgan.evaluation.closures import ShowerClosure
from hepgan.evaluation.shower_conditions import AXIS, Shape, in_bins_of_conditions
from hepgan.evaluation.shower_rows import condition_rows
from hepgan.evaluation.showers import ShowerSetup
from hepgan.files import PACKAGE
from hepgan.report import figures as plots
from hepgan.report.shower_conditions import condition_sections
from hepgan.transforms.shower_shapes import ShowerShapes

N = 1200


@pytest.fixture(scope="module", autouse=True)
def small_bins():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bins, "LEAST_IN_BIN", 200)
        yield


@pytest.fixture(scope="module")
def data(data_dir):
    table = load(PACKAGE / "configs" / "eplus_angle.toml").data
    files = (str(data_dir / "eplus_angle.root"),)
    return table.model_copy(update={"files": files, "test_files": (), "max_events": 2 * N})


@pytest.fixture(scope="module")
def setup(data):
    calorimeter = data.calo.calorimeter()
    shapes = ShowerShapes(calorimeter, n_overflow=3)
    return ShowerSetup(data, EvaluationConfig(condition_bins=20), False, calorimeter, shapes)


@pytest.fixture(scope="module")
def samples(data, setup):
    events = read(data)
    return tuple(setup.sample(name, part) for name, part in (("a", events[:N]), ("b", events[N:])))


@pytest.fixture(scope="module")
def measured(setup):
    order = np.random.default_rng(5).permutation(N)
    halves = [np.array_split(np.roll(order, k), 2) for k in (0, 250, 500)]

    def run(sample, reference, data=None):
        shape = Shape(setup.calorimeter, setup.names, data or setup.data)
        return in_bins_of_conditions(sample, reference, shape, halves=halves, most=20)

    return run


def stated(sample, column, factor):
    """The same showers with another value of a condition."""
    conditions = sample.events.conditions.copy()
    conditions[:, column] *= factor
    return replace(sample, events=replace(sample.events, conditions=conditions))


def test_equal_samples_agree(measured, samples):
    conditions, following = measured(*samples)
    assert list(conditions) == ["theta", "phi", "x0", "y0"]
    assert list(following) == list(AXIS)
    for numbers in conditions.values():
        assert len(numbers.response.bias) == len(numbers.bins.edges) == 6
        assert abs(numbers.response.worst.value) < 5 * numbers.response.worst.uncertainty
        for part in numbers.centre.values():
            assert abs(part.worst.value) < 4 * part.worst.uncertainty
            assert 0 < part.worst_floor.value < 4 * part.worst.uncertainty
    centre = conditions["x0"].centre["centre_x"]
    slope = np.polyfit(conditions["x0"].bins.mean, [n.value for n in centre.reference], 1)[0]
    assert slope == pytest.approx(0.6, abs=0.15)  # in layer 0 the cells are 160 mm wide along x
    for part in following.values():
        expected, found = np.array(part.bins.mean), np.array([n.value for n in part.reference])
        assert np.corrcoef(expected, found)[0, 1] > 0.99


@pytest.mark.parametrize(
    ("column", "coordinate", "least"), [(4, "centre_y", 2.0), (1, "slope_x", 10.0), (1, "slope_y", 5.0)]
)
def test_showers_that_do_not_follow_a_condition_are_seen(measured, samples, column, coordinate, least):
    """Showers that are said to be at 1.3 times the impact point, or angle, that they have."""
    sample, reference = samples
    _, following = measured(stated(sample, column, 1.3), reference)
    part = following[coordinate]
    differences = np.array(part.difference)
    assert differences[0, 0] > least  # too far to the right of where a shower at the left should be
    assert differences[-1, 0] < -least
    assert abs(part.worst.value) > 4 * part.worst.uncertainty
    assert abs(part.worst.value) > 4 * part.worst_floor.value


def test_one_layer_with_too_much_energy_is_seen_in_its_bin(measured, samples, setup):
    sample, reference = samples
    features = sample.features.copy()
    steep = sample.events.conditions[:, 1] > 0.3
    features[steep, setup.names.index("fraction_layer_1")] *= 1.2
    features[steep, setup.names.index("response")] *= 1.01
    conditions, _ = measured(replace(sample, features=features), reference)
    assert conditions["theta"].fractions["layer_1"].worst.value > 0.1
    assert conditions["theta"].response.bias[-1].value > 0.005
    assert abs(conditions["theta"].response.bias[0].value) < 0.002
    assert conditions["phi"].response.worst.value < 0.004


def test_conditions_that_do_not_move_the_shower_have_no_centre(measured, samples, data):
    energy = data.model_copy(update={"conditions": data.conditions[:1]})
    only = [
        replace(s, events=replace(s.events, conditions=s.events.conditions[:, :1].copy())) for s in samples
    ]
    assert measured(*only, energy) == ({}, {})
    rng = np.random.default_rng(3)
    unrelated = []
    for s in only:
        column = rng.normal(size=(N, 1)).astype(np.float32)
        unrelated.append(
            replace(s, events=replace(s.events, conditions=np.hstack([s.events.conditions, column])))
        )
    two = data.model_copy(update={"conditions": (data.conditions[0], data.conditions[3])})
    conditions, following = measured(*unrelated, two)
    assert list(conditions) == ["x0"]
    assert not conditions["x0"].centre
    assert not following


def test_rows_and_figures_name_the_worst_bins(setup, samples):
    sample, reference = samples
    halves = [np.array_split(np.random.default_rng(5).permutation(N), 2)]
    closure = setup.closure(stated(sample, 3, 1.5), reference, halves=halves, rng=np.random.default_rng(1))
    assert ShowerClosure.model_validate_json(closure.model_dump_json()) == closure
    rows = {row.key: row for row in condition_rows(closure)}
    assert {f"{key}_worst_{name}" for key in ("response", "fraction") for name in closure.conditions} < set(
        rows
    )
    assert rows["centre_worst"].unit == "mm"
    assert "centre_x" in rows["centre_worst"].remark
    assert abs(rows["centre_worst"].value) > 3 * rows["centre_worst"].floor.value
    names = plots.Names(sample="a", reference="b")
    sections = condition_sections(setup, closure, names=names, layers=setup.layers)
    assert [s.anchor for s in sections] == [
        "condition-theta", "condition-phi", "condition-x0", "condition-y0", "following",
    ]  # fmt: skip
    assert {row.section for row in rows.values()} == {s.anchor for s in sections}
