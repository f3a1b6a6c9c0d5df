"""The parts of the demonstration: what each does, how long it takes, which command it is.

A part leaves a file by which it is known to be done, until one of the files it read is newer; of
a folder, the file that is written last counts.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

EPISODES = 50
USUAL_UPDATES = 220.0
"""Updates per minute of training that two idle cores make at least (RESULTS.md)."""


class Part(NamedTuple):
    """One command of the demonstration."""

    text: str
    """What it does, for people."""
    seconds: float
    """About how long it takes on two cores."""
    words: Sequence[str | Path]
    """The command line."""
    is_done: bool
    """Whether its file is there, and newer than everything it was made from."""


class Demo(NamedTuple):
    """What is demonstrated, and where everything lies."""

    task: str
    out: Path
    minutes: float
    seed: int

    @property
    def run(self) -> Path:
        """Run folder."""
        return self.out / "run"

    @property
    def metrics(self) -> Path:
        """What training writes last."""
        return self.run / "metrics.jsonl"

    @property
    def policy(self) -> Path:
        """Policy folder."""
        return self.out / "policy"

    @property
    def manifest(self) -> Path:
        """What an export writes last."""
        return self.policy / "manifest.json"

    @property
    def evaluation(self) -> Path:
        """Figures of the agent in torch."""
        return self.out / "evaluation.json"

    @property
    def blanked(self) -> Path:
        """The same without eyes."""
        return self.out / "blanked.json"

    @property
    def drive(self) -> Path:
        """Figures of the policy in the onboard loop, as fast as it goes."""
        return self.out / "drive.json"

    @property
    def paced(self) -> Path:
        """The same at the robot's rate."""
        return self.out / "paced.json"

    @property
    def film(self) -> Path:
        """Film of the newest episodes; a name that does not exist before there is one."""
        folder = self.run / "videos"
        return max(folder.glob("*-episode.mp4"), default=folder / "none")

    @property
    def page(self) -> Path:
        """Where to look in the end."""
        return self.out / "report.html"

    @property
    def config(self) -> dict[str, Any] | None:
        """Settings of the run; None before there is one."""
        return read_json(self.run / "config.json", {}).get("config")

    @property
    def cameras(self) -> list[str]:
        """Names of the cameras; none before the run has begun."""
        signals = read_json(self.run / "contract.json", {}).get("observations", [])
        names = [signal["name"] for signal in signals]
        return [name.partition("/")[2] for name in names if name.startswith("image/")]

    @property
    def minutes_trained(self) -> float:
        """Minutes of training so far."""
        return self._newest("minutes")

    @property
    def note(self) -> str:
        """What to say beside the results: that it learned much less than usual; empty otherwise."""
        config = self.config or {}
        updates, minutes = self._newest("updates"), self._newest("minutes")
        usual = USUAL_UPDATES * minutes
        if config.get("protocol") != "cpu" or not minutes or 3 * updates >= usual:
            return ""
        return (
            f"this demo made {updates:,.0f} updates in {minutes:.0f} min, two idle cores do about "
            f"{usual:,.0f}, so it has learned much less. Others may have used the cores; "
            f"--minutes {4 * self.minutes:g} goes on learning"
        )

    def _newest(self, figure: str) -> float:
        """Return the newest value of a figure of training; 0 before there is one."""
        if not self.metrics.exists():
            return 0.0
        for line in reversed(self.metrics.read_text().splitlines()):
            if line.endswith("}") and figure in (figures := json.loads(line)):
                return figures[figure]
        return 0.0


def train(demo: Demo) -> Part:
    """Begin training, or go on; done when the minutes are over."""
    words: list[str | Path] = ["robodreamer", "train"]
    words += [demo.task] if demo.config is None else ["--resume"]
    words += ["--run", demo.run, "--minutes", f"{demo.minutes:g}"]
    if demo.config is None:
        words += ["--seed", str(demo.seed), "--evaluate-minutes", f"{demo.minutes / 5:g}"]
    left = max(0.0, demo.minutes - demo.minutes_trained)
    return Part(
        f"Learns {demo.task} from scratch, in simulation. Evaluation in between does not count as "
        "training time. Ctrl-C saves and stops.",
        seconds=60 * left * 1.1 + 30.0,
        words=words,
        is_done=left == 0,
    )


