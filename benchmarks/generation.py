"""Events per second of bulk generation, against ONNX Runtime alone: on one core, on two, and by compression.

Builds untrained models of the recipes demo.toml (showers) and rich.toml (tracks): their speed does not depend on the
weights. ONNX Runtime alone runs batches of the same size with ready inputs, in one thread. hepgan generate draws
conditions and noise, runs the network and writes a compressed ROOT file. All are timed in turn; medians of ratios. The
limit of two cores is what ONNX Runtime alone gains from two threads.

    python benchmarks/generation.py
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import median, median_ratio, print_ratio, timed, turns

import hepgan
from hepgan import config, toys
from hepgan.data.cores import available_cores
from hepgan.data.reading import read
from hepgan.data.tensors import TensorEvents
from hepgan.exporting import onnx
from hepgan.inference import noise
from hepgan.inference.bulk import generate
from hepgan.inference.generator import Generator
from hepgan.models import MODELS

ROOT = Path(__file__).parents[1]
RECIPES = Path(hepgan.__file__).parent / "configs"
COMPRESSIONS = ("none", "lz4:1", "zstd:1", "zstd:5", "zlib:1", "lzma:1")
MODELS_TO_TIME: dict[str, tuple[str, dict[str, Any], int]] = {  # recipe, conditions, events
    "showers": ("demo.toml", {"incident_energy": (2.0, 60.0)}, 24_000),
    "tracks": (
        "rich.toml",
        {"Brunel_P": (5e3, 80e3), "Brunel_ETA": (2.2, 4.5), "nTracks_Brunel": (60.0, 200.0)},
        600_000,
    ),
}


def exported(recipe: str, file: Path, folder: Path) -> Generator:
    """An untrained generator of a recipe, fitted to the events of a file."""
    loaded = config.load(RECIPES / recipe)
    data = loaded.data.model_copy(update={"files": (str(file),), "max_events": 3000})
    torch.manual_seed(1)
    generator = MODELS[loaded.model.name].generator(data, loaded.model)
    generator.fit(TensorEvents.of(read(data)), rng=torch.Generator().manual_seed(1))
    path = folder / f"{recipe}.onnx"
    onnx.write(generator, path, data=data, provenance={}, metrics={})
    return Generator(path)


def runtime_alone(model: Generator, conditions: dict[str, Any], *, n: int) -> Callable[[], None]:
    """ONNX Runtime on ready batches of the size that is fastest."""
    rows = model.fastest_batch
    low, high = np.transpose([*conditions.values()])
    drawn = low + (high - low) * np.random.default_rng(1).random((rows, len(low)))
    feeds = [
        {
            "condition": np.rint(drawn).astype(np.float32),
            "latent": noise.normal(1, 0, np.arange(k * rows, (k + 1) * rows), size=model.n_latent),
        }
        for k in range(8)
    ]

    def run() -> None:
        for k in range(n // rows):
            model._run.runtime.run(model.outputs, feeds[k % len(feeds)])

    return run


@contextmanager
def cores(n: int) -> Iterator[None]:
    """Run on so many cores."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:n])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    ratios: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        toys.write("rich", folder / "rich.root", n=4000)
        samples = {"showers": ROOT / "data" / "eplus.root", "tracks": folder / "rich.root"}
        for kind, (recipe, conditions, n) in MODELS_TO_TIME.items():
            model, out = exported(recipe, samples[kind], folder), folder / "out.root"
            alone = runtime_alone(model, conditions, n=n)

            def bulk(
                compression: str = "zstd",
                workers: int = 1,
                *,
                model: Generator = model,
                out: Path = out,
                n: int = n,
                conditions: dict[str, Any] = conditions,
            ) -> None:
                generate(model, out, n=n, conditions=conditions, compression=compression, workers=workers)

            def twice(*, alone: Callable[[], None] = alone) -> None:
                with ThreadPoolExecutor(2) as pool:
                    for done in [pool.submit(alone) for _ in range(2)]:
                        done.result()

            raw_name, two_threads, one_core, two_cores = (
                "ONNX Runtime alone",
                "twice in two threads",
                "one core",
                "two cores",
            )
            actions = {raw_name: cores(1)(alone), one_core: cores(1)(bulk)}
            if available_cores() > 1:
                actions[two_threads] = cores(2)(twice)
                actions[two_cores] = cores(2)(lambda bulk=bulk: bulk(workers=2))
            times = turns(kind, actions, rounds=arguments.repeats)
            of = median_ratio(times[raw_name], times[one_core])
            ratios[f"generation-{kind}-one-core"] = of.wall
            ratios[f"generation-{kind}-one-core-cpu-time"] = of.cpu
            if two_cores in times:
                ratios[f"generation-{kind}-two-cores"] = median_ratio(times[one_core], times[two_cores]).wall
                limit = 2 * median_ratio(times[raw_name], times[two_threads]).wall
                ratios[f"generation-{kind}-two-cores-limit"] = limit
            print(f"{kind}: us an event (wall, CPU)")
            for words, column in times.items():
                wall, cpu = (1e6 * seconds / n for seconds in median(column))
                print(f"  {words:20}{wall:8.2f}{cpu:8.2f}")
            for compression in COMPRESSIONS:
                with cores(1):
                    cpu = timed(lambda c=compression, bulk=bulk: bulk(c)).cpu
                size = out.stat().st_size / n
                print(f"  {compression:20}{'':8}{1e6 * cpu / n:8.2f}{size:8.0f} bytes an event", flush=True)
    for words, ratio in ratios.items():
        print_ratio(words, ratio)


if __name__ == "__main__":
    main()
