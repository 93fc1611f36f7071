"""A C++17 header without dependencies, and a file with its weights, for programs that may not link an ML library.

`write` compiles (`hepgan.exporting.cpp.compiler`) the graph that `hepgan.exporting.onnx` would write for one row to
calls and plain loops. The header holds the headers of the library that do not need ONNX Runtime (`_HEADERS`), and a
class ``Network`` with the compiled steps. ``hepgan::NAME::Generator``, NAME being the file's name, is used like
``hepgan::Generator``. Weights and metadata, with reference vectors, are in the file ``NAME.bin`` beside the header, in
the format that export/include/hepgan/compiled.hpp describes. A digest ties the header to its weights.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

import hepgan
from hepgan.config import DataConfig
from hepgan.errors import NotFoundError
from hepgan.exporting.cpp.compiler import compile_graph
from hepgan.exporting.cpp.program import Program, Step
from hepgan.exporting.onnx import build
from hepgan.files import check_target, write_bytes

__all__ = ["include_folder", "write"]

_HEADERS = (
    "errors",
    "finite",
    "json",
    "model",
    "noise",
    "hits",
    "basic_generator",
    "compiled",
)  # in this order
_MAGIC = b"hepganW1"
_LINE = 64  # bytes: weights begin at a multiple
_MOST_STEPS = 12  # of a function, so that it fits on a screen or two
_BATCH = 64  # rows of a call; the speed does not depend on it, and it limits the memory of the generator
_FNV = 0xCBF29CE484222325, 0x100000001B3  # first value and factor of FNV-1a in 64 bits
_KEYWORDS = (
    "alignas alignof and asm auto bitand bitor bool break case catch char class compl const constexpr "
    "continue decltype default delete do double else enum explicit export extern false float for friend "
    "goto if inline int long mutable namespace new noexcept not nullptr operator or private protected "
    "public register return short signed sizeof static struct switch template this throw true try typedef "
    "typeid typename union unsigned using virtual void volatile while xor"
)
_LIBRARY = (
    "clip compiled consecutive copy dense depths detail elu hepgan infinite_bits infinity is_engine json larger "
    "largest leaky_relu load local mev multiplied normal parse philox product relu schema short_number sigmoid "
    "smaller softmax softplus std store tile tolerance total"
)
_TAKEN = frozenset(f"{_KEYWORDS} {_LIBRARY}".split())  # keywords of C++ and names in the library


def include_folder() -> Path:
    """The folder of the C++ headers: inside the installed package, or beside it in a checkout.

    Raises:
        NotFoundError: If there is none.
    """
    package = Path(hepgan.__file__).parent
    for folder in (package / "include", package.parent / "export" / "include"):
        if (folder / "hepgan" / "compiled.hpp").is_file():
            return folder
    raise NotFoundError(
        f"C++ headers not found: expected {package / 'include'}; install hepgan from a wheel or a checkout"
    )


def _amalgamation() -> str:
    """The library's headers in one text, with their include guards: a program may include the library as well."""
    folder = include_folder() / "hepgan"
    texts = [(folder / f"{name}.hpp").read_text(encoding="utf-8") for name in _HEADERS]
    return "\n".join(re.sub(r'^#include "hepgan/.*\n', "", text, flags=re.MULTILINE) for text in texts)


def _checksum(content: bytes) -> int:
    """The 64-bit FNV-1a hash: h = (h ^ byte) * factor for each byte."""
    value, factor = _FNV
    for byte in content:
        value = (value ^ byte) * factor & 0xFFFFFFFFFFFFFFFF
    return value


def _blob(metadata: bytes, weights: NDArray[np.float32], digest: bytes) -> bytes:
    """The content of the file of weights, as compiled.hpp describes it."""
    head = _MAGIC + struct.pack("<QQ", len(metadata), len(weights)) + digest
    body = metadata + b"\0" * (-len(metadata) % _LINE) + weights.astype("<f4").tobytes()
    return head + struct.pack("<Q", _checksum(head + body)) + body


def _functions(program: Program) -> Iterator[tuple[str, list[Step]]]:
    """Yield the name of each function and its steps, which follow each other and belong to one module."""
    counts: Counter[str] = Counter()
    for module, steps in groupby(program.steps, lambda step: step.module):
        while part := list(islice(steps, _MOST_STEPS)):
            counts[module] += 1
            yield f"run_{module}" + (f"_{counts[module]}" if counts[module] > 1 else ""), part


def _declared(program: Program, steps: Sequence[Step]) -> tuple[list[str], list[str]]:
    """Arguments of a function of these steps, and lines that declare its buffers as pointers."""
    numbers = sorted(set().union(*(step.reads | step.writes for step in steps)))
    writes = set().union(*(step.writes for step in steps))
    arguments, lines = [], []
    for number in numbers:
        place = program.places[number]
        if place.base not in arguments:
            arguments.append(place.base)
        if place.base != place.name:
            const = "" if number in writes else "const "
            pointer = f"{const}float* const {place.name} = {place.base} + {place.offset};"
            lines.append(f"    {pointer}  // {place.shape}")
    return arguments, lines


def _function(program: Program, name: str, steps: Sequence[Step]) -> tuple[str, str]:
    """The call of a function, and the function."""
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
      throw ModelFileError("metadata: expected this header's sizes, got others; export both files again");
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
    """The text of the header."""
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


def _namespace(path: Path) -> str:
    """The C++ namespace of a header: its name without the suffix.

    Raises:
        ValueError: If that cannot be a namespace.
    """
    name = path.stem
    valid = re.fullmatch(r"[a-z][A-Za-z0-9_]*", name) and "__" not in name and name not in _TAKEN
    if path.suffix != ".hpp" or not valid:
        raise ValueError(
            f"{path}: expected NAME.hpp, where NAME can be a C++ namespace: a small letter, then letters, digits and "
            f"single underscores; got {path.name!r}; choose another name, such as showers.hpp"
        )
    return name


def write(
    generator: nn.Module,
    path: str | Path,
    *,
    data: DataConfig,
    provenance: Mapping[str, Any],
    metrics: Mapping[str, Sequence[float]],
) -> Path:
    """Export a generator as a C++ header, and its weights beside it.

    Args:
        generator: A generator that `hepgan.exporting.onnx.build` accepts.
        path: The header, ``NAME.hpp``; an existing one is replaced, and so is ``NAME.bin``.
        data: Data that the generator was trained on.
        provenance: Digests and step.
        metrics: Headline metrics: (value, uncertainty) by name.

    Returns:
        The file of weights.

    Raises:
        ConfigError: If an operator of the generator is not implemented.
        ValueError: If NAME cannot be a C++ namespace, or `hepgan.exporting.onnx.build` refuses the generator.
        OSError: If a file cannot be written; nothing is left behind.
    """
    path = Path(path)
    name = _namespace(path)
    blob = path.with_suffix(".bin")
    for target in (path, blob):
        check_target(target)
    model = build(generator, data=data, provenance=provenance, metrics=metrics, batch=1)
    (description,) = (entry.value for entry in model.metadata_props)
    program = compile_graph(model)
    digest = hashlib.sha256(model.SerializeToString(deterministic=True))
    text = _header(program, json.loads(description), name=name, weights=blob.name, digest=digest.hexdigest())
    write_bytes(blob, _blob(description.encode(), program.weights, digest.digest()), content="the model")
    write_bytes(path, text.encode(), content="the model")
    return blob
