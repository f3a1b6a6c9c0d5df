"""Mends for the pinned third-party stack, and words for a machine without OpenGL.

The newest MuJoCo, dm_control and gymnasium-robotics on PyPI do not work together as they are. Every
mend here first probes whether it is needed, so that it does nothing once upstream is fixed:

    gymnasium-robotics 1.4.2    tests `joint_type in (mjJNT_HINGE, ...)`, which is False since
                                MuJoCo 3.12, whose enums no longer equal NumPy integers
    dm_control 1.0.50           lists the sizes of MuJoCo fields that MuJoCo 4 has removed, and
                                fails on the first that is missing

The GL back end is chosen per context (`make_gl_context`) instead of by setting MUJOCO_GL: that
variable is read when `mujoco` is imported, for all libraries at once, and a machine without GL
could then not even import MuJoCo for a task without cameras.
"""

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any, Protocol

import mujoco
import numpy as np

from robodreamer_sim.faults import GraphicsError

NO_GL_HINT = (
    "cameras need OpenGL, and none could be started ({reason}); install it with "
    "`apt-get install libegl1 libgl1-mesa-dri`, or train without cameras (observe=proprio)"
)


class GLContext(Protocol):
    """MuJoCo's offscreen context, whichever library is behind it."""

    def make_current(self) -> None:
        """Direct this thread's GL calls here."""
        ...

    def free(self) -> None:
        """Release it."""
        ...


def make_gl_context(width: int, height: int) -> GLContext:
    """Start offscreen rendering: EGL on Linux, unless MUJOCO_GL names another back end.

    Raises:
        GraphicsError: No library, no device, or a back end that does not start.
    """
    try:
        if sys.platform == "linux" and not os.environ.get("MUJOCO_GL"):
            context_class = importlib.import_module("mujoco.egl").GLContext
        else:
            context_class = mujoco.GLContext
        context = context_class(width, height)
        context.make_current()
    except Exception as error:  # drivers fail in many types that all mean the same
        raise graphics_error(error) from error
    return context


def renderer_name() -> str:
    """Return what draws in the current GL context, such as `llvmpipe (LLVM 15.0.6, 256 bits)`.

    It is empty where OpenGL does not tell.
    """
    gl, errors = importlib.import_module("OpenGL.GL"), importlib.import_module("OpenGL.error")
    try:
        name: bytes | None = gl.glGetString(gl.GL_RENDERER)
    except errors.Error:  # a window system that PyOpenGL does not know
        return ""
    return (name or b"").decode()


def graphics_error(error: Exception) -> GraphicsError:
    """Return what to tell a user whose OpenGL fails with `error`."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return GraphicsError(NO_GL_HINT.format(reason=reason))


def import_gymnasium_robotics() -> ModuleType:
    """Import gymnasium-robotics with its joint types mended.

    It prints a notice about other tasks at every import, so once in every worker: left out.
    """
    with contextlib.redirect_stderr(io.StringIO()):
        module = importlib.import_module("gymnasium_robotics")
    utils: Any = importlib.import_module("gymnasium_robotics.utils.mujoco_utils")
    hinge = mujoco.mjtJoint.mjJNT_HINGE
    if not utils.mujoco.mjtJoint.mjJNT_HINGE == np.int32(int(hinge)):  # noqa: SIM201  not its !=
        utils.mujoco = _with_plain_joint_types()
    return module


def _with_plain_joint_types() -> SimpleNamespace:
    """Return MuJoCo's names with `mjtJoint` holding plain integers."""
    names: dict[str, Any] = {name: getattr(mujoco, name) for name in dir(mujoco)}
    joint_types = {k: int(v) for k, v in mujoco.mjtJoint.__members__.items()}
    return SimpleNamespace(**{**names, "mjtJoint": SimpleNamespace(**joint_types)})


def import_dm_control() -> ModuleType:
    """Import the dm_control suite, without the array sizes that this MuJoCo does not have.

    Its own renderer stays off: it starts GL while it is imported, and two kinds of renderer in one
    process end in EGL errors.
    """
    with _environment_variable("MUJOCO_GL", "disabled"):
        suite = importlib.import_module("dm_control.suite")
        sizes = importlib.import_module("dm_control.mujoco.wrapper.mjbindings.sizes")
    for struct, kind in {"mjmodel": mujoco.MjModel, "mjdata": mujoco.MjData}.items():
        fields = sizes.array_sizes.get(struct, {})
        for name in [name for name in fields if not hasattr(kind, name)]:
            del fields[name]
    return suite


@contextlib.contextmanager
def _environment_variable(name: str, value: str) -> Iterator[None]:
    """Set an environment variable meanwhile, for a library that reads it when imported."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before
