import hashlib
import logging
import re
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from conftest import LAYOUTS, branches_of
from root_files.make import ENTRIES, FOLDER, truth, whole

from hepgan.config import DataConfig, parse
from hepgan.data.events import Events
from hepgan.data.expressions import quoted
from hepgan.data.reading import iterate, iterate_conditions, read
from hepgan.data.root import open_file, open_tree
from hepgan.errors import ConfigError, DataError, NotFoundError
from hepgan.files import digest, expand

OBJECTS = FOLDER / "objects.root"


def assert_same(a: Events, b: Events) -> None:
    for name in ("conditions", "cells", "overflow", "weights"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


# What is read


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_showers(tiny_events, tiny_file, tiny_data, layout) -> None:
    events = read(tiny_data([tiny_file(layout)], layout))
    assert_same(events, tiny_events)
    for values in (events.conditions, events.cells, events.overflow, events.weights):
        assert values.dtype == np.float32
        assert values.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("chunk", ["300 B", "3 kB", "1 GB"])
def test_chunks_do_not_change_the_result(tiny_events, tiny_file, tiny_data, layout, chunk) -> None:
    data = tiny_data([tiny_file(layout)], layout, chunk=chunk)
    parts = list(iterate(data))
    assert len(parts) == 1 if chunk == "1 GB" else len(parts) > 1
    assert all(len(part) for part in parts)
    np.testing.assert_array_equal(np.concatenate([part.cells for part in parts]), tiny_events.cells)
    assert_same(read(data), tiny_events)


def test_shipped_sample_conserves_energy(events) -> None:
    incident = events.conditions[:, 0] * 1000
    response = (events.cells.sum(1, dtype=np.float64) + events.overflow.sum(1)) / incident
    assert events.cells.shape == (400, 504)
    assert abs(response.mean() - 0.997) < 0.001  # the calorimeter is 31 radiation lengths deep
    excess = response * incident - incident
    assert excess.max() < 1.03  # MeV: nothing beyond the annihilation of the positron, 2 m_e


def test_hits_of_the_shipped_sample_sum_to_the_cells(data_dir, sample_config) -> None:
    values = sample_config.model_dump()
    values["files"] = [str(data_dir / "eplus_hits.root")]
    hits = {"layer": "hit_layer", "i": "hit_ix", "j": "hit_iy", "energy": "hit_energy"}
    values["calorimeter"] |= {"layout": "hits", "hits": hits, "overflow": None}
    events = read(type(sample_config).model_validate(values))
    with uproot.open(data_dir / "eplus_hits.root") as file:
        energy = file["showers/hit_energy"].array()
    np.testing.assert_allclose(events.cells.sum(1), ak.to_numpy(ak.sum(energy, axis=1)), rtol=1e-5)
    np.testing.assert_array_equal((events.cells > 0).sum(1), ak.to_numpy(ak.num(energy)))
    assert events.overflow.shape == (500, 0)


def test_other_shapes_in_c_order_are_taken(tiny_events, tiny_file, tiny_data) -> None:
    flat = tiny_file(layer_0=tiny_events.cells[:, :6].copy(), name="flat.root")
    assert_same(read(tiny_data([flat])), tiny_events)
    column = tiny_file(
        incident_energy=tiny_events.conditions, name="column.root"
    )  # (N, 1), as CaloGAN's HDF5
    assert_same(read(tiny_data([column])), tiny_events)


def test_many_files_globs_and_folders(tiny_events, tiny_file, tiny_data, tmp_path) -> None:
    tiny_file(name="run_2.root")
    tiny_file(name="run_1.root", incident_energy=tiny_events.conditions[:, 0] + 100)
    data = tiny_data(["run_*.root", "run_2.root"])
    events = read(data, base=tmp_path)
    assert len(events) == 100  # a file named twice is read once
    np.testing.assert_array_equal(events.conditions[50:], tiny_events.conditions)  # alphabetical
    np.testing.assert_array_equal(events.conditions[:50], tiny_events.conditions + 100)
    assert_same(read(data, files=["run_2.root"], base=tmp_path), tiny_events)


def test_relative_base_and_geometry_file(tiny_events, tiny_file, tiny_data, tmp_path, monkeypatch) -> None:
    tiny_file(name="a.root")
    layers = tiny_data(["a.root"]).calorimeter.layers
    text = "".join(
        f"[[layers]]\nshape={list(layer.shape)}\nx={list(layer.x)}\ny={list(layer.y)}\nz={list(layer.z)}\n"
        for layer in layers
    )
    (tmp_path / "geometry.toml").write_text(text)
    monkeypatch.chdir(tmp_path.parent)
    data = tiny_data(["a.root"], calorimeter={"layers": [], "geometry": "geometry.toml"})
    assert_same(read(data, base=tmp_path.name), tiny_events)


def test_a_condition_that_the_name_of_the_file_decides(tiny_events, tiny_file, tiny_data) -> None:
    paths = [tiny_file(name="gamma_1.root"), tiny_file(name="eplus_1.root")]
    species = {"name": "particle", "transform": "category", "categories": {"e+": -11, "gamma": 22}}
    by_file = {"eplus_*.root": "e+", "gamma_*.root": 22}
    conditions = [{"name": "incident_energy", "unit": "GeV"}, species | {"by_file": by_file}]
    data = tiny_data(paths, conditions=conditions)
    events = read(data)
    assert events.conditions[:, 1].tolist() == [22.0] * 50 + [-11.0] * 50
    np.testing.assert_array_equal(events.conditions[:50, 0], tiny_events.conditions[:, 0])
    rows = np.concatenate([*iterate_conditions(data, paths[1])])
    assert set(rows[:, 1]) == {-11.0}
    written = tiny_file(name="other.root", particle=np.full(50, 22))  # a branch comes first
    assert set(read(data, files=[written]).conditions[:, 1]) == {22.0}
    unknown = tiny_file(name="mu_1.root")
    with pytest.raises(
        ConfigError, match=r"'particle': expected a branch 'particle' in .*mu_1\.root.*'eplus_\*"
    ):
        read(data, files=[unknown])
    with pytest.raises(
        ConfigError, match=r"by_file: 'mu\*': expected one of e\+ = -11, gamma = 22, got 'mu'"
    ):
        tiny_data(paths, conditions=[conditions[0], species | {"by_file": {"mu*": "mu"}}])


def test_cut_and_maximum(tiny_events, tiny_file, tiny_data) -> None:
    path = tiny_file()
    passed = (tiny_events.conditions[:, 0] > 20) & (tiny_events.overflow[:, 1] < 50)
    assert 0 < passed.sum() < 50
    cut = "incident_energy > 20 && overflow[1] < 50"
    assert_same(read(tiny_data([path], cut=cut, chunk="400 B")), tiny_events[passed])
    some = read(tiny_data([path], cut=cut, max_events=5, chunk="400 B"))
    assert_same(some, tiny_events[np.flatnonzero(passed)[:5]])
    assert_same(read(tiny_data([path, tiny_file(name="more.root")], max_events=60))[50:], tiny_events[:10])


def test_conditions_and_weights_may_be_expressions(tiny_events, tiny_file, tiny_data) -> None:
    conditions = [
        {"name": "incident_energy", "branch": "1000 * incident_energy", "unit": "MeV"},
        {"name": "position", "branch": "number - 25", "transform": "linear"},
    ]
    events = read(tiny_data([tiny_file()], conditions=conditions, weight="w * (number > 9)"))
    np.testing.assert_allclose(events.conditions[:, 0], 1000 * tiny_events.conditions[:, 0])
    np.testing.assert_array_equal(events.conditions[:, 1], np.arange(50) - 25)
    np.testing.assert_array_equal(events.weights, np.arange(50) > 9)


def test_expressions_do_not_wrap_in_the_type_of_the_branch(tiny_events, tiny_file, tiny_data) -> None:
    n = np.arange(50)
    path = tiny_file(us=(n * 11).astype(np.uint16), charge=np.where(n % 3, 1, -1).astype(np.int8))
    for cut, passed in (
        ("us - 100 < 0", n * 11 < 100),
        ("-us < 0", n > 0),
        ("us * us > 65535", n * 11 > 255),
        ("us > -1", n > -1),
        ("us < 70000", n > -1),
        ("charge * 200 > 0", n % 3 > 0),
        ("(us > 50) * (charge > 0)", (n * 11 > 50) & (n % 3 > 0)),
    ):
        assert_same(read(tiny_data([path], cut=cut)), tiny_events[passed])
    conditions = [
        {"name": "incident_energy", "branch": "us * us + 1"},
        {"name": "charge", "branch": "charge * 200", "transform": "linear"},
    ]
    events = read(tiny_data([path], conditions=conditions, weight="us - 20"))
    np.testing.assert_array_equal(
        events.conditions, np.stack([(n * 11.0) ** 2 + 1, np.where(n % 3, 200, -200)], 1)
    )
    np.testing.assert_array_equal(events.weights, n * 11 - 20)


def test_names_that_are_no_identifiers_in_expressions(tiny_events, tiny_file, tiny_data) -> None:
    n = np.arange(50)
    branches = {
        "lambda": n,
        "E[MeV]": n,
        "Aux::pt": n,
        "p-K": n,
        "p K": n,
        "jet.pt()": n,
        "η": n,
        "K+_DLL": n,
    }
    path = tiny_file(**{name: values.astype(np.float32) for name, values in branches.items()})
    for name in branches:
        assert_same(read(tiny_data([path], cut=f"{quoted(name)} > 20")), tiny_events[n > 20])
        np.testing.assert_array_equal(read(tiny_data([path], weight=name)).weights, n)
    for name in ("E[MeV]", "p-K", "p K", "jet.pt()", "K+_DLL"):
        with pytest.raises((ConfigError, DataError), match=re.escape(f"stands in backticks: `{name}`")):
            read(tiny_data([path], cut=f"{name} > 20"))


def test_only_needed_branches_are_read(tiny_file, tiny_data, monkeypatch) -> None:
    read_branches = set()
    original = uproot.behaviors.TBranch.TBranch.entries_to_ranges_or_baskets

    def spy(self, *args, **kwargs):
        read_branches.add(self.name)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(uproot.behaviors.TBranch.TBranch, "entries_to_ranges_or_baskets", spy)
    read(tiny_data([tiny_file()]))
    assert read_branches == {"incident_energy", "layer_0", "layer_1", "overflow"}


def test_a_tree_in_a_folder_needs_no_name_when_alone(tiny_events, tmp_path, tiny_data) -> None:
    path = tmp_path / "folder.root"
    with uproot.recreate(path) as file:
        branches = branches_of(tiny_events, "arrays")
        types = {name: (values.dtype, values.shape[1:]) for name, values in branches.items()}
        file.mktree("sim/showers", types).extend(branches)
    assert_same(read(tiny_data([str(path)])), tiny_events)
    assert_same(read(tiny_data([str(path)], tree="sim/showers")), tiny_events)


def test_indexing_keeps_the_columns(tiny_events) -> None:
    assert len(tiny_events[10:20]) == 10
    np.testing.assert_array_equal(tiny_events[np.array([3, 1])].cells, tiny_events.cells[[3, 1]])


def test_memory_is_the_result_and_a_chunk(sample_config) -> None:
    data = sample_config.model_copy(update={"chunk": "1 MB", "max_events": 9000})
    size = 9000 * (504 + 1 + 3 + 1) * 4
    basket = 3000 * 504 * 4  # the files' own unit; LZMA and byte swap hold it twice more
    read(data.model_copy(update={"max_events": 10}))  # imports
    tracemalloc.start()
    events = read(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    n = sum(len(part) for part in iterate(data))
    streaming = tracemalloc.get_traced_memory()[1] - size
    tracemalloc.stop()
    assert len(events) == n == 9000
    assert peak < size + 5 * basket
    assert streaming < 5 * basket


def test_progress_bar_is_optional(tiny_file, tiny_data, capsys) -> None:
    data = tiny_data([tiny_file()])
    read(data)
    assert capsys.readouterr().out == ""
    assert len(read(data, progress=True)) == 50


def test_digest_is_the_sha256_of_the_contents(tmp_path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"def")
    assert digest([tmp_path / "a", str(tmp_path / "b")]) == hashlib.sha256(b"abcdef").hexdigest()
    assert digest(["root://host/a"]) == hashlib.sha256(b"root://host/a").hexdigest()


def test_expand_passes_urls_and_odd_names(tmp_path) -> None:
    odd = tmp_path / "run[1].root"
    odd.touch()
    assert expand(["root://host//a.root", "run[1].root"], base=tmp_path) == ["root://host//a.root", str(odd)]


def test_readme_of_the_samples_states_their_checksums(data_dir) -> None:
    readme = (data_dir / "README.md").read_text(encoding="utf-8")
    samples = sorted(data_dir.glob("*.root"))
    assert sum(path.stat().st_size for path in samples) < 22e6
    for path in samples:
        with open_file(path) as file:
            entries = open_tree(file).num_entries
        assert f"| {path.name} | {entries} | {path.stat().st_size} | `{digest([path])}` |" in readme


# What is wrong with a file


def test_missing_files_name_the_nearest(tmp_path, tiny_data) -> None:
    (tmp_path / "showers_1.root").touch()
    with pytest.raises(NotFoundError, match=r"not found: .*shower_1\.root.*did you mean 'showers_1\.root'"):
        read(tiny_data(["shower_1.root"]), base=tmp_path)
    with pytest.raises(NotFoundError, match=r"there is no folder .*nowhere"):
        read(tiny_data(["nowhere/a.root"]), base=tmp_path)
    with pytest.raises(NotFoundError, match=r"\*\.rot: expected at least one match, got none"):
        read(tiny_data(["*.rot"]), base=tmp_path)
    with pytest.raises(NotFoundError, match="expected a file, got a folder; name a file in it"):
        read(tiny_data([str(tmp_path)]))
    with pytest.raises(NotFoundError, match="not found"), open_file(tmp_path / "gone.root"):
        pass


@pytest.mark.parametrize(
    ("content", "got"), [(b"", "an empty file"), (b"\x89HDF\r\n" * 50, r"b'\\x89HDF' in 300")]
)
def test_not_a_root_file(tmp_path, tiny_data, content, got) -> None:
    path = tmp_path / "a.root"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.root: not a ROOT file: expected b'root' .*got {got}"):
        read(tiny_data([str(path)]))


def test_truncated_file(tiny_file, tiny_data) -> None:
    path = Path(tiny_file())
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    message = rf"truncated ROOT file: expected {len(content)} bytes, got {len(content) // 2}; copy it again"
    with pytest.raises(DataError, match=message):
        read(tiny_data([str(path)]))


def test_file_that_was_never_closed(tiny_file, tiny_data) -> None:
    path = Path(tiny_file())
    content = bytearray(path.read_bytes())
    version = struct.unpack_from(">i", content, 4)[0]
    content[16:20] = bytes(4)  # TFile writes the position of the free segments when it closes the file
    assert version < 1_000_000
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"never closed: expected the position .*got 0; .* UPDATE mode"):
        read(tiny_data([str(path)]))


def test_damaged_contents(tiny_file, tiny_data) -> None:
    path = Path(tiny_file())
    with uproot.open(path) as file:
        seek = int(file["showers/layer_0"].member("fBasketSeek")[0])
        header = int(file.key("showers").fSeekKey)
    content = path.read_bytes()
    path.write_bytes(content[: seek + 80] + b"\xff" * 200 + content[seek + 280 :])
    with pytest.raises(
        DataError, match=r"cannot read branch 'layer_0' .*: the file is damaged .*; copy or make it"
    ):
        read(tiny_data([str(path)]))
    path.write_bytes(content[: header + 80] + b"\xff" * 200 + content[header + 280 :])
    with pytest.raises(DataError, match=r"cannot read tree 'showers': the file is damaged"):
        read(tiny_data([str(path)]))
    path.write_bytes(content[:100] + b"\xff" * 80 + content[180:])
    with pytest.raises(DataError, match=r"cannot read its directory: the file is damaged"):
        read(tiny_data([str(path)]))


def test_missing_trees(tiny_file, tiny_data, tmp_path) -> None:
    with pytest.raises(DataError, match=r"has no tree 'shower' \(data\.tree\); did you mean 'showers'\?"):
        read(tiny_data([tiny_file()], tree="shower"))
    path = tmp_path / "histogram.root"
    with uproot.recreate(path) as file:
        file["h"] = np.histogram([1.0, 2.0])
    with pytest.raises(DataError, match="expected a TTree or RNTuple, got a ROOT file with none"):
        read(tiny_data([str(path)]))
    with uproot.recreate(path) as file:
        for name in ("a", "b"):
            file.mktree(name, {"x": "f4"}).extend({"x": np.ones(3, np.float32)})
    with pytest.raises(DataError, match=r"expected one tree, got \['a', 'b'\]; choose one"):
        read(tiny_data([str(path)]))
    with open_file(path) as file:
        assert open_tree(file, "b;1").num_entries == 3


@pytest.mark.parametrize("layout", ["arrays", "rntuple"])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"calorimeter": {"branches": ["layer_0", "layer1"]}}, r"no branch 'layer1' \(data\.calorimeter\)"),
        (
            {"calorimeter": {"overflow": "overfow"}},
            r"'overfow' \(data\.calorimeter\.overflow\); did you mean 'overfl",
        ),
        ({"weight": "sWeight"}, r"'sWeight' \(data\.weight\)"),
        ({"cut": "incident_enrgy > 1"}, r"'incident_enrgy' \(data\.cut\); did you mean 'incident_energy'\?"),
        (
            {"conditions": [{"name": "incident_energy", "branch": "zzz"}]},
            r"tree 'showers' has no branch 'zzz' \(data\.conditions\); there is .*'layer_0'",
        ),
    ],
)
def test_missing_branches(tiny_file, tiny_data, layout, settings, message) -> None:
    with pytest.raises(DataError, match=message):
        read(tiny_data([tiny_file(layout)], layout, **settings))


