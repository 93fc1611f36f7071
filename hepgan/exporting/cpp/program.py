"""The compiled network: its steps, its weights, and the place of each buffer in weights or working memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hepgan.exporting.cpp.addresses import round_up
from hepgan.exporting.cpp.memory import Buffer, Memory

__all__ = ["Place", "Program", "Step", "arrange"]

_LINE = 16  # floats of a cache line; buffers begin at a multiple of it


@dataclass
class Step:
    """A part of the network.

    Attributes:
        module: The module it belongs to.
        comment: Shape and operators.
        lines: Lines of C++.
        reads: Numbers of the buffers that it reads.
        writes: Numbers of the buffers that it writes.
    """

    module: str
    comment: str
    lines: list[str]
    reads: set[int]
    writes: set[int]


class Place(NamedTuple):
    """A buffer's name, the C++ array that holds it, the offset in that array in floats, and its shape for comments."""

    name: str
    base: str
    offset: int
    shape: str


@dataclass
class Program:
    """The compiled network.

    Attributes:
        steps: Steps in order.
        places: Places of the buffers that are used, by the buffer's number.
        memory: Size of the working memory in floats.
        weights: All weights.
        width: Numbers of an event, all outputs together.
    """

    steps: list[Step]
    places: dict[int, Place]
    memory: int
    weights: NDArray[np.float32]
    width: int


def arrange(steps: Sequence[Step], memory: Memory, width: int) -> Program:
    """Give a place to every buffer that the steps use.

    Args:
        steps: Steps in order.
        memory: All buffers.
        width: Numbers of an event.
    """
    used = {number for step in steps for number in step.reads | step.writes}
    places, weights = _placed_weights(memory, used)
    for number in used:
        buffer = memory.buffers[number]
        if buffer.base == buffer.name:
            places[number] = Place(buffer.name, buffer.base, 0, "")
    offsets, size = _working_offsets(steps, memory.buffers)
    for number, offset in offsets.items():
        buffer = memory.buffers[number]
        places[number] = Place(buffer.name, "memory", offset, buffer.shape)
    return Program(list(steps), places, size, weights, width)


def _placed_weights(memory: Memory, used: set[int]) -> tuple[dict[int, Place], NDArray[np.float32]]:
    """Places of the weights that are used, and all of them one after the other."""
    places: dict[int, Place] = {}
    offset, parts = 0, [np.zeros(0, np.float32)]
    for number, numbers in memory.weights.items():
        if number in used:
            buffer = memory.buffers[number]
            places[number] = Place(buffer.name, "weights", offset, buffer.shape)
            parts.append(np.pad(numbers, (0, -len(numbers) % _LINE)))
            offset += len(parts[-1])
    return places, np.concatenate(parts)


def _working_offsets(steps: Iterable[Step], buffers: Sequence[Buffer]) -> tuple[dict[int, int], int]:
    """Offsets in working memory by buffer, and its size; memory is used again when no later step reads it."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for position, step in enumerate(steps):
        for number in step.reads | step.writes:
            if buffers[number].base == "memory":
                first.setdefault(number, position)
                last[number] = position
    lengths = {number: round_up(buffers[number].size, _LINE) for number in first}
    offsets: dict[int, int] = {}
    for number in sorted(first, key=first.__getitem__):
        busy = {other: offset for other, offset in offsets.items() if last[other] >= first[number]}
        offsets[number] = _free_offset(lengths[number], busy, lengths)
    return offsets, max((offset + lengths[number] for number, offset in offsets.items()), default=0)


def _free_offset(length: int, busy: Mapping[int, int], lengths: Mapping[int, int]) -> int:
    """The smallest offset at which `length` floats are free."""
    free = 0
    for begin, end in sorted((offset, offset + lengths[number]) for number, offset in busy.items()):
        if free + length <= begin:
            break
        free = max(free, end)
    return free
