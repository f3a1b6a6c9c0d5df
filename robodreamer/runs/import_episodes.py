"""Import of a robot's logs into the replay of a run, as a checkpoint that training resumes from."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

from robodreamer.config import TrainConfig
from robodreamer.data.datasets.robot_log import segments
from robodreamer.data.episode_records import (
    Layout,
    LogRecords,
    Record,
    lay_out,
    make_records,
    side_by_side,
    with_latents,
)
from robodreamer.data.replay import make_replay
from robodreamer.models.sampling import RandomSampler
from robodreamer.runs.checkpoint import Checkpoint, CheckpointError, Checkpoints
from robodreamer.runs.files import locked
from robodreamer.runs.run_folder import load_weights, make_agent, read_run
from robodreamer_deploy.contract import Contract
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.recording.labels import read_labels
from robodreamer_deploy.recording.reader import LogReader
from robodreamer_deploy.utils.streams import Say
from robodreamer_sim.env import TaskEnv
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.registry import make


class Imported(NamedTuple):
    """Records of all logs, in order."""

    steps: list[Record]
    has_unknown: bool


def prepare_import(logs: Sequence[Path], run: Path, say: Say) -> Callable[[], None]:
    """Read logs and check them against a run; return what adds them to it.

    Raises:
        ValueError: No run, no checkpoint, or a log that is not of this run's robot.
    """
    config, contract, _ = read_run(run)
    checkpoint = Checkpoints(run).latest()
    if checkpoint is None:
        raise ValueError(f"{run} has no checkpoint yet")
    try:
        imported = read_logs(logs, contract, say)
    except RobotError as error:
        raise ValueError(str(error)) from error
    if not imported.steps:
        raise ValueError("the logs hold 0 steps that can be learned from")
    num_envs, capacity = config.data.num_envs, config.data.replay_capacity
    layout = lay_out([bool(step["is_first"]) for step in imported.steps], num_envs)
    if len(layout.runs[0]) > capacity // num_envs:
        raise ValueError(
            f"the logs hold {len(imported.steps):,} steps, the replay of {run} {capacity:,} at "
            "most; import fewer logs at once, or train a run with a larger --data.replay-capacity"
        )
    return lambda: _add(run, config, contract, checkpoint, imported, layout, say)


def read_logs(logs: Sequence[Path], contract: Contract, say: Say) -> Imported:
    """Return the records of all logs, and print a line about each.

    Raises:
        RobotError: A log cannot be read, or is not of this task's robot.
    """
    steps: list[Record] = []
    has_unknown = False
    with _task(contract) as task:
        for log in logs:
            reader = LogReader(log)
            _require_same(reader, contract)
            found = segments(reader.events(), contract)
            records = make_records(
                found.segments, contract, read_labels(log), task.evaluate_signals
            )
            say(_describe(reader, records, found.num_left_out))
            steps.extend(records.steps)
            has_unknown |= _has_unknown(records.steps, contract)
    return Imported(steps, has_unknown)


@contextmanager
def _task(contract: Contract) -> Iterator[TaskEnv]:
    """Make the task that judges signals, without randomization."""
    options = EnvOptions.from_dict(contract.options)
    task = make(contract.task, dataclasses.replace(options, randomize="none"))
    try:
        yield task
    finally:
        task.close()


def _require_same(reader: LogReader, contract: Contract) -> None:
    """Refuse a log of another robot, or one of a drive in which nothing was executed."""
    try:
        theirs = reader.metadata.parse_manifest().contract
    except ValueError as error:
        raise RobotError(f"{reader.path}: its manifest cannot be read: {error}") from error
    if found := theirs.differences(contract, for_policy=True):
        raise RobotError(f"{reader.path} is of another robot than the run: {'; '.join(found)}")
    if reader.metadata.options.get("dry_run"):
        raise RobotError(f"{reader.path} is of a dry run: nothing in it was executed")


def _has_unknown(steps: list[Record], contract: Contract) -> bool:
    names = ["reward", *(signal.name for signal in contract.privileged)]
    is_class = {s.name for s in contract.privileged if s.num_classes}
    return any(
        bool((step[name] < 0).any() if name in is_class else (step[name] != step[name]).any())
        for step in steps
        for name in names
    )


def _describe(reader: LogReader, found: LogRecords, num_left_out: int) -> str:
    parts = [f"{reader.path}: {len(found.steps)} steps, {found.num_rewarded} of them with a reward"]
    parts += [
        f"the label of episode {number} is not used: the log lacks the end of that episode, or a "
        "step that can be learned from close to it"
        for number in found.unused_labels
    ]
    if num_left_out:
        parts.append(f"{num_left_out} ticks left out, of which a signal is missing or bad")
    if reader.num_dropped:
        parts.append(f"{reader.num_dropped} lost in recording")
    return "; ".join([*parts, *reader.damage])


def _add(
    run: Path,
    config: TrainConfig,
    contract: Contract,
    checkpoint: Checkpoint,
    imported: Imported,
    layout: Layout,
    say: Say,
) -> None:
    """Write a checkpoint that is the newest one and these steps.

    Raises:
        CheckpointError: It cannot be written; the run is as it was.
    """
    data = config.data
    agent = make_agent(config, contract).eval()
    replay = make_replay(
        contract,
        agent,
        num_envs=data.num_envs,
        capacity=data.replay_capacity,
        sequence_length=data.replay_context + data.batch_length,
        seed=config.seed,
        device=torch.device("cpu"),
    )
    with locked(run):
        checkpoints = Checkpoints(run, keep=config.keep_checkpoints)
        if checkpoints.latest() != checkpoint:
            raise CheckpointError(f"{run} has a newer checkpoint by now; import the logs again")
        loaded = checkpoints.load(checkpoint)
        checkpoints.restore_replay(loaded, replay)
        tensors, state = loaded.tensors, loaded.state
        load_weights(agent, tensors["agent"], checkpoint.path)
        sampler = RandomSampler(torch.Generator().manual_seed(config.seed))
        for record in with_latents(side_by_side(imported.steps, layout), agent, sampler):
            replay.add(record)
        has_unknown = imported.has_unknown or layout.num_copies > 0
        state["has_unknown"] = state["has_unknown"] or has_unknown
        checkpoints.save(replay.num_steps, tensors, state, replay, wait=True)
    copies = f" and {layout.num_copies} copies without a reward that fill up its"
    copies += f" {data.num_envs} environments"
    say(
        f"{run}: {len(imported.steps)} steps added{copies if layout.num_copies else ''}, "
        f"{replay.num_steps:,} in all; robodreamer train --resume goes on with them"
    )
