"""Copies as few loops."""

from __future__ import annotations

import re

import numpy as np
import pytest

from hepgan.exporting.cpp.addresses import copy_lines

GRID = np.arange(24).reshape(2, 3, 4)
SHUFFLED = np.random.default_rng(1).permutation(24)


def copied(lines: list[str], source: np.ndarray, size: int) -> np.ndarray:
    """Numbers in the target after the C++ lines, which are run as Python."""
    program = []
    depth = 0
    for line in lines:
        text = line.strip().rstrip(";")
        loop = re.match(r"for \(std::size_t (\w) = 0; \w < (\d+); \+\+\w\)$", text)
        table = re.match(r"static constexpr std::uint32_t places\[\]\[2\] = \{(.*)\}$", text)
        if loop:
            program.append("  " * depth + f"for {loop[1]} in range({loop[2]}):")
            depth += 1
            continue
        if table:
            text = f"places = [{table[1].replace('{', '(').replace('}', ')')}]"
        elif text.startswith("for (const auto& place : places)"):
            text = "for place in places: " + text.split(") ", 1)[1]
        if text not in "{}":
            text = text.replace("std::", "").replace("0.0F", "0.0")
            program.append("  " * depth + re.sub(r"\b(target|source) \+ ([^,]*),", r"\1[\2:],", text))
        depth = 0
    target = np.full(size, np.nan)

    def copy(values: np.ndarray, to: np.ndarray, count: int) -> None:
        to[:count] = values[:count]

    def fill_n(to: np.ndarray, count: int, value: float) -> None:
        to[:count] = value

    exec("\n".join(program), {"target": target, "source": source, "copy": copy, "fill_n": fill_n})
    return target


@pytest.mark.parametrize(
    ("offsets", "most_lines"),
    [
        (GRID, 1),
        (GRID[0, 0, :1], 1),
        (GRID[:, :, 0], 2),
        (GRID[:, 1:, 1:], 3),
        (GRID.transpose(2, 0, 1), 3),
        (GRID[:, ::-1], 3),
        (GRID[..., ::-1], 3),
        (np.concatenate([GRID[0].ravel(), GRID[0].ravel()]), 2),
        (np.zeros(5, np.int64), 2),
        (np.concatenate([GRID[0, 0], GRID[1, 2]]), 2),
        (SHUFFLED, 4),
    ],
)
def test_copies_give_the_numbers_in_order(offsets: np.ndarray, most_lines: int) -> None:
    offsets = offsets.ravel()
    lines = copy_lines("target", np.arange(len(offsets)), "source", offsets)
    source = np.random.default_rng(2).random(24)
    assert np.array_equal(copied(lines, source, len(offsets)), source[offsets])
    assert len(lines) <= most_lines


@pytest.mark.parametrize(
    ("places", "most_lines"),
    [
        (np.arange(5), 1),
        (np.arange(0, 12, 2), 2),
        (np.array([0, 2, 3, 5, 6, 7, 9, 11, 12, 14, 16, 17, 19, 21, 23]), 1),
    ],
)
def test_zeros_are_filled_in(places: np.ndarray, most_lines: int) -> None:
    lines = copy_lines("target", places, None, np.zeros(len(places), np.int64))
    assert (copied(lines, np.zeros(0), 24)[places] == 0).all()
    assert len(lines) <= most_lines


def test_contiguous_numbers_are_one_call() -> None:
    assert copy_lines("target", np.arange(3) + 2, "source", np.arange(3)) == ["copy(source, target + 2, 3);"]
    assert copy_lines("target", np.arange(6), "source", np.arange(6).reshape(3, 2).T.ravel()) == [
        "for (std::size_t a = 0; a < 2; ++a)",
        "  for (std::size_t b = 0; b < 3; ++b)",
        "    target[3 * a + b] = source[a + 2 * b];",
    ]
