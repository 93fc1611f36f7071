import copy
from typing import Any

import pytest
from conftest import CALOGAN_LAYERS
from pydantic import ValidationError

from hepgan.config import Config, dump, load, override, parse
from hepgan.errors import ConfigError, NotFoundError

MINIMAL: dict[str, Any] = {
    "data": {
        "files": ["a.root"],
        "conditions": [{"name": "incident_energy", "unit": "GeV"}],
        "calorimeter": {"branches": ["layer_0", "layer_1", "layer_2"], "layers": CALOGAN_LAYERS},
    }
}


@pytest.fixture
def values() -> dict[str, Any]:
    return copy.deepcopy(MINIMAL)


def test_defaults_complete_a_minimal_file(values) -> None:
    config = parse(values)
    assert config.training.batch_size > 1
    assert config.data.conditions[0].expression == "incident_energy"
    assert config.data.calorimeter.calorimeter().n_cells == 504


def test_dump_and_load_round_trip(values, tmp_path) -> None:
    values["data"] |= {"cut": 'incident_energy > 1 and name != "x"', "weight": "w", "max_events": 5}
    values["training"] = {"betas": [0.5, 0.9], "lr_critic": 3e-5}
    config = parse(values)
    path = tmp_path / "config.toml"
    path.write_text(dump(config), encoding="utf-8")
    assert load(path) == config
    for section in Config.model_fields.keys() - {"tune"}:  # the run folder's file is complete
        assert f"[{section}]" in path.read_text(encoding="utf-8")


def test_hits_round_trip(values) -> None:
    values["data"]["calorimeter"] = {
        "layout": "hits",
        "hits": {"cell": "id", "energy": "e"},
        "layers": CALOGAN_LAYERS,
    }
    config = parse(values)
    assert parse(config.model_dump(mode="json", exclude_none=True)) == config


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_are_finite(values, tracks, number) -> None:
    values["data"]["calorimeter"]["layers"][0]["z"] = [0, number]
    tracks["data"]["targets"][0]["atoms"] = [number]
    for table in (values, tracks):
        with pytest.raises(ConfigError, match=rf": input should be a finite number, got {number}"):
            parse(table)


def test_configuration_is_frozen(values) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        parse(values).training.steps = 3


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.step=3", r"unknown key 'training\.step'; did you mean 'steps'\?"),
        ("data.fles=3", r"unknown key 'data\.fles'; did you mean 'files'\?"),
        ("data.calorimeter.lay_out=3", r"unknown key 'data\.calorimeter\.lay_out'; did you mean 'layout'\?"),
        ("trainig.steps=3", r"unknown key 'trainig'; did you mean 'training'\?"),
        ("objective.zzz=3", r"unknown key 'objective\.zzz'; known keys: name, regulariser, penalty, clip, "),
        ("training.steps=0", r"training\.steps: .*greater than 0.*got 0"),
        ("training.steps=many", r"training\.steps: .*integer.*got 'many'"),
        ("training.device=tpu", r"training\.device: .*'auto', 'cpu' or 'cuda'.*got 'tpu'"),
        ("data.files=[]", r"data: files is empty"),
        ("data.files='a.root'", r"data\.files: expected a list \[\.\.\.\], got 'a\.root'"),
        (
            "data.conditions=[{ name = 'incident_energy', unit = 'Gev' }]",
            r"unit of condition 'incident_energy': expected one of .*'GeV'.* got 'Gev'; change the unit",
        ),
        ("data.conditions=[]", r"data: conditions is empty"),
        ("data.validation=0.95", r"leave nothing to train on"),
        ("data.calorimeter.branches=['a']", r"1 branches for 3 layers"),
        ("data.calorimeter.branches=[]", r"layout 'arrays' needs branches"),
        ("data.calorimeter.layout='hits'", r"layout 'hits' needs hits"),
        ("data.calorimeter.geometry='x.toml'", r"give the layers, or a geometry file, and not both"),
        ("data.calorimeter.incident_energy='E'", r"incident_energy is 'E', but the conditions are"),
        ("data.calorimeter.hits={ energy = 'e', cell = 'c', i = 'i' }", r"either cell .* or layer, i and j"),
        ("data.calorimeter.hits={ energy = 'e', i = 'i', j = 'j' }", r"either cell .* or layer, i and j"),
    ],
)
def test_mistakes_are_explained(values, setting, message) -> None:
    override(values, setting)
    with pytest.raises(ConfigError, match=message):
        parse(values, source="my.toml")