def test_a_tree_without_entries_and_branches_among_others(tiny_file, tiny_events, tiny_data, caplog) -> None:
    path = tiny_file(name="other.root")
    empty = str(FOLDER / "empty.root")
    with open_file(empty) as file:
        assert not open_tree(file).keys()
    with caplog.at_level(logging.WARNING):
        assert_same(read(tiny_data([empty, path])), tiny_events)
    assert "empty.root: tree 'showers' has no entries and no branches" in caplog.text
    with pytest.raises(DataError, match=r"empty\.root: expected showers, got zero entries; name other files"):
        read(tiny_data([empty]))


# Shapes of the data models of experiments


def test_collections_of_structs_as_hits(tmp_path, tiny_events, tiny_data) -> None:
    """As EDM4hep has them in RNTuples."""
    event, cell = np.nonzero(tiny_events.cells)
    counts = np.bincount(event, minlength=len(tiny_events))
    position = ak.zip({axis: np.zeros(len(cell), np.float32) for axis in "xyz"})
    hit = ak.zip(
        {"cellID": cell.astype(np.uint64), "energy": tiny_events.cells[event, cell], "position": position},
        depth_limit=1,
    )
    other = ak.zip({"cellID": cell.astype(np.uint64), "energy": np.zeros(len(cell), np.float32)})
    with uproot.recreate(tmp_path / "edm.root") as file:
        file.mkrntuple(
            "events",
            {
                "ECalBarrelCollection": ak.unflatten(hit, counts),
                "HCalBarrelCollection": ak.unflatten(other, counts),
                "MCParticle": ak.zip({"energy": tiny_events.conditions[:, 0]}),
            },
        )
    calorimeter = {
        "layout": "hits",
        "branches": [],
        "overflow": None,
        "hits": {"cell": "ECalBarrelCollection.cellID", "energy": "ECalBarrelCollection.energy"},
    }
    conditions = [{"name": "incident_energy", "branch": "MCParticle.energy", "unit": "GeV"}]
    data = tiny_data([str(tmp_path / "edm.root")], calorimeter=calorimeter, conditions=conditions)
    events = read(data)
    np.testing.assert_array_equal(events.cells, tiny_events.cells)
    np.testing.assert_array_equal(events.conditions, tiny_events.conditions)
    for branch, message in {
        "energy": r"'energy' .* stands for 'ECalBarrelCollection\.energy', 'HCalBarrelCollection\.energy', 'MCParticle",
        "MCParticle": r"no branch 'MCParticle' .*did you mean 'MCParticle\.energy'",
    }.items():
        bad = [{"name": "incident_energy", "branch": branch, "unit": "GeV"}]
        with pytest.raises(DataError, match=message):
            read(data.model_copy(update={"conditions": tiny_data(["a"], conditions=bad).conditions}))


