"""Writes the steps of the compiled network: calls, copies, and loops that compute waiting expressions.

An expression waits until a step needs its numbers. Then one loop computes it, together with those of its operands that
wait, too, and have their numbers in the same order.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from hepgan.exporting.cpp.addresses import STRIDE, ZERO, Addresses, copy_lines
from hepgan.exporting.cpp.graph import Node, Value
from hepgan.exporting.cpp.memory import Buffer, Memory, Pointer, Waiting
from hepgan.exporting.cpp.program import Step
from hepgan.exporting.cpp.text import index_sum, literal, module_of, shape_text

__all__ = ["Writer"]

_LONGEST = 60  # characters of an expression that is written into another one
_CALL = re.compile(r"[\w:]+\(.*\)$")  # a template that is a single call and needs no parentheses


class Writer:
    """The steps that are written so far.

    Attributes:
        memory: All buffers.
        steps: Steps in order.
    """

    def __init__(self) -> None:
        self.memory = Memory()
        self.steps: list[Step] = []

    def add(
        self, node: Node, lines: list[str], *, reads: Iterable[Buffer], target: Buffer, comment: str
    ) -> Step:
        """Append a step of a node that reads some buffers and writes one."""
        numbers = {buffer.number for buffer in reads}
        self.steps.append(Step(module_of(node.name), comment, lines, numbers, {target.number}))
        return self.steps[-1]

    def input(self, node: Node, index: int) -> Addresses:
        """Addresses of a node's input; constants become weights."""
        value = node.inputs[index]
        if value is None:
            raise node.refused(f"input {index}", "none")
        return self.memory.addresses(node, value)

    def contiguous(self, node: Node, addresses: Addresses) -> Addresses:
        """Addresses of the same numbers, computed and one after the other: after a copy if they are not."""
        flat = addresses.ravel()
        self._finish_owners(flat)
        if (np.diff(flat) == 1).all() and flat[0] != ZERO:
            return addresses
        buffer = self.memory.working(node, addresses.shape, "_input")
        self.copy(node, flat, buffer)
        return buffer.addresses.reshape(addresses.shape)

    def pointer(self, node: Node, addresses: Addresses) -> Pointer:
        """Pointer to the numbers, computed and one after the other: after a copy if they are not."""
        return self.memory.pointer(int(self.contiguous(node, addresses).flat[0]))

    def copy(self, node: Node, addresses: Addresses, target: Buffer) -> None:
        """Append a step that copies the numbers of (size,) addresses into a buffer."""
        self._finish_owners(addresses)
        places = np.arange(len(addresses), dtype=np.int64)
        lines: list[str] = []
        reads: list[Buffer] = []
        for owner in self.memory.owners(addresses):
            own = addresses // STRIDE == owner.number
            name = None if owner.number == ZERO else owner.name
            lines += copy_lines(target.name, places[own], name, addresses[own] % STRIDE)
            if name is not None:
                reads.append(owner)
        shape = target.shape or shape_text([target.size])
        self.add(node, lines, reads=reads, target=target, comment=f"{shape} put together")

    def wait(
        self,
        node: Node,
        shape: Sequence[int],
        *,
        template: str,
        operands: list[Value],
        uses: int,
        suffix: str = "",
    ) -> Waiting:
        """Add a buffer of working memory that waits to be computed.

        Args:
            node: The node that asks for it; names the buffer.
            shape: Shape of the result.
            template: C++ expression with the operands {0}, {1}, ...
            operands: Constants or addresses (size,) of each operand.
            uses: Reads by later steps.
            suffix: End of the buffer's name.
        """
        buffer = self.memory.working(node, shape, suffix)
        buffer.waiting = Waiting(buffer, node, template, operands, uses)
        return buffer.waiting

    def finish(self, buffer: Buffer) -> None:
        """Append the loop that computes a buffer, if it waits."""
        if buffer.waiting is not None:
            self._prepare(buffer.waiting)
            _Loop(self, buffer.waiting).write()

    def inlined(self, waiting: Waiting) -> list[tuple[Value, Waiting | None]]:
        """Operands, each with the waiting expression of exactly its numbers in the same order, if there is one."""
        return [(operand, self._same_order(operand, waiting.buffer.size)) for operand in waiting.operands]

    def _same_order(self, operand: Value, size: int) -> Waiting | None:
        if operand.constant:
            return None
        owner = self.memory.pointer(int(operand.array[0])).buffer
        if owner.size != size or not np.array_equal(operand.array, owner.addresses):
            return None
        return owner.waiting

    def _finish_owners(self, addresses: Addresses) -> None:
        for owner in self.memory.owners(addresses):
            self.finish(owner)

    def _prepare(self, waiting: Waiting) -> None:
        """Compute the operands that a loop reads and cannot compute itself."""
        for operand, before in self.inlined(waiting):
            if before is not None:
                self._prepare(before)
            elif not operand.constant:
                self._finish_owners(operand.array)


