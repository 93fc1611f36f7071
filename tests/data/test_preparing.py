"""A cache has the events of the files, is made in pieces that survive a kill, and is refused for other input."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import LAYOUTS, branches_of, shifted

from hepgan.config import DataConfig, dump, parse
from hepgan.data import preparing, shards
from hepgan.data.cache import Cache
from hepgan.data.events import Events
from hepgan.data.parts import TRAINING, VALIDATION, Parts
from hepgan.data.preparing import extent, prepare
from hepgan.data.reading import read
from hepgan.data.splits import training_events, training_files
from hepgan.errors import ConfigError, DataError, NotFoundError
from hepgan.files import digest

pytestmark = pytest.mark.usefixtures("small_pieces")


def made(data: DataConfig, out: Path, **options: object) -> Cache:
    return prepare(data, out, progress=False, **options)


def everything(cache: Cache) -> Events:
    return cache.events(np.concatenate([cache.block(k) for k in range(len(cache.blocks) - 1)]))


def assert_same(a: Events, b: Events) -> None:
    for x, y in zip(
        (a.conditions, *a.outputs, a.weights), (b.conditions, *b.outputs, b.weights), strict=True
    ):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_showers_are_those_of_the_files(tiny_data, tiny_file, tmp_path, layout):
    data = tiny_data([tiny_file(layout)], layout, weight="w", cut="incident_energy > 10")
    cache = made(data, tmp_path / "cache")
    assert len(cache.manifest.shards) > 2
    assert len(cache.blocks) > 10
    assert_same(everything(cache), read(data))
    assert cache.manifest.data_sha256 == digest(data.files)
    first = np.load(cache.folder / "000000.npy")  # a plain array
    np.testing.assert_array_equal(first[:, :1], read(data).conditions[: len(first)])


@pytest.mark.parametrize("storage", ["scalars", "jagged", "jagged rntuple"])
@pytest.mark.parametrize("most", [None, 77])
def test_tracks_are_those_of_the_files(track_data, track_file, tmp_path, storage, most):
    data = track_data([track_file(storage)], weight="track_sWeight", max_events=most)
    cache = made(data, tmp_path / "cache")
    expected = read(data)
    assert len(cache) == len(expected) == (most or len(expected))
    assert_same(everything(cache), expected)
    shards = cache.manifest.shards
    for name, power in (("weights", 1), ("squares", 2)):
        total = sum(getattr(shard, name) for shard in shards)
        assert total == pytest.approx((expected.weights.astype(float) ** power).sum())
    assert made(data, tmp_path / "cache").manifest == cache.manifest  # complete: as it was


def test_parts_are_those_of_a_training_in_memory(tiny_data, tiny_file, tmp_path):
    files = [tiny_file(name="a.root"), tiny_file(name="b.root")]
    for repeated in ("keep", "once"):
        data = tiny_data(files, repeated=repeated, cut="incident_energy > 5")
        cache = made(data, tmp_path / repeated)
        parts = Parts.of(data, len(cache), seed=3, left_out=cache.left_out)(0, len(cache))
        expected = training_events(data, seed=3)
        for part, events in zip((TRAINING, VALIDATION), expected, strict=True):
            assert_same(everything(cache)[parts == part], events)
    assert len(cache.left_out) == len(cache) / 2
    with pytest.raises(DataError, match=r"got 50 of 100 events that repeat .*a.root and .*b.root"):
        made(tiny_data(files), tmp_path / "refused")


@pytest.mark.parametrize("repeated", [None, "once"])
def test_events_of_test_files_are_compared(
    tiny_data, tiny_file, write_tree, tmp_path, tiny_events, repeated, monkeypatch
):
    half = shifted(tiny_events)
    half.conditions[:25] = tiny_events.conditions[:25]
    other = write_tree(tmp_path / "other.root", branches_of(half, "arrays"))
    data = tiny_data([tiny_file()], test_files=[other], repeated=repeated)
    if repeated is None:
        with pytest.raises(
            DataError, match=r"data.test_files: expected events .*got 25 of 50 that are equal"
        ):
            made(data, tmp_path / "cache")
        return
    cache = made(data, tmp_path / "cache")
    expected = training_events(data, seed=1)
    parts = Parts.of(data, len(cache), seed=1, left_out=cache.left_out)(0, len(cache))
    assert_same(everything(cache)[parts == TRAINING], expected[0])


def test_of_many_events_a_share_is_compared(weighted_tracks, tmp_path, monkeypatch, write_tree):
    data = weighted_tracks(4000)
    first = read(data, files=data.files[:1])
    branches = {"P": first.conditions[:, 0], "x": first.targets[:, 0], "w": first.weights}
    again = write_tree(tmp_path / "again.root", branches, tree="tracks", basket=4000)
    monkeypatch.setattr(preparing, "_MOST_COMPARED", 2000)
    made(data, tmp_path / "cache")
    twice = data.model_copy(update={"files": (*data.files, again)})
    with pytest.raises(DataError, match=r"expected each event once, got (\d+) of 12000") as error:
        made(twice, tmp_path / "twice")
    number = int(str(error.value).split("got ")[1].split()[0])
    assert number == pytest.approx(4000, rel=0.15)  # 4 sigma of the 667 that are compared


@pytest.mark.parametrize("way", ["processes", "dask"])
def test_workers_make_the_same_cache(tiny_data, tiny_file, tmp_path, way):
    data = tiny_data([tiny_file()])
    alone = made(data, tmp_path / "alone")
    if way == "processes":
        together = made(data, tmp_path / "together", workers=2)
    else:
        distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        ) as cluster:
            together = made(data, tmp_path / "together", scheduler=cluster.scheduler_address)
    assert together.manifest == alone.manifest
    assert_same(everything(together), everything(alone))


def test_no_scheduler_is_said(tiny_data, tiny_file, tmp_path, monkeypatch):
    data = tiny_data([tiny_file()])
    monkeypatch.setattr("hepgan.data.workers._PATIENCE", 0.2)
    with pytest.raises(ConfigError, match=r"--scheduler tcp://127.0.0.1:9: expected the address of a Dask"):
        made(data, tmp_path / "cache", scheduler="tcp://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"install it with pip install 'hepgan\[dask\]'"):
        made(data, tmp_path / "cache", scheduler="tcp://127.0.0.1:9")


PROGRAM = """
import sys
from pathlib import Path
from hepgan import config
from hepgan.data import cache, preparing
cache._BLOCK_BYTES, preparing._SHARD_BYTES = 300, 800
preparing.prepare(config.load(sys.argv[1]).data, sys.argv[2], workers=int(sys.argv[3]), progress=False)
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_process_goes_on(tiny_data, tiny_file, tmp_path, workers):
    data = tiny_data([tiny_file()])
    recipe, out = tmp_path / "recipe.toml", tmp_path / "cache"
    recipe.write_text(dump(parse({"data": data.model_dump(mode="json", exclude_none=True)})))
    program = tmp_path / "program.py"
    program.write_text(
        f"if __name__ == '__main__':\n    {PROGRAM.strip().replace(chr(10), chr(10) + '    ')}\n"
    )
    command = [sys.executable, str(program), str(recipe), str(out), str(workers)]
    process = subprocess.Popen(command, env=os.environ)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list(out.glob("0*.npy"))) < 2:
        assert process.poll() is None or (out / "cache.json").exists()
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in out.glob("0*.npy")}
    noted = (out / "done.jsonl").read_text().count('"checksums"') if (out / "done.jsonl").exists() else 0
    cache = made(data, out)
    kept = [path for path, changed in before.items() if path.stat().st_mtime_ns == changed]
    assert len(kept) >= noted
    assert_same(everything(cache), read(data))
    assert not list(out.glob("*.tmp"))
    assert not (out / "done.jsonl").exists()


