"""Tell modules whether they are being exported, so that they use only operators of the ONNX contract."""

from __future__ import annotations

import torch

__all__ = ["is_exporting"]


def is_exporting() -> bool:
    """Whether torch is tracing or compiling a graph, in which only operators of the ONNX contract are allowed."""
    return torch.onnx.is_in_onnx_export() or torch.compiler.is_compiling()
