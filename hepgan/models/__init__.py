"""Models: generators, critics, and the table that maps ``model.name`` of the configuration to them.

A generator maps (condition, latent) in physical units to outputs in physical units; its ``fit`` sets scalings and other
statistics before any training. A critic scores events: ``critic.view(generator, events)`` gives real and generated
events in the representation that the critic scores, ``critic(x, context)`` the scores. Interface:

- ``generator.fit(events, rng=...)``, ``generator(condition, latent)``, ``generator.n_latent``,
  ``generator.condition_range``; with a loss of its own, ``generator.loss(events, rng=...)``
- ``critic.fit(generator, events)``, ``critic.represented(generator, events)`` (what is computed once of real events),
  ``critic.view(generator, events)`` (a `CriticView`); ``critic(x, context)``, ``critic.scores(x, context)`` with first
  derivatives only, ``critic.traced(x, context)`` for gradient penalties (`hepgan.objectives.linear_gradient_penalty`)

================== ========= ===================================================================================
module             model     what it holds
================== ========= ===================================================================================
`showers`          "calo"    generator of calorimeter showers
`shower_critic`    "calo"    their critic
`tracks`                     base class of all generators of tracks (continuous observables with point masses)
`dense`            "dll"     dense generator of tracks, and the critic of all generators of tracks
`vae`              "vae"     variational autoencoder of tracks, and alpha-GAN
`flow`             "flow"    normalising flow of tracks
================== ========= ===================================================================================
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hepgan.models.dense import DllCritic, DllGenerator
from hepgan.models.flow import FlowGenerator
from hepgan.models.locally_connected import LocallyConnected2d
from hepgan.models.shower_critic import CaloCritic
from hepgan.models.showers import CaloGenerator
from hepgan.models.tracks import ObservablesGenerator
from hepgan.models.vae import VaeGenerator

__all__ = [
    "MODELS",
    "CaloCritic",
    "CaloGenerator",
    "DllCritic",
    "DllGenerator",
    "FlowGenerator",
    "LocallyConnected2d",
    "ModelClasses",
    "ObservablesGenerator",
    "VaeGenerator",
]


class ModelClasses(NamedTuple):
    """Classes of a model.

    Attributes:
        generator: Called with the tables ``data`` and ``model`` of the configuration.
        critic: Called with a generator and the table ``model``; ``scores=`` sets the number of scores per event.
    """

    generator: type[Any]
    critic: type[Any]


MODELS: dict[str, ModelClasses] = {
    "calo": ModelClasses(CaloGenerator, CaloCritic),
    "dll": ModelClasses(DllGenerator, DllCritic),
    "vae": ModelClasses(VaeGenerator, DllCritic),
    "flow": ModelClasses(FlowGenerator, DllCritic),
}
"""Classes of each model, by ``model.name`` of the configuration."""
