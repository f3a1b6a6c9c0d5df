"""A robot that costs nothing: random readings, drawn before; commands are taken and forgotten."""

import time
from collections.abc import Mapping

import numpy as np

from robodreamer_deploy.contract import Array, Contract

NUM_READINGS = 32


class StillRobot:
    """Has every signal of a policy, fresh at every reading."""

    def __init__(self, _argument: str, contract: Contract) -> None:
        generator = np.random.default_rng(0)
        self._readings = [_draw(contract, generator) for _ in range(NUM_READINGS)]
        self._rest = np.zeros(contract.action.size, np.float32)
        self._next = 0
        self.observation_features = {s.name: s.shape for s in contract.inputs}
        self.action_features = {"action": (contract.action.size,)}
        self.observation_stamps: Mapping[str, float] = {}

    def connect(self) -> None:
        """There is nothing to open."""

    def get_observation(self) -> Mapping[str, Array]:
        """Return the next of the readings, measured now."""
        self._next = (self._next + 1) % NUM_READINGS
        self.observation_stamps = dict.fromkeys(self.observation_features, time.monotonic())
        return self._readings[self._next]

    def send_action(self, action: Array) -> Array:
        """Take it."""
        return action

    def hold(self) -> Array:
        """Rest."""
        return self._rest.copy()

    def disconnect(self) -> None:
        """There is nothing to close."""


def _draw(contract: Contract, generator: np.random.Generator) -> dict[str, Array]:
    return {
        signal.name: generator.integers(0, 256, signal.shape).astype(np.uint8)
        if signal.is_image
        else generator.normal(size=signal.shape).astype(np.float32)
        for signal in contract.inputs
    }
