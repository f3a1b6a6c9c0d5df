"""A run folder without training: an untrained agent of a toy task, its checkpoint, some metrics."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from robodreamer.config import PROTOCOLS, named_config
from robodreamer.data.replay import make_replay
from robodreamer.runs.checkpoint import Checkpoints
from robodreamer.runs.run_folder import make_agent, write_run
from robodreamer_sim import EnvOptions, make
from robodreamer_sim.options import Observe

TASK = "gym:toy_env:Toy-v0"  # three steps, a picture and two numbers; success at the second
STEP = 120
LOSSES = {"loss/dynamics": 1.5, "loss/total": 9.0}


def make_run(
    folder: Path,
    *,
    observe: Observe = "both",
    seed: int = 0,
    action_repeat: int = 1,
    returns: Sequence[float] = (1.0, 2.0),
    success: float = 0.25,
) -> Path:
    """Write a run folder with evaluations every 60 steps and minutes; return it."""
    data = replace(PROTOCOLS["debug"], action_repeat=action_repeat)
    config = replace(
        named_config(TASK, "debug", "dreamer_v3", "debug"), observe=observe, seed=seed, data=data
    )
    options = EnvOptions(observe=observe, image_size=(32, 32), action_repeat=action_repeat)
    env = make(TASK, options)
    env.close()
    write_run(folder, config, env.contract)
    agent = make_agent(config, env.contract)
    replay = make_replay(
        env.contract, agent, num_envs=1, capacity=8, sequence_length=2, seed=0,
        device=torch.device("cpu"),
    )  # fmt: skip
    Checkpoints(folder).save(STEP, {"agent": agent.state_dict()}, {}, replay, wait=True)
    lines = []
    for number, value in enumerate(returns, 1):
        when = {"step": 60 * number, "minutes": float(number)}
        scores = {"return": value, "return_low": value - 1, "return_high": value + 1,
                  "success": success, "success_low": 0.1, "success_high": 0.4}  # fmt: skip
        lines.append({**when, **LOSSES, "updates": 10.0 * number, "episode/return": value - 2})
        lines.append({**when, **{f"evaluation/{name}": score for name, score in scores.items()}})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text)
    return folder
