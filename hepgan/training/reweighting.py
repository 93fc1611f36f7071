"""Density ratio of data to model, from the critic of a finished run."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from hepgan import config as configuration
from hepgan.data.tensors import TensorEvents
from hepgan.errors import ConfigError
from hepgan.objectives import OBJECTIVES, chosen
from hepgan.training.run_folder import RunFolder
from hepgan.training.state import Networks, SavedState

__all__ = ["density_ratio"]


@torch.no_grad()
def density_ratio(run: str | Path, events: TensorEvents) -> Tensor:
    """Density of the data over the density of the model for each event, estimated by the critic of a run.

    Used as weights of generated events, the ratio corrects the model to the data as far as the critic sees a
    difference. The model is the generator at the end of the run, against which the critic played last, not the averaged
    generator that was selected.

    Args:
        run: The run folder.
        events: N events, real or generated.

    Returns:
        (N,) ratios.

    Raises:
        NotFoundError: If the folder holds no run or no checkpoint.
        ConfigError: If the critic of the objective gives no ratio, or was trained with smoothed labels.
    """
    folder = RunFolder(Path(run))
    config = configuration.load(folder.config)
    settings, (objective, _) = config.objective, chosen(config.objective)
    if objective.game is None or objective.game.ratio is None or settings.label_smoothing:
        usable = [name for name, row in OBJECTIVES.items() if row.game and row.game.ratio]
        got = f"{settings.name!r}" + (" with label_smoothing" if settings.label_smoothing else "")
        raise ConfigError(
            f"{run}: expected an objective whose critic tells a density ratio, one of {usable}, got {got}; train with "
            "one of these"
        )
    generator, critic = Networks.loaded(config, SavedState.read(folder.checkpoint).tensors)
    critic.eval()
    view = critic.view(generator, events)
    scores = critic(view.real, view.context)
    return objective.game.ratio(objective.witness(scores, scores))
