from __future__ import annotations

import json
import os
import resource
import signal
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import uproot
from tiny_generator import TinyGenerator, tiny_data

from hepgan import trees
from hepgan.config import DataConfig
from hepgan.data.events import Events
from hepgan.data.reading import read
from hepgan.errors import ConditionRangeError
from hepgan.exporting.onnx import write
from hepgan.inference.bulk import generate
from hepgan.inference.generator import Generator

POINT = {"incident_energy": 10.0, "eta": 0.1}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Generator]:
    """The model of the tiny generator for a way to read its data."""

    def build(data: DataConfig) -> Generator:
        path = tmp_path_factory.mktemp("model") / "model.onnx"
        write(TinyGenerator(data), path, data=data, provenance={}, metrics={})
        return Generator(path)

    return build


@pytest.fixture(scope="module")
def model(exported: Callable[..., Generator]) -> Generator:
    return exported(tiny_data())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ((20.0, 10.0), "expected low < high, got"),
        ((10.0, 20.0, 30.0), "expected a range"),
        ([10.0, 20.0], "expected a number, or a range"),
        (None, "expected a number or a list of numbers, got None"),
        (float("nan"), "expected 1 to 65 GeV"),
    ],
)
def test_values_from_python_are_checked_as_those_of_the_command_line(
    value: Any, message: str, model: Generator, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        generate(model, tmp_path / "g.root", n=5, conditions={"incident_energy": value, "eta": 0.1})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", [float("inf"), float("nan"), 1.5])
def test_counts_that_are_no_whole_numbers(count: float, tracks: Generator, tmp_path: Path) -> None:
    given = {condition.name: condition.low for condition in tracks.conditions} | {"nTracks": count}
    with pytest.raises(ValueError, match="condition 'nTracks': expected"):
        generate(tracks, tmp_path / "g.root", n=5, conditions=given)


@pytest.mark.parametrize("format", ["ttree", "rntuple"])
def test_file_looks_like_the_training_file(format: Any, model: Generator, tmp_path: Path) -> None:
    out = tmp_path / "new" / "g.root"
    ranges = {"incident_energy": (1.0, 65.0), "eta": (-0.5, 0.5)}
    assert generate(model, out, n=300, conditions=ranges, seed=4, format=format) == 300
    with uproot.open(out) as file:
        tree = file["showers"]
        assert ("RNTuple" in file.classnames()["showers;1"]) == (format == "rntuple")
        assert set(tree.keys()) == {"incident_energy", "angle", "front", "back", "leak"}
        arrays = {name: tree[name].array(library="np") for name in ("front", "back", "leak", "angle")}
        origin = json.loads(file["generated_by"])
    assert {name: a.shape for name, a in arrays.items()} == {
        "front": (300, 2, 3),
        "back": (300, 2, 2),
        "leak": (300, 2),
        "angle": (300,),
    }
    assert (origin["seed"], origin["run"], origin["first_event"]) == (4, 0, 0)
    assert origin["weights_sha256"] == model.metadata.weights_sha256
    events = read(model.data, files=[str(out)])
    np.testing.assert_array_equal(events.cells[:, :6], arrays["front"].reshape(300, 6))
    np.testing.assert_array_equal(events.overflow, arrays["leak"])
    assert (events.cells >= 0).all()
    assert (events.cells == 0).any()


def test_conditions_follow_the_transform(model: Generator, tmp_path: Path) -> None:
    ranges = {"incident_energy": (1.0, 64.0), "eta": (-0.5, 0.5)}
    generate(model, tmp_path / "g.root", n=4000, conditions=ranges)
    energy, eta = read(model.data, files=[str(tmp_path / "g.root")]).conditions.T
    assert energy.min() >= 1
    assert energy.max() <= 64
    assert np.mean(energy < 8) == pytest.approx(0.5, abs=0.04), "log-uniform"
    assert np.mean(eta < 0) == pytest.approx(0.5, abs=0.04), "uniform"
    assert abs(np.corrcoef(np.log(energy), eta)[0, 1]) < 0.07, "independent"
    generate(model, tmp_path / "p.root", n=10, conditions=POINT)
    np.testing.assert_allclose(
        read(model.data, files=[str(tmp_path / "p.root")]).conditions, [[10, 0.1]] * 10
    )


@pytest.mark.parametrize(
    "table",
    [
        {"layout": "cells", "cells": "c{}", "overflow": "tail"},
        {"layout": "cells", "cells": "c{}"},
        {"layout": "hits", "hits": {"layer": "l", "i": "i", "j": "j", "energy": "e"}},
        {"layout": "hits", "hits": {"cell": "id", "energy": "e"}},
    ],
)
@pytest.mark.parametrize("format", ["ttree", "rntuple"])
def test_every_layout_gives_the_same_showers(
    table: dict[str, Any],
    format: Any,
    model: Generator,
    exported: Callable[..., Generator],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trees, "_CLUSTER_BYTES", 1000)  # several chunks
    other = exported(tiny_data(**table))
    showers: list[Events] = []
    for number, generator in enumerate((model, other)):
        out = tmp_path / f"{number}.root"
        generate(generator, out, n=60, conditions=POINT, seed=2, batch_size=20, format=format)
        showers.append(read(generator.data, files=[str(out)]))
    np.testing.assert_array_equal(showers[0].cells, showers[1].cells)
    np.testing.assert_array_equal(showers[0].overflow, showers[1].overflow)


def test_an_overflow_branch_may_be_called_tail(exported: Callable[..., Generator], tmp_path: Path) -> None:
    """The word has a meaning of its own in the layout of one branch a cell only."""
    data = tiny_data()
    data = data.model_copy(update={"calorimeter": data.calo.model_copy(update={"overflow": "tail"})})
    generate(exported(data), tmp_path / "g.root", n=3, conditions=POINT)
    with uproot.open(tmp_path / "g.root") as file:
        assert file["showers"]["tail"].array(library="np").shape == (3, 2)


def test_weight_branch_is_there_to_be_read(exported: Callable[..., Generator], tmp_path: Path) -> None:
    weighted = exported(tiny_data().model_copy(update={"weight": "w"}))
    generate(weighted, tmp_path / "g.root", n=5, conditions=POINT)
    np.testing.assert_array_equal(read(weighted.data, files=[str(tmp_path / "g.root")]).weights, np.ones(5))


def test_seed_decides_and_batches_do_not(
    model: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranges = {"incident_energy": (1.0, 65.0), "eta": (-0.5, 0.5)}

    def showers(seed: int, batch_size: int, *, run: int = 0, first: int = 0) -> Events:
        key = {"seed": seed, "run": run, "first_event": first}
        generate(model, tmp_path / "g.root", n=101 - first, conditions=ranges, batch_size=batch_size, **key)
        return read(model.data, files=[str(tmp_path / "g.root")])

    first = showers(1, 256)
    monkeypatch.setattr(trees, "_CLUSTER_BYTES", 400)
    for batch_size in (1, 7, 50):
        again = showers(1, batch_size)
        np.testing.assert_array_equal(again.conditions, first.conditions)
        np.testing.assert_allclose(again.cells, first.cells, rtol=1e-5, atol=1e-3)
    for other in (showers(2, 256), showers(1, 256, run=1)):
        assert not np.isin(other.conditions, first.conditions).any()
        assert not np.allclose(other.cells, first.cells)
    rest = showers(1, 256, first=60)
    np.testing.assert_array_equal(rest.conditions, first.conditions[60:])
    np.testing.assert_allclose(rest.cells, first.cells[60:], rtol=1e-5, atol=1e-3)


def test_key_outside_64_bits_leaves_nothing_behind(model: Generator, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="first_event: expected a whole number from 0 to 2"):
        generate(model, tmp_path / "g.root", n=1, conditions=POINT, first_event=2**64)
    for key in ("seed", "run"):
        with pytest.raises(ValueError, match=f"{key}: expected a whole number from 0 to 2"):
            generate(model, tmp_path / "g.root", n=1, conditions=POINT, **{key: 2**64})
    assert not any(tmp_path.iterdir())


def test_the_last_event_is_written_and_none_begins_again_at_zero(model: Generator, tmp_path: Path) -> None:
    last, many = tmp_path / "last.root", tmp_path / "many.root"
    key = {"seed": 2**64 - 1, "run": 2**64 - 1, "first_event": 2**64 - 2}
    generate(model, last, n=2, conditions=POINT, **key)
    events = read(model.data, files=[str(last)])
    alone = model.generate_rows(events.conditions[1:], **key | {"first_event": 2**64 - 1})
    np.testing.assert_array_equal(events.cells[1], alone.arrays[0][0])
    with pytest.raises(
        ValueError, match=r"first_event: expected event numbers up to 2\^64 - 1, got 3 events from"
    ):
        generate(model, many, n=3, conditions=POINT, **key)
    with pytest.raises(
        ValueError, match=r"first_event: expected event numbers up to 2\^64 - 1, got 2 events from"
    ):
        generate(model, many, conditions_from=last, **key | {"first_event": 2**64 - 1})
    assert [path.name for path in tmp_path.iterdir()] == ["last.root"]


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        (
            {"incident_energy": 100.0, "eta": 0},
            r"expected 1 to 65 GeV .*got 100 GeV .*--out-of-range clamp, skip or ext",
        ),
        ({"incident_energy": (1.0, 66.0), "eta": 0}, "got 66 GeV"),
        ({"incident_energy": 10.0}, r"got none for \['eta'\]; add --condition eta=VALUE"),
        (
            {"incident_energy": 10.0, "eta": "small"},
            r"condition 'eta': expected a number, or a range low:high, got 'small'; write eta=VALUE",
        ),
        ({"incident_energi": 10.0, "eta": 0}, "'incident_energi': the model has none .*'incident_energy'"),
    ],
)
def test_bad_conditions_write_nothing(
    conditions: dict[str, Any], message: str, model: Generator, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        generate(model, tmp_path / "g.root", n=10, conditions=conditions)
    assert list(tmp_path.iterdir()) == []


def test_extrapolation_on_request(model: Generator, tmp_path: Path) -> None:
    far = {"incident_energy": 100.0, "eta": 0.0}
    assert generate(model, tmp_path / "g.root", n=10, conditions=far, extrapolate=True) == 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"n": 10},
            "conditions, conditions_from: expected exactly one of them, got none; add --condition NAME=VALUE",
        ),
        ({"n": 10, "conditions": {}}, "got none"),
        ({"n": 10, "conditions": POINT, "conditions_from": "x.root"}, "got both"),
        ({"conditions": POINT}, "n: expected a positive number of showers, got none; add -n N"),
        ({"n": 0, "conditions": POINT}, "got 0"),
        ({"n": 1, "conditions": POINT, "batch_size": 0}, "batch_size: expected a positive number, got 0"),
        ({"n": 1, "conditions": POINT, "format": "csv"}, "format: expected 'ttree' or 'rntuple', got 'csv'"),
    ],
)
def test_wrong_arguments(settings: dict[str, Any], message: str, model: Generator, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        generate(model, tmp_path / "g.root", **settings)


def conditions_file(path: Path, energy: Any, *, tree: str = "other", **branches: Any) -> Path:
    with uproot.recreate(path) as file:
        file.mktree(tree, {"incident_energy": np.asarray(energy, np.float64), **branches})
    return path


def test_conditions_from_a_file(model: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "_CLUSTER_BYTES", 400)
    energy = np.geomspace(1, 65, 50)
    path = conditions_file(tmp_path / "c.root", energy, angle=np.linspace(-0.5, 0.5, 50))
    out = tmp_path / "g.root"
    for n in (None, 30):
        assert generate(model, out, n=n, conditions_from=path, batch_size=4) == (n or 50)
        conditions = read(model.data, files=[str(out)]).conditions
        np.testing.assert_allclose(conditions[:, 0], energy[:n], rtol=1e-6)


def test_bad_conditions_files(model: Generator, tmp_path: Path) -> None:
    out = tmp_path / "out" / "g.root"
    energy = np.full(20, 5.0)
    good = conditions_file(tmp_path / "good.root", energy, angle=np.zeros(20))
    with pytest.raises(
        ValueError, match="expected 21 entries to take conditions from, got 20; ask for fewer"
    ):
        generate(model, out, n=21, conditions_from=good)
    lacking = conditions_file(tmp_path / "lacking.root", energy, angel=np.zeros(20))
    with pytest.raises(ValueError, match=r"angle.*did you mean 'angel'"):
        generate(model, out, conditions_from=lacking)
    with pytest.raises(FileNotFoundError, match=r"absent\.root"):
        generate(model, out, conditions_from=tmp_path / "absent.root")
    energy[13] = 500
    wild = conditions_file(tmp_path / "wild.root", energy, angle=np.zeros(20))
    with pytest.raises(ValueError, match="got 500 GeV in row 13"):
        generate(model, out, conditions_from=wild, batch_size=4)
    assert not out.parent.exists(), "refused before anything is written"


@pytest.fixture
def wild(tmp_path: Path) -> Path:
    """Conditions of 20 rows, of which rows 3, 7 and 13 are outside the trained range; row 13 is NaN."""
    energy, angle = np.geomspace(1.5, 60, 20), np.linspace(-0.4, 0.4, 20)
    energy[3], energy[13], angle[7] = 70, np.nan, -2
    return conditions_file(tmp_path / "wild.root", energy, angle=angle)


@pytest.mark.parametrize("format", ["ttree", "rntuple"])
def test_rows_outside_the_range_are_skipped_and_said(
    format: Any, wild: Path, model: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(trees, "_CLUSTER_BYTES", 400)
    out = tmp_path / "g.root"
    settings = {"conditions_from": wild, "batch_size": 4, "format": format}
    assert generate(model, out, out_of_range="skip", **settings) == 17
    assert (
        "condition 'incident_energy': 2 of 20 showers skipped: expected 1 to 65 GeV (the trained"
        in caplog.text
    )
    assert (
        "condition 'eta': 1 of 20 showers skipped: expected -0.5 to 0.5 (the trained range), got -2"
        in caplog.text
    )
    left = np.delete(np.arange(20), [3, 7, 13])
    with uproot.open(out) as file:
        np.testing.assert_array_equal(file[model.metadata.tree]["condition_row"].array(library="np"), left)
    sound = conditions_file(tmp_path / "s.root", np.geomspace(1.5, 60, 20), angle=np.linspace(-0.4, 0.4, 20))
    generate(model, tmp_path / "all.root", conditions_from=sound)
    all_rows, kept = (read(model.data, files=[str(tmp_path / name)]) for name in ("all.root", "g.root"))
    np.testing.assert_allclose(
        kept.cells, all_rows.cells[left], rtol=1e-5, atol=1e-3
    )  # each has its own noise


@pytest.mark.parametrize(("action", "ends"), [("clamp", (65.0, -0.5)), ("extrapolate", (70.0, -2.0))])
def test_rows_outside_the_range_are_generated_and_said(
    action: Any, ends: tuple[float, float], wild: Path, model: Generator, tmp_path: Path, caplog: Any
) -> None:
    out = tmp_path / "g.root"
    with pytest.raises(
        ConditionRangeError, match=r"got nan GeV in row 13; extrapolation needs .*skip leaves such rows out$"
    ):
        generate(model, out, conditions_from=wild, out_of_range=action)
    assert not out.exists()
    assert generate(model, out, n=13, conditions_from=wild, out_of_range=action) == 13
    conditions = read(model.data, files=[str(out)]).conditions
    np.testing.assert_allclose((conditions[3, 0], conditions[7, 1]), ends, rtol=1e-4)
    done = {"clamp": "clamped to the nearest end", "extrapolate": "extrapolated"}[action]
    assert f"1 of 13 showers {done}: expected 1 to 65 GeV (the trained range), got 70" in caplog.text


def test_values_to_draw_from_may_be_clamped_or_skipped(model: Generator, tmp_path: Path) -> None:
    out, ranges = tmp_path / "g.root", {"incident_energy": (20.0, 200.0), "eta": 0.0}
    assert generate(model, out, n=50, conditions=ranges, out_of_range="clamp") == 50
    assert read(model.data, files=[str(out)]).conditions[:, 0].max() == pytest.approx(65, rel=1e-4)
    assert 10 < generate(model, out, n=50, conditions=ranges, out_of_range="skip") < 40
    with pytest.raises(ConditionRangeError, match=r"nothing to write; .* 50 of 50 showers skipped"):
        generate(model, out, n=50, conditions={"incident_energy": 70.0, "eta": 0.0}, out_of_range="skip")
    with pytest.raises(
        ConditionRangeError, match=r"got -1 GeV in row 0; extrapolation needs .*, clamp moves them"
    ):
        generate(
            model, out, n=50, conditions={"incident_energy": (-1.0, 5.0), "eta": 0.0}, out_of_range="skip"
        )


def test_a_late_error_keeps_the_old_file(
    model: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "_CLUSTER_BYTES", 100)
    out = tmp_path / "g.root"
    generate(model, out, n=5, conditions=POINT)
    before = out.read_bytes()
    energy = np.full(50, 5.0)
    energy[40] = 500
    path = conditions_file(tmp_path / "c.root", energy, angle=np.zeros(50))
    with pytest.raises(ValueError, match="row 40"):
        generate(model, out, conditions_from=path, batch_size=3)
    assert out.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.root", "g.root"]


def test_only_files_are_replaced(model: Generator, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # stands for a device, which a rename would replace when root runs it
    with pytest.raises(
        OSError, match=r"cannot write .*pipe: expected the name of a file, got a device or pipe"
    ):
        generate(model, pipe, n=1, conditions=POINT)
    assert pipe.is_fifo()
    with pytest.raises(
        OSError, match=r"cannot write .*: expected the name of a file, got a folder; name a file"
    ):
        generate(model, tmp_path, n=1, conditions=POINT)


def test_place_that_cannot_be_written(model: Generator, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"showers could not be written; .* name a place that can be written"):
        generate(model, tmp_path / "file" / "g.root", n=1, conditions=POINT)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("format", ["ttree", "rntuple"])
def test_full_disk_leaves_nothing(
    format: Any, model: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "_CLUSTER_BYTES", 4000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        with pytest.raises(
            OSError, match="showers could not be written; nothing was left behind, make room"
        ) as info:
            generate(model, tmp_path / "g.root", n=5000, conditions=POINT, batch_size=100, format=format)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert info.value.filename == str(tmp_path / "g.root")
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_the_number(
    exported: Callable[..., Generator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [{"shape": [12, 12], "x": [-1, 1], "y": [-1, 1], "z": [k, k + 1]} for k in range(2)]
    model = exported(tiny_data(layers=layers))
    monkeypatch.setattr(trees, "_CLUSTER_BYTES", 1_000_000)
    out = tmp_path / "g.root"
    generate(model, out, n=1000, conditions=POINT)  # what is allocated once
    peaks = []
    for n in (6_000, 20_000):
        tracemalloc.start()
        try:
            generate(model, out, n=n, conditions=POINT, seed=1)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    with uproot.open(out) as file:
        assert file["showers"].num_entries == 20_000
    assert 4 * model.calorimeter.n_cells * 20_000 > 20e6, "the showers would not fit"
    assert peaks[1] < 12e6
    assert peaks[1] - peaks[0] < 2e6, "clusters that wait to be written"


def test_progress_bar_ends_at_the_number(
    model: Generator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="hepgan.inference.bulk"):
        generate(model, tmp_path / "g.root", n=20, conditions=POINT, progress=True)
    assert "g.root: 20 showers" in caplog.text


# Observables


class _Normal(torch.nn.Module):
    """Two normal targets, exactly zero for pions."""

    def __init__(self) -> None:
        super().__init__()
        self.n_latent, self.target_scale = 2, torch.ones(2)
        ranges = [[1.0, 2000.0], [0.0, 400.0], [1.0, 400.0], [211.0, 321.0]]
        self.register_buffer("condition_range", torch.tensor(ranges))

    def forward(self, condition: torch.Tensor, latent: torch.Tensor) -> tuple[torch.Tensor]:
        return (latent * (condition[:, 3:] != 211).float(),)


@pytest.fixture
def tracks(track_data: Callable[..., DataConfig], tmp_path_factory: pytest.TempPathFactory) -> Generator:
    conditions = [
        {"name": "P", "branch": "track_P", "unit": "GeV/c"},
        {"name": "nTracks", "transform": "linear", "integer": True},
        {"name": "nHits", "integer": True},
        {
            "name": "species",
            "branch": "track_ID",
            "transform": "category",
            "categories": {"pi": 211, "K": 321},
        },
    ]
    data = track_data(["a.root"], conditions=conditions, weight="track_sWeight")
    path = tmp_path_factory.mktemp("tracks") / "model.onnx"
    write(_Normal(), path, data=data, provenance={}, metrics={})
    return Generator(path)


TRACK: dict[str, Any] = {"P": (2.0, 100.0), "nTracks": (50.0, 53.0), "nHits": (1.0, 100.0), "species": "K"}


@pytest.mark.parametrize("format", ["ttree", "rntuple"])
def test_tracks_look_like_the_training_file(
    format: Any,
    tracks: Generator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(trees, "_CLUSTER_BYTES", 4000)  # several chunks
    out = tmp_path / "g.root"
    with caplog.at_level("INFO", logger="hepgan.inference.bulk"):
        assert generate(tracks, out, n=3000, conditions=TRACK, format=format) == 3000
    assert "g.root: 3000 tracks" in caplog.text
    with uproot.open(out) as file:
        arrays = {name: branch.array(library="np") for name, branch in file["tracks"].items()}
    kinds = {"track_P": "f4", "nTracks": "i4", "nHits": "i4", "track_ID": "i4", "track_sWeight": "f4"}
    assert {name: a.dtype.str[1:] for name, a in arrays.items()} == kinds | {
        "track_DLLk": "f4",
        "track_DLLp": "f4",
    }
    events = read(tracks.data, files=[str(out)])
    np.testing.assert_array_equal(events.targets, np.stack([arrays["track_DLLk"], arrays["track_DLLp"]], 1))
    assert len(np.unique(events.targets)) > 5900
    np.testing.assert_array_equal(events.weights, 1)


def test_counts_are_drawn_whole_and_categories_by_name(tracks: Generator, tmp_path: Path) -> None:
    out = tmp_path / "g.root"
    generate(tracks, out, n=8000, conditions=TRACK)
    momentum, n_tracks, n_hits, species = read(tracks.data, files=[str(out)]).conditions.T
    assert np.mean(momentum < np.sqrt(200)) == pytest.approx(0.5, abs=0.03), "log-uniform"
    values, counts = np.unique(n_tracks, return_counts=True)
    np.testing.assert_array_equal(values, [50, 51, 52, 53])
    np.testing.assert_allclose(counts, 2000, atol=5 * np.sqrt(1500))
    assert (n_hits.min(), n_hits.max()) == (1, 100)
    np.testing.assert_array_equal(n_hits, np.rint(n_hits))
    expected = np.log(1.5 / 0.5) / np.log(100.5 / 0.5)
    assert np.mean(n_hits == 1) == pytest.approx(expected, abs=0.025)
    assert set(species) == {321}
    generate(tracks, out, n=10, conditions=TRACK | {"species": "pi", "nTracks": 100.0})
    events = read(tracks.data, files=[str(out)])
    assert not events.targets.any(), "pions"
    np.testing.assert_array_equal(events.conditions[:, 1], 100)


def test_conditions_of_tracks_from_a_file(
    tracks: Generator, tmp_path: Path, track_file: Any, tiny_tracks: Any
) -> None:
    momentum = np.abs(tiny_tracks["track_P"])
    hits = np.arange(1, len(momentum) + 1, dtype=np.int32)
    path = track_file("jagged", name="c.root", track_P=momentum, nHits=hits)
    out = tmp_path / "g.root"
    assert generate(tracks, out, conditions_from=path) == len(momentum)
    conditions = read(tracks.data, files=[str(out)]).conditions
    expected = np.stack([momentum, tiny_tracks["nTracks"], hits, tiny_tracks["track_ID"]], axis=1)
    np.testing.assert_array_equal(conditions, expected)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"species": "k"}, r"condition 'species': there is no category 'k'; there is 'pi', 'K'"),
        ({"species": "pii"}, r"condition 'species': there is no category 'pii'; did you mean 'pi'\?"),
        ({"species": 2212.0}, r"condition 'species': expected one of pi = 211, K = 321, got 2212"),
        (
            {"species": (211.0, 321.0)},
            r"condition 'species': expected one category, got the range 211 to 321; choose of \['pi', 'K'\]",
        ),
        (
            {"nTracks": (50.5, 60.0)},
            r"condition 'nTracks': expected whole numbers \(it is a count\), got 50\.5; round them",
        ),
        ({"nTracks": 50.5}, r"got 50\.5; round them"),
        ({"P": "K"}, r"condition 'P': expected a number, or a range low:high, got 'K'; write P=VALUE"),
    ],
)
def test_bad_conditions_of_tracks(
    value: dict[str, Any], message: str, tracks: Generator, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        generate(tracks, tmp_path / "g.root", n=10, conditions=TRACK | value)
    without = {name: v for name, v in TRACK.items() if name != "species"}
    with pytest.raises(ValueError, match=r"got none for \['species'\]; add --condition species=VALUE"):
        generate(tracks, tmp_path / "g.root", n=10, conditions=without)
    with pytest.raises(ValueError, match="n: expected a positive number of tracks, got none"):
        generate(tracks, tmp_path / "g.root", conditions=TRACK)
    assert list(tmp_path.iterdir()) == []
