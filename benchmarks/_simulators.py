"""Contenders of simulation.py, each in a process of its own: `python _simulators.py ROW CONTENDER`.

A contender says "ready" once it is, and answers every line of seconds on its standard input with a
line of JSON, its `Measurement` over that time. Nothing here loads torch.
"""

import contextlib
import ctypes
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import gymnasium
import numpy as np

from robodreamer_sim.utils.cores import num_usable_cores

NUM_ENVS = 16
SIZE = 64
WARM_UP_STEPS = 5
FETCH = "FetchPickAndPlace-v4"
KITCHEN = "FrankaKitchen-v1"


class Measurement(NamedTuple):
    """What was found in one turn."""

    figure: float
    """Steps per second, or MB."""
    cpu_ms: float | None = None
    """Processor time per step, of the contender and its children."""


class Contender(Protocol):
    """What is measured."""

    def measure(self, seconds: float) -> Measurement:
        """Return the figure, found within about `seconds`."""
        ...

    def close(self) -> None:
        """End what was started."""
        ...


class Steps:
    """Steps per second of all environments together, under random actions."""

    def __init__(
        self, step: Callable[[], object], num_envs: int, close: Callable[[], None]
    ) -> None:
        self._step, self._num_envs, self._close = step, num_envs, close
        for _ in range(WARM_UP_STEPS):
            step()

    def measure(self, seconds: float) -> Measurement:
        """Step for that long."""
        cpu, begin = _session_cpu_s(), time.perf_counter()
        now, count = begin, 0
        while now - begin < seconds:
            self._step()
            count += self._num_envs
            now = time.perf_counter()
        return Measurement(count / (now - begin), 1e3 * (_session_cpu_s() - cpu) / count)

    def close(self) -> None:
        """End the environments."""
        self._close()


def ours(task: str, observe: str, num_envs: int = NUM_ENVS, shards: int | None = None) -> Contender:
    """Return our environments, sharing the cores unless `shards` says otherwise."""
    from robodreamer_sim import EnvOptions, VectorEnv

    options = EnvOptions.from_dict({"observe": observe, "image_size": [SIZE, SIZE]})
    shards = num_usable_cores() if shards is None else shards
    environments = VectorEnv(task, options, num_envs=num_envs, num_workers=shards, seed=0)
    environments.start()
    environments.recv()
    rng = np.random.default_rng(0)
    shape = num_envs, environments.contract.action.size

    def step() -> None:
        environments.send(rng.uniform(-1, 1, shape).astype(np.float32))
        environments.recv()

    return Steps(step, num_envs, environments.close)


class Walker(gymnasium.Env[Any, Any]):
    """dm_control's walker as it comes, with its own pictures or none."""

    def __init__(self, *, has_picture: bool) -> None:
        from dm_control import suite

        self._suite: Any = suite.load("walker", "walk")
        self.physics = self._suite.physics
        self._has_picture = has_picture
        spec = self._suite.observation_spec()
        spaces: dict[str, Any] = {
            name: gymnasium.spaces.Box(-np.inf, np.inf, array.shape) for name, array in spec.items()
        }
        if has_picture:
            spaces["image"] = gymnasium.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        self.observation_space = gymnasium.spaces.Dict(spaces)
        self.action_space = gymnasium.spaces.Box(-1, 1, self._suite.action_spec().shape)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Begin an episode."""
        super().reset(seed=seed, options=options)
        return self._observe(self._suite.reset()), {}

    def step(self, action: Any) -> Any:
        """Advance by 0.025 s."""
        step = self._suite.step(action)
        return self._observe(step), float(step.reward), False, bool(step.last()), {}

    def _observe(self, step: Any) -> dict[str, Any]:
        values = {name: np.float32(value) for name, value in step.observation.items()}
        if self._has_picture:
            values["image"] = self.physics.render(SIZE, SIZE, camera_id=0)
        return values


def rendered(gymnasium_id: str) -> gymnasium.Env[Any, Any]:
    """Return an environment of gymnasium-robotics that can render as it comes."""
    from robodreamer_sim.compat import import_gymnasium_robotics

    import_gymnasium_robotics()
    return gymnasium.make(gymnasium_id, render_mode="rgb_array", width=SIZE, height=SIZE)


def asynchronous(make: Callable[[], gymnasium.Env[Any, Any]]) -> Contender:
    """Return Gymnasium's AsyncVectorEnv: one process per environment."""
    makers = [make] * NUM_ENVS
    environments: Any = gymnasium.vector.AsyncVectorEnv(makers, context="spawn")
    environments.reset(seed=0)

    def step() -> None:
        environments.step(environments.action_space.sample())

    return Steps(step, NUM_ENVS, environments.close)


def walker_with_picture() -> gymnasium.Env[Any, Any]:
    """Return dm_control's walker, seen and measured."""
    return Walker(has_picture=True)


def walker_without_picture() -> gymnasium.Env[Any, Any]:
    """Return dm_control's walker, measured only."""
    return Walker(has_picture=False)


def fetch_with_picture() -> gymnasium.Env[Any, Any]:
    """Return gymnasium-robotics' pick and place, seen and measured."""
    return gymnasium.wrappers.AddRenderObservation(rendered(FETCH), render_only=False)


def kitchen_as_it_comes() -> Contender:
    """Return gymnasium-robotics' kitchen, stepped and drawn by its own `render()`."""
    env = rendered(KITCHEN)
    env.reset(seed=0)

    def step() -> None:
        env.step(env.action_space.sample())
        env.render()

    return Steps(step, 1, env.close)


