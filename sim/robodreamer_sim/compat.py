"""Fixes for the pinned third-party stack, and a clear error for versions that do not fit.

The newest MuJoCo, dm_control and gymnasium-robotics on PyPI do not work together as they are. Every
fix first probes whether it is needed, so that it does nothing once upstream is fixed:

    gymnasium-robotics 1.4.2    tests `joint_type in (mjJNT_HINGE, ...)`, which is False since
                                MuJoCo 3.12, whose enums no longer equal NumPy integers
    dm_control 1.0.50           lists the sizes of MuJoCo fields that MuJoCo 4 has removed, and
                                fails on the first that is missing

Then a joint of a tiny model is written and read through the library. A pair of versions that fails
there is refused at the import of the library, so other tasks are not affected.
"""

import contextlib
import importlib
import io
import os
import textwrap
from collections.abc import Iterator
from importlib.metadata import version
from types import ModuleType, SimpleNamespace
from typing import Any

from robodreamer_sim.errors import GraphicsError

VARIABLE, OWN_VARIABLE = "MUJOCO_GL", "ROBODREAMER_GRAPHICS"
WARP = "warp"
"""Value of MUJOCO_GL for MuJoCo Warp's camera, which MuJoCo itself does not know."""
TESTED = {
    "mujoco": "3.17.0",
    "gymnasium": "1.4.0",
    "gymnasium-robotics": "1.4.2",
    "dm-control": "1.0.50",
}
"""Versions pinned in constraints.txt, which work together."""
ONE_HINGE = """
<mujoco>
  <worldbody>
    <body name="arm"><joint name="hinge" axis="1 0 0"/><geom size=".1" pos="0 1 0"/></body>
  </worldbody>
</mujoco>
"""


def import_mujoco() -> ModuleType:
    """Import MuJoCo, which loads the rendering library that MUJOCO_GL names.

    Whatever loads MuJoCo in a process calls this first. MuJoCo refuses `warp`, a value of ours, so
    it is moved to a variable of our own; child processes inherit both.

    Raises:
        GraphicsError: That library is not there.
    """
    if os.environ.get(VARIABLE, "").lower().strip() == WARP:
        os.environ[OWN_VARIABLE], os.environ[VARIABLE] = WARP, "disabled"
    try:
        return importlib.import_module("mujoco")
    except Exception as error:
        back_end = os.environ.get(VARIABLE)
        if not back_end:
            raise
        raise GraphicsError(
            f"MuJoCo cannot load what {VARIABLE}={back_end} names ({error}); unset {VARIABLE}, or "
            "install that library"
        ) from error


def import_gymnasium_robotics() -> ModuleType:
    """Import gymnasium-robotics with its joint types fixed.

    Its notice about other tasks is suppressed: every worker would print it.

    Raises:
        ValueError: The installed version does not work with the installed MuJoCo.
        ModuleNotFoundError: It is not installed.
    """
    import numpy as np  # here, because `doctor` reads this module on a computer without numpy

    with _failures_explained("gymnasium-robotics"):
        with contextlib.redirect_stderr(io.StringIO()):
            module = importlib.import_module("gymnasium_robotics")
        utils: Any = importlib.import_module("gymnasium_robotics.utils.mujoco_utils")
        hinge = utils.mujoco.mjtJoint.mjJNT_HINGE
        if not hinge == np.int32(int(hinge)):  # noqa: SIM201  not its !=
            utils.mujoco = _with_plain_joint_types()
        _probe_gymnasium_robotics(utils)
    return module


def import_dm_control() -> ModuleType:
    """Import the dm_control suite, without the array sizes that this MuJoCo does not have.

    Its own renderer stays off: it starts GL at import, and two kinds of renderer in one process
    end in EGL errors.

    Raises:
        ValueError: The installed version does not work with the installed MuJoCo.
        ModuleNotFoundError: It is not installed.
    """
    with _failures_explained("dm-control"):
        with _environment_variable(VARIABLE, "disabled"):
            suite = importlib.import_module("dm_control.suite")
            sizes = importlib.import_module("dm_control.mujoco.wrapper.mjbindings.sizes")
        import mujoco

        for struct, kind in {"mjmodel": mujoco.MjModel, "mjdata": mujoco.MjData}.items():
            fields = sizes.array_sizes.get(struct, {})
            for name in [name for name in fields if not hasattr(kind, name)]:
                del fields[name]
        _probe_dm_control()
    return suite


def tested_pair(distribution: str) -> str:
    """Return the command that installs a library and MuJoCo in versions that work together."""
    names = dict.fromkeys(["mujoco", distribution])
    return f"`pip install {' '.join(f'{name}=={TESTED[name]}' for name in names)}`"


def _with_plain_joint_types() -> SimpleNamespace:
    """Return MuJoCo's names with `mjtJoint` holding plain integers."""
    import mujoco

    names: dict[str, Any] = {name: getattr(mujoco, name) for name in dir(mujoco)}
    joint_types = {k: int(v) for k, v in mujoco.mjtJoint.__members__.items()}
    return SimpleNamespace(**{**names, "mjtJoint": SimpleNamespace(**joint_types)})


def _probe_gymnasium_robotics(utils: Any) -> None:
    """Set and get a joint."""
    import mujoco

    model = mujoco.MjModel.from_xml_string(ONE_HINGE)
    data = mujoco.MjData(model)
    utils.set_joint_qpos(model, data, "hinge", 0.5)
    assert utils.get_joint_qpos(model, data, "hinge") == 0.5


def _probe_dm_control() -> None:
    """Set a joint and take a step; read by names, as tasks do."""
    from dm_control.mujoco import Physics

    physics: Any = Physics.from_xml_string(ONE_HINGE)
    physics.named.data.qpos["hinge"] = 0.5
    physics.step()
    assert (physics.named.data.xmat["arm", ["yy", "zz"]] < 1.0).all()


@contextlib.contextmanager
def _failures_explained(distribution: str) -> Iterator[None]:
    """Convert any failure of a pair of versions into a `ValueError` with advice."""
    try:
        yield
    except Exception as error:
        is_missing = isinstance(error, ModuleNotFoundError)
        if is_missing and error.name == distribution.replace("-", "_"):
            raise
        reason = textwrap.shorten(f"{type(error).__name__}: {error}", 200)
        raise ValueError(
            f"{distribution} {version(distribution)} does not work with mujoco {version('mujoco')} "
            f"({reason}); {tested_pair(distribution)} brings versions that do; "
            "tasks of other libraries are not concerned"
        ) from error


@contextlib.contextmanager
def _environment_variable(name: str, value: str) -> Iterator[None]:
    """Set an environment variable while a library that reads it is imported."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before
