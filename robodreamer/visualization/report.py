"""HTML page about a run: its training, its results, and the commands that lead on.

The words and the layout are in `report.html.jinja`; this module prepares the figures.
"""

import base64
import math
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from robodreamer.evaluation.scores import Score
from robodreamer.utils.formatting import format_duration
from robodreamer.visualization.report_data import RANDOM, ReportData, prepare_report_data
from robodreamer_deploy.contract import Contract, Signal
from robodreamer_deploy.utils.atomic_write import write_atomic
from robodreamer_deploy.utils.streams import Say

TEMPLATE = "report.html.jinja"


class Tile(NamedTuple):
    """One result in large letters."""

    value: str
    label: str


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
    """Check all source files; return the function that writes the page.

    Args:
        run: Run folder.
        policy: Policy folder that was exported from it.
        drives: JSON files of `robodreamer-deploy --report`.
        evaluations: JSON files of `robodreamer evaluate --json`.
        note: Warning to put beside the results.
        out: File to write, RUN/report.html by default.
        say: Receives a line of progress.

    Raises:
        ValueError: The folder holds no trained run, or a file has other contents than expected.
    """
    gather = prepare_report_data(run, policy, drives, evaluations, note)
    target = out or run / "report.html"
    if not target.parent.is_dir():
        raise ValueError(f"there is no folder {target.parent} for {target.name}")

    def write() -> None:
        say("plotting, and trying a random policy for comparison")
        write_atomic(target, render(gather()).encode())
        say(f"wrote {target}; open it in any browser")

    return write


def render(data: ReportData) -> str:
    """Return the page as HTML, with every text of `data` escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,  # a line with nothing but a tag leaves no empty line
        undefined=StrictUndefined,  # a misspelt name raises instead of leaving a gap
    )
    environment.filters["data_url"] = data_url
    contract, last = data.contract, data.last
    return environment.get_template(TEMPLATE).render(
        config=data.config,
        duration=format_duration(60 * last.get("minutes", 0.0)),
        step=last.get("step", 0),
        inputs=", ".join(signal.name for signal in contract.inputs),
        media={**data.videos, **{path.name: path for path in data.plots}},
        tiles=result_tiles(data),
        warnings=data.warnings,
        score_rows=[score.row(name) for name, score in data.scores.items()],
        has_success=data.has_success,
        drive_rows=drive_rows(data.drives),
        drive_header=drive_header(data.drives),
        file_rows=file_rows(data),
        setting_rows=setting_rows(data),
        signal_rows=[signal_row(signal) for signal in contract.observations],
        action=describe_action(contract),
        dream_command=shell("robodreamer", "dream", data.run),
        inspection=data.inspection,
        module_rows=module_rows(data.inspection),
        inspect_command=shell("robodreamer", "inspect", data.run),
        next_commands=next_commands(data).items(),
    )


def data_url(path: Path, media_type: str) -> str:
    """Return a file's contents as a URL, so that the page needs no other file."""
    return f"data:{media_type};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def result_tiles(data: ReportData) -> list[Tile]:
    """Return the results that matter most: scores, latency, effort."""
    tiles = []
    if data.onboard_score is not None:
        text = "driven from the ONNX files, without torch"
        tiles.append(_score_tile(data, data.onboard_score, text))
    tiles.append(_score_tile(data, data.scores[RANDOM], "with random actions"))
    if data.drives and (times := data.drives[-1]["policy_ms"]):
        period = f"{1e3 * data.contract.control_dt_s:g} ms"
        tiles.append(Tile(f"{times['p50']:.1f} ms", f"for a decision (median), of {period}"))
    tiles.append(Tile(format_duration(60 * data.last.get("minutes", 0.0)), "of training"))
    tiles.append(Tile(f"{data.last.get('step', 0):,}", "steps of experience"))
    return tiles


def _score_tile(data: ReportData, score: Score, text: str) -> Tile:
    if score.success is None or not data.has_success:
        label = f"mean return of {score.episodes} episodes {text}"
        return Tile(f"{score.episode_return:.1f}", label)
    interval = f" (95 % interval {score.interval})" if score.interval else ""
    return Tile(f"{score.success:.0%}", f"of {score.episodes} episodes succeed {text}{interval}")


