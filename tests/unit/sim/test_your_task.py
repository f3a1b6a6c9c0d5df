"""docs/your-task.md: its example is what is shipped, and short."""

import re
from pathlib import Path
from typing import Any

import numpy as np

import robodreamer_sim
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.tasks.custom.actions import Cartesian, Relative

PAGE = (Path(__file__).parents[3] / "docs" / "your-task.md").read_text()
SIM = Path(robodreamer_sim.__file__).parent


def block(language: str) -> str:
    """Return the page's one block in a language."""
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return text


def test_the_example_is_the_arm_that_is_shipped() -> None:
    assert block("xml") == (SIM / "assets" / "arm.xml").read_text()
    shipped = (SIM / "tasks" / "arm.py").read_text()
    shipped = re.sub(r'\A""".*?"""', '"""A 6-joint arm that reaches and pushes."""', shipped,
                     count=1, flags=re.DOTALL)  # fmt: skip
    shipped = shipped.replace('.parents[1] / "assets" / "arm.xml"', '.with_name("arm.xml")')
    assert block("python") == shipped


MOTORS = """
<mujoco>
  <worldbody>
    <light pos="0 0 3"/>
    <body name="one"><joint name="a" axis="0 0 1" range="-90 90" armature=".1"/>
      <geom type="capsule" fromto="0 0 .1 .3 0 .1" size=".12" rgba="1 0 0 1" group="0"/>
      <geom type="capsule" fromto="0 0 .1 .3 0 .1" size=".05" rgba="0 1 0 1" group="1"/>
      <body name="two" pos=".3 0 .1"><joint name="b" axis="0 1 0" range="-90 90" armature=".1"/>
        <geom type="capsule" fromto="0 0 0 .2 0 0" size=".04" rgba="0 0 1 1" group="1"/></body>
    </body>
  </worldbody>
  <actuator>
    <motor name="motor_a" joint="a" ctrlrange="-80 80"/>
    <motor name="motor_b" joint="b" ctrlrange="-80 80"/>
  </actuator>
</mujoco>
"""


def test_somebody_elses_model_is_made_to_fit_as_the_page_says(tmp_path: Path) -> None:
    path = tmp_path / "motors.xml"
    path.write_text(MOTORS)
    start, _, _ = block("python").partition("ARM = ")
    names: dict[str, Any] = {"MODEL": path}
    exec(start + block("py"), names)  # noqa: S102  what the page says
    env = names["Panda"]("my_panda:Panda", EnvOptions(image_size=(32, 32)))
    assert env.contract.action.labels == ("a", "b")
    assert env.contract.action.high == (1.0, 1.0)
    assert env.contract.options["geom_groups"] == [1, 2]
    picture = env.reset(seed=0)[0]["image/scene"].reshape(-1, 3).astype(int)
    assert (picture[:, 1:].max(-1) - picture[:, 0]).max() > 30, "what is for pictures"
    assert (picture[:, 0] - picture[:, 1:].max(-1)).max() < 30, "no collision geom before it"
    for _ in range(20):
        env.step(np.array([1.0, -1.0], np.float32))
    np.testing.assert_allclose(env.data.qvel, [1.0, -1.0], atol=0.1)
    env.close()


def test_the_page_s_actions_that_are_changes_are_what_the_code_takes() -> None:
    shown = re.findall(r"^        action = (.+?)  #", PAGE, re.MULTILINE)
    assert len(shown) == 2
    for words in shown:
        eval(words, {"Relative": Relative, "Cartesian": Cartesian})  # noqa: S307  what the page says


def test_the_example_is_short() -> None:
    assert len((block("xml") + block("python")).splitlines()) < 150
