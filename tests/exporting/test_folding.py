"""Constant parts of a graph: computed at export, without a change of any number."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_generator import tiny_calo_generator, tiny_data, tracks_config, tracks_generator

from hepgan.config import CaloModelConfig
from hepgan.exporting.folding import fold
from hepgan.exporting.onnx import build
from hepgan.exporting.spelling import spell
from hepgan.inference.metadata import weights_digest
from hepgan.inference.shapes import tensor_shapes
from hepgan.inference.targets import lint

X = np.random.default_rng(1).standard_normal((2, 6), dtype=np.float32)


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    return helper.make_node(operator, inputs.split(), outputs.split(), name=f"/{outputs}", **attributes)


def graph(nodes: list[Any], *, ranks: dict[str, int], batch: int | str = 2, **constants: Any) -> Any:
    """A model of x (batch, 6); `ranks`: of its outputs."""
    values = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 6])]
    results = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * n) for name, n in ranks.items()
    ]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    made = helper.make_graph(nodes, "g", values, results, tensors)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def outputs(model: Any) -> list[np.ndarray]:
    rows = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or len(X)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": X[:rows]})


def kinds(model: Any) -> list[str]:
    return [n.op_type for n in model.graph.node]


def same_after(model: Any, *steps: Any) -> None:
    expected = outputs(model)
    for step in steps:
        step(model)
    onnx.checker.check_model(model, full_check=True)
    for got, want in zip(outputs(model), expected, strict=True):
        assert got.shape == want.shape
        assert np.array_equal(got, want)


SHAPE_ARITHMETIC = [
    node("Shape", "x", "shape"),
    node("Slice", "shape zero zero zero", "none"),
    node("Slice", "shape zero one zero", "first"),
    node("Concat", "none first three two", "target", axis=0),
    node("Reshape", "x target", "y"),
]
NUMBERS = {"zero": [0], "one": [1], "two": [2], "three": [3]}


def test_shapes_of_a_fixed_batch_are_constants() -> None:
    model = graph(SHAPE_ARITHMETIC, ranks={"y": 3}, **NUMBERS)
    same_after(model, fold)
    assert kinds(model) == ["Reshape"]
    assert [t.name for t in model.graph.initializer] == ["target"]


def test_shapes_of_any_batch_stay_and_so_does_the_digest() -> None:
    model = graph(SHAPE_ARITHMETIC, ranks={"y": 3}, batch="batch", **NUMBERS)
    digest = weights_digest(model)
    same_after(model, fold)
    assert kinds(model) == ["Shape", "Slice", "Slice", "Concat", "Reshape"]
    assert weights_digest(model) == digest


def test_constants_are_computed_for_any_batch() -> None:
    nodes = [node("Add", "one two", "three"), node("Mul", "x three", "y")]
    model = graph(nodes, ranks={"y": 2}, batch="batch", one=np.float32(1), two=np.float32(2))
    same_after(model, fold)
    assert kinds(model) == ["Mul"]
    assert [t.name for t in model.graph.initializer] == ["three"]


def test_tensors_without_numbers_are_left_out() -> None:
    nodes = [
        node("Slice", "x zero zero one", "none"),
        node("Concat", "none x none", "all", axis=1),
        node("Split", "all sizes", "left nothing right", axis=1),
        node("Concat", "right nothing left none", "y", axis=1),
    ]
    model = graph(nodes, ranks={"y": 2}, sizes=[2, 0, 4], **NUMBERS)
    same_after(model, fold)
    assert kinds(model) == ["Split", "Concat"]
    assert [*model.graph.node[0].output] == ["left", "right"]
    assert all(0 not in shape for shape in tensor_shapes(model).values())


def test_an_output_is_never_folded_away() -> None:
    nodes = [
        node("Add", "one one", "two"),
        node("Concat", "x", "y", axis=1),
        node("Slice", "x zero zero axis", "none"),
    ]
    constants = {"zero": [0], "axis": [1], "one": np.ones(3, np.float32)}
    model = graph(nodes, ranks={"two": 1, "y": 2, "none": 2}, **constants)
    same_after(model, fold)


def test_spelling_changes_no_number() -> None:
    nodes = [
        node("ReduceSum", "x axis", "total", keepdims=1),
        node("Reshape", "total square", "single"),
        node("Relu", "single", "positive"),
        node("Reshape", "x cube", "deep"),
        node("ReduceMax", "deep", "flat", keepdims=0, axes=[-1]),
        node("Greater", "flat nought", "mask"),
        node("Cast", "mask", "number", to=TensorProto.FLOAT),
        node("Mul", "number number", "a"),
        node("Add", "a positive", "y"),
    ]
    constants = {"axis": [0, 1], "square": [1, 1], "cube": [1, 3, 2], "nought": np.float32(0.1)}
    model = graph(nodes, ranks={"y": 2}, batch=1, **constants)
    assert [line.split(" in ")[0] for line in lint(model, "onnx2c")] == ["Cast", "ReduceMax", "Relu"]
    same_after(model, fold, spell, fold)
    assert {"Relu", "Cast"}.isdisjoint(kinds(model))
    assert lint(model, "onnx2c") == []


@pytest.mark.parametrize("name", ["calo", "dll", "flow"])
def test_one_row_of_every_kind_of_model_has_nothing_that_stops_onnx2c(name: str) -> None:
    if name == "calo":
        data = tiny_data()
        generator = tiny_calo_generator(CaloModelConfig(latent=6, depth=1, width=16, channels=2))
    else:
        config = tracks_config(
            model={"name": name, **({"coupling": "spline"} if name == "flow" else {"latent": 4})}
        )
        data, generator = config.data, tracks_generator(config, n=1000)
    model = build(generator.eval(), data=data, provenance={}, metrics={}, batch=1)
    assert lint(model, "onnx2c") == []
    assert {"Shape", "ConstantOfShape", "Constant", "Cast"}.isdisjoint(kinds(model))
    shapes = tensor_shapes(model)
    assert all(n and n > 0 for o in model.graph.node for name in o.output for n in shapes[name])
    assert (model.ir_version, model.opset_import[0].version) == (8, 17)
