"""One step of the critic and one step of the generator, of any objective.

Both take the state of the run and a batch, change the weights of one network, and return the numbers to log.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from hepgan.config import Config, TrainingConfig
from hepgan.data.draws import normal
from hepgan.data.tensors import TensorEvents
from hepgan.models.critic_view import CriticView
from hepgan.objectives import (
    OBJECTIVES,
    Objective,
    Regulariser,
    energy_score,
    expectation,
    first_score,
    gradient_penalty,
    linear_gradient_penalty,
)
from hepgan.training.state import RunState
from hepgan.training.workers import Workers

__all__ = ["critic_step", "generator_step", "set_learning_rates", "update_average", "weights"]

_WARM_UP = 10  # steps; the average starts short, so that the first checkpoints are not the initial weights


def critic_step(
    state: RunState, batch: TensorEvents, objective: Objective, regulariser: Regulariser, config: Config
) -> dict[str, Tensor]:
    """Raise the value of the game by one step of the critic.

    Args:
        state: The run; critic and its optimizer change.
        batch: B real events.
        objective: An objective with a game.
        regulariser: Keeps the critic from becoming too steep.
        config: Strengths in ``objective``, precision and gradient clipping in ``training``.

    Returns:
        () numbers of this worker's rows, by their names in the log: critic_loss, the value of the game, and penalty if
        there is one.

    Raises:
        ValueError: If the objective has no critic.
    """
    if objective.game is None:
        raise ValueError("critic_step: expected an objective with a critic, got one without")
    settings, losses = config.objective, {}
    view = state.critic.view(state.generator, batch)
    with torch.no_grad():
        fake = _generated(state, view, objective)
    with _autocast(state):
        context = view.context.repeat(1 + len(fake), 1)
        events = torch.cat([x.T for x in (view.real, *fake)], 1).T
        scores = state.critic.scores(events, context).split(len(view.real))
        other = scores[-1]
        v_real, v_fake = (objective.witness(s, other) for s in scores[:2])
        value = objective.game(v_real, v_fake, batch.weights, smoothing=settings.label_smoothing)
        loss = -value
        if regulariser.at is not None:
            at, cost = regulariser.at, regulariser.cost
            penalty = _penalty(state, view, fake[0], other.detach(), batch.weights, objective, at, cost)
            loss = loss + settings.penalty * penalty
            losses["penalty"] = penalty
    _descend(loss, state.critic_optimizer, state.workers, config.training)
    if regulariser.clip:
        _clip_weights(state.critic, settings.clip)
    return losses | {"critic_loss": loss, objective.game.value: value}


def _penalty(
    state: RunState,
    view: CriticView,
    fake: Tensor,
    other: Tensor,
    weights: Tensor,
    objective: Objective,
    at: Callable[[Tensor, Tensor, torch.Generator], Tensor],
    cost: Callable[[Tensor], Tensor],
) -> Tensor:
    """Gradient penalty of the critic's witness; `other` are the scores of the last set of generated events."""
    critic, context, rng = state.critic, view.context, state.noise_rng
    events = view.real, fake, weights
    if objective.witness is not first_score:

        def witness(x: Tensor) -> Tensor:
            return objective.witness(critic(x, context), other)

        return gradient_penalty(witness, *events, rng=rng, at=at, cost=cost, blocks=view.blocks)

    def traced(x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        scores, along = critic.traced(x, context)
        return scores[:, 0], along

    return linear_gradient_penalty(traced, *events, rng=rng, at=at, cost=cost, blocks=view.blocks)


def generator_step(
    state: RunState, batch: TensorEvents, objective: Objective, config: Config
) -> dict[str, Tensor]:
    """Lower the generator's loss by one step of the generator.

    Args:
        state: The run; generator and its optimizer change.
        batch: B real events.
        objective: Gives the loss, to which a model may add its own.
        config: Precision and gradient clipping in ``training``.

    Returns:
        () generator_loss.
    """
    for weight in weights(state.critic_optimizer):
        weight.requires_grad_(False)
    losses = []
    if objective.generator is not None:
        view, score = state.critic.view(state.generator, batch), config.objective.score
        least = OBJECTIVES["energy-score"].fakes if score else 0
        real, fakes = view.real, _generated(state, view, objective, least=least)
        if score:
            losses.append(score * energy_score(real, fakes[0], fakes[1], batch.weights))
        with _autocast(state):
            if objective.game is not None:
                fakes = [state.critic.scores(x, view.context) for x in fakes]
                real = state.critic.scores(real, view.context) if objective.compares else real
            losses.append(objective.generator(real, fakes, batch.weights))
    if objective.own:
        with _autocast(state):
            losses.append(expectation(state.generator.loss(batch, rng=state.noise_rng), batch.weights))
    loss = torch.stack(losses).sum()
    _descend(loss, state.generator_optimizer, state.workers, config.training)
    for weight in weights(state.critic_optimizer):
        weight.requires_grad_(True)
    return {"generator_loss": loss}


def set_learning_rates(state: RunState, settings: TrainingConfig) -> None:
    """Let both learning rates fall with the step along a cosine, from their full values to ``decay`` times these."""
    cosine = 0.5 * (1 + math.cos(math.pi * (state.step / settings.steps)))
    factor = settings.decay + (1 - settings.decay) * cosine
    for optimizer, rate in (
        (state.generator_optimizer, settings.lr_generator),
        (state.critic_optimizer, settings.lr_critic),
    ):
        for group in optimizer.param_groups:
            group["lr"] = rate * factor


@torch.no_grad()
def update_average(state: RunState, *, decay: float) -> None:
    """Move the averaged generator towards the generator, by 1 - decay, or faster in the first steps."""
    decay = min(decay, state.step / (state.step + _WARM_UP))
    slow, fast = ([*network.parameters()] for network in (state.average, state.generator))
    torch._foreach_lerp_(slow, fast, 1 - decay)


def _generated(state: RunState, view: CriticView, objective: Objective, *, least: int = 0) -> list[Tensor]:
    """Draw independent generated events (B, F) for each real one; of alpha-GAN they include reconstructions."""
    shape = state.generator.n_latent, len(view.context)  # as models have it in memory
    latents = [normal(*shape, rng=state.noise_rng, axis=1).T for _ in range(max(objective.fakes, least))]
    return [view.fake(view.codes(latent) if objective.own else latent) for latent in latents]


def _autocast(state: RunState) -> AbstractContextManager[object]:
    """Compute in the precision of the run."""
    return torch.autocast(state.device, dtype=torch.bfloat16) if state.half else nullcontext()


def weights(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """The weights that an optimizer changes: all of its network."""
    return optimizer.param_groups[0]["params"]  # type: ignore[no-any-return]


def _descend(
    loss: Tensor,
    optimizer: torch.optim.Optimizer,
    workers: Workers,
    settings: TrainingConfig,
) -> None:
    """Take one step of an optimizer along the gradient of the batch, shortened to ``grad_clip`` if that is positive."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    workers.average_gradients(weights(optimizer), batch=settings.batch_size)
    if settings.grad_clip > 0:
        nn.utils.clip_grad_norm_(weights(optimizer), settings.grad_clip)
    optimizer.step()


@torch.no_grad()
def _clip_weights(critic: nn.Module, limit: float) -> None:
    for parameter in critic.parameters():
        parameter.clamp_(-limit, limit)
