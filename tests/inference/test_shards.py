"""Shards: the same rows in any number of files and threads, kept by a later call, refused if they are others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

from hepgan import trees
from hepgan.data.reading import read
from hepgan.errors import DataError
from hepgan.inference.bulk import generate
from hepgan.inference.generator import Generator

RANGES = {"incident_energy": (1.0, 65.0), "eta": (-0.5, 0.5)}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def numbers(path: Path) -> dict[str, Any]:
    with uproot.open(path) as file:
        return dict(file["showers"].arrays(library="np").items())


@pytest.fixture
def small_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "_CLUSTER_BYTES", 400)


@pytest.mark.usefixtures("small_clusters")
def test_files_do_not_depend_on_the_number_of_threads(model: Generator, tmp_path: Path) -> None:
    files = []
    for workers in (1, 2, 5):
        out = tmp_path / f"{workers}.root"
        assert generate(model, out, n=333, conditions=RANGES, batch_size=10, workers=workers) == 333
        files.append(numbers(out))
    for other in files[1:]:
        for name, values in files[0].items():
            np.testing.assert_array_equal(values, other[name], err_msg=name)


@pytest.mark.usefixtures("small_clusters")
def test_shards_have_the_rows_of_one_file(model: Generator, tmp_path: Path) -> None:
    key = {"seed": 3, "run": 2, "first_event": 40}
    generate(model, tmp_path / "one.root", n=100, conditions=RANGES, batch_size=10, **key)
    assert (
        generate(model, tmp_path / "g.root", n=100, conditions=RANGES, batch_size=10, shards=3, **key) == 100
    )
    shards = [tmp_path / f"g-000{k}.root" for k in (1, 2, 3)]
    assert names(tmp_path) == [*(path.name for path in shards), "one.root"]
    one = read(model.data, files=[str(tmp_path / "one.root")])
    parts = read(model.data, files=[str(path) for path in shards])
    np.testing.assert_array_equal(parts.conditions, one.conditions)
    np.testing.assert_allclose(parts.cells, one.cells, rtol=1e-5, atol=1e-3)
    first = 40
    for path, rows in zip(shards, ([0, 33], [33, 66], [66, 100]), strict=True):
        with uproot.open(path) as file:
            assert json.loads(file["generated_by"])["first_event"] == first + rows[0]
            assert json.loads(file["request"])["rows"] == rows
            assert file["showers"].num_entries == rows[1] - rows[0]


def test_what_is_there_is_kept_and_the_rest_is_generated(
    model: Generator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    request: dict[str, Any] = {"n": 50, "conditions": RANGES, "shards": 4}
    out = tmp_path / "g.root"
    generate(model, out, **request)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(tmp_path.iterdir())}
    lost, *kept = before
    expected = numbers(lost)
    lost.unlink()
    (tmp_path / f"{lost.name}.tmp").write_bytes(b"root, but only half of it")  # as after kill -9
    with caplog.at_level("INFO", logger="hepgan.inference.bulk"):
        assert generate(model, out, resume=True, **request) == 12, "those of the lost shard"
    assert "g-0002.root: complete, kept" in caplog.text
    assert names(tmp_path) == [path.name for path in before]
    for path in kept:
        assert (path.read_bytes(), path.stat().st_mtime_ns) == before[path]
    for name, values in numbers(lost).items():
        np.testing.assert_array_equal(values, expected[name])
    assert generate(model, out, resume=True, **request) == 0, "nothing is missing"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"seed": 2},
            r"g-0001.root: expected seed = 2 to keep it, got 1; ask for the same as before, or remove it",
        ),
        ({"first_event": 7}, r"expected first_event = 7 to keep it, got 0"),
        ({"n": 75}, r"g-0001.root: expected rows = \[0, 25\] to keep it, got \[0, 16\]"),
        ({"conditions": RANGES | {"eta": 0.1}}, r"expected conditions = .*0\.1, 0\.1.* to keep it, got"),
        ({"batch_size": 3}, r"expected batch_size = 3 to keep it, got 128"),
        ({"format": "rntuple"}, r'expected format = "rntuple" to keep it, got "ttree"'),
    ],
)
def test_files_of_another_request_are_refused(
    change: dict[str, Any], message: str, model: Generator, tmp_path: Path
) -> None:
    request: dict[str, Any] = {"n": 50, "conditions": RANGES, "shards": 3}
    generate(model, tmp_path / "g.root", **request)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / "g-0003.root").unlink()
    before.pop(tmp_path / "g-0003.root")
    with pytest.raises(DataError, match=message):
        generate(model, tmp_path / "g.root", resume=True, **request | change)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_shards_in_the_way_are_refused(model: Generator, tmp_path: Path) -> None:
    request: dict[str, Any] = {"n": 50, "conditions": RANGES}
    out = tmp_path / "g.root"
    generate(model, out, shards=3, **request)
    with pytest.raises(
        FileExistsError, match=r"expected none but the 3 shards to write, got 3 files: .*--resume"
    ):
        generate(model, out, shards=3, **request)
    with pytest.raises(
        FileExistsError, match=r"no others than the 2 shards to write, got 1 files: g-0003\.root; ask"
    ):
        generate(model, out, shards=2, resume=True, **request)
    with pytest.raises(ValueError, match="shards: expected a number from 1 to that of the rows, 50, got 51"):
        generate(model, tmp_path / "h.root", shards=51, **request)
    with pytest.raises(ValueError, match="workers: expected a positive number of threads, got 0"):
        generate(model, tmp_path / "h.root", workers=0, **request)
    (tmp_path / "h-0001.root").write_text("a note")
    with pytest.raises(DataError, match=r"h-0001\.root: not a ROOT file"):
        generate(model, tmp_path / "h.root", shards=1, resume=True, **request)
    assert names(tmp_path) == ["g-0001.root", "g-0002.root", "g-0003.root", "h-0001.root"]


def test_one_file_is_kept_too(model: Generator, tmp_path: Path) -> None:
    out = tmp_path / "g.root"
    generate(model, out, n=20, conditions=RANGES)
    before = out.read_bytes()
    assert generate(model, out, n=20, conditions=RANGES, resume=True) == 0
    assert out.read_bytes() == before
    with pytest.raises(DataError, match="expected seed = 9 to keep it, got 1"):
        generate(model, out, n=20, conditions=RANGES, resume=True, seed=9)
    assert generate(model, out, n=10, conditions=RANGES) == 10, "without resume it is replaced, as ever"


def conditions_file(path: Path, energy: Any) -> Path:
    with uproot.recreate(path) as file:
        file.mktree("t", {"incident_energy": np.asarray(energy, float), "angle": np.zeros(len(energy))})
    return path


@pytest.mark.usefixtures("small_clusters")
def test_conditions_of_several_files(model: Generator, tmp_path: Path) -> None:
    energy = np.geomspace(1, 65, 60)
    for k in range(3):
        conditions_file(tmp_path / f"c{k}.root", energy[20 * k : 20 * k + 20])
    out = tmp_path / "out" / "g.root"
    request: dict[str, Any] = {
        "conditions_from": [tmp_path / "c0.root", tmp_path / "c[12].root"],
        "shards": 2,
    }
    assert generate(model, out, batch_size=7, **request) == 60
    shards = sorted(out.parent.iterdir())
    found = read(model.data, files=[str(path) for path in shards]).conditions[:, 0]
    np.testing.assert_allclose(found, energy, rtol=1e-6)
    shards[1].unlink()
    assert generate(model, out, batch_size=7, resume=True, **request) == 30
    np.testing.assert_allclose(
        read(model.data, files=[str(path) for path in shards]).conditions[:, 0], energy, rtol=1e-6
    )
    conditions_file(tmp_path / "c2.root", energy[40:])  # made anew
    with pytest.raises(DataError, match=r"expected conditions = .*files.* to keep it"):
        generate(model, out, batch_size=7, resume=True, **request)


def test_bad_conditions_in_the_last_file_are_refused_before_anything_is_written(
    model: Generator, tmp_path: Path
) -> None:
    files = [conditions_file(tmp_path / f"c{k}.root", [5.0] * 20) for k in range(2)]
    files.append(conditions_file(tmp_path / "c2.root", [5.0] * 19 + [500.0]))
    out = tmp_path / "out" / "g.root"
    with pytest.raises(ValueError, match="got 500 GeV in row 59"):
        generate(model, out, conditions_from=files, shards=2)
    assert not out.parent.exists()


def test_a_shard_may_be_empty_if_rows_are_skipped(model: Generator, tmp_path: Path) -> None:
    path = conditions_file(tmp_path / "c.root", [5.0] * 10 + [500.0] * 10)
    out = tmp_path / "out" / "g.root"
    assert generate(model, out, conditions_from=path, shards=2, out_of_range="skip") == 10
    assert [len(numbers(p)["condition_row"]) for p in sorted(out.parent.iterdir())] == [10, 0]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_after_a_kill_only_what_is_missing_is_generated(
    number: int, model_path: Path, tmp_path: Path
) -> None:
    """A real process ends in the middle; complete shards are kept, and all ends as without it."""
    out = tmp_path / "out" / "g.root"
    words = ["generate", str(model_path), "-n", "60000", "--condition", "incident_energy=1:65"]
    words += [
        "--condition",
        "eta=-0.4:0.4",
        "--shards",
        "30",
        "--workers",
        "2",
        "--out",
        str(out),
        "--resume",
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    program = [sys.executable, "-c", "from hepgan.cli import main; main()", *words]
    process = subprocess.Popen(program, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while process.poll() is None and not list(out.parent.glob("g-0003.root")):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    there = {path: path.read_bytes() for path in out.parent.glob("*.root")}
    assert 3 <= len(there) < 30
    left = list(out.parent.glob("*.tmp"))
    assert len(left) <= (1 if number == signal.SIGKILL else 0), "Ctrl-C cleans up"
    rows = 2000
    generator = Generator(model_path)
    conditions: Any = {"incident_energy": (1.0, 65.0), "eta": (-0.4, 0.4)}
    assert generate(generator, out, n=60000, conditions=conditions, shards=30, resume=True) == rows * (
        30 - len(there)
    )
    assert len(names(out.parent)) == 30
    for path, content in there.items():
        assert path.read_bytes() == content
    last = numbers(out.parent / "g-0030.root")["incident_energy"]
    alone = tmp_path / "alone.root"
    generate(generator, alone, n=rows, conditions=conditions, first_event=58_000)
    np.testing.assert_array_equal(numbers(alone)["incident_energy"], last)
