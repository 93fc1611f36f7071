"""Steps of a training in double precision, which several workers take together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from hepgan.config import Config
from hepgan.data.tensors import TensorEvents
from hepgan.objectives import chosen
from hepgan.training.setup import set_up
from hepgan.training.steps import critic_step, generator_step
from hepgan.training.workers import Workers


def double(events: TensorEvents) -> TensorEvents:
    return replace(
        events,
        condition=events.condition.double(),
        outputs=tuple(output.double() for output in events.outputs),
        weights=events.weights.double(),
    )


def steps(workers: Workers, recipes: dict[str, Config], folder: Path, n: int) -> dict[str, Tensor]:
    """Take `n` steps of each recipe; each worker leaves its weights and losses in the folder.

    Adam divides a gradient by its own size. In single precision, gradients that vanish but for rounding therefore
    become steps of any sign, also in one process; in double precision, its epsilon is far above the rounding.
    """
    tensors = {}
    torch.set_default_dtype(torch.float32)
    for name, recipe in recipes.items():
        out = folder / f"{name}-{workers.size}"
        run = set_up(recipe, out, resume=False, progress=False, workers=workers)
        state, events = run.state, double(run.events)
        (objective, regulariser), size = chosen(recipe.objective), recipe.training.batch_size
        for network in (state.generator, state.critic):
            network.double()
        torch.set_default_dtype(torch.float64)
        losses: dict[str, Tensor] = {}
        try:
            for _ in range(n):
                for _ in range(2):
                    batch = events.batch(size, rng=state.batch_rng)
                    losses |= critic_step(state, batch, objective, regulariser, recipe)
                losses |= generator_step(
                    state, events.batch(size, rng=state.batch_rng), objective, recipe
                )
        finally:
            torch.set_default_dtype(torch.float32)
        tensors |= {f"{name}.generator.{key}": x.detach() for key, x in state.generator.state_dict().items()}
        tensors |= {f"{name}.critic.{key}": x.detach() for key, x in state.critic.state_dict().items()}
        tensors |= {f"{name}.{key}": torch.tensor(x) for key, x in workers.mean(losses, batch=size).items()}
    torch.save(tensors, folder / f"{workers.size}-{workers.rank}.pt")
    return tensors
