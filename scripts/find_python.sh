#!/bin/sh
# Print a Python that every pinned package has a wheel for, and that can create environments: 3.11 or
# 3.12 (labmaze, which dm_control needs, has no wheel for newer ones). $PYTHON, if set, is the choice.
set -eu
lacking=''
set -- ${PYTHON:+"$PYTHON"}
[ $# -gt 0 ] || set -- python3.11 python3.12 python3

for candidate in "$@"; do
    "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
        >/dev/null 2>&1 || continue
    if "$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        echo "$candidate"
        exit
    fi
    lacking=${lacking:-$candidate}
done

if [ -n "$lacking" ]; then
    package=$("$lacking" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    echo "$lacking cannot create virtual environments: apt-get install $package" >&2
elif [ -n "${PYTHON:-}" ]; then
    found=$("$PYTHON" --version 2>&1) || found='no Python that runs'
    echo "PYTHON=$PYTHON is $found; name a Python 3.11 or 3.12" >&2
else
    echo 'No Python 3.11 or 3.12 found: install one, or name it: make setup PYTHON=/path/to/python' >&2
fi
exit 1
