"""Likelihood and distance of generators of the same points: RealNVP, trained in two ways, and other models.

``python benchmarks/flows.py [--seeds 3] [--steps 1000] [--out RESULTS.json] [ROW ...]``; trainings whose results are in
the file already are not repeated.

The points are from the ring of eight Gaussians, whose density is known. ``bits/dim``: minus the log density of fresh
points, in bits per dimension of the standardised coordinates; no model is below the truth by more than chance. ``W``:
distance of generated and fresh points by a critic that had no part in the training (`wasserstein_critic`), in spreads;
0 for points of the same distribution. The comparison follows arXiv:1705.05263.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hepgan import config, toys
from hepgan.data.tensors import TensorEvents
from hepgan.inference.generator import Generator
from hepgan.metrics import wasserstein_critic
from hepgan.metrics.diversity import mode_coverage
from hepgan.metrics.moments import mean
from hepgan.models import FlowGenerator
from hepgan.training.loop import train
from hepgan.training.run_folder import load_generator

EVENTS = 20_000
TRUTH = "the truth"
REALNVP = {"name": "flow", "coupling": "affine", "transforms": 8}
ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "RealNVP, likelihood": (REALNVP, "likelihood"),
    "RealNVP, WGAN-GP": (REALNVP, "wgan-gp"),
    "spline flow, likelihood": ({"name": "flow", "coupling": "spline", "transforms": 6}, "likelihood"),
    "autoencoder, likelihood": ({"name": "vae", "latent": 2}, "likelihood"),
    "autoencoder, alpha-GAN": ({"name": "vae", "latent": 2, "likelihood": "synthetic"}, "alpha-gan"),
    "dense network, WGAN-GP": ({"name": "dll", "latent": 2}, "wgan-gp"),
}


def points(seed: int) -> NDArray[np.float32]:
    """Draw points (N, 2) of the ring."""
    drawn = toys.ring(EVENTS, rng=np.random.default_rng(seed))
    return np.stack([drawn["x"], drawn["y"]], 1)


def true_density(x: NDArray[Any]) -> NDArray[np.float64]:
    """Logarithm of the density (N,) at (N, 2) points."""
    squares = ((x[:, None] - toys.ring_centres()) ** 2).sum(2) / toys.RING_SIGMA**2
    least = squares.min(1)
    total = np.log(np.exp(-0.5 * (squares - least[:, None])).mean(1)) - 0.5 * least
    result: NDArray[np.float64] = total - math.log(2 * math.pi * toys.RING_SIGMA**2)
    return result


def settings(file: Path, model: dict[str, Any], objective: str, *, seed: int, steps: int) -> config.Config:
    """Configuration with standardised coordinates, and two hidden layers of the same width for all models."""
    return config.parse(
        {
            "data": {
                "files": [str(file)],
                "conditions": [{"name": "one", "branch": "1 + 0 * x", "transform": "linear"}],
                "targets": [{"name": axis, "transform": "linear"} for axis in "xy"],
            },
            "model": {"width": 64, "depth": 1, "hinges": 2, "critic_width": 64, "critic_depth": 2} | model,
            "objective": {"name": objective},
            "training": {
                "steps": steps,
                "seed": seed,
                "lr_generator": 2e-3,
                "lr_critic": 2e-3,
                "betas": [0.5, 0.9],
                "ema": 0.99,
                "warm_up": 0,
                "log_every": steps,
                "validate_every": max(1, steps // 5),
                "threads": 1,
            },
        }
    )


def judged(sample: NDArray[Any], reference: NDArray[Any], *, seed: int) -> dict[str, Any]:
    """Distance by the independent critic, and coverage of the modes."""
    coverage = mode_coverage(sample, toys.ring_centres(), radius=3 * toys.RING_SIGMA)
    distance = wasserstein_critic(sample, reference, rng=np.random.default_rng(seed)).measurement
    return {"W": distance, "modes": int(coverage.covered), "inside": coverage.high_quality[0]}


def measured(row: str, *, seed: int, steps: int) -> dict[str, Any]:
    """Train the model of one row; distance of its points, and its density of fresh points if it has one."""
    fresh = points(1000 + seed)
    if row == TRUTH:
        scale = math.log(fresh.std(0).prod())
        return judged(points(2000 + seed), fresh, seed=seed) | {"bits": bits(true_density(fresh) + scale)}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "ring.root")
        toys.write("ring", file, n=EVENTS, seed=seed)
        begun = time.process_time()
        run = train(settings(file, *ROWS[row], seed=seed, steps=steps), Path(folder, "run"), progress=False)
        spent = time.process_time() - begun
        (made,) = Generator(run / "model.onnx").sample(np.ones((EVENTS, 1), np.float32), seed=seed)
        generator = load_generator(run)[0]
    result = judged(made, fresh, seed=seed) | {"seconds": spent}
    if isinstance(generator, FlowGenerator):
        ones = torch.ones(EVENTS)
        events = TensorEvents(ones[:, None], (torch.from_numpy(fresh),), ones)
        with torch.no_grad():
            density, _ = generator.log_density(events, rng=torch.Generator().manual_seed(seed))
        result["bits"] = bits(density.double().numpy())
    return result


def bits(log_density: NDArray[Any]) -> tuple[float, float]:
    """Bits per dimension, of two, and their uncertainty."""
    return mean(-log_density / (2 * math.log(2)))


def shown(row: str, results: list[dict[str, Any]]) -> str:
    """One line of the table: bits of each seed, mean W with the larger of its uncertainty and the spread of seeds."""
    bits_of_seeds = ", ".join(
        f"{value:.3g} ± {error:.1g}" for value, error in (r["bits"] for r in results if "bits" in r)
    )
    values, errors = np.array([result["W"] for result in results]).T
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    cells = (
        row,
        bits_of_seeds or "unknown",
        f"{values.mean():.3f} ± {max(spread, errors.mean()):.3f}",
        " ".join(str(result["modes"]) for result in results),
        f"{np.mean([result['inside'] for result in results]):.2f}",
        f"{np.mean([result.get('seconds', 0.0) for result in results]):.0f}",
    )
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", default=[TRUTH, *ROWS], metavar="ROW")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    if arguments.out and arguments.out.is_file():
        results = json.loads(arguments.out.read_text())
    keys = [
        [f"{row}, {arguments.steps} steps, seed {k + 1}" for k in range(arguments.seeds)]
        for row in arguments.rows
    ]
    for seed in range(1, arguments.seeds + 1):
        for row, names in zip(arguments.rows, keys, strict=True):
            if names[seed - 1] not in results:
                results[names[seed - 1]] = measured(row, seed=seed, steps=arguments.steps)
                if arguments.out:
                    arguments.out.write_text(json.dumps(results))
    print("| generator | bits/dim | W | modes | within 3 sigma | CPU seconds |\n|---|---|---|---|---|---|")
    for row, names in zip(arguments.rows, keys, strict=True):
        print(shown(row, [results[name] for name in names]))


if __name__ == "__main__":
    main()
