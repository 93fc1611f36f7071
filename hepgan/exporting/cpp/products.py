"""Products: calls of ``dense``, ``local`` and ``product`` in export/include/hepgan/compiled.hpp.

Weights are stored in the order in which those functions read them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hepgan.exporting.cpp.addresses import ZERO, Addresses, round_up
from hepgan.exporting.cpp.graph import Array, Node, Value
from hepgan.exporting.cpp.memory import Pointer
from hepgan.exporting.cpp.text import literal, row_loop, shape_text
from hepgan.exporting.cpp.writer import Writer

__all__ = ["convolution", "gemm", "matmul"]

_FOUR = 4  # outputs of `dense` and columns of `product` are filled up to a multiple, as compiled.hpp wants it
_EIGHT = 8  # likewise inputs of `local`
_TILES = (32, 16, 4)  # outputs that `dense` computes together
_SPARSE = 16  # a rectified input with so many times more outputs: look for zeros before multiplying


def _tiles(weight: Array) -> NDArray[np.float64]:
    """Weights (N, K) in the order of `dense`: tiles of N, each with K first; N is filled up with zeros."""
    outputs, inputs = weight.shape
    padded = np.zeros((round_up(outputs, _FOUR), inputs))
    padded[:outputs] = weight
    parts, begin = [], 0
    for size in _TILES:
        while begin + size <= len(padded):
            parts.append(padded[begin : begin + size].T.ravel())
            begin += size
    return np.concatenate(parts)


def _dense(
    node: Node, writer: Writer, x: Addresses, weight: Array, *, bias: Array | None = None
) -> Addresses:
    """Multiply x (R, K) by weight (N, K), and add bias (N,): (R, N)."""
    memory = writer.memory
    rows, inputs = x.shape
    outputs = len(weight)
    wide = round_up(outputs, _FOUR)
    stored = memory.constant(node, _tiles(weight), "_weight")
    stored.shape = f"{shape_text(weight.shape)} in tiles"
    sparse = all(owner.rectified for owner in memory.owners(x)) and outputs >= _SPARSE * inputs
    source = writer.pointer(node, x)
    target = memory.working(node, (rows, wide))
    reads = [source.buffer]
    shift = "nullptr"
    if bias is not None and np.any(bias):
        padded = np.zeros(wide)
        padded[:outputs] = bias
        reads.append(memory.constant(node, padded, "_bias"))
        shift = reads[-1].name
    name = "dense<true>" if sparse else "dense"
    to = Pointer(target, 0).row(wide, rows)
    call = f"{name}({stored.name}, {shift}, {source.row(inputs, rows)}, {to}, {inputs}, {wide});"
    comment = f"{shape_text((rows, outputs))} {node.operator} of weights {shape_text((outputs, inputs))}"
    writer.add(node, row_loop(rows, call), reads=[*reads, stored], target=target, comment=comment)
    return target.addresses.reshape(rows, wide)[:, :outputs]


def _local(node: Node, writer: Writer, weight: Array, x: Addresses) -> Addresses:
    """Multiply weight (P, N, K) by x (P, K), place by place: (P, N)."""
    places, outputs, inputs = weight.shape
    wide = round_up(inputs, _EIGHT)
    padded = np.zeros((places, outputs, wide))
    padded[:, :, :inputs] = weight
    addresses = np.full((places, wide), ZERO, np.int64)
    addresses[:, :inputs] = x
    source = writer.pointer(node, addresses)
    stored = writer.memory.constant(node, padded, "_weight")
    target = writer.memory.working(node, (places, outputs))
    call = f"local({stored.name}, {source}, {target.name}, {places}, {wide}, {outputs});"
    comment = f"{shape_text((places, outputs))} {node.operator} of weights {shape_text(weight.shape)}"
    writer.add(node, [call], reads=[source.buffer, stored], target=target, comment=comment)
    return target.addresses.reshape(places, outputs)


def _product(node: Node, writer: Writer, a: Addresses, b: Addresses) -> Addresses:
    """Multiply a (M, K) by b (K, N), both at any addresses: (M, N)."""
    rows, inner = a.shape
    columns = b.shape[1]
    wide = round_up(columns, _FOUR)
    padded = np.full((inner, wide), ZERO, np.int64)
    padded[:, :columns] = b
    left, right = writer.pointer(node, a), writer.pointer(node, padded)
    target = writer.memory.working(node, (rows, wide))
    call = f"product({left}, {right}, {target.name}, {rows}, {inner}, {wide});"
    comment = (
        f"{shape_text((rows, columns))} {node.operator} of {shape_text(a.shape)} and {shape_text(b.shape)}"
    )
    writer.add(node, [call], reads=[left.buffer, right.buffer], target=target, comment=comment)
    return target.addresses.reshape(rows, wide)[:, :columns]


def _shifted(
    node: Node, writer: Writer, x: Addresses, *, shift: Value, template: str, suffix: str
) -> Addresses:
    """Let the sum of x and of a shift (x.size,) wait to be computed, by the expression `template`."""
    operands = [Value(x.ravel(), constant=False), shift]
    waiting = writer.wait(node, x.shape, template=template, operands=operands, uses=node.uses, suffix=suffix)
    return waiting.buffer.addresses.reshape(x.shape)


def matmul(node: Node, writer: Writer) -> list[Addresses]:
    """Compile MatMul (..., M, K) by (..., K, N), or with vectors (K,)."""
    values = node.given
    row, column = (value.array.ndim == 1 for value in values)
    a = Value(values[0].array[None] if row else values[0].array, values[0].constant)
    b = Value(values[1].array[:, None] if column else values[1].array, values[1].constant)
    batch = np.broadcast_shapes(a.array.shape[:-2], b.array.shape[:-2])
    result = _multiplied(node, writer, a, b, batch)
    outer = [] if row else [a.array.shape[-2]]
    inner = [] if column else [b.array.shape[-1]]
    return [result.reshape([*batch, *outer, *inner])]


def _multiplied(node: Node, writer: Writer, a: Value, b: Value, batch: Sequence[int]) -> Addresses:
    """Multiply a (..., M, K) by b (..., K, N): the numbers of (*batch, M, N) in order, in another shape."""
    m, k, n = *a.array.shape[-2:], b.array.shape[-1]
    places = math.prod(batch)
    a_shared, b_shared = (math.prod(value.array.shape[:-2]) == 1 for value in (a, b))
    if b.constant and b_shared:
        return _dense(node, writer, a.array.reshape(-1, k), b.array.reshape(k, n).T)
    if a.constant and a_shared and n == 1:
        return _dense(node, writer, b.array.reshape(-1, k), a.array.reshape(m, k))
    if a.constant and n == 1:
        columns = np.broadcast_to(b.array, (*batch, k, 1)).reshape(places, k)
        weight = np.broadcast_to(a.array, (*batch, m, k)).reshape(places, m, k)
        return _local(node, writer, weight, columns)
    if b.constant and m == 1:
        rows = np.broadcast_to(a.array, (*batch, 1, k)).reshape(places, k)
        weight = np.broadcast_to(b.array, (*batch, k, n)).reshape(places, k, n).transpose(0, 2, 1)
        return _local(node, writer, weight, rows)
    left, right = (writer.memory.addresses(node, value) for value in (a, b))
    if a_shared:  # all matrices of the batch as columns of one product
        columns = np.moveaxis(right.reshape(-1, k, n), 0, 1).reshape(k, -1)
        together = _product(node, writer, left.reshape(m, k), columns)
        return np.moveaxis(together.reshape(m, -1, n), 1, 0)
    lefts = np.broadcast_to(left, (*batch, m, k)).reshape(-1, m, k)
    rights = np.broadcast_to(right, (*batch, k, n)).reshape(-1, k, n)
    return np.stack([_product(node, writer, *pair) for pair in zip(lefts, rights, strict=True)])


def gemm(node: Node, writer: Writer) -> list[Addresses]:
    """Compile Gemm: alpha x W + beta b, of constant weights W."""
    alpha, beta = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    weights, shift = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None
    if weights is None or not weights.constant:
        raise node.refused("weights that are constant", "ones that depend on the event")
    x, weight = writer.input(node, 0), np.asarray(weights.array, np.float64)
    x = x.T if node.attribute("transA", 0) else x
    weight = alpha * (weight if node.attribute("transB", 0) else weight.T)
    if shift is not None and shift.constant:
        bias = np.broadcast_to(shift.array, (len(x), len(weight))) * beta
        if (bias == bias[0]).all():
            return [_dense(node, writer, x, weight, bias=bias[0])]
    result = _dense(node, writer, x, weight)
    if shift is None:
        return [result]
    added = np.broadcast_to(shift.array, result.shape).ravel()
    operand = Value(added.astype(np.float64) if shift.constant else added, shift.constant)
    template = f"{{0}} + {literal(beta)} * {{1}}"
    return [_shifted(node, writer, result, shift=operand, template=template, suffix="_sum")]


def convolution(node: Node, writer: Writer) -> list[Addresses]:
    """Compile Conv of one row as a product of filters and windows for each group."""
    x, weight = writer.input(node, 0), node.constant(1)
    padding = node.attribute("auto_pad", b"NOTSET")
    if weight is None or padding not in (b"NOTSET", b"VALID"):
        raise node.refused("explicit padding", f"auto_pad {padding.decode()}")
    if len(x) != 1:
        raise node.refused("one row", f"{len(x)}")
    windows = _windows(node, x[0], weight.shape[2:])
    size = windows.shape[1 : x.ndim - 1]
    groups = node.attribute("group", 1)
    parts = []
    for maps, filters in zip(np.split(windows, groups), np.split(weight, groups), strict=True):
        columns = np.moveaxis(maps.reshape(len(maps), math.prod(size), -1), 1, 2).reshape(-1, math.prod(size))
        stored = writer.memory.constant(node, filters.reshape(len(filters), -1), "_weight").addresses
        parts.append(_product(node, writer, stored.reshape(len(filters), -1), columns))
    result = np.concatenate(parts)
    if (bias := node.constant(2)) is not None:
        shift = Value(np.repeat(np.asarray(bias, np.float64), math.prod(size)), constant=True)
        result = _shifted(node, writer, result, shift=shift, template="{0} + {1}", suffix="_bias")
    return [result.reshape(1, len(weight), *size)]


def _windows(node: Node, x: Addresses, kernel: Sequence[int]) -> Addresses:
    """Windows of the input (C, *size) of a Conv: (C, *positions, *kernel)."""
    axes = len(kernel)
    pads = node.attribute("pads", [0] * 2 * axes)
    strides = node.attribute("strides", [1] * axes)
    dilations = node.attribute("dilations", [1] * axes)
    around = [(0, 0), *zip(pads[:axes], pads[axes:], strict=True)]
    padded = np.pad(x, around, constant_values=ZERO)
    reach = [(n - 1) * d + 1 for n, d in zip(kernel, dilations, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=tuple(range(1, 1 + axes)))
    steps = [slice(None, None, step) for step in (*strides, *dilations)]
    return windows[(slice(None), *steps)]
