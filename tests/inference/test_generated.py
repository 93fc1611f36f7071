"""Generation by names of conditions, and what the result gives."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from tiny_generator import TinyGenerator, tiny_data

from hepgan import trees
from hepgan.config import DataConfig
from hepgan.data.reading import read
from hepgan.errors import ConditionRangeError
from hepgan.exporting.onnx import write
from hepgan.inference import bulk
from hepgan.inference.generator import Generator

TRACK: dict[str, Any] = {"Brunel_P": 3e4, "probe_PDG": "K", "Brunel_ETA": 3, "nTracks_Brunel": 100}


def test_scalars_and_lists_are_broadcast(model: Generator) -> None:
    one = model.generate(incident_energy=10, eta=0.1)
    assert len(one) == 1
    assert one["front"].shape == (1, 2, 3)
    several = model.generate(incident_energy=[10, 20], eta=0.1)
    np.testing.assert_array_equal(several.conditions["incident_energy"], np.float32([10, 20]))
    np.testing.assert_array_equal(several.conditions["eta"], np.float32([0.1, 0.1]))
    many = model.generate(incident_energy=10, eta=[0.1], n=5)
    assert {name: many[name].shape for name in many} == {
        "front": (5, 2, 3),
        "back": (5, 2, 2),
        "leak": (5, 2),
    }
    assert len(model.generate(incident_energy=np.linspace(1, 65, 7), eta=ak.Array(np.zeros(7)), n=7)) == 7


@pytest.mark.parametrize(
    ("layout", "batch"),
    [({}, None), ({}, 2), ({"layout": "hits", "hits": {"cell": "id", "energy": "e"}}, None)],
)
def test_no_rows_give_empty_arrays_of_the_same_kind(
    layout: dict[str, Any], batch: int | None, tmp_path: Path
) -> None:
    data = tiny_data(**layout)
    write(TinyGenerator(data), tmp_path / "m.onnx", data=data, provenance={}, metrics={}, batch=batch)
    model = Generator(tmp_path / "m.onnx")
    some = model.generate(incident_energy=10, eta=0)
    for none in (
        model.generate(incident_energy=[], eta=0),
        model.generate(incident_energy=10, eta=0, n=0),
        model.generate_rows(np.empty((0, 2)), seed=1, first_event=2**64 - 1),
    ):
        assert len(none) == len(none.total_energy) == len(none.incident_energy) == 0
        for name, array in none.to_numpy().items():
            assert array.shape == (0, *some[name].shape[1:])
            assert array.dtype == some[name].dtype
        assert ak.type(none.to_awkward()).content == ak.type(some.to_awkward()).content
        assert none.branches().keys() == some.branches().keys()
    assert [a.shape for a in model.sample(np.empty((0, 2)), seed=1)] == [(0, 10), (0, 2)]
    assert [a.shape for a in model(np.empty((0, 2)), np.empty((0, 5)))] == [(0, 10), (0, 2)]
    for format in ("ttree", "rntuple"):
        with uproot.open(none.to_root(tmp_path / "none.root", format=format)) as file:
            assert file[model.metadata.tree].num_entries == 0


def test_the_same_numbers_as_sample(model: Generator) -> None:
    rows = np.float32([[10, 0.1], [20, -0.1], [30, 0]])
    cells, overflow = model.sample(rows, seed=3, run=2, first_event=5)
    showers = model.generate(
        {"eta": [0.1, -0.1, 0]}, incident_energy=[10, 20, 30], seed=3, run=2, first_event=5
    )
    np.testing.assert_array_equal(showers["front"].reshape(3, -1), cells[:, :6])
    np.testing.assert_array_equal(showers["back"].reshape(3, -1), cells[:, 6:])
    np.testing.assert_array_equal(showers["leak"], overflow)


@pytest.mark.parametrize("layout", [{}, {"layout": "hits", "hits": {"cell": "id", "energy": "e"}}])
def test_bulk_generation_gives_the_same_bits(
    layout: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "_CLUSTER_BYTES", 8000)  # several chunks
    data = tiny_data(**layout)
    write(TinyGenerator(data), tmp_path / "m.onnx", data=data, provenance={}, metrics={})
    model = Generator(tmp_path / "m.onnx")
    key = {"seed": 5, "run": 3, "first_event": 11}
    ranges = {"incident_energy": (1.0, 65.0), "eta": (-0.5, 0.5)}
    bulk.generate(model, tmp_path / "bulk.root", n=700, conditions=ranges, **key)
    from_bulk = read(model.data, files=[str(tmp_path / "bulk.root")])
    energy, eta = from_bulk.conditions.T
    showers = model.generate(incident_energy=energy, eta=eta, **key)
    np.testing.assert_array_equal(showers.arrays[0], from_bulk.cells)
    np.testing.assert_array_equal(showers.arrays[1], from_bulk.overflow)
    bulk.generate(model, tmp_path / "again.root", conditions_from=tmp_path / "bulk.root", **key)
    again = read(model.data, files=[str(tmp_path / "again.root")])
    np.testing.assert_array_equal(again.cells, from_bulk.cells)
    np.testing.assert_array_equal(again.conditions, from_bulk.conditions)
    assert showers.to_root(tmp_path / "own.root") == tmp_path / "own.root"
    with uproot.open(tmp_path / "own.root") as own, uproot.open(tmp_path / "bulk.root") as other:
        assert own["showers"].keys() == other["showers"].keys()
        assert own["showers"].typenames() == other["showers"].typenames()
        for name in own["showers"].iterkeys():
            assert ak.array_equal(own["showers"][name].array(), other["showers"][name].array()), name
        assert json.loads(own["generated_by"]) == json.loads(other["generated_by"])


def test_tracks_of_bulk_generation_have_the_same_bits(
    rich: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "_CLUSTER_BYTES", 15_000)
    bulk.generate(rich, tmp_path / "g.root", n=2500, conditions=TRACK | {"Brunel_P": (3e3, 9e4)}, seed=2)
    from_bulk = read(rich.data, files=[str(tmp_path / "g.root")])
    tracks = rich.generate(**TRACK | {"Brunel_P": from_bulk.conditions[:, 0]}, seed=2)
    np.testing.assert_array_equal(np.stack([tracks[name] for name in tracks], axis=1), from_bulk.targets)
    tracks.to_root(tmp_path / "own.root", format="rntuple")
    own = read(rich.data, files=[str(tmp_path / "own.root")])
    np.testing.assert_array_equal(own.targets, from_bulk.targets)
    np.testing.assert_array_equal(own.conditions, from_bulk.conditions)


def test_categories_by_name_or_code_and_counts(rich: Generator) -> None:
    names = rich.generate(**TRACK | {"probe_PDG": ["K", "pi", 2212]})
    codes = rich.generate(**TRACK | {"probe_PDG": np.array([321, 211, 2212])})
    for tracks in (names, codes):
        np.testing.assert_array_equal(tracks.conditions["probe_PDG"], [321, 211, 2212])
        assert tracks.conditions["probe_PDG"].dtype == tracks.conditions["nTracks_Brunel"].dtype == np.int32
    np.testing.assert_array_equal(names["RichDLLk"], codes["RichDLLk"])
    assert names["RichDLLk"].shape == (3,)


@pytest.mark.parametrize(
    ("given", "unit", "expected"),
    [
        (20_000, "MeV", 20),
        ([2e10, 1e9], "eV", [20, 1]),
        (0.065, "TeV", 65),
        (20, "GeV", 20),
    ],
)
def test_energies_are_converted(given: Any, unit: str, expected: Any, model: Generator) -> None:
    showers = model.generate(incident_energy=given, eta=0, units={"incident_energy": unit, "eta": ""})
    np.testing.assert_array_equal(
        showers.conditions["incident_energy"], np.atleast_1d(expected).astype(np.float32)
    )


def test_momenta_are_converted(rich: Generator) -> None:
    tracks = rich.generate(**TRACK | {"Brunel_P": 30}, units={"Brunel_P": "GeV/c"})
    np.testing.assert_allclose(tracks.conditions["Brunel_P"], 3e4)


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        ("mm", r"unit of condition 'Brunel_P': expected one of \['eV/c', .*'TeV/c'\], got 'mm'"),
        ("GeV", "got 'GeV'; convert the values, or correct the unit"),
        ("GeV/c^2", r"got 'GeV/c\^2'"),
    ],
)
def test_units_that_cannot_be_converted(unit: str, message: str, rich: Generator) -> None:
    with pytest.raises(ValueError, match=message):
        rich.generate(**TRACK, units={"Brunel_P": unit})
    with pytest.raises(
        ValueError, match=r"unit of condition 'nTracks_Brunel': expected one of \[''\], got 'GeV'"
    ):
        rich.generate(**TRACK, units={"nTracks_Brunel": "GeV"})
    with pytest.raises(ValueError, match=r"units: the model has no condition 'P'; .*'Brunel_P'"):
        rich.generate(**TRACK, units={"P": "GeV"})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"incident_energi": 10, "eta": 0}, "'incident_energi': the model has none .*mean 'incident_energy'"),
        ({"incident_energy": 10}, r"expected a value for each of .* got none for \['eta'\]; add eta=VALUE"),
        (
            {"incident_energy": [10, 20], "eta": [0, 0, 0]},
            r"'eta': expected one value or 2 \(as condition 'incid",
        ),
        (
            {"incident_energy": [10, 20], "eta": 0, "n": 3},
            r"expected one value or 3 \(as n\), got 2",
        ),
        ({"incident_energy": 10, "eta": 0, "n": -1}, "n: expected a number from 0 on, got -1"),
        (
            {"incident_energy": [[10]], "eta": 0},
            r"expected a number or a list .* got an array of shape \(1, 1\)",
        ),
        (
            {"incident_energy": "ten", "eta": 0},
            "'incident_energy': expected a number or a list of numbers, got 'ten'",
        ),
        ({"incident_energy": None, "eta": 0}, "got None; give one value a row"),
        ({"incident_energy": [[1], [1, 2]], "eta": 0}, "got list that is no array; give one value a row"),
        (
            {"incident_energy": ak.Array([[1], [1, 2]]), "eta": 0},
            "'incident_energy': .*got Array that is no array",
        ),
        (
            {"incident_energy": ak.Array([10, None]), "eta": 0},
            "'incident_energy': .*got Array that is no array",
        ),
        (
            {"incident_energy": np.ma.array([10.0, 10], mask=[0, 1]), "eta": 0},
            "'incident_energy': expected .*got nan GeV in row 1",
        ),
        ({"incident_energy": 10, "eta": 0, "seed": -1}, "seed: expected a whole number from 0"),
        (
            {"incident_energy": 10, "eta": 0, "first_event": 2**64},
            "first_event: expected a whole number from 0",
        ),
    ],
)
def test_wrong_values(settings: dict[str, Any], message: str, model: Generator) -> None:
    with pytest.raises(ValueError, match=message):
        model.generate(**settings)


@pytest.mark.parametrize("rows", [np.ones((2, 2)), [10.0, 0.0], np.empty((0, 2)), 10.0])
def test_conditions_without_names_are_refused(rows: Any, model: Generator) -> None:
    message = r"conditions: expected values by name, got .*; write incident_energy=VALUE, or generate_rows"
    with pytest.raises(ValueError, match=message):
        model.generate(rows)


def test_conditions_may_be_columns_of_a_table(model: Generator) -> None:
    class Table(dict[str, Any]):
        def __bool__(self) -> bool:
            raise ValueError("ambiguous, as the truth value of a table of pandas")

    table = Table(incident_energy=np.array([10.0, 20.0]), eta=np.zeros(2))
    assert len(model.generate(table, seed=1)) == 2


def test_a_condition_given_twice(model: Generator) -> None:
    with pytest.raises(ValueError, match="'eta': expected one value, got two; leave one out"):
        model.generate({"eta": 0}, incident_energy=10, eta=0)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (
            {"probe_PDG": "k"},
            ConditionRangeError,
            "'probe_PDG': there is no category 'k'; there is 'p', 'pi', 'K'",
        ),
        ({"probe_PDG": 13}, ConditionRangeError, "'probe_PDG': expected one of p = 2212, .* got 13 in row 0"),
        ({"probe_PDG": None}, ValueError, "expected a category or a list of them, got None"),
        ({"probe_PDG": ["K", None]}, ValueError, "expected a category or a list of them"),
        ({"nTracks_Brunel": [100, 99.5]}, ValueError, r"expected whole numbers \(it is a count\), got 99\.5"),
        ({"nTracks_Brunel": 99.5}, ValueError, r"got 99\.5; round them"),
        ({"nTracks_Brunel": 1e6}, ConditionRangeError, r"'nTracks_Brunel': expected .* got 1e\+06 in row 0"),
    ],
)
def test_wrong_conditions_of_tracks(
    value: dict[str, Any], error: type[Exception], message: str, rich: Generator
) -> None:
    with pytest.raises(error, match=message):
        rich.generate(**TRACK | value)


def test_range_and_extrapolation(model: Generator) -> None:
    with pytest.raises(ConditionRangeError, match=r"expected 1 to 65 GeV .*, got 100 GeV in row 1"):
        model.generate(incident_energy=[10, 100], eta=0)
    assert len(model.generate(incident_energy=[10, 100], eta=0, extrapolate=True)) == 2


def test_result_names_arrays_and_units(model: Generator) -> None:
    showers = model.generate(incident_energy=[10, 20], eta=0.1)
    assert showers.names == ["front", "back", "leak"]
    assert showers.units == {
        "incident_energy": "GeV",
        "eta": "",
        "front": "MeV",
        "back": "MeV",
        "leak": "MeV",
    }
    assert list(showers) == list(showers.keys()) == list(dict(showers)) == showers.names
    assert "front" in showers
    assert "incident_energy" in showers
    assert "layer_0" not in showers
    np.testing.assert_array_equal(showers["incident_energy"], [10, 20])
    assert repr(showers) == (
        "<2 generated showers: front 2x3 [MeV], back 2x2 [MeV], leak 2 [MeV]; at incident_energy [GeV], eta; "
        "model.onnx, seed 1, run 0, events from 0>"
    )
    with pytest.raises(KeyError, match="no array 'fron'; did you mean 'front'"):
        showers["fron"]
    with pytest.raises(TypeError, match=r"expected the name of an array, got 0; .* x\['front'\]"):
        showers[0]  # type: ignore[index]


def test_response_of_showers(calo: Generator, rich: Generator) -> None:
    showers = calo.generate(incident_energy=[20] * 200)
    np.testing.assert_array_equal(showers.incident_energy, [20_000] * 200)
    cells = sum(showers[name].sum(axis=(1, 2), dtype=float) for name in ("layer_0", "layer_1", "layer_2"))
    np.testing.assert_allclose(showers.total_energy, cells + showers["overflow"].sum(axis=1))
    assert np.mean(showers.total_energy / showers.incident_energy) == pytest.approx(1, abs=0.05)
    tracks = rich.generate(**TRACK)
    assert repr(tracks).startswith("<1 generated track: RichDLLe number")
    for name in ("total_energy", "incident_energy"):
        with pytest.raises(ValueError, match="the data are observables"):
            getattr(tracks, name)


def test_numpy_and_awkward(model: Generator, rich: Generator) -> None:
    showers = model.generate(incident_energy=[10, 20, 30], eta=0.1)
    arrays = showers.to_numpy()
    assert list(arrays) == ["incident_energy", "eta", "front", "back", "leak"]
    assert np.shares_memory(arrays["front"], showers.arrays[0]), "no copy"
    records = showers.to_awkward()
    assert ak.fields(records) == list(arrays)
    assert str(records.type).startswith("3 * {incident_energy: float32")
    assert "front: 2 * 3 * float32" in str(records.type)
    for name, values in arrays.items():
        np.testing.assert_array_equal(ak.to_numpy(records[name]), values)
    assert str(rich.generate(**TRACK).to_awkward().type).startswith(
        "1 * {Brunel_P: float32, probe_PDG: int32"
    )


def test_root_file_is_written_completely_or_not_at_all(model: Generator, tmp_path: Path) -> None:
    showers = model.generate(incident_energy=[10, 20, 30], eta=0.1)
    with pytest.raises(ValueError, match="format: expected 'ttree' or 'rntuple', got 'csv'"):
        showers.to_root(tmp_path / "g.root", format="csv")  # type: ignore[arg-type]
    with pytest.raises(OSError, match="expected the name of a file, got a folder"):
        showers.to_root(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_weights_of_the_training_are_ones(tmp_path: Path) -> None:
    data: DataConfig = tiny_data().model_copy(update={"weight": "w"})
    write(TinyGenerator(data), tmp_path / "m.onnx", data=data, provenance={}, metrics={})
    path = Generator(tmp_path / "m.onnx").generate(incident_energy=[5, 6], eta=0).to_root(tmp_path / "g.root")
    np.testing.assert_array_equal(read(data, files=[str(path)]).weights, [1, 1])


def test_example_of_the_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[2]
    (example,) = re.findall(r"```python\n(.*?)```", (root / "docs" / "onnx.md").read_text(), re.DOTALL)
    monkeypatch.chdir(root / "tests" / "versions" / "v0_1" / "showers")
    names: dict[str, Any] = {}
    exec(example, names)
    assert names["showers"]["layer_1"].shape == (2, 4, 4)


def test_events_do_not_repeat_where_their_numbers_end(model: Generator) -> None:
    rows = np.float32([[10, 0.1]] * 2)
    assert len(model.sample(rows, seed=1, first_event=2**64 - 2)[0]) == 2
    with pytest.raises(ValueError, match="first_event: expected event numbers up to"):
        model.sample(rows, seed=1, first_event=2**64 - 1)


def test_numbers_that_are_no_rows_or_batches(model: Generator) -> None:
    with pytest.raises(ValueError, match="batch_size: expected a positive number, got -1"):
        model.sample(np.float32([[10, 0.1]]), seed=1, batch_size=-1)
    with pytest.raises(ValueError, match=r"condition: expected shape \(2, 2\), got \(2,\)"):
        model.generate_rows(np.array([10.0, 20.0]), seed=1)


def test_key_is_recorded_as_whole_numbers(model: Generator, tmp_path: Path) -> None:
    showers = model.generate(incident_energy=10, eta=0, seed=np.int64(3))
    with uproot.open(showers.to_root(tmp_path / "g.root")) as file:
        assert json.loads(file["generated_by"])["seed"] == 3
    with pytest.raises(TypeError, match="seed: expected a whole number"):
        model.generate(incident_energy=10, eta=0, seed=1.5)


def test_slices_are_for_the_arrays(model: Generator) -> None:
    showers = model.generate(incident_energy=[10, 20], eta=0)
    with pytest.raises(TypeError, match="index: expected the name of an array"):
        showers[:1]
    assert slice(1) not in showers