def test_split_collections_of_a_ttree_as_hits(tiny_data) -> None:
    """As EDM4hep has them in TTrees, here from ROOT: ``hits/hits.e_1``."""
    layers = [{"shape": [8, 8], "x": [0.0, 1.0], "y": [0.0, 1.0], "z": [0.0, 1.0]}]
    hits = {"cell": "hits.c_2", "energy": "hits.e_1"}
    calorimeter = {"layout": "hits", "hits": hits, "layers": layers, "branches": [], "overflow": None}
    conditions = [{"name": "incident_energy", "branch": "kin.P_1 + 1", "unit": "GeV"}]
    events = read(tiny_data([str(OBJECTS)], calorimeter=calorimeter, conditions=conditions))
    for i in range(ENTRIES):
        cells = np.zeros(64)
        for k in range(i % 4):
            cells[whole(i, k, 2)] += truth(i, k, 1)
        np.testing.assert_array_equal(events.cells[i], cells)
        assert events.conditions[i, 0] == truth(i, 0, 1) + 1


def test_tracks_of_clones_and_of_counted_arrays(tmp_path) -> None:
    """As Delphes (``Track.PT`` in a TClonesArray, here from ROOT) and NanoAOD (``Jet_pt[nJet]``) have them."""

    def data(path: str, prefix: str, pt: str, eta: str) -> DataConfig:
        conditions = [{"name": "eta", "branch": prefix + eta, "transform": "linear"}]
        return parse(
            {
                "data": {
                    "files": [path],
                    "conditions": conditions,
                    "targets": [{"name": "pt", "branch": prefix + pt}],
                }
            }
        ).data

    pairs = [(truth(i, k, 1), truth(i, k, 2)) for i in range(ENTRIES) for k in range(i % 4)]
    counts = np.arange(ENTRIES) % 4
    jets = {
        name: ak.unflatten(np.asarray(v, np.float32), counts)
        for name, v in (("pt", [pt for pt, _ in pairs]), ("eta", [eta for _, eta in pairs]))
    }
    with uproot.recreate(tmp_path / "nano.root") as file:
        branches = {"run": np.ones(ENTRIES, np.uint32), "Jet": ak.zip(jets)}
        file.mktree("Events", {"run": "u4", "Jet": branches["Jet"].type.content}).extend(branches)
    for config in (
        data(str(OBJECTS), "Track.", "PT", "Eta"),
        data(str(tmp_path / "nano.root"), "Jet_", "pt", "eta"),
    ):
        tracks = read(config)
        np.testing.assert_array_equal(np.c_[tracks.targets, tracks.conditions], pairs)
    with uproot.open(tmp_path / "nano.root") as file:
        assert {"nJet", "Jet_pt"} <= set(file["Events"].keys())


