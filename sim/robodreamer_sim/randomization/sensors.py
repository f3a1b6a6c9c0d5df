"""Imperfect cameras, measurements and actions, between the simulation and the policy.

Measurements are biased, noisy and late; images are altered, lost and late; actions arrive late.
Rewards, goals and privileged signals stay true. Everything counts control steps.
"""

import numpy as np

from robodreamer_deploy.contract import Array, Contract, Observation, Signal
from robodreamer_sim.randomization.delay import DelayLine
from robodreamer_sim.randomization.image_noise import (
    add_noise,
    blur,
    change_brightness,
    change_contrast,
)
from robodreamer_sim.randomization.sampling import EntrySampler
from robodreamer_sim.randomization.spec import Randomization
from robodreamer_sim.utils.rates import is_due

Frames = dict[str, Array]
"""Frame of one camera by signal: the image, and depth where it is measured."""


class SignalRandomizer:
    """Randomizer of observations and actions, like a robot's sensors and actuators.

    Raises:
        ValueError: An entry that selects a camera or measurement which is not observed.
    """

    def __init__(self, contract: Contract, randomization: Randomization) -> None:
        self._contract = contract
        self._cameras = _cameras(contract)
        self._measurements = _measurements(contract)
        names = {
            "image": tuple(self._cameras),
            "measurement": tuple(self._measurements),
            "component": tuple(n for s in self._measurements.values() for n in _components(s)),
            "action": ("action",),
        }
        self.draws = [
            EntrySampler(entry, names[entry.about.kind])
            for entry in randomization.entries
            if not entry.about.is_of_model
        ]
        """Samplers of all entries, in their order."""
        self._step = 0
        self._biases: dict[str, Array] = {}
        self._pictures: dict[str, DelayLine[Frames]] = {}
        self._values: dict[str, DelayLine[Array]] = {}
        self._actions = DelayLine(self._longest("action_delay"), _neutral(contract))

    def begin(self, start_seed: int, episode_seed: int) -> None:
        """Draw for a new episode, and clear the state of the last."""
        for draws in self.draws:
            draws.begin(start_seed, episode_seed)
        self._biases = {name: self._bias(name) for name in self._measurements}
        self._step = 0
        self._pictures.clear()
        self._values.clear()
        self._actions = DelayLine(self._longest("action_delay"), _neutral(self._contract))

    def advance(self, dt_s: float) -> None:
        """Begin a control step of `dt_s`."""
        self._step += 1
        due = [draws for draws in self.draws if draws.advance(dt_s)]
        if any(draws.entry.field == "measurement_bias" for draws in due):
            self._biases = {name: self._bias(name) for name in self._measurements}

    def act(self, action: Array) -> Array:
        """Return the action (A,) that arrives now; the neutral one until the first has."""
        return self._actions.send(action.copy(), self._delay("action_delay", "action"))

    def observe(self, observation: Observation) -> dict[str, Array]:
        """Return an observation as the policy receives it."""
        seen = dict(observation)
        for camera, signals in self._cameras.items():
            frames = {signal.name: observation[signal.name] for signal in signals}
            seen |= self._look(camera, frames, signals[0].rate_hz)
        for name, signal in self._measurements.items():
            seen[signal.name] = self._measure(name, observation[signal.name])
        return seen

    def _look(self, camera: str, frames: Frames, rate_hz: float | None) -> Frames:
        drop = self._find("camera_drop", camera)
        is_lost = drop is not None and drop[0].stream.random() < drop[1]
        line = self._pictures.get(camera)
        if line is None:
            frames = self._retouch(camera, frames)
            line = self._pictures[camera] = DelayLine(self._longest("camera_delay"), frames)
        elif is_lost or not is_due(rate_hz, self._contract.control_dt_s, self._step):
            frames = line.newest
        else:
            frames = self._retouch(camera, frames)
        late = line.send(frames, self._delay("camera_delay", camera))
        return {name: frame.copy() for name, frame in late.items()}

    def _retouch(self, camera: str, frames: Frames) -> Frames:
        """Alter the image of a camera as a lens and a chip do; depth stays."""
        name = f"image/{camera}"
        picture = frames[name]
        if found := self._find("image_blur", camera):
            picture = blur(picture, found[1])
        if found := self._find("image_brightness", camera):
            picture = change_brightness(picture, found[1])
        if found := self._find("image_contrast", camera):
            picture = change_contrast(picture, found[1])
        if found := self._find("image_noise", camera):
            picture = add_noise(picture, found[1], found[0].stream)
        return frames | {name: picture}

    def _measure(self, name: str, value: Array) -> Array:
        value = value + self._biases[name]
        if found := self._find("measurement_noise", name):
            value = value + found[1] * found[0].stream.standard_normal(value.shape)
        value = value.astype(np.float32)
        if name not in self._values:
            self._values[name] = DelayLine(self._longest("measurement_delay"), value)
        line = self._values[name]
        return line.send(value, self._delay("measurement_delay", name)).copy()

    def _bias(self, name: str) -> Array:
        """Return the sum of what was drawn for a measurement, in its shape."""
        signal = self._measurements[name]
        components = _components(signal)
        bias = np.zeros(len(components))
        for draws in self.draws:
            if draws.entry.field == "measurement_bias":
                drawn = dict(zip(draws.names, draws.values[:, 0], strict=True))
                bias += [drawn.get(component, 0.0) for component in components]
        return bias.reshape(signal.shape)

    def _find(self, field: str, element: str) -> tuple[EntrySampler, float] | None:
        """Return the last sampler of an element in the entries' order, and its value."""
        for draws in reversed(self.draws):
            if draws.entry.field == field and element in draws.names:
                return draws, float(draws.values[draws.names.index(element), 0])
        return None

    def _delay(self, field: str, element: str) -> int:
        found = self._find(field, element)
        return int(found[1]) if found else 0

    def _longest(self, field: str) -> int:
        longest = [d.entry.distribution.bounds[1] for d in self.draws if d.entry.field == field]
        return int(np.rint(max(longest, default=0.0)))


