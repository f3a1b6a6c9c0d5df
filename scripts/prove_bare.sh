#!/bin/sh
# Prove that the bare install whose bin folder is $1 needs no torch: it helps, it names the missing
# extra when asked to train, it drives the robot of docs/your-robot.md with the bundled policy, and
# examines the machine.
set -eu
bin=$1
root=$(dirname "$0")/..
policy=$root/policies/fetch_reach
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

[ -e "$policy/manifest.json" ] || fail "there is no policy to drive, $policy"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
sed -n '/^```python$/,/^```$/{/^```/!p;}' "$root/docs/your-robot.md" >"$scratch/my_robot.py"
"$bin/robodreamer-deploy" "$policy" --robot "$scratch/my_robot.py:MyRobot" --seconds 2 \
    --report "$scratch/drive.json" || fail 'the robot of docs/your-robot.md was not driven'
"$bin/python" -I - "$scratch/drive.json" <<'EOPYTHON' || fail 'that was no drive'
import json
import sys
from pathlib import Path

figures = json.loads(Path(sys.argv[1]).read_text())
sys.exit(figures["ticks"] < 1 or figures["held_ticks"] > 0 or figures["fault"] is not None)
EOPYTHON
"$bin/robodreamer" doctor || fail 'robodreamer doctor failed'
echo 'bare install: no torch, and it needs none'
