"""The contract: what a task shows, what it accepts, and in which units.

A task declares its contract, the agent sizes its networks from it, the export writes it into the
manifest, and the robot checks every tick against it. Because all four read the same object, a
signal cannot mean two things. Needs numpy and the standard library only.

Observations are flat dictionaries with four families of keys:

    image/<camera>      uint8 (H, W, C), red-green-blue
    proprio/<name>      float32 (n,), raw SI units
    goal/<name>         float32 (n,), raw SI units
    privileged/<name>   known in training only; never an input of the policy

A vector with `num_classes` holds class indices (int32) instead of measurements.
"""

from robodreamer_deploy.contract.action import ActionSpec
from robodreamer_deploy.contract.camera import Camera
from robodreamer_deploy.contract.contract import CONTRACT_VERSION, Contract
from robodreamer_deploy.contract.signal import (
    FAMILIES,
    Array,
    Observation,
    Signal,
    validity_name,
)
from robodreamer_deploy.joint_mapping import JointMapping, Quantity

__all__ = [
    "CONTRACT_VERSION",
    "FAMILIES",
    "ActionSpec",
    "Array",
    "Camera",
    "Contract",
    "JointMapping",
    "Observation",
    "Quantity",
    "Signal",
    "validity_name",
]
