"""State of a run: all that changes while it trains, saved to a checkpoint and restored from it to the last bit."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Mapping, Sized
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from hepgan.config import Config
from hepgan.data.tensors import TensorEvents
from hepgan.errors import ModelFileError, NotFoundError, TrainingDiverged
from hepgan.models import MODELS
from hepgan.models.network import in_half
from hepgan.models.spectral_norm import normalise_spectrum
from hepgan.objectives import chosen
from hepgan.training import checkpoint
from hepgan.training.selection import Validation
from hepgan.training.workers import ALONE, Workers

__all__ = ["Networks", "RunProgress", "RunState", "SavedState"]

logger = logging.getLogger(__name__)


class Networks(NamedTuple):
    """A generator and its critic, of the classes that `MODELS` names for the configured model."""

    generator: Any
    critic: Any

    @classmethod
    def fitted(cls, config: Config, events: TensorEvents, *, rng: torch.Generator) -> Networks:
        """Networks before the first step: fitted to statistics of the events, weights drawn from the seed.

        Args:
            config: Model, objective and seed.
            events: The training part, on the CPU.
            rng: Source of the batches that the fit draws.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.training.seed)
            generator = cls._generator(config)
            generator.fit(events, rng=rng)
            critic = cls._critic(config, generator)
            critic.fit(generator, events)
        return cls(generator, critic)

    @classmethod
    def loaded(cls, config: Config, tensors: Mapping[str, Tensor]) -> Networks:
        """Networks at the step of a checkpoint, from its tensors; on the CPU."""
        with torch.random.fork_rng(devices=[]):
            generator = cls._generator(config)
            generator.load_state_dict(checkpoint.part(tensors, "generator"))
            critic = cls._critic(config, generator)
            critic.load_state_dict(checkpoint.part(tensors, "critic"))
        return cls(generator, critic)

    @staticmethod
    def _generator(config: Config) -> Any:
        return MODELS[config.model.name][0](config.data, config.model)

    @staticmethod
    def _critic(config: Config, generator: Any) -> Any:
        objective, _ = chosen(config.objective)
        critic = MODELS[config.model.name][1](generator, config.model, scores=objective.scores)
        if config.objective.spectral_norm:
            normalise_spectrum(critic)
        return critic


@dataclass(kw_only=True)
class RunProgress:
    """How far a run has come: the texts of its checkpoint.

    Attributes:
        step: Number of steps done.
        elapsed: Seconds of training.
        best_distance: Validation distance of the selected step: the smallest so far, unless classifiers select.
        best_auc: Smallest mean area of the classifiers so far; infinite without classifiers.
        best_step: The selected step.
        data_sha256: Digest of the training files.
        data_files: Digest of each training file by its name; empty in checkpoints of version 0.1.
        device: Type of the device, cpu or cuda, which decides on the random numbers.
        unvalidated: Numbers to log with those of the validation of this step, if it is still to come; else None.
        drawn: Number of events in all batches so far, from which a stream from a cache goes on.
        streamed: Whether the events are streamed from a cache, which decides on the batches.
    """

    step: int = 0
    elapsed: float = 0.0
    best_distance: float = math.inf
    best_auc: float = math.inf
    best_step: int = 0
    data_sha256: str
    data_files: dict[str, str] = field(default_factory=dict)
    device: str
    unvalidated: dict[str, float] | None = None
    drawn: int = 0
    streamed: bool = False


class SavedState(NamedTuple):
    """Tensors and progress that a checkpoint holds."""

    tensors: dict[str, Tensor]
    progress: RunProgress

    @classmethod
    def read(cls, path: Path) -> SavedState:
        """Read the newest checkpoint, or, if that is damaged, the newest before it that is not; which is said.

        Args:
            path: The newest checkpoint.

        Raises:
            NotFoundError: If there is neither the file nor one before it.
            ModelFileError: If each of them is damaged, or not a checkpoint of a run.
        """
        errors: list[ModelFileError | NotFoundError] = []
        for file in checkpoint.history(path):
            try:
                saved = cls._read(file)
            except (ModelFileError, NotFoundError) as error:
                errors.append(error)
                continue
            for reason in errors:
                logger.warning("%s; taking the one before, %s, of step %d", reason, file, saved.progress.step)
            return saved
        if all(isinstance(error, NotFoundError) for error in errors):
            raise errors[0]
        raise ModelFileError(
            f"{'; '.join(map(str, errors))}; no other checkpoint is left: restore one from a copy, or train anew with "
            "another --out"
        )

    @classmethod
    def _read(cls, file: Path) -> SavedState:
        tensors, texts = checkpoint.load(file)
        try:
            return cls(tensors, TypeAdapter(RunProgress).validate_python(texts))
        except ValidationError as error:
            raise ModelFileError(f"{file}: not the checkpoint of a run ({error})") from error


