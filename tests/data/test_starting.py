"""The configuration that `hepgan inspect --config` prints: complete, and readable as it is."""

from collections.abc import Callable

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
