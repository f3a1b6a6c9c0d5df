#!/bin/sh
# Prove that the bare install whose bin folder is $1 needs no torch: it helps, it names the missing
# extra when asked to train, and it computes what the bundled policy recorded when it was exported.
set -eu
bin=$1
policy=$(dirname "$0")/../policies/fetch_reach
fail() { echo "bare install: $1" >&2; exit 1; }

for package in torch mujoco gymnasium tyro; do
    ! "$bin/python" -I -c "import $package" 2>/dev/null || fail "$package is installed"
done
"$bin/robodreamer-deploy" --help >/dev/null || fail 'robodreamer-deploy --help failed'

status=0
said=$("$bin/robodreamer" train fetch_reach 2>&1) || status=$?
[ "$status" -eq 2 ] || fail "robodreamer train left with status $status, not 2: $said"
case $said in
    *"pip install 'robodreamer[train]'"*) ;;
    *) fail "robodreamer train does not name the extra it needs: $said" ;;
esac

if [ -e "$policy" ]; then
    "$bin/python" -I - "$policy" <<'EOPYTHON' || fail 'the golden self-test failed'
import sys
from pathlib import Path

from robodreamer_deploy.bundle import load_bundle
from robodreamer_deploy.golden import load_golden
from robodreamer_deploy.policy import Policy
from robodreamer_deploy.selftest import replay_golden

bundle = load_bundle(Path(sys.argv[1]))
print("golden self-test:", replay_golden(Policy(bundle), load_golden(bundle)))
EOPYTHON
fi
echo 'bare install: no torch, and it needs none'
