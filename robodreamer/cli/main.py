"""The `robodreamer` command: finds the command that is meant, prepares it, and does it.

A command's function turns words into a job. All that is wrong with the words, the files or the
machine shows while the job is prepared. Help does not wait for torch: a command's module is
imported when it is named, and imports what it needs when its words were understood.
"""

import os
import select
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from types import FrameType
from typing import Any

from robodreamer.utils.processor import bound_spinning
from robodreamer.version import __version__
from robodreamer_deploy.utils.streams import open_closed_streams
from robodreamer_deploy.utils.suggest import printable_lines

HELP = """\
usage: robodreamer COMMAND ...

From a MuJoCo task with cameras and joints to a world-model policy on a robot.

  train TASK        learn a task; --run FOLDER, --resume goes on where it stopped
  evaluate FOLDER   return and success of a run, or of an exported policy
  export RUN        write the policy as ONNX files, verified against torch
  dream RUN         films of episodes, and of what the model imagines
  inspect RUN       sizes, use of the latents, calibration of reward and value
  plot RUN...       learning curves of one or more runs
  report RUN        one HTML page about a run and its policy
  vae SOURCE        an autoencoder of pictures: reconstructs, samples, interpolates
  import-log LOG    add what a robot recorded to a run, which then trains on
  import-reference LOG  a run of an agent that the public JAX code has trained
  tasks [FILTER]    list the tasks; tasks check NAME tests one
  doctor            what works on this machine, and what to do about the rest
  robot TASK        a simulated robot in a process of its own, driven over tcp
  demo              all of it on fetch_reach, in 17 minutes on two CPU cores

robodreamer COMMAND --help lists the options of a command.
source <(robodreamer --print-completion bash) completes words in the shell; zsh likewise.
ROBODREAMER_TRACEBACK=1 shows where in the code a mistake was noticed.
robodreamer-deploy drives a robot.
"""


COMMANDS: Mapping[str, str] = {
    "train": "train",
    "evaluate": "evaluate",
    "export": "export",
    "dream": "visualize",
    "inspect": "visualize",
    "plot": "visualize",
    "report": "visualize",
    "vae": "vae",
    "import-log": "dataset",
    "import-reference": "dataset",
    "tasks": "tasks",
    "doctor": "doctor",
    "demo": "demo",
    "robot": "robot",
}
"""Module of every command in this package; its function there is called as the command."""
INTERRUPTED = 130  # 128 + SIGINT, as shells count
CLOSED_PIPE = 141  # 128 + SIGPIPE
STANDARD_OUTPUT = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: a job's own, or 2 for what a user can mend."""
    open_closed_streams()
    bound_spinning(os.environ)  # read when torch is imported
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        try:
            return _answer(words)
        finally:
            sys.stdout.flush()
    except StopSignalError as stop:
        return 128 + stop.number
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:  # of printing; every other one was reported where it happened
        is_reader_gone = isinstance(error, BrokenPipeError) and _reader_is_gone()
        os.dup2(os.open(os.devnull, os.O_WRONLY), STANDARD_OUTPUT)  # Python flushes at its end
        return CLOSED_PIPE if is_reader_gone else _complain(error)


def _answer(words: Sequence[str]) -> int:
    if not words or words[0] in {"-h", "--help"}:
        print(HELP)
        return 0
    if words[0] == "--version":
        print(f"robodreamer {__version__}")
        return 0
    return _run(words)


def _reader_is_gone() -> bool:
    """Whether the reader of this process's output has closed it, as after `| head`."""
    poll = select.poll()
    poll.register(STANDARD_OUTPUT, 0)  # a pipe that nobody reads is reported without being asked
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _run(words: Sequence[str]) -> int:
    """Prepare a job and do it; answer a failure that a user can mend in a sentence.

    A `ValueError` of the preparation is the user's; one that comes later is ours, and shown.
    """
    try:
        with _leaving_at_once():
            job = prepare(words)
    except SystemExit:  # after help, which must not wait for the imports of the known failures
        raise
    except (ValueError, OSError) as error:
        return _complain(error)
    except _known_failures() as error:
        return _complain(error)
    try:
        with _ending_in_order():
            status = job()
    except _known_failures() as error:
        return _complain(error)
    return status if isinstance(status, int) else 0


@contextmanager
def _leaving_at_once() -> Iterator[None]:
    """Let Ctrl-C end the process on the spot while it prepares a job and has nothing to lose.

    An exception in the middle of torch's import ends in another error, or in a crash.
    """
    before = signal.getsignal(signal.SIGINT)
    if before != signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class StopSignalError(KeyboardInterrupt):
    """Request of another process to end, on which drafts are deleted and simulators closed."""

    def __init__(self, number: int) -> None:
        self.number = number
        """Number of the signal."""


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Turn the first SIGTERM or SIGHUP into an exception, and ignore those that follow it.

    A closed terminal sends two, one by the shell and one by the kernel; under `nohup` SIGHUP stays
    ignored.
    """
    before: dict[int, Any] = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)}
    heard = [number for number, handler in before.items() if handler == signal.SIG_DFL]

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        for other in heard:
            signal.signal(other, signal.SIG_IGN)
        raise StopSignalError(number)

    for number in heard:
        signal.signal(number, end)
    try:
        yield
    except StopSignalError:
        raise  # with the signals still ignored, so that nothing disturbs the tidying
    except BaseException:
        _restore(before)
        raise
    _restore(before)


def _restore(handlers: Mapping[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def prepare(words: Sequence[str]) -> Callable[[], object]:
    """Return the job that the words of a command line ask for.

    Raises:
        ValueError: There is no such command, or its words cannot be used.
    """
    name, *arguments = words
    if name == "--print-completion":
        from robodreamer.cli.completion import completion_script

        script = completion_script(arguments[0] if arguments else "bash")
        return lambda: print(script)
    from robodreamer.config import choose

    module = import_module(f"robodreamer.cli.{choose('command', name, COMMANDS)}")
    return getattr(module, name.replace("-", "_"))(arguments)


def _known_failures() -> tuple[type[Exception], ...]:
    """Return the errors that a user can do something about while a job runs."""
    from robodreamer.data.collector import TrainingDivergedError
    from robodreamer.runs.checkpoint import CheckpointError
    from robodreamer.runs.files import FolderInUseError
    from robodreamer_deploy.errors import BundleError
    from robodreamer_sim.errors import EnvironmentFault, GraphicsError

    return (
        EnvironmentFault,
        GraphicsError,
        TrainingDivergedError,
        CheckpointError,
        FolderInUseError,
        BundleError,
        OSError,
    )


def _complain(error: Exception) -> int:
    if isinstance(error, BrokenPipeError) and _reader_is_gone():
        raise error
    if os.environ.get("ROBODREAMER_TRACEBACK"):
        raise error
    with suppress(OSError):  # without a reader the exit status has to be enough
        print(f"robodreamer: {printable_lines(str(error))}", file=sys.stderr)
    return 2
