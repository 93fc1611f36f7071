"""Speed-up of a training on two workers, on the e+ recipe, and the parts of its cost model (docs/scale.md).

``python benchmarks/parallel.py``: one worker takes steps alone while the other sleeps, then both take the same steps
together, by turns, so that whatever else the machine does meets both. The ratio of the medians of the times is the
speed-up. The ratio of processor times is the speed-up where each worker has a core to itself: it leaves out waiting.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

import hepgan
from hepgan import config
from hepgan.config import Config
from hepgan.data.draws import normal
from hepgan.objectives import chosen
from hepgan.training.launch import together
from hepgan.training.setup import Run, set_up
from hepgan.training.state import RunState
from hepgan.training.steps import critic_step, generator_step, update_average
from hepgan.training.workers import ALONE, Workers

PACKAGE = Path(hepgan.__file__).parent
SAMPLE = PACKAGE.parent / "data" / "eplus.root"
STEPS = 2  # generator steps between two looks at the clock

Times = list[tuple[float, float]]
"""Wall and processor times (s) of one generator step with its critic steps."""


def steps(run: Run, state: RunState, recipe: Config) -> tuple[float, float]:
    objective, regulariser = chosen(recipe.objective)
    size, began = recipe.training.batch_size, (time.perf_counter(), time.process_time())
    for _ in range(STEPS):
        for _ in range(recipe.objective.n_critic):
            batch = run.events.batch(size, rng=state.batch_rng)
            critic_step(state, batch, objective, regulariser, recipe)
        generator_step(state, run.events.batch(size, rng=state.batch_rng), objective, recipe)
        state.step += 1
        update_average(state, decay=recipe.training.ema)
    wall, processor = time.perf_counter() - began[0], time.process_time() - began[1]
    return wall / STEPS, processor / STEPS


def median(action: Callable[[], object], *, n: int = 21) -> float:
    """Median time of an action (s)."""
    times = []
    for _ in range(n):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def compare(workers: Workers, run: Run, recipe: Config, *, seconds: float) -> None:
    """Time steps alone and together by turns; the first worker prints."""
    saved = run.state.saved()
    alone, shared = (RunState.restore(recipe, saved, workers=w) for w in (ALONE, workers))
    times: tuple[Times, Times] = ([], [])
    began, elapsed = time.monotonic(), 0.0
    while elapsed < seconds:
        if workers.is_first:
            times[0].append(steps(run, alone, recipe))
        workers.largest(0.0)  # the others wait here
        wall, processor = steps(run, shared, recipe)
        processor = float(workers.sum(torch.tensor(processor))) / workers.size
        wall, elapsed = workers.largest(wall, time.monotonic() - began)
        times[1].append((wall, processor))
    if workers.is_first:
        name = f"workers_{workers.size}_batch_{recipe.training.batch_size}"
        (one, one_processor), (many, many_processor) = (
            [statistics.median(column) for column in zip(*part[1:], strict=True)] for part in times
        )  # the first round warms up
        print(f"ratio {name} {one / many:.2f}")
        print(f"ratio {name}_processor_time {one_processor / many_processor:.2f}")
        print(f"  {len(times[0])} rounds; a step {1e3 * one:.0f} ms alone, {1e3 * many:.0f} ms together")


def parts(workers: Workers, run: Run) -> None:
    """Time what does not shrink with the number of workers."""
    state, size = run.state, run.config.training.batch_size
    numbers = {
        name: sum(p.numel() for p in network.parameters() if p.requires_grad)
        for name, network in (("critic", state.critic), ("generator", state.generator))
    }
    rows = len(range(workers.rank, size, workers.size))
    lines = {
        "flags": (8 * 2, median(lambda: workers.largest(0.0, 0.0))),
        **{
            f"gradient of the {name}": (4 * n, median(lambda n=n: workers.sum(torch.zeros(n))))
            for name, n in numbers.items()
        },
        "one set of latent numbers": (
            4 * size * state.generator.n_latent,
            median(lambda: normal(rows, state.generator.n_latent, rng=state.noise_rng)),
        ),
        "validation": (0, median(lambda: run.distance(state.average), n=3)),
    }
    if workers.is_first:
        for name, (n_bytes, seconds) in lines.items():
            print(f"  {name}: {n_bytes / 1e6:.3f} MB, {1e3 * seconds:.2f} ms")


def benchmark(workers: Workers, recipe: Config, out: Path, seconds: float) -> None:
    torch.set_num_threads(1)
    run = set_up(recipe, out, resume=False, progress=False, workers=workers)
    parts(workers, run)
    for size in (256, 512):
        training = recipe.training.model_copy(update={"batch_size": size})
        compare(workers, run, recipe.model_copy(update={"training": training}), seconds=seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=str(SAMPLE), help="e+ showers")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=25.0, help="for each batch size")
    arguments = parser.parse_args()
    recipe = config.load(
        PACKAGE / "configs" / "eplus.toml",
        settings=[f"data.files=['{arguments.data}']", "data.test_files=[]", "training.threads=1"],
    )
    with tempfile.TemporaryDirectory() as name:
        given = (recipe, Path(name) / "run", arguments.seconds)
        with together(arguments.workers, benchmark, *given) as workers:
            benchmark(workers, *given)


if __name__ == "__main__":
    main()
