"""Domain randomisation as data, and its application. Importing this loads no simulator.

robodreamer_sim.make("fetch_reach", EnvOptions(randomize="mild"))
"""

from robodreamer_sim.randomization.distributions import (
    Choice,
    Distribution,
    LogUniform,
    Normal,
    Uniform,
)
from robodreamer_sim.randomization.parameters import FIELDS, Field
from robodreamer_sim.randomization.presets import describe, preset, read_word, resolve
from robodreamer_sim.randomization.spec import Entry, Randomization

__all__ = [
    "FIELDS",
    "Choice",
    "Distribution",
    "Entry",
    "Field",
    "LogUniform",
    "Normal",
    "Randomization",
    "Uniform",
    "describe",
    "preset",
    "read_word",
    "resolve",
]
