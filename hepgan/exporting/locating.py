"""Find the node of an exported graph that departs from torch, for the message about a wrong export.

The graph and the module run in double precision, where both agree to many digits as long as the translation is right.
Values are matched by their sorted numbers, because a graph has other names and shapes than torch. The first node
without a match, none of whose results leads to a match again, is where they part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hepgan.exporting.parity import double_precision
from hepgan.inference.session import Session

__all__ = ["departing_node"]

_SAME = 1e-6  # relative difference of equal numbers: a graph has the constants of torch in single precision
_WRONG = 1e-3  # relative error of a node in single precision that is no rounding

Array = NDArray[Any]


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the sorted numbers of all that torch computes, by how many there are."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.values: dict[int, list[Array]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor) and value.is_floating_point():
                numbers = np.sort(value.detach().cpu().double().numpy(), axis=None)
                self.values.setdefault(len(numbers), []).append(numbers)
        return result

    def has(self, value: Array) -> bool:
        """Whether torch has computed these numbers, in any order."""
        numbers = np.sort(value, axis=None)
        if not len(numbers):
            return True
        least = _SAME * np.abs(numbers).max(initial=np.finfo(np.float32).tiny)
        return bool(np.isfinite(least)) and any(
            abs(numbers[-1] - other[-1]) <= 2 * least and np.allclose(numbers, other, rtol=_SAME, atol=least)
            for other in self.values.get(len(numbers), [])
        )


def _doubled(node: Any) -> Any:
    """A copy of a node whose results are in double precision."""
    copy = type(node)()
    copy.CopyFrom(node)
    for attribute in copy.attribute:
        if attribute.name == "to" and attribute.i == onnx.TensorProto.FLOAT:
            attribute.i = onnx.TensorProto.DOUBLE
    return copy


def _values(model: Any, inputs: dict[str, Array]) -> dict[str, Array]:
    """All values of a graph in double precision, by name, in the order of the nodes."""

    def double(value: Any) -> Array:
        array = np.asarray(value)
        return array.astype(np.float64) if array.dtype == np.float32 else array

    known = {t.name: double(onnx.numpy_helper.to_array(t)) for t in model.graph.initializer} | inputs
    for node in model.graph.node:
        given = {name: known[name] for name in node.input if name}
        results = ReferenceEvaluator(_doubled(node)).run(None, given)
        known |= zip(node.output, map(double, results), strict=True)
    return known


def departing_node(model: Any, module: nn.Module, condition: Array, latent: Array) -> str:
    """Name the first node of a graph whose numbers are not those of the module it was translated from.

    Args:
        model: The ONNX model.
        module: The module; it may be in single precision.
        condition: (B, n_conditions) rows where they differ; one is enough.
        latent: (B, n_latent).

    Returns:
        A clause for a message.
    """
    recorder = _Recorder()
    with torch.no_grad(), recorder:
        double_precision(module)(condition, latent)
    inputs = {"condition": condition.astype(np.float64), "latent": latent.astype(np.float64)}
    values = _values(model, inputs)
    nodes = list(model.graph.node)
    matched = {
        name
        for node in nodes
        for name in node.output
        if values[name].dtype != np.float64 or recorder.has(values[name])
    }
    if all(output.name in matched for output in model.graph.output):
        return _inaccurate(model, nodes, values, condition, latent)
    sound = set(matched)  # values that lead to a match
    for node in reversed(nodes):
        if sound & {*node.output}:
            sound |= {*node.input}
    for node in nodes:
        if not sound & {*node.output}:
            return f"node {node.name!r} ({node.op_type}) is the first that departs from torch in double precision"
    return "no single node departs from torch"


def _inaccurate(
    model: Any, nodes: Sequence[Any], values: dict[str, Array], condition: Array, latent: Array
) -> str:
    """The first node that ONNX Runtime computes otherwise than the graph says."""
    names = [n for node in nodes for n in node.output if values[n].dtype == np.float64]
    open_graph = type(model)()
    open_graph.CopyFrom(model)
    outputs = {output.name for output in model.graph.output}
    open_graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in outputs)
    got = Session(open_graph.SerializeToString(), names, batch=None)._run(condition, latent)
    for name, value in zip(names, got, strict=True):
        error = np.abs(value - values[name]).max(initial=0)
        if not error <= _WRONG * np.abs(values[name]).max(initial=0):
            node = next(node for node in nodes if name in node.output)
            return (
                f"the graph is right in double precision; node {node.name!r} ({node.op_type}) is the first that ONNX "
                "Runtime computes otherwise"
            )
    return "the graph is right in double precision, and no node of it is inaccurate alone"
