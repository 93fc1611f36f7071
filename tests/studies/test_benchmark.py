"""The benchmark of objectives: every row is measured alike, failures are counted, nothing is trained twice."""

import json
import math
import sys

import numpy as np
import pytest

from hepgan import config, toys
from hepgan.data.events import Events
from hepgan.objectives import chosen
from hepgan.studies import benchmark
from hepgan.training.validation import PhysicsDistance

SMALL = ("model.width=8", "model.critic_width=8", "training.batch_size=16", "objective.n_critic=1")


@pytest.fixture(autouse=True, scope="module")
def _fewer_events():
    """Seconds instead of minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "EVENTS", 600)
        yield


def small(out, **keywords):
    return benchmark.run(
        **{"data": ["ring"], "seeds": 2, "steps": 3, "settings": SMALL, "out": out} | keywords
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Folder and results of two rows on the ring."""
    out = tmp_path_factory.mktemp("benchmark")
    return out, small(out, rows=["wgan-gp", "minimax+r1"])


@pytest.mark.parametrize("name", benchmark.ROWS)
def test_every_row_is_a_configuration(name):
    row = benchmark.ROWS[name]
    recipe = config.parse(
        benchmark._recipe(benchmark.WORK["ring"], row, steps=7, seed=2, settings=["model.width=8"])
    )
    objective, _ = chosen(recipe.objective)
    assert not objective.own or row.model  # the model of the others has no loss of its own
    assert (recipe.training.steps, recipe.training.seed, recipe.training.warm_up, recipe.model.width) == (
        7,
        2,
        0,
        8,
    )


def test_two_rows_and_the_floor_have_all_numbers(done):
    out, results = done
    runs = results["runs"]["ring"]
    assert set(runs) == {"data", "wgan-gp", "minimax+r1"}
    for name, row in runs.items():
        assert set(row) == {"1", "2"}
        for result in row.values():
            assert set(result["numbers"]) == {"modes", "in_modes", *benchmark.METRICS}
            assert all(math.isfinite(value) for value, _ in result["numbers"].values())
            assert ("seconds_per_step" in result) == (name != "data")
    floor, untrained = (runs[name]["1"]["numbers"] for name in ("data", "wgan-gp"))
    assert floor["modes"][0] == 8
    assert floor["in_modes"][0] == pytest.approx(1 - math.exp(-9 / 2), abs=0.01)  # within three spreads
    assert floor["classifier_auc"][0] == pytest.approx(0.5, abs=0.05)
    assert untrained["classifier_auc"][0] > 0.9
    assert untrained["sliced_wasserstein"][0] > 2 * floor["sliced_wasserstein"][0]
    assert untrained["parzen"][0] < floor["parzen"][0] - 1
    assert json.loads((out / "results.json").read_text()) == json.loads(json.dumps(results))


def test_tables_have_a_line_a_row_and_the_floor_first(done):
    out, results = done
    headings, lines = benchmark.table(results, "ring")
    assert headings[:3] == ["row", "modes", "in modes"]
    assert lines[0][0] == "data"
    assert all(len(line) == len(headings) for line in lines)
    values = [
        runs["numbers"]["sliced_wasserstein"][0] for runs in results["runs"]["ring"]["wgan-gp"].values()
    ]
    shown = {line[0]: line for line in lines}["wgan-gp"][headings.index("sliced W")]
    assert float(shown.split()[0]) == pytest.approx(np.mean(values), rel=0.2)
    page = (out / "results.md").read_text()
    assert page == benchmark.page(results)
    assert page.count("\n| ") == 5


def test_what_is_finished_is_not_trained_again(done, monkeypatch):
    out, results = done
    before = json.loads(json.dumps(results))
    trained = []

    def train(recipe, *_, **__):
        trained.append((recipe.objective.name, recipe.training.seed))
        raise FloatingPointError

    monkeypatch.setattr(benchmark, "train", train)
    assert small(out, rows=["wgan-gp", "minimax+r1"]) == before
    assert trained == []
    more = small(out, rows=["wgan-gp", "hinge"], seeds=1)
    assert trained == [("hinge", 1)]
    assert more["runs"]["ring"]["wgan-gp"] == before["runs"]["ring"]["wgan-gp"]


def test_a_flow_that_is_not_installed_is_missed_before_anything_is_trained(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "zuko", None)
    with pytest.raises(ValueError, match=r"pip install 'hepgan\[flows\]'"):
        small(tmp_path / "out", rows=["wgan-gp", "realnvp"])
    assert not (tmp_path / "out").exists()


