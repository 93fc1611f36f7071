"""Tell modules whether they are being exported, so that they use only operators of the ONNX contract."""

from __future__ import annotations

import torch

__all__ = ["exporting"]


def exporting() -> bool:
    """Whether a graph is being written, for which only the operators of the ONNX contract will do."""
    return torch.onnx.is_in_onnx_export() or torch.compiler.is_compiling()