def evaluate(demo: Demo) -> Part:
    """Judge the agent in torch."""
    return Part(
        f"Drives {EPISODES} fixed episodes with the agent in torch, once with the most likely "
        "actions and once with random draws.",
        seconds=60.0,
        words=["robodreamer", "evaluate", demo.run, "--episodes", str(EPISODES),
               "--draw", "both", "--json", demo.evaluation],
        is_done=is_newer(demo.evaluation, [demo.metrics]),
    )  # fmt: skip


def blank(demo: Demo) -> Part | None:
    """Judge it without eyes, if it has any."""
    if not demo.cameras:
        return None
    return Part(
        "The same with black cameras, which tells how much the policy depends on them.",
        seconds=30.0,
        words=["robodreamer", "evaluate", demo.run, "--episodes", str(EPISODES),
               "--draw", "mode", "--json", demo.blanked, "--blank", *demo.cameras],
        is_done=is_newer(demo.blanked, [demo.metrics]),
    )  # fmt: skip


def export(demo: Demo) -> Part:
    """Make the policy that a robot gets."""
    return Part(
        "Writes encoder, world model step and actor as ONNX files. They are compared with torch, "
        "step by step and running freely, before they are called a policy.",
        seconds=60.0,
        words=["robodreamer", "export", demo.run, "--out", demo.policy],
        is_done=is_newer(demo.manifest, [demo.metrics]),
    )


def drive(demo: Demo) -> Part:
    """Drive the simulator as a robot would be driven."""
    return Part(
        f"Drives {EPISODES} episodes from the ONNX files alone, through the loop that runs on a "
        "robot, as fast as the simulator goes.",
        seconds=40.0,
        words=["robodreamer-deploy", demo.policy, "--robot", f"sim:{demo.task}", "--fast",
               "--episodes", str(EPISODES), "--report", demo.drive],
        is_done=is_newer(demo.drive, [demo.manifest]),
    )  # fmt: skip


def pace(demo: Demo) -> Part:
    """Drive it by the clock."""
    return Part(
        "The same for ten seconds at the robot's rate, which tells how long a command takes.",
        seconds=15.0,
        words=["robodreamer-deploy", demo.policy, "--robot", f"sim:{demo.task}",
               "--seconds", "10", "--report", demo.paced],
        is_done=is_newer(demo.paced, [demo.manifest]),
    )  # fmt: skip


def film(demo: Demo) -> Part:
    """Film episodes and dreams."""
    return Part(
        "Films three episodes, and what the model imagines of one.",
        seconds=30.0,
        words=["robodreamer", "dream", demo.run, "--episodes", "3"],
        is_done=is_newer(demo.film, [demo.metrics]),
    )


def report(demo: Demo) -> Part:
    """Put everything on one page."""
    evaluations = [path for path in (demo.evaluation, demo.blanked) if path.exists()]
    return Part(
        "Plots the curves, tries random actions for comparison, and writes one page.",
        seconds=30.0,
        words=["robodreamer", "report", demo.run, "--policy", demo.policy,
               "--drive", demo.drive, demo.paced, "--evaluation", *evaluations,
               "--out", demo.page, *(["--note", demo.note] if demo.note else [])],
        is_done=is_newer(demo.page, [demo.drive, demo.paced, demo.film, *evaluations]),
    )  # fmt: skip


PARTS: Mapping[str, Callable[[Demo], Part | None]] = {
    "learn the task": train,
    "evaluate the agent": evaluate,
    "evaluate it without eyes": blank,
    "export to ONNX": export,
    "drive from the ONNX files": drive,
    "drive at the robot's rate": pace,
    "film it, and its dreams": film,
    "write the page": report,
}
"""In order, by what people call them; each is made when it is its turn, None does nothing."""


def is_newer(output: Path, inputs: Sequence[Path]) -> bool:
    """Whether a file exists and is not older than any of the files it was made from."""
    if not all(path.exists() for path in (output, *inputs)):
        return False
    made = output.stat().st_mtime_ns
    return all(path.stat().st_mtime_ns <= made for path in inputs)


def read_json(path: Path, otherwise: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON object in a file, or something else where there is no file."""
    return json.loads(path.read_text()) if path.exists() else otherwise
