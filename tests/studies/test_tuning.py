"""A search: trials are run folders, workers share them, bad ones are given up, and nothing is lost by a kill."""

import json
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import time

import pytest
from run_files import differing_tensors, log_lines
from typer.testing import CliRunner

from hepgan import config
from hepgan.cli import app
from hepgan.errors import ConfigError, Interrupted, NotFoundError
from hepgan.studies import search, tuning
from hepgan.studies.claims import Claims, LostClaim
from hepgan.studies.search_results import Search
from hepgan.training.loop import train


def states(results):
    return [trial.state for trial in results.trials]


def journal_of(out):
    return [json.loads(line) for line in (out / "study.journal").read_text().splitlines()]


def claims_of(out):
    return [path.read_text() for path in (out / "running").glob("????")]


@pytest.fixture(scope="module")
def done(searched, tmp_path_factory):
    """Folder and results of twelve trials."""
    out = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "_FEW", 4)
        return out, tuning.tune(searched(), out, trials=12, progress=False)


def test_trials_are_run_folders_of_values_in_the_space(done, searched):
    out, results = done
    assert len(results.trials) == 12
    for trial in results.trials:
        assert 1e-6 <= trial.parameters["training.lr_generator"] <= 0.3
        assert trial.parameters["model.depth"] in (0, 2)
        assert trial.parameters["model.width"] in (8, 16)
        run = out / "trials" / f"{trial.number:04d}"
        trained = config.load(run / "config.toml")
        assert trained.tune is None
        assert trained.training.lr_generator == trial.parameters["training.lr_generator"]
        assert trained.model.depth == trial.parameters["model.depth"]
        assert (run / "model.onnx").exists() == (trial.state == "complete")
        assert log_lines(run)[-1]["step"] == trial.steps
        assert trial.smallest == pytest.approx(min(line.get("distance", 9.0) for line in log_lines(run)))
    assert len({tuple(trial.parameters.values()) for trial in results.trials}) > 10


def test_first_trial_is_the_configuration_itself(done, searched):
    first, recipe = done[1].trials[0], searched()
    assert first.parameters == {
        "training.lr_generator": recipe.training.lr_generator,
        "model.depth": 0,
        "model.width": 8,
    }
    assert first.state == "complete"


def test_bad_trials_are_given_up_and_the_good_end_wins(done):
    _, results = done
    pruned = [trial for trial in results.trials if trial.state == "pruned"]
    assert pruned
    assert all(3 <= trial.steps < 12 for trial in pruned)  # after the warm-up of a quarter
    assert results.winner is not None
    assert results.winner.parameters["training.lr_generator"] > 1e-3
    assert results.winner.distance[0] < 0.8 * results.trials[0].distance[0]
    complete = [trial for trial in results.trials if trial.state == "complete"]
    assert results.winner.distance == min(trial.distance for trial in complete)
    assert all(0 < trial.distance[1] < 0.3 * trial.distance[0] for trial in complete)


def test_best_configuration_is_that_of_the_winner_and_trains(done):
    out, results = done
    best = config.load(out / "best.toml")
    assert best == config.load(out / "trials" / f"{results.best:04d}" / "config.toml")
    assert best.training.lr_generator == results.winner.parameters["training.lr_generator"]


def test_results_and_page_say_what_the_distances_are(done):
    out, results = done
    assert Search.model_validate_json((out / "results.json").read_text()) == results
    assert "too good itself" in results.meaning
    page = (out / "report.html").read_text()
    for anchor in ("history", "settings", "importance", "trials"):
        assert f'id="{anchor}"' in page
    assert page.count("data:image/svg+xml") == 3
    assert "luckiest of many trials" in page
    assert set(results.importance) == set(results.space)
    assert max(results.importance, key=lambda key: results.importance[key]) == "training.lr_generator"


def test_same_number_again_trains_nothing_and_more_adds(done, searched, caplog):
    out, results = done
    again = tuning.tune(searched(), out, trials=5, progress=False)
    assert again.trials == results.trials
    with (out / "study.journal").open("a") as file:
        file.write('{"op_code":4,"wor')  # what a power failure may leave
    more = tuning.tune(searched(), out, trials=13, progress=False)
    assert "last line is cut short and is left out" in caplog.text
    assert more.trials[:12] == results.trials
    assert len(more.trials) == 13


