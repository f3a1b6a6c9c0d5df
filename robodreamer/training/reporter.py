"""Reporter: figures of a run on the screen and in its files, and evaluations of its agent.

It does not take part in training: an evaluation has its own environments, and its policy takes the
most likely actions.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robodreamer.config import TrainConfig
from robodreamer.data.collector import Collector, Episode, TrainingDivergedError
from robodreamer.evaluation.evaluate import Array, evaluate, make_evaluation_envs
from robodreamer.evaluation.policies import AgentPolicy, VectorPolicy
from robodreamer.learning.agent import Agent
from robodreamer.models.bin_range import describe_figures
from robodreamer.models.sampling import ModeSampler
from robodreamer.runs.best_checkpoint import BestStates, Evaluated
from robodreamer.runs.metrics import Means, MetricsWriter
from robodreamer.training.progress import Progress
from robodreamer.training.schedule import Schedule, StopRequest
from robodreamer.utils.formatting import format_success
from robodreamer.utils.processor import FIGURE, ProcessorMeter, Shortage
from robodreamer.visualization.run_videos import make_recorder, save_evaluation
from robodreamer.visualization.video import Pictures
from robodreamer_deploy.contract import Contract
from robodreamer_sim.errors import EnvironmentFault
from robodreamer_sim.utils.cores import num_usable_cores
from robodreamer_sim.vector.vector_env import VectorEnv


class _Totals(NamedTuple):
    """Counts at the time of a report."""

    time_s: float
    steps: int
    updates: int
    waited_s: float


class _StoppedError(Exception):
    """Raised inside an evaluation when a stop is requested."""


class _UntilStopped:
    """Policy that raises once a stop is requested, so that Ctrl-C does not wait for episodes."""

    def __init__(self, policy: VectorPolicy, stop: StopRequest) -> None:
        self.policy, self.stop = policy, stop

    def act(self, observation: Mapping[str, Array], is_first: NDArray[np.bool_]) -> Array:
        """Return the policy's actions (N, A)."""
        if self.stop.is_requested:
            raise _StoppedError
        return self.policy.act(observation, is_first)


class EvaluationFault(EnvironmentFault):
    """Fault of an evaluation's environment; its number and records are not those of training."""

    @classmethod
    def of(cls, fault: EnvironmentFault) -> "EvaluationFault":
        """Convert a fault of an environment."""
        found = cls(f"in an evaluation, {fault}")
        found.__dict__.update(vars(fault))
        return found


