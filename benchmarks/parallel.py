"""Speed-up of a training on two workers, on the e+ recipe, and the parts of its cost model (docs/scale.md).

``python benchmarks/parallel.py``: one worker takes steps alone while the other sleeps, then both take the same steps
together, by turns, so that whatever else the machine does meets both. The ratio of the medians of the times is the
speed-up. The ratio of processor times is the speed-up where each worker has a core to itself: it leaves out waiting.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from measuring import Time, median, print_ratio, timed, turns

import hepgan
from hepgan import config
from hepgan.config import Config
from hepgan.data.draws import normal
from hepgan.objectives import chosen
from hepgan.progress import shown, stage
from hepgan.training.launch import together
from hepgan.training.setup import Run, set_up
from hepgan.training.state import RunState
from hepgan.training.steps import critic_step, generator_step, update_average
from hepgan.training.workers import ALONE, Workers

PACKAGE = Path(hepgan.__file__).parent
SAMPLE = PACKAGE.parent / "data" / "eplus.root"
STEPS = 2  # generator steps between two looks at the clock


def steps(run: Run, state: RunState, recipe: Config) -> None:
    objective, regulariser = chosen(recipe.objective)
    size = recipe.training.batch_size
    for _ in range(STEPS):
        for _ in range(recipe.objective.n_critic):
            batch = run.events.batch(size, rng=state.batch_rng)
            critic_step(state, batch, objective, regulariser, recipe)
        generator_step(state, run.events.batch(size, rng=state.batch_rng), objective, recipe)
        state.step += 1
        update_average(state, decay=recipe.training.ema)


def compare(workers: Workers, run: Run, recipe: Config, *, seconds: float) -> None:
    """Time steps alone and together by turns; the first worker prints."""
    saved = run.state.saved()
    alone, shared = (RunState.restore(recipe, saved, workers=w) for w in (ALONE, workers))
    times: tuple[list[Time], list[Time]] = ([], [])
    size, began, elapsed = recipe.training.batch_size, time.monotonic(), 0.0
    with shown(workers.is_first), stage(f"batch size {size}", total=seconds) as update:
        while elapsed < seconds:
            if workers.is_first:
                times[0].append(timed(lambda: steps(run, alone, recipe)))
            workers.largest(0.0)  # the others wait here
            wall, processor = timed(lambda: steps(run, shared, recipe))
            processor = float(workers.sum(torch.tensor(processor))) / workers.size
            wall, elapsed = workers.largest(wall, time.monotonic() - began)
            times[1].append(Time(wall, processor))
            update(min(elapsed, seconds))
    if workers.is_first:
        one, many = (median(part[1:]) for part in times)  # the first round warms up
        name = f"workers_{workers.size}_batch_{size}"
        print_ratio(name, one.wall / many.wall)
        print_ratio(f"{name}_processor_time", one.cpu / many.cpu)
        alone_ms, shared_ms = (1e3 * each.wall / STEPS for each in (one, many))
        print(f"  {len(times[0])} rounds; a step {alone_ms:.0f} ms alone, {shared_ms:.0f} ms together")


def parts(workers: Workers, run: Run) -> None:
    """Time what does not shrink with the number of workers."""
    state, size = run.state, run.config.training.batch_size
    numbers = {
        name: sum(p.numel() for p in network.parameters() if p.requires_grad)
        for name, network in (("critic", state.critic), ("generator", state.generator))
    }
    rows = len(range(workers.rank, size, workers.size))
    n_latent = state.generator.n_latent
    actions: dict[str, tuple[int, Callable[[], object]]] = {
        "flags": (8 * 2, lambda: workers.largest(0.0, 0.0)),
        **{
            f"gradient of the {name}": (4 * n, lambda n=n: workers.sum(torch.zeros(n)))
            for name, n in numbers.items()
        },
        "one set of latent numbers": (
            4 * size * n_latent,
            lambda: normal(rows, n_latent, rng=state.noise_rng),
        ),
        "validation": (0, lambda: run.validation.distance(state.average)),
    }
    calls = {name: action for name, (_, action) in actions.items()}
    times = turns("parts", calls, rounds=7, show=workers.is_first)
    if workers.is_first:
        for name, (n_bytes, _) in actions.items():
            print(f"  {name}: {n_bytes / 1e6:.3f} MB, {1e3 * median(times[name]).wall:.2f} ms")


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
