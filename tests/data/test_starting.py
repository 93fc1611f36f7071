"""The configuration that `hepgan inspect --config` prints: complete, and readable as it is."""

import re
from collections.abc import Callable
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from conftest import CALOGAN_LAYERS

from hepgan.config import load, parse
from hepgan.config.file import tomllib
from hepgan.data.events import Events
from hepgan.data.reading import read
from hepgan.data.starting import starting_config
from hepgan.errors import DataError
from hepgan.files import PACKAGE


@pytest.fixture
def calogan_file(tmp_path, events) -> Callable[..., str]:
    """The shipped showers as CaloGAN's own ROOT files hold them."""

    def build(*, overflow: bool = True, n: int = 20) -> str:
        flat = np.concatenate([events.cells, events.overflow], axis=1)[:n].astype(np.float64)
        flat = flat if overflow else flat[:, :504]
        path = tmp_path / "fancy.root"
        with uproot.recreate(path) as file:
            branches = {f"cell_{k}": flat[:, k] for k in range(flat.shape[1])}
            branches["TotalEnergy"] = events.conditions[:n, 0].astype(np.float64)
            file.mktree("fancy_tree", {name: values.dtype for name, values in branches.items()})
            file["fancy_tree"].extend(branches)
        return str(path)

    return build


def started(path: str) -> tuple[dict, Events]:
    """The starting configuration, checked, and what it reads."""
    text = starting_config(path)
    config = parse(tomllib.loads(text))
    return {"text": text, "data": config.data}, read(config.data)


def test_config_of_the_shipped_arrays(data_dir, sample_config) -> None:
    config, events = started(str(data_dir / "eplus_test.root"))
    assert config["data"].calorimeter == sample_config.calorimeter
    (condition,) = config["data"].conditions
    assert (condition.expression, condition.unit, condition.transform) == ("incident_energy", "GeV", "log")
    assert "CaloGAN" in config["text"]
    assert len(events) == 3000


def test_config_of_the_shipped_hits(data_dir) -> None:
    config, events = started(str(data_dir / "eplus_hits.root") + ":showers")
    calo = config["data"].calorimeter
    assert calo.layout == "hits"
    assert [list(layer.shape) for layer in calo.layers] == [layer["shape"] for layer in CALOGAN_LAYERS]
    assert config["data"].conditions[0].unit == "GeV"
    assert abs((events.cells.sum(1) / events.conditions[:, 0]).mean() - 996) < 2  # MeV of each GeV


@pytest.mark.parametrize("overflow", [True, False])
def test_config_of_calogan_files(calogan_file, events, overflow) -> None:
    config, found = started(calogan_file(overflow=overflow))
    calo = config["data"].calorimeter
    assert (calo.layout, calo.cells, calo.overflow) == ("cells", "cell_{}", "tail" if overflow else None)
    assert config["data"].conditions[0].expression == "TotalEnergy"
    np.testing.assert_array_equal(found.cells, events.cells[:20])
    assert found.overflow.shape[1] == (3 if overflow else 0)


@pytest.mark.parametrize("layout", ["arrays", "rntuple", "cells", "hits"])
def test_config_of_unknown_geometry_says_replace(tiny_file, tiny_events, layout) -> None:
    config, events = started(tiny_file(layout))
    assert "# replace" in config["text"]
    layers = config["data"].calorimeter.layers
    if layout == "cells":  # nobody knows how 12 numbers are arranged
        assert [layer.shape for layer in layers] == [(1, 12)]
        np.testing.assert_array_equal(events.cells[:, :10], tiny_events.cells)
    else:
        assert [layer.shape for layer in layers] == [(2, 3), (2, 2)]
        assert (layers[0].x, layers[0].y, layers[1].z) == ((-1.0, 1.0), (-1.5, 1.5), (1.0, 2.0))
        np.testing.assert_array_equal(events.cells, tiny_events.cells)


def test_config_of_flat_cell_numbers(tiny_events, tmp_path, write_tree) -> None:
    event, cell = np.nonzero(tiny_events.cells)
    counts = np.bincount(event, minlength=50)
    branches = {
        "E": tiny_events.conditions[:, 0],
        "cell_id": ak.unflatten(cell.astype(np.int32), counts),
        "cell_energy": ak.unflatten(tiny_events.cells[event, cell], counts),
    }
    config, events = started(write_tree(tmp_path / "ids.root", branches))
    hits = config["data"].calorimeter.hits
    assert (hits.cell, hits.energy, hits.layer) == ("cell_id", "cell_energy", None)
    np.testing.assert_array_equal(events.cells, tiny_events.cells)


