"""What stands in the way of other programs that read ONNX files."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from tiny_generator import TinyGenerator, tiny_data
from typer.testing import CliRunner

from hepgan import cli
from hepgan.exporting.onnx import write
from hepgan.inference.generator import Generator
from hepgan.inference.targets import OPERATORS, TARGETS, lint


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_knows_the_operators_of_our_files(target: str) -> None:
    assert TARGETS[target].operators >= OPERATORS


@pytest.mark.parametrize("target", TARGETS)
def test_reference_generators_pass_with_one_row(
    target: str, calo: Generator, rich: Generator, tmp_path: Path
) -> None:
    data = tiny_data()
    write(TinyGenerator(data), tmp_path / "one.onnx", data=data, provenance={}, metrics={}, batch=1)
    assert lint(onnx.load(tmp_path / "one.onnx"), target) == []
    for model in (calo, rich):
        lines = lint(onnx.load(model.path), target)
        assert [line.split(":")[0] for line in lines] == (["batch"] if TARGETS[target].one_row else [])


def test_foreign_operators_are_named_with_a_node() -> None:
    inputs = [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 2])]
    nodes = [
        onnx.helper.make_node("Einsum", ["x"], ["y"], name="product", equation="ij->ji"),
        onnx.helper.make_node("CumSum", ["y"], ["z"]),
        onnx.helper.make_node("Einsum", ["z"], ["w"], equation="ij->ji"),
        onnx.helper.make_node("Gelu", ["w"], ["v"], domain="com.microsoft"),
    ]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", inputs, []))
    assert lint(model, "onnx2c") == [
        "operator CumSum is not known to onnx2c (node 1)",
        "operator Einsum is not known to onnx2c (product and 1 more)",
        "operator Gelu is not known to onnx2c (node 3)",
    ]
    assert [line.split()[1] for line in lint(model, "sofie")] == ["CumSum", "Gelu"]
    assert [line.split()[1] for line in lint(model, "onnxruntime")] == ["Gelu"]


def test_unknown_target() -> None:
    with pytest.raises(
        ValueError, match=r"target: expected one of \['onnxruntime', 'sofie', 'onnx2c'\], got"
    ):
        lint(onnx.ModelProto(), "tensorrt")


def test_command_line(calo: Generator) -> None:
    done = CliRunner().invoke(cli.app, ["check", str(calo.path), "--target", "onnxruntime"])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(cli.app, ["check", str(calo.path), "--target", "sofie"])
    assert done.exit_code == 1
    assert "batch: expected 1 for ROOT's TMVA SOFIE, got any" in " ".join(done.output.split())
