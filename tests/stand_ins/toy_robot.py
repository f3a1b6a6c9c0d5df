"""A point on a plane that has to come to a target: a robot that needs nothing but numpy.

`Point` has episodes; `Bench` is the same without, as hardware is. Both are given to the command
line as `toy_robot.py:Point`.
"""

import numpy as np

from robodreamer_deploy.contract import ActionSpec, Array, Camera, Contract, Signal

IMAGE = (8, 6, 3)
EPISODE_STEPS = 20

CONTRACT = Contract(
    task="toy_reach",
    observations=(
        Signal(name="proprio/position", shape=(2,), dtype="float32", unit="m", labels=("x", "y")),
        Signal(name="image/eye", shape=IMAGE, dtype="uint8"),
        Signal(name="goal/target", shape=(2,), dtype="float32", unit="m"),
        Signal(name="privileged/distance", shape=(), dtype="float32", unit="m"),
    ),
    action=ActionSpec(
        size=2,
        low=(-0.1, -0.2),
        high=(0.1, 0.2),
        labels=("x", "y"),
        units=("m", "m"),
        quantities=("displacement",) * 2,
        frames=("world",) * 2,
    ),
    control_dt_s=0.02,
    max_episode_steps=EPISODE_STEPS,
    delays_s={"action": (0.0, 0.02)},
    cameras=(Camera(signal="image/eye", fovy_rad=0.7),),
    options={"observe": "both"},
)


class FakeClock:
    """Time that passes when somebody sleeps, or says so."""

    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float, /) -> None:
        assert seconds >= 0
        self.time += seconds


class Bench:
    """The point, without episodes."""

    def __init__(self, argument: str, contract: Contract) -> None:
        if argument == "broken":
            raise ValueError("the toy is broken")
        self.contract = contract
        self.position = np.zeros(2)
        self.target = np.array([0.5, -0.5])
        self.sent: list[Array] = []
        self.num_holds = 0
        self.is_connected = False

    @property
    def distance(self) -> float:
        return float(np.linalg.norm(self.position - self.target))

    @property
    def observation_features(self) -> dict[str, tuple[int, ...]]:
        return {signal.name: signal.shape for signal in CONTRACT.observations}

    @property
    def action_features(self) -> dict[str, tuple[int, ...]]:
        return {"action": (CONTRACT.action.size,)}

    def connect(self) -> None:
        self.is_connected = True

    def disconnect(self) -> None:
        self.is_connected = False

    def get_observation(self) -> dict[str, Array]:
        image = np.zeros(IMAGE, np.uint8)
        image[int(np.clip(4 + 4 * self.position[0], 0, 7))] = 255
        return {
            "proprio/position": self.position.astype(np.float32),
            "image/eye": image,
            "goal/target": self.target.astype(np.float32),
            "privileged/distance": np.array(self.distance, np.float32),
        }

    def send_action(self, action: Array) -> Array:
        self.sent.append(action.copy())
        self.position += self.contract.action.to_actuators(action)
        return action

    def hold(self) -> Array:
        self.num_holds += 1
        return np.zeros(2, np.float32)


class Point(Bench):
    """The point, with episodes of fixed length, as a simulator in this process."""

    is_stepped = True

    def __init__(self, argument: str, contract: Contract) -> None:
        super().__init__(argument, contract)
        self.steps = 0
        self._return = 0.0

    def start_episode(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self.position = np.zeros(2)
        self.target = generator.uniform(-1, 1, 2)
        self.steps, self._return = 0, 0.0

    def send_action(self, action: Array) -> Array:
        assert not self.is_episode_over
        self.steps += 1
        executed = super().send_action(action)
        self._return -= self.distance
        return executed

    @property
    def is_episode_over(self) -> bool:
        return self.steps >= EPISODE_STEPS

    @property
    def episode_return(self) -> float:
        return self._return

    @property
    def episode_success(self) -> bool:
        return self.distance < 1.0
