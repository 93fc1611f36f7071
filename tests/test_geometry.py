import re

import numpy as np
import pytest
from conftest import CALOGAN_LAYERS

from hepgan.errors import ConfigError, DataError, NotFoundError
from hepgan.geometry import CALOGAN, CaloLayer, Calorimeter, differences

BINNING = """<Bins>
  <Bin pid="22" etaMin="20" etaMax="25" name="photon">
    <Layer id="0" r_edges="0,5,10,30" n_bin_alpha="1"/>
    <Layer id="1" r_edges="0,2,4" n_bin_alpha="10"/>
    <Layer id="4" r_edges="0" n_bin_alpha="1"/>
    <Layer id="12" r_edges="0,100" n_bin_alpha="4"/>
  </Bin>
  <Bin pid="211" etaMin="20" etaMax="25" name="pion"><Layer id="0" r_edges="0,5" n_bin_alpha="1"/></Bin>
</Bins>"""


def test_calogan_segmentation() -> None:
    calorimeter = Calorimeter.from_dicts(CALOGAN_LAYERS)
    assert calorimeter.n_cells == 504
    assert calorimeter.offsets == [0, 288, 432, 504]
    assert calorimeter.names == ["layer_0", "layer_1", "layer_2"]
    assert [layer.depth for layer in calorimeter.layers] == [-195.0, 23.5, 218.5]
    assert [np.unique(np.diff(layer.y)).tolist() for layer in calorimeter.layers] == [[5.0], [40.0], [80.0]]


def test_cell_centres_follow_the_flat_order() -> None:
    calorimeter = Calorimeter.from_dicts(CALOGAN_LAYERS)
    centres = calorimeter.cell_centres
    assert centres.shape == (504, 3)
    np.testing.assert_allclose(centres[0], [-160, -237.5, -195])
    np.testing.assert_allclose(centres[1], [-160, -232.5, -195])  # y runs fastest
    np.testing.assert_allclose(centres[288 + 12], [-180, -220, 23.5])
    for cells in calorimeter.slices():  # a centred window: the mean position is the axis
        np.testing.assert_allclose(centres[cells, :2].mean(axis=0), 0, atol=1e-9)


def test_explicit_edges_and_single_cells() -> None:
    layer = CaloLayer((2, 1), (0.0, 1.0, 4.0), (-1.0, 3.0), (0.0, 2.0))
    np.testing.assert_allclose(layer.cell_centres, [[0.5, 1, 1], [2.5, 1, 1]])


def test_polar_centres_lie_on_their_rings() -> None:
    layer = CaloLayer((4, 2), (-np.pi, np.pi), (0.0, 2.0, 6.0), (0.0, 1.0), coordinates="polar")
    radius = np.hypot(*layer.cell_centres[:, :2].T)
    np.testing.assert_allclose(radius.reshape(4, 2), [[1.0, 4.0]] * 4)
    np.testing.assert_allclose(layer.cell_centres[:, :2].sum(axis=0), 0, atol=1e-12)


def test_plain_data_round_trip() -> None:
    calorimeter = Calorimeter.from_dicts(CALOGAN_LAYERS, unit="GeV")
    again = Calorimeter.from_dicts(calorimeter.as_dicts(), unit="GeV")
    assert again == calorimeter
    assert again.unit == "GeV"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ((2, 2), (0, 1, 2, 3), (0, 1), (0, 1)),
            r"layer\.x: expected a \[low, high\] range or 3 edges for 2",
        ),
        (((2, 2), (0, 1), (1, 0), (0, 1)), r"layer\.y: edges must increase, got \[1\.0, 0\.5, 0\.0\]"),
        (((2, 2), (0, 1), (0, 1), (5, 4)), r"layer\.z: edges must increase"),
        (((0, 2), (0, 1), (0, 1), (0, 1)), r"layer\.shape: expected two positive numbers, got \(0, 2\)"),
        (
            ((10**30, 2), (0, 1), (0, 1), (0, 1)),
            r"layer\.shape: expected at most 100000000 cells, got \(10000",
        ),
        (((10**5, 10**4), (0, 1), (0, 1), (0, 1)), r"layer\.shape: expected at most 100000000 cells"),
        (((2, 2), (0, 1), (0, 1), (0, 1e308)), r"layer\.z: expected numbers from -1e\+12 to 1e\+12, got"),
    ],
)
def test_impossible_layers(arguments, message) -> None:
    with pytest.raises(ConfigError, match=message):
        CaloLayer(*arguments)


