"""Two observables with two modes and a curved correlation, and a check that every model of tracks has to pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import uproot
from numpy.typing import NDArray
from run_files import differing_tensors, log_lines, saved_progress
from scipy.stats import ks_2samp

from hepgan.config import Config, parse
from hepgan.inference.generator import Generator
from hepgan.training.loop import train
from hepgan.training.run_folder import load_generator

N = 8000


def banana(n: int, *, seed: int) -> dict[str, NDArray[Any]]:
    """Draw c, x and y: x has two modes whose distance grows with the condition c, y follows a parabola of x."""
    rng = np.random.default_rng(seed)
    c = rng.random(n)
    x = rng.choice([-1, 1], n) * (0.5 + c) + 0.2 * rng.standard_normal(n)
    y = x**2 + 0.3 * rng.standard_normal(n)
    return {name: values.astype(np.float32) for name, values in (("c", c), ("x", x), ("y", y))}


def write_banana(path: Path) -> Path:
    """Write the training file."""
    branches = banana(N, seed=1)
    with uproot.recreate(path) as file:
        file.mktree("events", dict.fromkeys(branches, np.float32))
        file["events"].extend(branches)
    return path


def recipe(file: Path, model: dict[str, Any], objective: str, *, steps: int, **training: Any) -> Config:
    """Configure a small model of the training file."""
    settings = {
        "steps": steps,
        "lr_generator": 3e-3,
        "lr_critic": 2e-3,
        "betas": [0.5, 0.9],
        "ema": 0.95,
        "warm_up": 5,
        "log_every": steps,
        "validate_every": steps,
        "threads": 1,
    }
    small = {"width": 32, "depth": 1, "hinges": 4, "critic_width": 32, "critic_depth": 1}
    return parse(
        {
            "data": {
                "files": [str(file)],
                "conditions": [{"name": "c", "transform": "linear"}],
                "targets": [{"name": name, "transform": "linear"} for name in "xy"],
            },
            "model": small | model,
            "objective": {"name": objective},
            "training": settings | training,
        }
    )


def check_stop_and_resume(build: Any, folder: Path) -> None:
    """Check that a run that is stopped and resumed equals one that is not, and that the exported generator agrees."""
    straight = train(build(steps=20, validate_every=10), folder / "straight", progress=False)
    stopped = train(build(steps=20, validate_every=10, max_minutes=1e-9), folder / "stopped", progress=False)
    assert saved_progress(stopped).step < 20
    train(build(steps=20, validate_every=10), stopped, resume=True, progress=False)
    assert {key.partition(".")[0] for key in differing_tensors(straight, stopped)} <= {"best"}
    assert all(np.isfinite(value) for value in log_lines(straight)[-1].values())

    generator, config, _ = load_generator(straight)
    exported = Generator(straight / "model.onnx")
    assert config.model.name == generator.model.name
    assert all(passed for _, passed, _ in exported.check())
    condition = np.linspace(0.1, 0.9, 50, dtype=np.float32)[:, None]
    latent = np.random.default_rng(0).standard_normal((50, generator.n_latent), dtype=np.float32)
    with torch.no_grad():
        (expected,) = generator(torch.from_numpy(condition), torch.from_numpy(latent))
    (got,) = exported(condition, latent)
    np.testing.assert_allclose(got, expected.numpy(), rtol=1e-4, atol=1e-4)


def distances(run: Path) -> list[float]:
    """KS distances of x, of y, and of y at c > 1/2 to fresh data; 0.01 is the resolution of 20,000 events."""
    data = banana(20_000, seed=2)
    (generated,) = Generator(run / "model.onnx").sample(data["c"][:, None], seed=1, extrapolate=True)
    high = data["c"] > 0.5
    pairs = (
        (data["x"], generated[:, 0]),
        (data["y"], generated[:, 1]),
        (data["y"][high], generated[high, 1]),
    )
    return [float(ks_2samp(a, b).statistic) for a, b in pairs]
