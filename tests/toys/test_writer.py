"""Files of toys: complete, the same for the same seed, or not there."""

from __future__ import annotations

import hashlib
import json
import re
import resource
import signal
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from numpy.typing import NDArray
from typer.testing import CliRunner

from hepgan import toys, trees
from hepgan.cli import app
from hepgan.toys import writer

Tracks = dict[str, NDArray[Any]]


def read(path: Path, tree: str = "tracks") -> Tracks:
    with uproot.open(path) as file:
        branches: Tracks = file[tree].arrays(library="np")
    return branches


def test_file_is_the_toy_chunk_by_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_CHUNK", 400)
    out = tmp_path / "new" / "t.root"
    assert toys.write("rich", out, n=1_000, seed=3, species=["mu", "p"], background=0.2) == 1_000
    branches = read(out)
    expected = [
        toys.rich_tracks(n, rng=np.random.default_rng(child), species=["mu", "p"], background=0.2)
        for n, child in zip((400, 400, 200), np.random.SeedSequence(3).spawn(3), strict=True)
    ]
    assert list(branches) == list(expected[0])
    for name, values in branches.items():
        assert values.dtype == expected[0][name].dtype
        assert np.array_equal(values, np.concatenate([part[name] for part in expected])), name
    with uproot.open(out) as file:
        origin = json.loads(file["generated_by"])
    assert origin["toy"] == "rich"
    assert origin["seed"] == 3
    assert origin["options"] == {"species": ["mu", "p"], "background": 0.2}


def test_longer_file_begins_with_the_chunks_of_the_shorter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_CHUNK", 300)
    for n in (600, 1_000):
        toys.write("rich", tmp_path / f"{n}.root", n=n, seed=4)
    short, long = (read(tmp_path / f"{n}.root") for n in (600, 1_000))
    assert all(np.array_equal(values, long[name][:600]) for name, values in short.items())


def test_memory_does_not_grow_with_the_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_CHUNK", 2_000)
    monkeypatch.setattr(trees, "_CLUSTER_ROWS", 2_000)  # memory is that of a cluster
    toys.write("rich", tmp_path / "t.root", n=2_000)  # what is allocated once
    peaks = []
    for n in (4_000, 30_000):
        tracemalloc.start()
        try:
            toys.write("rich", tmp_path / "t.root", n=n)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_bad_input_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "new" / "t.root"
    with pytest.raises(
        ValueError, match=r"toy 'rihc': there is none of this name; did you mean 'rich', .*\?"
    ):
        toys.write("rihc", out, n=10)
    with pytest.raises(ValueError, match=r"modes: the toy 'ring' has no such option; leave it out$"):
        toys.write("ring", out, n=10, modes=9)
    with pytest.raises(ValueError, match="n: expected a positive number of events, got 0; add -n N"):
        toys.write("rich", out, n=0)
    with pytest.raises(ValueError, match="species 'kaon': the toy has none of this name"):
        toys.write("rich", out, n=10, species=["kaon"])
    with pytest.raises(OSError, match="expected the name of a file, got a folder"):
        toys.write("rich", tmp_path, n=10)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_leaves_nothing(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        with pytest.raises(OSError, match="events could not be written; nothing was left behind, make room"):
            toys.write("rich", tmp_path / "t.root", n=5_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []


def test_interruption_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(n: int, *, rng: np.random.Generator) -> Tracks:
        if list(tmp_path.iterdir()):
            raise KeyboardInterrupt
        return toys.rich_tracks(n, rng=rng)

    monkeypatch.setattr(writer, "_CHUNK", 100)
    monkeypatch.setitem(toys.TOYS, "rich", replace(toys.TOYS["rich"], sample=interrupted))
    with pytest.raises(KeyboardInterrupt):
        toys.write("rich", tmp_path / "t.root", n=200)
    assert list(tmp_path.iterdir()) == []


def test_command(tmp_path: Path) -> None:
    out = tmp_path / "t.root"
    words = ["toy", "rich", "-n", "300", "--species", "K", "--species", "pi", "--background", "0.3"]
    result = CliRunner().invoke(app, [*words, "--seed", "5", "--out", str(out)], catch_exceptions=False)
    assert result.exit_code == 0
    assert f"Next: hepgan inspect {out}" in result.stdout
    branches = read(out)
    assert set(branches["probe_PDG"]) == {321, 211}
    assert branches["probe_sWeight"].min() < 0


@pytest.mark.parametrize("name", ["ring", "grid"])
def test_command_writes_points_in_modes(name: str, tmp_path: Path) -> None:
    out = tmp_path / "t.root"
    words = ["toy", name, "-n", "300", "--seed", "5", "--out", str(out)]
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    expected = toys.TOYS[name].sample(300, rng=np.random.default_rng(np.random.SeedSequence(5).spawn(1)[0]))
    branches = read(out, "points")
    assert list(branches) == ["x", "y", "mode"]
    assert all(np.array_equal(values, expected[branch]) for branch, values in branches.items())


def test_help_names_every_toy() -> None:
    words = CliRunner().invoke(app, ["toy", "--help"]).stdout
    assert all(re.search(rf"\b{name}\b", words) for name in toys.TOYS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["ring", "--species", "K"],
            "species: the toy 'ring' has no such option; leave it out, only 'rich' has it",
        ),
        (
            ["grid", "--background", "0.1"],
            "background: the toy 'grid' has no such option; leave it out, only",
        ),
        (["rihc"], "toy 'rihc': there is none of this name; did you mean 'rich', "),
        (["rich", "--species", "kaon"], "species 'kaon': the toy has none of this name"),
        (["rich", "--background", "2"], "background: expected a fraction in [0, 1), got 2.0"),
    ],
)
def test_command_refuses(words: list[str], message: str, tmp_path: Path) -> None:
    out = tmp_path / "new" / "t.root"
    result = CliRunner().invoke(app, ["toy", *words, "-n", "10", "--out", str(out)])
    assert result.exit_code == 2
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_shipped_samples_are_what_their_page_says(data_dir: Path) -> None:
    page = (data_dir / "README.md").read_text(encoding="utf-8")
    total = 0
    for name in ("rich.root", "rich_test.root"):
        content = (data_dir / name).read_bytes()
        total += len(content)
        branches = read(data_dir / name)
        row = f"| {name} | {len(branches['hasRich'])} | {len(content)} | `{hashlib.sha256(content).hexdigest()}` |"
        assert row in page
        with uproot.open(data_dir / name) as file:
            origin = json.loads(file["generated_by"])
        assert re.search(
            rf"hepgan toy rich -n {origin['events']} --seed {origin['seed']} --out \S*{name}", page
        )
    assert total <= 4_000_000