def test_impossible_calorimeters() -> None:
    with pytest.raises(ConfigError, match="at least one layer, got none"):
        Calorimeter(())
    layer = CaloLayer((1, 1), (0, 1), (0, 1), (0, 1), name="em")
    with pytest.raises(ConfigError, match=re.escape("names must differ, got ['em', 'em']")):
        Calorimeter((layer, layer))


def test_binning_xml(tmp_path) -> None:
    path = tmp_path / "binning.xml"
    path.write_text(BINNING)
    photon = Calorimeter.from_xml(path, particle="photon")
    assert photon.shapes == [(1, 3), (10, 2), (4, 1)]  # (alpha, r); the layer without rings is left out
    assert photon.names == ["layer_0", "layer_1", "layer_12"]
    assert photon.layers[0].y == (0.0, 5.0, 10.0, 30.0)
    assert photon == Calorimeter.from_xml(path, particle="22")


def test_binning_xml_errors(tmp_path) -> None:
    with pytest.raises(NotFoundError, match="binning file not found"):
        Calorimeter.from_xml(tmp_path / "none.xml")
    path = tmp_path / "binning.xml"
    path.write_text(BINNING)
    with pytest.raises(
        ConfigError, match=r"expected one Bin for particle None, got 2; the file has .*photon"
    ):
        Calorimeter.from_xml(path)
    with pytest.raises(ConfigError, match=r"particle 'muon', got 0.*pion \(pid 211\)"):
        Calorimeter.from_xml(path, particle="muon")
    path.write_text("no xml")
    with pytest.raises(DataError, match="not a binning XML file"):
        Calorimeter.from_xml(path)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("", "expected at least one layer"),
        ('<Layer id="0" r_edges="0,5,3" n_bin_alpha="2"/>', r"layer_0\.y: edges must increase"),
        ('<Layer id="0" r_edges="-5,5" n_bin_alpha="2"/>', r"layer_0\.y: expected radii from 0 on, got \[-5"),
        ('<Layer id="3" r_edges="0,5" n_bin_alpha="0"/>', r"layer_3\.shape: expected two positive numbers"),
        ('<Layer id="3" r_edges="0,5" n_bin_alpha="-2"/>', r"layer_3\.shape: expected two positive numbers"),
    ],
)
def test_wrong_layers_of_a_binning_file_are_said_with_the_file(layers, message, tmp_path) -> None:
    path = tmp_path / "binning.xml"
    path.write_text(f'<Bins><Bin pid="22" name="photon">{layers}</Bin></Bins>', encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"{re.escape(str(path))}: .*{message}"):
        Calorimeter.from_xml(path)


def test_differences_name_each_layer() -> None:
    assert differences(CALOGAN, CALOGAN) == []
    layers = [dict(layer) for layer in CALOGAN_LAYERS]
    layers[0]["x"] = (-240.0, 240.0 + 1e-5)  # rounding
    assert differences(CALOGAN, Calorimeter.from_dicts(layers, unit="GeV")) == []
    layers[0]["x"] = (-240.0, 243.0)
    layers[1] |= {"shape": (12, 6), "coordinates": "polar", "y": (0.0, 240.0)}
    layers[2]["z"] = (198.0, 240.0)
    assert differences(CALOGAN, Calorimeter.from_dicts([*layers, layers[2]])) == [
        "layers: 3, not 4",
        "layer 0 (layer_0): x edge 3 at 240, not 243",
        "layer 1 (layer_1): coordinates cartesian, not polar; shape (12, 12), not (12, 6)",
        "layer 2 (layer_2): z edge 0 at 197, not 198",
    ]
