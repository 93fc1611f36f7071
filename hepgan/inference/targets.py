"""Operators of exported files, and the operators that other programs for ONNX files support.

ROOT's SOFIE and onnx2c turn a file into C++ or C and know some of the operators; ONNX Runtime knows all of them.
Exported files use only `OPERATORS`, which all three know; `lint` lists what one of them would refuse in a file. It does
not run the other program. `Target.looked_at` says how far it looks: a program may know an operator and refuse some
attributes, ranks or sizes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import onnx

from hepgan.inference.shapes import Shape, attribute, tensor_shapes

__all__ = ["IR_VERSION", "OPERATORS", "OPSET", "TARGETS", "Target", "lint"]

OPSET = 17
IR_VERSION = 8
"""With opset 17, versions that every ONNX Runtime since 1.15 loads."""

_COMMON = (
    "Abs Add Atan Cast Clip Concat Constant ConstantOfShape Conv Cos Div Elu Equal Erf Exp Expand Flatten "
    "Floor Gather Gemm Greater GreaterOrEqual Identity LeakyRelu Less LessOrEqual Log MatMul Max Mean Min "
    "Mul Neg Not Pad Pow Range Reciprocal ReduceL2 ReduceMax ReduceMean ReduceProd ReduceSum "
    "ReduceSumSquare Relu Reshape Selu Shape Sigmoid Sin Slice Softmax Softplus Split Sqrt Squeeze Sub "
    "Sum Tanh Transpose Unsqueeze Where"
)
OPERATORS = frozenset(_COMMON.split())
"""Operators that ONNX Runtime, ROOT's TMVA SOFIE, onnx2c (see `TARGETS`) and onnx-mlir all implement.

For onnx-mlir see its page SupportedONNXOps-cpu.
"""

_SOFIE = (
    "Abs Add And Atan AveragePool BatchNormalization BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast Clip Concat "
    "Constant ConstantOfShape Conv ConvTranspose Cos Div Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU "
    "Gather GatherND Gemm GlobalAveragePool Greater GreaterOrEqual Identity If IsInf IsNaN LSTM LayerNormalization "
    "LeakyRelu Less LessOrEqual Log MatMul Max MaxPool Mean Min Mul Neg Not Or Pad Pow RNN RandomNormal "
    "RandomNormalLike RandomUniform RandomUniformLike Range Reciprocal ReduceL2 ReduceMax ReduceMean ReduceProd "
    "ReduceSum ReduceSumSquare Relu Reshape ScatterElements Selu Shape Sigmoid Sin Slice Softmax Softplus Split Sqrt "
    "Squeeze Sub Sum Tanh Tile TopK Transpose Trilu Unsqueeze Where Xor"
)
_ONNX2C = (
    "Abs Acos Acosh Add And Asin Asinh Atan Atanh AveragePool BatchNormalization BitShift Cast Ceil Celu Clip Concat "
    "Constant ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh DequantizeLinear Div Dropout "
    "DynamicQuantizeLinear Elu Equal Erf Exp Expand Flatten Floor Gather Gemm GlobalAveragePool GlobalMaxPool Greater "
    "GreaterOrEqual HardSigmoid HardSwish Identity InstanceNormalization LRN LSTM LayerNormalization LeakyRelu Less "
    "LessOrEqual Log LogSoftmax MatMul MatMulInteger Max MaxPool Mean Min Mod Mul Neg Not Or PRelu Pad Pow "
    "QLinearConv QLinearMatMul QuantizeLinear RandomUniform Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum "
    "ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize Round "
    "ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Slice Softmax Softplus Softsign Split Sqrt Squeeze Sub Sum Tan "
    "Tanh ThresholdedRelu Transpose Unsqueeze Upsample Where Xor"
)


class Graph:
    """What limits of a target ask about a model.

    Args:
        model: The ONNX model (`onnx.ModelProto`).
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Shapes of all tensors of known rank."""
        return tensor_shapes(self._model)

    @cached_property
    def constants(self) -> set[str]:
        """Names of the tensors that do not depend on the inputs."""
        nodes = (node for node in self._model.graph.node if node.op_type == "Constant")
        return {t.name for t in self._model.graph.initializer} | {name for n in nodes for name in n.output}

    @cached_property
    def readers(self) -> Mapping[str, int]:
        """Number of inputs of nodes that read a tensor."""
        return Counter(name for node in self._model.graph.node for name in node.input)


Limit = Callable[[Any, Graph], str]
"""What a target does not accept in a node (`onnx.NodeProto`); empty if it accepts the node."""


def _open_shapes(node: Any, graph: Graph) -> str:
    unknown = any(None in graph.shapes.get(name, [None]) for name in node.output)
    return "a shape that is computed when it runs" if unknown else ""


def _no_numbers(node: Any, graph: Graph) -> str:
    empty = any(0 in graph.shapes.get(name, []) for name in node.output)
    return "a tensor without numbers" if empty else ""


_SETTINGS: dict[str, tuple[int, ...]] = {
    "Expand": (1,),
    "Pad": (1, 2),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
}
"""Inputs that have to be constants, by operator; of every Reduce the second one."""


def _computed_settings(node: Any, graph: Graph) -> str:
    reduces = node.op_type.startswith("Reduce")
    places = _SETTINGS.get(node.op_type, (1,) if reduces else ())
    given = [node.input[k] for k in places if k < len(node.input) and node.input[k]]
    return "a setting that is computed when it runs" if {*given} - graph.constants else ""


def _single_relu(node: Any, graph: Graph) -> str:
    shape = graph.shapes.get(node.input[0], []) if node.op_type == "Relu" else []
    return f"shape {shape}: two first lengths of 1 are not implemented" if shape[:2] == [1, 1] else ""


def _dropped_axes(node: Any, graph: Graph) -> str:
    drops = node.op_type.startswith("Reduce") and not attribute(node, "keepdims", 1)
    matrix = len(graph.shapes.get(node.output[0], [])) > 1
    return "keepdims = 0: the C code does not compile" if drops and matrix else ""


def _shared_cast(node: Any, graph: Graph) -> str:
    shared = node.op_type == "Cast" and graph.readers[node.output[0]] > 1
    return "a result that several nodes read: it crashes" if shared else ""


def _unsized_split(node: Any, graph: Graph) -> str:
    return "sizes are not given" if node.op_type == "Split" and len(node.input) < 2 else ""


@dataclass(frozen=True)
class Target:
    """A program that reads ONNX files.

    Attributes:
        title: Its name.
        operators: Operators that it knows.
        one_row: Whether the graph must have a batch of one.
        source: Where the list of operators and the limits come from.
        looked_at: What `lint` looks at, and whether files were run.
        limits: What it does not accept in a node of a known operator.
    """

    title: str
    operators: frozenset[str]
    one_row: bool
    source: str
    looked_at: str
    limits: tuple[Limit, ...] = ()


TARGETS = {
    "onnxruntime": Target(
        "ONNX Runtime",
        frozenset(
            s.name
            for s in onnx.defs.get_all_schemas_with_history()
            if s.domain == "" and s.since_version <= OPSET
        ),
        one_row=False,
        source=f"every operator of opset {OPSET}",
        looked_at="operators known; this check ran the file with it",
    ),
    "sofie": Target(
        "ROOT's TMVA SOFIE",
        frozenset(_SOFIE.split()),
        one_row=True,
        source="RModelParser_ONNX of tmva/sofie_parsers, 2026",
        looked_at="operators known, not run; attributes, ranks and sizes not looked at",
    ),
    "onnx2c": Target(
        "onnx2c",
        frozenset(_ONNX2C.split()),
        one_row=True,
        source="Graph::createNode and the nodes of kraiskil/onnx2c, April 2026",
        looked_at="operators, ranks and sizes known, not run",
        limits=(
            _open_shapes,
            _no_numbers,
            _computed_settings,
            _single_relu,
            _dropped_axes,
            _shared_cast,
            _unsized_split,
        ),
    ),
}
"""Programs by their names on the command line.

