"""State of a run: all that changes while it trains, saved to a checkpoint and restored from it to the last bit."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from hepgan.config import Config
from hepgan.data.tensors import TensorEvents
from hepgan.errors import ModelFileError
from hepgan.models import MODELS
from hepgan.models.spectral_norm import normalise_spectrum
from hepgan.objectives import chosen
from hepgan.training import checkpoint
from hepgan.training.validation import ValidationDistance

__all__ = ["Networks", "RunProgress", "RunState", "SavedState"]


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
        best_distance: Smallest validation distance so far.
        best_step: Its step.
        data_sha256: Digest of the training files.
        device: Type of the device, cpu or cuda, which decides on the random numbers.
        drawn: Number of events in all batches so far, from which a stream from a cache goes on.
        streamed: Whether the events are streamed from a cache, which decides on the batches.
    """

    step: int = 0
    elapsed: float = 0.0
    best_distance: float = math.inf
    best_step: int = 0
    data_sha256: str
    device: str
    drawn: int = 0
    streamed: bool = False


class SavedState(NamedTuple):
    """Tensors and progress that a checkpoint holds."""

    tensors: dict[str, Tensor]
    progress: RunProgress

    @classmethod
    def read(cls, path: Path) -> SavedState:
        """Read a checkpoint.

        Raises:
            NotFoundError: If there is no such file.
            ModelFileError: If the file is not a checkpoint of a run, or is damaged.
        """
        tensors, texts = checkpoint.load(path)
        try:
            return cls(tensors, TypeAdapter(RunProgress).validate_python(texts))
        except ValidationError as error:
            raise ModelFileError(f"{path}: not the checkpoint of a run ({error})") from error


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
        best: Weights of `average` at `best_step`; empty before the first validation.
    """

    generator: Any
    average: Any
    critic: Any
    generator_optimizer: torch.optim.Optimizer
    critic_optimizer: torch.optim.Optimizer
    batch_rng: torch.Generator
    noise_rng: torch.Generator
    best: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def start(
        cls, config: Config, events: TensorEvents, *, device: torch.device, data_sha256: str
    ) -> RunState:
        """State before the first step.

        Args:
            config: The configuration.
            events: The training part, on the CPU.
            device: Where to train.
            data_sha256: Digest of the training files.
        """
        batch_rng = torch.Generator().manual_seed(config.training.seed)
        networks = Networks.fitted(config, events, rng=batch_rng)
        return cls._of(config, networks, batch_rng, RunProgress(data_sha256=data_sha256, device=device.type))

    @classmethod
    def restore(cls, config: Config, saved: SavedState) -> RunState:
        """State at the step of a checkpoint, on the device that wrote it."""
        tensors, progress = saved
        state = cls._of(config, Networks.loaded(config, tensors), torch.Generator(), progress)
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
        cls, config: Config, networks: Networks, batch_rng: torch.Generator, progress: RunProgress
    ) -> RunState:
        """Move networks to the device; give them optimizers, and the generator its average."""
        settings = config.training
        generator, critic = (network.to(progress.device) for network in networks)
        return cls(
            **vars(progress),
            generator=generator,
            average=copy.deepcopy(generator).requires_grad_(False),
            critic=critic,
            generator_optimizer=torch.optim.Adam(
                generator.parameters(), lr=settings.lr_generator, betas=settings.betas
            ),
            critic_optimizer=torch.optim.Adam(
                critic.parameters(), lr=settings.lr_critic, betas=settings.betas
            ),
            batch_rng=batch_rng,
            noise_rng=torch.Generator(progress.device).manual_seed(settings.seed),
        )

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Optimizers by their names in the checkpoint."""
        return {
            "optimizer_generator": self.generator_optimizer,
            "optimizer_critic": self.critic_optimizer,
        }

    def save(self, path: Path) -> None:
        """Write the checkpoint.

        Raises:
            OSError: If the disk is full or the folder cannot be written; the old checkpoint stays.
        """
        networks = {"generator": self.generator, "ema": self.average, "critic": self.critic}
        parts = {name: network.state_dict() for name, network in networks.items()}
        parts |= {name: checkpoint.optimizer_state(o) for name, o in self._optimizers().items()}
        random = {"drawn": self.batch_rng.get_state(), "noise": self.noise_rng.get_state()}
        texts = {text.name: getattr(self, text.name) for text in fields(RunProgress)}
        checkpoint.save(path, parts | {"best": self.best, "random": random}, texts)

    def validate(self, distance: ValidationDistance) -> float:
        """Distance of the averaged generator to the validation events; keep its weights if it is the smallest."""
        value = distance(self.average)
        if not self.best or value < self.best_distance:
            self.best_distance, self.best_step = value, self.step
            self.best = {key: weights.detach().clone() for key, weights in self.average.state_dict().items()}
        return value