def test_config_guesses_mev_and_cuts_what_has_no_logarithm(tiny_file, tiny_events) -> None:
    energy = tiny_events.conditions[:, 0] * 1000
    energy[7] = -999
    config, events = started(tiny_file(incident_energy=energy))
    assert config["data"].conditions[0].unit == "MeV"
    assert config["data"].cut == "incident_energy > 0"
    assert len(events) == 49


def test_config_needs_showers(tmp_path, write_tree) -> None:
    path = write_tree(tmp_path / "tracks.root", {"p": np.ones(3), "eta": np.ones(3)}, tree="tracks")
    with pytest.raises(DataError, match=r"expected a tree with an incident energy .*got none in 'tracks'"):
        starting_config(path)


ROOT_FILES = Path(__file__).parents[1] / "root_files"


@pytest.mark.parametrize(
    ("name", "layers"), [("layouts", 4), ("snapshot", 3), ("importer", 4)]
)  # as the tree was filled, after RDataFrame's Snapshot, and after the RNTupleImporter
def test_config_of_layers_in_any_kind_of_array(name, layers) -> None:
    config, events = started(str(ROOT_FILES / f"{name}.root"))
    shapes = [layer.shape for layer in config["data"].calorimeter.layers]
    matrix = (3, 4) if name == "layouts" else (1, 12)  # the converters flatten arrays of two axes
    assert shapes == [(1, 12), matrix, (1, 8), (2, 4)][:layers]
    assert config["data"].calorimeter.branches == tuple(f"layer_{k}" for k in range(layers))
    assert "shape = [1, n] is a list of n cells" in config["text"]
    assert "as tracks of tree 'showers': choose with --kind tracks" in config["text"]
    cells = [np.arange(n) / 64 for n in (12, 12, 8, 8)[:layers]]
    expected = np.arange(8)[:, None] + np.concatenate(cells)
    np.testing.assert_array_equal(events.cells, expected)
    tracks = starting_config(str(ROOT_FILES / f"{name}.root"), kind="tracks")
    assert "as showers of tree 'showers': choose with --kind showers" in tracks
    read_tracks = read(parse(tomllib.loads(tracks)).data)
    np.testing.assert_array_equal(read_tracks.conditions[:, 0], np.arange(1, 17))
    np.testing.assert_array_equal(
        read_tracks.targets[:, 0], (np.arange(8)[:, None] - 3 + np.array([0, 0.25])).ravel()
    )


@pytest.mark.parametrize("vectors", [False, True])
def test_config_of_calogan_in_flat_arrays(events, tmp_path, write_tree, vectors) -> None:
    parts = np.split(events.cells[:20], [288, 432], axis=1)
    branches = {f"layer_{k}": np.ascontiguousarray(part) for k, part in enumerate(parts)}
    branches |= {"incident_energy": events.conditions[:20, 0], "overflow": events.overflow[:20]}
    if vectors:
        branches |= {k: ak.from_regular(ak.from_numpy(v)) for k, v in branches.items() if v.ndim == 2}
    config, found = started(write_tree(tmp_path / "flat.root", branches))
    calo = config["data"].calorimeter
    assert [list(layer.shape) for layer in calo.layers] == [layer["shape"] for layer in CALOGAN_LAYERS]
    assert calo.overflow == "overflow"
    np.testing.assert_array_equal(found.cells, events.cells[:20])


def jagged_hits(**branches: np.ndarray) -> dict[str, ak.Array]:
    counts = np.array([3, 1, 4, 2] * 10)
    return {name: ak.unflatten(values, counts) for name, values in branches.items()}


RNG = np.random.default_rng(5)
INDEX, POSITION = RNG.integers(0, 4, 100), RNG.uniform(0, 50, 100)
HITS = {"hit_energy": RNG.exponential(size=100), "hit_layer": RNG.integers(0, 2, 100).astype(np.int32)}
ENERGY = {"incident_energy": np.linspace(1, 9, 40)}


