"""Headers without a runtime: compiled, run, and compared with the ONNX file of the same generator."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cpp import ROOT, compiler, run
from ring_showers import DATA, ring_generator
from ring_showers import showers as ring_showers
from tiny_generator import TinyGenerator, tiny_data, tracks_config, tracks_generator
from torch import Tensor, nn
from torch.nn import functional

import hepgan
from hepgan.config import CaloModelConfig, DataConfig
from hepgan.data.reading import read
from hepgan.data.tensors import TensorEvents
from hepgan.errors import NotFoundError
from hepgan.exporting.cpp import header as headers
from hepgan.exporting.onnx import write
from hepgan.inference.checking import TOLERANCE, relative_differences
from hepgan.inference.generator import Generator
from hepgan.models.showers import CaloGenerator

ROWS = 200
FLAGS = ("-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror")

ORDER = [3, 1, 15, 0, 7, 2, 2, 9, 14]

DRIVER = """
#include "showers.hpp"
#include "tracks.hpp"  // a second model in the same program
#include "operators.hpp"
#include "rings.hpp"

#include <cstdio>
#include <fstream>
#include <iostream>

template <class Generator>
int run(const char* weights, const char* rows, const char* result) {
  try {
    const Generator generator(weights);
    std::ifstream file(rows, std::ios::binary);
    std::vector<float> row(generator.conditions().size() + generator.latent_size()), all(generator.width());
    std::ofstream out(result, std::ios::binary);
    const auto n = static_cast<std::ptrdiff_t>(generator.conditions().size());
    while (file.read(reinterpret_cast<char*>(row.data()), static_cast<std::streamsize>(4 * row.size()))) {
      const std::vector<float> condition(row.begin(), row.begin() + n), latent(row.begin() + n, row.end());
      const auto event = generator.generate(condition, latent);
      out.write(reinterpret_cast<const char*>(event.values(0).data()), static_cast<std::streamsize>(4 * all.size()));
    }
    std::printf("%s %g\\n", generator.runtime().c_str(), generator.self_test());
    return 0;
  } catch (const std::runtime_error& error) {
    std::cerr << error.what() << '\\n';
    return 2;
  }
}

int main(int, char** arguments) {
  const std::string name = arguments[1];
  const auto call = name == "showers"  ? run<hepgan::showers::Generator>
                    : name == "tracks" ? run<hepgan::tracks::Generator>
                    : name == "rings"  ? run<hepgan::rings::Generator>
                                        : run<hepgan::operators::Generator>;
  return call(arguments[2], arguments[3], arguments[4]);
}
"""


class Operators(TinyGenerator):
    """As many operators as fit into a generator."""

    def __init__(self, data: DataConfig) -> None:
        super().__init__(data)
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.spread = nn.Conv2d(1, 4, 3, padding=1)
            self.apart = nn.Conv2d(4, 4, (2, 3), stride=(2, 1), groups=2, dilation=(1, 1), bias=False)
            self.collect = nn.Linear(184, self.calorimeter.n_cells + self.n_overflow)

    def forward(self, condition: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        energy = condition[:, :1]
        hidden = torch.tanh(self.hidden(torch.cat([torch.log(energy) / 4, condition[:, 1:], latent], 1)))
        images = functional.elu(self.spread(hidden.reshape(-1, 1, 4, 4)))
        maps = functional.softplus(self.apart(images)).permute(0, 2, 3, 1)  # (B, 2, 2, 4)
        pairs = torch.matmul(maps, maps.transpose(2, 3))
        parts = [
            torch.softmax(images.permute(0, 2, 3, 1), 2),
            images.mean((2, 3)),
            images.amax(1),
            images.norm(dim=3),
            maps.prod(1),
            (maps * maps).sum(3),
            pairs,
            torch.where(hidden > 0.1, torch.sin(hidden), torch.cos(hidden)),
            torch.minimum(torch.sqrt(torch.abs(hidden)), torch.erf(hidden)),
            functional.selu(torch.atan(hidden)) / (2 + torch.floor(hidden)),
            torch.maximum(hidden[:, ORDER], 1 / (3 + hidden[:, :9])) ** 2.5,
            functional.pad(functional.leaky_relu(hidden[:, 1::4], 0.2), (2, 1), value=1.0),
        ]
        numbers = torch.cat([part.flatten(1).clamp(-3, 3) for part in parts], 1)
        cells = torch.relu(torch.exp(torch.sigmoid(self.collect(numbers))) - 1) * energy.expand(-1, 12) * 100
        n = self.calorimeter.n_cells
        return cells[:, :n], cells[:, n:]


@pytest.fixture(scope="module")
def folder(sample_config: DataConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NAME.onnx, NAME.hpp, NAME.bin of showers, tracks, operators and showers from rings."""
    events = read(sample_config.model_copy(update={"max_events": 1500}))
    with torch.random.fork_rng():
        torch.manual_seed(1)  # of the weights: tests must not depend on their order
        showers = CaloGenerator(sample_config, CaloModelConfig(width=16, depth=1, channels=2, latent=8))
    showers.fit(TensorEvents.of(events), rng=torch.Generator().manual_seed(1))
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(2)
        for parameter in showers.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    rings = ring_generator(ring_showers(1500))
    for stream in rings.streams:
        torch.nn.init.constant_(stream.finish.weight, 0.01)
    tracks = tracks_config()
    tiny = tiny_data()
    path = tmp_path_factory.mktemp("cpp")
    for name, generator, data in (
        ("showers", showers, sample_config),
        ("tracks", tracks_generator(tracks), tracks.data),
        ("operators", Operators(tiny), tiny),
        ("rings", rings, DATA),
    ):
        described: dict[str, Any] = {"data": data, "provenance": {}, "metrics": {}}
        write(generator, path / f"{name}.onnx", **described)
        assert headers.write(generator, path / f"{name}.hpp", **described) == path / f"{name}.bin"
    return path


