"""Steps of a training that several workers take together."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from hepgan.config import Config
from hepgan.objectives import chosen
from hepgan.training.setup import set_up
from hepgan.training.steps import critic_step, generator_step
from hepgan.training.workers import Workers

SMOOTH = 1e-2


def steps(workers: Workers, recipes: dict[str, Config], folder: Path, n: int) -> dict[str, Tensor]:
    """Take `n` steps of each recipe; each worker leaves its weights and losses in the folder.

    Adam divides a gradient by its own size: one that vanishes but for rounding becomes a step of any sign, in one
    process as in many. A larger epsilon makes the steps a smooth function of the gradients.
    """
    tensors = {}
    for name, recipe in recipes.items():
        run = set_up(recipe, folder / f"{name}-{workers.size}", resume=False, progress=False, workers=workers)
        state, size = run.state, recipe.training.batch_size
        objective, regulariser = chosen(recipe.objective)
        for optimizer in (state.generator_optimizer, state.critic_optimizer):
            optimizer.param_groups[0]["eps"] = SMOOTH
        losses: dict[str, Tensor] = {}
        for step in range(n + 1):
            for part in ("generator", "critic"):
                values = getattr(state, part).state_dict()
                tensors |= {f"{name}.{part}.{key}.{step}": x.clone() for key, x in values.items()}
            for _ in range(2):
                losses |= critic_step(state, run.batch(), objective, regulariser, recipe)
            losses |= generator_step(state, run.batch(), objective, recipe)
        tensors |= {f"{name}.{key}": torch.tensor(x) for key, x in workers.mean(losses, batch=size).items()}
    torch.save(tensors, folder / f"{workers.size}-{workers.rank}.pt")
    return tensors
