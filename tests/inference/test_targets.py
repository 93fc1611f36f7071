"""What stands in the way of other programs that read ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
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


def one_row(nodes: list[Any], **constants: Any) -> Any:
    """A model of x (1, 4) with one more node that reads the result r."""
    values = [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 4])]
    tensors = [onnx.numpy_helper.from_array(np.array(value), name) for name, value in constants.items()]
    made = onnx.helper.make_graph(nodes, "g", values, [], tensors)
    return onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 17)])


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(operator, inputs.split(), outputs.split(), name=f"/{outputs}", **attributes)


CUBE = node("Reshape", "x sizes", "cube")  # (1, 1, 4)
LIMITS = {
    "Relu in onnx2c: shape [1, 1, 4]: two first lengths of 1 are not implemented (/r)": [
        CUBE,
        node("Relu", "cube", "r"),
    ],
    "ReduceSum in onnx2c: keepdims = 0: the C code does not compile (/r)": [
        CUBE,
        node("ReduceSum", "cube two", "r", keepdims=0),
    ],
    "Slice in onnx2c: a tensor without numbers (/r)": [node("Slice", "x zero zero one", "r")],
    "Reshape in onnx2c: a setting that is computed when it runs (/r)": [
        node("Shape", "x", "shape"),
        node("Reshape", "x shape", "r"),
    ],
    "Split in onnx2c: sizes are not given (/left right)": [node("Split", "x", "left right", axis=1)],
    "Cast in onnx2c: a result that several nodes read: it crashes (/r)": [
        node("Cast", "x", "r", to=onnx.TensorProto.BOOL),
        node("Not", "r", "a"),
        node("Not", "r", "b"),
    ],
    "Range in onnx2c: a setting that is computed when it runs (/r)": [
        node("ReduceSum", "x", "limit", keepdims=0),
        node("Range", "nought limit step", "r"),
    ],
}


@pytest.mark.parametrize("problem", LIMITS)
def test_what_stops_onnx2c_is_named(problem: str) -> None:
    constants = {"sizes": [1, 1, 4], "zero": [0], "one": [1], "two": [2]}
    numbers = {"nought": np.float32(0), "step": np.float32(1)}
    model = one_row(LIMITS[problem], **constants, **numbers)
    lines = lint(model, "onnx2c")
    assert problem in lines
    assert all(line == problem or "a shape that is computed when it runs" in line for line in lines)
    assert lint(model, "onnxruntime") == lint(model, "sofie") == []


def test_nodes_that_onnx2c_takes_are_not_named() -> None:
    nodes = [
        node("Reshape", "x sizes", "cube"),
        node("ReduceSum", "cube two", "total", keepdims=1),
        node("Relu", "x", "positive"),
        node("Greater", "x nought", "mask"),
        node("Cast", "mask", "number", to=onnx.TensorProto.FLOAT),
        node("Split", "number halves", "left right", axis=1),
    ]
    model = one_row(nodes, sizes=[1, 1, 4], two=[2], halves=[1, 3], nought=np.float32(0))
    assert lint(model, "onnx2c") == []


@pytest.mark.parametrize("target", TARGETS)
def test_a_passed_check_says_how_far_it_looked(target: str, tmp_path: Path) -> None:
    data = tiny_data()
    write(TinyGenerator(data), tmp_path / "one.onnx", data=data, provenance={}, metrics={}, batch=1)
    result = Generator(tmp_path / "one.onnx").check(target=target)[-1]
    assert (result.name, result.passed, result.detail) == (
        f"target {target}",
        True,
        TARGETS[target].looked_at,
    )
    assert ("not run" in result.detail) == (target != "onnxruntime")


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