def drive_header(drives: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the header of `drive_rows`."""
    return ["", *("at the control rate" if d["is_paced"] else "unpaced" for d in drives)]


def drive_rows(drives: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return a row per figure and a column per drive, after a column of names."""
    if not drives:
        return []
    paced = [d["lateness_ms"] if d["is_paced"] else None for d in drives]  # else there is no clock
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


def file_rows(data: ReportData) -> list[list[str]]:
    """Return name, size and checksum of each file of the exported policy."""
    files = data.manifest.files if data.manifest else {}
    return [[name, f"{file.size / 1e3:,.0f} kB", file.sha256[:16]] for name, file in files.items()]


def setting_rows(data: ReportData) -> list[list[str]]:
    """Return names and values of the settings, the machine and the versions."""
    config, origin, last = data.config, data.provenance, data.last
    imported = origin.get("imported")
    return [
        ["task", config.task],
        *([["imported from", imported["checkpoint"]]] if imported else []),
        ["observed", config.observe],
        ["networks, algorithm, protocol", f"{config.size}, {config.preset}, {config.protocol}"],
        ["seed", str(config.seed)],
        ["steps, updates", f"{last.get('step', 0):,}, {last.get('updates', 0):,.0f}"],
        ["time", f"{last.get('minutes', 0):.1f} minutes, evaluations not counted"],
        ["control period", f"{data.contract.control_dt_s:g} s"],
        ["machine", str(origin.get("machine") or origin.get("platform", "unknown"))],
        ["version", f"robodreamer {origin['robodreamer']}, commit {origin['commit'] or 'unknown'}"],
        ["packages", ", ".join(f"{k} {v}" for k, v in origin.get("packages", {}).items())],
    ]


def module_rows(inspection: Mapping[str, Any] | None) -> list[list[str]]:
    """Return name, sizes and parameters of every module that was inspected."""
    modules = inspection["modules"] if inspection else []
    return [[m["name"], m["size"], f"{m['parameters']:,}"] for m in modules]


def signal_row(signal: Signal) -> list[str]:
    """Return name, shape, unit, frame and labels of a signal."""
    shape = " x ".join(map(str, signal.shape)) or "scalar"
    unit = f"{signal.num_classes} classes" if signal.num_classes else signal.unit
    return [signal.name, shape, unit, signal.frame, ", ".join(signal.labels)]


def describe_action(contract: Contract) -> str:
    """Return number, kind and labels of the action's elements."""
    action = contract.action
    labels = f" ({', '.join(action.labels)})" if action.labels else ""
    if action.kind == "discrete":
        return f"a choice among {action.size}{labels}"
    return f"{action.size} continuous values{labels}"


def next_commands(data: ReportData) -> dict[str, str]:
    """Return command lines that lead on, each under its purpose."""
    run, task = data.run, data.config.task
    policy = data.policy or Path("policies/mine")
    deploy = ("robodreamer-deploy", policy, "--robot")
    commands = {}
    if sys.prefix != sys.base_prefix:
        activate = shell("source", Path(sys.prefix, "bin", "activate"))
        commands["once per shell: where the commands are"] = activate
    commands["once per shell: where the paths below begin"] = shell("cd", Path.cwd())
    if data.policy is None:
        commands["ONNX files for a robot"] = shell("robodreamer", "export", run, "--out", policy)
    commands |= {
        "the policy in the simulator, at the robot's rate": shell(*deploy, f"sim:{task}"),
        "go on training where it stopped": shell(
            "robodreamer", "train", "--resume", "--run", run, *_longer(data)
        ),
        "record more episodes": shell("robodreamer", "dream", run, "--episodes", 5),
        "look at the run in TensorBoard": shell("tensorboard", "--logdir", run),
        "your own robot: a Python class with a few methods, see docs/your-robot.md": shell(
            *deploy, "my_robot.py:MyRobot", "--dry-run"
        ),
        "what else there is to learn": "robodreamer tasks",
    }
    cameras = [s.name.partition("/")[2] for s in data.contract.inputs if s.is_image]
    if cameras:
        commands["does it need its cameras?"] = shell(
            "robodreamer", "evaluate", run, "--blank", *cameras
        )
    return commands


def shell(*words: str | int | Path) -> str:
    """Return a command line with its words quoted for a shell."""
    return shlex.join(str(word) for word in words)


def _longer(data: ReportData) -> tuple[str, int]:
    """Return the option that continues training for about as long as it took so far."""
    config, last = data.config, data.last
    if last.get("step", 0) >= config.steps:
        return "--steps", 2 * config.steps
    minutes = max(config.minutes or 0.0, last.get("minutes", 0.0))
    return "--minutes", max(1, math.ceil(2 * minutes))
