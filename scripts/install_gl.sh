#!/bin/sh
# Install the system's OpenGL library, which MuJoCo's cameras need, unless it is there already.
# Usage: install_gl.sh PYTHON. Never fails: training without cameras works without it.
set -eu
python=$1
packages='libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri'

has() {
    "$python" -c 'import ctypes, sys; [ctypes.CDLL(name) for name in sys.argv[1:]]' "$@" \
        2>/dev/null
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif [ -t 0 ]; then
        sudo "$@"
    else
        sudo -n "$@"  # nobody is there to type a password
    fi
}

install() {
    command -v apt-get >/dev/null || return 1
    echo "Installing the OpenGL library: $packages"
    as_root apt-get update -q
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends $packages
}

if has libEGL.so.1 libGL.so.1 || has libEGL.so.1 libOpenGL.so.0 || has libOSMesa.so.8; then
    exit 0
fi
install || echo "No OpenGL library, so cameras will not work; install it: apt-get install $packages" \
    "(Fedora: dnf install mesa-libEGL mesa-libGL mesa-dri-drivers)" >&2