class _Loop:
    """The loop that computes a waiting expression.

    Args:
        writer: Steps so far; the loop is appended.
        waiting: The expression; its operands are prepared.
    """

    def __init__(self, writer: Writer, waiting: Waiting) -> None:
        self.writer, self.waiting, self.node = writer, waiting, waiting.node
        self.lines: list[str] = []
        self.reads: list[Buffer] = []
        self.inlined: dict[
            int, tuple[Waiting, str, bool]
        ] = {}  # by buffer: expression, text, needs no parentheses
        self.operators: Counter[str] = Counter()

    def write(self) -> None:
        """Append the loop; operands that later steps read, too, are stored as well."""
        size = self.waiting.buffer.size
        text, _ = self._text(self.waiting)
        stored = [(self.waiting.buffer, text)]
        stored += [(w.buffer, value) for w, value, _ in self.inlined.values() if w.uses > 0]
        for buffer, value in stored:
            self.lines.append(f"{buffer.name}{'[k]' if size > 1 else '[0]'} = {value};")
            buffer.waiting = None
        names = [f"{count} {name}" if count > 1 else name for name, count in self.operators.items()]
        target = self.waiting.buffer
        comment = f"{target.shape} {', '.join(names)}"
        step = self.writer.add(self.node, self._block(size), reads=self.reads, target=target, comment=comment)
        step.writes |= {buffer.number for buffer, _ in stored}

    def _block(self, size: int) -> list[str]:
        """The lines in a loop over k; without a loop if there is one number."""
        if size == 1 and len(self.lines) == 1:
            return self.lines
        head = f"for (std::size_t k = 0; k < {size}; ++k) {{" if size > 1 else "{"
        return [head, *("  " + line for line in self.lines), "}"]

    def _text(self, waiting: Waiting) -> tuple[str, bool]:
        """The value of number k in C++, and whether it needs no parentheses."""
        is_call = _CALL.match(waiting.template) is not None
        operands = []
        for operand, before in self.writer.inlined(waiting):
            if before is None:
                operands.append(self._operand(operand))
                continue
            text, closed = self._inline(before)
            operands.append(text if is_call or closed else f"({text})")
        self.operators[waiting.node.operator] += 1
        return waiting.template.format(*operands), is_call

    def _inline(self, waiting: Waiting) -> tuple[str, bool]:
        """Number k of a waiting operand; it becomes a local number if it is long or used again."""
        waiting.uses -= 1
        buffer = waiting.buffer
        if buffer.number not in self.inlined:
            text, closed = self._text(waiting)
            if waiting.uses > 0 or len(text) > _LONGEST:
                self.lines.append(f"const float {buffer.name}_k = {text};")
                text, closed = f"{buffer.name}_k", True
            self.inlined[buffer.number] = waiting, text, closed
        return self.inlined[buffer.number][1:]

    def _operand(self, operand: Value) -> str:
        """Number k of a constant or an operand in memory; numbers without a common step are copied together first."""
        numbers = operand.array
        if operand.constant:
            if (numbers == numbers[0]).all():
                return literal(float(numbers[0]))
            numbers = self.writer.memory.constant(self.node, numbers, "_constant").addresses
        steps = np.diff(numbers)
        if numbers[0] == ZERO and not steps.any():
            return "0.0F"
        if numbers[0] == ZERO or (steps != steps[:1]).any():
            numbers = self.writer.contiguous(self.node, numbers)
            steps = np.diff(numbers)
        pointer = self.writer.memory.pointer(int(numbers[0]))
        self.reads.append(pointer.buffer)
        return f"{pointer.buffer.name}[{index_sum(pointer.offset, [(int(step), 'k') for step in steps[:1]])}]"
