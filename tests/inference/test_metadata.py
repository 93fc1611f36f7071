from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tiny_generator import TRACK_TARGETS, tiny_data, tracks_config

import hepgan
from hepgan.errors import ModelFileError, NotFoundError
from hepgan.inference.generator import Generator
from hepgan.inference.metadata import Metadata, open_model

VERSIONS = Path(__file__).parents[1] / "versions"


def plain(model: Generator) -> dict[str, Any]:
    """The entry of the file as JSON has it."""
    return json.loads(onnx.load(model.path).metadata_props[0].value)


def test_metadata_says_what_the_file_is(model: Generator) -> None:
    metadata = plain(model)
    assert (metadata["schema"], metadata["kind"], metadata["tree"]) == (1, "calorimeter", "showers")
    assert metadata["conditions"] == [
        {"name": "incident_energy", "unit": "GeV", "transform": "log", "range": [1.0, 65.0]},
        {"name": "eta", "unit": "", "transform": "linear", "range": [-0.5, 0.5]},
    ]
    assert metadata["latent"] == {"size": 5, "distribution": "normal"}
    assert metadata["outputs"] == [
        {"name": "front", "unit": "MeV", "shape": [2, 3], "role": "layer"},
        {"name": "back", "unit": "MeV", "shape": [2, 2], "role": "layer"},
        {"name": "leak", "unit": "MeV", "shape": [2], "role": "overflow"},
    ]
    centres = np.concatenate([layer["cell_centres"] for layer in metadata["geometry"]["layers"]])
    np.testing.assert_allclose(centres, model.calorimeter.cell_centres)
    assert model.calorimeter == tiny_data().calorimeter.calorimeter()
    assert model.data == tiny_data().model_copy(update={"calorimeter": model.data.calorimeter}), (
        "read files as in training"
    )
    assert model.data.calorimeter.branches == ("front", "back")
    assert metadata["provenance"].keys() >= {"hepgan", "torch", "onnx", "created", "step", "data_sha256"}
    assert metadata["provenance"]["hepgan"] == hepgan.__version__
    assert metadata["metrics"] == {"auc": [0.8, 0.01], "undefined": [None, 0.0]}
    reference = metadata["reference"]
    assert len(reference["condition"]) == len(reference["latent"]) == 4
    energies = [row[0] for row in reference["condition"]]
    assert energies[0] == pytest.approx(1)
    assert energies[-1] == pytest.approx(65), "reference vectors span the range"
    assert {name: np.shape(rows) for name, rows in reference["outputs"].items()} == {
        "front": (4, 6),
        "back": (4, 4),
        "leak": (4, 2),
    }


def test_metadata_of_tracks(rich: Generator) -> None:
    metadata = plain(rich)
    assert (metadata["kind"], metadata["tree"]) == ("observables", "tracks")
    assert "geometry" not in metadata
    momentum, species, eta, occupancy = metadata["conditions"]
    assert momentum == {"name": "Brunel_P", "unit": "MeV/c", "transform": "log", "range": momentum["range"]}
    assert momentum["range"][0] == pytest.approx(2000, rel=0.02)
    assert species["categories"] == {"p": 2212, "pi": 211, "K": 321}
    assert species["range"] == [211, 2212]
    assert "integer" not in eta
    assert occupancy["integer"] is True
    assert all(isinstance(end, int) for end in occupancy["range"]), "a count has whole ends"
    scale = [output["scale"] for output in metadata["outputs"]]
    assert all(s > 0 for s in scale)
    assert metadata["outputs"] == [
        {"name": t["name"], "unit": "", "shape": [1], "role": "target", "scale": s, "atoms": t["atoms"]}
        for t, s in zip(TRACK_TARGETS, scale, strict=True)
    ]
    assert rich.data == tracks_config().data
    assert {row[1] for row in metadata["reference"]["condition"]} == {211, 321, 2212}, "every category"


def _weights(proto: Any, metadata: dict[str, Any]) -> None:
    tensor = max(proto.graph.initializer, key=lambda t: len(t.raw_data))
    values = np.frombuffer(tensor.raw_data, np.float32).copy()
    values[0] += 0.001
    tensor.raw_data = values.tobytes()


def _tanh(proto: Any, metadata: dict[str, Any]) -> None:
    next(n for n in proto.graph.node if n.op_type == "Sigmoid").op_type = "Tanh"


def _newer(proto: Any, metadata: dict[str, Any]) -> None:
    metadata["schema"] = 2


