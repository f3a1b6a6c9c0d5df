#!/bin/sh
# Install the system's OpenGL library, which MuJoCo's cameras need, unless it is there already.
# Usage: install_gl.sh PYTHON. Never fails: training without cameras works without it.
set -eu
packages='libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri'

has() { "$1" -c 'import ctypes, sys; [ctypes.CDLL(name) for name in sys.argv[1:]]' \
    "$2" "$3" 2>/dev/null; }

if has "$1" libEGL.so.1 libGL.so.1 || has "$1" libEGL.so.1 libOpenGL.so.0 \
    || has "$1" libOSMesa.so.8 libOSMesa.so.8; then
    exit 0
fi
as_root=''
if [ "$(id -u)" -ne 0 ]; then
    as_root='sudo'
    [ -t 0 ] || as_root='sudo -n'  # nobody is there to type a password
fi
echo "Installing the OpenGL library: $packages"
# shellcheck disable=SC2086
if ! { $as_root apt-get update -q && $as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends $packages; } >&2; then
    echo "No OpenGL library, so cameras will not work; install it: apt-get install $packages" \
        "(Fedora: dnf install mesa-libEGL mesa-libGL mesa-dri-drivers)" >&2
fi
