"""Cameras that show nothing are noticed over many frames, whoever makes the environments."""

import numpy as np
import pytest

from conformance_tasks import Dark, Fit
from robodreamer_sim.cameras.blank_check import NUM_FRAMES, blank_reason
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.vector.vector_env import EnvironmentFault, VectorEnv

STILL = np.zeros((2, 1), np.float32)


def environments(name: str) -> VectorEnv:
    options = EnvOptions(image_size=(16, 16))
    return VectorEnv(f"conformance_tasks:{name}", options, num_envs=2, num_workers=0, seed=0)


def test_a_camera_that_shows_nothing_stops_the_environments_after_its_start_up_frames() -> None:
    with environments(Dark.__name__) as envs:
        envs.start()
        for _ in range(NUM_FRAMES - 1):
            envs.recv()
            envs.send(STILL)
        with pytest.raises(EnvironmentFault, match="image/scene shows nothing: over 20") as fault:
            envs.recv()
    assert fault.value.key == "image/scene"


def test_a_camera_that_shows_something_is_never_asked_again() -> None:
    with environments(Fit.__name__) as envs:
        envs.start()
        for _ in range(NUM_FRAMES + 2):
            envs.recv()
            envs.send(STILL)
        assert envs._blank_check._frames == {}


def test_single_black_frames_are_no_blindness() -> None:
    frames = np.zeros((NUM_FRAMES, 8, 8, 3), np.uint8)
    assert blank_reason("image/eye", frames).startswith("image/eye shows nothing")
    frames[7] = 200
    assert not blank_reason("image/eye", frames)
