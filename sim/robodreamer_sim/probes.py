"""Probes of rendering and of tasks, run as a child process by `utils.probe_process`.

    python -m robodreamer_sim.probes SECONDS draw         images through MUJOCO_GL's back end
    python -m robodreamer_sim.probes SECONDS step TASK    one step of a task without cameras

The answer is a line of JSON, {"result": {...}} or {"failure": "the reason"}.
"""

import json
import os
import signal
import sys
import textwrap
import time
from collections.abc import Sequence
from typing import Any

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
"""Height and width of the images in pixels."""
DRAWING_S = 0.2
LONGEST = 500
"""Characters of an error that are reported."""


def main(words: Sequence[str]) -> None:
    """Run the probe that the words name, and print its result."""
    seconds, name, *arguments = words
    signal.alarm(int(seconds))  # ends it even if it hangs and nobody is left to kill it
    try:
        answer = {"result": {"draw": draw, "step": step}[name](*arguments)}
    except Exception as error:  # noqa: BLE001  that is what probes are for
        answer = {"failure": _describe(error)}
    sys.stdout.write(f"\n{json.dumps(answer)}\n")


def draw() -> dict[str, Any]:
    """Draw like an environment in a worker; return the renderer's name and its speed.

    Raises:
        ValueError: The image is blank.
    """
    os.environ.setdefault("LP_NUM_THREADS", "0")  # as in a worker
    from robodreamer_sim.compat import import_mujoco

    mujoco = import_mujoco()
    from robodreamer_sim.cameras.blank_check import BLANK
    from robodreamer_sim.cameras.camera_spec import fixed_camera
    from robodreamer_sim.cameras.renderer import View
    from robodreamer_sim.cameras.renderer_pool import RendererPool
    from robodreamer_sim.errors import GraphicsError
    from robodreamer_sim.options import FAST

    model = mujoco.MjModel.from_xml_string(SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    view = View(model, data, fixed_camera(model, "eye"))
    try:
        renderer = RendererPool().get(model, FAST, SIZE, SIZE)
    except GraphicsError as error:
        raise error.__cause__ or error from None  # what to do about it depends on who asks
    if renderer.stage(view, SIZE, SIZE)().color.std() <= BLANK:  # this scene has 50
        raise ValueError("it draws, but the image is blank")
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


def _describe(error: Exception) -> str:
    """Return an error on one line; with its type, unless it is a sentence of ours."""
    name, said = type(error).__name__, textwrap.shorten(str(error), LONGEST).rstrip(".")
    return said if name in {"ValueError", "GraphicsError"} else f"{name}: {said}"


if __name__ == "__main__":
    main(sys.argv[1:])
