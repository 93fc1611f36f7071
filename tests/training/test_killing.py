"""Real processes that are killed, stopped, or run out of room: nothing is lost, and the numbers stay the same."""

import random
import signal
import time

import forked
import pytest
from run_files import differing_tensors, log_lines, saved_progress

from hepgan import config
from hepgan.training import checkpoint
from hepgan.training.loop import train

KILLS = 20
TIMED = {"time", "samples_per_second"}


@pytest.fixture
def started_run(track_recipe, tmp_path):
    """A recipe on the disk, its run folder, and ``hepgan train`` of it to its end or with a fate."""
    settings = track_recipe(steps=240, objective="wgan-gp", threads=1, save_every_minutes=0.003)
    file = tmp_path / "recipe.toml"
    file.write_text(config.dump(settings))

    def command(run, *, resume=False):
        return ["train", str(file), "--out", str(run), *(["--resume"] if resume else [])]

    return settings, command


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


@pytest.mark.slow
def test_twenty_kills_at_random_moments_change_no_bit(started_run, tmp_path):
    """At any time; just before an operation on a file; in the middle of a write."""
    settings, command = started_run
    straight, run = train(settings, tmp_path / "straight", progress=False), tmp_path / "run"
    size = (straight / "checkpoint" / "state.safetensors").stat().st_size
    rng, ends = random.Random(7), []
    for k in range(KILLS):
        resume, output = (run / "config.toml").exists(), tmp_path / "output"
        before = len(log_lines(run)) if (run / "metrics.jsonl").exists() else 0
        if k % 3 == 0:
            process = forked.start(command(run, resume=resume), output)
            wait_for_lines(process, run, before + rng.randint(0, 4))
            time.sleep(rng.uniform(0, 0.05))
            process.kill()
            process.join()
            ends.append(process.exitcode)
        elif k % 3 == 1:
            fate = forked.Fate(operation=rng.randint(1, 50), folder=str(run))
            ends.append(forked.run(command(run, resume=resume), output, fate))
        else:
            fate = forked.Fate(most_bytes=rng.randint(size // 10, size - 1), kills=True)
            ends.append(forked.run(command(run, resume=resume), output, fate))
        if (run / "checkpoint" / "state.safetensors").exists():
            checkpoint.load(run / "checkpoint" / "state.safetensors")  # always whole
    assert set(ends) == {-signal.SIGKILL, -signal.SIGXFSZ}, ends
    assert 0 < saved_progress(run).step < settings.training.steps
    assert forked.run(command(run, resume=True), output) == 0, output.read_text()
    assert differing_tensors(straight, run) == []
    clock = {"elapsed": 0.0}
    assert vars(saved_progress(straight)) | clock == vars(saved_progress(run)) | clock
    assert numbers(straight) == numbers(run)
    assert list(run.rglob("*.tmp")) == []