def _foreign(proto: Any, metadata: dict[str, Any]) -> None:
    del proto.metadata_props[:]


def _kind(proto: Any, metadata: dict[str, Any]) -> None:
    metadata["kind"] = "rich"


def _incomplete(proto: Any, metadata: dict[str, Any]) -> None:
    del metadata["geometry"]


def _no_schema(proto: Any, metadata: dict[str, Any]) -> None:
    del metadata["schema"]


def _no_digest(proto: Any, metadata: dict[str, Any]) -> None:
    del metadata["weights_sha256"]


def _no_latent(proto: Any, metadata: dict[str, Any]) -> None:
    metadata["latent"]["size"] = 0


def _other_names(proto: Any, metadata: dict[str, Any]) -> None:
    metadata["conditions"][0]["name"] = "E"


def _other_kind(proto: Any, metadata: dict[str, Any]) -> None:
    metadata["kind"] = "observables"


def _short_reference(proto: Any, metadata: dict[str, Any]) -> None:
    metadata["reference"]["latent"].pop()


def _no_output(proto: Any, metadata: dict[str, Any]) -> None:
    del metadata["reference"]["outputs"]["leak"]


def _edges(proto: Any, metadata: dict[str, Any]) -> None:
    metadata["geometry"]["layers"][0]["x"].reverse()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_weights, "the weights were altered: expected sha256 .* take the original file"),
        (_tanh, "the graph was altered: expected sha256 .* take the original file"),
        (_newer, "expected metadata of schema 1 or older, got 2; .* install that version"),
        (_foreign, "not one of hepgan: expected the metadata entry 'hepgan', got none"),
        (_kind, r"kind: expected one of \['calorimeter', 'observables'\], got 'rich'"),
        (_incomplete, "damaged metadata .'geometry': expected one for showers and none for tracks, got none"),
        (_no_schema, "damaged metadata .'schema'"),
        (_no_digest, "damaged metadata .'weights_sha256' is missing"),
        (_no_latent, "damaged metadata .'latent.size' Input should be greater than 0"),
        (
            _other_names,
            r"'conditions': expected \['incident_energy', 'eta'\], as in the data, got \['E', 'eta'\]",
        ),
        (_other_kind, "'data': expected those of 'observables', got 'calorimeter'"),
        (_short_reference, "'reference': latent: expected 4 rows of 5 numbers"),
        (_no_output, "'reference': expected rows of .*'leak'], got "),
        (_edges, "damaged metadata .front.x: edges must increase"),
    ],
)
def test_altered_files_are_refused(
    change: Callable[..., None], message: str, altered: Callable[..., Path]
) -> None:
    with pytest.raises(ModelFileError, match=message):
        Generator(altered(change))


@pytest.mark.parametrize("content", [b"", b"root of all evil", b"\x08\x08"])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="not an ONNX file"):
        Generator(path)


def test_truncated_file_is_refused(model_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model_path.read_bytes()[:-300])
    with pytest.raises(ModelFileError, match="not an ONNX file, or cut short"):
        Generator(path)


def test_missing_file_and_run_folder(model_path: Path, tmp_path: Path) -> None:
    assert Generator(model_path.parent).path == model_path
    with pytest.raises(
        NotFoundError, match=r"model not found: .*model\.onnx; name a \.onnx file, a run folder"
    ):
        Generator(tmp_path)


@pytest.mark.parametrize("name", ["showers", "tracks"])
def test_files_of_version_0_1_open_and_pass(name: str) -> None:
    model = Generator(VERSIONS / "v0_1" / name)
    assert model.metadata.provenance["hepgan"] == "0.1.0"
    assert all(check.passed for check in model.check()), model.check()


@pytest.mark.parametrize("name", ["showers", "tracks"])
def test_description_is_written_as_in_version_0_1(name: str) -> None:
    path = VERSIONS / "v0_1" / name / "model.onnx"
    text = onnx.load(path).metadata_props[0].value
    assert open_model(path).metadata.to_json() == text


def test_unknown_keys_are_passed_over(model: Generator) -> None:
    table = plain(model) | {"later": 1}
    table["conditions"][0]["later"] = 1
    assert Metadata.model_validate(table) == model.metadata


def test_geometry_of_tracks(rich: Generator) -> None:
    with pytest.raises(ValueError, match="geometry: expected a calorimeter, got none"):
        _ = rich.calorimeter
