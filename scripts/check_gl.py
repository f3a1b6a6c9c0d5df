"""Leaves with 0 if OpenGL can start without a display: library and driver. Needs only Python.

A library alone is not enough: without a driver it loads, finds a device, and fails to start it.
"""

import ctypes
import sys
from ctypes import CFUNCTYPE, POINTER, byref, c_int, c_uint, c_void_p

EGL_PLATFORM_DEVICE_EXT = 0x313F
MAX_DEVICES = 16


def load(*names: str) -> ctypes.CDLL:
    """Return the first of these libraries that there is."""
    missing = ""
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError as error:
            missing = str(error)
    sys.exit(missing)


def has_driver(egl: ctypes.CDLL) -> bool:
    """Tell whether any of EGL's devices starts, as MuJoCo starts them."""
    egl.eglGetProcAddress.restype = c_void_p
    query, display_of = (
        egl.eglGetProcAddress(name) for name in (b"eglQueryDevicesEXT", b"eglGetPlatformDisplayEXT")
    )
    egl.eglInitialize.argtypes = [c_void_p, c_void_p, c_void_p]
    devices, count = (c_void_p * MAX_DEVICES)(), c_int()
    if not (query and display_of):
        return False
    CFUNCTYPE(c_uint, c_int, c_void_p, POINTER(c_int))(query)(MAX_DEVICES, devices, byref(count))
    get_display = CFUNCTYPE(c_void_p, c_uint, c_void_p, c_void_p)(display_of)
    displays = [get_display(EGL_PLATFORM_DEVICE_EXT, d, None) for d in devices[: count.value]]
    return any(display and egl.eglInitialize(display, None, None) for display in displays)


if __name__ == "__main__":
    load("libGL.so.1", "libOpenGL.so.0")
    sys.exit(not has_driver(load("libEGL.so.1")))
