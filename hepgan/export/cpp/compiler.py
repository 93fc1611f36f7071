"""An ONNX graph of fixed shapes as steps in C++: what `hepgan.export.cpp.header` writes into a header.

`compile_graph` goes once through the nodes. A tensor is an array of addresses: where each of its numbers lies, in an
input, among the weights or in working memory. Hence

- whatever only moves numbers (Reshape, Slice, Concat, Pad, Gather, ...) is run on the addresses, by ONNX's own
  reference implementation, and costs nothing; only where a step needs its numbers one after the other they are copied
  together, as few nested loops;
- what computes number by number waits until somebody needs the result, and then becomes one loop with everything
  before it that waits, too;
- a product with weights, a sum, a softmax is a call of a function in export/include/hepgan/compiled.hpp; its weights
  are stored in the order in which that function reads them.

What it does with an operator is in the three tables `_MOVES`, `_NUMBERS` and `_CALLS`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

__all__ = ["Program", "Step", "compile_graph"]

_BUFFER = 1 << 32  # addresses of a buffer; that of number k in buffer b is b * _BUFFER + k
_ZERO = 0  # address of the number zero: what Pad fills in
_LINE = 16  # floats of a cache line: buffers begin at a multiple
_FOUR = 4  # rows of products are filled up to a multiple, as compiled.hpp wants it
_EIGHT = 8  # likewise inputs of `local`
_TILES = (32, 16, 4)  # outputs that `dense` computes together
_SPARSE = 16  # a rectified input with so many times more outputs: look for zeros before multiplying
_DEEPEST = 60  # expressions in one another; what is deeper becomes a loop of its own
_LONGEST = 60  # characters of an expression that is written into another one
_INDICES = "abcdefgh"  # of nested loops
_NESTS = 8  # loops for one copy; if it takes more, a table of addresses is shorter

_CALL = re.compile(r"[\w:]+\(.*\)$")  # a template that is one call: needs no parentheses

Addresses = NDArray[np.int64]
Array = NDArray[Any]
Tensor = NDArray[Any]  # float: known numbers; int64: addresses

_MOVES = frozenset(
    {"Concat", "Expand", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Slice", "Split", "Squeeze"}
    | {"Transpose", "Unsqueeze"}
)
"""Operators that only move numbers."""

_SETTINGS = {"Concat": (), "Pad": (1, 3), "Where": (0,)}
"""Which inputs are not moved, but known beforehand, if it is not all but the first one."""


@dataclass
class _Buffer:
    """Consecutive numbers.

    Attributes:
        number: Of the buffer.
        name: In C++.
        size: Numbers.
        base: What holds it in C++: condition, latent, weights, memory or out.
        shape: For a reader.
        node: Where it comes from.
        expression: If it waits to be computed: the template, and each operand's numbers in the order of this buffer.
        uses: How often a step reads it that is still to come; only of what waits.
        depth: Expressions in one another.
        rectified: Whether many numbers may be zero.
    """

    number: int
    name: str
    size: int
    base: str
    shape: str = ""
    node: Any = None
    expression: tuple[str, list[Tensor]] | None = None
    uses: int = 0
    depth: int = 0
    rectified: bool = False

    @property
    def addresses(self) -> Addresses:
        return self.number * _BUFFER + np.arange(self.size, dtype=np.int64)


@dataclass
class Step:
    """A part of the network.

    Attributes:
        scope: The module it belongs to.
        comment: Operators and shape.
        lines: In C++.
        reads: Buffers.
        writes: Buffers.
    """

    scope: str
    comment: str
    lines: list[str]
    reads: set[int] = field(default_factory=set)
    writes: set[int] = field(default_factory=set)


@dataclass
class Program:
    """What the network is.

    Attributes:
        steps: In order.
        places: Of each buffer by its number: name, where it lies (memory, weights, or itself), offset, shape.
        memory: Floats of the working memory.
        weights: All weights.
        width: Numbers of an event.
    """

    steps: list[Step]
    places: dict[int, tuple[str, str, int, str]]
    memory: int
    weights: NDArray[np.float32]
    width: int


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _literal(value: float) -> str:
    """The shortest decimal that gives the same float32, as C++ writes it."""
    if math.isinf(value):
        return "-infinity" if value < 0 else "infinity"
    text = str(np.float32(value))
    return f"{text}F" if "." in text or "e" in text else f"{text}.0F"


def _identifier(name: str) -> str:
    """A node's name as a C++ identifier: without the outermost module and double underscores."""
    name = re.sub(r"^/(generator/)?", "", name)
    return re.sub(r"_+", "_", re.sub(r"\W", "_", name.removesuffix("_output_0"))).strip("_")


def _scope(name: str) -> str:
    """The module of a node: its name without operator, at most one module inside another."""
    parts = re.sub(r"^/(generator/)?", "", name).split("/")[:-1]
    return _identifier("/".join(parts[:1])) or "generator"


