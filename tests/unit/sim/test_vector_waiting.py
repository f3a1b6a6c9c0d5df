"""Vector environments before their first record is taken: faults show, and what draws is known."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from robodreamer_sim.cameras.gl_backend import LIBRARIES, VARIABLE
from robodreamer_sim.errors import EnvironmentFault
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.vector.progress import PHASES
from robodreamer_sim.vector.vector_env import VectorEnv

ACTIONS = np.full((2, 1), 0.5, np.float32)


def local(name: str = "Toy") -> VectorEnv:
    """Return two toy environments in this process."""
    options = EnvOptions(observe="proprio")
    return VectorEnv(f"gym:toy_env:{name}-v0", options, num_envs=2, num_workers=0, seed=0)


def two_records(environments: VectorEnv) -> list[dict[str, NDArray[Any]]]:
    """Return copies of the first two records."""
    environments.start()
    first = {key: value.copy() for key, value in environments.recv().items()}
    environments.send(ACTIONS)
    return [first, {key: value.copy() for key, value in environments.recv().items()}]


def test_records_that_were_waited_for_are_left_to_recv() -> None:
    with local() as environments:
        expected = two_records(environments)
        environments.start()
        for record in expected:
            environments.wait()
            environments.wait()
            seen = environments.recv()
            np.testing.assert_array_equal(seen["is_first"], record["is_first"])
            np.testing.assert_array_equal(
                seen["proprio/observation"], record["proprio/observation"]
            )
            environments.send(ACTIONS)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_what_draws_is_told_once_something_was_drawn(num_workers: int) -> None:
    options = EnvOptions(observe="camera", image_size=(4, 4))
    task = "dmc_cartpole_balance"
    with VectorEnv(task, options, num_envs=2, num_workers=num_workers, seed=0) as environments:
        assert environments.renderer_name() == ""
        environments.start()
        environments.wait()
        name = environments.renderer_name()
        assert name.strip()
        assert environments.recv()["image/fixed"].any()
        assert environments.renderer_name() == name
    with local() as environments:
        two_records(environments)
        assert environments.renderer_name() == ""


def test_one_probe_answers_for_all_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    options = EnvOptions(image_size=(4, 4))
    with VectorEnv("gym:toy_env:Toy-v0", options, num_envs=1, seed=0) as environments:
        assert environments.back_end is not None
        assert environments.back_end.name in LIBRARIES
        worker: Any = environments._shards[0]
        inherited = Path(f"/proc/{worker._process.pid}/environ").read_text().split("\0")
        assert f"{VARIABLE}={environments.back_end.name}" in inherited


class Slices:
    """A pipe that has nothing to read for so many slices, however long one takes."""

    def __init__(self, number: int, between: Callable[[int], object] = lambda _: None) -> None:
        self.number, self.between = number, between
        self.asked_s = 0.0

    def poll(self, milliseconds: float) -> bool:
        """Return whether there is something to read; a stopped process would return as late."""
        if self.number == 0:
            return True
        self.asked_s += milliseconds / 1000
        self.number -= 1
        self.between(self.number)
        return False


@pytest.fixture
def worker() -> Iterator[Any]:
    """The worker of two environments, which has answered."""
    options = EnvOptions(observe="proprio")
    with VectorEnv("gym:toy_env:Toy-v0", options, num_envs=2, seed=0) as environments:
        environments.start()
        environments.recv()
        yield environments._shards[0]


def test_only_time_that_was_asked_for_counts_as_waiting(worker: Any) -> None:
    # Whoever is stopped in a slice for minutes has asked for one second.
    worker._poll = Slices(9)
    worker._wait_for_message(timeout_s=10.0)
    assert worker._poll.asked_s == 9.0
    worker._poll = Slices(11)
    with pytest.raises(EnvironmentFault, match="did not answer for 10 s"):
        worker._wait_for_message(timeout_s=10.0)
    assert worker._poll.asked_s == 10.0


def test_the_start_of_a_process_does_not_count_as_an_environments_time(worker: Any) -> None:
    worker._progress.begin(0, "started")
    worker._poll = Slices(100)
    worker._wait_for_message(timeout_s=2.0)
    assert worker._poll.asked_s == 50.0


@pytest.mark.parametrize("phase", PHASES[1:])
def test_the_wait_is_for_one_environment_at_a_time_and_names_it(worker: Any, phase: Any) -> None:
    def go_on(left: int) -> None:
        if left > 12 and left % 8 == 0:
            worker._progress.begin(left // 8, phase)

    worker._poll = Slices(100, go_on)
    words = f"environments 0 to 1 did not answer for 10 s: .*; environment 2 was being {phase};"
    with pytest.raises(EnvironmentFault, match=words):
        worker._wait_for_message(timeout_s=10.0)
    assert worker._poll.asked_s == 94.0, "84 slices with progress, then ten without"


def test_a_wait_is_longer_than_nothing() -> None:
    with pytest.raises(ValueError, match="timeout_s is above 0 s, got 0"):
        VectorEnv("gym:toy_env:Toy-v0", num_envs=1, seed=0, timeout_s=0.0)


@pytest.mark.slow
def test_a_process_group_that_was_stopped_goes_on(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(STOPPED)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(4.0)  # longer than the wait of two seconds
        os.killpg(process.pid, signal.SIGCONT)
        assert process.stdout.readline() == "answered\n"


STOPPED = """
import time
import numpy as np
from foreign_env import Base
from robodreamer_sim import EnvOptions, VectorEnv

class Slow(Base):
    def step(self, action):
        time.sleep(1.0)
        return super().step(action)

if __name__ == "__main__":
    with VectorEnv("script:Slow", EnvOptions(observe="proprio"), num_envs=1, seed=0) as envs:
        envs.start()
        envs.recv()
        envs._timeout_s = 2.0
        envs.send(np.zeros((1, 2), np.float32))
        print("waiting", flush=True)
        envs.recv()
        print("answered", flush=True)
"""


def test_where_nothing_is_drawn_nothing_is_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    with local() as environments:
        assert environments.back_end is None
    assert os.environ[VARIABLE] == ""


def test_a_fault_shows_while_waiting() -> None:
    with local("ToyRaises") as environments:
        environments.start()
        for _ in range(2):
            environments.recv()
            environments.send(ACTIONS)
        with pytest.raises(EnvironmentFault, match="the toy broke"):
            environments.wait()
