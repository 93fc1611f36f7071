"""Training: one loop for every model and objective, from a configuration to a run folder.

`train` reads from top to bottom: read the data, fit what statistics know, then play the game of
`hepgan.objectives` step by step; log, validate, checkpoint on the way. All randomness comes from two explicit
generators whose state is part of the checkpoint, so that a run killed at any moment goes on as if it had not been.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import math
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hepgan import config as configuration
from hepgan.config import Config
from hepgan.data.splits import training_events
from hepgan.data.tensors import TensorEvents
from hepgan.files import digest, expand, write_text
from hepgan.models import MODELS, CaloGenerator, ObservablesGenerator
from hepgan.models.critic_view import CriticView
from hepgan.objectives import OBJECTIVES, Objective, chosen, expectation, gradient_penalty
from hepgan.training import checkpoint
from hepgan.training.validation import PhysicsDistance

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from hepgan.models.spectral_norm import normalise_spectrum

__all__ = ["density_ratio", "export_run", "load_generator", "train"]

logger = logging.getLogger(__name__)

_FREE_TO_CHANGE = {f"training.{key}" for key in ("max_minutes", "threads", "log_every", "tensorboard")}
_EMA_WARM_UP = (
    10  # steps; the average starts short, so that the first checkpoints are not the initial weights
)


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "training.device: expected a machine with CUDA for 'cuda', got none; use 'auto' or 'cpu'"
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _learning_rate(config: Config, step: int) -> float:
    """Factor of the learning rates: cosine from 1 to training.decay."""
    progress = step / config.training.steps
    return config.training.decay + (1 - config.training.decay) * 0.5 * (1 + math.cos(math.pi * progress))


@torch.no_grad()
def _average(ema: nn.Module, model: nn.Module, *, decay: float) -> None:
    for slow, fast in zip(ema.parameters(), model.parameters(), strict=True):
        slow.lerp_(fast, 1 - decay)


@torch.no_grad()
def _clip(critic: nn.Module, limit: float) -> None:
    for parameter in critic.parameters():
        parameter.clamp_(-limit, limit)


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect Ctrl-C and termination requests instead of dying of them in the middle of a step."""
    received: list[int] = []
    previous = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            previous[number] = signal.signal(number, lambda n, _: received.append(n))
        except ValueError:  # not in the main thread, which alone receives signals
            break
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _changed_keys(old: Any, new: Any, prefix: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            change
            for key in sorted(old.keys() | new.keys())
            for change in _changed_keys(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else key)
        ]
    return [] if old == new else [f"{prefix}: was {old!r}, is {new!r}"]


