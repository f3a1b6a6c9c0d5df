"""The training loop, on one page.

Collect one step of every environment, do the updates that are due, report, save. While the
updates run, the environments compute their next step in their own processes. Everything that
takes part is built by `robodreamer.cli.main` and handed in.
"""

from dataclasses import dataclass

import torch

from robodreamer.config import TrainConfig
from robodreamer.data.collector import (
    Collector,
    Episode,
    ReplayRatio,
    TrainingDivergedError,
    close_broken_episodes,
)
from robodreamer.data.replay import Replay
from robodreamer.learning.agent import Learner
from robodreamer.models.distributions import Sample
from robodreamer.runs.checkpoint import Checkpoint, CheckpointError, Checkpoints
from robodreamer.training.reporter import Reporter
from robodreamer.training.schedule import Schedule, StopRequest
from robodreamer.training.viewer import Viewer


@dataclass(kw_only=True)
class Session:
    """Everything a run consists of, and how far it is."""

    config: TrainConfig
    learner: Learner
    collector: Collector
    replay: Replay
    draw: Sample
    ratio: ReplayRatio
    schedule: Schedule
    checkpoints: Checkpoints
    reporter: Reporter
    viewer: Viewer | None = None
    updates: int = 0


def train(session: Session) -> bool:
    """Train until steps or minutes are used up, or Ctrl-C; then save. Return whether it finished.

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
                advance(session)  # receives every episode's end: nothing is left in simulators
            steps = collector.num_steps
            if schedule.is_report_due(steps) or is_saving:
                reporter.report(collector, schedule, session.updates)
            will_end = stop.is_requested or schedule.is_over(steps)
            if schedule.is_evaluation_due(steps) and not will_end:
                reporter.evaluate(session.learner.agent, steps, schedule, stop)
            if is_saving:  # after the report, so that a checkpoint stands for all lines before it
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
        metrics, latents = session.learner.update(sequences, session.draw)
        replay.write_latents(batch, latents, config.replay_context)
        reporter.means.add(metrics)
        session.updates += 1


def save(session: Session, *, wait: bool, first_episodes: list[int] | None = None) -> None:
    """Write a checkpoint from which the run goes on as if it had never stopped.

    Has to follow a step that ended every episode, unless other `first_episodes` are to begin.
    """
    learner, collector, schedule = session.learner, session.collector, session.schedule
    tensors = {
        "agent": learner.agent.state_dict(),
        "optimizer": learner.optimizer.state_dict(),
        "random": {"draw": session.draw.generator.get_state()},
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


def rescue(session: Session) -> str:
    """Save what was learnt before something failed outside of an update; return what was saved.

    The episodes that broke off have no last step, as after the restart of a simulator, and the run
    goes on with the episodes after them.
    """
    collector, checkpoints = session.collector, session.checkpoints
    try:
        checkpoints.wait()
        newest = checkpoints.latest()
        if newest is None or newest.step != collector.num_steps:
            session.reporter.report(collector, session.schedule, session.updates)
            save(session, wait=True, first_episodes=collector.untouched_episodes)
            newest = checkpoints.latest()
    except (CheckpointError, TrainingDivergedError, OSError) as error:
        return f"what was learnt since the last checkpoint could not be saved: {error}"
    assert newest is not None, "it was just written"
    return f"what was learnt until then is in {newest.path}, --resume goes on from there"


def restore(session: Session, checkpoint: Checkpoint) -> None:
    """Take up a run where `save` left it; its environments began with `first_episodes`."""
    tensors, state = session.checkpoints.load(checkpoint, session.replay)
    session.learner.agent.load_state_dict(tensors["agent"])
    session.learner.optimizer.load_state_dict(tensors["optimizer"])
    session.draw.generator.set_state(tensors["random"]["draw"])
    session.learner.has_unknown = state.get("has_unknown", False)  # before logs were imported
    session.collector.largest_reward = state.get("largest_reward", 0.0)
    session.updates = state["updates"]
    session.reporter.episodes.extend(Episode(*episode) for episode in state["episodes"])
    session.schedule.resume(session.replay.num_steps, state["seconds"])