# What is wrong with the events


def test_zero_entries(tiny_file, tiny_events, tiny_data, tmp_path, caplog) -> None:
    path = str(tmp_path / "empty.root")
    with uproot.recreate(path) as file:
        shapes = {"incident_energy": (), "layer_0": (2, 3), "layer_1": (2, 2), "overflow": (2,)}
        file.mktree("showers", {name: (np.dtype("f4"), shape) for name, shape in shapes.items()})
    data = tiny_data([path])
    for reading in (read, lambda d: list(iterate(d))):
        with pytest.raises(
            DataError, match=r"empty\.root: expected showers, got zero entries; name other files"
        ):
            reading(data)
    with caplog.at_level(logging.WARNING):  # among others it does no harm
        assert_same(read(tiny_data([path, tiny_file()])), tiny_events)
    assert "tree 'showers' has no entries" in caplog.text


def test_cut_that_leaves_nothing(tiny_file, tiny_data) -> None:
    data = tiny_data([tiny_file()], cut="incident_energy > 1e6")
    for reading in (read, lambda d: list(iterate(d))):
        with pytest.raises(
            DataError, match=r"data\.cut 'incident_energy > 1e6': .* got none of 50 entries; loosen"
        ):
            reading(data)


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        ("incident_energy >", "expected an expression of branches such as"),
        ("incident_energy", "expected true or false for each event, got float32 for each; compare it"),
        ("overflow > 1", r"expected true or false for each event, got 2 \* bool for each"),
        ("number & 1 == 1", "between a comparison and a number"),
        ("incident_energy(1) > 2", "there is no function 'incident_energy'"),
        ("overflow[2] > 1", "cannot be evaluated"),
        ("1 > 0", "expected an expression of branches, got none in it"),
    ],
)
def test_bad_cuts(tiny_file, tiny_data, cut, message) -> None:
    with pytest.raises(ConfigError, match=rf"data\.cut .*{message}"):
        read(tiny_data([tiny_file()], cut=cut))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["layer_1", "overflow", "incident_energy", "w"])