@dataclass(kw_only=True)
class RunState(RunProgress):
    """Everything that a run needs to go on.

    Attributes:
        generator: The generator that plays.
        average: Moving average of the generator, which is validated and exported.
        critic: The critic.
        generator_optimizer: Optimizer of the generator's weights.
        critic_optimizer: Optimizer of the critic's weights.
        batch_rng: Source of the batches, on the CPU.
        noise_rng: Source of the latent numbers and of the regulariser's numbers, on the device.
        best: Weights of `average` at `best_step`, or at the start before the first validation.
        workers: The workers that train together; not saved.
        half: Whether networks compute in half precision; not saved.
    """

    generator: Any
    average: Any
    critic: Any
    generator_optimizer: torch.optim.Optimizer
    critic_optimizer: torch.optim.Optimizer
    batch_rng: torch.Generator
    noise_rng: torch.Generator
    best: dict[str, Tensor] = field(default_factory=dict)
    workers: Workers = ALONE
    half: bool = False

    @classmethod
    def start(
        cls,
        config: Config,
        events: TensorEvents,
        *,
        device: torch.device,
        data_sha256: str,
        data_files: Mapping[str, str] = {},
        workers: Workers = ALONE,
    ) -> RunState:
        """State before the first step and the first validation.

        Args:
            config: The configuration.
            events: The training part, on the CPU.
            device: Where to train.
            data_sha256: Digest of the training files.
            data_files: Digest of each of them.
            workers: The workers that train together.
        """
        batch_rng = torch.Generator().manual_seed(config.training.seed)
        networks = Networks.fitted(config, events, rng=batch_rng)
        progress = RunProgress(
            data_sha256=data_sha256, data_files=dict(data_files), device=device.type, unvalidated={}
        )
        state = cls._of(config, networks, batch_rng, progress, workers)
        state._keep_as_best()
        return state

    @classmethod
    def restore(cls, config: Config, saved: SavedState, *, workers: Workers = ALONE) -> RunState:
        """State at the step of a checkpoint, on the device that wrote it.

        Raises:
            ModelFileError: If the checkpoint is that of another model.
        """
        try:
            return cls._restored(config, *saved, workers)
        except (RuntimeError, KeyError) as error:
            raise ModelFileError(
                f"the checkpoint of step {saved.progress.step} does not fit the model that the configuration describes "
                f"({error}); resume with the version of hepgan that wrote it, or train anew with another --out"
            ) from error

    @classmethod
    def _restored(
        cls, config: Config, tensors: Mapping[str, Tensor], progress: RunProgress, workers: Workers
    ) -> RunState:
        state = cls._of(config, Networks.loaded(config, tensors), torch.Generator(), progress, workers)
        state.average.load_state_dict(checkpoint.part(tensors, "ema"))
        for name, optimizer in state._optimizers().items():
            checkpoint.restore_optimizer(optimizer, checkpoint.part(tensors, name))
        random = checkpoint.part(tensors, "random")
        state.batch_rng.set_state(random["drawn"])
        state.noise_rng.set_state(random["noise"])
        state.best = checkpoint.part(tensors, "best")
        return state

    @classmethod
    def _of(
        cls,
        config: Config,
        networks: Networks,
        batch_rng: torch.Generator,
        progress: RunProgress,
        workers: Workers,
    ) -> RunState:
        """Move networks to the device; give them optimizers, and the generator its average."""
        settings = config.training
        noise_rng = torch.Generator(progress.device).manual_seed(settings.seed)
        generator, critic = (network.to(progress.device) for network in networks)
        average = copy.deepcopy(generator).requires_grad_(False)
        half = settings.precision == "bf16"
        if progress.device == "cpu" and in_half(generator, critic):
            half |= settings.precision == "auto"
            generator.in_half = half  # the average does not: it is validated and exported
        return cls(
            **vars(progress),
            generator=generator,
            average=average,
            critic=critic,
            generator_optimizer=torch.optim.Adam(
                generator.parameters(), lr=settings.lr_generator, betas=settings.betas, fused=True
            ),
            critic_optimizer=torch.optim.Adam(
                critic.parameters(), lr=settings.lr_critic, betas=settings.betas, fused=True
            ),
            batch_rng=workers.generator(batch_rng, batch=settings.batch_size),
            noise_rng=workers.generator(noise_rng, batch=settings.batch_size),
            workers=workers,
            half=half,
        )

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Optimizers by their names in the checkpoint."""
        return {
            "optimizer_generator": self.generator_optimizer,
            "optimizer_critic": self.critic_optimizer,
        }

    def _contents(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """Tensors in groups, and texts, of a checkpoint."""
        networks = {"generator": self.generator, "ema": self.average, "critic": self.critic}
        parts = {name: network.state_dict() for name, network in networks.items()}
        parts |= {name: checkpoint.optimizer_state(o) for name, o in self._optimizers().items()}
        random = {"drawn": self.batch_rng.get_state(), "noise": self.noise_rng.get_state()}
        texts = {text.name: getattr(self, text.name) for text in fields(RunProgress)}
        return parts | {"best": self.best, "random": random}, texts

    def saved(self) -> SavedState:
        """This state in the form of a checkpoint, for `restore` in another process; tensors are on the CPU."""
        parts, texts = self._contents()
        tensors = {
            f"{name}.{key}": value.cpu() for name, part in parts.items() for key, value in part.items()
        }
        return SavedState(tensors, RunProgress(**texts))

    def save(self, path: Path) -> None:
        """Write the checkpoint, as the first worker; the others have the same.

        Raises:
            TrainingDiverged: If a weight is infinite or NaN; the old checkpoint stays.
            OSError: If the disk is full or the folder cannot be written; the old checkpoint stays.
        """
        self._check_finite()
        if self.workers.is_first:
            checkpoint.save(path, *self._contents())

    def _check_finite(self) -> None:
        """Refuse to keep weights, or moments of an optimizer, that are infinite or NaN.

        Raises:
            TrainingDiverged: If there are any.
        """
        networks = {"generator": self.generator, "critic": self.critic}
        tensors = {f"{name}.{key}": w for name, n in networks.items() for key, w in n.named_parameters()}
        for name, optimizer in self._optimizers().items():
            tensors |= {f"{name}.{key}": w for key, w in checkpoint.optimizer_state(optimizer).items()}
        bad = [name for name, values in tensors.items() if not torch.isfinite(values).all()]
        if bad:
            raise TrainingDiverged(
                f"training: {len(bad)} of {len(tensors)} tensors are not finite at step {self.step} ({bad[0]}); they "
                "are not saved, the checkpoint before stays; lower lr_critic or lr_generator, or raise "
                "objective.penalty, and train anew with another --out"
            )

    def validate(self, validation: Validation, *, stopped: Sized = ()) -> dict[str, float] | None:
        """Measure the averaged generator; keep its weights if it is the best so far.

        Args:
            validation: Gives the distance, and areas of classifiers, the mean of which selects then.
            stopped: Ends the computation as soon as it is not empty.

        Returns:
            Numbers to log; None if it was stopped.
        """
        numbers = validation(self.average, stopped=stopped)
        if numbers is None:
            return None
        distance, auc = numbers["distance"], numbers.get("auc", math.inf)
        if auc < self.best_auc if "auc" in numbers else distance < self.best_distance:
            self.best_distance, self.best_auc, self.best_step = distance, auc, self.step
            self._keep_as_best()
        self.unvalidated = None
        return numbers

    def _keep_as_best(self) -> None:
        self.best = {key: weights.detach().clone() for key, weights in self.average.state_dict().items()}
