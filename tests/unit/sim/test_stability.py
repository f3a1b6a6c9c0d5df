"""A simulation that starts again by itself, in every family whose stepping is not ours."""

from typing import Any

import numpy as np
import pytest

from robodreamer_sim import EnvOptions, VectorEnv, make
from robodreamer_sim.errors import EnvironmentFault

PROPRIO = EnvOptions(observe="proprio")
BLOWS = ("Blow", "make_blow_wrapped", "Hidden")


@pytest.mark.parametrize("name", BLOWS)
def test_a_step_that_blows_up_is_refused_and_the_next_episode_goes_on(name: str) -> None:
    env = make(f"foreign_env:{name}", PROPRIO)
    for _ in range(2):
        env.reset(seed=0)
        for force in (0.1, 0.1):
            env.step(np.array([force], np.float32))
        with pytest.raises(ValueError, match=r"the simulation diverged \(mjWARN_BADQACC\)"):
            env.step(np.array([1.0], np.float32))
    env.reset(seed=0)
    env.step(np.array([0.1], np.float32))
    env.close()


@pytest.mark.parametrize(
    "task",
    [
        "fetch_push",
        "gym:Ant-v5",
        "arm_reach",
        "dmc_cheetah_run",
        pytest.param("hand_reach", marks=pytest.mark.slow),
        pytest.param("adroit_pen", marks=pytest.mark.slow),
        pytest.param("franka_kitchen", marks=pytest.mark.slow),
        pytest.param("ant_maze_umaze", marks=pytest.mark.slow),
        pytest.param("manipulation_stack_2_bricks", marks=pytest.mark.slow),
        pytest.param("locomotion_rodent_escape_bowl", marks=pytest.mark.slow),
    ],
)
def test_every_family_refuses_a_simulation_that_diverged(task: str) -> None:
    env = make(task, PROPRIO)
    env.reset(seed=0)
    action = np.zeros(env.contract.action.size, np.float32)
    env.step(action)
    assert env.simulations
    for data in env.simulations:
        data.qvel[:] = 1e12
    with pytest.raises(Exception, match=r"mjWARN_BADQ(VEL|POS|ACC)"):
        env.step(action)
    env.close()


def test_a_simulation_that_goes_back_within_an_episode_is_refused() -> None:
    env = make("foreign_env:GoesBack", PROPRIO)
    env.reset(seed=0)
    for _ in range(2):
        env.step(np.zeros(1, np.float32))
    with pytest.raises(ValueError, match=r"went back from 0.040 s to 0.020 s within an episode"):
        env.step(np.zeros(1, np.float32))


def test_a_second_simulation_that_begins_again_while_the_first_goes_on_is_no_fault() -> None:
    env = make("foreign_env:LooksAhead", PROPRIO)
    env.reset(seed=0)
    for _ in range(6):
        env.step(np.zeros(1, np.float32))
    assert len(env.simulations) == 2


def test_a_reset_that_blows_up_is_refused() -> None:
    env = make("foreign_env:DivergesAtReset", PROPRIO)
    with pytest.raises(ValueError, match="the simulation diverged"):
        env.reset(seed=0)


def test_a_run_that_restarts_drops_the_episode_that_blew_up() -> None:
    settings: dict[str, Any] = {"num_envs": 1, "num_workers": 0, "seed": 0}
    with VectorEnv("foreign_env:Blow", PROPRIO, on_crash="restart", **settings) as environments:
        environments.start()
        for force in (0.1, 1.0):
            environments.recv()
            environments.send(np.full((1, 1), force, np.float32))
        record = environments.recv()
        assert record["is_first"].tolist() == [True]
        assert not record["is_last"].any()
        assert "the simulation diverged" in str(environments.faults[0])
    with VectorEnv("foreign_env:Blow", PROPRIO, **settings) as environments:
        environments.start()
        environments.recv()
        environments.send(np.ones((1, 1), np.float32))
        with pytest.raises(EnvironmentFault, match=r"episode 0, step 1: .*simulation diverged"):
            environments.recv()
