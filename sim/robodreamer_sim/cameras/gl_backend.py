"""Back ends for drawing without a window: the choice of one, and its OpenGL contexts.

MUJOCO_GL names the back end: `egl` (a GPU's driver, or Mesa's software), `osmesa` (software),
another one of MuJoCo's, or `warp`, MuJoCo Warp's camera, which needs no OpenGL (extra `warp`). If
it is not set, `settle_back_end` finds a back end that works and sets it.

A probe finds out: a child process draws some images. It is a child because a broken driver may
raise in many types, crash, or hang while pixels are read, as reported of several renderers on
NVIDIA's EGL (MuJoCo issue 3444), and because PyOpenGL cannot load a second back end after it has
tried one. A probe takes about a second, so there is one for a tree of processes: a `VectorEnv`
settles before it starts its workers, which inherit the choice. Any other process settles at its
first context.

MuJoCo reads MUJOCO_GL at import, and cannot be imported where the named library is missing, even
for a task without cameras. So the variable is set only to a back end that has drawn, and
`compat.import_mujoco` moves `warp` to ROBODREAMER_GRAPHICS.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from ctypes.util import find_library
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from robodreamer_sim.compat import OWN_VARIABLE, VARIABLE, WARP
from robodreamer_sim.errors import GraphicsError
from robodreamer_sim.utils.probe_process import run_probe

WARP_PACKAGE = "mujoco_warp"
LIBRARIES = {"egl": "EGL", "osmesa": "OSMesa"}
"""Back ends that need no display, the better one first, and the library of each."""
PACKAGES = {"egl": "libegl1 libgl1-mesa-dri", "osmesa": "libosmesa6"}
"""Packages of each library on Debian and Ubuntu."""
PROBE_TIMEOUT_S = 30.0
"""Far more than the second that a probe takes, for a loaded machine or a slow disk."""
COMPILING_S = 180.0
"""Additional time for Warp, which compiles at the first use on a machine."""
SOFTWARE_RENDERERS = ("llvmpipe", "softpipe", "swrast", "swiftshader", "warp on cpu")
SOFTWARE_HINT = (
    "that is software, several times slower than the GPU; is NVIDIA's EGL library installed "
    "(libnvidia-gl, or the container's `graphics` capability)?"
)


class GLContext(Protocol):
    """MuJoCo's offscreen context, whichever library is behind it."""

    def make_current(self) -> None:
        """Direct this thread's GL calls here."""
        ...

    def free(self) -> None:
        """Release it."""
        ...


class BackEndProbe(NamedTuple):
    """Result of drawing through one back end."""

    back_end: str
    works: bool
    renderer: str
    """Name of the device that draws, from OpenGL."""
    pictures_per_second: float
    """Rate of 64x64 images of a scene of two bodies; includes reading the pixels."""
    reason: str
    """Reason why it does not work; empty if it does."""


class BackEndChoice(NamedTuple):
    """Back end that draws on this machine, and the reason for the choice."""

    name: str
    """Name of the back end; empty if none works."""
    why: str


def settle_back_end(timeout_s: float = PROBE_TIMEOUT_S) -> BackEndChoice:
    """Choose a back end for this process and all processes that it starts."""
    choice = choose_back_end(timeout_s)
    os.environ[OWN_VARIABLE if choice.name == WARP else VARIABLE] = choice.name  # empty: not set
    return choice


def choose_back_end(timeout_s: float = PROBE_TIMEOUT_S) -> BackEndChoice:
    """Return the back end that MUJOCO_GL names; if it is not set, the one with the best probe."""
    if name := named_back_end():
        return BackEndChoice(name, f"as {VARIABLE} says")
    if sys.platform != "linux":
        return BackEndChoice("", "MuJoCo knows what this system has")
    probes: list[BackEndProbe] = []
    for back_end in back_ends():
        probes.append(probe_back_end(back_end, timeout_s))
        if probes[-1].works and not (is_software(probes[-1].renderer) and _has_cuda_camera()):
            break
    chosen = pick(probes)
    reasons = [f"{p.back_end} does not work: {p.reason}" for p in probes if not p.works]
    if chosen is None:
        return BackEndChoice("", "; ".join(reasons))
    others = [f"{p.back_end} is {p.renderer}" for p in probes if p.works and p != chosen]
    speed = f"its probe drew {chosen.pictures_per_second:,.0f} small pictures per second"
    return BackEndChoice(chosen.back_end, "; ".join([*reasons, *others, speed]))


def back_ends() -> tuple[str, ...]:
    """Return the back ends that need no display and may be installed, in the order of probing."""
    return (*LIBRARIES, *([WARP] if has_warp() else []))


