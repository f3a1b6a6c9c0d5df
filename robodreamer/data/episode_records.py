"""Steps of a robot's log as records of a replay: with rewards where they are known, and latents.

Rewards and ends come from an operator's label, or else from the task, which judges the measured
signals. Without either they are unknown (see `target_masks`).

Shapes: N environments, T steps, A action.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from robodreamer.data.datasets.robot_log import Segment
from robodreamer.learning.agent import Agent
from robodreamer.models.sampling import Sampler
from robodreamer.models.target_masks import UNKNOWN_CLASS
from robodreamer_deploy.contract import Array, Contract, Signal
from robodreamer_deploy.recording.labels import EpisodeLabel, EpisodeLabels
from robodreamer_sim.env import SignalEvaluation

Judge = Callable[[Mapping[str, Array]], SignalEvaluation | None]
Record = dict[str, Any]
"""Arrays and numpy scalars by name."""


LABEL_WITHIN_S = 1.0
"""Largest time between the last usable step of a labelled episode and its end: a bad signal in the
last ticks must not cost the label, but a step long before the end did not earn it."""


class LogRecords(NamedTuple):
    """Records of a log, in order, without latents."""

    steps: list[Record]
    num_rewarded: int
    unused_labels: list[int]
    """Labelled episodes without a step that could earn the label."""


def make_records(
    segments: Iterable[Segment], contract: Contract, labels: EpisodeLabels, judge: Judge
) -> LogRecords:
    """Return a record per step, with rewards and privileged signals where they are known.

    Raises:
        ValueError: The contract has a privileged signal that has no unknown value.
    """
    steps: list[Record] = []
    num_rewarded = 0
    unused = {int(number) for number in labels.episodes}
    for segment in segments:
        label = labels.of(segment.episode)
        judgements = [judge(observation) for observation in segment.observations]
        records = list(_bare(segment, contract, judgements))
        if label is None:
            _reward_as_judged(records, judgements)
        elif _reward_as_labelled(records, segment, label, contract.control_dt_s):
            unused.discard(segment.episode)
        num_rewarded += 0 if np.isnan(records[0]["reward"]) else len(records)
        steps.extend(records)
    return LogRecords(steps, num_rewarded, sorted(unused))


def _bare(
    segment: Segment, contract: Contract, judgements: list[SignalEvaluation | None]
) -> Iterator[Record]:
    """Yield the records of a segment, without a reward."""
    last = len(segment) - 1
    pairs = zip(segment.observations, segment.actions, judgements, strict=True)
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
        raise ValueError(f"{signal.name} is a picture that a robot does not take; leave it out of"
                         " what the task observes")  # fmt: skip
    unknown = UNKNOWN_CLASS if signal.num_classes else np.nan
    return np.full(signal.shape, unknown, signal.dtype)


def _reward_as_labelled(
    records: list[Record], segment: Segment, label: EpisodeLabel, control_dt_s: float
) -> bool:
    """Give the last step the label's reward if the episode ended there; return whether it did."""
    for record in records:
        record["reward"] = np.float32(0.0)
    events = segment.events_to_end
    if events is None or events * control_dt_s > LABEL_WITHIN_S:
        return False
    records[-1]["reward"] = np.float32(label.reward)
    records[-1]["is_terminal"] = np.bool_(label.is_terminal)
    return True


def _reward_as_judged(records: list[Record], judgements: list[SignalEvaluation | None]) -> None:
    """Give every step the task's reward if all were judged; the first one earns nothing."""
    told = [judgement for judgement in judgements if judgement is not None]
    if len(told) < len(records):
        return
    for i, (record, judgement) in enumerate(zip(records, told, strict=True)):
        record["reward"] = np.float32(judgement.reward if i else 0.0)
        record["is_terminal"] = np.bool_(judgement.is_terminal)


class Layout(NamedTuple):
    """Steps of a log, as runs of N environments that are all equally long."""

    runs: list[list[int]]
    """N runs of T steps, each a number in the log; within a run, steps are in order."""
    num_own: list[int]
    """Number of a run's own steps; copies from the beginning of the log follow them."""

    @property
    def num_copies(self) -> int:
        """Number of steps that repeat another one."""
        held = [step for run in self.runs for step in run]
        return len(held) - len(set(held))


def lay_out(is_first: Sequence[bool], num_envs: int) -> Layout:
    """Divide steps among N environments, every step at least once, in runs as short as they can be.

    A run that begins within a sequence begins with the step before, so that no transition is lost.

    Args:
        is_first: Per step, whether a sequence begins there; there is at least one step.
        num_envs: Environments N.
    """
    starts = [i for i, first in enumerate(is_first) if first or i == 0]
    pairs = list(itertools.pairwise([*starts, len(is_first)]))
    longest = max(end - start for start, end in pairs)
    length = max(-(-len(is_first) // num_envs), min(longest, 2))
    while len(runs := _runs(pairs, length)) > num_envs:
        length += 1
    runs += [[] for _ in range(num_envs - len(runs))]
    filled = [run + [i % len(is_first) for i in range(length - len(run))] for run in runs]
    return Layout(filled, [len(run) for run in runs])


def _runs(pairs: list[tuple[int, int]], length: int) -> list[list[int]]:
    """Cut sequences (start, end) into runs of at most `length` steps."""
    runs: list[list[int]] = [[]]
    for start, end in pairs:
        place = start
        while place < end:
            if len(runs[-1]) == length or (len(runs[-1]) == length - 1 and end - place > 1):
                runs.append([])
            begin = place - (place > start)
            stop = min(end, begin + length - len(runs[-1]))
            runs[-1].extend(range(begin, stop))
            place = stop
    return runs


def side_by_side(steps: Sequence[Record], layout: Layout) -> Iterator[Record]:
    """Yield records of N environments, (N, ...), in which the reward of every step counts once.

    The reward of a copy is unknown, as is that of a step with which its run overlaps the last one.
    """
    for t in range(len(layout.runs[0])):
        chosen = [_placed(steps, run, own, t) for run, own in zip(*layout, strict=True)]
        yield {name: np.stack([step[name] for step in chosen]) for name in chosen[0]}


def _placed(steps: Sequence[Record], run: list[int], num_own: int, t: int) -> Record:
    """Return step t of a run; it is a first or last step where the run or its own part ends."""
    step = dict(steps[run[t]])
    begins, ends = t in (0, num_own), t + 1 in (num_own, len(run))
    if t >= num_own or (t == 0 and not step["is_first"]):
        step["reward"] = np.float32("nan")
    step["is_first"] |= np.bool_(begins)
    step["is_last"] |= np.bool_(ends)
    return step


@torch.no_grad()
def with_latents(
    records: Iterable[Record], agent: Agent, sampler: Sampler
) -> Iterator[Mapping[str, Array | torch.Tensor]]:
    """Add the latents of an agent that observes every step and executed the logged actions."""
    carry = None
    rssm = agent.world_model.rssm
    for record in records:
        carry = carry or agent.initial_carry(len(record["is_first"]))
        inputs = {s.name: torch.from_numpy(record[s.name]) for s in agent.contract.inputs}
        is_first = torch.from_numpy(record["is_first"])
        tokens = agent.world_model.encoder(inputs)
        state, _ = rssm.observe_step(carry.state, carry.action, tokens, is_first, sampler)
        carry = carry._replace(state=state, action=torch.from_numpy(record["action"]))
        yield {**record, "deter": state.deter, "stoch": state.stoch}
