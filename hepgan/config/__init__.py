"""The configuration: one TOML file, frozen models, and errors that name the nearest known key.

The shape of the file is a contract (docs/config.md). `load` reads it, `dump` writes the complete form that goes into
the run folder, `override` applies ``--set section.key=value``.
"""

from hepgan.config.file import dump, load, override, parse
from hepgan.config.kinds import KINDS, SHOWERS, TRACKS, Kind
from hepgan.config.tables import (
    CaloModelConfig,
    CalorimeterConfig,
    ConditionConfig,
    Config,
    DataConfig,
    DllModelConfig,
    EvaluationConfig,
    FlowModelConfig,
    HitsConfig,
    LayerConfig,
    ObjectiveConfig,
    ObservablesModelConfig,
    TargetConfig,
    TrainingConfig,
    VaeModelConfig,
)

__all__ = [
    "KINDS",
    "SHOWERS",
    "TRACKS",
    "CaloModelConfig",
    "CalorimeterConfig",
    "ConditionConfig",
    "Config",
    "DataConfig",
    "DllModelConfig",
    "EvaluationConfig",
    "FlowModelConfig",
    "HitsConfig",
    "Kind",
    "LayerConfig",
    "ObjectiveConfig",
    "ObservablesModelConfig",
    "TargetConfig",
    "TrainingConfig",
    "VaeModelConfig",
    "dump",
    "load",
    "override",
    "parse",
]