def _check_folder(
    config: Config, out: Path, *, resume: bool, data_digest: str, device: torch.device
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Check that the run folder is free, or the one to go on with; return its checkpoint if there is one."""
    stored = out / "config.toml"
    state = out / "checkpoint" / "state.safetensors"
    if not resume:
        if stored.exists():
            raise ValueError(
                f"run folder {out} exists already; --resume goes on with it, another --out starts anew"
            )
        return None
    if not stored.exists():
        raise FileNotFoundError(
            f"run folder {out} has no config.toml to resume from; leave out --resume to start"
        )
    changes = _changed_keys(
        tomllib.loads(stored.read_text(encoding="utf-8")), tomllib.loads(configuration.dump(config))
    )
    changes = [change for change in changes if change.split(":")[0] not in _FREE_TO_CHANGE]
    if changes:
        raise ValueError(
            f"run folder {out} was started with another configuration ({'; '.join(changes)}); "
            "resume with the same one, or start a new run with another --out"
        )
    if not state.exists():
        return None
    tensors, texts = checkpoint.load(state)
    if texts["device"] != device.type:
        raise ValueError(
            f"run folder {out} was trained on {texts['device']!r}, and this is {device.type!r}, which draws other "
            f"random numbers; resume with --device {texts['device']}, or start a new run with another --out"
        )
    if texts["data_sha256"] != data_digest:
        raise ValueError(
            f"run folder {out} was trained on other data (the files' sha256 differs); restore the files, or start a "
            "new run with another --out"
        )
    return tensors, texts


def train(config: Config, out: str | Path, *, resume: bool = False, progress: bool = True) -> Path:
    """Train as the configuration says and leave a run folder.

    The folder holds ``config.toml``, ``checkpoint/state.safetensors``, ``metrics.jsonl`` (a line a log step) and
    ``model.onnx`` with the averaged generator of the smallest `PhysicsDistance`. SIGINT and SIGTERM save and return.

    Args:
        config: What to train on what.
        out: The run folder.
        resume: Go on with an existing run.
        progress: Show a progress bar on stderr.

    Returns:
        The run folder.

    Raises:
        ValueError: If the folder exists (without `resume`), or configuration or data changed (with it).
        FileNotFoundError: If files, or the run to resume, are missing.
        FloatingPointError: If a loss stops being finite; the last checkpoint stays.
    """
    out = Path(out)
    settings, game = config.training, config.objective
    objective, regulariser = chosen(game)
    device = _device(settings.device)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    data_digest = digest(expand(config.data.files, base=Path()))
    saved = _check_folder(config, out, resume=resume, data_digest=data_digest, device=device)

    train_part, validation_part = training_events(config.data, seed=settings.seed, progress=progress)
    events = TensorEvents.of(train_part, config.data, device=device)
    validation = TensorEvents.of(validation_part, device=device)
    if settings.batch_size > len(events):
        raise ValueError(
            f"training.batch_size: expected at most the number of training events, {len(events)}, got "
            f"{settings.batch_size}; make it smaller or give more files"
        )

    if not objective.signed and (events.weights < 0).any():
        signed = ", ".join(repr(name) for name, row in OBJECTIVES.items() if row.signed)
        raise ValueError(
            f"objective.name: expected one of {signed} for weights of both signs, got {game.name!r}, whose "
            "loss has no lower bound where a weight is negative; choose one of these, or leave out data.weight"
        )

    # -- models: everything statistics know is fitted, the rest starts at zero
    drawn = torch.Generator().manual_seed(settings.seed)  # batches
    noise = torch.Generator(device).manual_seed(settings.seed)  # latent numbers and the penalty's mixing
    build_generator, build_critic = MODELS[config.model.name]
    state_path = out / "checkpoint" / "state.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        generator = build_generator(config.data, config.model)
        if saved is None:
            host = TensorEvents.of(train_part, config.data)
            generator.fit(host, rng=drawn)
        else:
            generator.load_state_dict(checkpoint.part(saved[0], "generator"))
        if objective.own and not hasattr(generator, "loss"):
            raise ValueError(
                f"objective.name: expected a model with a loss of its own for {game.name!r}, got "
                f"{config.model.name!r}; choose another objective"
            )
        critic = build_critic(generator, config.model, scores=objective.scores)
        if game.spectral_norm:
            normalise_spectrum(critic)
        if saved is None:
            critic.fit(generator, host)
    generator.to(device)
    critic.to(device)
    ema = copy.deepcopy(generator).requires_grad_(False)
    optimizers = {
        "generator": torch.optim.Adam(generator.parameters(), lr=settings.lr_generator, betas=settings.betas),
        "critic": torch.optim.Adam(critic.parameters(), lr=settings.lr_critic, betas=settings.betas),
    }
    rates = {"generator": settings.lr_generator, "critic": settings.lr_critic}
    models = {"generator": generator, "ema": ema, "critic": critic}
    step, elapsed, best_distance, best_step = 0, 0.0, math.inf, 0
    best = {key: value.detach().clone() for key, value in ema.state_dict().items()}
    if saved is not None:
        tensors, texts = saved
        for name, model in models.items():
            model.load_state_dict(checkpoint.part(tensors, name))
        for name, optimizer in optimizers.items():
            checkpoint.restore_optimizer(optimizer, checkpoint.part(tensors, f"optimizer_{name}"))
        drawn.set_state(checkpoint.part(tensors, "random")["drawn"])
        noise.set_state(checkpoint.part(tensors, "random")["noise"])
        best = checkpoint.part(tensors, "best")
        step, elapsed = texts["step"], texts["elapsed"]
        best_distance, best_step = texts["best_distance"], texts["best_step"]
    distance = PhysicsDistance(validation, ema, threshold=config.evaluation.threshold)

    def save() -> None:
        parts = {name: model.state_dict() for name, model in models.items()}
        parts |= {f"optimizer_{name}": checkpoint.optimizer_state(o) for name, o in optimizers.items()}
        parts |= {"best": best, "random": {"drawn": drawn.get_state(), "noise": noise.get_state()}}
        texts = {
            "step": step,
            "elapsed": elapsed,
            "best_distance": best_distance,
            "best_step": best_step,
            "data_sha256": data_digest,
            "device": device.type,
        }
        checkpoint.save(state_path, parts, texts)

    def fakes(view: CriticView, played: Objective) -> list[Tensor]:
        """Independent generated events for each of a batch, as the critic sees them.

        A model that learns to reconstruct events while it plays shows reconstructions among them.
        """
        shape = (len(view.context), generator.n_latent)
        latents = [torch.randn(shape, generator=noise, device=device) for _ in range(played.fakes)]
        return [view.fake(view.codes(latent) if played.own else latent) for latent in latents]

    def witness(x: Tensor, *, label: Tensor, other: Tensor) -> Tensor:
        return objective.witness(critic(x, label), other)

    def optimise(name: str, loss: Tensor, model: nn.Module) -> None:
        optimizers[name].zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if settings.grad_clip > 0:
            nn.utils.clip_grad_norm_(model.parameters(), settings.grad_clip)
        optimizers[name].step()

    out.mkdir(parents=True, exist_ok=True)  # only now: input that was refused leaves nothing behind
    write_text(out / "config.toml", configuration.dump(config))
    autocast = (
        torch.autocast(device.type, dtype=torch.bfloat16) if settings.precision == "bf16" else nullcontext()
    )
    with (
        _Log(out, step=-1 if saved is None else step, tensorboard=settings.tensorboard) as log,
        _Bar(config, step, show=progress) as bar,
        _stop_signals() as stop,
    ):
        if saved is None:
            best_distance = distance(ema)
            log.write({"step": 0, "time": 0.0, "distance": best_distance})
        started = time.monotonic() - elapsed
        since, used = time.monotonic(), 0
        numbers: dict[str, Tensor] = {}
        limit = math.inf if settings.max_minutes is None else 60 * settings.max_minutes
        while step < settings.steps and elapsed < limit and not stop:
            for name, optimizer in optimizers.items():
                for group in optimizer.param_groups:
                    group["lr"] = rates[name] * _learning_rate(config, step)

            played = OBJECTIVES["energy-score"] if step < settings.pretrain else objective
            if played.game is not None:
                for _ in range(game.n_critic):
                    batch = events.batch(settings.batch_size, rng=drawn)
                    used += len(batch)
                    view = critic.view(generator, batch)
                    label, real = view.context, view.real
                    with torch.no_grad():
                        fake = fakes(view, played)
                    with autocast:
                        given = label.repeat(1 + len(fake), 1)
                        scores = critic(torch.cat([real, *fake]), given).split(len(real))
                        other = scores[-1]
                        v_real, v_fake = (played.witness(s, other) for s in scores[:2])
                        value = played.game(v_real, v_fake, batch.weights, smoothing=game.label_smoothing)
                        loss = -value
                        if regulariser.at is not None:
                            penalty = gradient_penalty(
                                partial(witness, label=label, other=other.detach()),
                                real,
                                fake[0],
                                batch.weights,
                                rng=noise,
                                at=regulariser.at,
                                cost=regulariser.cost,
                            )
                            loss = loss + game.penalty * penalty
                            numbers["penalty"] = penalty
                    optimise("critic", loss, critic)
                    if regulariser.clip:
                        _clip(critic, game.clip)
                numbers |= {"critic_loss": loss, played.game.value: value}

            if played.game is None or step >= settings.pretrain + settings.warm_up:
                batch = events.batch(settings.batch_size, rng=drawn)
                used += len(batch)
                critic.requires_grad_(False)
                losses = []
                if played.generator is not None:
                    view = critic.view(generator, batch)
                    shown = [view.real, *fakes(view, played)]
                    with autocast:
                        scored = shown if played.game is None else [critic(x, view.context) for x in shown]
                        losses.append(played.generator(scored[0], scored[1:], batch.weights))
                if played.own:
                    with autocast:
                        losses.append(expectation(generator.loss(batch, rng=noise), batch.weights))
                generator_loss = torch.stack(losses).sum()
                optimise("generator", generator_loss, generator)
                critic.requires_grad_(True)
                numbers["generator_loss"] = generator_loss
            step += 1
            _average(ema, generator, decay=min(settings.ema, step / (step + _EMA_WARM_UP)))

            elapsed = time.monotonic() - started
            last = step == settings.steps or elapsed >= limit
            line: dict[str, float] = {}
            validating = step % settings.validate_every == 0 or last
            if step % settings.log_every == 0 or validating:
                line = {key: value.item() for key, value in numbers.items()}
                line["lr"] = optimizers["generator"].param_groups[0]["lr"]
                now = time.monotonic()
                line["samples_per_second"] = used / (now - since)
                since, used = now, 0
                if not all(map(math.isfinite, line.values())):
                    raise FloatingPointError(
                        f"training: losses are not finite at step {step} ({line}); lower lr_critic or lr_generator, "
                        f"or raise objective.penalty; the last checkpoint is in {state_path.parent}"
                    )
            if validating:
                line["distance"] = distance(ema)
                if line["distance"] < best_distance:
                    best_distance, best_step = line["distance"], step
                    best = {key: value.detach().clone() for key, value in ema.state_dict().items()}
            if line:
                log.write({"step": step, "time": round(elapsed, 3), **line})
            if validating:
                save()
                since, used = time.monotonic(), 0
            bar.update(step, line)
        if stop and step < settings.steps:
            save()
            logger.warning("stopped at step %d by request; --resume goes on from here", step)
    export_run(out, out / "model.onnx")
    return out


class _Log:
    """metrics.jsonl, and TensorBoard when asked for; lines after the checkpoint that is resumed are dropped."""

    def __init__(self, out: Path, *, step: int, tensorboard: bool) -> None:
        self.path = out / "metrics.jsonl"
        if self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            kept = [text for text in lines if _step_of(text) <= step]
            write_text(self.path, "".join(f"{text}\n" for text in kept))
        self.writer: Any = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise ValueError(
                    "training.tensorboard: expected the package tensorboard, which is not installed; "
                    "pip install 'hepgan[tensorboard]'"
                ) from error
            self.writer = SummaryWriter(str(out / "tensorboard"), purge_step=step + 1)

    def __enter__(self) -> _Log:
        self.file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        if self.writer is not None:
            self.writer.close()

    def write(self, line: dict[str, float]) -> None:
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()
        if self.writer is not None:
            for key, value in line.items():
                self.writer.add_scalar(key, value, int(line["step"]))


def _step_of(text: str) -> float:
    """Step of a line of metrics.jsonl; a line that a kill cut short belongs to no step."""
    try:
        return float(json.loads(text)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


class _Bar:
    """Progress bar: step, value of the game, penalty, physics distance, samples/s, time left."""

    def __init__(self, config: Config, step: int, *, show: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}"),
            console=Console(stderr=True),
            disable=not show,
        )
        self.task = self.progress.add_task(
            "training", total=config.training.steps, completed=step, numbers=""
        )
        self.shown: dict[str, float] = {}

    def __enter__(self) -> _Bar:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def update(self, step: int, line: dict[str, float]) -> None:
        self.shown |= line
        words = [
            f"{label} {self.shown[key]:{form}}"
            for label, key, form in (
                ("W", "wasserstein", ".3f"),
                ("value", "divergence", ".3f"),
                ("penalty", "penalty", ".3f"),
                ("distance", "distance", ".4f"),
                ("samples/s", "samples_per_second", ".0f"),
            )
            if key in self.shown
        ]
        self.progress.update(self.task, completed=step, numbers="  ".join(words))


def load_generator(run: str | Path) -> tuple[CaloGenerator | ObservablesGenerator, Config, dict[str, Any]]:
    """The selected generator of a run folder, its configuration and the checkpoint's texts.

    Raises:
        FileNotFoundError: If the folder holds no run or no checkpoint.
        ValueError: If configuration or checkpoint are damaged.
    """
    run = Path(run)
    config = configuration.load(run / "config.toml")
    tensors, texts = checkpoint.load(run / "checkpoint" / "state.safetensors")
    generator = MODELS[config.model.name][0](config.data, config.model)
    try:
        generator.load_state_dict(checkpoint.part(tensors, "best"))
    except RuntimeError as error:
        raise ValueError(
            f"{run}: the checkpoint does not fit the model that config.toml describes; expected one of this version of "
            f"hepgan ({error}); export it with the version that trained it"
        ) from error
    return generator.eval(), config, texts


@torch.no_grad()
def density_ratio(run: str | Path, events: TensorEvents) -> Tensor:
    """Density of the data over that of the model for each event, as the critic of a run tells it.

    As weights of generated events it makes the model what the critic thinks the data are. The model is the generator at
    the end of the run, which the critic played against last, not the averaged one that was selected.

    Args:
        run: The run folder.
        events: N events, real or generated.

    Returns:
        (N,) ratios.

    Raises:
        FileNotFoundError: If the folder holds no run or no checkpoint.
        ValueError: If the objective's critic tells no ratio, or one of smoothed labels.
    """
    run = Path(run)
    config = configuration.load(run / "config.toml")
    settings, (objective, _) = config.objective, chosen(config.objective)
    if objective.game is None or objective.game.ratio is None or settings.label_smoothing:
        telling = [name for name, row in OBJECTIVES.items() if row.game and row.game.ratio]
        got = f"{settings.name!r}" + (" with label_smoothing" if settings.label_smoothing else "")
        raise ValueError(
            f"{run}: expected an objective whose critic tells a density ratio, one of {telling}, got {got}; train with "
            "one of these"
        )
    tensors, _ = checkpoint.load(run / "checkpoint" / "state.safetensors")
    build_generator, build_critic = MODELS[config.model.name]
    generator = build_generator(config.data, config.model)
    generator.load_state_dict(checkpoint.part(tensors, "generator"))
    critic = build_critic(generator, config.model, scores=objective.scores)
    if settings.spectral_norm:
        normalise_spectrum(critic)
    critic.load_state_dict(checkpoint.part(tensors, "critic"))
    critic.eval()
    view = critic.view(generator, events)
    scores = critic(view.real, view.context)
    return objective.game.ratio(objective.witness(scores, scores))


def export_run(
    run: str | Path,
    out: str | Path,
    *,
    batch: int | None = None,
    format: Literal["onnx", "lwtnn", "cpp"] = "onnx",
) -> Path:
    """Write the selected generator of a run folder as one file; cpp: as a header, and its weights beside it.

    Args:
        run: The run folder.
        out: The file.
        batch: ONNX: fixed batch size; None leaves it free.
        format: Kind of file.

    Returns:
        The file.

    Raises:
        ValueError: If the format cannot express the generator.
    """
    from hepgan.export import lwtnn, onnx
    from hepgan.export.cpp import header as cpp

    generator, config, texts = load_generator(run)
    report = Path(run) / "report" / "metrics.json"
    metrics: dict[str, Any] = {"validation_distance": [texts["best_distance"], 0.0]}
    provenance = {
        "config_sha256": hashlib.sha256(configuration.dump(config).encode()).hexdigest(),
        "data_sha256": texts["data_sha256"],
        "step": texts["best_step"],
    }
    if report.is_file():  # of this very generator: not of one before the run went on
        measured = json.loads(report.read_text(encoding="utf-8"))
        judged = measured["provenance"].get("model", {})
        if all(judged.get(key) == provenance[key] for key in ("step", "config_sha256")):
            metrics |= measured["headline"]
    described: dict[str, Any] = {"data": config.data, "provenance": provenance, "metrics": metrics}
    if format == "lwtnn":
        lwtnn.write(generator, out, **described)
    elif format == "cpp":
        cpp.write(generator, out, **described)
    else:
        onnx.write(generator, out, **described, batch=batch)
    return Path(out)