class Reporter:
    """Reporter of one run: metrics, evaluations and warnings.

    Args:
        config: Settings of the run.
        folder: Run folder.
        progress: Display on the screen.
        clock: Monotonic clock in seconds.
        meter: Meter of this process's share of the processor.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        progress: Progress,
        clock: Callable[[], float] = time.monotonic,
        meter: ProcessorMeter | None = None,
    ) -> None:
        self.config, self.folder, self.progress, self._clock = config, folder, progress, clock
        self.means = Means()
        self.episodes: deque[Episode] = deque(maxlen=100)
        self._writer: MetricsWriter | None = None
        self._envs: VectorEnv | None = None
        self._last = _Totals(clock(), 0, 0, 0.0)
        self._latest_evaluation = "-"
        self._num_faults = 0
        self._has_warned_of_bins = False
        self._meter, self._shortage = meter or ProcessorMeter(num_usable_cores()), Shortage()
        self._has_evaluated = False
        self._best = BestStates(folder)

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self.progress.say(text)

    def begin(self, resumed_step: int | None, updates: int) -> None:
        """Open the files; drop what was logged after the checkpoint of a resumed run."""
        self._last = _Totals(self._clock(), resumed_step or 0, updates, 0.0)
        self._meter.restart()
        self._writer = MetricsWriter(self.folder, resumed_step)
        if resumed_step is not None:
            self._best.resume(resumed_step)
        self.progress.start()

    def close(self) -> None:
        """Close files and evaluation environments."""
        self.progress.stop()
        if self._writer:
            self._writer.close()
        if self._envs:
            self._envs.close()

    def report(self, collector: Collector, schedule: Schedule, updates: int) -> None:
        """Show and log the figures since the last report.

        Raises:
            TrainingDivergedError: Some are not finite; they are in the log, and the message names
                them.
        """
        now = self._clock()
        steps = collector.num_steps
        last, self._last = self._last, _Totals(now, steps, updates, collector.seconds_waited)
        elapsed = now - last.time_s
        waited = self._last.waited_s - last.waited_s
        figures = self.means.pop() | {
            "updates": float(updates),
            "updates_per_s": (updates - last.updates) / elapsed,
            "steps_per_s": (steps - last.steps) / elapsed,
            "wait_share": waited / elapsed,
            "largest_reward": collector.largest_reward,
        }
        figures |= self._report_restarts(collector.envs) | self._check_processor(elapsed, waited)
        if self.episodes:
            count = len(self.episodes)
            figures["episode/return"] = sum(e.episode_return for e in self.episodes) / count
            if collector.envs.contract.knows_success:
                figures["episode/success"] = sum(e.success for e in self.episodes) / count
            figures["episode/length"] = sum(e.length for e in self.episodes) / count
        self._write(steps, schedule, figures)
        if broken := sorted(name for name, value in figures.items() if not math.isfinite(value)):
            raise TrainingDivergedError(f"not finite at step {steps:,}: {', '.join(broken)}")
        self._warn_of_bins(figures)
        self.progress.show(schedule.share_done(steps), self._shown(steps, figures))

    def evaluate(self, agent: Agent, steps: int, schedule: Schedule, stop: StopRequest) -> None:
        """Run the evaluation episodes, log their figures and film one, unless a stop is requested.

        It does not count as training time. The best state so far is kept.

        Raises:
            EvaluationFault: An environment failed or cannot be made.
        """
        began = self._clock()
        try:
            summary, stills = self._evaluate(agent, steps, stop)
        except _StoppedError:
            return
        finally:
            spent = self._clock() - began
            schedule.pause(spent)
            self._has_evaluated = True
            self._last = self._last._replace(time_s=self._last.time_s + spent)
        self._latest_evaluation = (
            f"return {summary['return']:.1f}{format_success(summary)} at step {steps:,}"
        )
        self._write(steps, schedule, {f"evaluation/{k}": v for k, v in summary.items()})
        assert self._writer is not None, "begin comes first"
        self._writer.write_pictures(steps, stills)
        self._best.offer(Evaluated.of(steps, summary), agent.state_dict())
        self.say(f"evaluation: {self._latest_evaluation}")

    def _warn_of_bins(self, figures: Mapping[str, float]) -> None:
        """Warn once that rewards or returns lie beyond the bins of the heads."""
        warning = describe_figures(self.config, figures)
        if warning and not self._has_warned_of_bins:
            self.say(f"warning: {warning}")
            self._has_warned_of_bins = True

    def _check_processor(self, elapsed_s: float, idle_s: float) -> dict[str, float]:
        """Warn once that other processes use the processor; return the share this process got.

        An interval with an evaluation in it is skipped, because its time is not training's.
        """
        if self._has_evaluated:
            self._has_evaluated = False
            self._meter.restart()
            return {}
        share = self._meter.share(elapsed_s, idle_s)
        if warning := self._shortage.warning(share, elapsed_s):
            self.say(f"warning: {warning}")
        return {FIGURE: share}

    def _report_restarts(self, envs: VectorEnv) -> dict[str, float]:
        """Report the simulators restarted since the last report; return the episodes that cost."""
        for fault in envs.faults[self._num_faults :]:
            self.say(f"warning: a simulator was restarted, its episodes broke off: {fault}")
        self._num_faults = len(envs.faults)
        return {"dropped_episodes": float(envs.dropped_episodes.sum())} if envs.faults else {}

    def _evaluate(
        self, agent: Agent, steps: int, stop: StopRequest
    ) -> tuple[dict[str, float], dict[str, Pictures]]:
        """Return the summary of the episodes, and stills of the dream about the first."""
        episodes = self.config.evaluate_episodes
        if self._envs is None:
            self._envs = self._make_envs(agent.contract, episodes)
        recorder = make_recorder(
            AgentPolicy(agent, self._envs.num_envs, ModeSampler()), agent.contract
        )
        try:
            summary = evaluate(_UntilStopped(recorder, stop), self._envs, episodes).summary()
        except EnvironmentFault as fault:
            raise EvaluationFault.of(fault) from fault
        return summary, save_evaluation(self.folder, steps, agent, recorder.footage)

    def _make_envs(self, contract: Contract, episodes: int) -> VectorEnv:
        try:
            return make_evaluation_envs(contract, episodes, timeout_s=self.config.env_timeout_s)
        except EnvironmentFault as fault:
            raise EvaluationFault.of(fault) from fault
        except ValueError as error:  # raised as a fault, so that the agent is saved first
            raise EvaluationFault(f"in an evaluation, {error}") from error

    def _write(self, steps: int, schedule: Schedule, figures: dict[str, float]) -> None:
        assert self._writer is not None, "begin comes first"
        self._writer.write(steps, schedule.seconds / 60, figures)

    def _shown(self, steps: int, figures: dict[str, float]) -> dict[str, str]:
        """Return the figures that fit a screen, as text."""
        shown = {
            "steps": f"{steps:,} ({figures['steps_per_s']:.0f}/s)",
            "updates": f"{figures['updates']:,.0f} ({figures['updates_per_s']:.1f}/s)",
            "waiting for": _bottleneck(figures["wait_share"]),
        }
        if "episode/return" in figures:
            shown["return"] = f"{figures['episode/return']:.1f}"
        if "episode/success" in figures:
            shown["success"] = f"{figures['episode/success']:.0%}"
        if "loss/total" in figures:
            shown["loss"] = f"{figures['loss/total']:.1f}"
        return shown | {"evaluation": self._latest_evaluation}


def _bottleneck(wait_share: float) -> str:
    """Return the side that training waits for: the learner, or the environments."""
    if wait_share < 0.02:
        return "the learner"
    return f"environments {wait_share:.0%}"
