"""`robodreamer demo`: eight command lines, run in order, from a task to a page about its policy.

Each is a command that one could type, in a process of its own, so that what drives the policy has
neither torch nor the simulator of training in it. A command is skipped where the file that it
writes last is newer than all that it reads; the same command goes on after an interruption.
"""

import json
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from robodreamer.cli.parsing import Job, parse, say
from robodreamer.config import choose

EPISODES = "50"
LAUNCHERS: Mapping[str, Sequence[str]] = {
    "robodreamer": ("-m", "robodreamer"),
    "robodreamer-deploy": (
        "-c",
        "import sys; from robodreamer_deploy.cli.main import main; sys.exit(main())",
    ),
}
"""Arguments with which this interpreter starts each command, also where none is on the path."""


@dataclass(frozen=True, kw_only=True)
class DemoArguments:
    """Learn, evaluate, export, drive and report, one public command after the other.

    Finished parts are not repeated, so the same command goes on after an interruption.
    """

    minutes: float = 15.0
    """Minutes of training; everything else takes about two more."""
    task: str = "fetch_reach"
    """Task to learn."""
    out: Path = Path("runs/demo")
    """Folder for everything."""
    seed: int = 0
    """Seed of training."""
    fresh: bool = False
    """Delete what an earlier demo left in the folder, and begin again."""


class Part(NamedTuple):
    """Command line of the demonstration."""

    title: str
    words: Sequence[str | Path]
    is_done: bool


def demo(words: Sequence[str]) -> Job:
    """Prepare the demonstration.

    Raises:
        ValueError: There is no such task, or the folder holds another demonstration.
    """
    arguments = parse(DemoArguments, "demo", words)
    from robodreamer_sim import list_tasks

    if not arguments.task.startswith("gym:"):
        choose("task", arguments.task, list_tasks())
    if not arguments.minutes > 0:
        raise ValueError(f"--minutes is more than 0, got {arguments.minutes:g}")
    config = _read(arguments.out / "run" / "config.json").get("config", {})
    begun = {name: config[name] for name in ("task", "seed") if name in config}
    wanted = {"task": arguments.task, "seed": arguments.seed}
    if begun not in ({}, wanted) and not arguments.fresh:
        raise ValueError(
            f"{arguments.out} holds a demo of {begun['task']} with seed {begun['seed']}; choose "
            "another --out, or --fresh to delete it"
        )
    return lambda: demonstrate(arguments)


def demonstrate(arguments: DemoArguments) -> None:
    """Run all parts that are not done, and say what was reached.

    Raises:
        SystemExit: A part failed; with its exit status.
        KeyboardInterrupt: Ctrl-C; the part has ended by itself.
    """
    out = arguments.out
    if arguments.fresh:
        clear(out)
    out.mkdir(parents=True, exist_ok=True)
    say(
        f"Demo of {arguments.task}: {arguments.minutes:g} min of training, then about 2 min for\n"
        f"the rest on two cores. Everything goes into {out}.\n"
        "Ctrl-C stops; the same command goes on."
    )
    for number, part in enumerate(parts(arguments), 1):
        say(f"\n== {number}: {part.title}")
        if part.is_done:
            say("done before")
            continue
        say(f"$ {shlex.join(map(str, part.words))}")
        if status := execute(part.words):
            say(f"\nThe demo stopped: '{part.title}' failed, see above. The same command goes on.")
            raise SystemExit(status)
    figures = _read(out / "drive.json")
    say(f"\nDriven from the ONNX files: mean return {figures['return_mean']:.2f}")
    if figures["success_rate"] is not None:
        low, high = figures["success_interval_95"]
        say(
            f"success in {figures['success_rate']:.0%} of {figures['num_episodes']} episodes, "
            f"95 % interval {low:.0%} to {high:.0%}"
        )
    say(f"Look at {out / 'report.html'}\n  {(out / 'report.html').resolve().as_uri()}")


