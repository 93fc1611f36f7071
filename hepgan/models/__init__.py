"""Models: one table from the name in the configuration to the classes."""

from __future__ import annotations

from typing import Any

from hepgan.models.dense import DllCritic, DllGenerator
from hepgan.models.flow import FlowGenerator
from hepgan.models.showers import CaloCritic, CaloGenerator
from hepgan.models.tracks import ObservablesGenerator
from hepgan.models.vae import VaeGenerator

__all__ = [
    "MODELS",
    "CaloCritic",
    "CaloGenerator",
    "DllCritic",
    "DllGenerator",
    "FlowGenerator",
    "ObservablesGenerator",
    "VaeGenerator",
]

MODELS: dict[str, tuple[type[Any], type[Any]]] = {
    "calo": (CaloGenerator, CaloCritic),
    "dll": (DllGenerator, DllCritic),
    "vae": (VaeGenerator, DllCritic),
    "flow": (FlowGenerator, DllCritic),
}
"""Conditional generator and its critic.

A generator maps (condition, latent) in physical units to the outputs, and `fit` sets what statistics alone can know; a
critic says what it sees of real and of generated events (`see`), and how it scores them.
"""
