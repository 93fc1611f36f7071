"""Training loop: one loop for every model and objective, from a configuration to a run folder.

Set up (`hepgan.training.setup`), then take turns step by step: critic against generator, as `hepgan.objectives` says;
log, validate and save on the way. All random numbers come from two sources whose states are part of the checkpoint, so
that a run that is killed at any moment resumes as if it had not been.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

from torch import Tensor

from hepgan.config import Config
from hepgan.errors import Interrupted
from hepgan.objectives import OBJECTIVES, chosen
from hepgan.progress import shown, stage
from hepgan.training.divergence import Watch
from hepgan.training.log import EventRate, Log, ProgressBar
from hepgan.training.run_folder import export_trained
from hepgan.training.setup import Run, set_up
from hepgan.training.signals import stop_signals
from hepgan.training.steps import critic_step, generator_step, set_learning_rates, update_average

__all__ = ["train"]

_LOOK_EVERY = 50  # steps between looks for a divergence, which wait for the device, if nothing is logged


def train(config: Config, out: str | Path, *, resume: bool = False, progress: bool = True) -> Path:
    """Train as the configuration says and leave a run folder.

    The folder holds ``config.toml``, ``checkpoint/state.safetensors``, ``metrics.jsonl`` (a line a log step) and
    ``model.onnx`` with the averaged generator of the smallest validation distance.

    Args:
        config: Data, model, objective and settings of the training.
        out: The run folder.
        resume: Go on with an existing run.
        progress: Show progress bars on stderr.

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
        Interrupted: After SIGINT (Ctrl-C) or SIGTERM; state and exported model are saved. A second signal is a plain
            KeyboardInterrupt at once; the last checkpoint stays.
    """
    with shown(progress):
        run = set_up(config, out, resume=resume, progress=progress)
        interrupted = _train(run)
        with stage("exporting the model"):
            export_trained(run.folder)
    if interrupted:
        step = run.state.step
        message = f"stopped at step {step} by request; --resume goes on from here"
        raise Interrupted(message, run=run.folder.path, step=step)
    return run.folder.path


def _train(run: Run) -> bool:
    """Train until the last step, the time limit or a signal; return whether a signal came first."""
    state, folder, settings = run.state, run.folder, run.config.training
    time_limit = math.inf if settings.max_minutes is None else 60 * settings.max_minutes
    watch = Watch(state, run.events, batch_size=settings.batch_size)
    logged = state.step - (state.unvalidated is not None)
    with (
        folder.alone(),
        stop_signals() as signals,
        Log(folder, step=logged, tensorboard=settings.tensorboard) as log,
        ProgressBar(settings.steps, state.step) as bar,
    ):
        rate, saved = EventRate(), time.monotonic()
        started = saved - state.elapsed
        while not signals:
            if state.unvalidated is not None:  # also the start, and what a signal has cut short
                line = state.unvalidated
                distance = state.validate(run.distance, stopped=signals)
                if distance is None:
                    break
                line |= {"distance": distance}
                log.write({"step": state.step, "time": round(state.elapsed, 3), **line})
                state.save(folder.checkpoint)
                saved = time.monotonic()
                rate.restart()
                bar.update(state.step, line)
            if state.step >= settings.steps or state.elapsed >= time_limit:
                break

            losses = _step(run, watch, rate)
            state.step += 1
            update_average(state, decay=settings.ema)
            state.elapsed = time.monotonic() - started

            is_last = state.step == settings.steps or state.elapsed >= time_limit
            validating = is_last or state.step % settings.validate_every == 0
            saving = time.monotonic() - saved >= 60 * settings.save_every_minutes
            line = {}
            if validating or saving or state.step % _LOOK_EVERY == 0 or state.step % settings.log_every == 0:
                watch.look()
            if validating or state.step % settings.log_every == 0:
                line = {name: loss.item() for name, loss in losses.items()}
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
        interrupted = bool(signals) and (state.step < settings.steps or state.unvalidated is not None)
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
            batch = run.events.batch(settings.batch_size, rng=state.batch_rng)
            losses |= critic_step(state, batch, played, regulariser, config)
            name = f"turn {turn + 1} of the critic in step {state.step + 1}"
            watch.see(state.critic, losses, turn=name)
            rate.count(len(batch))
    if played.game is None or state.step >= settings.pretrain + settings.warm_up:
        batch = run.events.batch(settings.batch_size, rng=state.batch_rng)
        losses |= generator_step(state, batch, played, config)
        watch.see(state.generator, losses, turn=f"the generator's turn in step {state.step + 1}")
        rate.count(len(batch))
    return losses