def test_shards_that_are_gone_or_damaged_are_made_again(tiny_data, tiny_file, tmp_path):
    data = tiny_data([tiny_file()])
    cache = made(data, tmp_path / "cache")
    (cache.folder / "000001.npy").unlink()
    with pytest.raises(DataError, match=r"000001.npy: a shard of the cache is missing; delete it and run"):
        Cache.open(cache.folder)
    kept = (cache.folder / "000000.npy").stat().st_mtime_ns
    (cache.folder / "000002.npy").write_bytes((cache.folder / "000002.npy").read_bytes()[:-4])
    with pytest.raises(DataError, match=r"000001.npy"):
        Cache.open(cache.folder)
    again = made(data, tmp_path / "cache")
    assert again.manifest == cache.manifest
    assert_same(everything(again), read(data))
    assert (cache.folder / "000000.npy").stat().st_mtime_ns == kept


def test_flipped_bits_are_found(tiny_data, tiny_file, tmp_path):
    cache = made(tiny_data([tiny_file()]), tmp_path / "cache")
    path = cache.folder / "000001.npy"
    content = bytearray(path.read_bytes())
    content[300] ^= 1
    path.write_bytes(content)
    opened = Cache.open(cache.folder)
    with pytest.raises(DataError, match=r"000001.npy: damaged: rows \d+ to \d+ differ from their checksum"):
        everything(opened)


