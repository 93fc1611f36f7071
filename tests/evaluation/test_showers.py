import numpy as np
import pytest

from hepgan.config import EvaluationConfig
from hepgan.data.events import Events
from hepgan.data.reading import read
from hepgan.evaluation.cells import rings
from hepgan.evaluation.measuring import measure
from hepgan.evaluation.showers import ShowerSetup
from hepgan.geometry import Calorimeter
from hepgan.metrics.classifier import BOOSTING
from hepgan.transforms.shower_shapes import ShowerShapes

CONFIG = EvaluationConfig(folds=2, energy_bins=4, bins=20, fast=True)


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Fewer trees: what is looked for here is plain to see."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BOOSTING, "max_iter", 40)
        yield


@pytest.fixture(scope="module")
def halves(sample_config):
    """Two samples of the same distribution: what a perfect generator would give."""
    events = read(sample_config.model_copy(update={"max_events": 2400}))
    return events[:1200], events[1200:]


@pytest.fixture(scope="module")
def setup(sample_config):
    calorimeter = sample_config.calorimeter.calorimeter()
    return ShowerSetup(sample_config, CONFIG, False, calorimeter, ShowerShapes(calorimeter, n_overflow=3))


@pytest.fixture(scope="module")
def compared(setup):
    def run(sample: Events, reference: Events):
        samples = [
            setup.sample(name, events) for name, events in (("sample", sample), ("reference", reference))
        ]
        return measure(*samples, setup, seed=3, step=lambda _: None).metrics

    return run


@pytest.fixture(scope="module")
def perfect(compared, halves):
    reference, sample = halves
    return compared(sample, reference)


def changed(events, *, cells=None, weights=None, overflow=None):
    return Events(
        events.conditions,
        (
            events.cells if cells is None else cells.astype(np.float32),
            events.overflow if overflow is None else overflow.astype(np.float32),
        ),
        events.weights if weights is None else weights.astype(np.float32),
    )


def test_perfect_generator_is_at_the_floor(perfect, setup):
    assert list(perfect.features) == setup.shapes.names
    for name, numbers in perfect.features.items():
        floor, scatter = numbers.separation_floor
        # the floor comes from half the showers, and is thus about twice as high
        assert numbers.separation.value < floor + 4 * scatter + 4 * numbers.separation.uncertainty, name
        assert numbers.wasserstein_sigma.value < 0.2, name
    auc, uncertainty = perfect.classifier.auc
    assert auc == pytest.approx(0.5, abs=4 * uncertainty)
    assert uncertainty < 0.02
    single = np.array(list(perfect.classifier.single.values()))
    assert (np.abs(single[:, 0] - 0.5) < 4.5 * single[:, 1] + 1e-6).all()
    assert {row.verdict for row in perfect.rows[:7]} <= {"pass", "warn"}
    bias, error = perfect.closure.response.worst
    assert abs(bias) < 4 * error
    assert abs(bias) < setup.config.limits["response"]


def test_energy_scale_of_two_percent_is_seen(compared, halves):
    reference, sample = halves
    metrics = compared(changed(sample, cells=1.02 * sample.cells, overflow=1.02 * sample.overflow), reference)
    bias, error = metrics.closure.response.worst
    assert bias == pytest.approx(0.02, abs=0.002)
    assert bias > 10 * error
    assert metrics.features["response"].wasserstein.value == pytest.approx(0.02, rel=0.05)
    assert metrics.features["response"].separation.value > 0.9
    assert metrics.classifier.auc.value > 0.99
    assert max(metrics.classifier.single.items(), key=lambda item: item[1])[0] == "response"
    assert metrics.rows[0].verdict == "pass"  # within the three percent that are asked for


def test_one_cell_scaled_is_seen(compared, halves):
    reference, sample = halves
    cells = sample.cells.copy()
    brightest = cells.mean(axis=0).argmax()
    cells[:, brightest] *= 1.2
    metrics = compared(changed(sample, cells=cells), reference)
    assert metrics.classifier.auc.value > 0.95


def test_dead_cells_fail_the_occupancy(compared, halves, setup):
    reference, sample = halves
    cells = sample.cells.copy()
    cells[:, setup.calorimeter.slices()[1]][:, ::3] = 0
    metrics = compared(changed(sample, cells=cells), reference)
    rows = {row.metric: row for row in metrics.rows}
    assert rows["Mean occupancy bias, layer_1"].verdict == "fail"
    assert rows["Mean occupancy bias, layer_0"].verdict == "pass"
    assert metrics.closure.occupancy["layer_1"].bias.value < -0.2
    assert metrics.headline["occupancy_bias_layer_1"] == metrics.closure.occupancy["layer_1"].bias