@pytest.fixture(scope="module", params=["g++ -O3", "clang++ -O2 -ffast-math"])
def program(request: pytest.FixtureRequest, folder: Path) -> Path:
    """The driver, compiled without a warning."""
    name, *options = request.param.split()
    source, target = folder / "driver.cpp", folder / f"driver-{name}"
    source.write_text(DRIVER)
    done = run(compiler(name), *FLAGS, *options, source, "-o", target)
    assert done.returncode == 0, done.stderr
    return target


def rows_of(model: Generator) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(8)
    condition = np.stack([rng.permutation(c.spanning(ROWS)) for c in model.conditions], axis=1)
    return condition.astype(np.float32), rng.standard_normal((ROWS, model.n_latent), dtype=np.float32)


@pytest.mark.parametrize("name", ["showers", "tracks", "operators", "rings"])
def test_numbers_are_those_of_the_onnx_file(name: str, program: Path, folder: Path, tmp_path: Path) -> None:
    model = Generator(folder / f"{name}.onnx")
    condition, latent = rows_of(model)
    np.concatenate([condition, latent], axis=1).tofile(tmp_path / "rows")
    done = run(program, name, folder / f"{name}.bin", tmp_path / "rows", tmp_path / "result")
    assert done.returncode == 0, done.stderr
    runtime, error = done.stdout.split()
    assert runtime == "compiled"
    assert 0 < float(error) <= TOLERANCE
    result = np.fromfile(tmp_path / "result", np.float32).reshape(ROWS, -1)
    expected = model._run(condition, latent)
    sizes = np.cumsum([output[0].size for output in expected])[:-1]
    got = [part.reshape(e.shape) for part, e in zip(np.split(result, sizes, axis=1), expected, strict=True)]
    assert relative_differences(got, expected, model.metadata.outputs).max() <= TOLERANCE
    wanted = np.concatenate([e.reshape(ROWS, -1) for e in expected], axis=1)
    assert len(np.unique(wanted.sum(1))) > ROWS / 2, "rows differ"
    if name == "tracks":
        assert np.array_equal(result == -999, wanted == -999), "sentinels are exact"
        assert (result == -999).any()
        assert np.array_equal(result[:, 1] == result[:, 2], wanted[:, 1] == wanted[:, 2]), "ties are exact"
        assert (result[:, 1] == result[:, 2]).any()
    else:
        assert np.all(result >= 0)


def test_steady_state_allocates_nothing(folder: Path) -> None:
    own = ('-DHEPGAN_HEADER="showers.hpp"', "-DHEPGAN_GENERATOR=hepgan::showers::Generator", "-I", folder)
    source, target = ROOT / "export" / "tests" / "test_allocation.cpp", folder / "allocation"
    compiled = run(compiler("c++"), *FLAGS, "-O1", "-rdynamic", *own, source, "-o", target, "-ldl")
    assert compiled.returncode == 0, compiled.stderr
    done = run(target, folder / "showers.bin")
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("0 allocations in steady state, ")


def test_operators_are_many(folder: Path) -> None:
    used = Generator(folder / "operators.onnx").operators
    assert used >= {
        *(
            "Abs",
            "Add",
            "Atan",
            "Clip",
            "Concat",
            "Conv",
            "Cos",
            "Div",
            "Elu",
            "Erf",
            "Exp",
            "Floor",
            "Gather",
        ),
        *("Gemm", "Greater", "LeakyRelu", "Log", "MatMul", "Max", "Min", "Mul", "Pad", "Pow", "ReduceL2"),
        *("ReduceMax", "ReduceMean", "ReduceProd", "ReduceSum", "Relu", "Selu", "Sigmoid", "Sin", "Slice"),
        *("Softmax", "Softplus", "Sqrt", "Sub", "Tanh", "Transpose", "Where"),
    }


