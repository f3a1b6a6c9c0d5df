"""Sensors of the virtual hardware: delays and dropped frames, with a time stamp for every value.

Noise, bias, blur and brightness are altered by `EnvOptions.randomize`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from robodreamer_deploy.contract import Array, Contract
from robodreamer_sim.randomization.delay import DelayLine


@dataclass(frozen=True, kw_only=True)
class SensorModel:
    """Model of delays and drops of measurements and commands; delays in control periods."""

    camera_drop: float = 0.0
    """Share of dropped images; until the next arrives, the last one stays and ages."""
    camera_delay: int = 0
    measurement_delay: int = 0
    action_delay: int = 0

    def __post_init__(self) -> None:
        """Check all values."""
        if not 0.0 <= self.camera_drop <= 1.0:
            raise ValueError(f"camera_drop lies between 0 and 1, got {self.camera_drop}")
        for name in ("camera_delay", "measurement_delay", "action_delay"):
            if not 0 <= (value := getattr(self, name)) <= 100:
                raise ValueError(f"{name} is 0 to 100 control periods, got {value}")


class Stamped(NamedTuple):
    """Value with the time of its measurement."""

    value: Array
    stamp_s: float


class Sensors:
    """Buffer of the newest value of every signal that has arrived."""

    def __init__(self, contract: Contract, sensor_model: SensorModel) -> None:
        self._sensor_model = sensor_model
        self._are_images = {signal.name: signal.is_image for signal in contract.inputs}
        self._lines: dict[str, DelayLine[Stamped]] = {}
        self._random = np.random.default_rng(0)
        self._newest: dict[str, Stamped] = {}

    @property
    def values(self) -> dict[str, Array]:
        """Newest value of every signal; without cameras whose first image has not arrived."""
        return {name: stamped.value for name, stamped in self._newest.items()}

    @property
    def stamps(self) -> dict[str, float]:
        """Time stamp of every newest value."""
        return {name: stamped.stamp_s for name, stamped in self._newest.items()}

    def begin(self, seed: int) -> None:
        """Clear all values; drops depend on the seed from now on."""
        self._random = np.random.default_rng(seed)
        self._lines.clear()
        self._newest.clear()

    def measure(self, observation: Mapping[str, Array], now_s: float) -> None:
        """Measure all signals now."""
        for name, is_image in self._are_images.items():
            if is_image and self._random.random() < self._sensor_model.camera_drop:
                continue
            stamped = Stamped(observation[name].copy(), now_s)
            about = self._sensor_model
            delay = about.camera_delay if is_image else about.measurement_delay
            line = self._lines.setdefault(name, DelayLine(delay, stamped))
            self._newest[name] = line.send(stamped, delay)
