#!/bin/sh
# Make the virtual environment $1 hold exactly what constraints.txt pins, and this checkout, editable,
# and let git run the checks of .pre-commit-config.yaml before each commit.
set -eu
venv=$1
pip="$venv/bin/python -m pip --disable-pip-version-check"
torch=$(grep '^torch==' constraints.txt)

if ! $pip --version >/dev/null 2>&1; then
    python=$(scripts/find_python.sh)
    echo "Creating $venv with $("$python" --version)"
    "$python" -m venv --clear "$venv"
fi
scripts/install_gl.sh "$venv/bin/python"

# PyPI's torch for x86-64 brings gigabytes of CUDA. Where no NVIDIA driver is loaded the CPU build is
# tried first; if its index cannot be reached, PyPI's build is installed below and works as well.
if [ "$(uname -sm)" = 'Linux x86_64' ] && [ ! -e /proc/driver/nvidia/version ] \
    && ! $pip show --quiet torch 2>/dev/null; then
    echo "No NVIDIA driver: trying the CPU build of $torch first (about 200 MB)"
    $pip install --quiet --no-deps --only-binary=:all: --retries 0 --timeout 15 \
        --index-url https://download.pytorch.org/whl/cpu "$torch" 2>/dev/null \
        || echo 'The CPU index is out of reach: PyPI and its CUDA build will do (about 3 GB)'
fi
echo "Installing the packages of constraints.txt; the first time takes some minutes"
$pip install --constraint constraints.txt --editable '.[dev]'
scripts/install_hooks.sh "$venv"
