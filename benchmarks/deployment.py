"""Microseconds per shower in C++: ONNX Runtime and the compiled header, by batch size and number of callers.

Builds an untrained generator of the size of hepgan/configs/eplus.toml on the shipped sample; corrections are drawn at
random, so that no part of the graph is zero. Limits: 500 us with ONNX Runtime and 300 us without at batch size 1;
100 us at batch size 100; 90 % of twice the throughput with two callers; 0.3 s for loading.

    python benchmarks/deployment.py
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import tempfile
from pathlib import Path

import onnxruntime
import torch
from torch import nn

from hepgan import config
from hepgan.data.reading import read
from hepgan.data.tensors import TensorEvents
from hepgan.exporting import onnx
from hepgan.exporting.cpp import header as cpp
from hepgan.models.showers import CaloGenerator

ROOT = Path(__file__).parents[1]
BATCHES = "1,10,100,1000"


def reference() -> tuple[CaloGenerator, config.DataConfig]:
    """Untrained generator of the reference size, and the configuration of its data."""
    recipe = config.load(ROOT / "hepgan" / "configs" / "eplus.toml")
    files = (str(ROOT / "data" / "eplus.root"),)
    data = recipe.data.model_copy(update={"files": files, "max_events": 3000})
    torch.manual_seed(1)
    generator = CaloGenerator(data, recipe.model)
    generator.fit(TensorEvents.of(read(data)), rng=torch.Generator().manual_seed(1))
    for name, parameter in generator.named_parameters():
        if "finish" in name or name.startswith("energies"):
            nn.init.normal_(parameter, std=0.01)
    return generator, data


def compiled(out: Path, *options: str) -> Path:
    """Compile export/tools/bench.cpp with further options of the compiler; the path of the program."""
    headers = subprocess.run(
        ["sh", ROOT / "scripts" / "onnxruntime-headers.sh"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    include = ["-I", ROOT / "export" / "include", "-isystem", ROOT / headers.stdout.strip()]
    source = ROOT / "export" / "tools" / "bench.cpp"
    flags = ["-std=c++17", "-O3", "-DNDEBUG", "-pthread", *options]
    compiler = os.environ.get("CXX", "c++")
    subprocess.run([compiler, *flags, *include, source, "-o", out, "-ldl"], check=True)
    return out


def measured(program: Path, model: Path, *, seconds: float) -> tuple[float, dict[int, list[float]]]:
    """Milliseconds of loading; by batch size the us per event with one and with two callers, and the gain."""
    (library,) = Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.*1*")
    words = ["--batch", BATCHES, "--callers", "1,2", "--seconds", str(seconds)]
    done = subprocess.run(
        [program, model, *words],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HEPGAN_ONNXRUNTIME": str(library)},
    )
    first, _, *rows = done.stdout.splitlines()
    numbers = [[float(word) for word in row.split()] for row in rows]
    return float(re.search(r"in (\S+) ms", first)[1]), {
        int(n): [one, two, x] for n, one, _, two, x in numbers
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="duration of each measurement")
    parser.add_argument("--flags", default="", help="flags of the compiler, such as -march=native")
    arguments = parser.parse_args()
    generator, data = reference()
    described = {"data": data, "provenance": {}, "metrics": {}}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        onnx.write(generator, out / "model.onnx", **described)
        cpp.write(generator, out / "model.hpp", **described)
        own = ("-I", folder, '-DHEPGAN_HEADER="model.hpp"', "-DHEPGAN_GENERATOR=hepgan::model::Generator")
        flags = arguments.flags.split()
        results = {
            "ONNX Runtime": measured(
                compiled(out / "onnx", *flags), out / "model.onnx", seconds=arguments.seconds
            ),
            "compiled": measured(
                compiled(out / "cpp", *own, *flags), out / "model.bin", seconds=arguments.seconds
            ),
        }
    print(
        "us per shower, noise included; two: us per shower with two callers at once; gain: ratio of throughputs"
    )
    print(f"{'batch':>6}" + "".join(f"{name:>16}{'two':>9}{'gain':>6}" for name in results) + f"{'ratio':>8}")
    for batch in map(int, BATCHES.split(",")):
        rows = [table[batch] for _, table in results.values()]
        words = "".join(f"{one:16.1f}{two:9.1f}{gain:6.2f}" for one, two, gain in rows)
        print(f"{batch:6d}{words}{rows[0][0] / rows[1][0]:8.1f}")
    for name, (loading, _) in results.items():
        print(f"{name}: loaded and tested in {loading:.0f} ms")


if __name__ == "__main__":
    main()
