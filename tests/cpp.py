"""Building and running the C++ side in export/."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import onnxruntime
import pytest

ROOT = Path(__file__).parents[1]

Run = Callable[..., subprocess.CompletedProcess[str]]


def unavailable(reason: str) -> None:
    """Skip the test; in continuous integration, fail instead."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"C++ tests cannot run: {reason}")
    pytest.skip(f"C++ tests cannot run: {reason}")


def run(
    *command: str | Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in the root of the repository; `environment` is added to this process's variables."""
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
    )


def runtime_library() -> str:
    """The path of the ONNX Runtime library in the Python wheel."""
    libraries = sorted(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.*1*"))
    if not libraries:
        unavailable(f"onnxruntime {onnxruntime.__version__} has no shared library; install 1.23 or newer")
    return str(libraries[0])


def compiler(name: str) -> str:
    """Return the name of a program, or skip the test if it is not installed."""
    if shutil.which(name) is None:
        unavailable(f"{name} not found; install cmake, make, g++ and clang")
    return name


def headers() -> Path:
    """The folder with the headers of ONNX Runtime."""
    done = run("sh", ROOT / "scripts" / "onnxruntime-headers.sh")
    if done.returncode != 0:
        unavailable(done.stderr.strip())
    return ROOT / done.stdout.strip()


def build(
    folder: Path,
    *options: str,
    source: Path = ROOT / "export",
    cxx: str = "",
    flags: str = "",
    targets: tuple[str, ...] = (),
) -> Path:
    """Configure and compile a CMake project in `folder`, with warnings as errors. Returns `folder`."""
    for program in ("cmake", "make"):
        compiler(program)
    cxx = compiler(cxx or os.environ.get("CXX", "c++"))
    configured = run(
        *("cmake", "-S", source, "-B", folder, f"-DONNXRUNTIME_ROOT={headers()}"),
        *(f"-DCMAKE_CXX_COMPILER={cxx}", f"-DCMAKE_CXX_FLAGS=-Werror {flags}", *options),
    )
    assert configured.returncode == 0, configured.stdout + configured.stderr
    wanted = ("--target", *targets) if targets else ()
    compiled = run("cmake", "--build", folder, "--parallel", "2", *wanted)
    assert compiled.returncode == 0, compiled.stdout + compiled.stderr
    return folder
