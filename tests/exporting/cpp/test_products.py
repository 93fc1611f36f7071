"""Calls and stored weights of products."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from tiny_graph import graph

from hepgan.errors import ConfigError
from hepgan.exporting.cpp.compiler import compile_graph

RNG = np.random.default_rng(3)


def numbers(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def test_weights_are_stored_in_tiles() -> None:
    weight = numbers(3, 53)
    program = compile_graph(
        graph(helper.make_node("MatMul", ["latent", "w"], ["y"]), constants={"w": weight})
    )
    call, _ = program.steps
    assert call.lines == ["dense(MatMul_weight, nullptr, latent, MatMul, 3, 56);"]
    assert call.comment == "(53) MatMul of weights (53, 3)"
    padded = np.pad(weight, ((0, 0), (0, 3)))
    tiles = [padded[:, :32], padded[:, 32:48], padded[:, 48:52], padded[:, 52:]]
    assert np.array_equal(program.weights[: 3 * 56], np.concatenate([tile.ravel() for tile in tiles]))


def test_rectified_input_of_many_outputs_is_sparse() -> None:
    nodes = [helper.make_node("Relu", ["latent"], ["a"]), helper.make_node("MatMul", ["a", "w"], ["y"])]
    for outputs, name in ((47, "dense"), (48, "dense<true>")):
        _, call, _ = compile_graph(graph(*nodes, constants={"w": numbers(3, outputs)})).steps
        assert call.lines[0].startswith(f"{name}(")


@pytest.mark.parametrize(
    ("bias", "shift"),
    [
        (None, "nullptr"),
        (np.zeros(4, np.float32), "nullptr"),
        (numbers(4), "Gemm_bias"),
        (numbers(1, 4), "Gemm_bias"),
    ],
)
def test_gemm_adds_its_bias(bias: np.ndarray | None, shift: str) -> None:
    constants = {"w": numbers(4, 3)} | ({} if bias is None else {"b": bias})
    node = helper.make_node("Gemm", ["latent", *constants], ["y"], transB=1, alpha=2.0, beta=0.5)
    program = compile_graph(graph(node, constants=constants))
    call, _ = program.steps
    assert call.lines == [f"dense(Gemm_weight, {shift}, latent, Gemm, 3, 4);"]
    assert np.array_equal(program.weights[:12], 2 * constants["w"].T.ravel())
    if shift != "nullptr":
        assert np.array_equal(program.weights[16:20], np.ravel(bias) / 2)


@pytest.mark.parametrize(
    ("shape", "side", "call"),
    [
        ((2, 3), "left", "dense(MatMul_weight, nullptr, latent, MatMul, 3, 4);"),
        ((5, 1, 3), "left", "local(MatMul_weight, MatMul_input, MatMul, 5, 8, 1);"),
        ((3, 4), "right", "dense(MatMul_weight, nullptr, latent, MatMul, 3, 4);"),
        ((5, 3, 4), "right", "local(MatMul_weight, MatMul_input, MatMul, 5, 8, 4);"),
    ],
)
def test_constant_matrices(shape: tuple[int, ...], side: str, call: str) -> None:
    constant = numbers(*shape)
    column = helper.make_node("Transpose", ["latent"], ["column"], perm=[1, 0])
    product = helper.make_node("MatMul", ["m", "column"] if side == "left" else ["latent", "m"], ["y"])
    program = compile_graph(graph(column, product, constants={"m": constant}))
    ones = np.ones((1, 3))
    expected = constant @ ones.T if side == "left" else ones @ constant
    assert program.width == expected.size
    assert call in [line for step in program.steps for line in step.lines]


def test_products_of_numbers_that_depend_on_the_event() -> None:
    column = helper.make_node("Transpose", ["condition"], ["column"], perm=[1, 0])
    product = helper.make_node("MatMul", ["column", "latent"], ["y"])
    together, call, _ = compile_graph(graph(column, product)).steps
    assert together.lines == ["MatMul_input[3] = 0.0F;", "copy(latent, MatMul_input, 3);"]
    assert call.lines == ["product(condition, MatMul_input, MatMul, 2, 1, 4);"]


@pytest.mark.parametrize(
    ("attributes", "shape", "message"),
    [
        ({"auto_pad": "SAME_UPPER"}, (1, 1, 3), "expected explicit padding, got auto_pad SAME_UPPER"),
        ({}, (3, 1, 1), "expected one row, got 3"),
    ],
)
def test_convolutions_that_are_refused(
    attributes: dict[str, str], shape: tuple[int, ...], message: str
) -> None:
    reshaped = helper.make_node("Reshape", ["latent", "shape"], ["x"])
    convolved = helper.make_node("Conv", ["x", "w"], ["y"], name="/conv", **attributes)
    model = graph(reshaped, convolved, constants={"shape": np.array(shape), "w": numbers(1, 1, 1)})
    with pytest.raises(ConfigError, match=rf"Conv \(node '/conv'\): {message}; use --format onnx"):
        compile_graph(model)
