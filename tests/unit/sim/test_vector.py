"""Vector environments: flags, seeds, sharding, faults, and nothing left behind."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from robodreamer_deploy.errors import SignalError
from robodreamer_sim.errors import EnvironmentFault
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.registry import make
from robodreamer_sim.vector.buffers import map_shared_file, open_shared_file
from robodreamer_sim.vector.seeding import episode_seed
from robodreamer_sim.vector.vector_env import VectorEnv

Array = NDArray[Any]

PROPRIO = EnvOptions(observe="proprio")
FLAGS = ("is_first", "is_last", "is_terminal", "success")


def local(task: str, num_envs: int = 2, **settings: Any) -> VectorEnv:
    """Return environments in this process."""
    return VectorEnv(task, PROPRIO, num_envs=num_envs, num_workers=0, seed=0, **settings)


def actions(environments: VectorEnv, value: float = 0.5) -> Array:
    size = environments.contract.action.size
    return np.full((environments.num_envs, size), value, np.float32)


def run(environments: VectorEnv, steps: int, truncate_at: int = -1) -> list[dict[str, Array]]:
    """Return copies of `steps` records, the first included."""
    environments.start()
    records = [{k: v.copy() for k, v in environments.recv().items()}]
    rng = np.random.default_rng(1)
    shape = (environments.num_envs, environments.contract.action.size)
    for step in range(1, steps):
        action = rng.uniform(-1, 1, shape).astype(np.float32)
        environments.send(action, truncate=step == truncate_at)
        records.append({k: v.copy() for k, v in environments.recv().items()})
    return records


def flags(records: list[dict[str, Array]], environment: int = 0) -> list[str]:
    """Return the initials of the flags that are set, one string per step."""
    return [
        "".join(flag[3] for flag in FLAGS[:3] if record[flag][environment])
        + ("s" if record["success"][environment] else "")
        for record in records
    ]


def test_a_time_limit_ends_an_episode_without_being_terminal() -> None:
    with local("gym:toy_env:Toy-v0") as environments:
        records = run(environments, 9)
    assert flags(records) == ["f", "", "s", "l", "f", "", "s", "l", "f"]


def test_a_task_that_ends_by_itself_is_terminal() -> None:
    with local("gym:toy_env:ToyTerminates-v0") as environments:
        records = run(environments, 6)
    assert flags(records) == ["f", "", "s", "lt", "f", ""]


def test_truncate_ends_every_episode_also_one_that_has_just_begun() -> None:
    with local("gym:toy_env:ToyTerminates-v0") as environments:
        assert flags(run(environments, 4, truncate_at=1)) == ["f", "l", "f", ""]
        assert flags(run(environments, 5, truncate_at=3)) == ["f", "", "s", "lt", "f"]
        assert flags(run(environments, 7, truncate_at=4)) == ["f", "", "s", "lt", "fl", "f", ""]


def test_a_reward_belongs_to_the_observation_it_led_to() -> None:
    with local("gym:toy_env:Toy-v0", num_envs=1) as environments:
        environments.start()
        rewards = [environments.recv()["reward"][0]]
        for value in (0.0, 0.5, 1.0, -1.0, 0.0):
            environments.send(np.array([[value]], np.float32))
            rewards.append(environments.recv()["reward"][0])
    # The toy rewards the actuator value, -2 at -1 and 4 at 1; the fourth action begins an episode.
    assert rewards == [0.0, 1.0, 2.5, 4.0, 0.0, 1.0]


def test_every_episode_has_its_own_seed_and_number() -> None:
    seeds = {episode_seed(s, e, n) for s in range(3) for e in range(4) for n in range(5)}
    assert len(seeds) == 60
    with local("gym:toy_env:Toy-v0") as environments:
        first = run(environments, 5)
        assert environments.episodes.tolist() == [1, 1]
    draws = {float(x) for i in (0, 4) for x in first[i]["proprio/observation"][:, 0]}
    assert len(draws) == 4


def test_a_run_can_begin_at_any_episode() -> None:
    with local("gym:toy_env:Toy-v0") as environments:
        whole = run(environments, 9)
    with local("gym:toy_env:Toy-v0", first_episodes=[1, 2]) as environments:
        assert environments.episodes.tolist() == [1, 2]
        rest = run(environments, 1)
    first_draws = [whole[4]["proprio/observation"][0], whole[8]["proprio/observation"][1]]
    np.testing.assert_array_equal(rest[0]["proprio/observation"], first_draws)


def test_start_begins_the_same_episodes_again() -> None:
    with local("gym:toy_env:Toy-v0") as environments:
        assert_equal(run(environments, 6), run(environments, 6))


def test_a_record_stays_intact_while_the_next_one_is_made() -> None:
    with VectorEnv("gym:toy_env:Toy-v0", PROPRIO, num_envs=2, seed=0) as environments:
        environments.start()
        record = environments.recv()
        before = {key: value.copy() for key, value in record.items()}
        environments.send(actions(environments))
        worker: Any = environments._shards[0]
        assert worker._connection.poll(10.0), "the worker is done, but recv was not called"
        for key, value in before.items():
            np.testing.assert_array_equal(record[key], value, err_msg=key)
        assert environments.recv()["proprio/observation"][0, 1] == 1.0


@pytest.mark.parametrize(
    ("task", "observe"),
    [
        ("fetch_push", "both"),
        pytest.param("dmc_cartpole_swingup", "both", marks=pytest.mark.slow),
        ("gym:toy_env:Toy-v0", "proprio"),
    ],
)
def test_records_do_not_depend_on_how_environments_are_spread(task: str, observe: Any) -> None:
    options = EnvOptions(observe=observe, image_size=(24, 32))
    results = []
    for num_workers in (0, 1, 2):
        with VectorEnv(task, options, num_envs=4, num_workers=num_workers, seed=5) as environments:
            results.append(run(environments, 12, truncate_at=6))
    assert_equal(results[0], results[1])
    assert_equal(results[0], results[2])
    images = [key for key in results[0][0] if key.startswith("image/")]
    assert len(images) == (observe == "both")


def test_the_number_of_environments_does_not_matter_to_one() -> None:
    with local("dmc_cartpole_swingup", num_envs=1) as one, local("dmc_cartpole_swingup") as two:
        alone = run(one, 1)[0]["proprio/position"][0]
        np.testing.assert_array_equal(alone, run(two, 1)[0]["proprio/position"][0])


def assert_equal(left: list[dict[str, Array]], right: list[dict[str, Array]]) -> None:
    for step, (one, other) in enumerate(zip(left, right, strict=True)):
        assert one.keys() == other.keys()
        for key, value in one.items():
            np.testing.assert_array_equal(value, other[key], err_msg=f"{key} at step {step}")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_nan_is_reported_with_environment_step_key_and_observation(num_workers: int) -> None:
    task = "gym:toy_env:ToyNan-v0"
    environments = VectorEnv(task, PROPRIO, num_envs=4, num_workers=num_workers, seed=0)
    environments.start()
    draws = environments.recv()["proprio/observation"][:, 0]
    faulty = np.flatnonzero(draws > 0.5)
    assert 0 < len(faulty) < 4, "the seed is chosen so that some environments fault"
    environments.send(actions(environments))
    environments.recv()
    environments.send(actions(environments, 0.25))
    with pytest.raises(EnvironmentFault, match="step 2: proprio/observation: element 1") as caught:
        environments.recv()
    fault = caught.value
    assert (fault.environment, fault.episode, fault.step) == (faulty[0], 0, 2)
    assert fault.key == "proprio/observation"
    assert np.isnan(fault.observation["proprio/observation"][1])
    np.testing.assert_array_equal(fault.action, np.array([0.25], np.float32))
    assert f"environment {faulty[0]}, episode 0" in str(fault)


@pytest.mark.parametrize(
    ("kind", "key", "words"),
    [
        ("Shape", "proprio/observation", r"shape \(1,\), expected \(2,\)"),
        ("Reward", "reward", "reward is inf"),
        ("Raises", None, "OverflowError: the toy broke"),
    ],
)
def test_other_faults_are_reported_too(kind: str, key: str | None, words: str) -> None:
    environments = VectorEnv(f"gym:toy_env:Toy{kind}-v0", PROPRIO, num_envs=1, seed=0)
    environments.start()
    environments.recv()
    environments.send(actions(environments))
    environments.recv()
    environments.send(actions(environments))
    with pytest.raises(EnvironmentFault, match=words) as caught:
        environments.recv()
    assert (caught.value.key, caught.value.environment) == (key, 0)


def test_a_dead_worker_is_reported_with_its_exit_code() -> None:
    with pytest.raises(EnvironmentFault, match="environments 0 to 0 died with exit code 7"):
        run(VectorEnv("gym:toy_env:ToyDies-v0", PROPRIO, num_envs=1, seed=0), 3)


@pytest.mark.slow
def test_a_script_that_workers_would_run_again_is_told_how_to_avoid_that(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from robodreamer_sim import EnvOptions, VectorEnv\n"
        "VectorEnv('gym:toy_env:Toy-v0', EnvOptions(observe='proprio'), num_envs=1, seed=0)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, env=environment
    )
    *_, last = done.stderr.splitlines()
    assert 'under `if __name__ == "__main__":` only' in last


def test_a_wait_is_bounded_and_says_what_may_be_wrong() -> None:
    environments = VectorEnv("gym:toy_env:ToyHangs-v0", PROPRIO, num_envs=1, seed=0)
    environments._timeout_s = 0.3
    pids = worker_pids(environments)
    words = r"did not answer for 0\.\d s: a simulator step .*; environment 0 was being stepped"
    with pytest.raises(EnvironmentFault, match=words):
        run(environments, 3)
    assert not [pid for pid in pids if is_alive(pid)]


def test_a_mistake_of_the_user_stays_a_value_error() -> None:
    with pytest.raises(ValueError, match="no task 'fetch_reahc'; the closest are fetch_reach"):
        VectorEnv("fetch_reahc", num_envs=1, seed=0)
    with pytest.raises(ValueError, match="cannot share 0 environments"):
        VectorEnv("fetch_reach", num_envs=0, seed=0)


@pytest.mark.parametrize("bad", [np.zeros((2, 2)), np.zeros((1, 1)), np.full((2, 1), np.nan)])
def test_actions_that_no_policy_should_send_are_refused(bad: Array) -> None:
    with local("gym:toy_env:Toy-v0") as environments:
        environments.start()
        environments.recv()
        with pytest.raises(ValueError, match=r"actions are finite numbers \(2, 1\)"):
            environments.send(bad.astype(np.float32))


def test_close_leaves_no_process_and_may_be_called_twice() -> None:
    environments = VectorEnv("gym:toy_env:Toy-v0", PROPRIO, num_envs=3, num_workers=2, seed=0)
    pids = worker_pids(environments)
    assert len(pids) == 2
    assert all(is_alive(pid) for pid in pids)
    record = run(environments, 1)[0]
    environments.close()
    environments.close()
    assert not [pid for pid in pids if is_alive(pid)]
    assert record["is_first"].all()


KILLED_PARENT = """
import sys, numpy as np
from robodreamer_sim import EnvOptions, VectorEnv
if __name__ == "__main__":
    envs = VectorEnv(sys.argv[1], EnvOptions(observe="proprio"), num_envs=2, num_workers=2, seed=0)
    envs.start()
    envs.recv()
    print(*(shard._process.pid for shard in envs._shards), flush=True)
    while True:
        envs.send(np.zeros((2, 1), np.float32))
        envs.recv()
