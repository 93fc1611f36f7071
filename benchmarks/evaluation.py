"""Time and memory of a comparison of two large samples of showers, step by step.

``python benchmarks/evaluation.py [-n 100000]`` measures the fast subset, and everything but the classifier networks.
The showers are those of data/eplus.root, repeated, each with energies changed by its own smooth factor, so that no two
are the same.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SPREADS = (0.05, 0.06)  # of the logarithms of the factors, in the reference and in the sample
Steps = dict[str, tuple[float, float]]


def changed(events, calorimeter, *, n: int, spread: float, seed: int):
    """Draw `n` of the given showers, and multiply each with a common factor and one that varies along its layers."""
    from hepgan.data.events import Events

    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(events), size=n)
    common, slope = (np.exp(spread * rng.standard_normal((n, 1), dtype=np.float32)) for _ in range(2))
    cells = events.cells[drawn]
    cells *= common
    for place, layer in zip(calorimeter.slices(), calorimeter.layers, strict=True):
        along = np.linspace(-0.5, 0.5, layer.n_cells, dtype=np.float32)
        for start in range(0, n, 10_000):
            cells[start : start + 10_000, place] *= slope[start : start + 10_000] ** along
    return Events(
        events.conditions[drawn] * common, (cells, events.overflow[drawn] * common), np.ones(n, np.float32)
    )


def measured(n: int, *, fast: bool, threads: int) -> dict[str, object]:
    """Wall and CPU seconds of each step, and the peak memory, in this process."""
    import torch

    from hepgan.config import load
    from hepgan.data.reading import read
    from hepgan.report import writing

    torch.set_num_threads(threads)
    recipe = load(ROOT / "hepgan/configs/eplus.toml")
    calorimeter = recipe.data.calo.calorimeter(base=".")
    events = read(recipe.data, files=[str(ROOT / "data/eplus.root")])
    reference, sample = (changed(events, calorimeter, n=n, spread=s, seed=k) for k, s in enumerate(SPREADS))
    del events

    marks: list[tuple[str, float, float]] = []

    @contextmanager
    def steps(total: int, *, progress: bool) -> Iterator[Callable[[str], None]]:
        yield lambda name: marks.append((name, time.perf_counter(), time.process_time()))

    config = recipe.evaluation.model_copy(update={"fast": fast, "max_events": n})
    with mock.patch.object(writing, "_steps", steps), tempfile.TemporaryDirectory() as out:
        writing.compare_events(sample, reference, data=recipe.data, config=config, out=out, base=".")
        page = Path(out, "report.html").stat().st_size
    marks.append(("", time.perf_counter(), time.process_time()))
    taken: Steps = {}
    for (name, wall, cpu), (_, next_wall, next_cpu) in pairwise(marks):
        before = taken.get(name, (0.0, 0.0))
        taken[name] = (before[0] + next_wall - wall, before[1] + next_cpu - cpu)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"steps": taken, "peak": peak, "page": page / 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=10_000, help="number of showers of either sample")
    parser.add_argument("--fast", action="store_true", help="only the fast subset")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measure", choices=("fast", "everything"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    n, threads = arguments.n, arguments.threads
    if arguments.measure:
        print(json.dumps(measured(n, fast=arguments.measure == "fast", threads=threads)))
        return
    # each in a process of its own, to measure its own peak memory
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    for name in ("fast",) if arguments.fast else ("fast", "everything"):
        command = [sys.executable, __file__, "-n", str(n), "--threads", str(threads), "--measure", name]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        result = json.loads(done.stdout.splitlines()[-1])
        total = np.sum(list(result["steps"].values()), axis=0)
        print(f"{name}: {n} against {n} showers, {threads} thread(s)")
        print(f"{'':44}{'wall [s]':>9}{'CPU [s]':>9}{'share':>8}")
        for step, (wall, cpu) in [*result["steps"].items(), ("all", total)]:
            print(f"{step:44}{wall:9.2f}{cpu:9.2f}{cpu / total[1]:8.1%}")
        print(f"peak memory {result['peak']:.2f} GiB, page {result['page']:.1f} MB\n", flush=True)


if __name__ == "__main__":
    main()
