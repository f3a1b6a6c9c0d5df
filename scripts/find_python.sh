#!/bin/sh
# Print a Python that every pinned package has a wheel for: 3.11 or 3.12 (labmaze, which dm_control
# needs, has none for newer ones).
set -eu
for candidate in "${PYTHON:-python3.11}" python3.11 python3.12 python3; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
        >/dev/null 2>&1; then
        if ! "$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then
            echo "$candidate cannot create virtual environments: apt-get install python3-venv" >&2
            exit 1
        fi
        echo "$candidate"
        exit
    fi
done
echo 'No Python 3.11 or 3.12 found: install one, or name it: make setup PYTHON=/path/to/python' >&2
exit 1
