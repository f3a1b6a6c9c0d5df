"""Checkpoints as the public JAX code writes them, made of the golden agents."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

GOLDEN = Path(__file__).parents[1] / "golden"
CONTINUOUS, DISCRETE = "09a_agent_continuous.npz", "09b_agent_discrete.npz"
STEPS = 12_345
FOLDER = "20261130T120000F123456-000000012345"
Arrays = dict[str, NDArray[Any]]


def golden_parameters(file: str) -> tuple[Arrays, dict[str, Any]]:
    """Return the parameters of a golden agent by the names of the public code, and its settings."""
    with np.load(GOLDEN / file) as archive:
        config = json.loads(str(archive["meta"]))["cases"]["agent"]["config"]
        arrays = {
            name.partition("/")[2]: archive[name]
            for name in archive.files
            if name.startswith(("param/", "state/"))
        }
    return arrays, config


def write_checkpoint(
    log: Path, file: str, *, task: str = "gym_golden", side: int = 64, protocol: int = 4
) -> Path:
    """Write the log folder of a golden agent, as elements.Checkpoint does; return it."""
    arrays, config = golden_parameters(file)
    folder = log / "ckpt" / FOLDER
    folder.mkdir(parents=True)
    other = {"slowval_count": np.array(7, np.int32), "opt/step": np.array(7, np.int32)}
    counters = {"updates": 7, "batches": 7, "actions": 99}
    agent = {"params": arrays | other, "counters": counters}
    (folder / "agent.pkl").write_bytes(pickle.dumps(agent, protocol))
    (folder / "step.pkl").write_bytes(pickle.dumps(STEPS, protocol))
    (folder / "replay.pkl").write_bytes(b"not read")
    (folder / "done").write_bytes(b"")
    (log / "ckpt" / "latest").write_text(folder.name)
    suite = task.partition("_")[0]
    settings = {
        "task": task,
        "replay_context": config["replay_context"],
        "env": {suite: {"size": [side, side], "repeat": 1}},
        "agent": config,
    }
    # ruamel.yaml, which the public code uses, leaves the point out: 4e-05.
    (log / "config.yaml").write_text(yaml.safe_dump(settings).replace(".0e-", "e-"))
    return log
