"""The training loop, on one page.

Collect one step of every environment, do the updates that are due, report, save. While the
updates run, the environments compute their next step in their own processes. All parts come ready
made in a `Session`, which `robodreamer.training.builder` builds; here is only their order.
"""

from dataclasses import dataclass

import torch

from robodreamer.config import TrainConfig
from robodreamer.data.collector import Collector, Episode, ReplayRatio
from robodreamer.data.replay import Replay, close_broken_episodes
from robodreamer.learning.learner import Learner
from robodreamer.models.sampling import RandomSampler
from robodreamer.runs.checkpoint import Checkpoints, LoadedCheckpoint
from robodreamer.runs.run_folder import load_weights
from robodreamer.training.reporter import Reporter
from robodreamer.training.schedule import Schedule, StopRequest
from robodreamer.training.viewer import Viewer


@dataclass(kw_only=True)
class Session:
    """Parts of a run."""

    config: TrainConfig
    learner: Learner
    collector: Collector
    replay: Replay
    sampler: RandomSampler
    ratio: ReplayRatio
    schedule: Schedule
    checkpoints: Checkpoints
    reporter: Reporter
    viewer: Viewer | None = None

    @property
    def updates(self) -> int:
        """Updates that the run has done."""
        return self.learner.num_updates


def train(session: Session) -> bool:
    """Train until steps or minutes are used up, or Ctrl-C; then save. Return False after Ctrl-C.

    Raises:
        EnvironmentFault: An environment failed.
        CheckpointError: A checkpoint could not be written; the older ones are what they were.
        TrainingDivergedError: The agent computes with numbers that are no longer finite.
    """
    schedule, collector, reporter = session.schedule, session.collector, session.reporter
    is_over = False
    with StopRequest(reporter.say) as stop:
        while not is_over:
            is_over = stop.is_requested or schedule.is_over(collector.num_steps)
            is_saving = schedule.is_checkpoint_due(collector.num_steps) or is_over
            advance(session, end_episodes=is_saving)
            if is_saving:
                advance(session)  # receives every episode's end: simulators hold no state now
            steps = collector.num_steps
            if schedule.is_report_due(steps) or is_saving:
                reporter.report(collector, schedule, session.updates)
            will_end = stop.is_requested or schedule.is_over(steps)
            if schedule.is_evaluation_due(steps) and not will_end:
                reporter.evaluate(session.learner.agent, steps, schedule, stop)
            if is_saving:  # after the report: resuming keeps the metrics up to the checkpoint
                save(session, wait=is_over)
            session.checkpoints.check()
            if session.viewer:
                session.viewer.step()
        if schedule.evaluates and not stop.is_requested:
            reporter.evaluate(session.learner.agent, collector.num_steps, schedule, stop)
    return not stop.is_requested


def advance(session: Session, *, end_episodes: bool = False) -> None:
    """Collect one step of every environment and do the updates that are due."""
    config, replay, reporter = session.config.data, session.replay, session.reporter
    reporter.episodes.extend(session.collector.step(end_episodes=end_episodes))
    for _ in range(session.ratio.due(replay.num_steps, session.updates)):
        batch = replay.sample(config.batch_size)
        sequences = close_broken_episodes(batch.data)
        metrics, latents = session.learner.update(sequences, session.sampler)
        replay.write_latents(batch, latents, config.replay_context)
        reporter.means.add(metrics)


def save(session: Session, *, wait: bool, first_episodes: list[int] | None = None) -> None:
    """Write a checkpoint from which the run goes on as if it had never stopped.

    It has to follow a step that ended every episode, because simulators are not saved, unless
    `first_episodes` names the episodes to go on with.
    """
    learner, collector, schedule = session.learner, session.collector, session.schedule
    tensors = {
        "agent": learner.agent.state_dict(),
        "optimizer": learner.optimizer.state_dict(),
        "random": {"sampler": session.sampler.generator.get_state()},
    }
    state = {
        "updates": session.updates,
        "seconds": schedule.seconds,
        "first_episodes": first_episodes or collector.next_episodes,
        "episodes": list(session.reporter.episodes),
        "has_unknown": learner.has_unknown,
        "largest_reward": collector.largest_reward,
        "threads": torch.get_num_threads(),
    }
    session.checkpoints.save(collector.num_steps, tensors, state, session.replay, wait=wait)
    schedule.checkpoint_is_done(collector.num_steps)


def restore(session: Session, loaded: LoadedCheckpoint) -> None:
    """Continue a run where `save` left it; its environments began with `first_episodes`."""
    session.checkpoints.restore_replay(loaded, session.replay)
    tensors, state = loaded.tensors, loaded.state
    load_weights(session.learner.agent, tensors["agent"], loaded.checkpoint.path)
    session.learner.optimizer.load_state_dict(tensors["optimizer"])
    session.sampler.generator.set_state(tensors["random"]["sampler"])
    session.learner.has_unknown = state["has_unknown"]
    session.collector.largest_reward = state["largest_reward"]
    session.learner.num_updates = state["updates"]
    session.reporter.episodes.extend(Episode(*episode) for episode in state["episodes"])
    session.schedule.resume(session.replay.num_steps, state["seconds"])