def test_stopped_study_ends_like_one_that_was_not(done, searched, tmp_path):
    """A worker finds the same trials after Ctrl-C in the middle of one; that one goes on from its checkpoint."""
    whole, results = done
    real, calls = search.train, []

    def stopping(*args, validated, **keywords):
        def stop(run):
            validated(run)
            if len(calls) == 2 and run.state.step == 6:
                os.kill(os.getpid(), signal.SIGINT)

        calls.append(keywords["resume"])
        return real(*args, validated=stop, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "train", stopping)
        with pytest.raises(
            Interrupted, match=r"trial 0001: stopped at step \d+ by request; the same command goes on"
        ):
            tuning.tune(searched(), tmp_path / "study", trials=4, progress=False)
        assert states(Search.model_validate_json((tmp_path / "study/results.json").read_text())) == [
            "complete",
            "running",
        ]
        again = tuning.tune(searched(), tmp_path / "study", trials=4, progress=False)
    assert calls == [False, False, True, False, False]
    assert [trial.parameters for trial in again.trials] == [trial.parameters for trial in results.trials[:4]]
    assert [trial.distance for trial in again.trials] == [trial.distance for trial in results.trials[:4]]
    assert not differing_tensors(whole / "trials/0001", tmp_path / "study/trials/0001")


SCRIPT = """
import sys
from hepgan import config
from hepgan.studies import tuning
tuning.tune(config.load(sys.argv[1]), sys.argv[2], trials=1, progress=False)
"""


def test_two_processes_share_a_study_and_survive_a_kill(searched, tmp_path, monkeypatch):
    """Another process trains the first trial, this one the second; then that one is killed, and this one goes on."""
    recipe, study = searched(steps=800, validate_every=50), tmp_path / "study"
    (tmp_path / "recipe.toml").write_text(config.dump(recipe))
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "recipe.toml"), str(study)]
    other = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    log = study / "trials/0000/metrics.jsonl"
    deadline = time.monotonic() + 200
    while not (log.exists() and '"step": 100' in log.read_text()):
        assert time.monotonic() < deadline
        assert other.poll() is None, other.stderr.read()
        time.sleep(0.02)
    other.send_signal(signal.SIGSTOP)  # alive, and not at the end before this process has begun
    while list(study.glob("**/*.lock")):  # a dead worker's lock ends after half a minute, too long for a test
        other.send_signal(signal.SIGCONT)
        time.sleep(0.001)
        other.send_signal(signal.SIGSTOP)
    lost = int(log_lines(log.parent)[-1]["step"])
    assert lost < 800
    real, trained = search.train, []

    def killing(config, folder, **keywords):
        trained.append((folder.name, keywords["resume"]))
        real(config, folder, **keywords)
        if other.poll() is None:
            other.kill()
            other.communicate()

    monkeypatch.setattr(search, "train", killing)
    results = tuning.tune(recipe, study, trials=2, progress=False)
    assert trained == [("0001", False), ("0000", True)]
    assert states(results) == ["complete", "complete"]
    assert not claims_of(study)
    attributes = [line["user_attr"] for line in journal_of(study) if "user_attr" in line]
    assert [a["deaths"] for a in attributes if "deaths" in a] == [1]
    workers = [int(a["worker"].split()[-1]) for a in attributes if "worker" in a]
    assert workers == [other.pid, os.getpid(), os.getpid()]
    steps = [line["step"] for line in log_lines(log.parent)]  # each once, and not from the start again
    assert steps == sorted(set(steps))
    assert lost in steps
    alone = train(config.load(study / "trials/0000/config.toml"), tmp_path / "alone", progress=False)
    assert not differing_tensors(alone, study / "trials/0000")


def test_workers_of_one_command(searched, tmp_path, monkeypatch):
    """Two processes, forked to save the time of a start; their arguments can be sent to a fresh one."""
    fork = multiprocessing.get_context("fork")

    class Context:
        @staticmethod
        def Process(target, args):
            return fork.Process(target=target, args=pickle.loads(pickle.dumps(args)))

    monkeypatch.setattr(tuning.multiprocessing, "get_context", lambda name: Context)
    results = tuning.tune(searched(), tmp_path, trials=4, workers=2, progress=False)
    assert states(results)[0] == "complete"
    assert set(states(results)) <= {"complete", "pruned"}
    assert not claims_of(tmp_path)
    attributes = [line["user_attr"] for line in journal_of(tmp_path) if "user_attr" in line]
    workers = {int(a["worker"].split()[-1]) for a in attributes if "worker" in a}
    assert len(workers) == 2
    assert os.getpid() not in workers


