"""The configuration: one TOML file, frozen models, and errors that name the nearest known key.

The keys are a contract (docs/config.md). `load` reads a file, `dump` writes the complete form that is kept in the run
folder, `override` applies ``--set section.key=value``.
"""

from hepgan.config.data import (
    CalorimeterConfig,
    ConditionConfig,
    DataConfig,
    HitsConfig,
    TargetConfig,
)
from hepgan.config.file import Settings, dump, load, override, parse
from hepgan.config.geometry import LayerConfig
from hepgan.config.kinds import KINDS, SHOWERS, TRACKS, Kind
from hepgan.config.tables import (
    CaloModelConfig,
    Config,
    DllModelConfig,
    EvaluationConfig,
    FlowModelConfig,
    ObjectiveConfig,
    ObservablesModelConfig,
    StrataConfig,
    TrainingConfig,
    VaeModelConfig,
)
from hepgan.config.tuning import Dimension, TuneConfig

__all__ = [
    "KINDS",
    "SHOWERS",
    "TRACKS",
    "CaloModelConfig",
    "CalorimeterConfig",
    "ConditionConfig",
    "Config",
    "DataConfig",
    "Dimension",
    "DllModelConfig",
    "EvaluationConfig",
    "FlowModelConfig",
    "HitsConfig",
    "Kind",
    "LayerConfig",
    "ObjectiveConfig",
    "ObservablesModelConfig",
    "Settings",
    "StrataConfig",
    "TargetConfig",
    "TrainingConfig",
    "TuneConfig",
    "VaeModelConfig",
    "dump",
    "load",
    "override",
    "parse",
]
