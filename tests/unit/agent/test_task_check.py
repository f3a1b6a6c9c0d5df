"""`robodreamer tasks check`: kept and broken promises, figures of random actions, 80 columns."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest

from conformance_tasks import XML, Dark, Fit
from robodreamer.cli.main import main
from robodreamer.config import named_config
from robodreamer.tasks.figures import find_oddities, format_figures
from robodreamer_sim.env import Transition
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.tasks.custom.measurements import joint_positions, joint_velocities, position
from robodreamer_sim.testing.conformance import CHECKS
from robodreamer_sim.testing.random_policy import Encounter, meet

SMALL = named_config("", size="cpu", preset="quick", protocol="cpu")


class Odd(gymnasium.Env):
    """Has no picture, and ends by itself."""

    observation_space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, **settings: Any) -> Any:
        super().reset(**settings)
        self.steps_left = int(self.np_random.integers(5, 9))
        return self._look(), {}

    def step(self, action: Any) -> Any:
        self.steps_left -= 1
        return self._look(), 1.0, self.steps_left == 0, False, {}

    def _look(self) -> Any:
        return self.np_random.uniform(-1, 1, 3).astype(np.float32)


class Usual(Fit):
    """Turn the bar half way; random actions get there now and then."""

    def is_success(self) -> bool:
        return self.data.qpos[0] > 0.8


class Elsewhere(Usual):
    proprio = (
        joint_positions(low=-0.001, high=0.001),
        joint_velocities(limit=9000.0),
        position("geom", "post", low=(-3, -3, -3), high=(3, 3, 3)),
    )


class Generous(Usual):
    def reward(self) -> float:
        return 50_000 * super().reward()


class Lasting(Usual):
    """Has rewards within the bins, and returns beyond them."""

    def reward(self) -> float:
        return 200.0 + super().reward()


class Indifferent(Usual):
    def reward(self) -> float:
        return -1.0

    def is_success(self) -> bool:
        return False


class Done(Usual):
    def is_success(self) -> bool:
        return True


class Tight(Usual):
    """Begins inside the post, and is too strong for its motor."""

    def build(self) -> Any:
        spec = mujoco.MjSpec.from_string(XML.replace('pos="0 2 0"', 'pos=".7 0 0"'))
        motor = spec.actuators[0]
        motor.name = "turner"
        motor.forcelimited, motor.forcerange = True, (-0.01, 0.01)
        return spec

    def begin(self, random: np.random.Generator) -> None:
        self.data.qpos[0] = 0.01 * random.uniform()


class Weak(Usual):
    """Has a joint that bears less than its motor gives, as from a URDF."""

    def build(self) -> Any:
        limit = '<joint name="turn" actuatorfrcrange="-.01 .01" '
        return mujoco.MjSpec.from_string(XML.replace('<joint name="turn" ', limit))


def encounter(kind: type[Fit]) -> Encounter:
    env = kind("turn", EnvOptions(image_size=(24, 32)))
    met = meet(env)
    env.close()
    return met


def oddities(kind: type[Fit]) -> str:
    return "\n".join(" ".join(oddity) for oddity in find_oddities(encounter(kind), SMALL))


def test_a_sound_task_has_no_oddities() -> None:
    assert oddities(Usual) == ""


@pytest.mark.parametrize(
    ("kind", "sentences"),
    [
        (
            Elsewhere,
            [
                "range proprio/joint_position turn is [0-9]{3} times .* instead of -0.001 to 0.001",
                "range proprio/joint_velocity uses 0.0[0-9]% of its range at most; is that",
                "constant proprio/post_position is the same at all steps of all episodes, so",
            ],
        ),
        (Generous, ["reward rewards of up to [67].*e.05 lie .* --size cpu, .* 402.4: .*-limit 14"]),
        (Lasting, ["reward discounted returns of up to 2.* lie beyond .* --network.bin-limit 8"]),
        (
            Indifferent,
            [
                "reward it was -1 at all 250 steps: random actions never meet another one",
                "success none of 10 episodes succeeds at random",
            ],
        ),
        (Done, ["success all 10 episodes succeed at random: there is nothing to do"]),
        (Dark, ["picture image/scene shows nothing: over 10 frames"]),
        (Weak, ["force most commands end at a force limit .turn: 9.%."]),
        (
            Tight,
            [
                "force most commands end at a force limit .turner: 9.%.",
                "contact at the start post is [0-9.]* mm inside a geom of ",
            ],
        ),
    ],
)
def test_obstacles_to_learning_are_reported(kind: type[Fit], sentences: list[str]) -> None:
    found = oddities(kind)
    for sentence in sentences:
        assert re.search(sentence, found), found


def test_the_table_shows_measured_beside_declared_ranges() -> None:
    met = encounter(Usual)
    rows = list(format_figures(met, SMALL))
    assert max(len(line) for row in rows for line in row.splitlines()) <= 70
    angle = next(values for values in met.signals if values.signal.name.endswith("position"))
    env = Usual("turn", EnvOptions(observe="proprio"))
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    seen = []
    for _ in range(25):
        seen.append(env.data.qpos[0])
        env.step(rng.uniform(-1, 1, 1).astype(np.float32))
    assert angle.smallest[0] <= min(seen) + 1e-6
    assert angle.largest[0] >= max(seen) - 1e-6
    expected = {
        "proprio/joint_position rad": f"-3.14 to 3.14 {angle.smallest[0]:.3g} to",
        "reward per step": f"bins to 402.4 {np.concatenate(met.rewards).mean():.3g} (",
        "reward per episode": f"{np.mean([sum(rewards) for rewards in met.rewards]):.3g} (",
        "episodes with success": f"{np.mean(met.successes):.0%}",
        "contacts at the start": "0 on average",
    }
    table = {row[:32].strip(): " ".join(row[32:].split()) for row in rows}
    for name, text in expected.items():
        assert table[name].startswith(text), (name, table)


def test_equal_rewards_are_no_oddity_where_episodes_end_by_themselves(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["tasks", "check", "test_task_check:Odd"]) == 0, "it has no picture"
    out = capsys.readouterr().out
    assert out.count("  ok      ") == len(CHECKS)
    assert re.search(r"reward per episode +[67]\S* \([5-8] to [5-8]\)", out)
    assert out.endswith("\nno broken promises\n")


def test_a_terminated_episode_keeps_the_reward_of_its_last_step() -> None:
    class Short(Usual):
        def _advance(self, actuators: Any) -> Transition:
            return super()._advance(actuators)._replace(is_terminated=True, reward=3.0)

    met = encounter(Short)
    assert [rewards.tolist() for rewards in met.rewards] == [[3.0]] * 10
    assert met.num_terminated == 10


def test_a_fit_task_keeps_all_promises(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "check", "conformance_tasks:Fit"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "conformance_tasks:Fit"
    assert [line.split()[0] for line in lines if line.startswith("  ok")] == ["ok"] * len(CHECKS)
    assert lines[-1] == "no broken promises, 1 unusual"
    assert "  look    success       none of 10 episodes succeeds at random: the reward has" in lines
    assert max(map(len, lines)) <= 80


def test_a_broken_promise_is_reported_and_gives_exit_status_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["tasks", "check", "conformance_tasks:Dark", "conformance_tasks:Fit"]) == 1
    output = capsys.readouterr().out
    assert "  broken  pictures      image/scene shows nothing" in output
    assert output.count("  ok      ") == 2 * len(CHECKS) - 1
    assert output.endswith("\n1 broken promise, 3 unusual\n")


def test_a_task_without_pictures_is_checked_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "check", "foreign_env:Base"]) == 0
    assert capsys.readouterr().out.endswith("\nno broken promises\n")


def test_an_error_during_a_check_is_a_broken_promise(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["tasks", "check", "foreign_env:BreaksLater"]) == 1
    output = " ".join(capsys.readouterr().out.split())
    assert (
        "broken observations it raises RuntimeError: lost contact (raised in foreign_env)" in output
    )


def test_a_task_that_ends_the_process_is_a_broken_promise(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["tasks", "check", "foreign_env:Exits"]) == 1
    output = " ".join(capsys.readouterr().out.split())
    assert "broken observations it raises SystemExit: 3 (raised in foreign_env)" in output
    assert "broken random random actions end in SystemExit: 3 (raised in foreign_env)" in output
    assert main(["tasks", "foreign_env:Exits"]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "step time unknown, because a step raises SystemExit: 3" in output


def test_checking_an_unknown_task_raises_a_clear_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "check"]) == 2
    assert "name the tasks to check" in capsys.readouterr().err
    assert main(["tasks", "check", "arm_rech"]) == 2
    assert "the closest are arm_reach" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(find_spec("Box2D") is None, reason="needs the extra `box2d`")
def test_car_racing_keeps_all_promises() -> None:
    # In a process of its own: Box2D crashes where warnings are errors, as in these tests.
    code = "import sys; from robodreamer.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "tasks", "check", "gym:CarRacing-v3"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
