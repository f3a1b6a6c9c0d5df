"""The demonstration: learn, evaluate, export, drive, film and report, by the public commands.

Every part is a command that one could type, and runs in a process of its own. What is done already
is not repeated, so the same words go on after an interruption.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType

from robodreamer.config import choose
from robodreamer.demo.parts import PARTS, Demo, Part, read_json

WIDTH = 80
LAUNCHERS: Mapping[str, Sequence[str]] = {
    "robodreamer": ("-m", "robodreamer"),
    "robodreamer-deploy": (
        "-c",
        "import sys; from robodreamer_deploy.cli.main import main; sys.exit(main())",
    ),
}
"""How this interpreter starts each command, whether or not it is on the path."""

Say = Callable[[str], None]


def prepare_demo(
    task: str, out: Path, *, minutes: float, seed: int, fresh: bool, say: Say
) -> Callable[[], None]:
    """Check what is asked for; return what demonstrates it.

    Raises:
        ValueError: There is no such task, or `out` holds another demonstration.
    """
    from robodreamer_sim import list_tasks

    if not task.startswith("gym:"):
        choose("task", task, list_tasks())
    if not minutes > 0:
        raise ValueError(f"--minutes is more than 0, got {minutes:g}")
    demo = Demo(task, out, minutes, seed)
    if not fresh:
        _check_same(demo)

    def demonstrate() -> None:
        if fresh:
            clear(demo)
        run_demo(demo, say)

    return demonstrate


def run_demo(demo: Demo, say: Say) -> None:
    """Do all parts that are not done.

    Raises:
        SystemExit: A part failed; with its exit status.
        KeyboardInterrupt: Ctrl-C; the part has ended by itself.
    """
    demo.out.mkdir(parents=True, exist_ok=True)
    for line in introduce(demo):
        say(line)
    for number, (title, make_part) in enumerate(PARTS.items(), 1):
        say("")
        say(f"== {number} of {len(PARTS)}: {title} ".ljust(WIDTH, "="))
        part = make_part(demo)
        if part is None or part.is_done:
            say("nothing to do" if part is None else "done before")
            continue
        _run_part(demo, title, part, say)
    say("")
    for line in conclude(demo):
        say(line)


def introduce(demo: Demo) -> list[str]:
    """Say what will happen, how long it takes, and where to look meanwhile."""
    parts = [part for make_part in PARTS.values() if (part := make_part(demo)) is not None]
    left = sum((part.seconds for part in parts if not part.is_done), 0.0)
    takes = f"This takes {_minutes(left)} on two cores."
    if not left:
        takes = "All of it is done already; --minutes trains longer, --fresh begins again."
    text = (
        f"RoboDreamer demo: {demo.task}, {demo.minutes:g} min of training, then all the rest "
        f"up to a page to look at, in {len(PARTS)} parts. {takes} Everything goes into "
        f"{demo.out}. Ctrl-C stops; the same command goes on."
    )
    watch = f"While it learns: tensorboard --logdir {demo.run}, and films in {demo.run}/videos."
    lines = [*textwrap.wrap(text, WIDTH), *textwrap.wrap(watch, WIDTH)]
    if shutil.which("robodreamer") is None:
        lines += ["To type the commands below yourself:", f"$ source {sys.prefix}/bin/activate"]
    return lines


def conclude(demo: Demo) -> list[str]:
    """Say what was reached and where to look."""
    figures = read_json(demo.drive, {})
    lines = [f"Driven from the ONNX files: mean return {figures['return_mean']:.2f}"]
    if figures["success_rate"] is not None:
        low, high = figures["success_interval_95"]
        lines.append(
            f"success in {figures['success_rate']:.0%} of {figures['num_episodes']} episodes, "
            f"95 % interval {low:.0%} to {high:.0%}"
        )
    if demo.note:
        lines += textwrap.wrap(f"Warning: {demo.note}", WIDTH)
    return [*lines, f"Look at {demo.page}", f"  {demo.page.resolve().as_uri()}"]


def execute(words: Sequence[str | Path]) -> int:
    """Run a command in the foreground and return its exit status; output goes where ours does.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed meanwhile; the command had the time to end.
    """
    name, *arguments = [str(word) for word in words]
    command = [sys.executable, *LAUNCHERS[name], *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=environment) as process, _left_to(process) as heard:
        status = process.wait()
    if heard:
        raise KeyboardInterrupt
    return status


def clear(demo: Demo) -> None:
    """Delete what a demonstration leaves, and nothing else that may lie in the folder.

    Raises:
        FolderInUseError: Another process trains there; nothing was deleted.
    """
    from robodreamer.runs.files import locked  # imports torch

    with locked(demo.run) if demo.run.exists() else nullcontext():
        for folder in (demo.run, demo.policy):
            shutil.rmtree(folder, ignore_errors=True)
    for file in (demo.evaluation, demo.blanked, demo.drive, demo.paced, demo.page):
        file.unlink(missing_ok=True)


def _run_part(demo: Demo, title: str, part: Part, say: Say) -> None:
    for line in textwrap.wrap(f"{part.text} Takes {_minutes(part.seconds)}.", WIDTH):
        say(line)
    for line in wrap_command(part.words):
        say(line)
    try:
        status = execute(part.words)
    except KeyboardInterrupt:
        say("Stopped; the same command goes on from here.")
        raise
    if status:
        say("")
        for line in textwrap.wrap(
            f"The demo stopped: '{title}' failed with exit status {status}; what it said stands "
            f"above. The same command goes on from here, in {demo.out}.",
            WIDTH,
        ):
            say(line)
        raise SystemExit(status)


def wrap_command(words: Sequence[str | Path]) -> list[str]:
    """Return a command as lines of a terminal's width that a shell takes as one."""
    lines = ["$"]
    for word in (shlex.quote(str(word)) for word in words):
        if len(lines[-1]) + len(word) > WIDTH - 3:  # a space before it, and one with a backslash
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += f" {word}"
    return lines


def _check_same(demo: Demo) -> None:
    """Refuse to mix two demonstrations in one folder."""
    config = demo.config
    if config is not None and (config["task"], config["seed"]) != (demo.task, demo.seed):
        raise ValueError(
            f"{demo.out} holds a demo of {config['task']} with seed {config['seed']}; choose "
            "another --out, or --fresh to delete it"
        )


@contextmanager
def _left_to(process: "subprocess.Popen[bytes]") -> Iterator[list[int]]:
    """Leave the terminal's signals to a command, which hears them as well, and hand on the others.

    A closed terminal is handed on too, because one process alone may have been told; the command
    takes the second time for the first.

    Yields a list that holds the signals that came.
    """
    heard: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        del frame
        heard.append(number)
        if number in (signal.SIGTERM, signal.SIGHUP):
            process.send_signal(number)

    stops = [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as under `nohup`
        stops.append(signal.SIGHUP)
    before = {number: signal.signal(number, hear) for number in stops}
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _minutes(seconds: float) -> str:
    """Return a duration for people."""
    return "under a minute" if seconds < 60 else f"about {seconds / 60:.0f} min"
