"""The two kinds of data, showers and tracks, and their names in all stages.

Each stage (reading, exporting, evaluating, ...) has a table with the names of the kinds as keys, which holds everything
that the stage does differently for each kind.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KINDS", "SHOWERS", "TRACKS", "Kind"]


@dataclass(frozen=True)
class Kind:
    """A kind of data.

    Attributes:
        name: Name in the exported file.
        row: Name of one row in messages and reports.
        models: Values of ``model.name`` that generate this kind, the default first.
    """

    name: str
    row: str
    models: tuple[str, ...]

    @property
    def rows(self) -> str:
        """Name of several rows."""
        return f"{self.row}s"


SHOWERS = Kind("calorimeter", "shower", ("calo",))
TRACKS = Kind("observables", "track", ("dll", "vae", "flow"))

KINDS = {kind.name: kind for kind in (SHOWERS, TRACKS)}
"""The kinds by their name in the exported file."""