@pytest.mark.parametrize(
    "others",
    [
        {"hit_x": POSITION, "hit_y": POSITION - 25},
        {"hit_x": POSITION, "hit_y": POSITION[::-1], "hit_cell": POSITION},
        {"hit_x": 10 * INDEX, "hit_y": 5 + 10 * INDEX},  # of cells of 10 mm
        {"hit_x": 10.0 * INDEX, "hit_y": INDEX, "hit_cell": 64 * INDEX},
        {"cell_x": POSITION, "cell_y": POSITION, "hit_cellID": RNG.integers(2**40, 2**60, 100)},  # as EDM4hep
    ],
)
def test_positions_and_identifiers_are_no_cell_numbers(others, tmp_path, write_tree) -> None:
    path = write_tree(tmp_path / "hits.root", {**ENERGY, **jagged_hits(**HITS, **others)})
    with pytest.raises(
        DataError, match=r"whole numbers from 0, not positions.*_y.* are positions: add a branch"
    ):
        starting_config(path)


def test_cell_numbers_are_found_beside_positions(tmp_path, write_tree) -> None:
    others = {"hit_x": POSITION, "hit_y": POSITION, "hit_ix": INDEX.astype(np.float32), "hit_iy": INDEX}
    muon = {"mu_energy": RNG.exponential(size=100), "mu_layer": INDEX}
    path = write_tree(tmp_path / "hits.root", {**ENERGY, **jagged_hits(**muon, **HITS, **others)})
    config, _ = started(path)
    hits = config["data"].calorimeter.hits
    assert (hits.layer, hits.i, hits.j, hits.energy) == ("mu_layer", "hit_ix", "hit_iy", "mu_energy")
    assert "# other energies of hits are 'hit_energy'" in config["text"]
    assert "}  # guess: by names and values" in config["text"]


def test_layers_from_one_are_said(tmp_path, write_tree) -> None:
    hits = HITS | {"hit_layer": HITS["hit_layer"] + 1, "hit_ix": INDEX, "hit_iy": INDEX}
    hits["hit_ix"] = INDEX + 1
    config, _ = started(write_tree(tmp_path / "hits.root", {**ENERGY, **jagged_hits(**hits)}))
    assert "# 'hit_layer' starts at 1, so layer 0 is empty: write hit_layer - 1 and drop it" in config["text"]
    assert "# 'hit_ix' starts at 1, so i 0 is empty: write hit_ix - 1 and drop it" in config["text"]
    assert "'hit_iy' starts" not in config["text"]


def test_numbers_that_may_be_positions_are_said(tmp_path, write_tree) -> None:
    hits = HITS | {"hit_x": INDEX, "hit_y": INDEX}
    config, _ = started(write_tree(tmp_path / "hits.root", {**ENERGY, **jagged_hits(**hits)}))
    assert config["data"].calorimeter.hits.i == "hit_x"
    assert "# 'hit_x' may be a position in whole numbers" in config["text"]


def test_layers_are_found_as_third_index(tmp_path, write_tree) -> None:
    hits = {"e": HITS["hit_energy"], "i": INDEX, "j": INDEX, "k": HITS["hit_layer"]}
    config, _ = started(write_tree(tmp_path / "hits.root", {**ENERGY, **jagged_hits(**hits)}))
    found = config["data"].calorimeter.hits
    assert (found.layer, found.i, found.j, found.energy) == ("k", "i", "j", "e")


@pytest.mark.parametrize("pattern", ["cell_{}", "c{:03d}", "c{{x}}_{:02d}"])
def test_config_of_numbered_cells(pattern, tmp_path, write_tree) -> None:
    cells = np.arange(24.0) + np.ones((40, 1))
    branches = ENERGY | {pattern.format(k): column for k, column in enumerate(cells.T)}
    config, events = started(write_tree(tmp_path / "cells.root", branches))
    assert config["data"].calorimeter.cells == pattern
    np.testing.assert_array_equal(events.cells, cells)


def test_cells_of_another_numbering_are_no_series(tmp_path, write_tree) -> None:
    branches = ENERGY | {f"c{k:0{1 + k % 2}d}": np.ones(40) for k in range(24)}  # c0, c01, c2, ...
    with pytest.raises(DataError, match="expected a tree with an incident energy"):
        starting_config(write_tree(tmp_path / "cells.root", branches))


