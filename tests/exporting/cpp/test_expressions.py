"""Expressions of all operators, evaluated as Python and compared with ONNX's reference implementation."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from tiny_graph import graph

from hepgan.exporting.cpp.compiler import compile_graph
from hepgan.exporting.cpp.expressions import EXPRESSIONS

VALUES = np.array([[0.75, -1.25, 2.5]], np.float32)
SECOND = np.array([[0.75, 1.5, -0.5]], np.float32)
POSITIVE = ("Log", "Pow", "Sqrt")
COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
TWO = (*COMPARISONS, "Add", "Div", "Max", "Mean", "Min", "Mul", "Pow", "Sub", "Sum")
FUNCTIONS: dict[str, Any] = {
    **{
        name: getattr(math, name)
        for name in ("atan", "cos", "erf", "exp", "floor", "log", "sin", "sqrt", "tanh")
    },
    "abs": abs,
    "pow": pow,
    "clip": lambda x, low, high: min(max(x, low), high),
    "elu": lambda x, alpha: x if x > 0 else alpha * (math.exp(x) - 1),
    "larger": max,
    "leaky_relu": lambda x, slope: max(x, slope * x),
    "relu": lambda x: max(x, 0),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "smaller": min,
    "softplus": lambda x: math.log(1 + math.exp(x)),
}


def evaluated(lines: list[str], arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Numbers of the buffer that the loop of `lines` writes."""
    result = []
    for k in range(3):
        local = {**FUNCTIONS, **arrays, "k": k}
        for line in lines[1:-1]:
            name, text = line.strip().removeprefix("const float ").rstrip(";").split(" = ")
            text = re.sub(r"(\d)F\b", r"\1", text.replace("std::", ""))
            local[name] = eval(re.sub(r"^(.*) \? (.*) : (.*)$", r"(\2) if (\1) else (\3)", text), local)
        result.append(local[name])
    return np.array(result)


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        *((operator, {}) for operator in EXPRESSIONS if operator not in ("Cast", "Clip", "Not", "Where")),
        ("Elu", {"alpha": 0.5}),
        ("LeakyRelu", {"alpha": 0.2}),
        ("Selu", {"alpha": 1.5, "gamma": 0.7}),
    ],
)
def test_expressions_are_those_of_onnx(operator: str, attributes: dict[str, Any]) -> None:
    inputs = ["latent", "b"] if operator in TWO else ["latent"]
    node = helper.make_node(operator, inputs, ["y"], **attributes)
    values = abs(VALUES) if operator in POSITIVE else VALUES
    loop = compile_graph(graph(node, constants={"b": SECOND})).steps[0]
    (expected,) = ReferenceEvaluator(node).run(None, dict(zip(inputs, [values, SECOND], strict=False)))
    constant = next(
        (match[0] for match in map(re.compile(r"\w+_constant").search, loop.lines) if match), "none"
    )
    got = evaluated(loop.lines, {"latent": values[0], constant: SECOND[0]})
    np.testing.assert_allclose(got, np.asarray(expected)[0], rtol=1e-6)


@pytest.mark.parametrize(("low", "high"), [(None, None), (-1.0, None), (None, 1.0), (-1.0, 1.0)])
def test_limits_of_clip(low: float | None, high: float | None) -> None:
    limits = {n: np.float32(v) for n, v in (("low", low), ("high", high)) if v is not None}
    names = ["latent", *("low" if low is not None else "", "high" if high is not None else "")]
    loop = compile_graph(graph(helper.make_node("Clip", names, ["y"]), constants=limits)).steps[0]
    expected = np.clip(VALUES[0], low, high) if limits else VALUES[0]
    assert np.array_equal(evaluated(loop.lines, {"latent": VALUES[0]}), expected)


def test_conditions_are_numbers() -> None:
    nodes = [
        helper.make_node("Greater", ["latent", "zero"], ["positive"]),
        helper.make_node("Not", ["positive"], ["negative"]),
        helper.make_node("Cast", ["negative"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["number"], ["again"], to=TensorProto.BOOL),
        helper.make_node("Where", ["again", "latent", "zero"], ["y"]),
    ]
    loop = compile_graph(graph(*nodes, constants={"zero": np.float32(0)})).steps[0]
    assert loop.lines == [
        "for (std::size_t k = 0; k < 3; ++k) {",
        "  const float Cast_2_k = (((latent[k] > 0.0F ? 1.0F : 0.0F) == 0 ? 1.0F : 0.0F)) != 0 ? 1.0F : 0.0F;",
        "  Where[k] = Cast_2_k != 0 ? latent[k] : 0.0F;",
        "}",
    ]


def test_constant_condition_selects_without_a_step() -> None:
    node = helper.make_node("Where", ["mask", "latent", "zero"], ["y"])
    constants = {"mask": np.array([[True, False, True]]), "zero": np.zeros(1, np.float32)}
    (copied,) = compile_graph(graph(node, constants=constants)).steps
    assert copied.lines == [
        "out[1] = 0.0F;",
        "for (std::size_t a = 0; a < 2; ++a)",
        "  out[2 * a] = latent[2 * a];",
    ]