def parts(arguments: DemoArguments) -> Iterator[Part]:
    """Yield the parts in order; each is made when it is its turn, from what is there by then."""
    task, minutes, out = arguments.task, arguments.minutes, arguments.out
    run, policy, page = out / "run", out / "policy", out / "report.html"
    metrics, manifest = run / "metrics.jsonl", policy / "manifest.json"  # written last
    both, blanked = out / "evaluation.json", out / "blanked.json"
    fast, paced = out / "drive.json", out / "paced.json"

    train: list[str | Path] = ["robodreamer", "train", "--run", run, "--minutes", f"{minutes:g}"]
    if (run / "config.json").exists():
        train += ["--resume"]
    else:
        seed, evaluation = f"{arguments.seed}", f"{minutes / 5:g}"
        train += ["--seed", seed, "--evaluate-minutes", evaluation, task]
    yield Part("learn the task", train, _minutes_trained(metrics) >= minutes)

    evaluate = ["robodreamer", "evaluate", run, "--episodes", EPISODES]
    words = [*evaluate, "--draw", "both", "--json", both]
    yield Part("evaluate the agent in torch", words, is_newer(both, metrics))
    if cameras := _cameras(run):
        words = [*evaluate, "--draw", "mode", "--json", blanked, "--blank", *cameras]
        yield Part("the same with black cameras", words, is_newer(blanked, metrics))
    words = ["robodreamer", "export", run, "--out", policy]
    yield Part("export to ONNX", words, is_newer(manifest, metrics))

    drive = ["robodreamer-deploy", policy, "--robot", f"sim:{task}"]
    words = [*drive, "--fast", "--episodes", EPISODES, "--report", fast]
    yield Part("drive from the ONNX files", words, is_newer(fast, manifest))
    words = [*drive, "--seconds", "10", "--report", paced]
    yield Part("the same at the robot's rate", words, is_newer(paced, manifest))

    words = ["robodreamer", "dream", run, "--episodes", "3"]
    film = max((run / "videos").glob("*-episode.mp4"), default=run / "no film yet")
    yield Part("film it, and its dreams", words, is_newer(film, metrics))
    film = max((run / "videos").glob("*-episode.mp4"), default=run / "no film yet")
    figures = [path for path in (both, blanked) if path.exists()]
    words = ["robodreamer", "report", run, "--policy", policy, "--drive", fast, paced]
    words += ["--evaluation", *figures, "--out", page]
    yield Part("write the page", words, is_newer(page, fast, paced, film, *figures))


def is_newer(output: Path, *inputs: Path) -> bool:
    """Whether a file exists and is not older than any of the files that it was made from."""
    if not all(path.exists() for path in (output, *inputs)):
        return False
    made = output.stat().st_mtime_ns
    return all(path.stat().st_mtime_ns <= made for path in inputs)


def execute(words: Sequence[str | Path]) -> int:
    """Run a command in the foreground and return its exit status; output goes where ours does.

    Raises:
        KeyboardInterrupt: The demonstration was told to stop; the command had the time to end.
    """
    name, *arguments = map(str, words)
    command = [sys.executable, "-u", *LAUNCHERS[name], *arguments]
    with subprocess.Popen(command) as process, _signals_left_to(process) as heard:
        status = process.wait()
    if heard:
        say("Stopped; the same command goes on from here.")
        raise KeyboardInterrupt
    return status


@contextmanager
def _signals_left_to(process: "subprocess.Popen[bytes]") -> Iterator[list[int]]:
    """Yield a list of the stop signals that come while a command runs, which ends by itself.

    Ctrl-C reaches it from the terminal. SIGTERM and SIGHUP may have been sent to this process
    alone, so they are handed on; the command takes the second time for the first.
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


def clear(out: Path) -> None:
    """Delete what a demonstration leaves, and nothing else that may lie in the folder.

    Raises:
        FolderInUseError: Another process trains there; nothing was deleted.
    """
    from robodreamer.runs.files import locked  # imports torch

    run = out / "run"
    with locked(run) if run.exists() else nullcontext():
        for folder in (run, out / "policy"):
            shutil.rmtree(folder, ignore_errors=True)
    for name in ("evaluation.json", "blanked.json", "drive.json", "paced.json", "report.html"):
        (out / name).unlink(missing_ok=True)


def _minutes_trained(metrics: Path) -> float:
    """Return the minutes of the newest report; 0 before there is one."""
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    complete = [line for line in lines if line.endswith("}")]
    return json.loads(complete[-1])["minutes"] if complete else 0.0


def _cameras(run: Path) -> list[str]:
    """Return the names of the cameras that the run sees."""
    signals = _read(run / "contract.json").get("observations", [])
    names = (signal["name"].partition("/") for signal in signals)
    return [name for kind, _, name in names if kind == "image"]


def _read(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; an empty one where there is no file."""
    return json.loads(path.read_text()) if path.exists() else {}
