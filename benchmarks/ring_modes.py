"""Number of modes of the ring of Gaussians that each objective covers, with all other settings equal.

The generator at the end of the training counts, not the one with the best validation: a collapsed generator is further
from the data than the initial blob, and would never be selected.

``python benchmarks/ring_modes.py [--seeds 10] [--steps 1500] [OBJECTIVE[+REGULARISER] ...]``
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hepgan import config, toys
from hepgan.metrics.diversity import ModeCoverage, mode_coverage
from hepgan.models import DllGenerator
from hepgan.training import checkpoint
from hepgan.training.loop import train

EVENTS = 8000
DRAWN = 4000
RADIUS = 3 * toys.RING_SIGMA
GAMES = ("minimax", "minimax+r1", "wgan-gp")


def settings(file: Path, game: str, *, seed: int, steps: int) -> config.Config:
    """Configuration with standardised coordinates: the generator begins as one blob and has to find the modes itself.

    Learning rates are ten times those of a careful training, because at such rates the objectives differ.
    """
    name, _, regulariser = game.partition("+")
    values: dict[str, Any] = {
        "data": {
            "files": [str(file)],
            "conditions": [{"name": "one", "branch": "1 + 0 * x", "transform": "linear"}],
            "targets": [{"name": axis, "transform": "linear"} for axis in "xy"],
        },
        "model": {
            "latent": 2,
            "width": 64,
            "depth": 2,
            "hinges": 2,
            "critic_width": 64,
            "critic_depth": 2,
        },
        "objective": {"name": name, "regulariser": regulariser or "own"},
        "training": {
            "steps": steps,
            "seed": seed,
            "lr_generator": 5e-3,
            "lr_critic": 5e-3,
            "betas": [0.5, 0.9],
            "ema": 0.9,
            "warm_up": 0,
            "log_every": steps,
            "validate_every": steps,
            "threads": 1,
        },
    }
    return config.parse(values)


def modes(game: str, *, seed: int, steps: int = 1500) -> ModeCoverage:
    """Train with one objective on the ring, and count the modes that the averaged generator covers at the end."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "ring.root")
        toys.write("ring", file, n=EVENTS, seed=seed)
        chosen = settings(file, game, seed=seed, steps=steps)
        run = train(chosen, Path(folder, "run"), progress=False)
        tensors, _ = checkpoint.load(run / "checkpoint" / "state.safetensors")
    generator = DllGenerator(chosen.data, chosen.model)
    generator.load_state_dict(checkpoint.part(tensors, "ema"))
    noise = torch.randn(DRAWN, generator.n_latent, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        (points,) = generator(torch.ones(DRAWN, 1), noise)
    return mode_coverage(points.numpy(), toys.ring_centres(), radius=RADIUS)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("games", nargs="*", default=GAMES, metavar="OBJECTIVE[+REGULARISER]")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500)
    arguments = parser.parse_args()
    for game in arguments.games:
        begun = time.perf_counter()
        covered, shares = [], []
        for seed in range(1, arguments.seeds + 1):
            try:
                coverage = modes(game, seed=seed, steps=arguments.steps)
            except FloatingPointError:
                covered.append("diverged")
                continue
            covered.append(str(coverage.covered))
            shares.append(coverage.high_quality[0])
        seconds = (time.perf_counter() - begun) / arguments.seeds
        print(
            f"{game:24s} modes {' '.join(covered)}; within 3 sigma of a mode {np.mean(shares):.2f}; "
            f"{seconds:.0f} s per training"
        )


if __name__ == "__main__":
    main()
