from dataclasses import replace

import h5py
import numpy as np
import pytest
import uproot

from hepgan.config import parse
from hepgan.config.checking import tomllib
from hepgan.config.geometry import geometry_text, layers_text
from hepgan.data import convert as module
from hepgan.data.convert import convert_hdf5
from hepgan.data.reading import read
from hepgan.data.starting import starting_config
from hepgan.errors import ConfigError, DataError, NotFoundError
from hepgan.geometry import CALOGAN, Calorimeter

BINNING = """<Bins>
  <Bin pid="22" etaMin="20" etaMax="25" name="photon">
    <Layer id="0" r_edges="0,5,10,30" n_bin_alpha="1"/>
    <Layer id="1" r_edges="0,2,4" n_bin_alpha="4"/>
    <Layer id="3" r_edges="0" n_bin_alpha="1"/>
    <Layer id="12" r_edges="0,100" n_bin_alpha="2"/>
  </Bin>
  <Bin pid="211" etaMin="20" etaMax="25" name="pion"><Layer id="0" r_edges="0,5" n_bin_alpha="1"/></Bin>
</Bins>"""


@pytest.fixture
def calogan(tmp_path, events):
    path = tmp_path / "eplus.hdf5"
    with h5py.File(path, "w") as file:
        file["energy"] = events.conditions.astype(np.float64)
        for k, shape in enumerate(((3, 96), (12, 12), (12, 6))):
            cells = slice([0, 288, 432][k], [288, 432, 504][k])
            file.create_dataset(
                f"layer_{k}", data=events.cells[:, cells].reshape(-1, *shape), compression="gzip"
            )
        file["overflow"] = events.overflow
    return path


@pytest.fixture
def binning(tmp_path):
    path = tmp_path / "binning.xml"
    path.write_text(BINNING)
    return path


@pytest.fixture
def calochallenge(tmp_path):
    path = tmp_path / "dataset_1.hdf5"
    rng = np.random.default_rng(3)
    with h5py.File(path, "w") as file:
        file["incident_energies"] = 2.0 ** rng.integers(8, 14, size=(30, 1))
        file["showers"] = rng.exponential(10, size=(30, 3 + 8 + 2))
    return path


@pytest.mark.parametrize("chunk_bytes", [64 * 10**6, 7 * 2036])
def test_calogan(calogan, sample_config, events, tmp_path, monkeypatch, chunk_bytes) -> None:
    monkeypatch.setattr(module, "_CHUNK_BYTES", chunk_bytes)  # seven showers at a time
    out = tmp_path / "eplus.root"
    assert convert_hdf5(calogan, out) == 400
    found = read(sample_config, files=[str(out)])
    for name in ("conditions", "cells", "overflow"):
        np.testing.assert_array_equal(getattr(found, name), getattr(events, name))
    with uproot.open(out) as file:
        assert "incident_energy [GeV]" in file["showers"].title
    assert not list(tmp_path.glob("*.part"))


def test_calogan_result_starts_without_edits(calogan, tmp_path) -> None:
    out = tmp_path / "eplus.root"
    convert_hdf5(calogan, out)
    config = parse(tomllib.loads(starting_config(str(out))))
    assert config.data.conditions[0].unit == "GeV"
    assert len(read(config.data)) == 400


def test_calochallenge(calochallenge, binning, tmp_path) -> None:
    out = tmp_path / "photons.root"
    assert convert_hdf5(calochallenge, out, binning=binning, particle="photon") == 30
    with h5py.File(calochallenge) as file, uproot.open(out) as result:
        showers = np.asarray(file["showers"], np.float32)
        tree = result["showers"]
        assert "incident_energy [MeV]" in tree.title
        assert tree.keys() == ["incident_energy", "layer_0", "layer_1", "layer_12"]
        arrays = tree.arrays(library="np")
        np.testing.assert_array_equal(arrays["incident_energy"], file["incident_energies"][:, 0])
    total = sum(arrays[f"layer_{k}"].sum((1, 2)) for k in (0, 1, 12))
    np.testing.assert_allclose(total, showers.sum(1), rtol=1e-6)
    for alpha in range(4):
        for r in range(2):  # r runs fastest
            np.testing.assert_array_equal(arrays["layer_1"][:, alpha, r], showers[:, 3 + 2 * alpha + r])


