"""What draws without a window: which back end works on this machine, and its OpenGL contexts.

MUJOCO_GL names the back end: `egl` (a GPU's driver, or Mesa's software), `osmesa` (software),
another one of MuJoCo's, or `warp`, MuJoCo Warp's camera, which needs no OpenGL (extra `warp`). If
it is not set, `settle_back_end` finds out what works and sets it.

What works is found by a probe: a child process draws some pictures, because a driver that is not
right may fail in many types, crash, or hang while pixels are read, as several renderers on NVIDIA's
EGL were reported to (MuJoCo issue 3444); and because a process that has tried one back end cannot
load the other, which PyOpenGL does not allow. A probe takes about a second, so it is paid once for
a tree of processes: a `VectorEnv` settles before it starts its workers, and they inherit the
answer. A process that nobody has settled for does it at its first context.

MuJoCo reads MUJOCO_GL when it is imported, and cannot be imported where that names what is not
there, not even for a task without cameras. So it is set only to what has been seen to draw. And
`warp` is taken out of it when `robodreamer_sim` is imported, and then stands in
ROBODREAMER_GRAPHICS.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from ctypes.util import find_library
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from robodreamer_sim.errors import GraphicsError
from robodreamer_sim.probes import run_trial

VARIABLE = "MUJOCO_GL"
OWN_VARIABLE = "ROBODREAMER_GRAPHICS"
WARP = "warp"
WARP_PACKAGE = "mujoco_warp"
LIBRARIES = {"egl": "EGL", "osmesa": "OSMesa"}
"""The back ends that need no display, the better one first, and the library of each."""
PACKAGES = {"egl": "libegl1 libgl1-mesa-dri", "osmesa": "libosmesa6"}
"""What brings each of them on Debian and Ubuntu."""
PROBE_TIMEOUT_S = 30.0
"""Far more than the second it takes, for a loaded machine or a slow disk."""
COMPILING_S = 180.0
"""Beyond that for Warp, which compiles when a machine first uses it."""
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


class Probe(NamedTuple):
    """What a back end did when it was asked to draw."""

    back_end: str
    works: bool
    renderer: str
    """What draws, as OpenGL calls it."""
    pictures_per_second: float
    """Of a scene of two bodies, 64x64; reading the pixels included."""
    reason: str
    """Why it does not work, in words; empty if it does."""


class Choice(NamedTuple):
    """The back end that draws on this machine."""

    name: str
    """Empty if none works."""
    why: str


def settle_back_end(timeout_s: float = PROBE_TIMEOUT_S) -> Choice:
    """Choose a back end and let this process and all it starts draw through it."""
    choice = choose_back_end(timeout_s)
    os.environ[OWN_VARIABLE if choice.name == WARP else VARIABLE] = choice.name  # empty: not set
    return choice


def choose_back_end(timeout_s: float = PROBE_TIMEOUT_S) -> Choice:
    """Return what MUJOCO_GL names; if it is not set, what its probe speaks for."""
    if name := named_back_end():
        return Choice(name, f"as {VARIABLE} says")
    if sys.platform != "linux":
        return Choice("", "MuJoCo knows what this system has")
    probes: list[Probe] = []
    for back_end in back_ends():
        probes.append(probe(back_end, timeout_s))
        if probes[-1].works and not (is_software(probes[-1].renderer) and _has_cuda_camera()):
            break
    chosen = pick(probes)
    reasons = [f"{p.back_end} does not work: {p.reason}" for p in probes if not p.works]
    if chosen is None:
        return Choice("", "; ".join(reasons))
    others = [f"{p.back_end} is {p.renderer}" for p in probes if p.works and p != chosen]
    speed = f"its probe drew {chosen.pictures_per_second:,.0f} small pictures per second"
    return Choice(chosen.back_end, "; ".join([*reasons, *others, speed]))


def back_ends() -> tuple[str, ...]:
    """Return the back ends that need no display and may be there, in the order they are tried."""
    return (*LIBRARIES, *([WARP] if has_warp() else []))


def has_warp() -> bool:
    """Whether MuJoCo Warp is installed."""
    return find_spec(WARP_PACKAGE) is not None


def pick(probes: Sequence[Probe]) -> Probe | None:
    """Return the first that works, but rather Warp on a GPU than OpenGL in software."""
    working = [probed for probed in probes if probed.works]
    on_gpu = [p for p in working if p.back_end == WARP and not is_software(p.renderer)]
    if on_gpu and is_software(working[0].renderer):
        return on_gpu[0]
    return working[0] if working else None


def named_back_end() -> str:
    """Return the back end that MUJOCO_GL names, as MuJoCo reads it; empty if it is not set."""
    return os.environ.get(OWN_VARIABLE) or os.environ.get(VARIABLE, "").lower().strip()


def probe(back_end: str, timeout_s: float = PROBE_TIMEOUT_S) -> Probe:
    """Draw some pictures through a back end, in a child process that may fail in any way.

    Args:
        back_end: A value of MUJOCO_GL.
        timeout_s: The child is killed when it has not answered by then.
    """
    if back_end == WARP:
        timeout_s += COMPILING_S
    trial = run_trial("draw", timeout_s=timeout_s, **{VARIABLE: back_end, OWN_VARIABLE: ""})
    if not trial.failure:
        return Probe(back_end, works=True, reason="", **trial.result)
    if back_end == WARP and not has_warp():
        return Probe(
            back_end,
            works=False,
            renderer="",
            pictures_per_second=0.0,
            reason="it is not installed",
        )
    library = LIBRARIES.get(back_end)
    is_missing = library is not None and find_library(library) is None
    reason = f"lib{library} is not installed" if is_missing else trial.failure
    return Probe(back_end, works=False, renderer="", pictures_per_second=0.0, reason=reason)


def make_gl_context(width: int, height: int) -> GLContext:
    """Start offscreen rendering through the back end of MUJOCO_GL, settled if it is not set.

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
    """Return what draws in the current GL context, such as `llvmpipe (LLVM 15.0.6, 256 bits)`.

    It is empty where OpenGL does not tell.
    """
    gl, errors = importlib.import_module("OpenGL.GL"), importlib.import_module("OpenGL.error")
    try:
        name: bytes | None = gl.glGetString(gl.GL_RENDERER)
    except errors.Error:  # a window system that PyOpenGL does not know
        return ""
    return (name or b"").decode()


