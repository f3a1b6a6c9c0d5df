"""Conversion of agents that were trained with the public JAX code of DreamerV3.

Build an agent from `config_from_reference`, then fill it with `load_parameters`.
"""

from robodreamer.reference.parameters import Counterpart, Order, load_parameters, match
from robodreamer.reference.settings import config_from_reference

__all__ = ["Counterpart", "Order", "config_from_reference", "load_parameters", "match"]
