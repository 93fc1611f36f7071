"""The two kinds of data, showers and tracks: what every stage calls them.

What a stage does differently for each kind (reading, exporting, evaluating, ...) is in a table of that stage, whose
keys are the kinds; nothing else asks which kind the data are.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KINDS", "SHOWERS", "TRACKS", "Kind"]


@dataclass(frozen=True)
class Kind:
    """A kind of data.

    Attributes:
        name: Name in the exported file.
        row: What one row is called, in messages and reports.
        models: Values of ``model.name`` that generate this kind, the default first.
    """

    name: str
    row: str
    models: tuple[str, ...]

    @property
    def rows(self) -> str:
        """What several rows are called."""
        return f"{self.row}s"


SHOWERS = Kind("calorimeter", "shower", ("calo",))
TRACKS = Kind("observables", "track", ("dll", "vae", "flow"))

KINDS = {kind.name: kind for kind in (SHOWERS, TRACKS)}
"""The kinds by their name in the exported file."""
