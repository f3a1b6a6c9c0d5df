"""A small MuJoCo model with one of everything that can be randomised, and how to compare models."""

from typing import Any

import mujoco
import numpy as np

from robodreamer_deploy.contract import Array

XML = """
<mujoco>
  <option timestep="0.002"/>
  <statistic extent="3" center="0 0 1" meansize="0.2"/>
  <asset>
    <texture name="grid" type="2d" builtin="checker" width="16" height="16" rgb2="1 1 1"/>
    <material name="plain" rgba=".4 .5 .6 1"/>
    <material name="tiled" texture="grid" texrepeat="4 4"/>
  </asset>
  <worldbody>
    <light name="lamp" pos="0 0 3" dir="0 0 -1" diffuse=".5 .5 .5"/>
    <light name="escort" mode="trackcom" pos="0 0 3" dir="0 .5 -1" diffuse=".2 .2 .2"/>
    <camera name="scene" pos="0 -3 1" xyaxes="1 0 0 0 .3 1"/>
    <geom name="floor" type="plane" size="5 5 .1" material="tiled"/>
    <body name="arm" pos="0 0 .5">
      <joint name="shoulder" axis="0 1 0" damping=".1" armature=".01" frictionloss=".02"
        stiffness="1"/>
      <geom name="upper" type="capsule" fromto="0 0 0 .3 .02 0" size=".04" rgba=".2 .3 .4 1"/>
      <geom name="plate" type="box" size=".05 .1 .02" pos="0 0 .05" material="plain"/>
      <camera name="wrist" pos=".3 0 .1" euler="20 30 0"/>
      <camera name="escort" mode="trackcom" pos="0 -2 .5" xyaxes="1 0 0 0 .3 1"/>
      <camera name="aimed" mode="targetbody" target="crate" pos="0 0 1"/>
      <body name="fore" pos=".3 0 0">
        <joint name="elbow" axis="0 1 0" damping=".1" armature=".01"/>
        <geom name="lower" type="capsule" fromto="0 0 0 .2 0 .05" size=".03"/>
      </body>
    </body>
    <body name="crate" pos="-1 0 .5">
      <joint name="free" type="free"/>
      <geom name="box" type="box" size=".1 .15 .1" pos=".02 0 .01"/>
      <geom name="lid" type="box" size=".1 .15 .02" pos="0 .1 .12"/>
    </body>
    <body name="ball" pos="1 0 .5"><freejoint/><geom name="ball" size=".1"/></body>
  </worldbody>
  <actuator>
    <motor name="motor" joint="shoulder" gear="2"/>
    <position name="servo" joint="elbow" kp="10" kv="1" forcerange="-3 3"/>
  </actuator>
  <sensor><jointpos name="angle" joint="shoulder"/></sensor>
</mujoco>
"""


def toy_spec() -> Any:
    return mujoco.MjSpec.from_string(XML)


def model_arrays(model: mujoco.MjModel) -> dict[str, Array]:
    """Return copies of everything that a model holds: arrays, options, statistics and visuals."""
    return {
        f"{path}{name}": value for path, name, value in _values(model, "") if name != "signature"
    }


def differing(before: dict[str, Array], after: dict[str, Array]) -> dict[str, list[int]]:
    """Return the names of arrays that differ in any bit, with the rows in which they do."""
    assert before.keys() == after.keys()
    return {
        name: sorted({int(row) for row in np.argwhere(np.atleast_1d(after[name] != value))[:, 0]})
        for name, value in before.items()
        if not np.array_equal(value, after[name], equal_nan=True)
    }


def _values(holder: Any, path: str) -> Any:
    for name in dir(holder):
        value = None if name.startswith("_") else getattr(holder, name)
        if isinstance(value, np.ndarray | int | float):
            yield path, name, np.array(value)
        elif name in {"opt", "stat", "vis"} or path == "vis.":
            yield from _values(value, f"{path}{name}.")
