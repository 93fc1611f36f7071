"""Models: one table from the name in the configuration to the classes."""

from __future__ import annotations

from hepgan.models.calo import CaloCritic, CaloGenerator

__all__ = ["MODELS", "CaloCritic", "CaloGenerator"]

MODELS = {"calo": (CaloGenerator, CaloCritic)}
