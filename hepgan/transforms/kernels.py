"""Compiled kernels for CPUs (folder ``cpp``): compiled on first use, and kept in the user's cache folder.

What they compute, torch computes too, in more and smaller steps: without a compiler, on a GPU, in double precision and
in exported graphs the callers go on with torch alone. Nothing of a compiler is needed to run an exported model.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hepgan.files import compiled
from hepgan.transforms.exporting import is_exporting

__all__ = ["addresses", "run", "usable"]

_SOURCES = Path(__file__).parent / "cpp"


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
    "network_has_half": "p",
    "network_words": "lpplpplpplp",
    "network_filled": "lplppp",
    "network_pass": "lpp",
    "network_weights": "lplpllppppppppplf",
    "standardised": "lllpppppp",
    "tents": "lllppp",
    "sparse_sums": "lllppp",
    "residual_outputs": "pppppp",
    "residual_gradient": "ppppppppp",
    "whitened": "llfpppp",
    "whitened_gradient": "llfppppp",
    "energy_score": "llfppppppp",
    "sharp_quantiles": "llllfffffpppppp",
    "frame_quantiles": "lllllfffffppppppppp",
    "nth_largest": "llpppp",
    "neighbours": "lllllpppp",
    "shower_energies": "ppppppp",
    "shower_energies_gradient": "pppppppp",
    "shower_features": "ppppp",
    "shower_features_gradient": "ppppppp",
}
"""Arguments of each function: pointers, long integers, floats. All end with the pool of threads and its size."""


class _Library:
    """The compiled functions by name, and the pool of threads that they share."""

    def __init__(self, functions: Mapping[str, Callable[..., None]]) -> None:
        pool = _threads()
        self.pool = ctypes.cast(pool, ctypes.c_void_p).value if pool is not None else None
        self.functions = functions


@functools.cache
def library() -> _Library | None:
    """The compiled kernels; None if they are switched off, or there is no compiler, or it fails."""
    arguments = {name: f"{letters}pi" for name, letters in _ARGUMENTS.items()}
    functions = compiled(_SOURCES, arguments, loss="the training takes two to three times as long")
    return None if functions is None else _Library(functions)


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
        RuntimeError: If there are no kernels, or a tensor is not contiguous.
    """
    kernels = library()
    if kernels is None:
        raise RuntimeError(f"kernel {name}: expected compiled kernels, got none; ask `usable` before")
    for k, tensor in enumerate(arguments):
        if isinstance(tensor, Tensor) and not tensor.is_contiguous():
            raise RuntimeError(
                f"kernel {name}: expected contiguous tensors, got the strides {tensor.stride()} of argument {k}; make "
                "it contiguous"
            )
    passed = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
    kernels.functions[name](*passed, kernels.pool, torch.get_num_threads())


def addresses(tensors: Sequence[Tensor | None]) -> Any:
    """Array of the addresses of tensors, the null pointer for None."""
    return (ctypes.c_void_p * len(tensors))(*[None if x is None else x.data_ptr() for x in tensors])
