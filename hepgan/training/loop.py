"""Training loop: one loop for every model and objective, from a configuration to a run folder.

Set up (`hepgan.training.setup`), then take turns step by step: critic against generator, as `hepgan.objectives` says;
log, validate and save on the way. All random numbers come from two sources whose states are part of the checkpoint, so
that a run that is killed at any moment resumes as if it had not been.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from hepgan.config import Config
from hepgan.errors import Interrupted, TrainingDiverged
from hepgan.objectives import OBJECTIVES, chosen
from hepgan.progress import shown, stage
from hepgan.training.log import EventRate, Log, ProgressBar
from hepgan.training.run_folder import export_trained
from hepgan.training.setup import Run, set_up
from hepgan.training.signals import stop_signals
from hepgan.training.steps import critic_step, generator_step, set_learning_rates, update_average

__all__ = ["train"]


def train(
    config: Config,
    out: str | Path,
    *,
    resume: bool = False,
    progress: bool = True,
    validated: Callable[[Run], object] = bool,
) -> Path:
    """Train as the configuration says and leave a run folder.

    The folder holds ``config.toml``, ``checkpoint/state.safetensors``, ``metrics.jsonl`` (a line a log step) and
    ``model.onnx`` with the averaged generator of the smallest validation distance.

    Args:
        config: Data, model, objective and settings of the training.
        out: The run folder.
        resume: Go on with an existing run.
        progress: Show progress bars on stderr.
        validated: Called before the first step and after each validation, once it is saved; an error that it raises
            ends the training there. Its result is ignored.

    Returns:
        The run folder.

    Raises:
        ConfigError: If the folder has a run already (without `resume`), or the configuration does not fit the data or
            changed (with `resume`).
        DataError: If the data cannot be used, or changed (with `resume`).
        NotFoundError: If files, or the run to resume, are missing.
        TrainingDiverged: If a loss stops being finite; the last checkpoint stays.
        ExportError: If the exported model cannot be made; the last checkpoint stays.
        Interrupted: After SIGINT (Ctrl-C) or SIGTERM; state and exported model are saved. A second signal is a plain
            KeyboardInterrupt at once; the last checkpoint stays.
    """
    with shown(progress):
        run = set_up(config, out, resume=resume, progress=progress)
        interrupted = _train(run, validated)
        with stage("exporting the model"):
            export_trained(run.folder)
    if interrupted:
        step = run.state.step
        message = f"stopped at step {step} by request; --resume goes on from here"
        raise Interrupted(message, run=run.folder.path, step=step)
    return run.folder.path


def _train(run: Run, validated: Callable[[Run], object]) -> bool:
    """Train until the last step, the time limit or a signal; return whether a signal came first."""
    config, state, folder, settings = run.config, run.state, run.folder, run.config.training
    objective, regulariser = chosen(config.objective)
    time_limit = math.inf if settings.max_minutes is None else 60 * settings.max_minutes
    losses: dict[str, Tensor] = {}
    is_new = not state.best
    with (
        Log(folder, step=-1 if is_new else state.step, tensorboard=settings.tensorboard) as log,
        ProgressBar(settings.steps, state.step) as bar,
        stop_signals() as signals,
    ):
        if is_new:
            log.write({"step": 0, "time": 0.0, "distance": state.validate(run.distance)})
        validated(run)
        started, rate = time.monotonic() - state.elapsed, EventRate()
        while state.step < settings.steps and state.elapsed < time_limit and not signals:
            set_learning_rates(state, settings)
            played = OBJECTIVES["energy-score"] if state.step < settings.pretrain else objective

            if played.game is not None:
                for _ in range(config.objective.n_critic):
                    batch = run.events.batch(settings.batch_size, rng=state.batch_rng)
                    losses |= critic_step(state, batch, played, regulariser, config)
                    rate.count(len(batch))
            if played.game is None or state.step >= settings.pretrain + settings.warm_up:
                batch = run.events.batch(settings.batch_size, rng=state.batch_rng)
                losses |= generator_step(state, batch, played, config)
                rate.count(len(batch))
            state.step += 1
            update_average(state, decay=settings.ema)

            state.elapsed = time.monotonic() - started
            is_last = state.step == settings.steps or state.elapsed >= time_limit
            validating = is_last or state.step % settings.validate_every == 0
            line: dict[str, float] = {}
            if validating or state.step % settings.log_every == 0:
                line = {name: loss.item() for name, loss in losses.items()}
                line["lr"] = state.generator_optimizer.param_groups[0]["lr"]
                line["samples_per_second"] = rate.per_second()
                if not all(map(math.isfinite, line.values())):
                    raise TrainingDiverged(
                        f"training: losses are not finite at step {state.step} ({line}); lower lr_critic or "
                        "lr_generator, or raise objective.penalty; the last checkpoint is in "
                        f"{folder.checkpoint.parent}"
                    )
            if validating:
                line["distance"] = state.validate(run.distance)
            if line:
                log.write({"step": state.step, "time": round(state.elapsed, 3), **line})
            if validating:
                state.save(folder.checkpoint)
                validated(run)
                rate.restart()
            bar.update(state.step, line)
        interrupted = bool(signals) and state.step < settings.steps
        if interrupted:
            state.save(folder.checkpoint)
    return interrupted
