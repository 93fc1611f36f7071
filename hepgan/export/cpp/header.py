"""A C++17 header that needs no runtime, and a file with its weights: for places where no ML library may be linked.

`write` takes the same graph as `hepgan.export.onnx` writes, for one row, and compiles it
(`hepgan.export.cpp.compiler`) to calls and plain loops. The header holds the library's headers that do not need ONNX
Runtime (`_HEADERS`), and a class ``Network`` with the steps; ``hepgan::NAME::Generator``, NAME being the file's name,
is then used like ``hepgan::Generator``. Weights and metadata, with reference vectors, are in the file beside it, as
export/include/hepgan/compiled.hpp describes; a digest ties the header to its weights.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

import hepgan
from hepgan.config import DataConfig
from hepgan.export.cpp.compiler import Program, Step, compile_graph
from hepgan.export.onnx import build, put
from hepgan.files import check_target

__all__ = ["include_folder", "write"]

_HEADERS = ("errors", "json", "model", "noise", "hits", "basic_generator", "compiled")  # in this order
_MAGIC = b"hepganW1"
_LINE = 64  # bytes: weights begin at a multiple
_STEPS = 12  # of a function, at most: so that it fits on a screen or two
_BATCH = 64  # rows at once: all the same to the network, and bounds what the generator keeps
_FNV = 0xCBF29CE484222325, 0x100000001B3  # first value and factor of FNV-1a in 64 bits
_KEYWORDS = (
    "alignas alignof and asm auto bitand bitor bool break case catch char class compl const constexpr "
    "continue decltype default delete do double else enum explicit export extern false float for friend "
    "goto if inline int long mutable namespace new noexcept not nullptr operator or private protected "
    "public register return short signed sizeof static struct switch template this throw true try typedef "
    "typeid typename union unsigned using virtual void volatile while xor"
)
_LIBRARY = (
    "clip compiled copy dense depths detail elu hepgan infinity is_engine json larger largest leaky_relu load local "
    "mev multiplied normal parse philox product relu schema short_number sigmoid smaller softmax softplus std "
    "store tile tolerance total"
)
_TAKEN = frozenset(f"{_KEYWORDS} {_LIBRARY}".split())  # words of C++, and what the library calls so


def include_folder() -> Path:
    """The folder of the C++ headers: inside the installed package, or beside it in a checkout.

    Raises:
        FileNotFoundError: If there is none.
    """
    package = Path(hepgan.__file__).parent
    for folder in (package / "include", package.parent / "export" / "include"):
        if (folder / "hepgan" / "compiled.hpp").is_file():
            return folder
    raise FileNotFoundError(
        f"C++ headers not found: expected {package / 'include'}; install hepgan from a wheel or a checkout"
    )


def _amalgamation() -> str:
    """The library's headers in one text. Their include guards stay, so that the library itself may be included too."""
    folder = include_folder() / "hepgan"
    texts = [(folder / f"{name}.hpp").read_text(encoding="utf-8") for name in _HEADERS]
    return "\n".join(re.sub(r'^#include "hepgan/.*\n', "", text, flags=re.MULTILINE) for text in texts)


def _checksum(content: bytes) -> int:
    """FNV-1a in 64 bits: h = (h ^ byte) * factor for each byte."""
    value, factor = _FNV
    for byte in content:
        value = (value ^ byte) * factor & 0xFFFFFFFFFFFFFFFF
    return value


def _blob(metadata: bytes, weights: NDArray[np.float32], digest: bytes) -> bytes:
    """The file of weights, see compiled.hpp."""
    head = _MAGIC + struct.pack("<QQ", len(metadata), len(weights)) + digest
    body = metadata + b"\0" * (-len(metadata) % _LINE) + weights.astype("<f4").tobytes()
    return head + struct.pack("<Q", _checksum(head + body)) + body


def _functions(program: Program) -> Iterator[tuple[str, list[Step]]]:
    """Steps that follow each other in a module, by the name of their function."""
    names: dict[str, int] = {}
    for scope, steps in groupby(program.steps, lambda step: step.scope):
        while part := list(islice(steps, _STEPS)):
            names[scope] = names.get(scope, 0) + 1
            yield (f"run_{scope}" + (f"_{names[scope]}" if names[scope] > 1 else "")), part


def _declared(program: Program, steps: Sequence[Step]) -> tuple[list[str], list[str]]:
    """Arguments of a function, and its buffers as pointers."""
    numbers = sorted(set().union(*(step.reads | step.writes for step in steps)))
    writes = set().union(*(step.writes for step in steps))
    arguments, lines = [], []
    for number in numbers:
        name, base, offset, shape = program.places[number]
        if base == name:
            arguments.append(name)
            continue
        if base not in arguments:
            arguments.append(base)
        const = "" if number in writes else "const "
        lines.append(f"    {const}float* const {name} = {base} + {offset};  // {shape}")
    return arguments, lines


