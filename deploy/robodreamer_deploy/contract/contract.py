"""The contract itself: signals, action, time step, and the facts of the task behind them."""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from robodreamer_deploy.contract.action import ActionSpec
from robodreamer_deploy.contract.camera import Camera
from robodreamer_deploy.contract.signal import Observation, Signal
from robodreamer_deploy.errors import SignalError
from robodreamer_deploy.joint_mapping import JointMapping
from robodreamer_deploy.utils.strict_json import parse_json, read_object, read_record

CONTRACT_VERSION = 3


@dataclass(frozen=True, kw_only=True)
class Contract:
    """Everything that agent, simulator and robot have to agree on."""

    task: str
    """Name of the task, as given on the command line."""
    observations: tuple[Signal, ...]
    """Signals in declared order; lookups go by name."""
    action: ActionSpec
    control_dt_s: float
    """Seconds from one action to the next; the model's time step."""
    max_episode_steps: int | None = None
    """Steps after which an episode is cut (truncated); None if the task sets no limit itself."""
    delays_s: Mapping[str, tuple[float, float]] = field(
        default_factory=dict[str, tuple[float, float]]
    )
    """Shortest and longest delay in seconds that the task is randomised with, by signal and for
    `action`; everything else is immediate."""
    cameras: tuple[Camera, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Settings the task was made with, plain JSON values, so that it can be made again."""
    knows_success: bool = True
    """True if the task can tell that its goal is met. Where it cannot, no success is measured,
    written or shown. A contract saved before there was this field lacks it, and reads as True."""
    version: int = CONTRACT_VERSION

    def __post_init__(self) -> None:
        """Refuse two signals of the same name, a camera without image, and a time step of 0."""
        names = [signal.name for signal in self.observations]
        if len(set(names)) != len(names):
            raise ValueError(f"a signal is declared twice: {sorted(names)}")
        for camera in self.cameras:
            if camera.signal not in names:
                raise ValueError(f"camera {camera.signal} is no signal; there are {sorted(names)}")
        if not 0.0 < self.control_dt_s < math.inf:
            raise ValueError(f"control_dt_s must be above 0, got {self.control_dt_s}")
        self._check_delays([*names, "action"])
        if self.action.mapping is not None:
            self._check_mapping(self.action.mapping)

    def _check_delays(self, names: list[str]) -> None:
        for name, (shortest, longest) in self.delays_s.items():
            if name not in names:
                raise ValueError(f"{name} is delayed, but no signal; there are {sorted(names)}")
            if not 0.0 <= shortest <= longest < math.inf:
                raise ValueError(f"{name} has delays from {shortest} to {longest} s")

    def _check_mapping(self, mapping: JointMapping) -> None:
        """Refuse an action that is a change from what the policy's robot does not measure."""
        known = {signal.name: signal for signal in self.inputs if signal.dtype == "float32"}
        if mapping.signal not in known:
            raise ValueError(
                f"the action is a change from {mapping.signal}, which has to be observed; "
                f"the policy reads {', '.join(known) or 'no measurement'}"
            )
        size = known[mapping.signal].num_elements
        for target in mapping.targets:
            if target.measured is not None and not 0 <= target.measured < size:
                raise ValueError(
                    f"{target.label} is element {target.measured} of {mapping.signal}, "
                    f"which has {size}"
                )

    def __getitem__(self, name: str) -> Signal:
        """Return the signal called `name`."""
        for signal in self.observations:
            if signal.name == name:
                return signal
        known = ", ".join(signal.name for signal in self.observations)
        raise KeyError(f"no signal {name!r}; this contract has {known}")

    @property
    def inputs(self) -> tuple[Signal, ...]:
        """Signals that the policy may see: all but the privileged ones."""
        return tuple(s for s in self.observations if s.family != "privileged")

    @property
    def privileged(self) -> tuple[Signal, ...]:
        """Signals that only training may see."""
        return tuple(s for s in self.observations if s.family == "privileged")

    def check(self, observation: Observation, *, inputs_only: bool = False) -> None:
        """Refuse an observation that lacks a signal, has one too many, or holds a bad value.

        Raises:
            SignalError: With the key and what is wrong with it.
        """
        signals = self.inputs if inputs_only else self.observations
        names = {signal.name for signal in signals}
        for key in observation:
            if key not in names:
                raise SignalError(key, f"unknown signal; expected {', '.join(sorted(names))}")
        for signal in signals:
            if signal.name not in observation:
                raise SignalError(signal.name, "missing from the observation")
            signal.check(observation[signal.name])

    def differences(self, other: "Contract", *, for_policy: bool = False) -> list[str]:
        """Return how this contract differs from the expected one, a clause per difference.

        Args:
            other: The expected contract.
            for_policy: Compare only what a policy of `other` reads and sends: its inputs, action
                and time step. Signals that this contract has in addition do not matter then.

        Returns:
            Such as `proprio/position: shape is (3,), expected (2,)`; empty without a difference.
        """
        signals = {signal.name: signal for signal in self.observations}
        expected = {s.name: s for s in (other.inputs if for_policy else other.observations)}
        found = [f"{name} is missing" for name in expected if name not in signals]
        if found:
            found[-1] += f"; there are {', '.join(signals) or 'no signals'}"
        if not for_policy:
            found += [f"{name} is not expected" for name in signals if name not in expected]
            if not found and list(signals) != list(expected):
                found.append(f"the order is {', '.join(signals)}, expected {', '.join(expected)}")
        for name in [name for name in expected if name in signals]:
            found += _differences(signals[name], expected[name], f"{name}: ")
        found += _differences(self.action, other.action, "action: ")
        skipped = {"observations", "action"}
        names = [f.name for f in dataclasses.fields(self) if f.name not in skipped]
        for name in ["control_dt_s"] if for_policy else names:
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours != theirs:
                found.append(f"{name} is {ours}, expected {theirs}")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; floats keep every digit."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Contract":
        """Rebuild a contract from `to_dict`'s values, or from its JSON.

        Raises:
            ValueError: Another version, or a missing, unknown or malformed field.
        """
        version = data.get("version")
        if version != CONTRACT_VERSION:
            raise ValueError(
                f"contract version {version!r}; this release reads {CONTRACT_VERSION}: train or "
                "export again, or install the release that wrote it"
            )
        return read_record(cls, data, "contract")

    def to_json(self) -> str:
        """Return the contract as JSON text. Floats are written by repr and read back exactly."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Contract":
        """Rebuild a contract from its JSON text.

        Raises:
            ValueError: As in `from_dict`, or the text is no JSON object.
        """
        return cls.from_dict(read_object(parse_json(text), "contract"))


def _differences(
    ours: Signal | ActionSpec, theirs: Signal | ActionSpec, where: str
) -> Iterator[str]:
    for f in dataclasses.fields(ours):
        one, other = getattr(ours, f.name), getattr(theirs, f.name)
        if one != other:
            yield f"{where}{f.name} is {one!r}, expected {other!r}"