def test_other_settings_need_another_folder(done):
    out, _ = done
    with pytest.raises(
        ValueError, match=r"expected results of the same settings, got others for 'data' on 'ring'"
    ):
        small(out, rows=["wgan-gp"], settings=(*SMALL, "model.depth=1"))


def test_a_row_that_diverges_is_counted(tmp_path):
    results = small(tmp_path, rows=["f-jeffrey"], steps=20, settings=(*SMALL, "training.lr_critic=1e4"))
    row = results["runs"]["ring"]["f-jeffrey"]
    assert [result["failure"] for result in row.values()] == ["diverged", "diverged"]
    assert all(result["numbers"] == {} for result in row.values())
    headings, lines = benchmark.table(results, "ring")
    assert lines[-1][headings.index("failed")] == "2 diverged of 2"
    assert lines[-1][headings.index("EMD")] == ""


def test_a_generator_that_moves_away_got_worse(tmp_path, monkeypatch):
    distances = iter([0.1, 0.2])  # at the start and at the end
    monkeypatch.setattr(PhysicsDistance, "__call__", lambda *_: next(distances))
    results = small(tmp_path, data=["shower-shape"], rows=["minimax"], seeds=1)
    assert results["runs"]["shower-shape"]["minimax"]["1"]["failure"] == "got worse"


@pytest.mark.parametrize(("kept", "failure"), [(8, ""), (5, ""), (3, "collapsed"), (1, "collapsed")])
def test_a_sample_of_few_modes_has_collapsed(kept, failure):
    work, rng = benchmark.WORK["ring"], np.random.default_rng(3)
    recipe = config.parse({"data": {"files": ["x.root"], **work.data}})

    def events(modes):
        points = toys.ring(3000, rng=rng)
        chosen = points["mode"] < modes
        targets = np.column_stack([points["x"], points["y"]])[chosen]
        ones = np.ones((len(targets), 1), np.float32)
        return Events(ones, (targets,), ones[:, 0])

    features = benchmark._Features(recipe, reference := events(8))
    measured = benchmark._measured(features, reference, events(kept), work=work, rng=rng)
    assert measured["failure"] == failure
    assert measured["numbers"]["modes"][0] == kept


@pytest.mark.parametrize(("factor", "failure"), [(1.0, ""), (0.5, ""), (0.1, "collapsed")])
def test_a_sample_that_only_follows_its_conditions_has_collapsed(factor, failure):
    """The spread over all conditions is nearly that of the data."""
    work = benchmark.Work(
        {"conditions": [{"name": "p", "transform": "linear"}], "targets": [{"name": "a"}, {"name": "b"}]}
    )
    recipe, rng = config.parse({"data": {"files": ["x.root"], **work.data}}), np.random.default_rng(4)

    def events(factor):
        p, noise = rng.standard_normal((1000, 1)), rng.standard_normal((1000, 2))
        targets = np.hstack([3 * p, p]) + noise * [factor, 1]
        return Events(p.astype(np.float32), (targets.astype(np.float32),), np.ones(1000, np.float32))

    features = benchmark._Features(recipe, reference := events(1.0))
    assert benchmark._measured(features, reference, events(factor), work=work, rng=rng)["failure"] == failure


def test_a_file_of_showers_is_compared_on_the_energies_of_its_layers(data_dir):
    work = benchmark._work(str(data_dir / "eplus.root"))
    assert [target["branch"] for target in work.data["targets"]] == [f"sum(layer_{k})" for k in range(3)]
    with pytest.raises(
        ValueError, match=r"expected showers with one array branch a layer, got layout 'hits'"
    ):
        benchmark._work(str(data_dir / "eplus_hits.root"))


def test_the_shipped_sample_is_in_a_checkout_only(monkeypatch):
    missing = {**benchmark.WORK["calorimeter"].data, "files": ["none/eplus.root"]}
    monkeypatch.setitem(benchmark.WORK, "calorimeter", benchmark.Work(missing))
    with pytest.raises(FileNotFoundError, match=r"--data calorimeter: expected the sample none/eplus.root"):
        benchmark._work("calorimeter")


@pytest.mark.parametrize("name", benchmark.WORK)
def test_every_data_set_trains_and_no_constant_feature_is_compared(name, tmp_path):
    results = small(tmp_path, data=[name], rows=["energy-score"], seeds=1, steps=2)
    numbers = results["runs"][name]["energy-score"]["1"]["numbers"]
    assert all(numbers[key] is not None for key in benchmark.METRICS)
    floor = results["runs"][name]["data"]["1"]
    assert floor["failure"] == ""
    assert floor["numbers"]["classifier_auc"][0] == pytest.approx(0.5, abs=0.07)
