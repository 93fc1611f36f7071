import json
from types import SimpleNamespace

import numpy as np
import pytest

from hepgan.config import EvaluationConfig, parse
from hepgan.data.events import Events
from hepgan.data.reading import read
from hepgan.errors import ConfigError, DataError, ReportError
from hepgan.evaluation.results import read_results
from hepgan.inference.metadata import Condition
from hepgan.metrics.classifier import BOOSTING
from hepgan.report import showers as shower_figures
from hepgan.report import writing
from hepgan.report.writing import compare_events, evaluate_events

CONFIG = EvaluationConfig(folds=2, energy_bins=3, bins=20, max_events=400, fast=True)


@pytest.fixture(scope="module")
def showers(sample_config):
    return read(sample_config.model_copy(update={"max_events": 1000}))


def trained_on(low, high):
    return Condition(name="incident_energy", unit="GeV", transform="log", range=(low, high))


class StandIn:
    """Looks like an exported model; generates by scaling real showers of nearby energy."""

    def __init__(self, pool, data, path):
        self.pool = pool
        self.data = data
        self.path = path
        self.calorimeter = data.calorimeter.calorimeter()
        self.n_overflow = 3
        self.conditions = [trained_on(0.5, 70.0)]
        self.metadata = SimpleNamespace(provenance={"step": 1234, "hepgan": "0.1.0"})
        self.asked = SimpleNamespace(conditions=None, seed=None)

    def sample(self, condition, *, seed):
        self.asked = SimpleNamespace(conditions=condition, seed=seed)
        nearest = np.abs(np.log(condition[:, :1]) - np.log(self.pool.conditions[:, 0])).argmin(axis=1)
        scale = condition / self.pool.conditions[nearest]
        return self.pool.cells[nearest] * scale, self.pool.overflow[nearest] * scale


@pytest.fixture(scope="module")
def make_model(showers, sample_config, tmp_path_factory):
    def make():
        return StandIn(showers[400:], sample_config, tmp_path_factory.mktemp("first-run") / "model.onnx")

    return make


@pytest.fixture(scope="module", autouse=True)
def quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BOOSTING, "max_iter", 40)
        yield


@pytest.fixture
def without_figures(monkeypatch):
    monkeypatch.setattr(writing, "draw", lambda *_, **__: [])


def test_evaluate_writes_numbers_and_page(make_model, showers, tmp_path, capsys):
    model = make_model()
    lines = [json.dumps({"step": k, "wasserstein": 3 / (k + 1), "distance": 0.2}) for k in range(5)]
    killed_while_writing = '{"step": 5, "wass'
    (model.path.parent / "metrics.jsonl").write_text("\n".join([*lines, killed_while_writing]))
    out = tmp_path / "report"
    settings = {"config": CONFIG, "seed": 7, "provenance": {"data_sha256": "abc"}}
    results = evaluate_events(model, showers[:400], out=out, **settings)

    assert read_results(out / "metrics.json") == results.model_copy(update={"report": None})
    assert results.report == out / "report.html"
    assert sorted(p.name for p in out.iterdir()) == ["metrics.json", "report.html"]
    assert json.loads((out / "metrics.json").read_text())["schema"] == 3
    assert results.samples.paired
    assert results.samples.sample.events == results.samples.reference.events == 400
    assert results.conditions == {}  # equal by construction
    assert results.provenance.model.step == 1234
    assert results.provenance.model_extra["data_sha256"] == "abc"
    assert results.provenance.evaluation.seed == model.asked.seed == 7
    assert np.array_equal(model.asked.conditions, showers[:400].conditions)
    assert abs(results.closure.response.worst.value) < 0.01
    assert abs(results.closure.fractions["layer_1"].bias.value) < 0.1
    assert (
        results.headline["classifier_auc"] == results.classifier.auc == results["classifier_auc"].measurement
    )

    page = (out / "report.html").read_text()
    assert "first-run" in page
    assert "fit of a / √E ⊕ b (reference a = (" in page
    anchors = {"response", "fractions", "occupancy", "images", "classifier", "single", "shapes-2", "training"}
    assert all(f'id="{anchor}"' in page for anchor in anchors)
    assert all(f'id="{row.section}"' in page for row in results.rows)
    assert len(page) < 5e6
    assert capsys.readouterr().out == ""  # progress goes to the standard error