def test_infinite_values(tiny_file, tiny_events, tiny_data, name, value) -> None:
    shape = {"layer_1": (50, 2, 2), "overflow": (50, 2)}.get(name, (50,))
    values = np.ones((50, int(np.prod(shape[1:]))), np.float32)
    values[[30, 42], 0] = value
    path = tiny_file(**{name: values.reshape(shape)})
    message = (
        rf"'{name}': expected finite \w+, got 2 NaN or infinite in 2 events .*first in entry 30; leave such"
    )
    with pytest.raises(DataError, match=message):
        read(tiny_data([path], weight="w"))
    with pytest.raises(DataError, match="first in entry 30"):  # the entry in the file, not in the chunk
        read(tiny_data([path], weight="w", chunk="300 B", cut="number > 3"))
    assert len(read(tiny_data([path], weight="w", cut="number != 30 and number != 42"))) == 48


@pytest.mark.parametrize("layout", LAYOUTS)
def test_negative_energies(tiny_file, tiny_data, layout) -> None:
    if layout == "cells":
        name, values = "cell_3", np.ones(50)
    elif layout in ("hits", "cell_ids"):
        name, values = "hit_energy", None
    elif layout == "vectors":
        name, values = "layer_1", ak.from_regular(ak.from_numpy(np.ones((50, 4), np.float32)))
    else:
        name, values = "layer_1", np.ones((50, 2, 2), np.float32)
    if values is None:
        path = tiny_file(layout)
        with uproot.open(path) as file:
            values = file["showers/hit_energy"].array()
    sign = np.where(np.arange(50) == 17, -1.0, 1.0)
    sign = sign[:, None, None] if getattr(values, "ndim", 1) == 3 else sign
    path = tiny_file(layout, name="negative.root", **{name: values * sign})
    with pytest.raises(
        DataError, match=rf"'{name}': expected energies >= 0, got \d+ negative .*in entry 17;"
    ):
        read(tiny_data([path], layout))


