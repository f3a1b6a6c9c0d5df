"""The pinned stack mended, words without OpenGL, and imports that cost nothing."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest

from robodreamer_sim import EnvOptions, compat, make

ROOT = Path(__file__).parents[3]


def run_python(code: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run code in a fresh interpreter that sees what this one sees."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


def test_gymnasium_robotics_works_after_the_mend() -> None:
    code = (
        "import gymnasium_robotics.utils.mujoco_utils as utils, mujoco, numpy as np\n"
        "broken = mujoco.mjtJoint.mjJNT_HINGE != np.int32(3)\n"
        "from robodreamer_sim.compat import import_gymnasium_robotics\n"
        "import_gymnasium_robotics()\n"
        "mended = utils.mujoco.mjtJoint.mjJNT_HINGE == np.int32(3)\n"
        "print(broken, mended, utils.mujoco.mj_step is mujoco.mj_step, utils.mujoco is mujoco)\n"
    )
    done = run_python(code)
    assert done.stdout.split() == ["True", "True", "True", "False"], done.stderr


def test_a_stack_that_needs_no_mend_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    compat.import_gymnasium_robotics()
    from gymnasium_robotics.utils import mujoco_utils

    mended: Any = mujoco_utils.mujoco
    assert mended.mjtJoint.mjJNT_HINGE == np.int32(3)
    compat.import_gymnasium_robotics()
    assert mujoco_utils.mujoco is mended
    assert mujoco.mjtJoint.mjJNT_HINGE is not mended.mjtJoint.mjJNT_HINGE


def test_sizes_of_fields_that_mujoco_lacks_are_dropped() -> None:
    suite = compat.import_dm_control()
    from dm_control.mujoco.wrapper.mjbindings import sizes

    fields = sizes.array_sizes["mjmodel"]
    before = dict(fields)
    fields["a_field_that_was_removed"] = ("nbody",)
    try:
        with pytest.raises(AttributeError, match="a_field_that_was_removed"):
            suite.load("cartpole", "balance")
        compat.import_dm_control().load("cartpole", "balance")
        assert dict(fields) == before
    finally:
        fields.pop("a_field_that_was_removed", None)


def test_the_versions_that_are_told_to_work_are_those_that_are_tested() -> None:
    pins = dict(
        line.replace("_", "-").split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    )
    assert {name: pins[name] for name in compat.TESTED} == compat.TESTED


def test_a_pair_that_cannot_be_mended_is_refused_and_the_other_library_still_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compat.import_gymnasium_robotics()
    from gymnasium_robotics.utils import mujoco_utils

    monkeypatch.setattr(mujoco_utils, "mujoco", mujoco)
    monkeypatch.setattr(compat, "_with_plain_joint_types", lambda: mujoco)
    installed = f"gymnasium-robotics {version('gymnasium-robotics')} does not work with mujoco 3"
    with pytest.raises(ValueError, match=installed) as raised:
        make("fetch_reach", EnvOptions(observe="state"))
    assert "AssertionError" in str(raised.value)
    assert "`pip install mujoco==3.17.0 gymnasium-robotics==1.4.2`" in str(raised.value)
    make("dmc_cartpole_balance", EnvOptions(observe="state")).reset(seed=0)


def test_a_library_that_is_not_installed_is_not_called_broken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium_robotics", None)
    with pytest.raises(ModuleNotFoundError, match="gymnasium_robotics"):
        compat.import_gymnasium_robotics()


def test_dm_control_is_imported_without_its_renderer_and_mujoco_gl_is_put_back() -> None:
    code = (
        "import os, warnings; warnings.simplefilter('error')\n"
        "from robodreamer_sim.compat import import_dm_control\n"
        "import_dm_control()\n"
        "from dm_control import _render\n"
        "print(_render.BACKEND, os.environ.get('MUJOCO_GL'))\n"
    )
    assert run_python(code, MUJOCO_GL="egl").stdout.split() == ["off", "egl"]


NO_GL = """
import ctypes, ctypes.util, sys
load, find = ctypes.CDLL.__init__, ctypes.util.find_library
def no_gl(self, name, *args, **kwargs):
    if name and any(part in str(name) for part in ("EGL", "libGL", "OSMesa", "OpenGL")):
        raise OSError(f"{name}: cannot open shared object file")
    load(self, name, *args, **kwargs)
ctypes.CDLL.__init__ = no_gl
ctypes.util.find_library = lambda name: None if "GL" in name or "Mesa" in name else find(name)
import robodreamer_sim as sim
env = sim.make("fetch_reach", sim.EnvOptions(observe="state"))
env.reset(seed=0)
print("state works")
if __name__ == "__main__":
    try:
        with sim.VectorEnv("fetch_reach", num_envs=1, num_workers=0, seed=0) as envs:
            envs.start()
            envs.recv()
    except RuntimeError as error:
        print(type(error).__name__, error)
"""


def test_without_a_gl_library_the_message_is_one_line_that_says_what_to_install() -> None:
    done = run_python(NO_GL, MUJOCO_GL="")
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stdout + done.stderr
    assert lines[0] == "state works"
    assert lines[1].startswith("GraphicsError cameras need OpenGL, and none could be started (")
    assert "`apt-get install libegl1 libgl1-mesa-dri`" in lines[1]


def test_importing_the_package_and_listing_tasks_is_cheap() -> None:
    code = (
        "import sys, robodreamer_sim\n"
        "assert len(robodreamer_sim.list_tasks()) > 50\n"
        "heavy = {'numpy', 'mujoco', 'gymnasium', 'dm_control', 'torch'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    assert run_python(code).stdout.strip() == "[]"


def test_a_parent_of_workers_needs_no_simulator() -> None:
    code = (
        "import sys\n"
        "from robodreamer_sim import VectorEnv, EnvironmentFault\n"
        "print(sorted({'mujoco', 'gymnasium', 'dm_control'} & set(sys.modules)))\n"
    )
    assert run_python(code).stdout.strip() == "[]"
