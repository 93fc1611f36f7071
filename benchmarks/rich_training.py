"""Tracks per second in trainings on the toy RICH, and their upper bound from the rate of matrix products.

``python benchmarks/rich_training.py``: torch counts the operations of a few steps; the bound is the rate of a matrix
product of the network's shape, measured in the same run, divided by the operations per track. A track counts once for
each batch it is drawn into. Activations, random numbers, batches and the optimizer keep the rate below the bound.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

import hepgan
from hepgan import config, toys
from hepgan.training import loop as training

RECIPE = Path(hepgan.__file__).parent / "configs" / "rich.toml"


class Products(TorchDispatchMode):
    """Counter of the operations in matrix products, forward and backward.

    torch's own counter does not accept gradient penalties.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        factors = {"mm": args[:2], "addmm": args[1:3]}.get(func.overloadpacket.__name__)
        if factors:
            (rows, inner), (_, columns) = factors[0].shape, factors[1].shape
            self.operations += 2 * rows * inner * columns
        return func(*args, **(kwargs or {}))


def product_rate(batch: int, width: int, *, seconds: float = 1.0) -> float:
    """Operations per second of a product (batch, width) x (width, width), the best of many."""
    a, b = torch.randn(batch, width), torch.randn(width, width)
    best, spent = 0.0, 0.0
    while spent < seconds:
        start = time.perf_counter()
        for _ in range(20):
            a @ b
        took = time.perf_counter() - start
        best, spent = max(best, 20 * 2 * batch * width**2 / took), spent + took
    return best


def operations(recipe: config.Config, folder: Path, *, steps: int) -> float:
    """Operations in the matrix products of a training of a number of steps."""
    longer = recipe.training.model_copy(update={"steps": steps, "validate_every": steps, "max_minutes": None})
    with Products() as counter:
        training.train(recipe.model_copy(update={"training": longer}), folder, progress=False)
    return float(counter.operations)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tracks", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=300)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        toys.write("rich", folder / "toy.root", n=arguments.tracks, seed=1, species=["K"])
        print("objective      tracks/s   operations/track   bound (tracks/s)   of the bound")
        for objective in ("energy-score", "wgan-gp", "cramer"):
            recipe = config.load(
                RECIPE,
                settings=[
                    f"data.files=['{folder / 'toy.root'}']",
                    f"objective.name={objective}",
                    f"training.threads={arguments.threads}",
                    "training.warm_up=0",
                ],
            )
            counted = [operations(recipe, folder / f"{objective}-{n}", steps=n) for n in (2, 6)]
            draws = 1 if objective == "energy-score" else 1 + recipe.objective.n_critic
            each = (counted[1] - counted[0]) / (4 * draws * recipe.training.batch_size)
            timed = recipe.training.model_copy(
                update={"steps": arguments.steps, "log_every": 20, "validate_every": arguments.steps}
            )
            run = training.train(
                recipe.model_copy(update={"training": timed}), folder / objective, progress=False
            )
            log = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
            rate = max(line.get("samples_per_second", 0.0) for line in log)
            torch.set_num_threads(arguments.threads)
            bound = product_rate(recipe.training.batch_size, recipe.model.width) / each
            print(f"{objective:14} {rate:8.0f}   {each:16.3g}   {bound:16.0f}   {rate / bound:12.0%}")


if __name__ == "__main__":
    main()