def test_doubles_beyond_float32_are_reported(tiny_file, tiny_data) -> None:
    path = tiny_file("cells", cell_0=np.full(50, 1e300))
    with pytest.raises(DataError, match="'cell_0': expected finite values, got 50 NaN or infinite"):
        read(tiny_data([path], "cells"))


def test_incident_energy_must_be_positive_for_its_logarithm(tiny_file, tiny_data) -> None:
    path = tiny_file(incident_energy=np.arange(50, dtype=np.float32) - 1)
    message = r"'incident_energy': expected values > 0 \(transform = \"log\"\), got 2 values <= 0 in 2 events"
    with pytest.raises(DataError, match=message):
        read(tiny_data([path]))
    linear = [{"name": "incident_energy", "transform": "linear"}]
    assert read(tiny_data([path], conditions=linear)).conditions.min() == -1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            np.ones((50, 3, 2), np.float32),
            r"expected shape \[2, 3\] an event, got \[3, 2\]; change the shape",
        ),
        (np.ones((50, 7), np.float32), r"expected shape \[2, 3\] an event, got \[7\]"),
        (
            ak.Array([[1.0] * 6] * 30 + [[1.0] * 5] * 20),
            r"expected 6 numbers an event, got 20 .*first in entry 30",
        ),
    ],
)
def test_layer_of_another_shape(tiny_file, tiny_data, values, message) -> None:
    with pytest.raises(DataError, match=rf"'layer_0': {message}"):
        read(tiny_data([tiny_file(layer_0=values)]))