def test_weights_repair_a_wrong_spectrum(compared, halves):
    reference, sample = halves
    energy = sample.conditions[:, 0]
    kept = sample[np.random.default_rng(1).uniform(size=len(sample)) < np.where(energy < 8, 1.0, 0.4)]
    wrong = compared(kept, reference)
    weights = np.where(kept.conditions[:, 0] < 8, 1.0, 2.5)
    repaired = compared(changed(kept, weights=weights), reference)
    assert repaired.conditions["incident_energy"].wasserstein_sigma.value < 0.1
    assert wrong.conditions["incident_energy"].wasserstein_sigma.value > 0.15
    assert abs(repaired.closure.fractions["layer_0"].bias.value) < 0.05
    assert wrong.closure.fractions["layer_0"].bias.value > 0.05


def test_independent_cells_and_a_narrow_shower_are_seen(compared, halves, perfect, setup):
    reference, sample = halves
    rng = np.random.default_rng(2)
    place = setup.calorimeter.slices()[1]
    cells = sample.cells.copy()
    order = np.argsort(sample.conditions[:, 0], kind="stable")
    for cell in range(place.start, place.stop):  # from another shower of nearly the same energy, cell by cell
        donors = np.clip(np.arange(len(order)) + rng.integers(-5, 6, len(order)), 0, len(order) - 1)
        cells[order, cell] = sample.cells[order[donors], cell]
    radii = np.hypot(*setup.calorimeter.cell_centres[:288, :2].T)
    cells[:, :288] *= np.where(radii < 10, 1.1, 0.7)
    closure = compared(changed(sample, cells=cells), reference).closure

    def excess(value, floor):
        return (abs(value.value) - floor.value) / np.hypot(value.uncertainty, floor.uncertainty)

    along = closure.correlations["layer_1"].x
    expected, got = along.reference[0], along.sample[0]
    assert expected.value > 0.05 + 4 * expected.uncertainty
    assert expected.value - got.value > 4 * np.hypot(expected.uncertainty, got.uncertainty)
    lateral = closure.profiles.lateral["layer_0"]
    assert excess(lateral.worst, lateral.worst_floor) > 4
    assert lateral.bias[0].value == pytest.approx(0.1, abs=0.06)
    assert lateral.bias[3].value == pytest.approx(-0.3, abs=0.1)
    spectrum = closure.spectrum["layer_0"]
    assert excess(spectrum.separation, spectrum.separation_floor) > 4
    spectrum, coefficients = perfect.closure.spectrum["layer_0"], perfect.closure.correlations["layer_1"]
    assert excess(spectrum.separation, spectrum.separation_floor) < 4
    assert excess(coefficients.difference, coefficients.difference_floor) < 4
    rows = {row.metric: row for row in perfect.rows}
    for metric, section in (
        ("Longitudinal profile", "profiles"),
        ("Lateral profile", "profiles"),
        ("Cell spectrum", "cells"),
        ("Cell correlations, worst layer", "correlations"),
    ):
        assert rows[metric].limit is None
        assert rows[metric].section == section
        assert rows[metric].floor.value > 0
        assert abs(rows[metric].value) < 4 * rows[metric].floor.value
    observables = perfect.closure.observables
    assert observables.difference.value < 1.2 * observables.difference_floor.value


def test_weight_two_is_a_shower_twice(setup, halves):
    reference, sample = (events[:300] for events in halves)
    twice = np.arange(300) < 100
    weighted = changed(sample, weights=np.where(twice, 2.0, 1.0))
    doubled = sample[np.concatenate([np.arange(300), np.flatnonzero(twice)])]
    results = []
    for events in (weighted, doubled):
        samples = [setup.sample("b", events), setup.sample("a", reference)]
        rng = np.random.default_rng(4)
        results.append(setup.closure(*samples, halves=[np.array_split(rng.permutation(300), 2)], rng=rng))
    for number in (
        lambda closure: closure.profiles.longitudinal.worst,
        lambda closure: closure.profiles.lateral["layer_1"].worst,
        lambda closure: closure.spectrum["layer_0"].separation,
        lambda closure: closure.correlations["layer_1"].difference,
        lambda closure: closure.observables.difference,
        lambda closure: closure.response.worst,
    ):
        first, second = (number(closure).value for closure in results)
        assert first == pytest.approx(second, rel=1e-3)


def test_rings_of_polar_and_cartesian_layers():
    polar = Calorimeter.from_dicts(
        [{"shape": (4, 3), "x": (-np.pi, np.pi), "y": (0, 5, 10, 30), "z": (0, 1), "coordinates": "polar"}]
    ).layers[0]
    around = rings(polar)
    assert around.edges.tolist() == [0, 5, 10, 30]
    assert around.areas == pytest.approx(np.pi * np.array([25, 75, 800]))
    assert around.number.tolist() == [0, 1, 2] * 4
    square = Calorimeter.from_dicts([{"shape": (4, 2), "x": (-20, 20), "y": (-20, 20), "z": (0, 1)}]).layers[
        0
    ]
    assert rings(square).areas.sum() == pytest.approx(1600)
    assert (rings(square).areas > 0).all()


