"""Reductions over axes, and softmax."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper
from tiny_graph import graph

from hepgan.exporting.cpp.compiler import compile_graph
from hepgan.exporting.cpp.program import Program


def reduced(operator: str, *inputs: str, **attributes: Any) -> Program:
    """A reduction of the outer product (2, 3) of condition and latent."""
    column = helper.make_node("Transpose", ["condition"], ["column"], perm=[1, 0])
    outer = helper.make_node("Mul", ["column", "latent"], ["outer"], name="/Outer")
    node = helper.make_node(operator, ["outer", *inputs], ["y"], name="/Reduce", **attributes)
    constants = {"first": np.array([0]), "none": np.zeros(0, np.int64)}
    return compile_graph(graph(column, outer, node, constants=constants))


@pytest.mark.parametrize(
    ("operator", "value"),
    [
        ("ReduceMax", "largest(Outer + 3 * r, 3)"),
        ("ReduceProd", "multiplied(Outer + 3 * r, 3)"),
        ("ReduceMean", "total(Outer + 3 * r, 3) / 3.0F"),
        ("ReduceL2", "std::sqrt(total(Reduce_square + 3 * r, 3))"),
    ],
)
def test_rows_are_reduced_by_a_function(operator: str, value: str) -> None:
    program = reduced(operator, axes=[-1])
    step = program.steps[-2]
    assert step.lines == ["for (std::size_t r = 0; r < 2; ++r)", f"  Reduce[r] = {value};"]
    assert step.comment == f"(2) {operator} over 3"
    assert program.width == 2


def test_axes_may_be_an_input() -> None:
    program = reduced("ReduceSum", "first", keepdims=0)
    assert program.steps[-2].lines[1] == "  Reduce[r] = total(Reduce_input + 2 * r, 2);"
    assert program.width == 3


def test_without_axes_all_numbers_are_reduced_or_none() -> None:
    program = reduced("ReduceSum", "none")
    assert program.steps[-2].lines == ["Reduce[0] = total(Outer, 6);"]
    assert program.width == 1
    program = reduced("ReduceSum", "none", noop_with_empty_axes=1)
    assert program.steps[-1].lines == ["copy(Outer, out, 6);"]


def test_softmax_goes_along_its_axis() -> None:
    program = reduced("Softmax", axis=1)
    assert program.steps[-2].lines[1] == "  softmax(Outer + 3 * r, Reduce + 3 * r, 3);"
    assert program.steps[-1].lines == ["copy(Reduce, out, 6);"]
    program = reduced("Softmax", axis=0)
    assert program.steps[-2].lines[1] == "  softmax(Reduce_input + 2 * r, Reduce + 2 * r, 2);"
    assert program.steps[-1].lines[-1] == "    out[3 * a + b] = Reduce[a + 2 * b];"
