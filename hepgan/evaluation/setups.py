"""The table of the setups, by the name of the kind of data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hepgan.config import SHOWERS, TRACKS
from hepgan.evaluation.sample import Setup
from hepgan.evaluation.showers import ShowerSetup
from hepgan.evaluation.tracks import TrackSetup

__all__ = ["SETUPS"]

SETUPS: Mapping[str, type[Setup[Any]]] = {SHOWERS.name: ShowerSetup, TRACKS.name: TrackSetup}
"""The setup of each kind of data."""
