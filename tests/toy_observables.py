"""Two observables that bend and part with a condition, and what every model of observables has to do with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import uproot
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from hepgan.config import Config, parse
from hepgan.inference.generator import Generator
from hepgan.training import checkpoint
from hepgan.training.loop import load_generator, train

N = 8000


def banana(n: int, *, seed: int) -> dict[str, NDArray[Any]]:
    """Two branches of x that part with the condition c, and y on a parabola of x."""
    rng = np.random.default_rng(seed)
    c = rng.random(n)
    x = rng.choice([-1, 1], n) * (0.5 + c) + 0.2 * rng.standard_normal(n)
    y = x**2 + 0.3 * rng.standard_normal(n)
    return {name: values.astype(np.float32) for name, values in (("c", c), ("x", x), ("y", y))}


def write_banana(path: Path) -> Path:
    """The training file."""
    branches = banana(N, seed=1)
    with uproot.recreate(path) as file:
        file.mktree("events", dict.fromkeys(branches, np.float32))
        file["events"].extend(branches)
    return path


def recipe(file: Path, model: dict[str, Any], objective: str, *, steps: int, **training: Any) -> Config:
    """A small model of it."""
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
    """Twenty steps, stopped and resumed, are twenty steps; loaded and exported, the generator gives the same."""
    straight = train(build(steps=20, validate_every=10), folder / "straight", progress=False)
    stopped = train(build(steps=20, validate_every=10, max_minutes=1e-9), folder / "stopped", progress=False)
    states = [checkpoint.load(run / "checkpoint" / "state.safetensors") for run in (straight, stopped)]
    assert states[1][1]["step"] < 20
    train(build(steps=20, validate_every=10), stopped, resume=True, progress=False)
    (a, _), (b, _) = (
        checkpoint.load(run / "checkpoint" / "state.safetensors") for run in (straight, stopped)
    )
    assert a.keys() == b.keys()
    assert [key for key in a if key.partition(".")[0] != "best" and not torch.equal(a[key], b[key])] == []
    last = json.loads((straight / "metrics.jsonl").read_text().splitlines()[-1])
    assert all(np.isfinite(value) for value in last.values())

    generator, config, _ = load_generator(straight)
    model = Generator(straight / "model.onnx")
    assert config.model.name == generator.model.name
    assert all(passed for _, passed, _ in model.check())
    condition = np.linspace(0.1, 0.9, 50, dtype=np.float32)[:, None]
    latent = np.random.default_rng(0).standard_normal((50, generator.n_latent), dtype=np.float32)
    with torch.no_grad():
        (expected,) = generator(torch.from_numpy(condition), torch.from_numpy(latent))
    (got,) = model(condition, latent)
    np.testing.assert_allclose(got, expected.numpy(), rtol=1e-4, atol=1e-4)


def distances(run: Path) -> list[float]:
    """KS distances to fresh data of x, y, and of y at c above 1/2: 0.01 is what 20,000 events know."""
    data = banana(20_000, seed=2)
    (made,) = Generator(run / "model.onnx").sample(data["c"][:, None], seed=1, extrapolate=True)
    high = data["c"] > 0.5
    pairs = ((data["x"], made[:, 0]), (data["y"], made[:, 1]), (data["y"][high], made[high, 1]))
    return [float(ks_2samp(a, b).statistic) for a, b in pairs]