def test_energy_resolution_is_fitted_at_the_right_energies(setup):
    rng = np.random.default_rng(8)
    n = 60000
    energy = np.exp(rng.uniform(0, np.log(64), n))
    response = 1 + rng.normal(size=n) * np.hypot(0.1 / np.sqrt(energy), 0.01)
    cells = np.zeros((n, 504), np.float32)
    cells[:, 300] = 1000 * energy * response
    showers = Events(
        energy[:, None].astype(np.float32), (cells, np.zeros((n, 3), np.float32)), np.ones(n, np.float32)
    )
    sample = setup.sample("toy", showers)
    few = ShowerSetup(
        setup.data, CONFIG.model_copy(update={"energy_bins": 3}), False, setup.calorimeter, setup.shapes
    )
    closure = few.closure(sample, sample, halves=[np.array_split(rng.permutation(n), 2)], rng=rng)
    fit = closure.resolution.fit.reference
    assert fit.stochastic[0] == pytest.approx(0.1, abs=3 * fit.stochastic[1])
    assert fit.stochastic[1] < 0.001
    assert fit.constant[0] == pytest.approx(0.01, abs=3 * fit.constant[1])


def test_dead_layer_is_defined(compared, halves, setup):
    layer = setup.calorimeter.slices()[2]
    dead = [changed(events, cells=events.cells * (np.arange(504) < layer.start)) for events in halves]
    metrics = compared(dead[1][:120], dead[0][:120])
    assert metrics.closure.occupancy["layer_2"].bias == (0.0, 0.0)
    assert metrics.features["energy_layer_2"].separation.value == 0
    assert metrics.features["energy_layer_2"].wasserstein_sigma is None
    alive = compared(halves[1][:120], dead[0][:120])  # energy where the reference has none
    assert alive.closure.occupancy["layer_2"].bias is None
    (row,) = (row for row in alive.rows if row.key == "occupancy_bias_layer_2")
    assert (row.value, row.verdict) == (None, "warn")
    assert "occupancy_bias_layer_2" not in alive.headline


def test_the_classifier_may_have_a_limit(halves, setup):
    reference, sample = halves
    limits = {"classifier_auc": 0.6, "response": 0.015, "occupancy_bias_layer_0": 0.5}
    config = EvaluationConfig(**{**CONFIG.model_dump(), "limits": limits})
    strict = ShowerSetup(setup.data, config, False, setup.calorimeter, setup.shapes)
    hot = changed(sample[:400], cells=1.02 * sample[:400].cells, overflow=1.02 * sample[:400].overflow)
    samples = (strict.sample("sample", hot), strict.sample("reference", reference[:400]))
    rows = {row.key: row for row in measure(*samples, strict, seed=3, step=lambda _: None).metrics.rows}
    assert (rows["classifier_auc"].limit, rows["classifier_auc"].verdict) == (0.6, "fail")
    assert (rows["response_bias_worst"].limit, rows["response_bias_worst"].verdict) == (0.015, "warn")
    assert rows["occupancy_bias_layer_0"].limit == 0.5
    assert rows["occupancy_bias_layer_1"].limit == 0.10
    assert {peer.model for peer in rows["classifier_auc"].peers} >= {"CaloGAN"}


def test_samples_that_do_not_fit(setup, halves):
    reference, _ = halves
    fewer = Events(reference.conditions, (reference.cells[:, :-1], reference.overflow), reference.weights)
    with pytest.raises(
        ValueError, match="fast: expected 504 cells and 3 overflow numbers a shower, got 503 and 3"
    ):
        setup.sample("fast", fewer)
    with pytest.raises(ValueError, match="fast: expected at least one shower, got none"):
        setup.sample("fast", reference[:0])
    low, high = (
        reference[keep] for keep in (reference.conditions[:, 0] < 5, reference.conditions[:, 0] > 20)
    )
    with pytest.raises(ValueError, match="incident energy: no bin holds 10 showers of both samples"):
        measure(setup.sample("b", high), setup.sample("a", low), setup, seed=1, step=lambda _: None)


def test_an_energy_bin_in_which_all_generated_showers_are_empty_has_no_resolution(compared, halves, setup):
    reference, sample = halves
    low = setup.energy(setup.sample("sample", sample)) < 1.1 * np.quantile(reference.conditions[:, 0], 0.25)
    alive = ~low[:, None]
    closure = compared(
        changed(sample, cells=sample.cells * alive, overflow=sample.overflow * alive), reference
    ).closure
    first, *others = closure.resolution.sample
    assert first is None
    assert closure.resolution.bias[0] is None
    assert None not in others
    assert closure.response.bias[0].value == -1
    assert closure.resolution.worst is not None
    assert closure.resolution.fit.reference is not None