def _function(program: Program, name: str, steps: Sequence[Step]) -> tuple[str, str]:
    """A call and the function."""
    arguments, lines = _declared(program, steps)
    types = {base: "float*" if base in ("memory", "out") else "const float*" for base in arguments}
    signature = ", ".join(f"{types[base]} __restrict {base}" for base in arguments)
    for step in steps:
        lines += [f"    // {step.comment}", *("    " + line for line in step.lines)]
    text = "\n".join([f"  static void {name}({signature}) {{", *lines, "  }"])
    return f"{name}({', '.join(arguments)});", text


_TEXT = """\
// {title}: a generator that hepgan {version} wrote for C++17. It needs no library, but the weights in {weights}.
//
//   hepgan::{name}::Generator generator("{weights}");  // then as hepgan::Generator: export/README.md of hepgan
//
// Matrix products are vectors with any options, the rest with -O3.
#ifndef {guard}
#define {guard}

{library}
namespace hepgan::{name} {{

using namespace hepgan::compiled;

/// The network. Its numbers lie in `weights` and in working memory of each thread; a comment says their shape.
class Network {{
 public:
  explicit Network(const std::string& path, const Options& = {{}}) : weights_(path, "{digest}", {count}) {{}}

  json::Value describe() const {{ return json::parse(weights_.metadata()); }}
  std::string runtime() const {{ return "compiled"; }}
  std::size_t batch() const {{ return {batch}; }}

  void prepare(const Model& model) const {{
    if (model.conditions.size() != conditions || model.latent != latents || model.width != width)
      throw std::runtime_error("metadata: expected this header's sizes, got others; export both files again");
  }}

  /// Compute events one after the other; from any thread, without allocation.
  void run(const float* condition, const float* latent, std::size_t rows, float* out) const {{
    alignas({line}) static thread_local float memory[{memory}];
    const float* const weights = weights_.data();
    for (; rows > 0; --rows, condition += conditions, latent += latents, out += width) {{
{calls}
    }}
  }}

 private:
  static constexpr std::size_t conditions = {n_conditions}, latents = {n_latent}, width = {width};

{functions}

  Weights weights_;
}};

using Generator = BasicGenerator<Network>;

}}  // namespace hepgan::{name}

#endif  // {guard}
"""


def _header(program: Program, metadata: Mapping[str, Any], *, name: str, weights: str, digest: str) -> str:
    """The header's text."""
    functions = [_function(program, *function) for function in _functions(program)]
    return _TEXT.format(
        title=f"{name}.hpp",
        version=hepgan.__version__,
        weights=weights,
        name=name,
        guard=f"HEPGAN_GENERATED_{name.upper()}_HPP",
        library=_amalgamation(),
        digest=digest,
        count=len(program.weights),
        batch=_BATCH,
        line=_LINE,
        memory=max(program.memory, 1),
        calls="\n".join(f"      {call}" for call, _ in functions),
        n_conditions=len(metadata["conditions"]),
        n_latent=metadata["latent"]["size"],
        width=program.width,
        functions="\n\n".join(text for _, text in functions),
    )


def write(
    generator: nn.Module,
    path: str | Path,
    *,
    data: DataConfig,
    provenance: Mapping[str, Any],
    metrics: Mapping[str, Sequence[float]],
) -> Path:
    """Export a generator as a header, and its weights beside it.

    Args:
        generator: See `hepgan.export.onnx.build`, as the others.
        path: The header, ``NAME.hpp``; an existing one is replaced, and so is ``NAME.bin``.
        data: What it was trained on.
        provenance: Digests and step.
        metrics: Headline metrics.

    Returns:
        The file of weights.

    Raises:
        ValueError: If the name is none in C++, an operator is not implemented, or see `build`.
        OSError: If a file cannot be written; nothing is left behind.
    """
    path = Path(path)
    name = path.stem
    if (
        path.suffix != ".hpp"
        or not re.fullmatch(r"[a-z][A-Za-z0-9_]*", name)
        or "__" in name
        or name in _TAKEN
    ):
        raise ValueError(
            f"{path}: expected NAME.hpp, where NAME can be a C++ namespace: a small letter, then letters, digits and "
            f"single underscores; got {path.name!r}; choose another name, such as showers.hpp"
        )
    blob = path.with_suffix(".bin")
    for target in (path, blob):
        check_target(target)
    model = build(generator, data=data, provenance=provenance, metrics=metrics, batch=1)
    (description,) = (entry.value for entry in model.metadata_props)
    program = compile_graph(model)
    digest = hashlib.sha256(model.SerializeToString(deterministic=True))
    text = _header(program, json.loads(description), name=name, weights=blob.name, digest=digest.hexdigest())
    put(blob, _blob(description.encode(), program.weights, digest.digest()))
    put(path, text.encode())
    return blob
