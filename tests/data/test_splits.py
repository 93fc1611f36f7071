"""Splits are disjoint and fixed by the seed."""

import os
from pathlib import Path

import numpy as np
import pytest
from conftest import branches_of, shifted

from hepgan.config import parse
from hepgan.data.reading import read
from hepgan.data.splits import test_events, training_events, training_files
from hepgan.errors import ConfigError, DataError, NotFoundError


def test_held_out_events_are_never_trained_on(tiny_data, tiny_file):
    data = tiny_data([tiny_file()])
    training, validation = training_events(data, seed=5)
    held_out = test_events(data, seed=5)
    rows = [{row.tobytes() for row in events.cells} for events in (training, validation, held_out)]
    assert len(set.union(*rows)) == sum(map(len, rows)) == len(read(data))


def test_test_files_replace_the_test_part(tiny_data, tiny_file, write_tree, tmp_path, tiny_events):
    file, other = (
        tiny_file(),
        write_tree(tmp_path / "other.root", branches_of(shifted(tiny_events), "arrays")),
    )
    data = tiny_data([file], test_files=[other])
    assert len(test_events(data, seed=1)) == len(read(data, files=[other]))
    assert sum(map(len, training_events(data, seed=1))) == len(read(data))
    with pytest.raises(
        ConfigError, match=r"data.test is 0 and data.test_files is empty; name a file with --data"
    ):
        test_events(tiny_data([file], test=0.0), seed=1)


def link(path: str, way: str) -> str:
    """The same file under another name."""
    other = Path(path).with_name("run_3.root")
    if way == "symlink":
        other.symlink_to(path)
    elif way == "hard link":
        other.hardlink_to(path)
    elif way == "copy":
        other.write_bytes(Path(path).read_bytes())
    return str(other) if way != "relative" else os.path.relpath(path)


WAYS = ["symlink", "hard link", "copy", "relative"]


@pytest.mark.parametrize("way", WAYS)
def test_a_file_under_two_names_is_read_once(tiny_data, two_files, way, caplog):
    other = link(two_files[0], way)
    data = tiny_data([*two_files, other])
    assert sum(map(len, training_events(data, seed=1))) + len(test_events(data, seed=1)) == 100
    assert f"{other}: the same file as {two_files[0]}, or a copy of it; it is read once" in caplog.text
    assert caplog.text.count("read once") == 1  # said once, though the files are read twice


@pytest.mark.parametrize("way", WAYS)
def test_test_files_that_a_glob_matches_too_are_held_out(tiny_data, two_files, way, caplog):
    glob = str(Path(two_files[0]).with_name("run_[12].root"))
    data = tiny_data([glob], test_files=[link(two_files[1], way)])
    assert training_files(data) == [two_files[0]]
    assert f"1 of 2 files held out, because data.test_files has them: {two_files[1]}" in caplog.text
    assert sum(map(len, training_events(data, seed=1))) == 50
    np.testing.assert_array_equal(
        test_events(data, seed=1).conditions, read(data, files=[two_files[1]]).conditions
    )


def test_test_files_that_are_not_at_hand_do_not_stop_a_training(tiny_data, two_files, caplog):
    data = tiny_data([two_files[0]], test_files=["elsewhere/test.root", two_files[1]])
    assert training_files(data) == [two_files[0]]
    training_events(data, seed=1)
    assert "data.test_files: data file not found: elsewhere/test.root" in caplog.text
    assert "whether data.files has its events is not known" in caplog.text
    with pytest.raises(NotFoundError, match=r"elsewhere/test\.root"):
        test_events(data, seed=1)


@pytest.mark.parametrize("way", WAYS)
def test_test_files_that_are_named_as_training_files_are_refused(tiny_data, two_files, way):
    data = tiny_data([*two_files], test_files=[link(two_files[1], way)])
    with pytest.raises(
        ConfigError, match=r"data.test_files: expected files that data.files does not name, got .*run_2.root"
    ):
        training_events(data, seed=1)
    everything = str(Path(two_files[0]).with_name("run_[12].root"))
    with pytest.raises(
        ConfigError, match=r"expected files besides those of data.test_files, got none: all 2 are test"
    ):
        training_events(tiny_data([everything], test_files=[everything]), seed=1)


def test_events_that_are_in_two_files_are_refused_or_taken_once(tiny_data, tiny_file, caplog):
    files = [tiny_file(name="a.root"), tiny_file(name="b.root")]  # the bytes differ: date and random number
    data = tiny_data(files)
    message = (
        r"data.files: expected each event once, got 50 of 100 events that repeat another one exactly \(50 of them in "
        r'both .*a.root and .*b.root\): .*remove such files, or set data.repeated = "once" .*"keep"'
    )
    for read_part in (training_events, test_events):
        with pytest.raises(DataError, match=message):
            read_part(data, seed=1)
    once = data.model_copy(update={"repeated": "once"})
    parts = (*training_events(once, seed=1), test_events(once, seed=1))
    assert [len(part) for part in parts] == [40, 5, 5]
    assert len({row.tobytes() for part in parts for row in part.cells}) == 50
    assert "50 of 100 events of data.files left out, which occur a second time" in caplog.text
    kept = data.model_copy(update={"repeated": "keep"})
    assert sum(map(len, training_events(kept, seed=1))) == 90


def test_events_of_test_files_are_not_those_of_the_training(
    tiny_data, tiny_file, write_tree, tmp_path, tiny_events
):
    half = shifted(tiny_events)
    half.conditions[:25] = tiny_events.conditions[:25]
    other = write_tree(tmp_path / "other.root", branches_of(half, "arrays"))
    data = tiny_data([tiny_file()], test_files=[other])
    with pytest.raises(
        DataError, match=r"data.test_files: expected events that the training has not seen, got 25 of 50 "
    ):
        training_events(data, seed=1)
    once = data.model_copy(update={"repeated": "once"})
    assert sum(map(len, training_events(once, seed=1))) == 25
    assert len(test_events(once, seed=1)) == 50


def test_few_repeated_events_are_said_only(tiny_data, write_tree, tmp_path, caplog):
    rng = np.random.default_rng(1)
    n = 20_000
    branches = {"P": rng.random(n, np.float32), "x": rng.random(n, np.float32)}
    branches = {name: np.concatenate([values, values[:20]]) for name, values in branches.items()}
    file = write_tree(tmp_path / "tracks.root", branches, basket=n, tree="tracks")
    data = parse({"data": {"files": [file], "conditions": [{"name": "P"}], "targets": [{"name": "x"}]}}).data
    assert sum(map(len, training_events(data, seed=1))) == 18_018
    assert "expected each event once, got 20 of 20020 events that repeat another one exactly" in caplog.text
