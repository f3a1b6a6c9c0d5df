"""Reporter: an evaluation takes time that is not training's, whether it ends or is stopped."""

import dataclasses
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from robodreamer.config import PRESETS, SIZES, named_config
from robodreamer.data.collector import Collector
from robodreamer.data.replay import make_replay
from robodreamer.learning.agent import Agent
from robodreamer.models.bin_range import reach
from robodreamer.models.sampling import RandomSampler
from robodreamer.runs.best_checkpoint import BestStates, Evaluated
from robodreamer.runs.metrics import read_metrics
from robodreamer.training.progress import Progress
from robodreamer.training.reporter import Reporter
from robodreamer.training.schedule import Schedule, StopRequest
from robodreamer.utils.processor import ProcessorMeter, Usage
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.vector.vector_env import VectorEnv

CPU = torch.device("cpu")
TASK = "gym:toy_env:Toy-v0"
CONFIG = replace(named_config(TASK), observe="proprio", evaluate_episodes=1)
STEP_S = 7.0  # of a clock that goes on whenever an evaluation asks whether to stop


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class SlowStop(StopRequest):
    """Time passes at every look; a stop is requested at the given one."""

    def __init__(self, clock: Clock, look: int | None) -> None:
        self._clock, self._look, self._looks = clock, look, 0

    @property
    def is_requested(self) -> bool:
        self._clock.now += STEP_S
        self._looks += 1
        return self._looks == self._look


@pytest.fixture
def collector() -> Iterator[Collector]:
    options = EnvOptions(observe="proprio")
    with VectorEnv(TASK, options, num_envs=2, num_workers=0, seed=3) as envs:
        agent = Agent(envs.contract, SIZES["debug"], PRESETS["dreamer_v3"])
        replay = make_replay(
            envs.contract, agent, num_envs=2, capacity=20, sequence_length=4, seed=0, device=CPU
        )
        yield Collector(envs, agent, replay, RandomSampler(torch.Generator()), CPU)


@pytest.mark.parametrize("look", [None, 2])
def test_rates_and_training_time_leave_an_evaluation_out(
    look: int | None, collector: Collector, tmp_path: Path
) -> None:
    clock = Clock()
    schedule = Schedule(CONFIG, clock)
    reporter = Reporter(CONFIG, tmp_path, Progress("toy"), clock)
    reporter.begin(None, 0)
    collector.step()
    clock.now += 4.0
    reporter.evaluate(collector.agent, 2, schedule, SlowStop(clock, look))
    assert clock.now >= 100.0 + 4.0 + 2 * STEP_S
    clock.now += 1.0
    reporter.report(collector, schedule, updates=10)
    reporter.close()
    *evaluations, line = read_metrics(tmp_path)
    assert len(evaluations) == (look is None)
    figures: dict[str, Any] = line
    assert (figures["steps_per_s"], figures["updates_per_s"]) == (2 / 5, 10 / 5)
    assert schedule.seconds == 5.0
    assert figures["minutes"] == round(5 / 60, 4)


def test_a_shortage_of_the_processor_is_logged_and_warned_of_once(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, said = Clock(), list[str]()
    meter = ProcessorMeter(2, lambda: Usage({"1": 0.25 * clock.now}, {"1": 0.75 * clock.now}, {}))
    reporter = Reporter(CONFIG, tmp_path, Progress("toy"), clock, meter)
    monkeypatch.setattr(reporter.progress, "say", said.append)
    reporter.begin(None, 0)
    schedule = Schedule(CONFIG, clock)
    for _ in range(10):
        clock.now += 30.0
        reporter.report(collector, schedule, updates=0)
    assert sum("this run gets 25% of the time" in line for line in said) == 1, said
    assert {line["processor_share"] for line in read_metrics(tmp_path)} == {0.25}
    reporter.evaluate(collector.agent, 0, schedule, SlowStop(clock, None))
    clock.now += 30.0
    reporter.report(collector, schedule, updates=0)
    reporter.close()
    assert "processor_share" not in read_metrics(tmp_path)[-1], "it was not measured apart"


def test_the_state_that_evaluates_best_is_kept(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    schedule = Schedule(CONFIG, clock)
    reporter = Reporter(CONFIG, tmp_path, Progress("toy"), clock)
    reporter.begin(None, 0)
    scores = iter((1.0, 3.0, 2.0))
    monkeypatch.setattr(reporter, "_evaluate", lambda *_: ({"return": next(scores)}, {}))
    for steps in (10, 20, 30):
        with torch.no_grad():
            next(collector.agent.parameters()).fill_(steps)
        reporter.evaluate(collector.agent, steps, schedule, SlowStop(clock, None))
    states = BestStates(tmp_path)
    best = states.best()
    assert best is not None
    assert best == Evaluated(20, 3.0, None)
    name, _ = next(collector.agent.named_parameters())
    assert (states.load(best)[name] == 20).all()
    reporter.close()
    resumed = Reporter(CONFIG, tmp_path, Progress("toy"), clock)
    resumed.begin(15, 0)
    assert states.best() == Evaluated(10, 1.0, None), "the run went back to before"
    resumed.close()


def test_rewards_beyond_the_bins_are_warned_of_once_and_logged(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = dataclasses.replace(CONFIG.network, bin_limit=0.1)
    clock, said = Clock(), list[str]()
    config = dataclasses.replace(CONFIG, network=network)
    reporter = Reporter(config, tmp_path, Progress("toy"), clock)
    monkeypatch.setattr(reporter.progress, "say", said.append)
    reporter.begin(None, 0)
    for _ in range(2):
        for _ in range(4):
            collector.step()
        clock.now += 1.0
        reporter.report(collector, Schedule(config, clock), updates=0)
    reporter.close()
    assert sum("lies beyond the bins" in line for line in said) == 1, said
    first, second = (line["largest_reward"] for line in read_metrics(tmp_path))
    assert reach(0.1) < first <= second <= 4.0