def test_noise_below_zero_is_taken_as_zero(tiny_file, tiny_events) -> None:
    layer = tiny_events.cells[:, :6].reshape(50, 2, 3).copy()
    layer[::2, 0, 0] = -1e-3 * layer.max()
    path = tiny_file(layer_0=layer)
    config, events = started(path)
    first = next(branch for branch in config["data"].calorimeter.branches if "layer_0" in branch)
    assert first == "max(layer_0, 0)"
    assert "# 'layer_0': some energies are negative, which are taken as 0" in config["text"]
    assert events.cells.min() == 0


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("E_true", "MeV"),
        ("mc_E", "MeV"),
        ("E0", "MeV"),
        ("E_in [GeV]", "GeV"),
        ("gunE_TeV", "TeV"),
        ("beamE", "MeV"),
    ],
)
def test_energies_of_other_names(name, unit, tmp_path, write_tree) -> None:
    branches = {"edep": np.ones(40), name: ENERGY["incident_energy"], "layer_0": np.ones((40, 3, 4))}
    config, _ = started(write_tree(tmp_path / "showers.root", branches))
    (condition,) = config["data"].conditions
    assert (condition.branch, condition.unit) == (name, unit)


def test_showers_without_an_energy_are_said(tmp_path, write_tree) -> None:
    branches = {"jet_pt": np.ones(40), "jet_mass": np.ones(40), "image": np.ones((40, 5, 5))}
    with pytest.raises(
        DataError, match=r"showers in layout 'arrays' of tree .* no energy .*: jet_pt, jet_mass\)"
    ):
        starting_config(write_tree(tmp_path / "jets.root", branches))


def test_observables_of_two_particles_are_not_mixed(tmp_path, write_tree) -> None:
    rng = np.random.default_rng(3)
    names = [f"{particle}_{kind}" for particle in ("pi", "K") for kind in ("P", "ETA", "PIDK", "PIDp")]
    path = write_tree(tmp_path / "decays.root", {name: rng.uniform(1, 9, 40) for name in names})
    config, _ = started(path)
    assert [target.name for target in config["data"].targets] == ["pi_PIDK", "pi_PIDp"]
    assert [condition.name for condition in config["data"].conditions] == ["pi_P", "pi_ETA"]
    assert "# Those of pi: a row is one track. The tree has the same of K." in config["text"]


def test_arrays_of_positions_are_no_layers(tiny_file, tiny_events) -> None:
    rng = np.random.default_rng(1)
    positions = {"hit_pos": rng.uniform(0, 9, (50, 20, 3)), "track": rng.normal(size=(50, 4, 3))}
    positions["hit_layer"] = rng.integers(0, 3, (50, 4, 3))
    config, _ = started(tiny_file(**positions))
    assert config["data"].calorimeter.branches == ("layer_0", "layer_1")


def test_other_numbers_are_commented_out_conditions(tiny_file, tiny_events) -> None:
    rng = np.random.default_rng(1)
    scalars = {
        "theta": rng.uniform(0, 1, 50),
        "x0": rng.normal(size=50),
        "run": np.arange(50),
        "one": np.ones(50),
    }
    scalars |= {
        "pdg": rng.choice([11, -11, 211], 50),
        "gun_p": np.geomspace(1, 50, 50),
        "n_tracks": np.arange(50),
    }
    scalars |= {f"probe_{k}": rng.normal(size=50) for k in range(10)}
    config, _ = started(tiny_file(**scalars))
    assert len(config["data"].conditions) == 1
    text = config["text"]
    uncommented = "\n".join(
        line.removeprefix("# ") if re.match(r"# (\[\[|\w+ = )", line) else line for line in text.splitlines()
    )
    conditions = {c.name: c for c in parse(tomllib.loads(uncommented)).data.conditions}
    assert set(conditions) == {"incident_energy", "theta", "x0", "pdg", "gun_p", "n_tracks"}
    assert conditions["theta"].transform == conditions["x0"].transform == "linear"
    assert conditions["gun_p"].transform == "log"
    assert conditions["n_tracks"].integer
    assert (conditions["pdg"].branch, conditions["pdg"].categories) == ("abs(pdg)", {"e": 11, "pi": 211})