def _place(offset: int, terms: Sequence[tuple[int, str]]) -> str:
    """The sum of an offset and multiples of indices in C++."""
    parts = [str(offset)] if offset or not any(step for step, _ in terms) else []
    parts += [index if step == 1 else f"{step} * {index}" for step, index in terms if step]
    return " + ".join(parts)


def _shape(shape: Sequence[int]) -> str:
    """A shape for a reader: without the batch and other axes of one."""
    return "(" + ", ".join(str(n) for n in shape if n != 1) + ")"


Dims = list[tuple[int, int, int]]  # of a loop: length, step of the target, step of the source


def _nest(target: Addresses, source: Addresses) -> Dims | None:
    """Nested loops, the innermost last, that go through all pairs in order; None if there are none."""
    dims: Dims = []
    while len(target) > 1:
        steps = np.stack([np.diff(target), np.diff(source)], axis=1)
        same = (steps == steps[0]).all(axis=1)
        run = len(target) if same.all() else int(np.argmin(same)) + 1
        if len(target) % run or run == 1:
            return None
        rows = [pairs.reshape(-1, run) for pairs in (target, source)]
        for pairs, step in zip(rows, steps[0], strict=True):
            if (np.diff(pairs, axis=1) != step).any():
                return None
        dims.insert(0, (run, int(steps[0, 0]), int(steps[0, 1])))
        target, source = (pairs[:, 0] for pairs in rows)
    return dims