def test_text_is_not_a_number(tmp_path, write_tree, tiny_events, tiny_data) -> None:
    path = tmp_path / "text.root"
    write_tree(path, {"name": ak.Array(["a", "b"]), "cell_0": np.ones(2)}, rntuple=True)
    conditions = [{"name": "incident_energy", "branch": "name"}]
    layer = {"shape": [1, 1], "x": [0, 1], "y": [0, 1], "z": [0, 1]}
    calorimeter = {"layers": [layer], "overflow": None}
    with pytest.raises(DataError, match="'name': expected numbers, got string; name another branch"):
        read(tiny_data([str(path)], "cells", conditions=conditions, calorimeter=calorimeter))


@pytest.mark.parametrize(
    ("layout", "branch", "got"),
    [
        ("hits", "hit_layer", "hit_layer = 5, "),
        ("hits", "hit_ix", "hit_ix = 5, "),
        ("hits", "hit_iy", "hit_iy = 5"),
        ("cell_ids", "hit_cell", "hit_cell = 95"),
    ],
)
def test_hits_outside_the_geometry(tiny_file, tiny_data, layout, branch, got) -> None:
    with uproot.open(tiny_file(layout)) as file:
        values = file["showers"][branch].array()
    flat = ak.to_numpy(ak.flatten(values)).copy()
    counts = ak.num(values)
    first = int(ak.sum(counts[:20]))
    flat[first] = 95 if layout == "cell_ids" else 5
    path = tiny_file(layout, name="outside.root", **{branch: ak.unflatten(flat, counts)})
    with pytest.raises(
        DataError, match=rf"hits outside the geometry: .*got 1 other hits .*entry 20 \(.*{got}"
    ):
        read(tiny_data([path], layout))


