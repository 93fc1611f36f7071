"""Training steps a second: this code, version 0.1, and the plain formulation, measured in turns in one run.

``python benchmarks/train_step.py``. Each engine trains in a process of its own, and the processes take turns, so that
other work on the machine meets all of them. A ratio is that of the medians over intervals of a few steps. Version 0.1
is checked out into a temporary worktree of git; the plain formulation is this code with locally connected layers as
unfold and einsum, penalties by second derivatives, and real events represented again in each step.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
V01 = "7cdb791"
EVENTS = {"eplus": 2_000, "rich": 10_000}  # the speed of a step does not depend on it, the fit before it does
SETTINGS = {
    "eplus": [
        f"data.files=['{ROOT}/data/eplus.root']",
        "data.test_files=[]",
        "training.warm_up=0",
        *(
            "training.batch_size=256",
            "objective.n_critic=3",
            "model.critic_width=128",
        ),  # those of version 0.1
    ],
    "rich": [f"data.files=['{ROOT}/data/rich.root']", "data.test_files=[]"],
}
LINE = {"eplus": 2, "rich": 50}  # generator steps of an interval


def plain() -> None:
    """Replace the fast parts of this code by the plain ones."""
    os.environ["HEPGAN_KERNELS"] = "off"
    import torch
    from torch.nn import functional

    from hepgan.data.tensors import TensorEvents
    from hepgan.models import locally_connected
    from hepgan.training import loop, steps

    def unfold_einsum(x, weight, bias=None, *, stride, padding, slope=1.0, sign=None):
        height, kernel_height, width, out, kernel_width, _ = weight.shape
        x = x if isinstance(x, torch.Tensor) else torch.cat(tuple(x), 1)
        windows = functional.unfold(x, (kernel_height, kernel_width), padding=padding, stride=stride)
        matrix = weight.permute(0, 2, 3, 5, 1, 4).reshape(height * width, out, -1)
        y = torch.einsum("bkl,lok->bol", windows, matrix).reshape(len(x), out, height, width)
        y = y if bias is None else y + bias.permute(2, 0, 1)
        return torch.where((y if sign is None else sign) > 0, y, slope * y)

    def twice(traced, real, fake, weights, **options):
        return steps.gradient_penalty(lambda x: traced(x)[0], real, fake, weights, **options)

    locally_connected.locally_connected2d = unfold_einsum
    steps.linear_gradient_penalty = twice
    TensorEvents.mapped = lambda events, function, **_: events
    loop.export_trained = lambda folder: None  # einsum is no operator of an exported file


def work(recipe: str, steps: int, folder: str) -> None:
    """Train some steps with the package that is imported, and print the seconds a step of each interval."""
    import hepgan
    from hepgan import config

    try:
        from hepgan.training.loop import train
    except ModuleNotFoundError:
        from hepgan.training import train
    line = LINE[recipe]
    settings = [
        *SETTINGS[recipe],
        f"data.max_events={EVENTS[recipe]}",
        f"training.steps={steps}",
        f"training.validate_every={steps}",
        f"training.log_every={line}",
        "training.threads=1",
        "training.max_minutes=1000",
    ]
    source = Path(hepgan.__file__).parent / "configs" / f"{recipe}.toml"
    run = train(config.load(source, settings=settings), Path(folder) / "run", progress=False)
    log = [json.loads(text) for text in (run / "metrics.jsonl").read_text().splitlines()]
    times = [entry["time"] for entry in log if "samples_per_second" in entry]
    print(json.dumps([(b - a) / line for a, b in itertools.pairwise(times)]))


@contextmanager
def engines():
    """Folder to import the package from, by the name of the engine."""
    with tempfile.TemporaryDirectory() as name:
        old = Path(name) / "v0.1"
        subprocess.run(
            ["git", "worktree", "add", "--detach", old, V01], cwd=ROOT, check=True, capture_output=True
        )
        try:
            yield {"now": ROOT, "v0.1": old, "plain": ROOT}
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", old], cwd=ROOT, check=True)


def interval_seconds(name: str, folder: Path, recipe: str, *, steps: int) -> list[float]:
    """Seconds a step of an engine, in a process of its own."""
    command = [sys.executable, __file__, "--worker", name, recipe, "--steps", str(steps)]
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{name}, {recipe}: the training failed\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=24, help="generator steps of showers in a round")
    parser.add_argument("--recipes", nargs="+", default=["eplus", "rich"], choices=[*SETTINGS])
    parser.add_argument("--worker", nargs=2, metavar=("ENGINE", "RECIPE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        engine, recipe = arguments.worker
        if engine == "plain":
            plain()
        with tempfile.TemporaryDirectory() as folder:
            work(recipe, arguments.steps, folder)
        return
    from measuring import print_ratio  # not in a process of version 0.1, whose package has no progress

    from hepgan.progress import shown, stage

    total = len(arguments.recipes) * arguments.rounds * 3
    with engines() as folders, shown(True), stage("trainings", total=total) as update:
        turns = itertools.count(1)
        for recipe in arguments.recipes:
            seconds: dict[str, list[float]] = {name: [] for name in folders}
            for _ in range(arguments.rounds):
                for name, folder in folders.items():
                    lines = arguments.steps // LINE["eplus"] // (3 if name == "plain" else 1)
                    steps = LINE[recipe] * max(lines, 3)
                    seconds[name] += interval_seconds(name, folder, recipe, steps=steps)
                    update(next(turns), note=f"last: {recipe} {name}")
            middle = {name: statistics.median(values) for name, values in seconds.items()}
            suffix = "" if recipe == "eplus" else f"-{recipe}"
            for name in ("v0.1", "plain"):
                print_ratio(f"{name}{suffix}", middle[name] / middle["now"])
            for name, values in seconds.items():
                numbers = f"{1e3 * middle[name]:.2f} ms a generator step (best {1e3 * min(values):.2f})"
                print(f"  {recipe} {name}: {numbers}, median of {len(values)} intervals", flush=True)


if __name__ == "__main__":
    main()
