"""CarRacing that is drawn when it is looked at: the same environment, to the bit."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

DRIVES = """
import gymnasium, numpy as np
from gymnasium.envs.box2d.car_racing import CarRacing as Original
from robodreamer_sim import EnvOptions, make

task = make("gym:CarRacing-v3", EnvOptions(observe="camera", image_size=(96, 96), action_repeat=3))
ours, original = task._env, Original(render_mode="rgb_array")
assert type(ours.unwrapped) is not Original
for seed in range(2):
    (seen, _), (expected, _) = ours.reset(seed=seed), original.reset(seed=seed)
    assert np.array_equal(seen, expected)
    for t in range(70):
        action = np.array([np.sin(t / 9 + seed), 0.7, 0.05 * (t % 9)], np.float32)
        (seen, *others, _), (expected, *same, _) = ours.step(action), original.step(action)
        assert others == same
        assert t % 4 or np.array_equal(seen, expected), (seed, t)
    assert np.array_equal(ours.render(), original.render())
kept = seen
ours.step(action)
try:
    np.asarray(kept)
except RuntimeError as error:
    print(error)
calls = []
base = ours.unwrapped
draw, base.draw_state = base.draw_state, lambda score: calls.append(score) or draw(score)
task.reset(seed=0)
task.step(np.zeros(3, np.float32))
print(len(calls), "pictures")
"""


@pytest.mark.skipif(find_spec("Box2D") is None, reason="needs the extra `box2d`")
def test_car_racing_shows_what_the_original_shows_and_draws_only_what_is_seen() -> None:
    # In a process of its own: Box2D crashes where warnings are errors, as in these tests.
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", DRIVES]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "the car has moved on since this observation: read it before",
        "2 pictures",
    ]
