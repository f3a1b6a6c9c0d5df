"""`module:Class`: a user's classes as tasks, and the errors where there is none."""

from pathlib import Path

import numpy as np
import pytest

from robodreamer_sim.options import EnvOptions
from robodreamer_sim.registry import make
from robodreamer_sim.tasks.arm import ArmReach

SOURCE = '''
import gymnasium
import numpy as np
from robodreamer_sim.tasks.arm import ArmReach


class Near(ArmReach):
    """Reach, in half the time."""

    max_episode_steps = 30


class Counter(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-9, 9, (2,))
    action_space = gymnasium.spaces.Box(-2, 2, (1,))
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0.0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.count += float(action[0])
        return np.full(2, self.count, np.float32), 1.0, False, False, {}

    def render(self):
        return np.full((32, 32, 3), 7, np.uint8)


class Nothing:
    pass
'''


@pytest.fixture(autouse=True)
def _own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_tasks.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    monkeypatch.delitem(__import__("sys").modules, "own_tasks", raising=False)


def test_a_task_of_the_users_is_made_from_the_current_folder() -> None:
    env = make("own_tasks:Near", EnvOptions(observe="state"))
    assert isinstance(env, ArmReach)
    assert env.contract.task == "own_tasks:Near"
    assert env.contract.max_episode_steps == 30
    env.close()


def test_a_gymnasium_class_is_a_task_as_well() -> None:
    env = make("own_tasks:Counter", EnvOptions(image_size=(16, 16)))
    assert {s.name for s in env.contract.observations} == {
        "image/camera",
        "proprio/observation",
    }
    assert env.contract.control_dt_s == pytest.approx(0.1)
    env.reset(seed=0)
    observation, *_ = env.step(np.ones(1, np.float32))
    np.testing.assert_array_equal(observation["proprio/observation"], [2.0, 2.0])
    assert (observation["image/camera"] == 7).all()
    env.close()


@pytest.mark.parametrize(
    ("task", "complaint"),
    [
        ("own_tasks:Naer", "called 'Naer'; it has Near, Counter, ArmReach"),
        ("own_tasks:Nothing", "no Gymnasium environment called 'Nothing'; it has Counter"),
        ("json:Near", "no Gymnasium environment called 'Near'; it has none"),
        ("own_taks:Near", "No module named 'own_taks'; a module lies in the current folder"),
    ],
)
def test_what_is_no_task_is_answered_with_what_is(task: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        make(task)