@pytest.mark.usefixtures("without_figures")
def test_numbers_are_reproducible(make_model, showers, tmp_path):
    model = make_model()
    first, second, other = (
        evaluate_events(model, showers[:100], config=CONFIG, out=tmp_path, progress=False, seed=seed)
        for seed in (1, 1, 2)
    )
    assert first.features == second.features
    assert first.classifier == second.classifier != other.classifier


@pytest.mark.usefixtures("without_figures")
def test_showers_outside_the_trained_range_are_left_out(make_model, showers, tmp_path, caplog):
    model = make_model()
    model.conditions[0] = trained_on(5.0, 30.0)
    results = evaluate_events(model, showers[:300], config=CONFIG, out=tmp_path / "out", progress=False)
    energy = showers[:300].conditions[:, 0]
    outside = int(((energy < 5) | (energy > 30)).sum())
    assert results.samples.outside_range == outside > 0
    assert f"{outside} of 300 reference showers lie outside the trained range" in caplog.text
    assert results.samples.conditions[0].range[0] >= 5
    model.conditions[0] = trained_on(500.0, 900.0)
    with pytest.raises(ValueError, match="none of 300 showers lies in the trained range of the conditions"):
        evaluate_events(model, showers[:300], config=CONFIG, out=tmp_path / "none", progress=False)
    assert not (tmp_path / "none").exists()


def test_reference_with_other_conditions(make_model, showers, tmp_path):
    model = make_model()
    model.conditions.append(trained_on(0.0, 1.0))
    with pytest.raises(ValueError, match=r"expected 2 condition\(s\), as the model, got 1"):
        evaluate_events(model, showers[:50], config=CONFIG, out=tmp_path / "out", progress=False)


@pytest.mark.usefixtures("without_figures")
def test_compare_two_files_with_weights(showers, sample_config, tmp_path):
    second = showers[500:]
    noisy = Events(
        second.conditions, (second.cells * (second.cells > 1.0), second.overflow), second.weights * 2
    )
    results = compare_events(
        noisy,
        showers[:500],
        data=sample_config,
        config=CONFIG,
        out=tmp_path,
        names=("fast & <cut>", "full"),
        progress=False,
    )
    assert not results.samples.paired
    assert results.samples.sample.name == "fast & <cut>"
    assert results.samples.sample.events == 400  # config.max_events
    assert results.samples.sample.effective_events == pytest.approx(400)
    assert results.conditions["incident_energy"].unit == "GeV"
    assert results.closure.occupancy["layer_0"].bias.value < -0.2
    assert results["occupancy_bias_layer_0"].verdict == "fail"
    page = (tmp_path / "report.html").read_text()
    assert "fast &amp; &lt;cut&gt; against full" in page
    assert "not good enough" in page


@pytest.mark.usefixtures("without_figures")
def test_weights_of_either_sign(make_model, showers, tmp_path):
    reference = showers[:200]
    signs = np.where(np.arange(200) % 10 == 0, -0.5, 1.0).astype(np.float32)
    signed = Events(reference.conditions, reference.outputs, signs)
    results = evaluate_events(make_model(), signed, config=CONFIG, out=tmp_path, progress=False)
    auc, uncertainty = results.classifier.auc
    assert 0.4 < auc < 1 + 3 * uncertainty
    mean = np.average(reference.cells.sum(1), weights=signs)
    layers = [results.features[f"energy_layer_{k}"].mean.reference.value for k in range(3)]
    assert sum(layers) == pytest.approx(mean, rel=1e-4)