def is_software(renderer: str) -> bool:
    """Whether it is the processor that draws; `renderer` as OpenGL calls it."""
    return any(name in renderer.lower() for name in SOFTWARE_RENDERERS)


def graphics_error(error: Exception) -> GraphicsError:
    """Return what to tell a user whose OpenGL fails with `error`."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return GraphicsError(
        f"cameras need OpenGL, and none could be started ({reason}); {mend(named_back_end())}, or "
        "train without cameras (observe=proprio); `robodreamer doctor` tells what works here"
    )


def mend(back_end: str) -> str:
    """Return what a user can do about a back end that does not work; empty for the default."""
    if back_end == WARP:
        return "install it with `pip install robodreamer[warp]`"
    if back_end and back_end not in PACKAGES:
        return f"unset {VARIABLE}"
    return f"install it with `apt-get install {PACKAGES[back_end or 'egl']}`"


def _has_cuda_camera() -> bool:
    """Whether Warp may find a GPU."""
    return has_warp() and find_library("cuda") is not None and Path("/dev/nvidiactl").exists()


def _context_class(back_end: str) -> Any:
    """Return the class of a back end's contexts.

    `mujoco.GLContext` is that of the variable when MuJoCo was imported, which may be long ago.
    """
    if back_end in LIBRARIES:
        return importlib.import_module(f"mujoco.{back_end}").GLContext
    return importlib.import_module("mujoco").GLContext
