"""Trainings on several workers: the result of one, one writer, and no loss when any of them is killed."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from run_files import differing_tensors, log_lines, saved_progress, saved_tensors
from shared_steps import steps

from hepgan import config, workflow
from hepgan.errors import ConfigError, DataError, Interrupted, WorkerFailed
from hepgan.training import loop
from hepgan.training.launch import number_of_workers, together
from hepgan.training.loop import train
from hepgan.training.setup import check_shared
from hepgan.training.workers import ALONE

TRAIN = ["-m", "hepgan", "train"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]


def with_model(settings, objective, **model):
    values = settings.model_dump(mode="json", exclude_none=True)
    values["objective"]["name"] = objective
    values["model"] = model
    return config.parse(values)


def test_two_workers_take_the_steps_of_one(recipe, track_recipe, tmp_path, monkeypatch):
    """Through the penalty, weights of both signs, an odd batch, clipping, a loss of the model, a stream."""
    monkeypatch.setattr("hepgan.models.tracks._CHANCE_STEPS", 20)
    sizes = {"width": 8, "depth": 1, "hinges": 5, "critic_width": 8, "critic_depth": 1}
    tracks = track_recipe(threads=1)
    recipes = {
        "showers": recipe(weight="w", batch_size=33, grad_clip=1.0, precision="float32"),
        "half": recipe(weight="w", batch_size=33, grad_clip=1.0),  # on processors that have it
        "tracks": with_model(tracks, "cramer", name="dll", latent=3, **sizes),
        "vae": with_model(tracks, "alpha-gan", name="vae", likelihood="synthetic", **sizes),
    }
    cache = workflow.prepare(tracks, tmp_path / "cache", workers=1, progress=False)
    values = recipes["tracks"].model_dump(mode="json", exclude_none=True)
    streamed = {"data.cache": str(cache), "training.sampling": "strata"}
    recipes["stream"] = config.parse(values, settings=streamed)
    alone = steps(ALONE, recipes, tmp_path, 3)
    with together(2, steps, recipes, tmp_path, 3) as workers:
        first = steps(workers, recipes, tmp_path, 3)
    second = torch.load(tmp_path / "2-1.pt")
    assert alone.keys() == first.keys() == second.keys()
    assert [key for key in first if not first[key].equal(second[key])] == []
    assert len([*cache.glob("derived-*")]) == 1, "represented once for all"
    for name in recipes:
        for part in ("generator", "critic"):
            keys = [
                key.removesuffix(".0")
                for key in alone
                if key.startswith(f"{name}.{part}.") and key.endswith(".0")
            ]
            moved, apart = (
                torch.cat([(alone[f"{key}.3"] - other[f"{key}.{k}"]).flatten() for key in keys])
                for other, k in ((alone, 0), (first, 3))
            )
            # Adam turns the rounding of a gradient near zero into a step of its own, so all weights count together;
            # numbers at the edge between two of half precision may be rounded to either
            assert apart.norm() < (1e-2 if name == "half" else 1e-4) * moved.norm()
        losses = [key for key in alone if key.startswith(f"{name}.") and key.count(".") == 1]
        assert len(losses) >= 3
        # the value of a game is a difference of scores, and is rounded as they are: the largest loss is the measure
        near = (3e-3 if name == "half" else 1e-4) * max(abs(alone[key].item()) for key in losses)
        assert [first[key].item() for key in losses] == pytest.approx(
            [alone[key].item() for key in losses], abs=near
        )


def started(arguments, settings, tmp_path, run):
    """A real process, that of ``hepgan train`` or of torchrun, in a group of its own."""
    file = tmp_path / "recipe.toml"
    file.write_text(config.dump(settings))
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, *arguments, str(file), "--out", str(run)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_step(process, run, step):
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        if (run / "checkpoint" / "state.safetensors").exists() and log_lines(run)[-1]["step"] >= step:
            return
        if process.poll() is not None:
            raise AssertionError(process.stderr.read())
        time.sleep(0.02)
    process.kill()
    raise AssertionError("the training made no progress")


def children(pid):
    """Children of a process that train, by their numbers."""
    pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    commands = {int(p): Path(f"/proc/{p}/cmdline").read_bytes() for p in pids}
    return [p for p, command in commands.items() if b"resource_tracker" not in command]


def signalling(number, at):
    """A step of the generator that sends a signal to the other worker at a step of the training."""

    def step_and_signal(state, *arguments, step=loop.generator_step):
        if state.step == at:
            os.kill(multiprocessing.active_children()[0].pid, number)
        return step(state, *arguments)

    return step_and_signal


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in /proc")
def test_nothing_is_lost_and_nobody_left_when_a_worker_or_the_first_is_killed(recipe, tmp_path, monkeypatch):
    settings, run = recipe(steps=100_000, threads=1), tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(loop, "generator_step", signalling(signal.SIGKILL, 23))
        with pytest.raises(
            WorkerFailed, match=r"worker 1 \(the first is 0\) was killed \(SIGKILL\); the last check"
        ):
            train(settings, run, workers=2, progress=False)
    assert multiprocessing.active_children() == []
    assert saved_progress(run).step == 20

    process = started([*TRAIN, "--workers", "2", "--auto-resume"], settings, tmp_path, run)
    wait_for_step(process, run, 40)
    (worker,) = children(process.pid)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{worker}").exists():
        assert time.monotonic() < deadline, "a worker lives on after the first"
        time.sleep(0.05)


@pytest.mark.slow
def test_torchrun_restarts_what_was_killed_as_if_it_had_not_been(recipe, tmp_path):
    settings = recipe(steps=60, threads=1)
    straight = train(settings, tmp_path / "straight", workers=2, progress=False)
    run = tmp_path / "run"
    process = started([*TORCHRUN, *TRAIN, "--auto-resume"], settings, tmp_path, run)
    wait_for_step(process, run, 20)
    os.kill(children(process.pid)[1], signal.SIGKILL)
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert output == f"{run}\nNext: hepgan evaluate {run}\n", "the first worker alone says it"
    assert "Sending process" in errors, "torchrun has restarted the workers"
    assert differing_tensors(straight, run) == []
    for folder in (straight, run):
        assert [line["step"] for line in log_lines(folder)] == [*range(0, 61, 5)]
        assert sorted(path.name for path in folder.iterdir()) == [
            "checkpoint",
            "config.toml",
            "metrics.jsonl",
            "model.onnx",
        ]


@pytest.mark.slow
def test_a_signal_to_one_worker_stops_all_and_another_number_goes_on(recipe, tmp_path, monkeypatch):
    """The numbers drawn are the same; the weights agree within the sizes of the steps, see `shared_steps`."""
    settings = recipe(steps=30, threads=1)
    straight = train(settings, tmp_path / "straight", progress=False)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "generator_step", signalling(signal.SIGTERM, 13))
        with pytest.raises(Interrupted, match=r"stopped at step \d+ by request"):
            train(settings, tmp_path / "run", workers=2, progress=False)
    assert multiprocessing.active_children() == []
    assert 14 <= saved_progress(tmp_path / "run").step < 30
    run = train(settings, tmp_path / "run", resume="auto", progress=False)
    a, b = saved_tensors(straight), saved_tensors(run)
    assert [key for key in a if key.startswith("random.") and not a[key].equal(b[key])] == []
    most = 30 * settings.objective.n_critic * settings.training.lr_critic
    assert max((a[key] - b[key]).abs().max().item() for key in a if key.startswith("critic.")) < most
    steps = [line["step"] for line in log_lines(run)]
    assert steps == [*range(0, 31, 5)]


def fail(workers):
    """What the other worker does below; it ends before the first one asks it for anything."""
    raise DataError("a branch is missing")


def test_what_another_worker_says_is_heard():
    message = r"worker 1 \(the first is 0\) failed: DataError: a branch is missing; the last checkpoint stays"
    with pytest.raises(WorkerFailed, match=message), together(2, fail) as workers:
        workers.largest(1.0)


def test_what_workers_cannot_share_is_refused(recipe, track_recipe, monkeypatch):
    with pytest.raises(
        ConfigError, match=r"training.batch_size: expected at least one event for each of the 65"
    ):
        check_shared(recipe(), 65)
    dragan = recipe()
    dragan = dragan.model_copy(
        update={"objective": dragan.objective.model_copy(update={"regulariser": "dragan"})}
    )
    check_shared(dragan, 1)
    with pytest.raises(
        ConfigError, match=r"objective.regulariser: expected one that looks at each event alone"
    ):
        check_shared(dragan, 2)
    alpha = with_model(track_recipe(), "alpha-gan", name="vae", likelihood="synthetic")
    check_shared(alpha, 16)
    with pytest.raises(
        ConfigError, match=r"expected a multiple of 6 for 3 workers and objective 'alpha-gan'"
    ):
        check_shared(alpha, 3)
    with pytest.raises(ValueError, match="workers: expected 1 or more, got 0"):
        number_of_workers(0)
    for name, value in {"RANK": "0", "WORLD_SIZE": "4", "MASTER_ADDR": "x", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert number_of_workers(1) == 4
    with pytest.raises(ConfigError, match="torchrun has started 4, got 2; leave out --workers"):
        number_of_workers(2)
