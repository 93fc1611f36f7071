"""Geometry files: the same calorimeter comes back from each format, and errors name file and remedy."""

import re

import numpy as np
import pytest
import tomli_w
import uproot
from conftest import CALOGAN_LAYERS

from hepgan.config import load
from hepgan.config.geometry import NOTE, geometry_text, layers_text, read_layers, stacked
from hepgan.errors import ConfigError, DataError, NotFoundError
from hepgan.geometry import CALOGAN, CaloLayer, Calorimeter

POLAR = Calorimeter(
    (
        CaloLayer((5, 3), (-np.pi, np.pi), (0.0, 0.1, 4.65, 30.0), (0.0, 1.5), "front", "polar"),
        CaloLayer((1, 1), (-np.pi, np.pi), (0.0, 100.0), (1.5, 9.0), "tail", "polar"),
    )
)


def in_root(path, text: str) -> None:
    with uproot.recreate(path) as file:
        file[NOTE] = text


@pytest.mark.parametrize("calorimeter", [CALOGAN, POLAR])
def test_the_same_calorimeter_comes_back(calorimeter, tmp_path) -> None:
    (tmp_path / "calo.toml").write_text(geometry_text(calorimeter))
    in_root(tmp_path / "calo.root", layers_text(calorimeter))
    for name in ("calo.toml", "calo.root"):
        assert stacked(read_layers(tmp_path / name)) == calorimeter
    assert "[-240.0, 240.0]" in layers_text(CALOGAN)  # cells of one size as a range


def test_layers_without_a_name_get_one_by_number_or_branch(tmp_path) -> None:
    (tmp_path / "calo.toml").write_text(tomli_w.dumps({"layers": CALOGAN_LAYERS}))
    layers = read_layers(tmp_path / "calo.toml")
    assert stacked(layers) == CALOGAN
    assert stacked(layers, ("a", "b", "c"), unit="GeV").names == ["a", "b", "c"]


def test_wrong_files_are_refused(tmp_path) -> None:
    with pytest.raises(NotFoundError, match=r"geometry file not found: .*none\.toml.*hepgan convert"):
        read_layers(tmp_path / "none.toml")
    with pytest.raises(NotFoundError, match=r"not found: .*none\.root"):
        read_layers(tmp_path / "none.root")
    with pytest.raises(ConfigError, match=r"geometry: expected a TOML file .* got .*calo\.gdml"):
        read_layers(tmp_path / "calo.gdml")
    path = tmp_path / "calo.toml"
    path.write_text("[data]\n")
    with pytest.raises(ConfigError, match=r"expected tables \[\[layers\]\], got the keys \['data'\]"):
        read_layers(path)
    with pytest.raises(ConfigError, match="expected one only with a binning XML, got 'photon'"):
        read_layers(path, particle="photon")
    path = tmp_path / "calo.root"
    path.write_bytes(b"no ROOT file")
    with pytest.raises(DataError, match="not a readable ROOT file"):
        read_layers(path)
    in_root(path, "layers = [")
    with pytest.raises(ConfigError, match=r"calo\.root: text 'geometry': expected TOML"):
        read_layers(path)
    in_root(path, "layers = [{ shpe = [1, 1] }]")
    with pytest.raises(ConfigError, match=r"text 'geometry': layers: unknown key 'shpe'"):
        read_layers(path)
    with uproot.recreate(path) as file:
        file["other"] = "text"
    with pytest.raises(ConfigError, match=r"expected a ROOT file with the text 'geometry'.* got one without"):
        read_layers(path)


def test_a_configuration_takes_the_layers_from_a_file_in_its_folder(data_dir, tmp_path, monkeypatch) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "calo.toml").write_text(geometry_text(CALOGAN))
    (tmp_path / "configs").mkdir()
    data = {
        "files": [str(data_dir / "eplus.root")],
        "conditions": [{"name": "incident_energy", "unit": "GeV"}],
        "calorimeter": {
            "branches": ["layer_0", "layer_1", "layer_2"],
            "geometry": "../shared/calo.toml",
        },
    }
    path = tmp_path / "configs" / "my.toml"
    path.write_text(tomli_w.dumps({"data": data}))
    monkeypatch.chdir(data_dir)
    calo = load(path).data.calo
    assert calo.geometry is None
    assert calo.calorimeter() == CALOGAN
    monkeypatch.chdir(tmp_path)  # a name given with --set is one of the working folder
    assert load(path, settings={"data.calorimeter.geometry": "shared/calo.toml"}).data.calo == calo
    with pytest.raises(NotFoundError, match=re.escape(str(tmp_path / "configs" / "none.toml"))):
        load(path, settings={"data.calorimeter.geometry": "none.toml"})
