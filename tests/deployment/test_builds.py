"""Builds of the C++ side: with another compiler, with sanitizers, fuzzed, and inside the build of a framework."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
from cpp import ROOT, Run, build, compiler, headers, run, runtime_library
from tiny_generator import TinyGenerator, tiny_data

from hepgan.exporting.cpp import header
from hepgan.exporting.onnx import write
from hepgan.inference.generator import Generator

pytestmark = pytest.mark.slow

# ONNX Runtime itself is not instrumented: reports from inside it are suppressed.
SUPPRESSIONS = "called_from_lib:libonnxruntime\n"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of a model file of 8 kB."""
    data, path = tiny_data(), tmp_path_factory.mktemp("tiny") / "model.onnx"
    write(TinyGenerator(data), path, data=data, provenance={}, metrics={})
    return path


def models(calo: Generator, rich: Generator) -> Sequence[str]:
    return f"-DHEPGAN_TEST_MODEL={calo.path}", f"-DHEPGAN_TEST_TRACKS={rich.path}"


def test_clang_compiles_without_a_warning_also_with_fast_math(calo: Generator, rich: Generator) -> None:
    folder = build(
        ROOT / "build" / "cpp-clang",
        *models(calo, rich),
        "-DCMAKE_BUILD_TYPE=None",  # empty would mean Release, whose -O3 follows the flags
        "-DHEPGAN_BUILD_TOOLS=OFF",
        "-DHEPGAN_TESTS_TOGETHER=ON",
        cxx="clang++",
        flags="-O2 -ffast-math",  # no guard may rely on the arithmetic of NaN
    )
    environment = {"HEPGAN_ONNXRUNTIME": runtime_library()}
    done = run("ctest", "--test-dir", folder, "--output-on-failure", environment=environment)
    assert done.returncode == 0, done.stdout
    assert "100% tests passed" in done.stdout