def envpool(task: str, *, has_picture: bool) -> Contender:
    """Return EnvPool's environments; with pictures it observes nothing else."""
    ctypes.CDLL("libEGL.so", ctypes.RTLD_GLOBAL)  # its MuJoCo looks whether one is loaded
    import envpool as peer  # pyright: ignore[reportMissingImports]

    size = {"render_width": SIZE, "render_height": SIZE}
    pixels = {"from_pixels": True, **size} if has_picture else {}
    threads = num_usable_cores()
    environments = peer.make_gymnasium(task, num_envs=NUM_ENVS, num_threads=threads, **pixels)
    environments.reset()
    space = environments.action_space
    rng = np.random.default_rng(0)

    def step() -> None:
        environments.step(rng.uniform(-1, 1, (NUM_ENVS, *space.shape)).astype(space.dtype))

    return Steps(step, NUM_ENVS, environments.close)


class Shard:
    """MB that one more environment adds to a worker, drawn and measured."""

    def __init__(self, task: str) -> None:
        self._task = task

    def measure(self, seconds: float) -> Measurement:  # noqa: ARG002
        """Compare two workers."""
        few, many = 2, 6
        added = self._memory_with(many) - self._memory_with(few)
        return Measurement(added / (many - few))

    def _memory_with(self, num_envs: int) -> float:
        from robodreamer_sim import EnvOptions, VectorEnv

        options = EnvOptions(image_size=(SIZE, SIZE))
        with VectorEnv(
            self._task, options, num_envs=num_envs, num_workers=1, seed=0
        ) as environments:
            (worker,) = multiprocessing.active_children()
            action = np.zeros((num_envs, environments.contract.action.size), np.float32)
            environments.start()
            for _ in range(WARM_UP_STEPS):
                environments.recv()
                environments.send(action)
            environments.recv()
            assert worker.pid is not None, "it was started"
            return _memory_mb(worker.pid)

    def close(self) -> None:
        """Nothing is left running between measurements."""


class Renderers:
    """MB that one more `mujoco.Renderer` adds to this process."""

    def __init__(self) -> None:
        self._env = Walker(has_picture=False)
        self._env.reset()
        self._kept = [self._add()]

    def measure(self, seconds: float) -> Measurement:  # noqa: ARG002
        """Add some."""
        before, number = _memory_mb(os.getpid()), 3
        self._kept += [self._add() for _ in range(number)]
        return Measurement((_memory_mb(os.getpid()) - before) / number)

    def close(self) -> None:
        """Free them."""
        for renderer in self._kept:
            renderer.close()

    def _add(self) -> Any:
        import mujoco

        physics = self._env.physics
        renderer = mujoco.Renderer(physics.model.ptr, SIZE, SIZE)
        renderer.update_scene(physics.data.ptr)
        renderer.render()
        return renderer


OURS = "robodreamer"
MEMORY_TASKS = ("dmc_cheetah_run", "fetch_reach", "arm_reach", "franka_kitchen")
"""Of which one more environment is weighed too."""
ASYNC, ENVPOOL = "AsyncVectorEnv", "EnvPool"
WALKER = "dmc_walker_walk"
CONTENDERS: Mapping[str, Mapping[str, Callable[[], Contender]]] = {
    "walker": {
        OURS: lambda: ours(WALKER, "both"),
        ASYNC: lambda: asynchronous(walker_with_picture),
        ENVPOOL: lambda: envpool("WalkerWalk-v1", has_picture=True),
    },
    "fetch": {
        OURS: lambda: ours("fetch_pick_and_place", "both"),
        ASYNC: lambda: asynchronous(fetch_with_picture),
        ENVPOOL: lambda: envpool(FETCH, has_picture=True),
    },
    "kitchen": {
        OURS: lambda: ours(f"gym:{KITCHEN}", "both", num_envs=1, shards=1),
        "render()": kitchen_as_it_comes,
    },
    "state": {
        OURS: lambda: ours(WALKER, "proprio"),
        ASYNC: lambda: asynchronous(walker_without_picture),
        ENVPOOL: lambda: envpool("WalkerWalk-v1", has_picture=False),
    },
    "shards": {
        OURS: lambda: ours(WALKER, "both", shards=2),
        "1 shard": lambda: ours(WALKER, "both", shards=1),
    },
    "memory": {
        OURS: lambda: Shard(WALKER),
        **{task: partial(Shard, task) for task in MEMORY_TASKS},
        "mujoco.Renderer": Renderers,
    },
}
"""Who takes part in which row."""


def _memory_mb(process: int) -> float:
    """Return what a process has written to: libraries aside, pages that it shares counted once."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    sizes = [line.split()[1] for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:"))]
    return sum(map(int, sizes)) * 1024 / 1e6


def _session_cpu_s() -> float:
    """Return the processor time of this session: a contender is started in one of its own."""
    ticks, own = 0, os.getsid(0)
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # After the name, which may hold anything: state, parent, group, session, ...
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == own:
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Serve one contender until its input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print is no answer
    if "DISPLAY" not in os.environ:
        os.environ.setdefault("MUJOCO_GL", "egl")  # the peers' renderers know no other default
    _, row, name = sys.argv
    contender = CONTENDERS[row][name]()
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(contender.measure(float(line))), file=answers, flush=True)
    contender.close()


if __name__ == "__main__":
    main()