def test_other_layouts_and_kinds_are_said(tiny_file) -> None:
    rng = np.random.default_rng(1)
    cells = {f"cell_{k}": rng.exponential(size=50) for k in range(10)}
    path = tiny_file(
        **cells, DLLk=rng.normal(size=50), P=rng.exponential(size=50), rapidity=rng.normal(size=50)
    )
    text = starting_config(path)
    assert '# The showers can also be read with layout = "cells": cells = "cell_{}"' in text
    assert "# The file can also be read as tracks of tree 'showers': choose with --kind tracks." in text
    tracks = parse(tomllib.loads(starting_config(path, kind="tracks"))).data
    assert [target.name for target in tracks.targets] == ["DLLk"]  # rapidity is no PID


# Observables


def test_config_of_the_shipped_tracks(data_dir) -> None:
    config, events = started(str(data_dir / "rich.root"))
    data = config["data"]
    assert [(c.name, c.unit, c.transform, c.integer) for c in data.conditions] == [
        ("Brunel_P", "MeV/c", "log", False),
        ("Brunel_ETA", "", "linear", False),
        ("nTracks_Brunel", "", "linear", True),
        ("probe_PDG", "", "category", False),
    ]
    assert data.conditions[3].categories == {"e": 11, "mu": 13, "pi": 211, "K": 321, "p": 2212}
    assert [t.name for t in data.targets] == [f"RichDLL{h}" for h in ("e", "k", "mu", "p", "bt")]
    assert data.targets[1].atoms == (-999, 0)
    assert data.ties
    assert (data.weight, data.cut) == (None, None)  # each weight is 1
    assert "probe_PDG == 11" in config["text"]
    assert len(events) == 110_000
    shipped = load(PACKAGE / "configs" / "rich.toml")
    assert parse(tomllib.loads(config["text"])).training == shipped.training


@pytest.mark.parametrize("storage", ["scalars", "jagged", "jagged half"])
def test_config_of_other_tracks(track_file, tiny_tracks, storage) -> None:
    eta = tiny_tracks["track_ETA"].copy()
    eta[tiny_tracks["track_P"] < 0] = -999
    dll = tiny_tracks["track_DLLp"].copy()
    dll[17] = np.nan
    config, events = started(
        track_file(
            storage,
            track_ETA=eta,
            track_DLLp=dll,
            track_ID=-tiny_tracks["track_ID"],
            constant_PIDx=np.ones(len(dll)),  # nothing to learn
            other_P=tiny_tracks["track_P"],  # of something else
        )
    )
    data = config["data"]
    assert data.cut == "track_P > 0 and isfinite(track_DLLp) and track_ETA != -999"
    assert data.weight == "track_sWeight"
    assert [c.name for c in data.conditions] == ["track_P", "track_ETA", "nTracks", "track_ID"]
    assert (data.conditions[0].unit, data.conditions[3].branch) == ("GeV/c", "abs(track_ID)")
    assert [t.name for t in data.targets] == ["track_DLLk", "track_DLLp"]
    assert data.ties
    assert len(events) == (tiny_tracks["track_P"] > 0).sum() - (tiny_tracks["track_P"][17] > 0)


def test_config_quotes_names_in_expressions(tmp_path, write_tree) -> None:
    n = np.arange(30.0)
    branches = {"K+_P": n - 3, "K+_DLL": np.where(n == 5, np.nan, n**2), "K+_ID": np.where(n % 2, 211, -321)}
    branches["K+_ID"] = branches["K+_ID"].astype(np.int32)
    config, events = started(write_tree(tmp_path / "a.root", branches, tree="tracks"))
    assert config["data"].cut == "`K+_P` > 0 and isfinite(`K+_DLL`)"
    assert config["data"].conditions[1].branch == "abs(`K+_ID`)"
    assert len(events) == 30 - 4 - 1


def test_config_needs_conditions_of_the_observables(tmp_path, write_tree) -> None:
    path = write_tree(tmp_path / "a.root", {"DLLk": np.arange(30.0), "x": np.arange(30.0)}, tree="tracks")
    with pytest.raises(
        DataError,
        match=r"observables of tracks .* got none in 'tracks'; write \[data\] by hand: .*data\.targets",
    ):
        starting_config(path)
