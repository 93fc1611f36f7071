"""Training loop: one loop for every model and objective, from a configuration to a run folder.

Set up (`hepgan.training.setup`), then take turns step by step: critic against generator, as `hepgan.objectives` says;
log, validate and save on the way. All random numbers come from two sources whose states are part of the checkpoint, so
that a run that is killed at any moment resumes as if it had not been. Several workers (`hepgan.training.workers`) run
the same loop, each on its rows of every batch; they stop together, and the first of them writes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

from torch import Tensor

from hepgan.config import Config
from hepgan.errors import Interrupted
from hepgan.objectives import OBJECTIVES, chosen
from hepgan.progress import shown, stage
from hepgan.training.divergence import Watch
from hepgan.training.launch import number_of_workers, together
from hepgan.training.log import EventRate, Log, ProgressBar
from hepgan.training.run_folder import export_trained
from hepgan.training.setup import Run, check_shared, set_up
from hepgan.training.signals import stop_signals
from hepgan.training.steps import critic_step, generator_step, set_learning_rates, update_average, weights
from hepgan.training.workers import Workers

__all__ = ["train"]

_LOOK_EVERY = 50  # steps between looks for a divergence, which wait for the device, if nothing is logged


def train(
    config: Config,
    out: str | Path,
    *,
    resume: bool | Literal["auto"] = False,
    workers: int = 1,
    progress: bool = True,
    validated: Callable[[Run], object] = bool,
) -> Path:
    """Train as the configuration says and leave a run folder.

    The folder holds ``config.toml``, ``checkpoint/state.safetensors``, ``metrics.jsonl`` (a line a log step) and
    ``model.onnx`` with the averaged generator that ``training.select`` chooses.

    Args:
        config: Data, model, objective and settings of the training.
        out: The run folder.
        resume: Go on with an existing run; "auto": if there is one, else start it.
        workers: Processes that train together on this machine; started here, unless torchrun has.
        progress: Show progress bars on stderr.
        validated: Called before the first step and after each validation, once it is saved, in the first worker; an
            error that it raises ends the training there. Its result is ignored.

    Returns:
        The run folder.

    Raises:
        ConfigError: If the folder has a run already (without `resume`), another process trains in it, or the
            configuration does not fit the data or changed (with `resume`).
        DataError: If the data cannot be used, or changed (with `resume`).
        NotFoundError: If files, or the run to resume, are missing.
        TrainingDiverged: If a loss or weight stops being finite; the last checkpoint stays.
        OSError: If the run folder cannot be written, or the disk is full; the last checkpoint stays.
        ExportError: If the exported model cannot be made; the last checkpoint stays.
        WorkerFailed: If another worker failed or was killed; the last checkpoint stays.
        Interrupted: After SIGINT (Ctrl-C) or SIGTERM; state and exported model are saved. A second signal is a plain
            KeyboardInterrupt at once; the last checkpoint stays.
    """
    size = number_of_workers(workers)
    check_shared(config, size)
    with together(size, _work, config, out, resume) as group:
        return _work(group, config, out, resume, progress=progress, validated=validated)


def _work(
    workers: Workers,
    config: Config,
    out: str | Path,
    resume: bool | Literal["auto"],
    *,
    progress: bool = False,
    validated: Callable[[Run], object] = bool,
) -> Path:
    """Train as one of the workers; arguments, result and errors as those of `train`."""
    progress = progress and workers.is_first
    with shown(progress):
        run = set_up(config, out, resume=resume, progress=progress, workers=workers)
        interrupted = _train(run, validated)
        if workers.is_first:
            with stage("exporting the model"):
                export_trained(run.folder)
    if interrupted and workers.is_first:
        step = run.state.step
        message = f"stopped at step {step} by request; --resume goes on from here"
        raise Interrupted(message, run=run.folder.path, step=step)
    return run.folder.path


def _train(run: Run, validated: Callable[[Run], object] = bool) -> bool:
    """Train until the last step, the time limit or a signal; return whether a signal came first."""
    state, folder, settings = run.state, run.folder, run.config.training
    workers, batch_size = state.workers, settings.batch_size
    time_limit = math.inf if settings.max_minutes is None else 60 * settings.max_minutes
    watch = Watch(state, run.events, batch_size=batch_size)
    logged, stopping = state.step - (state.unvalidated is not None), 0.0
    with (
        folder.alone() if workers.is_first else nullcontext(),
        stop_signals() as signals,
        Log(folder, step=logged, tensorboard=settings.tensorboard, writes=workers.is_first) as log,
        ProgressBar(settings.steps, state.step) as bar,
    ):
        rate, saved = EventRate(), time.monotonic()
        started = saved - state.elapsed
        if state.unvalidated is None:
            validated(run)
        while not stopping:
            if state.unvalidated is not None:  # also the start, and what a signal has cut short
                line = state.unvalidated
                measured = state.validate(run.validation, stopped=signals)
                if measured is None:
                    stopping = 1.0
                    break
                line |= measured
                log.write({"step": state.step, "time": round(state.elapsed, 3), **line})
                state.save(folder.checkpoint)
                saved = time.monotonic()
                validated(run)
                rate.restart()
                bar.update(state.step, line)
            if state.step >= settings.steps or state.elapsed >= time_limit:
                break

            losses = _step(run, watch, rate)
            state.step += 1
            update_average(state, decay=settings.ema)
            now = time.monotonic()
            state.elapsed, unsaved, stopping = workers.largest(now - started, now - saved, len(signals))

            is_last = state.step == settings.steps or state.elapsed >= time_limit
            validating = is_last or state.step % settings.validate_every == 0
            saving = unsaved >= 60 * settings.save_every_minutes
            line = {}
            if validating or saving or state.step % _LOOK_EVERY == 0 or state.step % settings.log_every == 0:
                watch.look()
            if validating or state.step % settings.log_every == 0:
                line = workers.mean(losses, batch=batch_size)
                line["lr"] = state.generator_optimizer.param_groups[0]["lr"]
                line["samples_per_second"] = rate.per_second()
            if validating:
                state.unvalidated = line
            elif line:
                log.write({"step": state.step, "time": round(state.elapsed, 3), **line})
            if saving:
                state.save(folder.checkpoint)
                saved = time.monotonic()
            bar.update(state.step, line)
        interrupted = bool(stopping) and (state.step < settings.steps or state.unvalidated is not None)
        if interrupted:
            watch.look()
            state.save(folder.checkpoint)
    return interrupted


def _step(run: Run, watch: Watch, rate: EventRate) -> dict[str, Tensor]:
    """Let the critic, and then the generator, take their turns of one step; return their losses by name."""
    config, state, settings = run.config, run.state, run.config.training
    objective, regulariser = chosen(config.objective)
    set_learning_rates(state, settings)
    played = OBJECTIVES["energy-score"] if state.step < settings.pretrain else objective
    losses: dict[str, Tensor] = {}
    if played.game is not None:
        for turn in range(config.objective.n_critic):
            batch = run.batch()
            losses |= critic_step(state, batch, played, regulariser, config)
            name = f"turn {turn + 1} of the critic in step {state.step + 1}"
            watch.see(weights(state.critic_optimizer), losses, turn=name)
            rate.count(settings.batch_size)
    if played.game is None or state.step >= settings.pretrain + settings.warm_up:
        batch = run.batch()
        losses |= generator_step(state, batch, played, config)
        watch.see(
            weights(state.generator_optimizer), losses, turn=f"the generator's turn in step {state.step + 1}"
        )
        rate.count(settings.batch_size)
    return losses