"""


@pytest.fixture
def parent(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process of its own that steps two workers for ever."""
    script = tmp_path / "parent.py"
    script.write_text(KILLED_PARENT)
    process = subprocess.Popen(
        [sys.executable, str(script), request.param],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
    )
    yield process
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # also workers that outlived it
    process.communicate()


def require_end_with(parent: "subprocess.Popen[str]") -> None:
    """Kill a process, and see all others of its session end."""
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10.0
    while processes_of(parent.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not processes_of(parent.pid)


@pytest.mark.parametrize(
    ("parent", "does_hang"),
    [("gym:toy_env:Toy-v0", False), ("gym:toy_env:ToyHangs-v0", True)],
    indirect=["parent"],
)
def test_nothing_outlives_a_parent_that_is_killed(
    parent: "subprocess.Popen[str]", does_hang: bool
) -> None:
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    assert {parent.pid, *pids} <= processes_of(parent.pid)
    assert not [line for pid in (parent.pid, *pids) for line in named_memory(pid)]
    if does_hang:
        assert [parent.stdout.readline() for _ in pids] == ["hanging\n"] * 2
    require_end_with(parent)


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel of Linux")
@pytest.mark.parametrize("parent", ["gym:toy_env:Toy-v0"], indirect=True)
def test_a_worker_that_is_stopped_ends_with_its_parent(parent: "subprocess.Popen[str]") -> None:
    assert parent.stdout is not None
    first, *_ = (int(pid) for pid in parent.stdout.readline().split())
    os.kill(first, signal.SIGSTOP)
    require_end_with(parent)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("parent", ["gym:toy_env:Toy-v0"], indirect=True)
def test_ctrl_c_is_held_back_from_every_worker_from_its_start(
    parent: "subprocess.Popen[str]",
) -> None:
    assert parent.stdout is not None
    for pid in parent.stdout.readline().split():
        (line,) = re.findall(r"SigBlk:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
        for number in (signal.SIGINT, signal.SIGTERM):
            assert int(line, 16) >> (number - 1) & 1, f"{number.name} of {pid}"


def named_memory(pid: int) -> list[str]:
    """Return the shared memory of a process that bears a name, and so can be left behind."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return [line for line in lines if "/dev/shm/" in line and not line.endswith("(deleted)")]  # noqa: S108


def processes_of(session: int) -> set[int]:
    """Return the processes of a session that run."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # After the name, which may hold anything: state, parent, group, session.
            state, _, _, number = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(number) == session and state not in "ZX":
                found.add(int(folder.name))
    return found


def test_shared_memory_has_no_name_that_could_be_left_behind() -> None:
    descriptor = open_shared_file(4096)
    assert Path(f"/proc/self/fd/{descriptor}").readlink().name.endswith("(deleted)")
    memory = map_shared_file(descriptor)
    os.close(descriptor)
    assert memory[:] == bytes(4096)
    memory.close()


@pytest.mark.parametrize("parent", ["gym:toy_env:Toy-v0"], indirect=True)
def test_ctrl_c_reaches_the_parent_only(parent: "subprocess.Popen[str]") -> None:
    assert parent.stdout is not None
    assert parent.stdout.readline()
    os.killpg(parent.pid, signal.SIGINT)
    _, errors = parent.communicate(timeout=20)
    assert errors.count("KeyboardInterrupt") == 1, errors


def worker_pids(environments: VectorEnv) -> list[int]:
    shards: list[Any] = environments._shards
    return [shard._process.pid for shard in shards]


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended but is not yet reaped does not."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_fault_survives_the_way_between_processes() -> None:
    import pickle

    observation = {"proprio/x": np.ones(2)}
    fault = EnvironmentFault("words", environment=3, key="k", step=4, observation=observation)
    copy = pickle.loads(pickle.dumps(fault))  # noqa: S301
    assert (str(copy), copy.environment, copy.key, copy.step) == ("words", 3, "k", 4)
    np.testing.assert_array_equal(copy.observation["proprio/x"], 1.0)


def test_one_environment_keeps_the_contract_check_of_its_own_user() -> None:
    env = make("gym:toy_env:ToyNan-v0", PROPRIO)
    env.reset(
        seed=next(s for s in range(99) if env.reset(seed=s)[0]["proprio/observation"][0] > 0.5)
    )
    env.step(np.zeros(1, np.float32))
    observation = env.step(np.zeros(1, np.float32))[0]
    with pytest.raises(SignalError):
        env.contract.check(observation)
    env.close()
