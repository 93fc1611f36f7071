"""Events that do not fit into the memory are streamed from a cache; which one is found again."""

from pathlib import Path

import pytest

from hepgan.data import preparing, source
from hepgan.data.preparing import prepare
from hepgan.data.source import available_memory, cache_of, standard_place
from hepgan.errors import ConfigError, DataError, NotFoundError


@pytest.fixture
def little_memory(monkeypatch, tmp_path):
    monkeypatch.setenv("HEPGAN_CACHE", str(tmp_path / "caches"))
    monkeypatch.setattr(source, "available_memory", lambda: 8 * 1000)


def test_the_standard_place(monkeypatch, tmp_path):
    monkeypatch.setenv("HEPGAN_CACHE", str(tmp_path))
    assert standard_place() == tmp_path
    monkeypatch.delenv("HEPGAN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert standard_place() == tmp_path / "hepgan"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert standard_place() == Path.home() / ".cache" / "hepgan"


def test_memory_is_that_of_the_machine_at_most():
    total = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert 1 << 26 < available_memory() < total


def test_small_events_stay_in_memory(tiny_data, tiny_file):
    assert cache_of(tiny_data([tiny_file()])) is None


@pytest.mark.usefixtures("little_memory")
def test_large_events_are_streamed_and_the_cache_is_found_again(
    tiny_data, two_files, monkeypatch, caplog, tmp_path
):
    data = tiny_data([*two_files])
    with caplog.at_level("INFO"):
        cache = cache_of(data, workers=1)
    assert (
        "the events take about 5.6e-06 GB, more than an eighth of the free memory (8e-06 GB)" in caplog.text
    )
    assert len(cache) == 100
    assert cache.folder.parent == tmp_path / "caches"
    assert cache_of(data.model_copy(update={"cache": "never"})) is None
    assert cache_of(data.model_copy(update={"max_events": 15})) is None  # 840 bytes
    moved = [Path(name).rename(Path(name).with_suffix(".moved")) for name in two_files]
    monkeypatch.setattr(preparing, "write_shard", None)  # nothing is read again
    data = data.model_copy(update={"files": tuple(map(str, moved))})
    assert cache_of(data, workers=1).folder == cache.folder
    with pytest.raises(TypeError):  # another configuration, another cache
        cache_of(data.model_copy(update={"cut": "incident_energy > 2"}), workers=1)
    assert len([path for path in (tmp_path / "caches").iterdir() if path.is_dir()]) == 2


@pytest.mark.usefixtures("little_memory")
def test_a_run_goes_on_as_it_began(tiny_data, tiny_file):
    data = tiny_data([tiny_file()])
    assert cache_of(data, streamed=False) is None
    assert cache_of(data, streamed=True, workers=1) is not None
    for value, streamed, did in (
        ("never", True, "streamed its events"),
        ("elsewhere", False, "had its events in mem"),
    ):
        with pytest.raises(
            ConfigError, match=rf"data.cache: expected the way .*{did}.*, got '{value}'; resume with"
        ):
            cache_of(data.model_copy(update={"cache": value}), streamed=streamed)


def test_a_named_cache_is_checked_and_not_made(tiny_data, two_files, tmp_path):
    data = tiny_data([two_files[0]], cache=str(tmp_path / "cache"))
    with pytest.raises(
        NotFoundError, match=r"expected a folder, got none; make it with hepgan prepare CONFIG --out"
    ):
        cache_of(data)
    prepare(data, tmp_path / "cache", progress=False)
    assert len(cache_of(data)) == 50
    with pytest.raises(
        ConfigError, match=r"another configuration \(data.weight: was None, is 'w'\); make another"
    ):
        cache_of(data.model_copy(update={"weight": "w"}))
    with pytest.raises(
        DataError, match=r"not compared with those of data.test_files: .*run_2.root; make another"
    ):
        cache_of(data.model_copy(update={"test_files": (two_files[1],)}))
    prepare(data.model_copy(update={"test_files": (two_files[1],)}), tmp_path / "cache", progress=False)
    assert len(cache_of(data.model_copy(update={"test_files": (two_files[1],)}))) == 50
