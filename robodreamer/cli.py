"""The `robodreamer` command: reads the words, builds the objects, and hands them over.

Help must not wait for torch, so every subcommand imports what it needs when it runs.
"""

import os
import sys
from collections.abc import Callable, Sequence

HELP = """\
usage: robodreamer COMMAND ...

From a MuJoCo task with cameras and joints to a world-model policy on a robot.

  train TASK        learn a task; --run FOLDER, --resume goes on where it stopped
  evaluate FOLDER   return and success of a run, or of an exported policy
  export RUN        write encoder, RSSM step and actor as verified ONNX files
  dream RUN         films of episodes, and of what the model imagines
  plot RUN...       learning curves of one or more runs
  report RUN        one HTML page about a run and its policy
  tasks [FILTER]    list the tasks
  demo              all of it on fetch_reach, in about a quarter of an hour

robodreamer COMMAND --help tells more. robodreamer-deploy drives a robot.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0, or 2 for what a user can mend."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    os.environ.setdefault("MUJOCO_GL", _graphics_library())
    if not words or words[0] in {"-h", "--help"}:
        print(HELP)
        return 0
    try:
        job = _command(words[0])(words[1:])
    except (ValueError, OSError, RuntimeError) as error:
        return _complain(error)
    return _supervise(job)


Job = Callable[[], None]


def _command(name: str) -> Callable[[Sequence[str]], Job]:
    """Return the function that turns a command's words into a job."""
    from robodreamer import commands
    from robodreamer.config import choose

    return choose("command", name, commands.COMMANDS)


def _supervise(job: Job) -> int:
    """Run a job; turn the failures that a user can do something about into a sentence."""
    from robodreamer.checkpoint import CheckpointError
    from robodreamer_deploy.bundle import BundleError
    from robodreamer_sim.faults import EnvironmentFault, GraphicsError

    try:
        job()
    except (EnvironmentFault, GraphicsError, CheckpointError, BundleError, OSError) as error:
        return _complain(error)
    except KeyboardInterrupt:
        return 130
    return 0


def _complain(error: Exception) -> int:
    if os.environ.get("ROBODREAMER_TRACEBACK"):
        raise error
    print(f"robodreamer: {error}", file=sys.stderr)
    return 2


def _graphics_library() -> str:
    """Return the way to render without a screen that MuJoCo should take."""
    return "egl"