Batch-1 files of all models of hepgan went through the onnx2c of April 2026, and its C code gave ONNX Runtime's numbers
within 6e-6. `hepgan.exporting.spelling` has what was changed for it. Files were never run with SOFIE.
"""


def _grouped(found: Mapping[str, Sequence[str]]) -> list[str]:
    """One line for each problem, with the first node that has it."""
    return [
        f"{problem} ({names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''})"
        for problem, names in sorted(found.items())
    ]


def lint(model: Any, target: str) -> Sequence[str]:
    """List what a target would refuse in a model, one line each, as far as `Target.looked_at` goes.

    Args:
        model: The ONNX model (`onnx.ModelProto`).
        target: A key of `TARGETS`.

    Raises:
        ValueError: If there is no such target.
    """
    if target not in TARGETS:
        raise ValueError(f"target: expected one of {list(TARGETS)}, got {target!r}; choose one of them")
    known, graph = TARGETS[target], Graph(model)
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    wrong_batch = known.one_row and batch.dim_value != 1
    found: dict[str, list[str]] = {}
    for number, node in enumerate(model.graph.node):
        if node.domain not in ("", "ai.onnx") or node.op_type not in known.operators:
            problems = [f"operator {node.op_type} is not known to {known.title}"]
        else:  # with any number of rows no shape is fixed
            reasons = [] if wrong_batch else [limit(node, graph) for limit in known.limits]
            problems = [f"{node.op_type} in {known.title}: {reason}" for reason in reasons if reason]
        for problem in problems:
            found.setdefault(problem, []).append(node.name or f"node {number}")
    lines = _grouped(found)
    if wrong_batch:
        got = batch.dim_value or "any"
        lines.append(
            f"batch: expected 1 for {known.title}, got {got}; export a variant: hepgan export RUN --batch 1"
        )
    return lines
