"""Conditional WGAN-GP generators of detector response, from MC ROOT files to C++.

    run = hepgan.train("my.toml", out="runs/first")
    result = hepgan.evaluate(run)
    showers = hepgan.load(run).generate(incident_energy=[10, 20], seed=1)

The functions are those of `hepgan.workflow`, the errors those of `hepgan.errors`; both are imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hepgan.errors import (
        ConditionRangeError,
        ConfigError,
        DataError,
        ExportError,
        HepganError,
        Interrupted,
        ModelFileError,
        NotFoundError,
        ReportError,
        TrainingDiverged,
        WorkerFailed,
    )
    from hepgan.workflow import (
        check,
        compare,
        evaluate,
        export,
        generate,
        inspect,
        load,
        prepare,
        read,
        reference_models,
        train,
    )

__version__ = "0.1.0"

__all__ = [
    "ConditionRangeError",
    "ConfigError",
    "DataError",
    "ExportError",
    "HepganError",
    "Interrupted",
    "ModelFileError",
    "NotFoundError",
    "ReportError",
    "TrainingDiverged",
    "WorkerFailed",
    "__version__",
    "check",
    "compare",
    "evaluate",
    "export",
    "generate",
    "inspect",
    "load",
    "prepare",
    "read",
    "reference_models",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a function or an error when it is first used, so that ``import hepgan`` stays quick."""
    if name in __all__:
        from hepgan import errors, workflow

        value = getattr(errors if hasattr(errors, name) else workflow, name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