def test_hits_of_different_lengths(tiny_file, tiny_data) -> None:
    with uproot.open(tiny_file("hits")) as file:
        values = file["showers/hit_ix"].array()
    path = tiny_file("hits", name="short.root", hit_ix=values[:, 1:])
    with pytest.raises(
        DataError, match="'hit_ix': expected as many hits as 'hit_energy', got 50 differences"
    ):
        read(tiny_data([path], "hits"))
    calorimeter = {"hits": {"cell": "number", "energy": "hit_energy"}}
    with pytest.raises(DataError, match=r"'number': expected one number a hit .*got int32 an event"):
        read(tiny_data([path], "hits", calorimeter=calorimeter))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.zeros(50), "expected weights other than zero, got only zeros"),
        (-np.ones(50), "expected a positive sum of weights, got -50"),
        (np.where(np.arange(50) % 2, 1.0, -1.0), "expected a positive sum of weights, got 0"),
    ],
)
def test_useless_weights(tiny_file, tiny_data, weights, message) -> None:
    with pytest.raises(DataError, match=rf"data\.weight 'w': {message}"):
        read(tiny_data([tiny_file(w=weights)], weight="w"))


def test_some_negative_weights_are_fine(tiny_file, tiny_data) -> None:
    weights = np.where(np.arange(50) % 5, 1.0, -1.0)  # as sWeights are
    np.testing.assert_array_equal(read(tiny_data([tiny_file(w=weights)], weight="w")).weights, weights)


@pytest.mark.parametrize("chunk", ["big", "0 MB", "-3 MB", "64"])
def test_chunk_must_be_a_size(tiny_file, tiny_data, chunk) -> None:
    with pytest.raises(ConfigError, match=r"data\.chunk: expected a size such as '64 MB', got"):
        read(tiny_data([tiny_file()], chunk=chunk))


def test_hits_of_one_cell_are_added_and_single_ones_are_as_they_are(tiny_file, tiny_data) -> None:
    """Without repeated cells another, faster way is taken; both give the same sums."""
    once = {
        "hit_layer": [[0, 0, 1], [1]] * 25,
        "hit_ix": [[0, 1, 1], [0]] * 25,
        "hit_iy": [[2, 0, 1], [0]] * 25,
    }
    energy = [[1.5, 2.0, 4.0], [8.0]] * 25
    alone = read(tiny_data([tiny_file("hits", name="once.root", **jagged(once, energy))], "hits"))
    assert alone.cells[0].tolist() == [0, 0, 1.5, 2.0, 0, 0, 0, 0, 0, 4.0]
    twice = once | {"hit_ix": [[0, 0, 1], [0]] * 25, "hit_iy": [[2, 2, 1], [0]] * 25}
    added = read(tiny_data([tiny_file("hits", name="twice.root", **jagged(twice, energy))], "hits"))
    assert added.cells[0].tolist() == [0, 0, 3.5, 0, 0, 0, 0, 0, 0, 4.0]
    np.testing.assert_array_equal(added.cells[1], alone.cells[1])


def jagged(address: dict[str, Any], energy: Any) -> dict[str, Any]:
    """Branches of hits."""
    branches = {name: ak.values_astype(ak.Array(values), np.int32) for name, values in address.items()}
    return branches | {"hit_energy": ak.values_astype(ak.Array(energy), np.float32)}