def test_header_includes_nothing_but_the_standard_library(folder: Path) -> None:
    for name in ("showers", "tracks"):
        text = (folder / f"{name}.hpp").read_text()
        includes = re.findall(r"^#\s*include\s*(.*)$", text, re.MULTILINE)
        assert len(includes) > 20
        assert all(re.fullmatch(r"<[a-z_]+>", include) for include in includes)
        assert str(folder) not in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b[:40], "cut short: expected 64 bytes or more, got 40; copy or export it again"),
        (lambda b: b[:-4], r"cut short or damaged: expected \d+ bytes, got \d+; copy"),
        (lambda b: b + b"\0", r"cut short or damaged: expected \d+ bytes, got \d+; copy"),
        (lambda b: b[:8] + b"\xff" * 16 + b[24:], "expected another length"),
        (
            lambda b: b[:-1] + bytes([b[-1] ^ 1]),
            "altered: expected the checksum [0-9a-f]{16}, got another one; copy",
        ),
        (lambda b: b[:70] + b"#" + b[71:], "altered"),
        (lambda b: b[:30] + bytes([b[30] ^ 1]) + b[31:], "altered"),
        (
            lambda b: b"ONNX" + b[4:],
            "not a file of weights: expected it to begin with 'hepganW1', got something else",
        ),
        (lambda b: b"", "not a file of weights"),
    ],
)
def test_damaged_weights_are_refused(
    change: Callable[[bytes], bytes], message: str, program: Path, folder: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.bin"
    broken.write_bytes(change((folder / "tracks.bin").read_bytes()))
    done = run(program, "tracks", broken, os.devnull, tmp_path / "result")
    assert done.returncode == 2
    assert re.search(f"hepgan: {broken}: .*{message}", done.stderr), done.stderr


def test_weights_of_another_network_and_no_weights(program: Path, folder: Path, tmp_path: Path) -> None:
    done = run(program, "tracks", folder / "showers.bin", os.devnull, tmp_path / "result")
    assert done.returncode == 2
    assert "weights of another network: expected those made from" in done.stderr
    assert "take header and weights of the same export" in done.stderr
    done = run(program, "tracks", tmp_path / "none.bin", os.devnull, tmp_path / "result")
    assert done.returncode == 2
    assert f"weights not found: {tmp_path / 'none.bin'}; name the .bin file" in done.stderr
    assert run(program, "tracks", tmp_path, os.devnull, tmp_path / "result").returncode == 2, "a folder"


def test_the_same_generator_gives_the_same_files(tmp_path: Path) -> None:
    data = tiny_data()
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        headers.write(
            TinyGenerator(data), tmp_path / folder / "tiny.hpp", data=data, provenance={}, metrics={}
        )
    for name in ("tiny.hpp", "tiny.bin"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize(
    "name", ["showers.onnx", "my-model.hpp", "2d.hpp", "namespace.hpp", "json.hpp", "a__b.hpp", "Model.hpp"]
)
def test_names_that_cannot_be_namespaces_are_refused(name: str, tmp_path: Path) -> None:
    data = tiny_data()
    with pytest.raises(ValueError, match=rf"expected NAME\.hpp, .*; got '{name}'; choose another name"):
        headers.write(TinyGenerator(data), tmp_path / name, data=data, provenance={}, metrics={})
    assert not list(tmp_path.iterdir())


def test_names_of_the_library_are_taken() -> None:
    folder = headers.include_folder() / "hepgan"
    for header in headers._HEADERS:
        text = (folder / f"{header}.hpp").read_text()
        names = re.findall(r"^inline [^(=;{]*?([a-z]\w*)(?: = [^;]*;|\(|\{)", text, re.MULTILINE)
        assert headers._TAKEN.issuperset(names), header
    assert {"relu", "dense"} <= headers._TAKEN


def test_headers_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (headers.include_folder() / "hepgan" / "basic_generator.hpp").is_file()
    monkeypatch.setattr(hepgan, "__file__", str(tmp_path / "hepgan" / "__init__.py"))
    with pytest.raises(
        NotFoundError, match=r"C\+\+ headers not found: expected .*; install hepgan from a wheel"
    ):
        headers.include_folder()
    installed = tmp_path / "hepgan" / "include" / "hepgan"
    installed.mkdir(parents=True)
    (installed / "compiled.hpp").touch()
    assert headers.include_folder() == installed.parent