class _Compiler:
    def __init__(self, model: Any) -> None:
        graph = model.graph
        self.buffers: list[_Buffer] = [_Buffer(0, "zero", 1, "zero")]
        self.steps: list[Step] = []
        self.names: Counter[str] = Counter()
        self.node: Any = None
        self.constants: dict[bytes, _Buffer] = {}
        self.values: dict[int, NDArray[np.float32]] = {}
        self.tensors: dict[str, Tensor] = {
            tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer
        }
        self.known = set(self.tensors)
        for value in graph.input:
            shape = [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
            buffer = self._buffer(value.name, math.prod(shape), value.name)
            self.tensors[value.name] = buffer.addresses.reshape(shape)
        self.readers: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.results = [value.name for value in graph.output]
        for self.node in graph.node:
            self._compile()
        out = np.concatenate([self._addresses(name).ravel() for name in self.results])
        self.node = onnx.helper.make_node("Outputs", [], [], name="/outputs/Outputs")
        self.width = len(out)
        self._copy(out, self._buffer("out", self.width, "out"))

    def _compile(self) -> None:
        node = self.node
        operator = node.op_type
        given = [name for name in node.input if name]
        if operator == "Shape":
            known = np.array(self.tensors[given[0]].shape, np.int64)
            self.tensors[node.output[0]] = known[self._attribute("start", 0) : self._attribute("end", None)]
            self.known.add(node.output[0])
        elif self.known.issuperset(given):
            self._give(self._reference({name: self.tensors[name] for name in given}))
            self.known.update(node.output)
        elif operator in _MOVES or (operator == "Where" and node.input[0] in self.known):
            self._move()
        elif operator in _NUMBERS:
            self._by_number()
        elif operator in _CALLS:
            self._give([_CALLS[operator](self)])
        else:
            possible = sorted({*_MOVES, *_NUMBERS, *_CALLS})
            raise ValueError(
                f"{operator} (node {node.name!r}): expected one of {', '.join(possible)}, got {operator}; "
                "use --format onnx"
            )

    def _refuse(self, expected: str, got: str) -> ValueError:
        return ValueError(
            f"{self.node.op_type} (node {self.node.name!r}): expected {expected}, got {got}; use --format onnx"
        )

    def _attribute(self, name: str, default: Any) -> Any:
        for attribute in self.node.attribute:
            if attribute.name == name:
                return onnx.helper.get_attribute_value(attribute)
        return default

    def _reference(self, inputs: dict[str, Array]) -> list[Array]:
        """What ONNX's own implementation gives."""
        return [np.asarray(value) for value in ReferenceEvaluator(self.node).run(None, inputs)]

    def _give(self, values: Sequence[Array]) -> None:
        self.tensors |= zip(self.node.output, values, strict=True)

    def _known_input(self, index: int, default: Any = None) -> Any:
        """An input that has to be known, or `default` if it is left out."""
        name = self.node.input[index] if index < len(self.node.input) else ""
        if name and name not in self.known:
            raise self._refuse(f"input {index} to be constant", "one that depends on the event")
        return self.tensors[name] if name else default

    # Buffers and addresses

    def _buffer(self, name: str, size: int, base: str, shape: str = "") -> _Buffer:
        wanted = name = _identifier(name)
        while name in self.names:
            self.names[wanted] += 1
            name = f"{wanted}_{self.names[wanted]}"
        self.names[name] += 1
        self.buffers.append(_Buffer(len(self.buffers), name, size, base, shape, self.node))
        return self.buffers[-1]

    def _memory(self, shape: Sequence[int], suffix: str = "") -> _Buffer:
        name = self.node.name or self.node.op_type
        return self._buffer(name + suffix, math.prod(shape), "memory", _shape(shape))

    def _weights(self, values: Array, suffix: str) -> _Buffer:
        """Numbers among the weights; the same ones only once."""
        numbers = np.ascontiguousarray(values, np.float32).ravel()
        key = numbers.tobytes()
        if key not in self.constants:
            name = (self.node.name or self.node.op_type) + suffix
            self.constants[key] = self._buffer(name, len(numbers), "weights", _shape(values.shape))
            self.values[self.constants[key].number] = numbers
        return self.constants[key]

    def _addresses(self, name: str) -> Addresses:
        """Where the numbers of a tensor lie; known ones become weights."""
        tensor = self.tensors[name]
        if name not in self.known:
            return tensor
        if not tensor.any():
            return np.full(tensor.shape, _ZERO, np.int64)
        return self._weights(tensor, "_constant").addresses.reshape(tensor.shape)

    def _input(self, index: int) -> Addresses:
        return self._addresses(self.node.input[index])

    def _owners(self, addresses: Addresses) -> list[_Buffer]:
        return [self.buffers[number] for number in np.unique(addresses // _BUFFER)]

    def _place(self, address: int, reads: set[int]) -> tuple[str, int]:
        """A number's buffer in C++, and where in it."""
        buffer = self.buffers[address // _BUFFER]
        reads.add(buffer.number)
        return buffer.name, address % _BUFFER

    def _pointer(self, address: int, reads: set[int]) -> str:
        name, offset = self._place(address, reads)
        return f"{name} + {offset}" if offset else name

    def _together(self, addresses: Addresses) -> Addresses:
        """The same numbers one after the other, after a copy if they are not."""
        flat = addresses.ravel()
        for owner in self._owners(flat):
            self._finish(owner)
        if (np.diff(flat) == 1).all() and flat[0] != _ZERO:
            return addresses
        buffer = self._memory(addresses.shape, "_input")
        self._copy(flat, buffer)
        return buffer.addresses.reshape(addresses.shape)

    def _read(self, addresses: Addresses, reads: set[int]) -> str:
        """A pointer to numbers that lie one after the other, after a copy if they do not."""
        return self._pointer(int(self._together(addresses).flat[0]), reads)

    def _step(self, lines: list[str], reads: set[int], target: _Buffer, comment: str) -> None:
        self.steps.append(Step(_scope(self.node.name), comment, lines, reads, {target.number}))

    # Moves

    def _move(self) -> None:
        """Run the operator on addresses."""
        node = self.node
        settings = _SETTINGS.get(node.op_type, range(1, len(node.input)))
        inputs: dict[str, Array] = {
            name: self._known_input(index) if index in settings else self._addresses(name)
            for index, name in enumerate(node.input)
            if name
        }
        results = self._reference(inputs)
        if node.op_type in ("Gather", "Expand") and sum(r.size for r in results) > inputs[node.input[0]].size:
            # numbers that are repeated are read from one place, so that the copy is a few loops
            self.tensors[node.input[0]] = inputs[node.input[0]] = self._together(inputs[node.input[0]])
            results = self._reference(inputs)
        self._give(results)

    def _copy(self, addresses: Addresses, target: _Buffer) -> None:
        """Put numbers together."""
        reads: set[int] = set()
        for owner in self._owners(addresses):
            self._finish(owner)
        place = np.arange(len(addresses), dtype=np.int64)
        to = target.name
        lines: list[str] = []
        for owner in self._owners(addresses):
            mine = addresses // _BUFFER == owner.number
            lines += self._loops(to, place[mine], addresses[mine], reads, zero=owner.base == "zero")
        shape = target.shape or _shape([target.size])
        self._step(lines, reads, target, f"{shape} put together")

    def _loops(
        self, to: str, target: Addresses, source: Addresses, reads: set[int], *, zero: bool
    ) -> list[str]:
        """Copy from one buffer, or fill in zeros."""
        dims = _nest(target, source)
        if dims is None:
            runs = np.flatnonzero((np.diff(target) != 1) | (np.diff(source) != (0 if zero else 1))) + 1
            if len(runs) < _NESTS:
                pieces = zip(np.split(target, runs), np.split(source, runs), strict=True)
                return [line for t, s in pieces for line in self._loops(to, t, s, reads, zero=zero)]
            if zero:
                first, last = int(target[0]), int(target[-1])
                return [f"std::fill_n({to} + {first}, {last - first + 1}, 0.0F);".replace(" + 0,", ",")]
            return self._table(to, target, source, reads)
        count = dims.pop()[0] if dims and dims[-1][1:] == (1, 0 if zero else 1) else 1
        name, offset = ("", 0) if zero else self._place(int(source[0]), reads)
        there = _place(
            int(target[0]), [(step, index) for (_, step, _), index in zip(dims, _INDICES, strict=False)]
        )
        here = _place(offset, [(step, index) for (_, _, step), index in zip(dims, _INDICES, strict=False)])
        if count == 1:
            line = f"{to}[{there}] = " + ("0.0F;" if zero else f"{name}[{here}];")
        elif zero:
            line = f"std::fill_n({to} + {there}, {count}, 0.0F);"
        else:
            line = f"copy({name} + {here}, {to} + {there}, {count});"
        line = line.replace(" + 0,", ",")
        heads = [
            f"for (std::size_t {i} = 0; {i} < {n}; ++{i})"
            for (n, _, _), i in zip(dims, _INDICES, strict=False)
        ]
        return ["  " * depth + text for depth, text in enumerate([*heads, line])]

    def _table(self, to: str, target: Addresses, source: Addresses, reads: set[int]) -> list[str]:
        """Copy in any order: places as a table."""
        name, _ = self._place(int(source[0]), reads)
        pairs = ", ".join(f"{{{t}, {s % _BUFFER}}}" for t, s in zip(target, source, strict=True))
        return [
            "{",
            f"  static constexpr std::uint32_t places[][2] = {{{pairs}}};",
            f"  for (const auto& place : places) {to}[place[0]] = {name}[place[1]];",
            "}",
        ]

    # Number by number

    def _by_number(self) -> None:
        """Let an operator wait that computes number by number."""
        node = self.node
        template = _NUMBERS[node.op_type](self)
        given = [name for name in node.input[: self._operands()] if name]
        tensors = [self.tensors[name] for name in given]
        shape = np.broadcast_shapes(*(tensor.shape for tensor in tensors))
        flat = [np.broadcast_to(tensor, shape).ravel() for tensor in tensors]
        size = math.prod(shape)
        # in the order in which the first operand lies in memory, so that a transposed one is read straight ahead
        order = np.arange(size)
        for name, numbers in zip(given, flat, strict=True):
            if name not in self.known and len(np.unique(numbers)) == size:
                order = np.argsort(numbers, kind="stable")
                break
        buffer = self._memory(shape)
        operands = [
            numbers[order].astype(np.float64) if name in self.known else numbers[order]
            for name, numbers in zip(given, flat, strict=True)
        ]
        buffer.expression = template, operands
        buffer.uses = self._uses(node.output[0])
        buffer.rectified = node.op_type == "Relu"
        waiting = [owner for _, owner in self._inlined(buffer) if owner is not None]
        buffer.depth = 1 + max((owner.depth for owner in waiting), default=0)
        addresses = np.empty(size, np.int64)
        addresses[order] = buffer.addresses
        self._give([addresses.reshape(shape)])
        if buffer.depth > _DEEPEST:
            self._finish(buffer)

    def _operands(self) -> int:
        """Inputs that are computed with; the others are settings."""
        return 1 if self.node.op_type == "Clip" else len(self.node.input)

    def _uses(self, name: str) -> int:
        """How often a tensor is read, also after moves."""
        count = int(name in self.results)
        for node in self.readers.get(name, []):
            if node.op_type in _MOVES:
                count += sum(self._uses(output) for output in node.output)
            elif node.op_type != "Shape":
                count += 1
        return count

    def _inlined(self, buffer: _Buffer) -> list[tuple[Tensor, _Buffer | None]]:
        """The operands of what waits, each with the buffer that waits to be its numbers in the same order."""
        if buffer.expression is None:
            return []
        result: list[tuple[Tensor, _Buffer | None]] = []
        for numbers in buffer.expression[1]:
            owner = None
            if numbers.dtype == np.int64:
                candidate = self.buffers[int(numbers[0]) // _BUFFER]
                if (
                    candidate.expression is not None
                    and candidate.size == buffer.size
                    and np.array_equal(numbers, candidate.addresses)
                ):
                    owner = candidate
            result.append((numbers, owner))
        return result

    def _prepare(self, buffer: _Buffer) -> None:
        """Compute what a loop needs and cannot compute itself."""
        for numbers, owner in self._inlined(buffer):
            if owner is not None:
                self._prepare(owner)
            elif numbers.dtype == np.int64:
                for other in self._owners(numbers):
                    self._finish(other)

    def _finish(self, buffer: _Buffer) -> None:
        """Compute what waits: one loop with all that waits before it."""
        if buffer.expression is None:
            return
        node, self.node = self.node, buffer.node
        self._prepare(buffer)
        lines: list[str] = []
        reads: set[int] = set()
        done: dict[int, tuple[str, bool]] = {}
        operators: Counter[str] = Counter()
        text, _ = self._expression(buffer, lines, reads, done, operators)
        stored = [buffer]
        for number in done:
            if self.buffers[number].uses > 0:
                stored.append(self.buffers[number])
        index = "[k]" if buffer.size > 1 else "[0]"
        for member in stored:
            value = text if member is buffer else done[member.number][0]
            lines.append(f"{member.name}{index} = {value};")
            member.expression = None
        if buffer.size > 1:
            lines = [
                f"for (std::size_t k = 0; k < {buffer.size}; ++k) {{",
                *("  " + line for line in lines),
                "}",
            ]
        elif len(lines) > 1:
            lines = ["{", *("  " + line for line in lines), "}"]
        used = ", ".join(f"{count} {name}" if count > 1 else name for name, count in operators.items())
        self._step(lines, reads, buffer, f"{buffer.shape} {used}")
        self.steps[-1].writes |= {member.number for member in stored}
        self.node = node

    def _expression(
        self,
        buffer: _Buffer,
        lines: list[str],
        reads: set[int],
        done: dict[int, tuple[str, bool]],
        operators: Counter[str],
    ) -> tuple[str, bool]:
        """The value of number k in C++, and whether it needs no parentheses.

        What is long or used again becomes a local number.
        """
        template = buffer.expression[0] if buffer.expression else ""
        call = _CALL.match(template) is not None
        operands = []
        for numbers, owner in self._inlined(buffer):
            if owner is None:
                operands.append(self._operand(numbers, reads))
                continue
            owner.uses -= 1
            if owner.number not in done:
                text, closed = self._expression(owner, lines, reads, done, operators)
                if owner.uses > 0 or len(text) > _LONGEST:
                    lines.append(f"const float {owner.name}_k = {text};")
                    text, closed = f"{owner.name}_k", True
                done[owner.number] = text, closed
            text, closed = done[owner.number]
            operands.append(text if call or closed else f"({text})")
        operators[buffer.node.op_type] += 1
        return template.format(*operands), call

    def _operand(self, numbers: Tensor, reads: set[int]) -> str:
        """Number k of an operand."""
        if numbers.dtype != np.int64:
            if (numbers == numbers[0]).all():
                return _literal(float(numbers[0]))
            numbers = self._weights(numbers, "_constant").addresses
        steps = np.diff(numbers)
        if numbers[0] == _ZERO and not steps.any():
            return "0.0F"
        if numbers[0] == _ZERO or (steps != steps[:1]).any():
            numbers = self._together(numbers)
            steps = np.diff(numbers)
        name, offset = self._place(int(numbers[0]), reads)
        return f"{name}[{_place(offset, [(int(step), 'k') for step in steps[:1]])}]"

    # Products

    def _dense(self, x: Addresses, weight: Array, bias: Array | None) -> Addresses:
        """Give x (R, K) times weight (N, K), plus bias (N,): (R, N)."""
        rows, inputs = x.shape
        outputs = len(weight)
        wide = _up(outputs, _FOUR)
        padded = np.zeros((wide, inputs))
        padded[:outputs] = weight
        parts, begin = [], 0
        for size in _TILES:
            while begin + size <= wide:
                parts.append(padded[begin : begin + size].T.ravel())
                begin += size
        stored = self._weights(np.concatenate(parts), "_weight")
        stored.shape = f"{_shape(weight.shape)} in tiles"
        reads: set[int] = set()
        sparse = all(owner.rectified for owner in self._owners(x)) and outputs >= _SPARSE * inputs
        source = self._read(x, reads)
        target = self._memory((rows, wide))
        shift = "nullptr"
        if bias is not None and np.any(bias):
            filled = np.zeros(wide)
            filled[:outputs] = bias
            shift = self._pointer(int(self._weights(filled, "_bias").addresses[0]), reads)
        weights = self._pointer(int(stored.addresses[0]), reads)
        name = "dense<true>" if sparse else "dense"
        to = target.name
        if rows == 1:
            lines = [f"{name}({weights}, {shift}, {source}, {to}, {inputs}, {wide});"]
        else:
            lines = [
                f"for (std::size_t r = 0; r < {rows}; ++r)",
                f"  {name}({weights}, {shift}, {source} + {inputs} * r, {to} + {wide} * r, {inputs}, {wide});",
            ]
        comment = f"{_shape((rows, outputs))} {self.node.op_type} of weights {_shape((outputs, inputs))}"
        self._step(lines, reads, target, comment)
        return target.addresses.reshape(rows, wide)[:, :outputs]

    def _local(self, weight: Array, x: Addresses) -> Addresses:
        """Give weight (P, N, K) times x (P, K): (P, N)."""
        places, outputs, inputs = weight.shape
        wide = _up(inputs, _EIGHT)
        padded = np.zeros((places, outputs, wide))
        padded[:, :, :inputs] = weight
        addresses = np.full((places, wide), _ZERO, np.int64)
        addresses[:, :inputs] = x
        reads: set[int] = set()
        source = self._read(addresses, reads)
        stored = self._weights(padded, "_weight")
        target = self._memory((places, outputs))
        weights = self._pointer(int(stored.addresses[0]), reads)
        call = f"local({weights}, {source}, {target.name}, {places}, {wide}, {outputs});"
        comment = f"{_shape((places, outputs))} {self.node.op_type} of weights {_shape(weight.shape)}"
        self._step([call], reads, target, comment)
        return target.addresses.reshape(places, outputs)

    def _product(self, a: Addresses, x: Addresses) -> Addresses:
        """Give any a (M, K) times any x (K, N): (M, N)."""
        rows, inner = a.shape
        columns = x.shape[1]
        wide = _up(columns, _FOUR)
        padded = np.full((inner, wide), _ZERO, np.int64)
        padded[:, :columns] = x
        reads: set[int] = set()
        left, right = self._read(a, reads), self._read(padded, reads)
        target = self._memory((rows, wide))
        call = f"product({left}, {right}, {target.name}, {rows}, {inner}, {wide});"
        comment = f"{_shape((rows, columns))} {self.node.op_type} of {_shape(a.shape)} and {_shape(x.shape)}"
        self._step([call], reads, target, comment)
        return target.addresses.reshape(rows, wide)[:, :columns]

    def _matmul(self) -> Addresses:
        names = self.node.input
        a, b = (self.tensors[name] for name in names)
        known = [name in self.known for name in names]
        vectors = a.ndim == 1, b.ndim == 1
        a = a[None] if vectors[0] else a
        b = b[:, None] if vectors[1] else b
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
        places = math.prod(batch)
        shared = [math.prod(t.shape[:-2]) == 1 for t in (a, b)]
        if known[1] and shared[1]:
            result = self._dense(a.reshape(-1, k), b.reshape(k, n).T, None)
        elif known[0] and shared[0] and n == 1:
            result = self._dense(b.reshape(-1, k), a.reshape(m, k), None)
        elif known[0] and n == 1:
            columns = np.broadcast_to(b, (*batch, k, 1)).reshape(places, k)
            result = self._local(np.broadcast_to(a, (*batch, m, k)).reshape(places, m, k), columns)
        elif known[1] and m == 1:
            rows = np.broadcast_to(a, (*batch, 1, k)).reshape(places, k)
            weight = np.broadcast_to(b, (*batch, k, n)).reshape(places, k, n).transpose(0, 2, 1)
            result = self._local(weight, rows)
        else:
            left, right = (self._addresses(name) for name in names)
            if shared[0]:  # all of the batch as columns of one product
                right = np.moveaxis(right.reshape(-1, k, n), 0, 1).reshape(k, -1)
                together = self._product(left.reshape(m, k), right)
                result = np.moveaxis(together.reshape(m, -1, n), 1, 0)
            else:
                lefts = np.broadcast_to(left.reshape(*a.shape), (*batch, m, k)).reshape(-1, m, k)
                rights = np.broadcast_to(right.reshape(*b.shape), (*batch, k, n)).reshape(-1, k, n)
                result = np.stack([self._product(*pair) for pair in zip(lefts, rights, strict=True)])
        shape = [*batch] + [m] * (not vectors[0]) + [n] * (not vectors[1])
        return result.reshape(shape)

    def _gemm(self) -> Addresses:
        node = self.node
        alpha, beta = self._attribute("alpha", 1.0), self._attribute("beta", 1.0)
        if node.input[1] not in self.known:
            raise self._refuse("weights that are constant", "ones that depend on the event")
        x, weight = self._input(0), np.asarray(self.tensors[node.input[1]], np.float64)
        x = x.T if self._attribute("transA", 0) else x
        weight = alpha * (weight if self._attribute("transB", 0) else weight.T)
        bias = node.input[2] if len(node.input) > 2 else ""
        if bias in self.known:
            shift = np.broadcast_to(self.tensors[bias], (len(x), len(weight))) * beta
            if (shift == shift[0]).all():
                return self._dense(x, weight, shift[0])
        result = self._dense(x, weight, None)
        if not bias:
            return result
        added = np.broadcast_to(self.tensors[bias], result.shape)
        target = self._memory(result.shape, "_sum")
        operand = added.ravel().astype(np.float64) if bias in self.known else added.ravel()
        target.expression = f"{{0}} + {_literal(beta)} * {{1}}", [result.ravel(), operand]
        target.uses = self._uses(node.output[0])
        return target.addresses.reshape(result.shape)

    def _convolution(self) -> Addresses:
        """As one product a group: what the windows see, put together, times the filters."""
        x, weight = self._input(0), self._known_input(1)
        axes = x.ndim - 2
        if self._attribute("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID") or len(x) != 1:
            raise self._refuse("explicit padding and one row", str(self._attribute("auto_pad", b"")))
        pads = self._attribute("pads", [0] * 2 * axes)
        strides = self._attribute("strides", [1] * axes)
        dilations = self._attribute("dilations", [1] * axes)
        around = [(0, 0), *zip(pads[:axes], pads[axes:], strict=True)]
        x = np.pad(x[0], around, constant_values=_ZERO)
        reach = [(n - 1) * d + 1 for n, d in zip(weight.shape[2:], dilations, strict=True)]
        windows = np.lib.stride_tricks.sliding_window_view(x, reach, axis=tuple(range(1, 1 + axes)))
        steps = [slice(None, None, s) for s in strides], [slice(None, None, d) for d in dilations]
        windows = windows[(slice(None), *steps[0], *steps[1])]
        size = windows.shape[1 : 1 + axes]
        groups = self._attribute("group", 1)
        parts = []
        for seen, filters in zip(np.split(windows, groups), np.split(weight, groups), strict=True):
            columns = np.moveaxis(seen.reshape(len(seen), math.prod(size), -1), 1, 2).reshape(
                -1, math.prod(size)
            )
            stored = self._weights(filters.reshape(len(filters), -1), "_weight").addresses
            parts.append(self._product(stored.reshape(len(filters), -1), columns))
        result = np.concatenate(parts)
        bias = self._known_input(2) if len(self.node.input) > 2 else None
        if bias is not None:
            shift = np.repeat(np.asarray(bias, np.float64), math.prod(size))
            target = self._memory(result.shape, "_bias")
            target.expression = "{0} + {1}", [result.ravel(), shift]
            target.uses = self._uses(self.node.output[0])
            result = target.addresses.reshape(result.shape)
        return result.reshape(1, len(weight), *size)

    # Sums over axes

    def _rows(self, axes: Sequence[int]) -> tuple[Addresses, list[int]]:
        """The input with `axes` last, and the axes from zero on."""
        x = self._input(0)
        last = sorted(axis % x.ndim for axis in axes)
        return np.moveaxis(x, last, range(x.ndim - len(last), x.ndim)), last

    def _reduced(self, function: str, before: str = "{0}", after: str = "{0}") -> Addresses:
        node = self.node
        axes = self._attribute("axes", None)
        if axes is None and len(node.input) > 1:
            axes = self._known_input(1)
        shape = self._input(0).shape
        if axes is None or len(axes) == 0:
            if self._attribute("noop_with_empty_axes", 0):
                return self._input(0)
            axes = range(len(shape))
        moved, last = self._rows(list(axes))
        n = math.prod(shape[axis] for axis in last)
        rows = moved.size // n
        if before != "{0}":
            squares = self._memory((rows, n), "_square")
            squares.expression, squares.uses = (before, [moved.ravel()]), 1
            moved = squares.addresses
        reads: set[int] = set()
        source = self._read(moved, reads)
        target = self._memory((rows,))
        row = f" + {n} * r" if rows > 1 else ""
        value = after.format(f"{function}({source}{row}, {n})", _literal(n))
        to = f"{target.name}[{'r' if rows > 1 else 0}]"
        head = [f"for (std::size_t r = 0; r < {rows}; ++r)"] if rows > 1 else []
        lines = [*head, "  " * len(head) + f"{to} = {value};"]
        self._step(lines, reads, target, f"{_shape((rows,))} {node.op_type} over {n}")
        kept = [1 if axis in last else size for axis, size in enumerate(shape)]
        if not self._attribute("keepdims", 1):
            kept = [size for axis, size in enumerate(shape) if axis not in last]
        return target.addresses.reshape(kept)

    def _softmax(self) -> Addresses:
        moved, last = self._rows([self._attribute("axis", -1)])
        n, rows = moved.shape[-1], moved.size // moved.shape[-1]
        reads: set[int] = set()
        source = self._read(moved, reads)
        target = self._memory((rows, n))
        head = [f"for (std::size_t r = 0; r < {rows}; ++r)"] if rows > 1 else []
        row = f" + {n} * r" if head else ""
        call = f"softmax({source}{row}, {target.name}{row}, {n});"
        self._step([*head, "  " * len(head) + call], reads, target, f"{_shape((rows, n))} Softmax")
        return np.moveaxis(target.addresses.reshape(moved.shape), -1, last[0])

    # Result

    def program(self) -> Program:
        """Give every buffer a place."""
        used = {number for step in self.steps for number in step.reads | step.writes}
        offset, parts = 0, [np.zeros(0, np.float32)]
        places: dict[int, tuple[str, str, int, str]] = {}
        for number, numbers in self.values.items():
            if number in used:
                places[number] = (self.buffers[number].name, "weights", offset, self.buffers[number].shape)
                parts.append(np.pad(numbers, (0, -len(numbers) % _LINE)))
                offset += len(parts[-1])
        for number in used:
            if (buffer := self.buffers[number]).base == buffer.name:
                places[number] = (buffer.name, buffer.base, 0, "")
        memory, size = self._places()
        for number, place in memory.items():
            places[number] = (self.buffers[number].name, "memory", place, self.buffers[number].shape)
        return Program(self.steps, places, size, np.concatenate(parts), self.width)

    def _places(self) -> tuple[dict[int, int], int]:
        """Offsets in working memory: a place is used again when its numbers are not needed any more."""
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        for when, step in enumerate(self.steps):
            for number in step.reads | step.writes:
                if self.buffers[number].base == "memory":
                    first.setdefault(number, when)
                    last[number] = when
        places: dict[int, int] = {}
        size = 0
        for number in sorted(first, key=lambda n: first[n]):
            length = _up(self.buffers[number].size, _LINE)
            taken = sorted(
                (places[other], places[other] + _up(self.buffers[other].size, _LINE))
                for other in places
                if last[other] >= first[number]
            )
            place = 0
            for begin, end in taken:
                if place + length <= begin:
                    break
                place = max(place, end)
            places[number] = place
            size = max(size, place + length)
        return places, size


def _same(template: str) -> Callable[[_Compiler], str]:
    return lambda compiler: template


def _folded(template: str) -> Callable[[_Compiler], str]:
    """Of two operands for any number of them."""

    def text(compiler: _Compiler) -> str:
        result = "{0}"
        for k in range(1, len(compiler.node.input)):
            result = template.replace("{0}", "\0").replace("{1}", f"{{{k}}}").replace("\0", result)
        return result

    return text


def _clip(compiler: _Compiler) -> str:
    low, high = (compiler._known_input(k) for k in (1, 2))
    if low is None:
        return "{0}" if high is None else f"smaller({{0}}, {_literal(float(high))})"
    if high is None:
        return f"larger({{0}}, {_literal(float(low))})"
    return f"clip({{0}}, {_literal(float(low))}, {_literal(float(high))})"


def _cast(compiler: _Compiler) -> str:
    to = compiler._attribute("to", 0)
    if to == onnx.TensorProto.BOOL:
        return "{0} != 0 ? 1.0F : 0.0F"
    if to != onnx.TensorProto.FLOAT:
        raise compiler._refuse("numbers of type float or bool", onnx.TensorProto.DataType.Name(to))
    return "{0}"


def _with(template: str, **defaults: float) -> Callable[[_Compiler], str]:
    """With attributes as numbers."""

    def text(compiler: _Compiler) -> str:
        result = template
        for name, default in defaults.items():
            result = result.replace(f"<{name}>", _literal(compiler._attribute(name, default)))
        return result

    return text


def _leaky(compiler: _Compiler) -> str:
    if (slope := compiler._attribute("alpha", 0.01)) > 1:
        raise compiler._refuse("a slope of at most 1", f"{slope:g}")
    return f"leaky_relu({{0}}, {_literal(slope)})"


_SELU = {"alpha": 1.6732632423543772, "gamma": 1.0507009873554805}  # of the ONNX standard

_NUMBERS: dict[str, Callable[[_Compiler], str]] = {
    "Abs": _same("std::abs({0})"),
    "Add": _same("{0} + {1}"),
    "Atan": _same("std::atan({0})"),
    "Cast": _cast,
    "Clip": _clip,
    "Cos": _same("std::cos({0})"),
    "Div": _same("{0} / {1}"),
    "Elu": _with("elu({0}, <alpha>)", alpha=1.0),
    "Equal": _same("{0} == {1} ? 1.0F : 0.0F"),
    "Erf": _same("std::erf({0})"),
    "Exp": _same("std::exp({0})"),
    "Floor": _same("std::floor({0})"),
    "Greater": _same("{0} > {1} ? 1.0F : 0.0F"),
    "GreaterOrEqual": _same("{0} >= {1} ? 1.0F : 0.0F"),
    "LeakyRelu": _leaky,
    "Less": _same("{0} < {1} ? 1.0F : 0.0F"),
    "LessOrEqual": _same("{0} <= {1} ? 1.0F : 0.0F"),
    "Log": _same("std::log({0})"),
    "Max": _folded("larger({0}, {1})"),
    "Mean": lambda compiler: f"({_folded('{0} + {1}')(compiler)}) / {len(compiler.node.input)}.0F",
    "Min": _folded("smaller({0}, {1})"),
    "Mul": _same("{0} * {1}"),
    "Neg": _same("-{0}"),
    "Not": _same("{0} == 0 ? 1.0F : 0.0F"),
    "Pow": _same("std::pow({0}, {1})"),
    "Reciprocal": _same("1 / {0}"),
    "Relu": _same("relu({0})"),
    "Selu": _with("<gamma> * elu({0}, <alpha>)", **_SELU),
    "Sigmoid": _same("sigmoid({0})"),
    "Sin": _same("std::sin({0})"),
    "Softplus": _same("softplus({0})"),
    "Sqrt": _same("std::sqrt({0})"),
    "Sub": _same("{0} - {1}"),
    "Sum": _folded("{0} + {1}"),
    "Tanh": _same("std::tanh({0})"),
    "Where": _same("{0} != 0 ? {1} : {2}"),
}
"""Operators that compute number by number: the C++ expression of the operands {0}, {1}, ..."""

_CALLS: dict[str, Callable[[_Compiler], Addresses]] = {
    "Conv": _Compiler._convolution,
    "Gemm": _Compiler._gemm,
    "MatMul": _Compiler._matmul,
    "ReduceL2": lambda compiler: compiler._reduced("total", "{0} * {0}", "std::sqrt({0})"),
    "ReduceMax": lambda compiler: compiler._reduced("largest"),
    "ReduceMean": lambda compiler: compiler._reduced("total", after="{0} / {1}"),
    "ReduceProd": lambda compiler: compiler._reduced("multiplied"),
    "ReduceSum": lambda compiler: compiler._reduced("total"),
    "ReduceSumSquare": lambda compiler: compiler._reduced("total", "{0} * {0}"),
    "Softmax": _Compiler._softmax,
}
"""Operators that are a call of a function in compiled.hpp."""


def compile_graph(model: Any) -> Program:
    """Compile a model whose shapes are all known.

    Args:
        model: ONNX, inputs ``condition`` and ``latent`` of one row.

    Raises:
        ValueError: If an operator, or what it is asked for, is not implemented: naming operator and node.
    """
    return _Compiler(model).program()
