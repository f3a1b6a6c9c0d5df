"""How a robot measures: late, and with frames that never come. Every value knows how old it is.

What alters the values themselves (noise, bias, blur, brightness) is `EnvOptions.randomize`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from robodreamer_deploy.contract import Array, Contract
from robodreamer_sim.randomization.delay import DelayLine


@dataclass(frozen=True, kw_only=True)
class SensorModel:
    """What happens to measurements and commands on their way; delays in control periods."""

    camera_drop: float = 0.0
    """Part of the pictures that never come; until the next one does, the last stays, and ages."""
    camera_delay: int = 0
    measurement_delay: int = 0
    action_delay: int = 0

    def __post_init__(self) -> None:
        """Refuse what no robot does."""
        if not 0.0 <= self.camera_drop <= 1.0:
            raise ValueError(f"camera_drop lies between 0 and 1, got {self.camera_drop}")
        for name in ("camera_delay", "measurement_delay", "action_delay"):
            if not 0 <= (value := getattr(self, name)) <= 100:
                raise ValueError(f"{name} is 0 to 100 control periods, got {value}")


class Stamped(NamedTuple):
    """A value, and when it was measured."""

    value: Array
    stamp_s: float


class Sensors:
    """Keeps the newest of every signal that has come through."""

    def __init__(self, contract: Contract, sensor_model: SensorModel) -> None:
        self._sensor_model = sensor_model
        self._are_images = {signal.name: signal.is_image for signal in contract.inputs}
        self._lines: dict[str, DelayLine[Stamped]] = {}
        self._random = np.random.default_rng(0)
        self._newest: dict[str, Stamped] = {}

    @property
    def values(self) -> dict[str, Array]:
        """The newest of every signal; a camera whose first picture has not come is left out."""
        return {name: stamped.value for name, stamped in self._newest.items()}

    @property
    def stamps(self) -> dict[str, float]:
        """When each was measured."""
        return {name: stamped.stamp_s for name, stamped in self._newest.items()}

    def begin(self, seed: int) -> None:
        """Forget what was measured; what gets lost is a function of the seed from now on."""
        self._random = np.random.default_rng(seed)
        self._lines.clear()
        self._newest.clear()

    def measure(self, observation: Mapping[str, Array], now_s: float) -> None:
        """Take in what there is to measure now."""
        for name, is_image in self._are_images.items():
            if is_image and self._random.random() < self._sensor_model.camera_drop:
                continue
            stamped = Stamped(observation[name].copy(), now_s)
            about = self._sensor_model
            delay = about.camera_delay if is_image else about.measurement_delay
            line = self._lines.setdefault(name, DelayLine(delay, stamped))
            self._newest[name] = line.send(stamped, delay)