def test_calochallenge_result_is_read_with_its_binning(calochallenge, binning, tmp_path) -> None:
    out = tmp_path / "photons.root"
    convert_hdf5(calochallenge, out, binning=binning, particle="22")
    calorimeter = {
        "branches": ["layer_0", "layer_1", "layer_12"],
        "geometry": "binning.xml",
        "particle": "photon",
    }
    conditions = [{"name": "incident_energy", "unit": "MeV"}]
    data = parse(
        {"data": {"files": ["photons.root"], "conditions": conditions, "calorimeter": calorimeter}}
    ).data
    assert data.calorimeter.calorimeter(base=tmp_path) == Calorimeter.from_xml(binning, particle="photon")
    events = read(data, base=tmp_path)
    with h5py.File(calochallenge) as file:
        np.testing.assert_array_equal(events.cells, np.asarray(file["showers"], np.float32))


def test_errors(calogan, calochallenge, binning, tmp_path) -> None:
    out = tmp_path / "out.root"
    with pytest.raises(
        NotFoundError, match=r"not found: .*eplus\.h5; in its folder: did you mean 'eplus\.hdf5'"
    ):
        convert_hdf5(tmp_path / "eplus.h5", out)
    with pytest.raises(NotFoundError, match=r"there is no folder .*nowhere"):
        convert_hdf5(calogan, tmp_path / "nowhere" / "out.root")
    with pytest.raises(OSError, match="expected the name of a file, got a folder; name a file"):
        convert_hdf5(calogan, tmp_path)
    with pytest.raises(DataError, match=r"binning\.xml: not a readable HDF5 file"):
        convert_hdf5(binning, out)
    with pytest.raises(
        ConfigError, match="expected a binning XML file with this CaloChallenge file, got none"
    ):
        convert_hdf5(calochallenge, out)
    with pytest.raises(NotFoundError, match="binning file not found"):
        convert_hdf5(calochallenge, out, binning=tmp_path / "none.xml")
    with pytest.raises(DataError, match=r"'showers': expected 1 voxels .*'layer_0': \(1, 1\).*got \[13\]"):
        convert_hdf5(calochallenge, out, binning=binning, particle="pion")
    assert not out.exists()


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"x": np.ones(3)}, r"expected the data sets 'energy' and 'layer_<k>' .*got \['x'\]"),
        (
            {"energy": np.ones(3)},
            r"expected data sets layer_0, layer_1, \.\.\. beside 'energy', got \['energy'\]",
        ),
        (
            {"energy": np.ones(3), "layer_0": np.ones((2, 3, 4))},
            r"'layer_0': expected 3 showers as in the energies, got 2",
        ),
        ({"energy": np.ones((0, 1)), "layer_0": np.ones((0, 3, 4))}, "expected showers, got zero entries"),
    ],
)
def test_other_hdf5_files(tmp_path, contents, message) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for name, values in contents.items():
            file[name] = values
    with pytest.raises(DataError, match=message):
        convert_hdf5(path, tmp_path / "a.root")
    assert not (tmp_path / "a.root").exists()


def test_nothing_is_left_half_written(calogan, tmp_path, monkeypatch) -> None:
    out = tmp_path / "eplus.root"
    out.write_bytes(b"the old file")

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(uproot.writing.WritableTree, "extend", full)
    with pytest.raises(
        OSError, match=r"No space left .*showers could not be written; nothing was left behind, make room"
    ):
        convert_hdf5(calogan, out)
    assert out.read_bytes() == b"the old file"
    assert not list(tmp_path.glob("*.part"))


