"""Numbers, names and index sums as C++ text."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

__all__ = ["identifier", "index_sum", "literal", "module_of", "row_loop", "shape_text"]


def literal(value: float) -> str:
    """The shortest C++ literal that gives the same float32."""
    if math.isinf(value):
        return "-infinity" if value < 0 else "infinity"
    text = str(np.float32(value))
    return f"{text}F" if "." in text or "e" in text else f"{text}.0F"


def identifier(name: str) -> str:
    """Turn a node's name into a C++ identifier, without the outermost module and without double underscores."""
    name = re.sub(r"^/(generator/)?", "", name)
    return re.sub(r"_+", "_", re.sub(r"\W", "_", name.removesuffix("_output_0"))).strip("_")


def module_of(name: str) -> str:
    """The outermost module of a node inside the generator, from the node's name; ``generator`` if there is none."""
    modules = re.sub(r"^/(generator/)?", "", name).split("/")[:-1]
    return identifier("/".join(modules[:1])) or "generator"


def index_sum(offset: int, terms: Sequence[tuple[int, str]]) -> str:
    """The sum of an offset and of the terms (step, index), each being step * index."""
    parts = [str(offset)] if offset or not any(step for step, _ in terms) else []
    parts += [index if step == 1 else f"{step} * {index}" for step, index in terms if step]
    return " + ".join(parts)


def shape_text(shape: Sequence[int]) -> str:
    """A shape for comments, without axes of length one such as the batch."""
    return "(" + ", ".join(str(n) for n in shape if n != 1) + ")"


def row_loop(rows: int, line: str) -> list[str]:
    """A loop of the index r over `rows` rows; of one row, the line alone."""
    return [line] if rows == 1 else [f"for (std::size_t r = 0; r < {rows}; ++r)", f"  {line}"]
