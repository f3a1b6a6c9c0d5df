"""The page about a run: what was trained and how, what it achieved, what to try next.

One function per section turns findings into blocks, which `report.page` turns into HTML. A
later report adds a function to `SECTIONS`.
"""

import math
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from robodreamer.runs.files import write_atomic
from robodreamer.utils.formatting import format_duration
from robodreamer.visualization.findings import RANDOM, Findings, prepare_findings
from robodreamer.visualization.page import (
    Block,
    Commands,
    Details,
    Film,
    Picture,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
    render_page,
)
from robodreamer.visualization.plots import NARROW
from robodreamer.visualization.scores import ROW_HEADER, Score
from robodreamer_deploy.contract import Contract, Signal

Say = Callable[[str], None]
CAPTIONS = {
    "episode.mp4": "Evaluation episodes with the trained policy. The bar below counts time; it is "
    "green while the goal is met.",
    "dream.mp4": "Left: what the camera saw. Middle: what the model expected. Right: the "
    "difference, dark where there is none. Slowed down.",
    "dream.png": "The same at chosen moments.",
    "signals.png": "The same for everything that is measured.",
    "learning.png": "Return and success. Evaluation episodes start from fixed seeds and act "
    "without randomness; the band is a 95 % interval.",
    "losses.png": "What the world model and the behavior minimise.",
}


def prepare_report(
    run: Path,
    *,
    policy: Path | None = None,
    drives: Sequence[Path] = (),
    evaluations: Sequence[Path] = (),
    note: str = "",
    out: Path | None = None,
    say: Say,
) -> Callable[[], None]:
    """Check what the page is made from; return what writes it, RUN/report.html by default.

    Raises:
        ValueError: The folder holds no trained run, or a file is not what it should be.
    """
    gather = prepare_findings(run, policy, drives, evaluations, note)
    target = out or run / "report.html"
    if not target.parent.is_dir():
        raise ValueError(f"there is no folder {target.parent} for {target.name}")

    def write() -> None:
        say("plotting, and trying a random policy for comparison")
        write_atomic(target, render(gather()).encode())
        say(f"wrote {target}; open it in any browser")

    return write


def render(findings: Findings) -> str:
    """Return the page."""
    sections = [section(findings) for section in SECTIONS]
    duration = format_duration(60 * findings.last.get("minutes", 0.0))
    signals = ", ".join(signal.name for signal in findings.contract.inputs)
    subtitle = f"Learned in {duration} and {findings.last.get('step', 0):,} steps from {signals}."
    return render_page(f"RoboDreamer: {findings.config.task}", subtitle, sections)


def summary_section(findings: Findings) -> Section:
    """Say in a few figures how it went."""
    tiles = []
    best = findings.onboard_score
    if best is not None:
        tiles.append(_score_tile(findings, best, "driven from the ONNX files, without torch"))
    tiles.append(_score_tile(findings, findings.scores[RANDOM], "with random actions"))
    if findings.drives and (times := findings.drives[-1]["policy_ms"]):
        period = f"{1e3 * findings.contract.control_dt_s:g} ms"
        tiles.append(Tile(f"{times['p50']:.1f} ms", f"for a decision (median), of {period}"))
    tiles.append(Tile(format_duration(60 * findings.last.get("minutes", 0.0)), "of training"))
    tiles.append(Tile(f"{findings.last.get('step', 0):,}", "steps of experience"))
    warnings = [Text(f"Warning: {warning}") for warning in findings.warnings]
    return Section("In short", [Tiles(tiles), *warnings])


def policy_section(findings: Findings) -> Section:
    """Show the policy at work, and what it achieves."""
    blocks: list[Block] = _media(findings.films, "episode.mp4")
    rows = [score.row(name) for name, score in findings.scores.items()]
    blocks.append(Table(rows, ROW_HEADER))
    if not findings.has_success:
        blocks.append(Text("No episode has succeeded yet, or this task does not know success."))
    blocks.append(
        Text(
            "Mode takes the most likely latents and action, sample draws both at random. Success "
            "is that of an episode's last step, its interval Wilson's."
        )
    )
    return Section("What the policy does", blocks)