def has_warp() -> bool:
    """Return whether MuJoCo Warp is installed."""
    return find_spec(WARP_PACKAGE) is not None


def pick(probes: Sequence[BackEndProbe]) -> BackEndProbe | None:
    """Return the first that works, but prefer Warp on a GPU to OpenGL in software."""
    working = [probed for probed in probes if probed.works]
    on_gpu = [p for p in working if p.back_end == WARP and not is_software(p.renderer)]
    if on_gpu and is_software(working[0].renderer):
        return on_gpu[0]
    return working[0] if working else None


def named_back_end() -> str:
    """Return the back end that MUJOCO_GL names; empty if it is not set."""
    return os.environ.get(OWN_VARIABLE) or os.environ.get(VARIABLE, "").lower().strip()


def probe_back_end(back_end: str, timeout_s: float = PROBE_TIMEOUT_S) -> BackEndProbe:
    """Draw some images through a back end, in a child process that may fail in any way.

    Args:
        back_end: A value of MUJOCO_GL.
        timeout_s: Time after which the child is killed.
    """
    if back_end == WARP:
        timeout_s += COMPILING_S
    result = run_probe("draw", timeout_s=timeout_s, **{VARIABLE: back_end, OWN_VARIABLE: ""})
    if not result.failure:
        return BackEndProbe(back_end, works=True, reason="", **result.result)
    if back_end == WARP and not has_warp():
        return BackEndProbe(
            back_end,
            works=False,
            renderer="",
            pictures_per_second=0.0,
            reason="it is not installed",
        )
    library = LIBRARIES.get(back_end)
    is_missing = library is not None and find_library(library) is None
    reason = f"lib{library} is not installed" if is_missing else result.failure
    return BackEndProbe(back_end, works=False, renderer="", pictures_per_second=0.0, reason=reason)


def make_gl_context(width: int, height: int) -> GLContext:
    """Create an offscreen context of the back end of MUJOCO_GL, which is settled if it is not set.

    Raises:
        GraphicsError: No library, no device, or a back end that does not start.
    """
    name = settled_back_end()
    try:
        context = _context_class(name)(width, height)
        context.make_current()
    except Exception as error:  # drivers fail in many types that all mean the same
        raise graphics_error(error) from error
    return context


def settled_back_end() -> str:
    """Return the back end of MUJOCO_GL, settled if it is not set; empty where MuJoCo chooses.

    Raises:
        GraphicsError: None works.
    """
    name = named_back_end()
    if not name and sys.platform == "linux":  # elsewhere MuJoCo knows what the system has
        name, why = settle_back_end()
        if not name:
            raise graphics_error(RuntimeError(why))
    return name


def renderer_name() -> str:
    """Return the device of the current GL context, such as `llvmpipe (LLVM 15.0.6, 256 bits)`.

    It is empty where OpenGL does not report one.
    """
    gl, errors = importlib.import_module("OpenGL.GL"), importlib.import_module("OpenGL.error")
    try:
        name: bytes | None = gl.glGetString(gl.GL_RENDERER)
    except errors.Error:  # a window system that PyOpenGL does not know
        return ""
    return (name or b"").decode()


def is_software(renderer: str) -> bool:
    """Return whether a renderer, by its name in OpenGL, runs on the processor."""
    return any(name in renderer.lower() for name in SOFTWARE_RENDERERS)


def graphics_error(error: Exception) -> GraphicsError:
    """Return the error with advice for a user whose OpenGL fails with `error`."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return GraphicsError(
        f"cameras need OpenGL, and none could be started ({reason}); {mend(named_back_end())}, or "
        "train without cameras (observe=proprio); `robodreamer doctor` tells what works here"
    )


def mend(back_end: str) -> str:
    """Return advice for a back end that does not work."""
    if back_end == WARP:
        return "install it with `pip install robodreamer[warp]`"
    if back_end and back_end not in PACKAGES:
        return f"unset {VARIABLE}"
    return f"install it with `apt-get install {PACKAGES[back_end or 'egl']}`"


def _has_cuda_camera() -> bool:
    """Return whether Warp may find a GPU."""
    return has_warp() and find_library("cuda") is not None and Path("/dev/nvidiactl").exists()


def _context_class(back_end: str) -> Any:
    """Return the class of a back end's contexts.

    `mujoco.GLContext` cannot be used: it is chosen from the variable when MuJoCo is imported.
    """
    if back_end in LIBRARIES:
        return importlib.import_module(f"mujoco.{back_end}").GLContext
    return importlib.import_module("mujoco").GLContext
