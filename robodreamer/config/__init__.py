"""Settings: every number of an agent and of a run, as frozen dataclasses that check themselves.

Importing this package costs no torch; the command line builds its help from it.
"""

from robodreamer.config.algorithm import AlgorithmConfig, LossScales
from robodreamer.config.data import DataConfig
from robodreamer.config.intrinsic import IntrinsicConfig
from robodreamer.config.network import NetworkConfig
from robodreamer.config.optimizer import OptimizerConfig
from robodreamer.config.parts import PartsConfig
from robodreamer.config.presets import (
    PRESETS,
    PROTOCOLS,
    SIZES,
    choose,
    default_words,
    departures,
    named_config,
    preset_parts,
)
from robodreamer.config.training import TrainConfig, folder_name, from_dict, to_dict

__all__ = [
    "PRESETS",
    "PROTOCOLS",
    "SIZES",
    "AlgorithmConfig",
    "DataConfig",
    "IntrinsicConfig",
    "LossScales",
    "NetworkConfig",
    "OptimizerConfig",
    "PartsConfig",
    "TrainConfig",
    "choose",
    "default_words",
    "departures",
    "folder_name",
    "from_dict",
    "named_config",
    "preset_parts",
    "to_dict",
]
