"""The `robodreamer` command: reads the words, builds the objects, and hands them over.

Help must not wait for torch, so every subcommand imports what it needs when it runs.
"""

import os
import select
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from robodreamer import __version__
from robodreamer.utils.processor import bound_spinning
from robodreamer_deploy.utils.streams import open_closed_streams
from robodreamer_deploy.utils.suggest import printable_lines

HELP = """\
usage: robodreamer COMMAND ...

From a MuJoCo task with cameras and joints to a world-model policy on a robot.

  train TASK        learn a task; --run FOLDER, --resume goes on where it stopped
  evaluate FOLDER   return and success of a run, or of an exported policy
  export RUN        write the policy as ONNX files, verified against torch
  dream RUN         films of episodes, and of what the model imagines
  plot RUN...       learning curves of one or more runs
  report RUN        one HTML page about a run and its policy
  import-log LOG    add what a robot recorded to a run, which then trains on
  tasks [FILTER]    list the tasks; tasks check NAME holds one to its promises
  doctor            what works on this machine, and what to do about the rest
  robot TASK        a simulated robot in a process of its own, driven over tcp
  demo              all of it on fetch_reach, in about a quarter of an hour

robodreamer COMMAND --help tells more, robodreamer --version which release this is.
source <(robodreamer --print-completion bash) lets the shell complete words; zsh likewise.
ROBODREAMER_TRACEBACK=1 shows where in the code a mistake was noticed.
robodreamer-deploy drives a robot.
"""


Job = Callable[[], int | None]
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
    except ToldToEndError as told:
        return 128 + told.number
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:  # of printing: what else fails was told where it did
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
    """Whether nobody reads what this process prints any more, as after `| head`."""
    poll = select.poll()
    poll.register(STANDARD_OUTPUT, 0)  # a pipe that nobody reads is reported without being asked
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _run(words: Sequence[str]) -> int:
    """Build a job and do it; turn the failures that a user can do something about into words.

    Any `ValueError` while building is the user's; while the job runs it is ours, and shown.
    """
    try:
        with _leaving_at_once():
            job = _command(words[0])(words[1:])
    except SystemExit:  # after help, which must not wait for the imports of the known failures
        raise
    except (ValueError, OSError) as error:
        return _complain(error)
    except _known_failures() as error:
        return _complain(error)
    try:
        with _ending_in_order():
            return job() or 0
    except _known_failures() as error:
        return _complain(error)


@contextmanager
def _leaving_at_once() -> Iterator[None]:
    """Let Ctrl-C end the process on the spot while it builds a job and has nothing to lose.

    An exception in the middle of torch's import ends in another error, or in a crash.
    """
    before = signal.getsignal(signal.SIGINT)
    if before != signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class ToldToEndError(KeyboardInterrupt):
    """The process was told to end, as by Ctrl-C, and puts in order what it was about."""

    def __init__(self, number: int) -> None:
        self.number = number
        """Of the signal."""


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Turn the first SIGTERM or SIGHUP into an exception, and ignore those that follow it.

    Drafts are deleted and simulators closed then. A closed terminal is told of twice, by the shell
    and by the kernel; under `nohup` it stays ignored.
    """
    before: dict[int, Any] = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)}
    heard = [number for number, handler in before.items() if handler == signal.SIG_DFL]

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        for other in heard:
            signal.signal(other, signal.SIG_IGN)
        raise ToldToEndError(number)

    for number in heard:
        signal.signal(number, end)
    try:
        yield
    except ToldToEndError:
        raise  # and let nothing disturb what is left to do
    except BaseException:
        _restore(before)
        raise
    _restore(before)


def _restore(handlers: Mapping[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _command(name: str) -> Callable[[Sequence[str]], Job]:
    """Return the function that turns a command's words into a job."""
    from robodreamer.cli import commands
    from robodreamer.config import choose

    if name == "--print-completion":
        return commands.print_completion
    return choose("command", name, commands.COMMANDS)


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
    with suppress(OSError):  # nobody takes it in; the exit status tells it all the same
        print(f"robodreamer: {printable_lines(str(error))}", file=sys.stderr)
    return 2