def dream_section(findings: Findings) -> Section:
    """Show what the model imagines."""
    pictures = _media(findings.films, "dream.mp4", "dream.png")
    signals = _media(findings.films, "signals.png")
    if not (pictures or signals):
        hint = Text("There are no films of this run; this makes some:")
        return Section(
            "What the model imagines",
            [hint, Commands([_command("robodreamer", "dream", findings.run)])],
        )
    intro = Text(
        "The model watches the first steps of an episode. Then its eyes are closed: it is told "
        "only which actions were taken, and imagines what happens. The policy was trained in "
        "such dreams."
    )
    hidden = [Details("Joints and positions", signals)] if pictures and signals else signals
    return Section("What the model imagines", [intro, *pictures, *hidden])


def learning_section(findings: Findings) -> Section:
    """Show the curves."""
    plots = {path.name: path for path in findings.plots}
    losses = _media(plots, "losses.png")
    details = [Details("Losses", losses)] if losses else []
    return Section("How it learned", [*_media(plots, "learning.png"), *details])


def onboard_section(findings: Findings) -> Section:
    """Tell how the exported policy runs."""
    blocks: list[Block] = []
    if findings.drives:
        rates = ["at the control rate" if d["is_paced"] else "unpaced" for d in findings.drives]
        blocks.append(Table(_drive_rows(findings.drives), ("", *rates)))
        blocks.append(
            Text(
                "Sense to act is from asking for the sensors until the command is out; in "
                "simulation it includes drawing the camera. Unpaced is as fast as possible, which "
                "flatters: between the ticks of a robot caches grow cold."
            )
        )
    if findings.manifest is not None:
        files = findings.manifest.files.items()
        rows = [
            [name, f"{record.size / 1e3:,.0f} kB", record.sha256[:16]] for name, record in files
        ]
        blocks.append(Details("Files of the policy", [Table(rows, ("file", "size", "sha256"))]))
    return Section("On board", blocks)


def training_section(findings: Findings) -> Section:
    """List what was trained, on what, with which settings."""
    config, contract, origin = findings.config, findings.contract, findings.provenance
    last = findings.last
    rows = [
        ["task", config.task],
        ["observed", config.observe],
        ["networks, algorithm, protocol", f"{config.size}, {config.preset}, {config.protocol}"],
        ["seed", str(config.seed)],
        ["steps, updates", f"{last.get('step', 0):,}, {last.get('updates', 0):,.0f}"],
        ["time", f"{last.get('minutes', 0):.1f} minutes, evaluations not counted"],
        ["control period", f"{contract.control_dt_s:g} s"],
        ["machine", str(origin.get("machine") or origin.get("platform", "unknown"))],
        ["version", f"robodreamer {origin['robodreamer']}, commit {origin['commit'] or 'unknown'}"],
        ["packages", ", ".join(f"{k} {v}" for k, v in origin.get("packages", {}).items())],
    ]
    signals = [_signal_row(signal) for signal in contract.observations]
    return Section(
        "What was trained, and how",
        [
            Table(rows),
            Text("Signals; privileged ones are known in training only."),
            Table(signals, ("signal", "shape", "unit", "frame", "elements")),
            Text(f"Actions: {_describe_action(contract)}."),
        ],
    )


