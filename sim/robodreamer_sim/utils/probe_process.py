"""Child processes for probes: code that may raise, crash or hang, killed when its time is up."""

import json
import math
import os
import signal
import subprocess
import sys
from typing import Any, NamedTuple

PROBES = "robodreamer_sim.probes"
"""Module that the child runs. It is named, not imported: it imports what probes are made for."""


class ProbeResult(NamedTuple):
    """Outcome of a probe: a result, or the reason why there is none."""

    result: dict[str, Any]
    failure: str
    """Reason of the failure; empty if there is a result."""


def run_probe(*words: str, timeout_s: float, **variables: str) -> ProbeResult:
    """Run a probe in a child process.

    Args:
        words: Name and arguments of the probe; see `robodreamer_sim.probes`.
        timeout_s: Time after which the child is killed.
        variables: Environment variables of the child, beside those of this process.
    """
    path = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONSAFEPATH": "1"}  # as here, and no more
    environment = {**os.environ, **path, **variables}
    environment.pop("PYOPENGL_PLATFORM", None)  # left by the back end that this process has loaded
    seconds = str(math.ceil(timeout_s) + 1)
    command = [sys.executable, "-W", "ignore", "-m", PROBES, seconds, *words]
    try:
        done = subprocess.run(
            command, env=environment, timeout=timeout_s, capture_output=True, text=True, check=False
        )
    except subprocess.TimeoutExpired:
        return ProbeResult({}, f"it hangs, or needs more than {timeout_s:g} s")
    *_, answer = ["", *done.stdout.splitlines()]
    if answer.startswith("{"):
        read = json.loads(answer)
        return ProbeResult(read.get("result", {}), read.get("failure", ""))
    if done.returncode < 0:
        return ProbeResult({}, f"it crashed with {signal.Signals(-done.returncode).name}")
    *_, last = ["it ended without an answer", *done.stderr.splitlines()]
    return ProbeResult({}, last)