def test_unknown_keys_in_lists_name_their_place(values) -> None:
    values["data"]["conditions"][0]["unitt"] = "GeV"
    with pytest.raises(
        ConfigError, match=r"my\.toml: unknown key 'data\.conditions\.0\.unitt'; did you mean 'unit'"
    ):
        parse(values, source="my.toml")


def test_missing_keys_are_named(values) -> None:
    del values["data"]["calorimeter"]
    with pytest.raises(
        ConfigError, match=r"expected either \[data\.calorimeter\] .*, got none; hepgan inspect"
    ):
        parse(values)
    del values["data"]["files"]
    del values["data"]["conditions"]
    with pytest.raises(ConfigError, match=r"'data\.files' is missing(?s:.*)'data\.conditions' is missing"):
        parse(values)


def test_override_reads_toml_values_and_bare_words(values) -> None:
    for setting in (
        "training.steps=7",
        "training.betas=[0.5, 0.99]",
        "training.device=cpu",
        "data.cut=incident_energy > 2",
        "training.tensorboard=true",
    ):
        override(values, setting)
    config = parse(values)
    assert (config.training.steps, config.training.betas) == (7, (0.5, 0.99))
    assert (config.training.device, config.training.tensorboard) == ("cpu", True)
    assert config.data.cut == "incident_energy > 2"


def test_override_errors(values) -> None:
    with pytest.raises(ConfigError, match=r"--set 'training\.steps': expected section\.key=value"):
        override(values, "training.steps")
    with pytest.raises(ConfigError, match="'files' is not a table"):
        override(values, "data.files.x=3")


def test_load_errors(tmp_path) -> None:
    with pytest.raises(NotFoundError, match=r"configuration file not found: .*none\.toml"):
        load(tmp_path / "none.toml")
    with pytest.raises(NotFoundError, match=r"expected a TOML file, got a folder; hepgan inspect"):
        load(tmp_path)
    path = tmp_path / "bad.toml"
    path.write_bytes(b"root\xff\xf3")
    with pytest.raises(ConfigError, match=r"bad\.toml: not a TOML file .*hepgan inspect FILE\.root --config"):
        load(path)
    path.write_text("[data\n")
    with pytest.raises(ConfigError, match=r"bad\.toml: not a TOML file"):
        load(path)


def test_geometry_file(values, tmp_path) -> None:
    calo = values["data"]["calorimeter"]
    del calo["layers"]
    calo["geometry"] = "geometry.toml"
    config = parse(values)
    with pytest.raises(NotFoundError, match="geometry"):
        config.data.calorimeter.calorimeter(base=tmp_path)
    full = parse(MINIMAL)
    text = "".join(
        f"[[layers]]\nshape = {list(layer.shape)}\nx = {list(layer.x)}\n"
        f"y = {list(layer.y)}\nz = {list(layer.z)}\n"
        for layer in full.data.calorimeter.layers
    )
    (tmp_path / "geometry.toml").write_text(text)
    assert config.data.calorimeter.calorimeter(base=tmp_path) == full.data.calorimeter.calorimeter()
    (tmp_path / "geometry.toml").write_text(text.replace("shape", "shpe", 1))
    with pytest.raises(ConfigError, match="unknown key 'shpe'; did you mean 'shape'"):
        config.data.calorimeter.calorimeter(base=tmp_path)


# Observables


TRACKS: dict[str, Any] = {
    "data": {
        "files": ["tracks.root"],
        "ties": True,
        "conditions": [
            {"name": "P", "unit": "MeV/c"},
            {"name": "nTracks", "transform": "linear", "integer": True},
            {"name": "species", "transform": "category", "categories": {"pi": 211, "K": 321}},
        ],
        "targets": [{"name": "DLLk", "branch": "RichDLLk", "atoms": [-999, 0]}, {"name": "DLLp"}],
    }
}