def test_compare_without_overflow_and_many_layers(tmp_path, monkeypatch):
    monkeypatch.setattr(shower_figures, "MAX_LAYERS_DRAWN", 1)
    layers = [{"shape": [2, 2], "x": [-1, 1], "y": [-1, 1], "z": [k, k + 1]} for k in range(3)]
    data = parse(
        {
            "data": {
                "files": ["none.root"],
                "conditions": [{"name": "incident_energy", "unit": "MeV"}],
                "calorimeter": {"branches": [f"l{k}" for k in range(3)], "layers": layers},
            }
        }
    ).data
    rng = np.random.default_rng(2)
    energy = np.repeat([[16.0], [64.0]], 100, axis=0).astype(np.float32)  # discrete energies

    def sample():
        cells = rng.dirichlet(np.ones(12), 200).astype(np.float32) * energy
        return Events(energy, (cells, np.zeros((200, 0), np.float32)), np.ones(200, np.float32))

    results = compare_events(sample(), sample(), data=data, config=CONFIG, out=tmp_path, progress=False)
    assert results.closure.energy.mean == [16.0, 64.0]
    assert results.closure.response.reference[0] == (pytest.approx(1), pytest.approx(0, abs=1e-6))
    assert len(results.closure.fractions) == 3
    assert "the 1 of 3 layers with most energy" in (tmp_path / "report.html").read_text()


def test_numbers_are_kept_when_the_report_cannot_be_drawn(make_model, showers, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no figure today")

    monkeypatch.setattr(writing, "draw", broken)
    (tmp_path / "report.html").write_text("of an earlier evaluation")
    with pytest.raises(ReportError, match=r"no figure today.*the numbers are in") as caught:
        evaluate_events(make_model(), showers[:100], config=CONFIG, out=tmp_path, progress=False)
    assert read_results(tmp_path / "metrics.json")["classifier_auc"].value > 0
    assert not (tmp_path / "report.html").exists()  # it would not belong to these numbers
    assert str(tmp_path / "metrics.json") in str(caught.value)


def test_numbers_are_kept_when_there_are_no_weights(make_model, showers, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "draw", lambda *_, **__: [])
    signs = np.where(np.arange(300) % 10 == 0, -0.5, 1.0).astype(np.float32)
    signed = Events(showers[:300].conditions, showers[:300].outputs, signs)
    config = CONFIG.model_copy(update={"fast": False, "condition_bins": 1})
    with pytest.raises(
        DataError, match=r"weights\.root: expected weights that correct the sample, got none: "
    ):
        evaluate_events(
            make_model(),
            signed,
            config=config,
            out=tmp_path / "report",
            progress=False,
            weights=tmp_path / "weights.root",
        )
    assert read_results(tmp_path / "report" / "metrics.json").classifier.reweighting.auc is None
    assert (tmp_path / "report" / "report.html").is_file()
    with pytest.raises(ConfigError, match="expected a complete evaluation, got a fast one"):
        evaluate_events(make_model(), signed, config=CONFIG, out=tmp_path, weights=tmp_path / "w.root")


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (
            {"occupancy_bias_layr_1": 0.1},
            r"no row 'occupancy_bias_layr_1' .* did you mean .*'occupancy_bias_layer_1'",
        ),
        ({"auc_worst_energy": 0.6}, r"no row 'auc_worst_energy' .*'auc_worst_incident_energy'"),
    ],
)
def test_limits_of_other_layers_are_refused_before_anything_is_generated(
    make_model, showers, tmp_path, limits, message
):
    model = make_model()
    config = EvaluationConfig(**{**CONFIG.model_dump(), "limits": limits})
    with pytest.raises(ConfigError, match=message):
        evaluate_events(model, showers[:50], config=config, out=tmp_path, progress=False)
    assert model.asked.seed is None


@pytest.mark.usefixtures("without_figures")
def test_a_limit_of_what_is_not_measured_is_mentioned(make_model, showers, tmp_path, caplog):
    config = EvaluationConfig(**{**CONFIG.model_dump(), "limits": {"emd": 6, "classifier_auc": 0.99}})
    results = evaluate_events(make_model(), showers[:100], config=config, out=tmp_path, progress=False)
    assert results["classifier_auc"].limit == 0.99
    assert "'emd' is not measured in this comparison" in caplog.text
    assert results.provenance.evaluation.model_extra["limits"]["emd"] == 6


def test_a_figure_that_fails_costs_no_number(make_model, showers, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("no fonts")

    monkeypatch.setattr(writing, "draw", fails)
    with pytest.raises(
        ReportError, match=r"could not be made \(RuntimeError: no fonts\); .* the numbers are in .*json"
    ):
        evaluate_events(make_model(), showers[:400], config=CONFIG, out=tmp_path, progress=False)
    assert read_results(tmp_path / "metrics.json").verdict
