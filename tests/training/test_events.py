"""Trainings that stream their events: as in memory up to the order of the events, stopped at any moment."""

import os
import subprocess
import sys

import numpy as np
import pytest
from run_files import differing_tensors, log_lines, saved_progress

from hepgan import config, workflow
from hepgan.data import cache as caches
from hepgan.data import preparing, streaming
from hepgan.data.cache import Cache, shard_name
from hepgan.data.shards import write_rows
from hepgan.errors import ConfigError
from hepgan.models import tracks
from hepgan.training.loop import train
from hepgan.training.run_folder import load_generator

KINDS = ["recipe", "track_recipe"]


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(preparing, "_SHARD_BYTES", 1 << 14)
    monkeypatch.setattr(caches, "_BLOCK_BYTES", 1 << 10)
    monkeypatch.setattr(streaming, "_WINDOW_BYTES", 1 << 13)
    monkeypatch.setattr(tracks, "_CHANCE_STEPS", 20)  # a quicker start


def prepared(settings, tmp_path, **changes):
    folder = workflow.prepare(settings, tmp_path / "cache", workers=1, progress=False)
    return config.parse(
        settings.model_dump(mode="json", exclude_none=True), settings={"data.cache": str(folder), **changes}
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("small_pieces")
def test_a_stream_starts_as_a_training_in_memory_and_learns(kind, tmp_path, request):
    recipe = request.getfixturevalue(kind)
    in_memory = train(recipe(steps=20), tmp_path / "memory", progress=False)
    streamed = train(prepared(recipe(steps=20), tmp_path), tmp_path / "streamed", progress=False)
    logs = [log_lines(run) for run in (in_memory, streamed)]
    assert logs[0][0]["distance"] == pytest.approx(logs[1][0]["distance"], rel=1e-5)
    assert [line["step"] for line in logs[0]] == [line["step"] for line in logs[1]]
    assert all(np.isfinite(value) for line in logs[1] for value in line.values())
    assert logs[0][-1] != logs[1][-1]
    progress = [saved_progress(run) for run in (in_memory, streamed)]
    assert progress[0].data_sha256 == progress[1].data_sha256
    assert [p.streamed for p in progress] == [False, True]
    assert progress[0].drawn == progress[1].drawn > 0
    load_generator(streamed)
    (represented,) = (tmp_path / "cache").glob("derived-*")
    assert len(Cache.open(represented)) == len(Cache.open(tmp_path / "cache"))


@pytest.mark.usefixtures("small_pieces")
def test_a_stopped_stream_goes_on_bit_by_bit(track_recipe, tmp_path, monkeypatch):
    settings = prepared(track_recipe(steps=30, objective="wgan-gp"), tmp_path)
    straight = train(settings, tmp_path / "straight", progress=False)

    class Killed(BaseException):
        pass

    def step_or_die(state, *arguments, step):
        if state.step == 13:
            raise Killed
        return step(state, *arguments)

    from hepgan.training import loop

    with monkeypatch.context() as patch:
        step = loop.generator_step
        patch.setattr(loop, "generator_step", lambda *a: step_or_die(*a, step=step))
        with pytest.raises(Killed):
            train(settings, tmp_path / "killed", progress=False)
    with pytest.raises(
        ConfigError, match=r"streamed its events from a cache, got 'never'; resume with data.cache"
    ):
        train(
            settings.model_copy(update={"data": settings.data.model_copy(update={"cache": "never"})}),
            tmp_path / "killed",
            resume=True,
            progress=False,
        )
    train(settings, tmp_path / "killed", resume=True, progress=False)
    assert differing_tensors(straight, tmp_path / "killed") == []


@pytest.mark.parametrize(("way", "sampling"), [("memory", "strata"), ("stream", "weights")])
def test_samplings_train(recipe, tmp_path, way, sampling):
    settings = recipe(weight="w", sampling=sampling, steps=10)
    if way == "stream":
        settings = prepared(settings, tmp_path)
    run = train(settings, tmp_path / "run", progress=False)
    assert all(np.isfinite(line["critic_loss"]) for line in log_lines(run)[1:])


PROGRAM = """
import sys
from hepgan import config
from hepgan.models import tracks
from hepgan.training.loop import train
tracks._CHANCE_STEPS = 20
train(config.load(sys.argv[1]), sys.argv[2], progress=False)
lines = open("/proc/self/status").read().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""


def enlarged(folder, *, size):
    """Make a cache as large as `size` bytes: its rows again and again, in shards that are one file on the disk."""
    cache = Cache.open(folder)
    manifest, first = cache.manifest, folder / shard_name(0)
    rows = np.load(first)
    rows = np.tile(rows, (size // 20 // rows.nbytes, 1))
    shard = write_rows(first, rows, manifest.shards[0], block_rows=manifest.block_rows)
    for k in range(1, 20):
        (folder / shard_name(k)).hardlink_to(first)
    changes = {"rows": 20 * len(rows), "shards": (shard,) * 20}
    (folder / "cache.json").write_text(manifest.model_copy(update=changes).model_dump_json())


def test_the_memory_does_not_grow_with_the_cache(track_recipe, tmp_path):
    settings = track_recipe(steps=3, validate_every=3, start_events=4000, validation_events=500)
    settings = prepared(settings, tmp_path)
    enlarged(tmp_path / "cache", size=12 * 10**8)
    assert 4 * len(Cache.open(tmp_path / "cache")) * 9 > 1.1e9
    file = tmp_path / "recipe.toml"
    file.write_text(config.dump(settings))
    command = [sys.executable, "-c", PROGRAM, str(file), str(tmp_path / "run")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * 1024 < 0.9e9
    assert saved_progress(tmp_path / "run").step == 3
    assert [*(tmp_path / "cache").glob("derived-*")] == [], "more work than three steps"