@pytest.fixture
def tracks() -> dict[str, Any]:
    return copy.deepcopy(TRACKS)


def test_observables_complete_and_round_trip(tracks, tmp_path) -> None:
    config = parse(tracks)
    assert (config.data.kind.name, config.model.name) == ("observables", "dll")
    assert [target.expression for target in config.data.targets] == ["RichDLLk", "DLLp"]
    assert config.data.targets[0].atoms == (-999.0, 0.0)
    assert config.data.conditions[2].categories == {"pi": 211.0, "K": 321.0}
    path = tmp_path / "config.toml"
    path.write_text(dump(config), encoding="utf-8")
    assert load(path) == config
    assert load(path, settings=["model.width=17"]).model.width == 17
    with pytest.raises(
        ConfigError, match=r"data\.calorimeter: expected a table, got none; the data are observ"
    ):
        _ = config.data.calo


def test_the_model_follows_the_data(values, tracks) -> None:
    calorimeter = parse(values)
    assert (calorimeter.data.kind.name, calorimeter.model.name) == ("calorimeter", "calo")
    assert calorimeter.data.calo == calorimeter.data.calorimeter
    for wrong, right, data in (("dll", "'calo'", values), ("calo", "'dll', 'vae' or 'flow'", tracks)):
        data["model"] = {"name": wrong}
        with pytest.raises(
            ConfigError, match=rf"model\.name: expected {right} for .*, got '{wrong}'; leave it out"
        ):
            parse(data)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "data.targets=[]",
            r"either \[data\.calorimeter\] .* or \[\[data\.targets\]\] .*, got none; hepgan inspect",
        ),
        (
            "data.targets=[{ name = 'a' }, { name = 'a' }]",
            r"names of conditions and targets must differ, got 'a' twice; rename one of them",
        ),
        ("data.conditions=[{ name = 'a' }, { name = 'a' }]", r"must differ, got 'a' twice"),
        (
            "data.targets=[{ name = 'a', atom = [0] }]",
            r"unknown key 'data\.targets\.0\.atom'; did you mean 'atoms'",
        ),
        (
            "data.targets=[{ name = 'a', transform = 'rank' }]",
            r"'quantile', 'log', 'linear' or 'angle', got 'rank'",
        ),
        (
            "data.conditions=[{ name = 'a', transform = 'category' }]",
            r"belong together; give both or neither",
        ),
        (
            "data.conditions=[{ name = 'a', categories = { K = 1 } }]",
            r"belong together; give both or neither",
        ),
        (
            "data.conditions=[{ name = 'a', transform = 'category', categories = { K = 1, pi = 1 } }]",
            r"categories: expected different values, got \{'K': 1\.0, 'pi': 1\.0\}",
        ),
        (
            "data.conditions=[{ name = 'a', branch = 'pdg', transform = 'category', "
            "categories = { He3 = 1000020030, alpha = 1000020040 } }]",
            r"expected values that differ in single precision, .* got He3 = 1000020030, alpha = 1000020040; give them "
            r"smaller codes: branch = '1 \* \(pdg == 1000020030\) \+ 2 \* \(pdg == 1000020040\)' and categories = "
            r"\{ He3 = 1, alpha = 2 \}",
        ),
        (
            "data.conditions=[{ name = 'a', transform = 'category', categories = { K = 1 }, integer = true }]",
            r"integer = true is for counts; a category is not dithered: leave it out",
        ),
        ("model.chanels=3", r"unknown key 'model\.chanels'"),
        (
            "model.name=dlll",
            r"model.name: expected one of 'calo', 'dll', 'vae', 'flow', got 'dlll'; correct it",
        ),
    ],
)
def test_mistakes_in_observables_are_explained(tracks, setting, message) -> None:
    override(tracks, setting)
    with pytest.raises(ConfigError, match=message):
        parse(tracks, source="my.toml")


def test_showers_and_observables_exclude_each_other(values, tracks) -> None:
    values["data"]["targets"] = tracks["data"]["targets"]
    with pytest.raises(ConfigError, match=r"expected either .*, got both"):
        parse(values)
