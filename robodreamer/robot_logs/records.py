"""Steps of a robot as records of a replay: rewards as far as anybody knows them, latents.

Rewards, success and ends are what an operator marked, or else what the task says of the signals
that were measured. Where neither tells, they are unknown (see `known`).

Shapes: N environments, T steps, A action.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from robodreamer.agent import Agent
from robodreamer.distributions import Draw
from robodreamer.known import UNKNOWN_CLASS
from robodreamer.robot_logs.stretches import Stretch
from robodreamer_deploy.contract import Array, Contract, Signal
from robodreamer_deploy.recording.marks import Mark, Marks
from robodreamer_sim.env import Judgement

Judge = Callable[[Mapping[str, Array]], Judgement | None]
Record = dict[str, Any]
"""Arrays and numpy scalars by name."""


class Records(NamedTuple):
    """What a log adds, one step after the other, without latents."""

    steps: list[Record]
    num_rewarded: int


def make_records(
    stretches: Iterable[Stretch], contract: Contract, marks: Marks, judge: Judge
) -> Records:
    """Return all steps with what is known of them.

    Raises:
        ValueError: The contract has a privileged signal that cannot be marked as unknown.
    """
    steps: list[Record] = []
    num_rewarded = 0
    for stretch in stretches:
        mark = marks.of(stretch.episode)
        judgements = [judge(observation) for observation in stretch.observations]
        records = list(_bare(stretch, contract, judgements))
        if mark is not None:
            _reward_as_marked(records, stretch, mark)
        else:
            _reward_as_judged(records, judgements)
        num_rewarded += 0 if np.isnan(records[0]["reward"]) else len(records)
        steps.extend(records)
    return Records(steps, num_rewarded)


def _bare(
    stretch: Stretch, contract: Contract, judgements: list[Judgement | None]
) -> Iterator[Record]:
    """Yield the steps of a stretch with their signals and without a reward."""
    last = len(stretch) - 1
    pairs = zip(stretch.observations, stretch.actions, judgements, strict=True)
    for i, (observation, action, judgement) in enumerate(pairs):
        told = {} if judgement is None else judgement.privileged
        yield {
            **observation,
            **{s.name: told.get(s.name, _unknown(s)) for s in contract.privileged},
            "action": action,
            "reward": np.float32("nan"),
            "is_first": np.bool_(i == 0),
            "is_last": np.bool_(i == last),
            "is_terminal": np.bool_(False),  # noqa: FBT003
        }


def _unknown(signal: Signal) -> Array:
    if signal.dtype == "uint8":
        raise ValueError(f"{signal.name} is a picture that a robot does not take; it has to be left"
                         " out of what the task observes")  # fmt: skip
    unknown = UNKNOWN_CLASS if signal.num_classes else np.nan
    return np.full(signal.shape, unknown, signal.dtype)


def _reward_as_marked(records: list[Record], stretch: Stretch, mark: Mark) -> None:
    for record in records:
        record["reward"] = np.float32(0.0)
    if stretch.ends_episode:
        records[-1]["reward"] = np.float32(mark.reward)
        records[-1]["is_terminal"] = np.bool_(mark.is_terminal)


def _reward_as_judged(records: list[Record], judgements: list[Judgement | None]) -> None:
    """Take over the task's judgement, if it has one of every step; the first one earns nothing."""
    told = [judgement for judgement in judgements if judgement is not None]
    if len(told) < len(records):
        return
    for i, (record, judgement) in enumerate(zip(records, told, strict=True)):
        record["reward"] = np.float32(judgement.reward if i else 0.0)
        record["is_terminal"] = np.bool_(judgement.is_terminal)


def side_by_side(steps: list[Record], num_envs: int) -> Iterator[Record]:
    """Yield records of N environments, (N, ...): each gets one run of T consecutive steps.

    The last steps, fewer than N, find no place and are left out.
    """
    length = len(steps) // num_envs
    starts = [env * length for env in range(num_envs)]
    for t in range(length):
        chosen = [steps[start + t] for start in starts]
        record = {name: np.stack([step[name] for step in chosen]) for name in chosen[0]}
        record["is_first"] |= t == 0
        record["is_last"] |= t == length - 1
        yield record


@torch.no_grad()
def with_latents(
    records: Iterable[Record], agent: Agent, draw: Draw
) -> Iterator[Mapping[str, Array | torch.Tensor]]:
    """Add what the agent makes of every step, having done what was done before it."""
    carry = None
    rssm = agent.world_model.rssm
    for record in records:
        carry = carry or agent.initial_carry(len(record["is_first"]))
        inputs = {s.name: torch.from_numpy(record[s.name]) for s in agent.contract.inputs}
        is_first = torch.from_numpy(record["is_first"])
        tokens = agent.world_model.encoder(inputs)
        state, _ = rssm.observe_step(carry.state, carry.action, tokens, is_first, draw)
        carry = carry._replace(state=state, action=torch.from_numpy(record["action"]))
        yield {**record, "deter": state.deter, "stoch": state.stoch}
