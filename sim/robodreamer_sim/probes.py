"""Trials of what may raise, crash or hang: in a child process, which is killed when time is up.

    python -m robodreamer_sim.probes SECONDS draw         pictures through MUJOCO_GL's back end
    python -m robodreamer_sim.probes SECONDS step TASK    one step of a task without cameras

The child answers with a line of JSON, {"result": {...}} or {"failure": "in words"}.
"""

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

SCENE = """
<mujoco>
  <worldbody>
    <light pos="0 0 3"/>
    <camera name="eye" pos="0 -2 1" xyaxes="1 0 0 0 1 2"/>
    <geom type="plane" size="1 1 .1" rgba=".2 .4 .6 1"/>
    <geom type="sphere" size=".2" pos="0 0 .3" rgba="1 .5 0 1"/>
  </worldbody>
</mujoco>
"""
SIZE = 64
"""Height and width of the pictures in pixels."""
DRAWING_S = 0.2
LONGEST = 500
"""Characters of an error that are told."""


class Trial(NamedTuple):
    """What became of a trial: a result, or a failure in words (empty if there is a result)."""

    result: dict[str, Any]
    failure: str


def run_trial(*words: str, timeout_s: float, **variables: str) -> Trial:
    """Try something in a child process.

    Args:
        words: What to try; see the module.
        timeout_s: When the child is killed.
        variables: Environment variables of the child, beside this process's own.
    """
    path = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONSAFEPATH": "1"}  # as here, and no more
    environment = {**os.environ, **path, **variables}
    environment.pop("PYOPENGL_PLATFORM", None)  # left by the back end that this process has loaded
    seconds = str(math.ceil(timeout_s) + 1)
    command = [sys.executable, "-W", "ignore", "-m", "robodreamer_sim.probes", seconds, *words]
    try:
        done = subprocess.run(
            command, env=environment, timeout=timeout_s, capture_output=True, text=True, check=False
        )
    except subprocess.TimeoutExpired:
        return Trial({}, f"it hangs, or needs more than {timeout_s:g} s")
    *_, answer = ["", *done.stdout.splitlines()]
    if answer.startswith("{"):
        told = json.loads(answer)
        return Trial(told.get("result", {}), told.get("failure", ""))
    if done.returncode < 0:
        return Trial({}, f"it crashed with {signal.Signals(-done.returncode).name}")
    *_, last = ["it ended without a word", *done.stderr.splitlines()]
    return Trial({}, last)


def main(words: Sequence[str]) -> None:
    """Try what the words say, and tell what became of it."""
    seconds, name, *arguments = words
    signal.alarm(int(seconds))  # ends it even if it hangs and nobody is left to kill it
    try:
        answer = {"result": {"draw": draw, "step": step}[name](*arguments)}
    except Exception as error:  # noqa: BLE001  that is what trials are for
        answer = {"failure": _in_words(error)}
    sys.stdout.write(f"\n{json.dumps(answer)}\n")


def draw() -> dict[str, Any]:
    """Draw as an environment in a worker does; return what draws, and how fast.

    Raises:
        ValueError: It draws nothing.
    """
    os.environ.setdefault("LP_NUM_THREADS", "0")  # as in a worker
    import mujoco

    from robodreamer_sim.cameras.blank_check import BLANK
    from robodreamer_sim.cameras.camera_spec import fixed_camera
    from robodreamer_sim.cameras.renderer import Renderers, View
    from robodreamer_sim.errors import GraphicsError
    from robodreamer_sim.options import LEAN

    model = mujoco.MjModel.from_xml_string(SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    view = View(model, data, fixed_camera(model, "eye"))
    try:
        renderer = Renderers().get(model, LEAN, SIZE, SIZE)
    except GraphicsError as error:
        raise error.__cause__ or error from None  # what to do about it depends on who asks
    if renderer.stage(view, SIZE, SIZE)().color.std() <= BLANK:  # this scene has 50
        raise ValueError("it draws, but the picture is blank")
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < DRAWING_S:
        renderer.stage(view, SIZE, SIZE)()
        count += 1
    rate = count / (time.perf_counter() - begin)
    result = {"renderer": renderer.name, "pictures_per_second": rate}
    renderer.close()
    return result


def step(task: str) -> dict[str, Any]:
    """Make a task without cameras, begin an episode and take one step of it."""
    import numpy as np

    from robodreamer_sim.options import EnvOptions
    from robodreamer_sim.registry import make

    env = make(task, EnvOptions(observe="state"))
    env.reset(seed=0)
    env.step(np.zeros(env.contract.action.size, np.float32))
    env.close()
    return {}


def _in_words(error: Exception) -> str:
    """Return what an error says on one line; its type as well, unless it is a sentence of ours."""
    name, said = type(error).__name__, textwrap.shorten(str(error), LONGEST).rstrip(".")
    return said if name in {"ValueError", "GraphicsError"} else f"{name}: {said}"


if __name__ == "__main__":
    main(sys.argv[1:])
