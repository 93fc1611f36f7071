"""Report of tracks: every requirement has its figure or table, whatever the conditions are."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from hepgan.config import EvaluationConfig, parse
from hepgan.data.events import Events
from hepgan.inference.metadata import Condition
from hepgan.metrics.classifier import BOOSTING
from hepgan.report import figures as plots
from hepgan.report.writing import compare_events, evaluate_events

CONFIG = EvaluationConfig(folds=2, bins=20, condition_bins=4, cuts=("dll_k > 0",), fast=True)
CATEGORIES = {"pi": 211.0, "K": 321.0}
CONDITIONS = {
    "P": {"name": "P", "unit": "MeV"},
    "species": {"name": "species", "transform": "category", "categories": CATEGORIES},
}


@pytest.fixture(scope="module", autouse=True)
def quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BOOSTING, "max_iter", 20)
        yield


def data_config(*conditions):
    targets = [{"name": "dll_k", "atoms": [-999.0]}, {"name": "dll_$p", "unit": "nats"}]
    given = [CONDITIONS[name] for name in conditions]
    return parse({"data": {"files": ["none"], "conditions": given, "targets": targets}}).data


def tracks(seed, n=1200):
    """Two observables that follow momentum and species; one is -999 for a tenth of the tracks."""
    rng = np.random.default_rng(seed)
    momentum, code = np.exp(rng.uniform(8, 11, n)), rng.choice(list(CATEGORIES.values()), n)
    first = rng.normal(np.log(momentum / 1e4) + (code == 321), 1)
    second = first + rng.normal(size=n)
    first[rng.random(n) < 0.1] = -999
    arrays = np.column_stack([momentum, code]), np.column_stack([first, second]), np.ones(n)
    conditions, targets, weights = (a.astype(np.float32) for a in arrays)
    return Events(conditions, (targets,), weights)


def column(events, *columns):
    return Events(events.conditions[:, columns], events.outputs, events.weights)


def anchors(page):
    return set(re.findall(r'id="([^"]+)"', page))


def test_report_of_a_model(tmp_path, monkeypatch):
    figures = {}
    for name in ("overlays", "profiles", "lines", "matrices"):
        drawn = getattr(plots, name)
        monkeypatch.setattr(
            plots,
            name,
            lambda *a, _d=drawn, _n=name, **k: figures.setdefault(_n, []).append((a, k)) or _d(*a, **k),
        )
    pool = tracks(2)
    asked = SimpleNamespace()

    class Model:
        data = data_config("P", "species")
        path = tmp_path / "first-run" / "model.onnx"
        conditions = (
            Condition(name="P", unit="MeV/c", transform="log", range=(1.0, 1e5)),
            Condition(
                name="species",
                unit="",
                transform="category",
                range=(211.0, 321.0),
                categories={"pi": 211.0, "K": 321.0},
            ),
        )
        metadata = SimpleNamespace(provenance={"step": 5})

        def sample(self, condition, *, seed):
            asked.condition, asked.seed = condition, seed
            near = np.abs(np.log(condition[:, :1] / pool.conditions[:, 0]))
            near += 10 * (condition[:, 1:] != pool.conditions[:, 1])
            asked.targets = pool.targets[near.argmin(axis=1)]
            return (asked.targets,)

    reference = tracks(1)
    results = evaluate_events(
        Model(), reference, config=CONFIG, out=tmp_path / "report", seed=7, progress=False
    )
    assert asked.seed == 7
    assert np.array_equal(asked.condition, reference.conditions)
    assert results.samples.what == "tracks"
    assert results.samples.conditions[1].categories == ["pi", "K"]
    assert results.conditions == {}
    assert results.closure.atoms.overall["dll_k = -999"].sample.value == pytest.approx(
        (asked.targets[:, 0] == -999).mean()
    )

    page = (tmp_path / "report" / "report.html").read_text()
    wanted = {
        "category-species",
        "targets",
        "tails",
        "efficiency",
        "efficiency-1",
        "ks",
        "profiles",
        "atoms",
        "shares",
    }
    assert wanted | {"correlations", "classifier", "single"} <= anchors(page)
    assert {row.section for row in results.rows} <= anchors(page)
    assert "1200 tracks of" in page
    assert "species pi, K" in page
    assert "limit" not in re.findall(r'<td class="n limit">(.*?)</td>', page)
    assert re.findall(r'<td class="n limit">(.*?)</td>', page)[:5] == ["0.03", "0.08", "0.6", "2 %", "1 %"]
    assert len(page) < 4e6

    ((panels,), _), ((tails,), _) = figures["overlays"]
    assert panels[0].reference.min() > -900  # the sentinel is quoted, not drawn
    assert panels[1].label == "dll_$p [nats]"
    assert all(panel.tails for panel in tails)
    assert [call[1]["ticks"] for call in figures["profiles"]] == [None, ["pi", "K"]] * 3
    assert [line.ticks for line in figures["lines"][0][0][0]] == [None, ["pi", "K"]]


@pytest.mark.parametrize("name", ["P", "species"])
def test_a_single_condition_of_any_kind(name, tmp_path):
    k = list(CONDITIONS).index(name)
    first, second = (column(tracks(seed), k) for seed in (1, 2))
    data = data_config(name)
    results = compare_events(
        second, first, data=data, config=CONFIG, out=tmp_path, names=("fast", "MC"), progress=False
    )
    page = (tmp_path / "report.html").read_text()
    assert {row.section for row in results.rows} <= anchors(page)
    assert ("category-species" in anchors(page)) == (name == "species")
    assert list(results.conditions) == [name]


def test_same_shares_are_drawn_once(tmp_path, monkeypatch):
    drawn = []
    profiles = plots.profiles
    monkeypatch.setattr(plots, "profiles", lambda x, p, **k: drawn.append(p) or profiles(x, p, **k))
    events = [column(tracks(seed), 0) for seed in (1, 2)]
    both = [Events(e.conditions, (np.repeat(e.targets[:, :1], 3, axis=1),), e.weights) for e in events]
    targets = [{"name": f"t{k}", "atoms": [-999.0]} for k in range(3)]
    data = parse({"data": {"files": ["none"], "conditions": [CONDITIONS["P"]], "targets": targets}}).data
    config = CONFIG.model_copy(update={"cuts": ("t0 > 0",)})
    compare_events(*both[::-1], data=data, config=config, out=tmp_path, progress=False)
    assert [panel.label for panel in drawn[-1]] == ["t0 = -999 (and 2 more)"]


def test_thin_bins_are_mentioned(tmp_path):
    reference, sample = (column(tracks(seed), 0) for seed in (1, 2))
    sample = sample[sample.conditions[:, 0] < 1e4]
    config = CONFIG.model_copy(update={"condition_bins": 10})
    compare_events(sample, reference, data=data_config("P"), config=config, out=tmp_path, progress=False)
    assert re.search(
        r"[3-7] bin\(s\) with too few tracks are left out", (tmp_path / "report.html").read_text()
    )
