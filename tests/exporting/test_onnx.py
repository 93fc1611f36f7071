from __future__ import annotations

import os
import resource
import signal
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tomli_w
import torch
from tiny_generator import LAYERS, TinyGenerator, tiny_data, tracks_config, tracks_generator

from hepgan.config import CaloModelConfig, DataConfig
from hepgan.data.reading import read
from hepgan.data.tensors import TensorEvents
from hepgan.exporting.onnx import write
from hepgan.inference.checking import TOLERANCE
from hepgan.inference.generator import Generator
from hepgan.inference.targets import OPERATORS
from hepgan.models.showers import CaloGenerator


def test_file_follows_the_contract(tmp_path: Path) -> None:
    data = tiny_data()
    write(TinyGenerator(data), tmp_path / "model.onnx", data=data, provenance={}, metrics={})
    proto = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"], "weights inside the one file"
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


def test_geometry_file_travels_inside(tmp_path: Path) -> None:
    (tmp_path / "geometry.toml").write_text(tomli_w.dumps({"layers": LAYERS}))
    table = {"layers": (), "geometry": str(tmp_path / "geometry.toml")}
    data = tiny_data(**table)
    write(TinyGenerator(data), tmp_path / "m.onnx", data=data, provenance={}, metrics={})
    (tmp_path / "geometry.toml").unlink()
    model = Generator(tmp_path / "m.onnx")
    assert model.data.calorimeter.geometry is None
    assert model.data.calorimeter.calorimeter() == model.calorimeter


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
        (
            _TwoFaced,
            {},
            r"expected the exported numbers to be the generator's in double precision within .*got 0\.001 at .*Mul_",
        ),
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
    got = [[c.low, c.high] for c in Generator(tmp_path / "m.onnx").conditions]
    for (low, high), want, true in zip(got, rounded, bounds, strict=True):
        assert [low, high] == pytest.approx(want)
        assert np.float32(low) <= np.float32(true[0])
        assert np.float32(high) >= np.float32(true[1])


def test_calorimeter_generator_exports_within_tolerance(sample_config: DataConfig, tmp_path: Path) -> None:
    events = read(sample_config.model_copy(update={"max_events": 1500}))
    with torch.random.fork_rng():
        torch.manual_seed(1)  # of the weights: tests must not depend on their order
        generator = CaloGenerator(sample_config, CaloModelConfig(width=16, depth=1, channels=2, latent=8))
    generator.fit(TensorEvents.of(events), rng=torch.Generator().manual_seed(1))
    write(generator, tmp_path / "m.onnx", data=sample_config, provenance={}, metrics={})
    model = Generator(tmp_path / "m.onnx")
    assert model.outputs == ["layer_0", "layer_1", "layer_2", "overflow"]
    assert all(ok for _, ok, _ in model.check()), model.check()
    cells, overflow = model.sample(events.conditions, seed=1)
    response = (cells.sum(1) + overflow.sum(1)) / events.conditions[:, 0] / 1000
    assert response.mean() == pytest.approx(1, abs=0.02), "contained showers"
    assert TOLERANCE == 1e-5


def test_graph_of_tracks_is_small(rich: Generator) -> None:
    proto = onnx.load(rich.path)
    kinds = [node.op_type for node in proto.graph.node]
    # an activation is one with its Gemm when it runs; each further node costs a track half a microsecond
    assert len([k for k in kinds if k not in ("Relu", "LeakyRelu")]) <= 26 + 2 * 2, kinds
    assert [v.name for v in proto.graph.output] == ["RichDLLe", "RichDLLk", "RichDLLp"]
    assert all(v.type.tensor_type.shape.dim[1].dim_value == 1 for v in proto.graph.output)


def track_rows(model: Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(8)
    condition = np.stack([rng.permutation(c.spanning(n)) for c in model.conditions], axis=1)
    return condition.astype(np.float32), rng.standard_normal((n, model.n_latent), dtype=np.float32)


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
    model = Generator(tmp_path / "m.onnx")
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
    (x,) = Generator(tmp_path / "m.onnx").sample(np.full((20000, 1), 3.0), seed=1)
    assert np.median(x) == pytest.approx(3, rel=0.02)
    taken = data.model_copy(update={"targets": (data.targets[0].model_copy(update={"name": "latent"}),)})
    with pytest.raises(ValueError, match="outputs: expected names that differ"):
        write(_Logarithm(), tmp_path / "n.onnx", data=taken, provenance={}, metrics={})
