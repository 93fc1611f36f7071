"""Formats of exported generators: one table from the name to the function that writes the file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from hepgan.exporting import lwtnn, onnx
from hepgan.exporting.cpp import header

__all__ = ["FORMATS", "Format"]

Format = Literal["onnx", "lwtnn", "cpp"]

FORMATS: dict[Format, Callable[..., object]] = {
    "onnx": onnx.write,
    "lwtnn": lwtnn.write,
    "cpp": header.write,
}
"""Each is called with the generator and the file, and ``data``, ``provenance`` and ``metrics``."""
