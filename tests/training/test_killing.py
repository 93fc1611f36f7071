"""Real processes that are killed, stopped, or run out of room: nothing is lost, and the numbers stay the same."""

import os
import random
import signal
import time

import forked
import pytest
from run_files import differing_tensors, log_lines, saved_progress

from hepgan import config
from hepgan.training import checkpoint
from hepgan.training.loop import _train
from hepgan.training.setup import set_up

KILLS = 20
STEPS = 160
TIMED = {"time", "samples_per_second"}


@pytest.fixture(scope="module")
def recipe_file(plain_tracks, tmp_path_factory):
    settings = plain_tracks(steps=STEPS, log_every=2, validate_every=8, save_every_minutes=0.001)
    path = tmp_path_factory.mktemp("killing") / "recipe.toml"
    path.write_text(config.dump(settings))
    return path


@pytest.fixture(scope="module")
def straight(recipe_file):
    """The run that nothing interrupts."""
    return trained(recipe_file, recipe_file.parent / "straight")


def trained(file, run, *, resume=False):
    """Train to the end, without the exported file, with a checkpoint at each validation only."""
    settings = config.load(file, settings=["training.save_every_minutes=5.0"])
    _train(set_up(settings, run, resume=resume, progress=False))
    return run


def command(file, run):
    """Arguments of hepgan that start a training, or go on with it."""
    resume = (run / "config.toml").exists()
    return ["train", str(file), "--out", str(run), *(["--resume"] if resume else [])]


def numbers(run):
    """Lines of the log without times."""
    return [{k: v for k, v in line.items() if k not in TIMED} for line in log_lines(run)]


def wait_for_lines(process, run, n):
    """Wait until the log has n lines, or the process is over."""
    deadline = time.monotonic() + 120
    while process.is_alive() and time.monotonic() < deadline:
        if (run / "metrics.jsonl").exists() and (run / "metrics.jsonl").read_text().count("\n") >= n:
            return
        time.sleep(0.002)


def test_twenty_kills_at_random_moments_change_no_bit(recipe_file, straight, tmp_path):
    """At any time; just before an operation on a file; in the middle of a write."""
    straight, run = trained(recipe_file, tmp_path / "straight"), tmp_path / "run"
    state, output, rng, ends = (
        run / "checkpoint" / "state.safetensors",
        tmp_path / "output",
        random.Random(7),
        [],
    )
    size = (straight / "checkpoint" / "state.safetensors").stat().st_size
    for k in range(KILLS):
        if k % 3 == 0:
            before = len(log_lines(run)) if (run / "metrics.jsonl").exists() else 0
            process = forked.start(command(recipe_file, run), output)
            wait_for_lines(process, run, before + rng.randint(0, 3))
            time.sleep(rng.uniform(0, 0.02))
            process.kill()
            process.join()
            ends.append(process.exitcode)
        elif k % 3 == 1:
            fate = forked.Fate(operation=rng.randint(1, 30), path=str(run))
            ends.append(forked.run(command(recipe_file, run), output, fate))
        else:
            fate = forked.Fate(most_bytes=rng.randint(size // 2, size - 1), kills=True)
            ends.append(forked.run(command(recipe_file, run), output, fate))
        if state.exists():
            checkpoint.load(state)  # is whole at each moment
    assert set(ends) == {-signal.SIGKILL, -signal.SIGXFSZ}, output.read_text()
    assert 0 < saved_progress(run).step < STEPS
    trained(recipe_file, run, resume=True)
    assert differing_tensors(straight, run) == []
    clock = {"elapsed": 0.0}
    assert vars(saved_progress(straight)) | clock == vars(saved_progress(run)) | clock
    assert numbers(straight) == numbers(run)
    assert list(run.rglob("*.tmp")) == []


def test_no_room_for_a_checkpoint_is_said_and_loses_nothing(recipe_file, straight, tmp_path):
    run, output = tmp_path / "run", tmp_path / "output"
    state = run / "checkpoint" / "state.safetensors"
    assert forked.run(command(recipe_file, run), output, forked.Fate(operation=40, path=str(run))) < 0
    before, size = state.read_bytes(), state.stat().st_size
    assert forked.run(command(recipe_file, run), output, forked.Fate(most_bytes=size // 2)) == 2
    message = " ".join(output.read_text().split())
    assert (
        "could not be written (File too large); make room; the one before is intact, and --resume goes"
        in message
    )
    assert "Traceback" not in message
    assert state.read_bytes() == before
    assert list(run.rglob("*.tmp")) == []
    trained(recipe_file, run, resume=True)
    assert differing_tensors(straight, run) == []
    assert numbers(straight) == numbers(run)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_stop_during_the_set_up_leaves_nothing_behind(recipe_file, tmp_path, number):
    fate = forked.Fate(operation=2, path=config.load(recipe_file).data.files[0], signal=number)
    run, output = tmp_path / "run", tmp_path / "output"
    assert forked.run(command(recipe_file, run), output, fate) == 128 + number
    assert "hepgan: stopped by request; no file is left half-written" in output.read_text()
    assert "Traceback" not in output.read_text()
    assert not run.exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_stop_saves_and_exits_cleanly(recipe_file, tmp_path, number):
    run, output = tmp_path / "run", tmp_path / "output"
    process = forked.start([*command(recipe_file, run), "--set", "training.steps=100000"], output)
    wait_for_lines(process, run, 5)
    second = [*command(recipe_file, run), "--set", "training.steps=100000"]
    assert forked.run(second, tmp_path / "second") == 2
    assert "another process trains in it; wait for its end" in " ".join(
        (tmp_path / "second").read_text().split()
    )
    os.kill(process.pid, number)
    process.join(120)
    text = " ".join(output.read_text().split())
    assert process.exitcode == 0, text
    assert "Traceback" not in text
    assert "--resume goes on from here" in text
    assert saved_progress(run).step >= log_lines(run)[-1]["step"] >= 8
    assert (run / "model.onnx").exists()