def test_trial_that_kills_its_process_again_and_again_is_left(searched, tmp_path):
    recipe = searched()
    study = search.Study(tmp_path, recipe, recipe.tune.space)
    trial = study._next(1)
    for deaths in (1, 2):
        study.claims.path(0).write_text(f"{os.uname().nodename} 99999999")
        assert study._next(1).user_attrs["deaths"] == deaths
    study.claims.path(0).write_text(f"{os.uname().nodename} 99999999")
    assert study._next(1) is None
    (result,) = study.results().trials
    assert (result.number, result.state) == (trial.number, "failed")
    assert result.reason == "its process died 3 times, such as for lack of memory"


def test_diverged_trial_is_counted_and_the_search_goes_on(searched, tmp_path):
    space = {"training.lr_generator": {"choices": [1e-3, 1e30]}}
    results = tuning.tune(
        searched(tune={"space": space}, lr_generator=1e30), tmp_path, trials=4, progress=False
    )
    assert results.trials[0].state == "diverged"
    assert "expected finite losses and weights" in results.trials[0].reason
    assert results.winner.parameters == {"training.lr_generator": 1e-3}


def test_failed_trial_is_counted_unless_none_can_be_trained(searched, tmp_path):
    space = {"training.batch_size": {"choices": [32, 100_000]}}
    recipe = searched(tune={"space": space})
    results = tuning.tune(recipe, tmp_path / "some", trials=4, progress=False)
    failed = [trial for trial in results.trials if trial.state == "failed"]
    assert failed
    assert all("training.batch_size" in trial.reason for trial in failed)
    assert results.winner.parameters == {"training.batch_size": 32}
    hopeless = searched(batch_size=100_000)
    with pytest.raises(ConfigError, match=r"training.batch_size: expected at most"):
        tuning.tune(hopeless, tmp_path / "none", trials=4, progress=False)
    assert len(list((tmp_path / "none/trials").glob("*"))) <= 1


def test_what_is_refused_leaves_nothing(searched, tmp_path, monkeypatch):
    recipe = searched()
    missing = recipe.model_copy(update={"data": recipe.data.model_copy(update={"files": ("none.root",)})})
    with pytest.raises(NotFoundError, match=r"none\.root"):
        tuning.tune(missing, tmp_path / "study", trials=1, progress=False)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(
        ConfigError, match=r"package optuna, which is not installed; pip install 'hepgan\[tune\]'"
    ):
        tuning.tune(recipe, tmp_path / "study", trials=1, progress=False)
    assert not (tmp_path / "study").exists()


def test_study_of_another_configuration_is_refused(done, searched):
    out, _ = done
    with pytest.raises(ConfigError, match=r"another configuration \(training.batch_size: was 32, is 64\)"):
        tuning.tune(searched(batch_size=64), out, trials=20, progress=False)
    other = searched(tune={"start": 3, "space": {"model.width": {"choices": [8, 32]}}})
    with pytest.raises(ConfigError, match=r"tune.space.model.width.choices: was \[8, 16\], is \[8, 32\]"):
        tuning.tune(other, out, trials=20, progress=False)
    with pytest.raises(ConfigError, match=r"expected a folder for a study, got a run folder"):
        tuning.tune(searched(), out / "trials/0000", trials=1, progress=False)


def test_claims_of_machines_that_are_away(tmp_path):
    claims = Claims(tmp_path)
    claims.take(3)
    assert not claims.died(3)
    assert not claims.given_back(3)
    claims.path(3).write_text("elsewhere 12")
    assert not claims.died(3)
    old = time.time() - 1000
    os.utime(claims.path(3), (old, old))
    assert claims.died(3)
    with pytest.raises(LostClaim, match=r"trial 0003: expected this worker .* got elsewhere 12"):
        claims.check(3)
    claims.take(3)
    with claims.held(3):
        pass
    assert claims.given_back(3)


def test_command_prints_the_table_and_what_to_do_next(searched, tmp_path):
    path = tmp_path / "ring.toml"
    path.write_text(config.dump(searched()))
    words = ["tune", str(path), "--trials", "2", "--out", str(tmp_path / "study"), "--seed", "3"]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert f"Next: hepgan train {tmp_path}/study/best.toml --seed 4" in result.stdout
    assert re.search(r"│ 000[01] +│ +complete │ +\d\.\d+ ± \d\.\d+ │", result.stdout)
    assert config.load(tmp_path / "study/best.toml").training.seed == 3
    wrong = CliRunner().invoke(app, [*words, "--set", "tune.space={'model.wdth'={low=1, high=2}}"])
    assert wrong.exit_code == 2
    assert "'model.wdth' cannot be varied: did you mean 'model.width'" in wrong.stderr