def test_another_configuration_or_changed_files_are_named(tiny_data, two_files, tmp_path):
    data = tiny_data([*two_files])
    cache = made(data, tmp_path / "cache")
    other = data.model_copy(update={"cut": "incident_energy > 2"})
    with pytest.raises(
        ConfigError,
        match=r"another configuration \(data.cut: was None, is 'incident_energy > 2'\); name another",
    ):
        made(other, cache.folder)
    free = data.model_copy(update={"validation": 0.3, "test": 0.0, "chunk": "1 kB", "cache": "elsewhere"})
    assert made(free, cache.folder).manifest == cache.manifest
    with pytest.raises(DataError, match=r"expected 1 files \(data.files\), got those of 2 files"):
        made(data.model_copy(update={"files": two_files[:1]}), cache.folder)
    shutil.copystat(two_files[1], two_files[0])
    assert made(data, cache.folder).manifest == cache.manifest  # the same content, another time
    content = bytearray(Path(two_files[1]).read_bytes())
    content[-1] ^= 1
    Path(two_files[1]).write_bytes(content)
    with pytest.raises(DataError, match=rf"files have changed, .*: {two_files[1]}; name another --out"):
        made(data, cache.folder)


def test_what_is_no_cache_is_not_touched(tiny_data, tiny_file, tmp_path):
    data, folder = tiny_data([tiny_file()]), tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.tex").write_text("x")
    with pytest.raises(
        DataError, match=r"mine: expected an empty folder or a cache, got a folder with other"
    ):
        made(data, folder)
    with pytest.raises(DataError, match=r"mine: expected a cache with cache.json, got a folder without"):
        Cache.open(folder)
    with pytest.raises(DataError, match=r"thesis.tex: expected a folder for the cache, got a file"):
        made(data, folder / "thesis.tex")
    with pytest.raises(
        NotFoundError, match=r"nothing: expected a folder, got none; make it with hepgan prepare"
    ):
        Cache.open(tmp_path / "nothing")
    (folder / "cache.json").write_text("{}")
    with pytest.raises(DataError, match=r"cache.json: not the description of a cache, or damaged"):
        Cache.open(folder)
    (folder / "cache.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(DataError, match=r"expected format 1, got 99 of another version of hepgan"):
        made(data, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["cache.json", "thesis.tex"]


def test_an_incomplete_cache_is_not_trained_on(tiny_data, tiny_file, tmp_path, monkeypatch):
    data = tiny_data([tiny_file()])

    def full(*arguments, **options):
        raise OSError(28, "No space left on device", "shard")

    with monkeypatch.context() as patch:
        patch.setattr(shards, "write_rows", full)
        with pytest.raises(OSError, match="No space left"):
            made(data, tmp_path / "cache")
    with pytest.raises(DataError, match=r"whose making was stopped; run hepgan prepare again"):
        Cache.open(tmp_path / "cache")
    assert_same(everything(made(data, tmp_path / "cache")), read(data))


def test_bad_input_and_a_full_disk_leave_nothing_behind(tiny_data, tiny_file, tmp_path, monkeypatch):
    out = tmp_path / "cache"
    with pytest.raises(DataError, match=r"has no branch 'incident_enrgy'"):
        made(
            tiny_data([tiny_file()], conditions=[{"name": "incident_energy", "branch": "incident_enrgy"}]),
            out,
        )
    with pytest.raises(DataError, match=r"expected events that pass, got none of 50 entries"):
        made(tiny_data([tiny_file()], cut="incident_energy > 1e6"), out)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    with pytest.raises(OSError, match=r"cache: expected 2.8e-06 GB of free disk, got 1e-06 GB; make room"):
        made(tiny_data([tiny_file()]), out)
    assert not out.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(tiny_data, tiny_file, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(OSError, match=r"the cache could not be written; name a folder that can be written"):
        made(tiny_data([tiny_file()]), tmp_path / "closed" / "cache")


def test_two_processes_do_not_make_the_same_cache(tiny_data, tiny_file, tmp_path):
    data, out = tiny_data([tiny_file()]), tmp_path / "cache"
    with preparing.locked(out), pytest.raises(ConfigError, match=r"another process is making it; wait"):
        made(data, out)


def test_the_extent_is_estimated_from_a_part(weighted_tracks):
    data = weighted_tracks()
    files = training_files(data)
    size = extent(data, files)
    assert (size.entries, size.rows, size.columns, size.exact) == ((3000, 3000), 6000, (1, 1, 1), False)
    assert size.bytes == 6000 * 12
    some = extent(data.model_copy(update={"cut": "P > 2"}), files)
    assert some.rows == pytest.approx(len(read(data.model_copy(update={"cut": "P > 2"}))), rel=0.1)
    assert extent(data.model_copy(update={"max_events": 10}), files).rows == 10
