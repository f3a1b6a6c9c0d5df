#!/bin/sh
# Install the system's OpenGL library and a driver for it, which MuJoCo's cameras need, unless both
# are there already. Usage: install_gl.sh PYTHON. Never fails: what has no cameras works without.
set -eu
python=$1
packages='libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri'

draws() {
    "$python" "${0%/*}/check_gl.py" 2>/dev/null
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
    echo "Installing the OpenGL library and a driver: $packages"
    as_root apt-get update -q || return 1
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends $packages || return 1
    draws
}

draws || install || echo "OpenGL does not start here, so cameras will not work; it needs a library" \
    "and a driver: apt-get install $packages" \
    "(Fedora: dnf install mesa-libEGL mesa-libGL mesa-dri-drivers)" >&2
