"""Failures during training: save the agent, keep the transition that caused it, report both."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from robodreamer.data.collector import Collector, TrainingDivergedError
from robodreamer.runs.checkpoint import CheckpointError
from robodreamer.training.reporter import EvaluationFault
from robodreamer.training.schedule import StopRequest
from robodreamer.training.train import Session, save, train
from robodreamer_sim.errors import EnvironmentFault, GraphicsError


def train_to_end(session: Session, folder: Path, resources: ExitStack) -> bool:
    """Train; save what a failure would lose, and close all resources in any case.

    Returns:
        Whether the run finished: False if a stop was requested and the run has saved.

    Raises:
        EnvironmentFault: An environment failed. Its transition lies in `folder`/faults, and the
            agent in a checkpoint.
        TrainingDivergedError: The agent's numbers are no longer finite.
    """
    with resources:
        try:
            return train(session)
        except EnvironmentFault as fault:
            saved = _rescue_uninterrupted(session)
            kept = _save_transition(folder, session.collector, fault)
            step = session.collector.num_steps
            raise EnvironmentFault(f"after {step:,} steps, {fault}; {saved}; {kept}") from fault
        except (GraphicsError, OSError):  # neither comes from an update: the agent is whole
            session.reporter.say(_rescue_uninterrupted(session))
            raise
        except TrainingDivergedError as error:
            newest = session.checkpoints.latest()
            left = f"{newest.path} is from before" if newest else "there is no checkpoint yet"
            raise TrainingDivergedError(
                f"training diverged: {error}; {left}; a smaller "
                "--algorithm.optimizer.learning-rate may help"
            ) from error


def _rescue_uninterrupted(session: Session) -> str:
    """Save after a failure; Ctrl-C lets the saving finish. Return where the agent is."""
    with StopRequest(session.reporter.say):
        return rescue(session)


def rescue(session: Session) -> str:
    """Save the agent after a failure outside of an update; return where it is.

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


def _save_transition(folder: Path, collector: Collector, fault: EnvironmentFault) -> str:
    """Save the offending transition as arrays; return where it is, or why it could not be saved.

    `before.*` is the last record with the action that answered it, of all environments if a worker
    failed as a whole; `after.*` is the record that followed, if there is one. In an evaluation the
    last record is unknown.
    """
    env = fault.environment
    name = "all" if env is None else str(env)
    is_training = not isinstance(fault, EvaluationFault)
    kind = "env" if is_training else "evaluation-env"
    path = folder / "faults" / f"step-{collector.num_steps:09d}-{kind}-{name}.npz"
    arrays: dict[str, Any] = {} if fault.action is None else {"before.action": fault.action}
    for key, value in collector.latest.items() if is_training else ():
        arrays[f"before.{key}"] = value if env is None else value[env]
    for key, value in fault.observation.items():
        arrays[f"after.{key}"] = value
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **{key.replace("/", "."): value for key, value in arrays.items()})
    except OSError as error:
        return f"what it yielded could not be saved: {error}"
    return f"see {path}"
