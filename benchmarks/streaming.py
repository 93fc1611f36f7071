"""Speed of trainings that stream their events, against the same ones in memory; memory of a stream from 20 GB.

``python benchmarks/streaming.py`` takes turns between both ways in one process, a few steps each, so that a busy
machine slows both. ``--sparse 20`` trains in another process from a cache of 20 GB, nearly all of it holes of sparse
files, and prints the peak of its resident memory. Lines that begin with ``ratio`` are for programs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import median, median_ratio, print_ratio, turns

from hepgan import config, toys, workflow
from hepgan.data.cache import Cache, Manifest, checksums, shard_name
from hepgan.data.shards import write_manifest, write_rows
from hepgan.files import PACKAGE
from hepgan.objectives import chosen
from hepgan.progress import shown
from hepgan.training.setup import Run, set_up
from hepgan.training.steps import critic_step, generator_step

PROGRAM = """
import sys
from hepgan import config
from hepgan.training.loop import train
train(config.load(sys.argv[1]), sys.argv[2], progress=False)
print(open("/proc/self/status").read())
"""
SHARDS = 300
REAL = 64  # one block of this many is no hole


def steps(run: Run, n: int) -> None:
    """Take `n` steps, as the loop makes them."""
    objective, regulariser = chosen(run.config.objective)
    for _ in range(n):
        if objective.game is not None:
            for _ in range(run.config.objective.n_critic):
                critic_step(run.state, run.batch(), objective, regulariser, run.config)
        generator_step(run.state, run.batch(), objective, run.config)


def runs(recipe: config.Config, folder: Path) -> tuple[Run, Run]:
    """The same recipe, in memory and streamed."""
    cache = workflow.prepare(recipe, folder / "cache", progress=False)
    values = recipe.model_dump(mode="json", exclude_none=True)
    ways = {"never": "memory", str(cache): "stream"}
    both = [
        set_up(
            config.parse(values, settings={"data.cache": way}), folder / name, resume=False, progress=False
        )
        for way, name in ways.items()
    ]
    return both[0], both[1]


def measured(name: str, recipe: config.Config, folder: Path, *, rounds: int, n: int) -> None:
    """Time batches alone, and `n` steps; both ways take turns."""
    with shown(True):
        both = dict(zip(("in memory", "streamed"), runs(recipe, folder), strict=True))
    batches = turns(f"{name}, batches", {way: run.batch for way, run in both.items()}, rounds=200)
    actions = {way: lambda run=run: steps(run, n) for way, run in both.items()}
    times = turns(f"{name}, steps", actions, rounds=rounds)
    print_ratio(f"stream/{name}", median_ratio(*times.values()).wall)
    for way in both:
        step, batch = (1e3 * each.wall for each in (median(times[way]), median(batches[way])))
        print(f"  {name}, {way}: {step / n:.2f} ms a step, {batch:.3f} ms a batch alone")


def sparse(recipe: config.Config, folder: Path, *, gigabytes: float) -> Manifest:
    """A cache whose shards are holes, but for one block of `REAL`, which has real events."""
    cache = Cache.open(workflow.prepare(recipe, folder, workers=1, progress=False))
    manifest = cache.manifest
    step, width = manifest.block_rows, manifest.width
    n_blocks = int(gigabytes * 1e9 / (4 * step * width) / SHARDS)
    real = np.concatenate([cache.block(k) for k in range(len(cache.blocks) - 1)])[:step]
    hole = np.zeros_like(real)
    names = [checksums(block, block_rows=step) for block in (real, hole)]
    shard = write_rows(folder / shard_name(0), real, manifest.shards[0], block_rows=step)
    header = (folder / shard_name(0)).read_bytes()[:128]
    shard = shard.model_copy(
        update={
            "rows": n_blocks * len(real),
            "weights": shard.weights * -(-n_blocks // REAL),
            "checksums": "".join(names[k % REAL > 0] for k in range(n_blocks)),
        }
    )
    for k in range(SHARDS):
        with (folder / shard_name(k)).open("wb") as file:
            file.write(header)
            file.truncate(128 + n_blocks * real.nbytes)
            for block in range(0, n_blocks, REAL):
                file.seek(128 + block * real.nbytes)
                file.write(real.tobytes())
    changed = {"rows": SHARDS * shard.rows, "shards": (shard,) * SHARDS}
    manifest = manifest.model_copy(update=changed)
    write_manifest(folder, manifest)
    return manifest


def memory(recipe: config.Config, folder: Path, *, gigabytes: float) -> None:
    manifest = sparse(recipe, folder / "cache", gigabytes=gigabytes)
    size = sum(path.stat().st_size for path in (folder / "cache").glob("*.npy"))
    disk = sum(512 * path.stat().st_blocks for path in (folder / "cache").glob("*.npy"))
    print(
        f"cache: {manifest.rows} events, {size / 1e9:.1f} GB, of which {disk / 1e9:.2f} GB on the disk",
        flush=True,
    )
    settings = {"data.cache": str(folder / "cache")}
    text = config.dump(config.parse(recipe.model_dump(mode="json", exclude_none=True), settings=settings))
    (folder / "recipe.toml").write_text(text)
    command = [sys.executable, "-c", PROGRAM, str(folder / "recipe.toml"), str(folder / "run")]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ})
    peak = next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("VmHWM"))
    print_ratio("stream/resident", int(peak) * 1024 / 2e9)
    seconds = time.perf_counter() - start
    print(
        f"  peak {int(peak) / 1e6:.2f} GB, of 2; {recipe.training.steps} steps in {seconds:.0f} s, with the start"
    )


def recipes(folder: Path, calorimeter: list[str]) -> dict[str, config.Config]:
    """The recipes of showers and tracks, with little that is not needed here."""
    toys.write("rich", folder / "rich.root", n=200_000, seed=1, species=["K"])
    common = {"data.test_files": [], "training.max_minutes": 1e6, "training.threads": 1}
    eplus = common | {"data.files": calorimeter, "data.max_events": 40_000}
    rich = common | {"data.files": [str(folder / "rich.root")]}
    return {
        name: config.load(PACKAGE / "configs" / f"{name}.toml", settings=settings)
        for name, settings in (("eplus", eplus), ("rich", rich))
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", nargs="+", default=["data/eplus.root"], help="showers")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument(
        "--sparse", type=float, default=0, metavar="GB", help="train from so large a cache instead"
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = recipes(folder, given.files)
        if given.sparse:
            values: dict[str, Any] = found["rich"].model_dump(mode="json", exclude_none=True)
            values["data"] |= {"weight": None, "ties": False}
            values["data"]["conditions"] = [c | {"transform": "linear"} for c in values["data"]["conditions"]]
            values["training"] |= {"steps": 60, "validate_every": 30}
            memory(config.parse(values), folder, gigabytes=given.sparse)
            return
        for key, n in (("eplus", 1), ("rich", 10)):
            (folder / key).mkdir()
            measured(key, found[key], folder / key, rounds=given.rounds, n=n)


if __name__ == "__main__":
    main()
