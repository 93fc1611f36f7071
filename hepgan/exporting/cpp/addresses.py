"""Addresses (buffer and offset) of the numbers of tensors, and C++ loops that copy numbers between buffers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hepgan.exporting.cpp.text import index_sum

__all__ = ["STRIDE", "ZERO", "Addresses", "copy_lines", "round_up"]

Addresses = NDArray[np.int64]

STRIDE = 1 << 32
"""Addresses of a buffer: number k of buffer b has the address b * STRIDE + k."""

ZERO = 0
"""Address of the number zero, the padding of Pad, Conv and incomplete tiles."""

_INDICES = "abcdefgh"  # of nested loops
_MOST_PIECES = 8  # loops of one copy; a table of places is shorter than more of them


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is not below `value`."""
    return -(-value // multiple) * multiple


class _Loop(NamedTuple):
    """A loop of a copy: its length, and the steps in the target and in the source."""

    length: int
    target_step: int
    source_step: int


def _nested_loops(target: Addresses, source: Addresses) -> list[_Loop] | None:
    """Find nested loops, the innermost last, that visit all pairs (target, source) in order; None if there are none."""
    loops: list[_Loop] = []
    while len(target) > 1:
        steps = np.stack([np.diff(target), np.diff(source)], axis=1)
        same = (steps == steps[0]).all(axis=1)
        length = len(target) if same.all() else int(np.argmin(same)) + 1
        if len(target) % length or length == 1:
            return None
        rows = [places.reshape(-1, length) for places in (target, source)]
        for places, step in zip(rows, steps[0], strict=True):
            if (np.diff(places, axis=1) != step).any():
                return None
        loops.insert(0, _Loop(length, int(steps[0, 0]), int(steps[0, 1])))
        target, source = (places[:, 0] for places in rows)
    return loops


def copy_lines(to: str, target: Addresses, name: str | None, source: Addresses) -> list[str]:
    """Write C++ that copies numbers from one buffer into another, or fills in zeros.

    Args:
        to: Name of the buffer that is written.
        target: (N,) increasing offsets in it.
        name: Name of the buffer that is read; None: zeros. Other copies may follow and overwrite zeros in between.
        source: (N,) offsets in it; for zeros all the same.
    """
    loops = _nested_loops(target, source)
    if loops is not None:
        return _loop_lines(to, int(target[0]), name, int(source[0]), loops)
    source_step = 0 if name is None else 1
    ends = np.flatnonzero((np.diff(target) != 1) | (np.diff(source) != source_step)) + 1
    if len(ends) < _MOST_PIECES:
        pieces = zip(np.split(target, ends), np.split(source, ends), strict=True)
        return [line for t, s in pieces for line in copy_lines(to, t, name, s)]
    if name is None:
        first, last = int(target[0]), int(target[-1])
        return [_without_zero(f"std::fill_n({to} + {first}, {last - first + 1}, 0.0F);")]
    return _table_lines(to, target, name, source)


def _loop_lines(to: str, target: int, name: str | None, source: int, loops: list[_Loop]) -> list[str]:
    """A copy as nested loops, the innermost as a call of ``copy`` or ``std::fill_n`` if it is contiguous."""
    contiguous = (1, 0 if name is None else 1)
    count = 1
    if loops and loops[-1][1:] == contiguous:
        *loops, (count, _, _) = loops
    indexed = list(zip(loops, _INDICES, strict=False))
    there = index_sum(target, [(loop.target_step, index) for loop, index in indexed])
    here = index_sum(source, [(loop.source_step, index) for loop, index in indexed])
    if count == 1:
        line = f"{to}[{there}] = " + ("0.0F;" if name is None else f"{name}[{here}];")
    elif name is None:
        line = f"std::fill_n({to} + {there}, {count}, 0.0F);"
    else:
        line = f"copy({name} + {here}, {to} + {there}, {count});"
    heads = [f"for (std::size_t {i} = 0; {i} < {loop.length}; ++{i})" for loop, i in indexed]
    return ["  " * depth + text for depth, text in enumerate([*heads, _without_zero(line)])]


def _table_lines(to: str, target: Addresses, name: str, source: Addresses) -> list[str]:
    """A copy in any order: pairs of places as a table."""
    pairs = ", ".join(f"{{{t}, {s}}}" for t, s in zip(target, source, strict=True))
    return [
        "{",
        f"  static constexpr std::uint32_t places[][2] = {{{pairs}}};",
        f"  for (const auto& place : places) {to}[place[0]] = {name}[place[1]];",
        "}",
    ]


def _without_zero(line: str) -> str:
    """Leave out an offset of zero in an argument."""
    return line.replace(" + 0,", ",")
