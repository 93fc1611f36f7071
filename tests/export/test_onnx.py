from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tomli_w
import torch
from tiny_generator import LAYERS, TRACK_TARGETS, TinyGenerator, tiny_data, tracks_config, tracks_generator

import hepgan
from hepgan.config import CaloModelConfig, Config, DataConfig
from hepgan.data.reading import read
from hepgan.data.tensors import TensorEvents
from hepgan.export.onnx import OPERATORS, TOLERANCE, OnnxGenerator, _content_digest, write
from hepgan.models.showers import CaloGenerator

METRICS = {"auc": (0.8, 0.01), "undefined": (float("nan"), 0.0)}


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    data = tiny_data()
    write(TinyGenerator(data), path, data=data, provenance={"step": 7, "data_sha256": "abc"}, metrics=METRICS)
    return path


@pytest.fixture(scope="module")
def model(model_path: Path) -> OnnxGenerator:
    return OnnxGenerator(model_path)


@pytest.fixture
def altered(model_path: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the file with its description or its graph changed."""

    def build(change: Callable[[Any, dict[str, Any]], None]) -> Path:
        proto = onnx.load(model_path)
        metadata = json.loads(proto.metadata_props[0].value)
        change(proto, metadata)
        if proto.metadata_props:
            proto.metadata_props[0].value = json.dumps(metadata)
        path = tmp_path / "altered.onnx"
        path.write_bytes(proto.SerializeToString())
        return path

    return build


def inputs(rows: int, size: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    condition = np.stack([np.geomspace(1, 65, rows), np.linspace(-0.5, 0.5, rows)], axis=1).astype(np.float32)
    return condition, rng.standard_normal((rows, size), dtype=np.float32)


def test_file_follows_the_contract(model_path: Path) -> None:
    proto = onnx.load(model_path, load_external_data=False)
    assert [p.name for p in model_path.parent.iterdir()] == ["model.onnx"], "weights inside the one file"
    assert all(t.data_location == onnx.TensorProto.DEFAULT for t in proto.graph.initializer)
    assert proto.ir_version == 8
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", 17)]
    assert {n.op_type for n in proto.graph.node} <= OPERATORS
    assert not OPERATORS & {"Einsum", "OneHot", "CumSum", "If", "Loop", "RandomNormal", "RandomUniform"}

    def shapes(values: Any) -> dict[str, list[Any]]:
        return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}

    assert shapes(proto.graph.input) == {"condition": ["batch", 2], "latent": ["batch", 5]}
    assert shapes(proto.graph.output) == {
        "front": ["batch", 2, 3],
        "back": ["batch", 2, 2],
        "leak": ["batch", 2],
    }
    assert not any(n.doc_string for n in proto.graph.node), "no source lines of the machine that exported"


def test_numbers_are_those_of_torch_in_any_batch(model: OnnxGenerator) -> None:
    condition, latent = inputs(200)
    with torch.no_grad():
        generator = TinyGenerator(tiny_data())
        expected = [o.numpy() for o in generator(torch.from_numpy(condition), torch.from_numpy(latent))]
    got = model(condition, latent)
    singles = [model(condition[k : k + 1], latent[k : k + 1]) for k in range(200)]
    for k in range(2):
        scale = expected[k].max(axis=1, keepdims=True)
        np.testing.assert_allclose(got[k], expected[k], rtol=0, atol=float(1e-5 * scale.max()))
        assert np.all(np.abs(got[k] - expected[k]) <= 1e-5 * np.maximum(scale, 1e-3))
        one_by_one = np.concatenate([s[k] for s in singles])
        assert np.all(np.abs(got[k] - one_by_one) <= 1e-5 * np.maximum(scale, 1e-3))
        assert (got[k] >= 0).all()
    assert (got[0] == 0).any(), "cells without energy are exactly zero"


def test_metadata_says_what_the_file_is(model: OnnxGenerator) -> None:
    metadata = model.metadata
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


@pytest.mark.parametrize("overflow", [None, "tail"])
def test_outputs_without_overflow_branch(overflow: str | None, tmp_path: Path) -> None:
    data = tiny_data(layout="cells", overflow=overflow)
    path = tmp_path / "m.onnx"
    write(TinyGenerator(data, overflow=overflow is not None), path, data=data, provenance={}, metrics={})
    model = OnnxGenerator(path)
    assert model.outputs == ["layer_0", "layer_1"] + (["overflow"] if overflow else [])
    assert model(*inputs(3))[1].shape == (3, 2 if overflow else 0)


def test_geometry_file_travels_inside(tmp_path: Path) -> None:
    (tmp_path / "geometry.toml").write_text(tomli_w.dumps({"layers": LAYERS}))
    table = {"layers": (), "geometry": str(tmp_path / "geometry.toml")}
    data = tiny_data(**table)
    write(TinyGenerator(data), tmp_path / "m.onnx", data=data, provenance={}, metrics={})
    (tmp_path / "geometry.toml").unlink()
    model = OnnxGenerator(tmp_path / "m.onnx")
    assert model.data.calorimeter.geometry is None
    assert model.data.calorimeter.calorimeter() == model.calorimeter


def test_fixed_batch_takes_any_number_of_rows(model: OnnxGenerator, tmp_path: Path) -> None:
    data = tiny_data()
    path = tmp_path / "fixed.onnx"
    write(TinyGenerator(data), path, data=data, provenance={}, metrics={}, batch=4)
    fixed = OnnxGenerator(path)
    assert fixed.batch == 4
    dims = onnx.load(path).graph.output[0].type.tensor_type.shape.dim
    assert [d.dim_value for d in dims] == [4, 2, 3]
    for rows in (1, 4, 7):
        condition, latent = inputs(rows)
        np.testing.assert_allclose(
            fixed(condition, latent)[0], model(condition, latent)[0], rtol=1e-5, atol=1e-3
        )
    assert all(ok for _, ok, _ in fixed.check())


def test_check_passes_and_says_what_it_did(model: OnnxGenerator) -> None:
    results = model.check()
    assert all(ok for _, ok, _ in results), results
    assert [name for name, _, _ in results] == [
        "weights",
        "reference vectors",
        "one row = many rows",
        "energies",
        "operators",
    ]


def test_check_finds_a_changed_graph(altered: Callable[..., Path]) -> None:
    def change(proto: Any, metadata: dict[str, Any]) -> None:
        _tanh(proto, metadata)
        metadata["content_sha256"] = _content_digest(proto)

    failed = {name for name, ok, _ in OnnxGenerator(altered(change)).check() if not ok}
    assert failed == {"reference vectors"}


def test_check_finds_foreign_operators_and_negative_energies(altered: Callable[..., Path]) -> None:
    def change(proto: Any, metadata: dict[str, Any]) -> None:
        next(n for n in proto.graph.node if n.op_type == "Relu").op_type = "Sinh"
        metadata["content_sha256"] = _content_digest(proto)

    results = {name: (ok, detail) for name, ok, detail in OnnxGenerator(altered(change)).check()}
    assert not results["operators"][0]
    assert "not in the common set: Sinh" in results["operators"][1]
    assert results["energies"] == (False, "NaN, infinite or negative energies")


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_weights, "the weights were altered: expected sha256 .* take the original file"),
        (_tanh, "the graph was altered: expected sha256 .* take the original file"),
        (_newer, "expected metadata of schema 1 or older, got 2; .* install that version"),
        (_foreign, "not one of hepgan: expected the metadata entry 'hepgan', got none"),
        (_kind, r"kind: expected one of \['calorimeter', 'observables'\], got 'rich'"),
        (_incomplete, "damaged metadata .'geometry'"),
        (_no_schema, "damaged metadata .'schema'"),
    ],
)
def test_altered_files_are_refused(
    change: Callable[..., None], message: str, altered: Callable[..., Path]
) -> None:
    with pytest.raises(ValueError, match=message):
        OnnxGenerator(altered(change))


@pytest.mark.parametrize("content", [b"", b"root of all evil", b"\x08\x08"])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="not an ONNX file"):
        OnnxGenerator(path)


def test_truncated_file_is_refused(model_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model_path.read_bytes()[:-300])
    with pytest.raises(ValueError, match="not an ONNX file, or cut short"):
        OnnxGenerator(path)


def test_missing_file_and_run_folder(model_path: Path, tmp_path: Path) -> None:
    assert OnnxGenerator(model_path.parent).path == model_path
    with pytest.raises(
        FileNotFoundError, match=r"model not found: .*model\.onnx; name a \.onnx file or a run"
    ):
        OnnxGenerator(tmp_path)


def test_runs_on_one_thread_unless_asked(model: OnnxGenerator, model_path: Path) -> None:
    options = model._run.session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert OnnxGenerator(model_path, threads=2)._run.session.get_session_options().intra_op_num_threads == 2


@pytest.mark.parametrize(
    ("condition", "extrapolate", "message"),
    [
        (
            [[10, 0], [66, 0]],
            False,
            r"'incident_energy': expected 1 to 65 GeV .the trained range., got 66 GeV in row 1",
        ),
        (
            [[10, 0.6]],
            False,
            r"'eta': expected -0.5 to 0.5 .the trained range., got 0.6 in row 0; .*--extrapolate",
        ),
        ([[np.nan, 0]], False, "got nan GeV in row 0; extrapolation needs a finite number"),
        ([[10, np.inf]], True, "got inf in row 0; extrapolation needs a finite number"),
        ([[-1, 0]], True, "got -1 GeV in row 0; extrapolation needs .* positive one where the logarithm"),
    ],
)
def test_conditions_outside_the_range(
    condition: Any, extrapolate: bool, message: str, model: OnnxGenerator
) -> None:
    with pytest.raises(ValueError, match=message):
        model.sample(np.array(condition), seed=1, extrapolate=extrapolate)


def test_extrapolation_is_possible(model: OnnxGenerator) -> None:
    cells, overflow = model.sample(np.array([[100.0, -0.7]]), seed=1, extrapolate=True)
    assert np.isfinite(cells).all()
    assert overflow.shape == (1, 2)


def test_samples_are_reproducible_in_any_batch(model: OnnxGenerator) -> None:
    condition, _ = inputs(100)
    cells, overflow = model.sample(condition, seed=5)
    again = model.sample(condition, seed=5, batch_size=7)
    np.testing.assert_allclose(again[0], cells, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(again[1], overflow, rtol=1e-5, atol=1e-3)
    other, _ = model.sample(condition, seed=6)
    assert not np.allclose(other, cells)
    tail, _ = model.sample(condition[3:], seed=5, first_event=3)
    np.testing.assert_allclose(tail, cells[3:], rtol=1e-5, atol=1e-3)
    assert model.sample(condition[:0], seed=1)[0].shape == (0, 10)


def test_wrong_arguments(model: OnnxGenerator) -> None:
    condition, latent = inputs(3)
    with pytest.raises(ValueError, match=r"latent: expected shape \(3, 5\), got \(3, 4\)"):
        model(condition, latent[:, :4])
    with pytest.raises(ValueError, match=r"condition: expected shape \(3, 2\), got \(3, 1\)"):
        model(condition[:, :1], latent)
    with pytest.raises(ValueError, match="run: expected a whole number from 0"):
        model.sample(condition, seed=1, run=-1)


class _Cumulative(TinyGenerator):
    def forward(self, condition: torch.Tensor, latent: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        cells, overflow = super().forward(condition, latent)
        return cells.cumsum(1), overflow


class _Infinite(TinyGenerator):
    def forward(self, condition: torch.Tensor, latent: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        cells, overflow = super().forward(condition, latent)
        return cells / (latent[:, :1] - latent[:, :1]), overflow


class _TwoFaced(TinyGenerator):
    def forward(self, condition: torch.Tensor, latent: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        cells, overflow = super().forward(condition, latent)
        return cells * (1.001 if torch.onnx.is_in_onnx_export() else 1), overflow


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (_Cumulative, {}, r"expected only those that every target has .* got also \['CumSum'\]"),
        (_TwoFaced, {}, r"expected the exported numbers to be torch's within 1e-05 .*got 0\.001"),
        (
            _Infinite,
            {},
            "generator: expected finite numbers over the trained range, got NaN or infinite ones",
        ),
        (TinyGenerator, {"batch": 0}, "batch: expected a positive number, .* got 0"),
    ],
)
def test_unfaithful_exports_leave_no_file(
    kind: type[TinyGenerator], settings: dict[str, int], message: str, tmp_path: Path
) -> None:
    data = tiny_data()
    with pytest.raises(ValueError, match=message):
        write(kind(data), tmp_path / "m.onnx", data=data, provenance={}, metrics={}, **settings)
    assert list(tmp_path.iterdir()) == []


def test_generator_of_other_data_is_refused(tmp_path: Path) -> None:
    data = tiny_data()
    generator = TinyGenerator(data)
    one = data.model_copy(update={"conditions": data.conditions[:1]})
    with pytest.raises(ValueError, match=r"condition_range: expected 1 rows, .* got 2"):
        write(generator, tmp_path / "m.onnx", data=one, provenance={}, metrics={})
    clash = tiny_data(branches=["latent", "back"])
    with pytest.raises(
        ValueError, match=r"outputs: expected names that differ, .* \['latent', 'back', 'leak'\]"
    ):
        write(TinyGenerator(clash), tmp_path / "m.onnx", data=clash, provenance={}, metrics={})


def test_export_restores_the_training_mode(tmp_path: Path) -> None:
    data = tiny_data()
    generator = TinyGenerator(data).train()
    write(generator, tmp_path / "new" / "m.onnx", data=data, provenance={}, metrics={})
    assert generator.training


def test_only_files_are_replaced(tmp_path: Path) -> None:
    data = tiny_data()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # stands for a device, which a rename would replace when root runs it
    with pytest.raises(
        OSError, match=r"cannot write .*pipe: expected the name of a file, got a device or pipe"
    ):
        write(TinyGenerator(data), pipe, data=data, provenance={}, metrics={})
    assert pipe.is_fifo()
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"the model could not be written; .* name a place that can be written"):
        write(TinyGenerator(data), tmp_path / "file" / "m.onnx", data=data, provenance={}, metrics={})


def test_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    data = tiny_data()
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(
            OSError, match=r"the model could not be written; nothing was left behind, make room"
        ):
            write(TinyGenerator(data), path, data=data, provenance={}, metrics={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("bounds", "rounded"),
    [
        ([[1.00004, 64.998], [-2.4987, 2.4991]], [[1.0, 65.0], [-2.5, 2.5]]),
        ([[0.0123456, 1234.56], [0.1001, 0.30302]], [[0.0123, 1240.0], [0.1, 0.304]]),
        ([[5.0, 5.0], [0.0, 0.0]], [[5.0, 5.0], [0.0, 0.0]]),
    ],
)
def test_trained_range_is_rounded_outwards(bounds: Any, rounded: Any, tmp_path: Path) -> None:
    data = tiny_data()
    generator = TinyGenerator(data)
    generator.condition_range.copy_(torch.tensor(bounds))
    write(generator, tmp_path / "m.onnx", data=data, provenance={}, metrics={})
    got = [[c.low, c.high] for c in OnnxGenerator(tmp_path / "m.onnx").conditions]
    for (low, high), want, true in zip(got, rounded, bounds, strict=True):
        assert [low, high] == pytest.approx(want)
        assert np.float32(low) <= np.float32(true[0])
        assert np.float32(high) >= np.float32(true[1])


def test_calorimeter_generator_exports_within_tolerance(sample_config: DataConfig, tmp_path: Path) -> None:
    events = read(sample_config.model_copy(update={"max_events": 1500}))
    generator = CaloGenerator(sample_config, CaloModelConfig(width=16, depth=1, channels=2, latent=8))
    generator.fit(TensorEvents.of(events), rng=torch.Generator().manual_seed(1))
    write(generator, tmp_path / "m.onnx", data=sample_config, provenance={}, metrics={})
    model = OnnxGenerator(tmp_path / "m.onnx")
    assert model.outputs == ["layer_0", "layer_1", "layer_2", "overflow"]
    assert all(ok for _, ok, _ in model.check()), model.check()
    cells, overflow = model.sample(events.conditions, seed=1)
    response = (cells.sum(1) + overflow.sum(1)) / events.conditions[:, 0] / 1000
    assert response.mean() == pytest.approx(1, abs=0.02), "contained showers"
    assert TOLERANCE == 1e-5


@pytest.fixture(scope="module")
def rich_config() -> Config:
    return tracks_config()


@pytest.fixture(scope="module")
def rich_generator(rich_config: Config) -> Any:
    return tracks_generator(rich_config).eval()


@pytest.fixture(scope="module")
def rich(rich_config: Config, rich_generator: Any, tmp_path_factory: pytest.TempPathFactory) -> OnnxGenerator:
    path = tmp_path_factory.mktemp("rich") / "model.onnx"
    write(rich_generator, path, data=rich_config.data, provenance={}, metrics={})
    return OnnxGenerator(path)


def track_rows(model: OnnxGenerator, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(8)
    condition = np.stack([rng.permutation(c.spanning(n)) for c in model.conditions], axis=1)
    return condition.astype(np.float32), rng.standard_normal((n, model.n_latent), dtype=np.float32)


def test_tracks_are_those_of_torch_in_any_batch(rich: OnnxGenerator, rich_generator: Any) -> None:
    condition, latent = track_rows(rich, 2000)
    with torch.no_grad():
        expected = rich_generator(torch.from_numpy(condition), torch.from_numpy(latent))[0].numpy()
    (got,) = rich(condition, latent)
    size = np.maximum(np.abs(expected), [output["scale"] for output in rich.metadata["outputs"]])
    assert got.shape == (2000, 3)
    assert np.all(np.abs(got - expected) <= 1e-5 * size)
    assert np.array_equal(got == -999, expected == -999), "sentinels are exact"
    assert 0 < (got == -999).mean() < 0.5
    assert np.array_equal(got[:, 1] == got[:, 2], expected[:, 1] == expected[:, 2]), "ties are exact"
    singles = np.concatenate([rich(condition[k : k + 1], latent[k : k + 1])[0] for k in range(200)])
    assert np.all(np.abs(singles - got[:200]) <= 1e-5 * size[:200])


def test_graph_of_tracks_is_small(rich: OnnxGenerator) -> None:
    proto = onnx.load(rich.path)
    kinds = [node.op_type for node in proto.graph.node]
    # an activation is one with its Gemm when it runs; each further node costs a track half a microsecond
    assert len([k for k in kinds if k not in ("Relu", "LeakyRelu")]) <= 26 + 2 * 2, kinds
    assert [v.name for v in proto.graph.output] == ["RichDLLe", "RichDLLk", "RichDLLp"]
    assert all(v.type.tensor_type.shape.dim[1].dim_value == 1 for v in proto.graph.output)


def test_metadata_of_tracks(rich: OnnxGenerator, rich_config: Config) -> None:
    metadata = rich.metadata
    assert (rich.kind, metadata["kind"], metadata["tree"]) == ("observables", "observables", "tracks")
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
    assert rich.data == rich_config.data
    assert {row[1] for row in metadata["reference"]["condition"]} == {211, 321, 2212}, "every category"


def test_check_of_tracks(rich: OnnxGenerator) -> None:
    results = {name: (ok, detail) for name, ok, detail in rich.check()}
    assert all(ok for ok, _ in results.values()), results
    assert "exactly at an atom" in results["targets"][1]


def test_check_finds_smeared_sentinels(rich: OnnxGenerator, tmp_path: Path) -> None:
    proto = onnx.load(rich.path)
    metadata = json.loads(proto.metadata_props[0].value)
    for output in metadata["outputs"]:
        output["atoms"] = [-998.5 if atom == -999 else atom for atom in output["atoms"]]
    proto.metadata_props[0].value = json.dumps(metadata)
    (tmp_path / "smeared.onnx").write_bytes(proto.SerializeToString())
    results = {name: (ok, detail) for name, ok, detail in OnnxGenerator(tmp_path / "smeared.onnx").check()}
    assert results["targets"] == (False, "RichDLLe: -999 instead of -998.5")


@pytest.mark.parametrize(
    ("row", "extrapolate", "message"),
    [
        ([3e4, 13, 3, 100], False, "'probe_PDG': expected one of .*pi = 211.*, got 13 in row 1; .* no other"),
        ([3e4, 13, 3, 100], True, "got 13 in row 1; the generator was trained with no other"),
        ([3e4, np.nan, 3, 100], True, "'probe_PDG': .* got nan in row 1"),
        ([3e4, 321, 3, 5000], False, "'nTracks_Brunel': expected .* got 5000 in row 1; stay inside"),
        ([-1, 321, 3, 100], True, "'Brunel_P': .* got -1 MeV/c in row 1; extrapolation needs"),
    ],
)
def test_conditions_of_tracks_are_checked(
    row: Any, extrapolate: bool, message: str, rich: OnnxGenerator
) -> None:
    good = [30000.0, 321.0, 3.0, 100.0]
    with pytest.raises(ValueError, match=message):
        rich.sample(np.array([good, row]), seed=1, extrapolate=extrapolate)
    (targets,) = rich.sample(np.array([good] * 3), seed=1)
    assert targets.shape == (3, 3)
    with pytest.raises(ValueError, match="give one row a track"):
        rich(np.array([good]), np.zeros((1, 2)))
    assert rich.sample(np.empty((0, 4)), seed=1)[0].shape == (0, 3)


def test_tracks_in_a_fixed_batch(
    rich: OnnxGenerator, rich_generator: Any, rich_config: Config, tmp_path: Path
) -> None:
    write(rich_generator, tmp_path / "m.onnx", data=rich_config.data, provenance={}, metrics={}, batch=4)
    condition, latent = track_rows(rich, 6)
    np.testing.assert_allclose(
        OnnxGenerator(tmp_path / "m.onnx")(condition, latent)[0],
        rich(condition, latent)[0],
        rtol=1e-5,
        atol=1e-4,
    )


@pytest.mark.parametrize(
    "targets",
    [
        [{"name": "RichDLLe"}],
        [
            {"name": "momentum", "branch": "Brunel_P", "transform": "log"},
            {"name": "RichDLLe", "atoms": [-999.0]},
        ],
        [{"name": "phi", "branch": "Brunel_ETA", "unit": "rad", "transform": "angle"}, {"name": "RichDLLe"}],
    ],
)
def test_other_targets_and_a_single_condition(targets: Any, tmp_path: Path) -> None:
    config = tracks_config(
        targets=targets, conditions=[{"name": "Brunel_ETA", "transform": "linear"}], ties=False
    )
    generator = tracks_generator(config, n=1000)
    write(generator, tmp_path / "m.onnx", data=config.data, provenance={}, metrics={})
    model = OnnxGenerator(tmp_path / "m.onnx")
    assert all(ok for _, ok, _ in model.check()), model.check()
    condition, latent = track_rows(model, 200)
    with torch.no_grad():
        (expected,) = generator(torch.from_numpy(condition), torch.from_numpy(latent))
    np.testing.assert_allclose(model(condition, latent)[0], expected, rtol=1e-4, atol=1e-3)


class _Logarithm(torch.nn.Module):
    """Observables of another kind of generator: one log-normal target."""

    def __init__(self) -> None:
        super().__init__()
        self.n_latent, self.target_scale = 1, torch.tensor([2.0])
        self.register_buffer("condition_range", torch.tensor([[2.0, 5.0]]))

    def forward(self, condition: torch.Tensor, latent: torch.Tensor) -> tuple[torch.Tensor]:
        return (condition * torch.exp(latent),)


def test_any_generator_of_observables_can_be_exported(tmp_path: Path) -> None:
    data = tracks_config(
        conditions=[{"name": "Brunel_ETA", "transform": "linear"}], targets=[{"name": "x", "unit": "mm"}]
    ).data
    write(_Logarithm(), tmp_path / "m.onnx", data=data, provenance={}, metrics={})
    (x,) = OnnxGenerator(tmp_path / "m.onnx").sample(np.full((20000, 1), 3.0), seed=1)
    assert np.median(x) == pytest.approx(3, rel=0.02)
    taken = data.model_copy(update={"targets": (data.targets[0].model_copy(update={"name": "latent"}),)})
    with pytest.raises(ValueError, match="outputs: expected names that differ"):
        write(_Logarithm(), tmp_path / "n.onnx", data=taken, provenance={}, metrics={})
