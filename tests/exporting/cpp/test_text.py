"""Pieces of C++ text."""

from __future__ import annotations

import numpy as np
import pytest

from hepgan.exporting.cpp.text import identifier, index_sum, literal, module_of, row_loop, shape_text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1, "0.1F"), (3, "3.0F"), (-1e-30, "-1e-30F"), (1 / 3, "0.33333334F"), (np.inf, "infinity")],
)
def test_literals_are_short_and_exact(value: float, text: str) -> None:
    assert literal(value) == text
    if np.isfinite(value):
        assert np.float32(text.removesuffix("F")) == np.float32(value)


def test_names_of_nodes() -> None:
    assert identifier("/generator/trunk/blocks.0/Gemm_output_0") == "trunk_blocks_0_Gemm"
    assert identifier("/MatMul__1") == "MatMul_1"
    assert module_of("/generator/trunk/blocks.0/Gemm") == "trunk"
    assert module_of("/generator/Gemm") == module_of("") == "generator"


def test_index_sums() -> None:
    assert index_sum(0, []) == index_sum(0, [(0, "a")]) == "0"
    assert index_sum(3, [(1, "a"), (4, "b")]) == "3 + a + 4 * b"
    assert index_sum(0, [(2, "a")]) == "2 * a"


def test_shapes_and_loops_over_rows() -> None:
    assert shape_text((1, 3, 1, 4)) == "(3, 4)"
    assert row_loop(1, "f();") == ["f();"]
    assert row_loop(5, "f(r);") == ["for (std::size_t r = 0; r < 5; ++r)", "  f(r);"]
