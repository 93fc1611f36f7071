"""Compiled kernels for CPUs (folder ``cpp``): compiled on first use, and kept in the user's cache folder.

What they compute, torch computes too, in more and smaller steps: without a compiler, on a GPU, in double precision and
in exported graphs the callers go on with torch alone. Nothing of a compiler is needed to run an exported model.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hepgan.files import cache_folder
from hepgan.transforms.exporting import is_exporting

__all__ = ["addresses", "run", "usable"]

logger = logging.getLogger(__name__)

_SOURCES = Path(__file__).parent / "cpp"
_FLAGS = [
    *("-std=c++17", "-O3", "-march=native", "-fPIC", "-shared", "-w"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"),
]
_SWITCH = "HEPGAN_KERNELS"  # "off" leaves everything to torch
_SECONDS = 120  # after which a compiler is given up


def _compiler() -> str | None:
    """The C++ compiler: $CXX, or the first one of the usual names."""
    names = (os.environ.get("CXX", ""), "c++", "g++", "clang++")
    return next((path for name in names if name and (path := shutil.which(name))), None)


def _processor() -> str:
    """What ``-march=native`` depends on: machines of a cluster that share a home folder may differ in it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("flags", "model name", "Features"))}))


def _folder() -> Path:
    """Folder of the compiled library: the user's cache; if that cannot be written, a fresh temporary one."""
    cache = cache_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            return cache
    except OSError:
        return Path(tempfile.mkdtemp(prefix="hepgan-"))


def _compiled(compiler: str) -> Path:
    """Path of the library, compiled if it is not there yet.

    Raises:
        OSError: If the folder cannot be written.
        subprocess.SubprocessError: If the compiler fails.
    """
    version = subprocess.run(
        [compiler, "--version"], capture_output=True, timeout=_SECONDS, check=True
    ).stdout
    sources = sorted(_SOURCES.iterdir())
    content = (
        *(source.read_bytes() for source in sources),
        version,
        " ".join(_FLAGS).encode(),
        _processor().encode(),
    )
    key = hashlib.sha256(b"\0".join(content)).hexdigest()[:16]
    path = _folder() / f"kernels-{key}.so"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=path.parent) as name:
            made = Path(name) / path.name
            units = [str(source) for source in sources if source.suffix == ".cpp"]
            command = [compiler, *_FLAGS, *units, "-o", str(made)]
            subprocess.run(command, capture_output=True, timeout=_SECONDS, check=True)
            made.replace(path)
    return path


def _threads() -> Any:
    """The function of torch's OpenMP library that runs a task on its threads; None if it has another library."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
        paths = {line.split(maxsplit=5)[5] for line in lines if "libgomp" in line}
        inside = [path for path in paths if str(Path(torch.__file__).parent.parent) in path]
        return ctypes.CDLL((inside or list(paths))[0]).GOMP_parallel
    except (OSError, IndexError, AttributeError):
        return None


_ARGUMENTS = {
    "layer_output": "ppppfpp",
    "layer_input": "pppp",
    "layer_weight": "pppp",
    "layer_cotangent": "llppfpp",
    "network_output": "pllpp",
    "network_gradient": "pllpp",
    "network_weights": "pllpp",
    "interpolated": "llllfppppp",
    "sharp_quantiles": "llllffpppppp",
    "shower_energies": "ppppppp",
    "shower_energies_gradient": "pppppppp",
    "shower_features": "ppppp",
    "shower_features_gradient": "ppppppp",
}
"""Arguments of each function: pointers, long integers, floats. All end with the pool of threads and its size."""

_TYPES = {"p": ctypes.c_void_p, "l": ctypes.c_long, "f": ctypes.c_float}


class _Library:
    """The compiled functions by name, and the pool of threads that they share."""

    def __init__(self, path: Path) -> None:
        loaded = ctypes.CDLL(str(path))
        pool = _threads()
        self.pool = ctypes.cast(pool, ctypes.c_void_p).value if pool is not None else None
        self.functions: dict[str, Any] = {}
        for name, letters in _ARGUMENTS.items():
            function = getattr(loaded, name)
            function.argtypes = [*(_TYPES[letter] for letter in letters), ctypes.c_void_p, ctypes.c_int]
            function.restype = None
            self.functions[name] = function


@functools.cache
def library() -> _Library | None:
    """The compiled kernels; None if they are switched off, or there is no compiler, or it fails."""
    if os.environ.get(_SWITCH) == "off":
        return None
    compiler = _compiler()
    if compiler is None:
        logger.info(
            "no C++ compiler found: the training takes two to three times as long; install g++ to change that"
        )
        return None
    try:
        return _Library(_compiled(compiler))
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", b"") or str(error).encode()
        logger.warning(
            "kernels not compiled by %s (%s): the training takes two to three times as long; set %s=off to try no more",
            compiler,
            reason.decode(errors="replace").strip()[-300:],
            _SWITCH,
        )
        return None


def usable(*tensors: Tensor) -> bool:
    """Whether the kernels can compute with these tensors: single precision on a CPU, not in a graph to export."""
    return (
        all([x.dtype is torch.float32 and x.is_cpu for x in tensors])
        and library() is not None
        and not is_exporting()
    )


def run(name: str, *arguments: Any) -> None:
    """Call a kernel.

    Args:
        name: Its name in the sources.
        arguments: Contiguous tensors, of which the address is passed; None for the null pointer; numbers; arrays of C.

    Raises:
        RuntimeError: If there are no kernels.
    """
    kernels = library()
    if kernels is None:
        raise RuntimeError(f"kernel {name}: expected compiled kernels, got none; ask `usable` before")
    passed = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
    kernels.functions[name](*passed, kernels.pool, torch.get_num_threads())


def addresses(tensors: Sequence[Tensor | None]) -> Any:
    """Array of the addresses of tensors, the null pointer for None."""
    return (ctypes.c_void_p * len(tensors))(*[None if x is None else x.data_ptr() for x in tensors])
