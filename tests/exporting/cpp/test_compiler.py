"""Graphs of a few nodes and the steps that they are compiled to."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tiny_graph import graph

from hepgan.errors import ConfigError
from hepgan.exporting.cpp.compiler import compile_graph


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (
            [helper.make_node("CumSum", ["latent", "latent"], ["y"], name="/sum")],
            r"CumSum \(node '/sum'\): expected one of ",
        ),
        (
            [helper.make_node("Reshape", ["latent", "condition"], ["y"], name="/r")],
            r"Reshape \(node '/r'\): expected input 1 to be constant, got one that depends on the event; use --format",
        ),
        (
            [helper.make_node("LeakyRelu", ["latent"], ["y"], name="/l", alpha=2.0)],
            r"LeakyRelu \(node '/l'\): expected a slope of at most 1, got 2",
        ),
        (
            [helper.make_node("Cast", ["latent"], ["y"], name="/c", to=TensorProto.INT64)],
            r"Cast \(node '/c'\): expected numbers of type float or bool, got INT64",
        ),
        (
            [helper.make_node("Clip", ["latent", "condition"], ["y"], name="/c")],
            r"Clip \(node '/c'\): expected input 1 to be constant",
        ),
        (
            [helper.make_node("Gemm", ["latent", "condition"], ["y"], name="/g")],
            r"Gemm \(node '/g'\): expected weights that are constant",
        ),
    ],
)
def test_unimplemented_operators_and_options_are_refused(nodes: list[onnx.NodeProto], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compile_graph(graph(*nodes))


def test_waiting_operators_become_one_loop() -> None:
    program = compile_graph(
        graph(
            helper.make_node("Exp", ["latent"], ["a"], name="/Exp"),
            helper.make_node("Mul", ["a", "latent"], ["b"], name="/Mul"),
            helper.make_node("Add", ["a", "b"], ["y"], name="/Add"),
        )
    )
    loop, copied = program.steps
    assert loop.lines == [
        "for (std::size_t k = 0; k < 3; ++k) {",
        "  const float Exp_k = std::exp(latent[k]);",
        "  Add[k] = Exp_k + (Exp_k * latent[k]);",
        "}",
    ]
    assert copied.lines == ["copy(Add, out, 3);"]
    assert program.memory == 16, "one line of the cache"


def test_moves_cost_nothing() -> None:
    program = compile_graph(
        graph(
            helper.make_node("Concat", ["condition", "latent"], ["a"], axis=1),
            helper.make_node("Transpose", ["a"], ["b"], perm=[1, 0]),
            helper.make_node("Identity", ["b"], ["y"]),
        )
    )
    (copied,) = program.steps
    assert sorted(copied.lines) == ["copy(condition, out, 2);", "copy(latent, out + 2, 3);"]
    assert program.memory == 0


def test_repeated_numbers_are_read_from_one_place() -> None:
    transposed = helper.make_node("Gather", ["latent", "order"], ["a"], axis=1)
    program = compile_graph(
        graph(
            transposed,
            helper.make_node("Gather", ["a", "twice"], ["y"], axis=1, name="/Gather"),
            constants={"order": np.array([2, 0, 1]), "twice": np.array([0, 1, 2, 0, 1, 2])},
        )
    )
    together, copied = program.steps
    assert together.lines == ["Gather_input[0] = latent[2];", "copy(latent, Gather_input + 1, 2);"]
    assert copied.lines == ["for (std::size_t a = 0; a < 2; ++a)", "  copy(Gather_input, out + 3 * a, 3);"]


def test_constants_are_folded_and_stored_once() -> None:
    constant = np.array([[1.0, 2.0, 4.0]], np.float32)
    program = compile_graph(
        graph(
            helper.make_node("Shape", ["latent"], ["shape"], start=1),
            helper.make_node("Cast", ["shape"], ["three"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["latent", "three"], ["a"], name="/Mul"),
            helper.make_node("Add", ["a", "c"], ["b"], name="/Add"),
            helper.make_node("Concat", ["b", "c", "zeros"], ["y"], axis=1),
            constants={"c": constant, "zeros": np.zeros((1, 2), np.float32)},
        )
    )
    loop, copied = program.steps
    assert loop.lines[1] == "  Add[k] = (latent[k] * 3.0F) + Concat_constant[k];"
    assert sorted(copied.lines) == [
        "copy(Add, out, 3);",
        "copy(Concat_constant, out + 3, 3);",
        "std::fill_n(out + 6, 2, 0.0F);",
    ]
    assert np.array_equal(program.weights[:3], constant[0])
    assert len(program.weights) == 16, "the same numbers are stored once"
    assert program.width == 8


def test_deep_expressions_become_several_loops() -> None:
    names = ["latent", *(f"t{k}" for k in range(149)), "y"]
    nodes = [
        helper.make_node("Sin", [before], [after], name=f"/{after}") for before, after in pairwise(names)
    ]
    program = compile_graph(graph(*nodes))
    assert [step.comment for step in program.steps[:-1]] == ["(3) 61 Sin", "(3) 61 Sin", "(3) 28 Sin"]
