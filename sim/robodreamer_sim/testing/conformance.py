"""Conformance suite: checks of what every task guarantees.

`robodreamer tasks check NAME` runs it on any task that `make` can make, so also on a user's own;
the tests run it on all that are listed. A check is a function that takes a `TaskUnderTest`
and raises `ConformanceError` with a sentence.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np

from robodreamer_deploy.contract import Array, Contract
from robodreamer_sim.cameras.blank_check import NUM_FRAMES, blank_reason
from robodreamer_sim.env import MAX_STEPS, TaskEnv
from robodreamer_sim.options import EnvOptions

FEW_STEPS = 20
LONGEST_DT_S, SHORTEST_DT_S = 0.2, 0.001
OPTIONS = EnvOptions(image_size=(48, 64))


class ConformanceError(Exception):
    """Error of a task that fails a check."""


class Step(NamedTuple):
    """Result of one step of an episode."""

    observation: Mapping[str, Array]
    reward: float
    is_terminated: bool
    is_truncated: bool
    success: bool


class TaskUnderTest:
    """Task under test, which the checks examine.

    Args:
        make: Makes it with given options.
        options: As which it is examined.
    """

    def __init__(
        self, make: Callable[[EnvOptions], TaskEnv], options: EnvOptions = OPTIONS
    ) -> None:
        self.make = make
        self.options = options

    @cached_property
    def env(self) -> TaskEnv:
        """Environment that the checks share."""
        return self.make(self.options)

    @property
    def contract(self) -> Contract:
        """Contract of the task."""
        return self.env.contract

    def make_without_pictures(self) -> TaskEnv:
        """Return an environment without cameras where the task allows it, else the shared kind."""
        try:
            return self.make(
                EnvOptions(observe="proprio", action_repeat=self.options.action_repeat)
            )
        except ValueError:
            return self.make(self.options)

    def close(self) -> None:
        """Close the shared environment."""
        self.env.close()


def roll_out(env: TaskEnv, seed: int, steps: int) -> Iterator[Step]:
    """Begin an episode and take fixed random actions, `steps` of them or to its end."""
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed)
    yield Step(observation, 0.0, is_terminated=False, is_truncated=False, success=info["success"])
    for _ in range(steps):
        step = _step(env, random_action(env, rng))
        yield step
        if step.is_terminated or step.is_truncated:
            return


def random_action(env: TaskEnv, rng: np.random.Generator) -> Array:
    """Return a uniform action, float32 (A,): in [-1, 1], or one-hot."""
    size = env.contract.action.size
    if env.contract.action.kind == "discrete":
        return np.eye(size, dtype=np.float32)[rng.integers(size)]
    return rng.uniform(-1.0, 1.0, size).astype(np.float32)


def check_contract(tested: TaskUnderTest) -> None:
    """The contract is complete, survives JSON, and remakes the task."""
    contract = tested.contract
    if not contract.inputs:
        raise ConformanceError("the contract has no signal that a policy may see")
    if not SHORTEST_DT_S <= contract.control_dt_s <= LONGEST_DT_S:
        raise ConformanceError(f"control_dt_s is {contract.control_dt_s} s, expected 0.001 to 0.2")
    images = [signal.name for signal in contract.observations if signal.is_image]
    if sorted(camera.signal for camera in contract.cameras) != sorted(images):
        raise ConformanceError(
            f"the contract describes cameras {contract.cameras} for pictures {images}"
        )
    if Contract.from_json(contract.to_json()) != contract:
        raise ConformanceError("the contract written as JSON and read again is another one")
    again = tested.make(EnvOptions.from_dict(contract.options))
    try:
        if again.contract != contract:
            raise ConformanceError(
                "the task made again from its contract's options has another contract"
            )
    finally:
        again.close()


def check_units(tested: TaskUnderTest) -> None:
    """The contract says the kind of every action, and its unit where there is one."""
    action = tested.contract.action
    if action.kind == "discrete":
        return
    labels = action.labels or tuple(map(str, range(action.size)))
    units = action.units or ("",) * action.size
    if not action.quantities:
        raise ConformanceError(
            "the contract does not say what the actions are: give its ActionSpec `quantities` and "
            "`units`, such as position in rad, or `unknown`"
        )
    for label, quantity, unit in zip(labels, action.quantities, units, strict=True):
        if not unit and quantity not in ("unknown", "activation"):
            raise ConformanceError(f"the action {label} is a {quantity} without a unit")


def check_observations(tested: TaskUnderTest) -> None:
    """Every observation, reward and flag is exactly what the contract says."""
    env = tested.env
    for index, step in enumerate(roll_out(env, 1, FEW_STEPS)):
        try:
            env.contract.check(step.observation)
        except ValueError as error:
            raise ConformanceError(f"step {index}: {error}") from error
        if not env.observation_space.contains(dict(step.observation)):
            raise ConformanceError(f"step {index}: the observation lies outside observation_space")
        if not math.isfinite(step.reward):
            raise ConformanceError(f"step {index}: the reward is {step.reward}")
        for name in ("is_terminated", "is_truncated", "success"):
            if type(getattr(step, name)) is not bool:
                raise ConformanceError(f"step {index}: {name} is {getattr(step, name)!r}, no bool")


def check_arrays_are_fresh(tested: TaskUnderTest) -> None:
    """An observation stays what it was while the task goes on."""
    env = tested.env
    observation, _ = env.reset(seed=0)
    before = {key: value.copy() for key, value in observation.items()}
    rng = np.random.default_rng(0)
    for _ in range(3):
        env.step(random_action(env, rng))
    for key, value in before.items():
        if not np.array_equal(observation[key], value):
            raise ConformanceError(
                f"{key} of the first observation changed with the next steps; copy it"
            )


def check_seeds(tested: TaskUnderTest) -> None:
    """A seed begins the same episode whatever came before; another seed another one."""
    env = tested.env
    first = list(roll_out(env, 7, FEW_STEPS))
    other = list(roll_out(env, 8, FEW_STEPS // 2))
    _require_equal(first, list(roll_out(env, 7, FEW_STEPS)), "after another episode")
    fresh = tested.make(EnvOptions.from_dict(env.contract.options))
    try:
        _require_equal(first, list(roll_out(fresh, 7, FEW_STEPS)), "in a new environment")
    finally:
        fresh.close()
    pairs = zip(first, other, strict=False)
    if all(np.array_equal(v, b.observation[k]) for a, b in pairs for k, v in a.observation.items()):
        raise ConformanceError("seeds 7 and 8 and other actions lead to the same observations")


def check_drawing(tested: TaskUnderTest) -> None:
    """Pictures for people have the size asked for, and taking them changes no bit of the task."""
    blind = tested.make_without_pictures()
    try:
        plain = list(roll_out(blind, 3, FEW_STEPS // 2))
    finally:
        blind.close()
    if not tested.env.camera_names:
        return
    drawn: list[Step] = []
    for step in roll_out(tested.env, 3, FEW_STEPS // 2):
        picture = tested.env.render_camera(height=50, width=70)
        if picture.shape != (50, 70, 3) or picture.dtype != np.uint8:
            raise ConformanceError(
                f"render_camera(50, 70) returned {picture.dtype} {picture.shape}"
            )
        drawn.append(step)
    _require_equal(plain, drawn, "with pictures taken of it")


def check_pictures(tested: TaskUnderTest) -> None:
    """Every camera shows something, and something that moves."""
    for signal in tested.contract.observations:
        if not signal.is_image:
            continue
        steps = roll_out(tested.env, 4, NUM_FRAMES)
        frames = np.stack([step.observation[signal.name] for step in steps])
        if blindness := blank_reason(signal.name, frames):
            raise ConformanceError(blindness)
        if (frames == frames[0]).all():
            raise ConformanceError(
                f"{signal.name} does not change in {len(frames)} frames of random actions"
            )


def check_actions(tested: TaskUnderTest) -> None:
    """Actions beyond the limits are clipped; what is no action is refused."""
    env = tested.env
    size = env.contract.action.size
    if env.contract.action.kind == "continuous":
        for sign in (-1.0, 1.0):
            outcomes: list[Step] = []
            for factor in (3.0, 1.0):
                env.reset(seed=5)
                outcomes.append(_step(env, np.full(size, sign * factor, np.float32)))
            _require_equal(outcomes[:1], outcomes[1:], f"at {3 * sign:g} instead of {sign:g}")
    env.reset(seed=0)
    for bad in (np.full(size, np.nan, np.float32), np.zeros(size + 1, np.float32)):
        try:
            env.step(bad)
        except ValueError:
            continue
        raise ConformanceError(f"the action {bad} was accepted")


def check_end(tested: TaskUnderTest) -> None:
    """Episodes are cut at the stated step, or end by themselves before."""
    limit = tested.contract.max_episode_steps
    env = tested.make_without_pictures()
    try:
        steps = list(roll_out(env, 6, limit or MAX_STEPS))
    finally:
        env.close()
    last = steps[-1]
    if not (last.is_truncated or last.is_terminated):
        raise ConformanceError(
            f"an episode of {len(steps) - 1} steps was not cut, though the limit is {limit}"
        )
    if last.is_truncated and limit is not None and len(steps) - 1 != limit:
        raise ConformanceError(
            f"an episode was cut after {len(steps) - 1} steps, not after {limit}"
        )


CHECKS: Mapping[str, Callable[[TaskUnderTest], None]] = {
    "contract": check_contract,
    "units": check_units,
    "observations": check_observations,
    "fresh arrays": check_arrays_are_fresh,
    "seeds": check_seeds,
    "drawing": check_drawing,
    "pictures": check_pictures,
    "actions": check_actions,
    "end": check_end,
}
"""All checks by name, the most basic first; their docstrings are printed."""


def _step(env: TaskEnv, action: Array) -> Step:
    observation, reward, is_terminated, is_truncated, info = env.step(action)
    return Step(observation, reward, is_terminated, is_truncated, info["success"])


def _require_equal(expected: list[Step], found: list[Step], when: str) -> None:
    """Compare two episodes to the bit, in the signals that both have."""
    if len(expected) != len(found):
        raise ConformanceError(
            f"{when} the episode has {len(found) - 1} steps, not {len(expected) - 1}"
        )
    for index, (one, other) in enumerate(zip(expected, found, strict=True)):
        if one[1:] != other[1:]:
            raise ConformanceError(f"{when} step {index} yields {other[1:]}, not {one[1:]}")
        for key in sorted(one.observation.keys() & other.observation.keys(), reverse=True):
            if not np.array_equal(one.observation[key], other.observation[key]):
                raise ConformanceError(f"{when} {key} differs at step {index}")
