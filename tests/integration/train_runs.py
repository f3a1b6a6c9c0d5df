"""What the tests of training share: short runs in this process and in others, and what they leave.

A quick run learns `fetch_reach` from a camera and its joints with the smallest networks. Its replay
is so small that the ring wraps and old segments go.
"""

import os
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import IO, Any

import torch

from robodreamer.cli.main import main
from robodreamer.data.replay import Replay, make_replay
from robodreamer.runs.checkpoint import Checkpoints
from robodreamer.runs.metrics import read_metrics
from robodreamer.runs.run_folder import make_agent, read_run

ROOT = Path(__file__).parents[2]
STEPS = 120
CHECKPOINT_STEPS = 40
QUICK = (
    "--size=debug", "--preset=debug", "--protocol=debug", "--device=cpu", "--threads=1",
    "--evaluate-minutes=0",
    "--algorithm.horizon=3", "--data.train-ratio=4", "--data.replay-capacity=80",
    "--data.action-repeat=5",  # episodes of ten steps
    "--deterministic", f"--steps={STEPS}", f"--checkpoint-steps={CHECKPOINT_STEPS}",
    "--log-steps=20",
)  # fmt: skip
TIMED = {"minutes", "updates_per_s", "steps_per_s", "wait_share", "processor_share"}
PATIENCE_S = 120.0


def train(run: Path, *words: str, task: str = "fetch_reach") -> int:
    """Do a quick run in this process; return its exit status."""
    return main(["train", task, f"--run={run}", *QUICK, *words])


def resume(run: Path, *words: str) -> int:
    """Resume a run in this process; return its exit status."""
    return main(["train", f"--run={run}", "--resume", *words])


def launch(
    *words: str, output: IO[bytes] | int = DEVNULL, environment: dict[str, str] | None = None
) -> Popen[bytes]:
    """Start `robodreamer train` in a process and a session of its own."""
    folders = (ROOT, ROOT / "sim", ROOT / "deploy", ROOT / "tests" / "stand_ins")
    path = {"PYTHONPATH": os.pathsep.join(map(str, folders))}
    return Popen(
        [sys.executable, "-m", "robodreamer", "train", *words],
        env=os.environ | path | (environment or {}),
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


def wait_until(condition: Callable[[], bool], process: Popen[bytes]) -> bool:
    """Return True when the condition holds, or False when the process ends before."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if process.poll() is not None:
            return False
        assert time.monotonic() < deadline, f"{process.args} did not get there in {PATIENCE_S} s"
        time.sleep(0.002)
    return True


def num_lines(run: Path) -> int:
    """Return how many reports a run has written."""
    path = run / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def family_of(pid: int) -> set[int]:
    """Return the processes that descend from one."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found |= {child} | family_of(child)
    return found


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and nobody has waited for does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in {"Z", "X"}


def require_gone(pids: set[int]) -> None:
    """Check that processes end, within the seconds that a busy machine may need for it."""
    deadline = time.monotonic() + 20
    while left := [pid for pid in pids if is_alive(pid)]:
        assert time.monotonic() < deadline, f"processes {left} outlive their run"
        time.sleep(0.01)


def make_run_replay(run: Path) -> Replay:
    """Return the empty replay that a run's checkpoints are loaded into."""
    config, contract, _ = read_run(run)
    agent = make_agent(config, contract)
    return make_replay(
        contract,
        agent,
        num_envs=config.data.num_envs,
        capacity=config.data.replay_capacity,
        sequence_length=config.data.replay_context + config.data.batch_length,
        seed=config.seed,
        device=torch.device("cpu"),
    )


def result_of(run: Path) -> dict[str, Any]:
    """Return all that the newest checkpoint of a run holds, by name: tensors and plain values.

    Left out is what depends on the time that things took.
    """
    replay = make_run_replay(run)
    checkpoints = Checkpoints(run)
    checkpoint = checkpoints.latest()
    assert checkpoint is not None, f"{run} has no checkpoint"
    loaded = checkpoints.load(checkpoint)
    checkpoints.restore_replay(loaded, replay)
    state = loaded.state
    del state["seconds"]
    result = {
        f"{group}/{name}": t for group, ts in loaded.tensors.items() for name, t in ts.items()
    }
    snapshot, counters = replay.snapshot()
    for block in snapshot.blocks((*replay.fields, *replay.latents)):
        result |= {f"replay/{block.start}/{name}": value for name, value in block.values.items()}
    return result | {"state": state, "replay": counters, "step": checkpoint.step}


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return the names of what two results differ in, in any bit."""
    return [
        name
        for name in sorted(one.keys() | other.keys())
        if name not in one or name not in other or not _is_same(one[name], other[name])
    ]


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        same_kind = (one.shape, one.dtype) == (other.shape, other.dtype)
        return same_kind and one.numpy().tobytes() == other.numpy().tobytes()
    return one == other


def metrics_of(run: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics without what depends on time."""
    return [{k: v for k, v in line.items() if k not in TIMED} for line in read_metrics(run)]


def registered(folder: Path) -> Path:
    """Return a folder in which the entry points of this source tree count as installed."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    info = folder / "robodreamer-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: robodreamer\nVersion: 0\n")
    lines = [
        line
        for group, entries in points.items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return folder