def test_a_damaged_chunk_is_named(tmp_path) -> None:
    path = tmp_path / "a.hdf5"
    rng = np.random.default_rng(1)
    with h5py.File(path, "w") as file:
        file["energy"] = np.ones((100, 1))
        layer = file.create_dataset(
            "layer_0", data=rng.random((100, 3, 4)), chunks=(50, 3, 4), compression="gzip"
        )
        second = layer.id.get_chunk_info(1)
    with path.open("r+b") as file:
        file.seek(second.byte_offset + second.size // 2)
        file.write(b"\xff" * 40)
    out = tmp_path / "a.root"
    with pytest.raises(
        DataError,
        match=r"a\.hdf5: data set 'layer_0': cannot read showers 0 to 99 .*the file is damaged: copy or make",
    ):
        convert_hdf5(path, out)
    assert not out.exists()


@pytest.mark.parametrize(("name", "got"), [("layer_0", "a group"), ("energy", r"object \[\]")])
def test_other_things_than_numbers(tmp_path, name, got) -> None:
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        if name == "energy":
            file["energy"] = "text"
            file["layer_0"] = np.ones((3, 2, 2))
        else:
            file["energy"] = np.ones((3, 1))
            file.create_group(name)
    with pytest.raises(DataError, match=rf"a\.hdf5: '{name}': expected a data set of numbers, .*got {got}"):
        convert_hdf5(path, tmp_path / "a.root")


def test_branches_that_do_not_fit_the_binning(calochallenge, binning, tmp_path) -> None:
    out = tmp_path / "photons.root"
    convert_hdf5(calochallenge, out, binning=binning, particle="photon")
    names = Calorimeter.from_xml(binning, particle="photon").names
    conditions = [{"name": "incident_energy", "unit": "MeV"}]
    for branches in (names[:-1], [*names, "more"]):
        calorimeter = {"branches": list(branches), "geometry": str(binning), "particle": "photon"}
        data = parse(
            {"data": {"files": [str(out)], "conditions": conditions, "calorimeter": calorimeter}}
        ).data
        with pytest.raises(
            ConfigError,
            match=rf"data\.calorimeter\.branches: expected {len(names)} branches, one for each layer of .*xml .*"
            rf"got {len(branches)}: .*; list one branch a layer",
        ):
            read(data)


def test_a_binning_with_text_for_numbers(tmp_path) -> None:
    path = tmp_path / "binning.xml"
    path.write_text('<Bins><Bin name="photon"><Layer id="0" r_edges="0,wide" n_bin_alpha="1"/></Bin></Bins>')
    with pytest.raises(DataError, match=r"binning\.xml: layer .*expected whole numbers id .*'wide'"):
        Calorimeter.from_xml(path)


def test_calochallenge_keeps_its_binning_and_its_true_depths(calochallenge, binning, tmp_path) -> None:
    out, text = tmp_path / "photons.root", tmp_path / "calo.toml"
    expected = Calorimeter.from_xml(binning, particle="photon")
    convert_hdf5(calochallenge, out, binning=binning, particle="photon")
    config = parse(tomllib.loads(starting_config(str(out))))
    assert config.data.calo.calorimeter() == expected
    assert len(read(config.data)) == 30
    moved = replace(expected, layers=tuple(replace(x, z=(7 * x.z[0], 7 * x.z[1])) for x in expected.layers))
    text.write_text(geometry_text(moved))
    convert_hdf5(calochallenge, out, binning=text)
    config = parse(tomllib.loads(starting_config(str(out))))
    assert config.data.calo.calorimeter() == moved


def test_geometry_of_another_file_is_refused(calochallenge, binning, tmp_path) -> None:
    out = tmp_path / "photons.root"
    convert_hdf5(calochallenge, out, binning=binning, particle="photon")
    with uproot.update(out) as file:
        file["geometry"] = layers_text(CALOGAN)
    with pytest.raises(DataError, match=r"expected the geometry of 13 cells.* got one of 504 cells"):
        starting_config(str(out))
