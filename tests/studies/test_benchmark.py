"""The benchmark of objectives: every row is measured alike, failures are counted, nothing is trained twice."""

import json
import math
import sys

import numpy as np
import pytest

from hepgan.errors import Interrupted, TrainingDiverged
from hepgan.studies import benchmark
from hepgan.training.validation import ValidationDistance

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


def test_two_rows_and_the_floor_have_all_numbers(done):
    out, results = done
    runs = results.runs["ring"]
    assert set(runs) == {"data", "wgan-gp", "minimax+r1"}
    for name, row in runs.items():
        assert set(row) == {1, 2}
        for result in row.values():
            assert set(result.numbers) == {"modes", "in_modes", *benchmark.METRICS}
            assert all(math.isfinite(value) for value, _ in result.numbers.values())
            assert (result.seconds_per_step is not None) == (name != "data")
    floor, untrained = (runs[name][1].numbers for name in ("data", "wgan-gp"))
    assert floor["modes"][0] == 8
    assert floor["in_modes"][0] == pytest.approx(1 - math.exp(-9 / 2), abs=0.01)  # within three spreads
    assert floor["classifier_auc"][0] == pytest.approx(0.5, abs=0.05)
    assert untrained["classifier_auc"][0] > 0.9
    assert untrained["sliced_wasserstein"][0] > 2 * floor["sliced_wasserstein"][0]
    assert untrained["parzen"][0] < floor["parzen"][0] - 1
    stored = json.loads((out / "results.json").read_text())
    assert stored == json.loads(json.dumps(results.model_dump()))
    assert stored["runs"]["ring"]["data"]["1"]["numbers"]["modes"] == [8.0, 0.0]


def test_tables_have_a_line_a_row_and_the_floor_first(done):
    out, results = done
    headings, lines = benchmark.table(results, "ring")
    assert headings[:3] == ["row", "modes", "in modes"]
    assert lines[0][0] == "data"
    assert all(len(line) == len(headings) for line in lines)
    values = [result.numbers["sliced_wasserstein"][0] for result in results.runs["ring"]["wgan-gp"].values()]
    shown = {line[0]: line for line in lines}["wgan-gp"][headings.index("sliced W")]
    assert float(shown.split()[0]) == pytest.approx(np.mean(values), rel=0.2)
    page = (out / "results.md").read_text()
    assert page == benchmark.page(results)
    assert page.count("\n| ") == 5


def test_what_is_finished_is_not_trained_again(done, monkeypatch):
    out, results = done
    before = results.model_copy(deep=True)
    trained = []

    def train(recipe, *_, **__):
        trained.append((recipe.objective.name, recipe.training.seed))
        raise TrainingDiverged

    monkeypatch.setattr(benchmark, "train", train)
    assert small(out, rows=["wgan-gp", "minimax+r1"]) == before
    assert trained == []
    more = small(out, rows=["wgan-gp", "hinge"], seeds=1)
    assert trained == [("hinge", 1)]
    assert more.runs["ring"]["wgan-gp"] == before.runs["ring"]["wgan-gp"]


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
    row = results.runs["ring"]["f-jeffrey"]
    assert [result.failure for result in row.values()] == ["diverged", "diverged"]
    assert all(result.numbers == {} for result in row.values())
    headings, lines = benchmark.table(results, "ring")
    assert lines[-1][headings.index("failed")] == "2 diverged of 2"
    assert lines[-1][headings.index("EMD")] == ""


def test_a_time_limit_is_refused_because_rows_would_have_different_numbers_of_steps(tmp_path):
    settings = (*SMALL, "training.max_minutes=1.0")
    with pytest.raises(
        ValueError, match=r"training.max_minutes: expected none, got 1; .*same number of steps"
    ):
        small(tmp_path / "out", rows=["wgan-gp"], settings=settings)
    assert not (tmp_path / "out").exists()


def test_an_interrupted_training_stops_the_benchmark_and_is_not_counted(tmp_path, monkeypatch):
    def train(config, out, **_):
        raise Interrupted("stopped", run=out, step=1)

    monkeypatch.setattr(benchmark, "train", train)
    with pytest.raises(KeyboardInterrupt, match="stopped"):
        small(tmp_path, rows=["wgan-gp"])
    assert set(json.loads((tmp_path / "results.json").read_text())["runs"]["ring"]) == {"data"}


def test_a_generator_that_moves_away_got_worse(tmp_path, monkeypatch):
    distances = iter([0.1, 0.2])  # at the start and at the end
    monkeypatch.setattr(ValidationDistance, "__call__", lambda *_, **__: next(distances))
    results = small(tmp_path, data=["shower-shape"], rows=["minimax"], seeds=1)
    assert results.runs["shower-shape"]["minimax"][1].failure == "got worse"


@pytest.mark.parametrize("name", benchmark.WORK)
def test_every_data_set_trains_and_no_constant_feature_is_compared(name, tmp_path):
    results = small(tmp_path, data=[name], rows=["energy-score"], seeds=1, steps=2)
    numbers = results.runs[name]["energy-score"][1].numbers
    assert all(numbers[key] is not None for key in benchmark.METRICS)
    floor = results.runs[name]["data"][1]
    assert floor.failure == ""
    assert floor.numbers["classifier_auc"][0] == pytest.approx(0.5, abs=0.07)
