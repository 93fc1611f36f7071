"""Operators of exported files, and the operators that other programs for ONNX files support.

ROOT's SOFIE and onnx2c turn a file into C++ or C and know some of the operators; ONNX Runtime knows all of them.
Exported files use only `OPERATORS`, which all three know; `lint` lists what one of them would refuse in a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx

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


@dataclass(frozen=True)
class Target:
    """A program that reads ONNX files.

    Attributes:
        title: Its name.
        operators: Operators that it knows.
        one_row: Whether the graph must have a batch of one.
        source: Where the list of operators comes from.
    """

    title: str
    operators: frozenset[str]
    one_row: bool
    source: str


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
    ),
    "sofie": Target(
        "ROOT's TMVA SOFIE",
        frozenset(_SOFIE.split()),
        one_row=True,
        source="RModelParser_ONNX of tmva/sofie_parsers, 2026",
    ),
    "onnx2c": Target(
        "onnx2c",
        frozenset(_ONNX2C.split()),
        one_row=True,
        source="Graph::createNode of kraiskil/onnx2c, 2025",
    ),
}
"""Programs by their names on the command line.

The lists name operators only: a program may support some attributes and ranks of an operator and refuse others.
"""


def lint(model: Any, target: str) -> Sequence[str]:
    """List what a target would refuse in a model, one line each.

    Args:
        model: The ONNX model (`onnx.ModelProto`).
        target: A key of `TARGETS`.

    Raises:
        ValueError: If there is no such target.
    """
    if target not in TARGETS:
        raise ValueError(f"target: expected one of {list(TARGETS)}, got {target!r}; choose one of them")
    known, lines = TARGETS[target], []
    nodes: dict[str, list[str]] = {}
    for number, node in enumerate(model.graph.node):
        if node.domain not in ("", "ai.onnx") or node.op_type not in known.operators:
            nodes.setdefault(node.op_type, []).append(node.name or f"node {number}")
    for operator, names in sorted(nodes.items()):
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        lines.append(f"operator {operator} is not known to {known.title} ({names[0]}{more})")
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    if known.one_row and batch.dim_value != 1:
        got = batch.dim_value or "any"
        lines.append(
            f"batch: expected 1 for {known.title}, got {got}; export a variant: hepgan export RUN --batch 1"
        )
    return lines