def delays_s(contract: Contract, randomization: Randomization) -> dict[str, tuple[float, float]]:
    """Return the shortest and longest delay in seconds, by signal and for `action`.

    What is not delayed is left out. A camera's depth is as late as its picture.
    """
    signals = {
        "camera_delay": {
            name: tuple(s.name for s in of) for name, of in _cameras(contract).items()
        },
        "measurement_delay": {name: (s.name,) for name, s in _measurements(contract).items()},
        "action_delay": {"action": ("action",)},
    }
    delays: dict[str, tuple[float, float]] = {}
    for entry in randomization.entries:
        if (delayed := signals.get(entry.field)) is None:
            continue
        shortest, longest = (round(s) * contract.control_dt_s for s in entry.distribution.bounds)
        for chosen in entry.choose([*delayed]):
            delays |= dict.fromkeys(delayed[chosen], (shortest, longest))
    return delays


def _cameras(contract: Contract) -> dict[str, list[Signal]]:
    """Return the image signals of every observed camera, its picture first."""
    with_depth = {c.signal for c in contract.cameras if c.depth_range_m is not None}
    cameras: dict[str, list[Signal]] = {}
    for signal in contract.observations:
        if signal.is_image:
            name = signal.name.partition("/")[2]
            name = name.removesuffix("_depth") if signal.name in with_depth else name
            cameras.setdefault(name, []).append(signal)
    return cameras


def _measurements(contract: Contract) -> dict[str, Signal]:
    return {
        signal.name.partition("/")[2]: signal
        for signal in contract.inputs
        if signal.family == "proprio" and signal.dtype == "float32" and not signal.is_image
    }


def _components(signal: Signal) -> list[str]:
    """Return a name for every number of a measurement, by its label where it has one."""
    name = signal.name.partition("/")[2]
    labels = signal.labels or tuple(str(index) for index in range(signal.num_elements))
    return [f"{name}.{label}" for label in labels] if signal.shape else [name]


def _neutral(contract: Contract) -> Array:
    """Return what is commanded before anything is: the middle of every range, the first choice."""
    action = np.zeros(contract.action.size, np.float32)
    if contract.action.kind == "discrete":
        action[0] = 1.0
    return action
