#!/bin/sh
# Let git run the checks of .pre-commit-config.yaml before each commit, with the tools of the
# environment $1. Does nothing in a copy without git, in CI, where somebody has hooks of their own,
# and for another environment than .venv, which the hooks name.
set -eu
venv=$1
[ -e .git ] && [ "$venv" = .venv ] && [ -z "${CI:-}" ] || exit 0
hooks=$(git rev-parse --git-path hooks 2>/dev/null) || exit 0
if [ -e "$hooks/pre-commit" ] || git config --get core.hooksPath >/dev/null; then
    exit 0
fi
"$venv/bin/pre-commit" install