def next_section(findings: Findings) -> Section:
    """Name commands that lead on."""
    run, task = findings.run, findings.config.task
    policy = findings.policy or Path("policies/mine")
    deploy = ("robodreamer-deploy", policy, "--robot")
    commands = {}
    if sys.prefix != sys.base_prefix:
        activate = _command("source", Path(sys.prefix, "bin", "activate"))
        commands["once per shell: where the commands are"] = activate
    commands["once per shell: where the paths below begin"] = _command("cd", Path.cwd())
    if findings.policy is None:
        commands["ONNX files for a robot"] = _command("robodreamer", "export", run, "--out", policy)
    commands |= {
        "the policy in the simulator, at the robot's rate": _command(*deploy, f"sim:{task}"),
        "go on training where it stopped": _command(
            "robodreamer", "train", "--resume", "--run", run, *_longer(findings)
        ),
        "film more episodes": _command("robodreamer", "dream", run, "--episodes", 5),
        "look at the run in TensorBoard": _command("tensorboard", "--logdir", run),
        "your own robot: a Python class with a few methods, see docs/your-robot.md": _command(
            *deploy, "my_robot.py:MyRobot", "--dry-run"
        ),
        "what else there is to learn": "robodreamer tasks",
    }
    cameras = [s.name.partition("/")[2] for s in findings.contract.inputs if s.is_image]
    if cameras:
        commands["does it need its eyes?"] = _command(
            "robodreamer", "evaluate", run, "--blank", *cameras
        )
    lines = [line for text, command in commands.items() for line in (f"# {text}", command)]
    return Section("Where to go from here", [Commands(lines)])


SECTIONS: Sequence[Callable[[Findings], Section]] = (
    summary_section,
    policy_section,
    dream_section,
    learning_section,
    onboard_section,
    training_section,
    next_section,
)


def _media(files: Mapping[str, Path], *names: str) -> list[Block]:
    """Return the films and pictures that there are."""
    return [
        Film(files[name], CAPTIONS[name])
        if name.endswith(".mp4")
        else Picture(files[name], CAPTIONS[name], files.get(name.replace(".png", f"{NARROW}.png")))
        for name in names
        if name in files
    ]


def _command(*words: str | int | Path) -> str:
    """Return a command line that a shell takes as it is."""
    return shlex.join(str(word) for word in words)


def _longer(findings: Findings) -> tuple[str, int]:
    """Return the option that lets training go on for about as long again."""
    config, last = findings.config, findings.last
    if last.get("step", 0) >= config.steps:
        return "--steps", 2 * config.steps
    minutes = max(config.minutes or 0.0, last.get("minutes", 0.0))
    return "--minutes", max(1, math.ceil(2 * minutes))


def _score_tile(findings: Findings, score: Score, text: str) -> Tile:
    if score.success is None or not findings.has_success:
        return Tile(
            f"{score.episode_return:.1f}", f"mean return of {score.episodes} episodes {text}"
        )
    interval = f" (95 % interval {score.interval})" if score.interval else ""
    return Tile(f"{score.success:.0%}", f"of {score.episodes} episodes succeed {text}{interval}")


def _drive_rows(drives: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return a row per figure and a column per drive."""
    paced = [d["lateness_ms"] if d["is_paced"] else None for d in drives]
    rows = [
        ["sense to act", *(_quantiles(d["sense_to_act_ms"], "ms") for d in drives)],
        ["of that, the policy", *(_quantiles(d["policy_ms"], "ms") for d in drives)],
        ["lateness", *(_quantiles(lateness, "ms") for lateness in paced)],
        ["surprise", *(_quantiles(d["surprise_nats"], "nats") for d in drives)],
    ]
    for name, key in {"ticks": "ticks", "skipped": "skipped_ticks", "held": "held_ticks"}.items():
        rows.append([name, *(f"{d[key]:,}" for d in drives)])
    for name, key in {"limits applied": "limits", "refused": "bad_observations"}.items():
        rows.append([name, *(_counts(d[key]) for d in drives)])
    return rows


def _quantiles(values: Mapping[str, float] | None, unit: str) -> str:
    if not values:
        return "-"
    return f"median {values['p50']:.2f}, 99 % {values['p99']:.2f}, most {values['max']:.2f} {unit}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"


def _signal_row(signal: Signal) -> list[str]:
    shape = " x ".join(str(side) for side in signal.shape) or "scalar"
    kind = f"{signal.num_classes} classes" if signal.num_classes else signal.unit
    return [signal.name, shape, kind, signal.frame, ", ".join(signal.labels)]


def _describe_action(contract: Contract) -> str:
    action = contract.action
    names = f" ({', '.join(action.labels)})" if action.labels else ""
    if action.kind == "discrete":
        return f"a choice among {action.size}{names}"
    return f"{action.size} continuous values{names}"
