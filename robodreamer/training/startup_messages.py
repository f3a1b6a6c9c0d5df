"""Messages at the start of a run: what is trained, on what, and what may go wrong."""

from collections.abc import Mapping
from typing import Any

import torch

from robodreamer.config import TrainConfig, departures
from robodreamer.data.replay import Replay
from robodreamer.learning.agent import Agent
from robodreamer.runs.run_folder import RunRecord, describe_machine, installed_packages
from robodreamer.utils.memory import Memory, find_shortage
from robodreamer_sim.cameras.gl_backend import SOFTWARE_HINT, BackEndChoice, is_software


def describe_run(config: TrainConfig, agent: Agent, replay: Replay, device: torch.device) -> str:
    """Return two lines about task, networks, device and replay."""
    parameters = sum(p.numel() for p in agent.parameters() if p.requires_grad)
    memory = replay.bytes_per_step * config.data.replay_capacity / 1e9
    signals = ", ".join(s.name for s in agent.contract.inputs)
    place = "" if replay.device.type == device.type else " of the host's memory"
    return (
        f"{config.task}: sees {signals}; {agent.contract.action.size} actions\n"
        f"size {config.size} ({parameters / 1e6:.1f} M parameters) on {_describe_device(device)}, "
        f"replay of {config.data.replay_capacity:,} steps takes up to {memory:.1f} GB{place}"
    )


def _describe_device(device: torch.device) -> str:
    if device.type != "cpu":
        return str(device)
    count = torch.get_num_threads()
    return f"{device}, {count} {'thread' if count == 1 else 'threads'}"


def describe_learning(config: TrainConfig, control_dt_s: float) -> str:
    """Return the differences from the preset, and the reach of returns in seconds of the task.

    A discount of 1 - 1/n weighs a reward n steps ahead by 1/e, so n steps is called the reach.
    """
    horizon = config.algorithm.discount_horizon
    reach = (
        f"returns reach {horizon} steps, {horizon * control_dt_s:.3g} s of the task; where rewards "
        "come later: --algorithm.discount-horizon"
    )
    changed = [f"{name} {ours} (not {theirs})" for name, ours, theirs in departures(config)]
    departs = f", but with {', '.join(changed)}" if changed else ""
    return f"learns as {config.preset}{departs}\n{reach}"


def describe_simulation(
    num_envs: int, num_workers: int, renderer: str, back_end: BackEndChoice | None, *, has_gpu: bool
) -> str:
    """Return a line about processes and rendering, with a warning if a GPU stays idle.

    Args:
        num_envs: Number of environments.
        num_workers: Number of processes they share; 0 if they run in the learner's.
        renderer: Name that OpenGL gives itself; empty where nothing is drawn.
        back_end: Back end of OpenGL with its reason; None without cameras.
        has_gpu: True where a GPU could draw.
    """
    where = f"{num_workers} processes" if num_workers > 1 else "1 process"
    text = f"{num_envs} environments in {where if num_workers else 'the learner'}"
    if renderer:
        text += f"; cameras drawn by {renderer}"
    if renderer and back_end and back_end.name:
        text += f" through {back_end.name} ({back_end.why})"
    if has_gpu and is_software(renderer):
        text += f"\nwarning: {SOFTWARE_HINT}"
    return text


def memory_warning(
    config: TrainConfig, replay: Replay, memory: Memory | None, *, is_new: bool
) -> str | None:
    """Return a warning if the replay will take more of the host's memory than is free.

    Raises:
        ValueError: It is more than the host ever has, and nothing but its steps ends a new run. A
            resumed run is only warned: its replay cannot be made smaller any more.
    """
    if memory is None or replay.device.type != "cpu":
        return None
    num_steps = min(config.data.replay_capacity, config.steps)
    shortage = find_shortage(replay.bytes_per_step, num_steps, memory)
    if shortage is None:
        return None
    if shortage.is_hopeless and is_new and config.minutes is None:
        raise ValueError(shortage.text)
    return shortage.text


def rounding_warning(
    config: TrainConfig, resumed: RunRecord, state: Mapping[str, Any]
) -> str | None:
    """Return a warning if a resumed deterministic run will round differently than before.

    Args:
        config: Settings of the run.
        resumed: Its record, with the machine and the packages that began it.
        state: State of the checkpoint, with the number of threads that made it.
    """
    if not config.deterministic:
        return None
    before = {"threads": state.get("threads"), "machine": resumed.provenance.get("machine")}
    before |= resumed.provenance.get("packages", {})
    now = {"threads": torch.get_num_threads(), "machine": describe_machine()}
    now |= installed_packages()
    changes = [
        f"{name} {before[name]}, now {value}"
        for name, value in now.items()
        if before.get(name) not in (None, value)
    ]
    if not changes:
        return None
    return "from here on the run is not repeated to the bit, because it was made with " + "; ".join(
        changes
    )