def test_clang_finds_nothing_in_tools_and_examples() -> None:
    """Its warnings come before the code is generated, which takes most of the time."""
    export = ROOT / "export"
    done = run(
        *(compiler("clang++"), "-std=c++17", "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Werror"),
        *("-I", export / "include", "-isystem", headers()),
        *(*export.glob("tools/*.cpp"), *export.glob("examples/*.cpp")),
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("cxx", ["g++", "clang++"])
def test_errors_of_a_compiled_header_with_fast_math(cxx: str, tmp_path: Path) -> None:
    data = tiny_data()
    weights = header.write(TinyGenerator(data), tmp_path / "tiny.hpp", data=data, provenance={}, metrics={})
    done = run(
        *(compiler(cxx), "-std=c++17", "-O2", "-ffast-math", "-Wall", "-Wextra", "-Wpedantic", "-Werror"),
        *('-DHEPGAN_HEADER="tiny.hpp"', "-DHEPGAN_GENERATOR=hepgan::tiny::Generator"),
        *("-I", tmp_path, "-I", ROOT / "export" / "include"),
        *(ROOT / "export" / "tests" / "test_errors.cpp", "-o", tmp_path / "test_errors"),
    )
    assert done.returncode == 0, done.stderr
    tests = [
        "missing_file",
        "bad_file",
        "metadata",
        "conditions",
        "input",
        "empty",
        "not_finite",
        "lookup",
        "hits",
    ]
    done = run(tmp_path / "test_errors", weights, *tests)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("passed") == len(tests)


@pytest.fixture
def sanitized(rich: Generator, tiny: Path, tmp_path: Path) -> Callable[..., tuple[Path, Run]]:
    """Build with a sanitizer and run the tests, on small models: reading a file takes 50 times as long as usual."""

    def build_and_test(
        name: str, flags: str, *, targets: tuple[str, ...], together: bool, exclude: str = "^$"
    ) -> tuple[Path, Run]:
        (tmp_path / "suppressions").write_text(SUPPRESSIONS)
        environment = {
            "HEPGAN_ONNXRUNTIME": runtime_library(),
            "TSAN_OPTIONS": f"suppressions={tmp_path}/suppressions report_mutex_bugs=0 halt_on_error=1",
        }
        folder = build(
            ROOT / "build" / f"cpp-{name}",
            *(f"-DHEPGAN_TEST_MODEL={tiny}", f"-DHEPGAN_TEST_TRACKS={rich.path}"),
            "-DCMAKE_BUILD_TYPE=None",  # empty would mean Release, whose -O3 follows the flags
            "-DHEPGAN_BUILD_TOOLS=OFF",
            f"-DHEPGAN_TESTS_TOGETHER={together}",
            flags=flags,
            targets=targets,
        )
        words = ("ctest", "--test-dir", folder, "--output-on-failure", "--exclude-regex", exclude)
        done = run(*words, environment=environment)
        assert done.returncode == 0, done.stdout
        assert int(re.search(r"out of (\d+)", done.stdout)[1]) > 20
        return folder / "tests", partial(run, environment=environment)

    return build_and_test


def test_no_thread_races_with_another(calo: Generator, sanitized: Callable[..., tuple[Path, Run]]) -> None:
    """Of the programs that start threads; the others have nothing to race with."""
    programs, execute = sanitized(
        *("thread", "-O1 -fsanitize=thread"),
        targets=("test_generator", "test_geant4"),
        together=False,
        exclude="^(errors_|tracks_errors|hits_)",
    )
    done = execute(programs / "test_generator", calo.path, "reference", "batches", "threads")
    assert done.returncode == 0, done.stdout + done.stderr
    control = execute(programs / "test_generator", calo.path, "control")
    assert "ThreadSanitizer: data race" in control.stderr, "the sanitizer must find the bug on purpose"


def test_memory_is_used_as_the_language_allows(
    calo: Generator, tiny: Path, sanitized: Callable[..., tuple[Path, Run]], tmp_path: Path
) -> None:
    programs, execute = sanitized(
        *(
            "address",
            "-O0 -fsanitize=address,undefined -fno-sanitize-recover=all",
        ),  # -O1 compiles 2.5 times as long
        targets=("test_all", "fuzz"),
        together=True,
    )
    done = execute(programs / "test_all", "generator", calo.path, "reference", "batches", "physics")
    assert done.returncode == 0, done.stdout + done.stderr
    control = execute(programs / "test_all", "generator", calo.path, "control")
    assert "AddressSanitizer: heap-buffer-overflow" in control.stderr, (
        "the sanitizer must find the bug on purpose"
    )
    fuzzed = execute(programs / "fuzz", tiny, tmp_path, "8", "20170505")
    assert fuzzed.returncode == 0, fuzzed.stderr
    files, generated, refused = (
        int(re.search(rf"(\d+) {outcome}", fuzzed.stdout)[1])
        for outcome in ("files", "generated", "refused to load")
    )
    assert files > 200
    assert 0 < generated < refused


CONSUMER = """cmake_minimum_required(VERSION 3.16)
project(consumer LANGUAGES CXX)
{find}
add_executable(consumer main.cpp)
target_link_libraries(consumer PRIVATE hepgan::hepgan)
"""
MAIN = """#include <hepgan/generator.hpp>
#include <iostream>
int main(int, char** argv) {
  const hepgan::Generator generator(argv[1]);
  std::cout << generator.generate({10.0F, 0.0F}, hepgan::Key{1, 2, 3, 4}).size() << " shower\\n";
}
"""


@pytest.mark.parametrize("way", ["find_package", "FetchContent", "pkg-config"])
def test_frameworks_find_the_library(way: str, tiny: Path, tmp_path: Path) -> None:
    prefix, source = tmp_path / "prefix", tmp_path / "source"
    source.mkdir()
    (source / "main.cpp").write_text(MAIN)
    if way == "FetchContent":
        declared = f"FetchContent_Declare(hepgan SOURCE_DIR {ROOT / 'export'})"
        find = f"include(FetchContent)\n{declared}\nFetchContent_MakeAvailable(hepgan)"
    else:
        find = "find_package(hepgan 0.1 REQUIRED CONFIG)"
        built = build(tmp_path / "hepgan", "-DHEPGAN_BUILD_TOOLS=OFF", f"-DCMAKE_INSTALL_PREFIX={prefix}")
        installed = run("cmake", "--install", built)
        assert installed.returncode == 0, installed.stderr
    (source / "CMakeLists.txt").write_text(CONSUMER.format(find=find))
    if way == "pkg-config":
        if shutil.which("pkg-config") is None:
            pytest.skip("pkg-config is not installed")
        configured = run(
            "pkg-config",
            "--cflags",
            "--libs",
            "hepgan",
            environment={"PKG_CONFIG_PATH": next(prefix.rglob("hepgan.pc")).parent.as_posix()},
        )
        flags = [*configured.stdout.split(), f"-I{headers()}"]
        done = run("c++", "-std=c++17", source / "main.cpp", "-o", source / "consumer", *flags)
        assert done.returncode == 0, done.stderr
        program = source / "consumer"
    else:
        program = build(tmp_path / "consumer", f"-DCMAKE_PREFIX_PATH={prefix}", source=source) / "consumer"
    done = run(program, tiny, environment={"HEPGAN_ONNXRUNTIME": runtime_library()})
    assert done.stdout == "1 shower\n", done.stderr
