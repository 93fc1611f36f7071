"""The reference models: exported files that come with the package, so that nobody has to train to generate.

Each has its file ``NAME.onnx`` in ``hepgan/reference``, its card ``NAME.md``, and the numbers of the card in
``NAME.json``; ``scripts/reference_model.py`` writes all three. Where a file is expected, the name alone will do.
"""

from __future__ import annotations

import os
from pathlib import Path

from hepgan.errors import NotFoundError
from hepgan.files import near

__all__ = ["FOLDER", "reference_model", "reference_models"]

FOLDER = Path(__file__).parents[1] / "reference"


def reference_models() -> dict[str, Path]:
    """The file of each reference model by its name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.onnx"))}


def reference_model(name: str | os.PathLike[str]) -> Path:
    """The file of a reference model.

    Args:
        name: Its name; a path is none.

    Raises:
        NotFoundError: If there is no such model; names the nearest.
    """
    models = reference_models()
    if str(name) not in models:
        raise NotFoundError(
            f"reference model {str(name)!r}: there is none of this name; {near(str(name), models)} "
            "(hepgan models list)"
        )
    return models[str(name)]
