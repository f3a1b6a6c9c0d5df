"""What each subcommand reads and builds: the composition root.

A command turns its words into a job and complains about what is wrong with them; the job does the
work. Nothing but this module decides what is built from what.
"""

import dataclasses
import difflib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

import tyro

from robodreamer.config import TrainConfig, folder_name, named_config
from robodreamer.config_check import check_settings

Job = Callable[[], int | None]
"""Does the work; returns the exit status, None for 0."""
Task = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TASK")]
Folder = Annotated[Path, tyro.conf.Positional]
Folders = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN ...")]
Arguments = TypeVar("Arguments")

MUTABLE = {
    "steps", "minutes", "threads", "num_workers", "checkpoint_minutes", "keep_checkpoints",
    "evaluate_minutes", "evaluate_steps", "evaluate_episodes", "log_seconds", "log_steps", "device",
    "on_crash",
}  # fmt: skip
"""Settings that a resumed run may change, because they do not change what it is."""


@dataclass(frozen=True, kw_only=True)
class TrainArguments(TrainConfig):
    """Learn a task; every setting of the run can be given here.

    Three words choose the rest: --size the networks, --preset the algorithm, --protocol how data
    is collected and replayed.
    """

    task: Task = ""
    run: Path | None = None
    """Run folder; runs/TASK by default."""
    resume: bool = False
    """Go on from the run's newest checkpoint, exactly where it was."""
    view: bool = False
    """Show the newest policy in MuJoCo's viewer while it learns; needs a display."""


def train(words: Sequence[str]) -> Job:
    """Build a training session, new or resumed."""
    arguments = _parse_train(words)
    if not arguments.task and not (arguments.resume and arguments.run):
        raise ValueError("name a task, such as fetch_reach; `robodreamer tasks` lists them")
    folder = arguments.run or Path("runs") / folder_name(arguments.task)
    config = _resumed_config(folder, words) if arguments.resume else _config_of(arguments)
    check_settings(config)
    from robodreamer.session import prepare_training

    return prepare_training(config, folder, resume=arguments.resume, view=arguments.view)


def _parse_train(words: Sequence[str], base: TrainConfig | None = None) -> TrainArguments:
    """Read the words over the defaults that --size, --preset and --protocol choose."""
    defaults = base or _named_defaults(words)
    fields = {f.name: getattr(defaults, f.name) for f in dataclasses.fields(TrainConfig)}
    return parse(TrainArguments, "train", words, TrainArguments(**fields))


def parse(
    kind: type[Arguments], command: str, words: Sequence[str], default: Arguments | None = None
) -> Arguments:
    """Read a command's words into its arguments; help, or a value of the wrong kind, exits here.

    Raises:
        ValueError: A word means nothing; names the options that come closest.
    """
    program = f"robodreamer {command}"
    arguments, unknown = tyro.cli(
        kind,
        prog=program,
        args=words,
        default=tyro.MISSING_NONPROP if default is None else default,
        return_unknown_args=True,
    )
    if unknown:
        word = unknown[0].partition("=")[0]
        close = difflib.get_close_matches(word, list(_options(kind)), n=3)
        hint = f"the closest are {', '.join(close)}; " if close else ""
        raise ValueError(f"{command} does not know {word!r}; {hint}{program} --help lists all")
    return arguments


def _options(kind: Any, prefix: str = "--") -> Iterator[str]:
    """Yield the names of all options of a dataclass and of those in it."""
    types = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        option = prefix + field.name.replace("_", "-")
        if dataclasses.is_dataclass(types[field.name]):
            yield from _options(types[field.name], f"{option}.")
        else:
            yield option


def _named_defaults(words: Sequence[str]) -> TrainConfig:
    """Return the settings that the three words stand for."""
    has_gpu = Path("/dev/nvidiactl").exists()
    names = {
        "size": "12m" if has_gpu else "cpu",
        "preset": "multimodal",
        "protocol": "default" if has_gpu else "cpu",
    }
    for position, word in enumerate(words):
        name, separator, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and name in names:
            names[name] = value if separator else "".join(words[position + 1 : position + 2])
    return named_config("", **names)


def _config_of(arguments: TrainArguments) -> TrainConfig:
    fields = {f.name: getattr(arguments, f.name) for f in dataclasses.fields(TrainConfig)}
    fields["randomize"] = _read_randomize(arguments.randomize)
    return TrainConfig(**fields)


def _read_randomize(word: str) -> str:
    """Return a preset's name as it is, and of a file what it holds, so that a run keeps that."""
    if not word.endswith(".json"):
        return word
    try:
        return Path(word).read_text()
    except OSError as error:
        raise ValueError(f"--randomize {word}: {error.strerror}") from error


def _resumed_config(folder: Path, words: Sequence[str]) -> TrainConfig:
    """Return the run's own settings, with those of `words` that a resumed run may change.

    Raises:
        ValueError: A setting would make it another run; all such settings are listed.
    """
    from robodreamer.run import read_run

    saved, _, _ = read_run(folder)
    wanted = _config_of(_parse_train(words, base=saved))
    if not wanted.task:
        wanted = dataclasses.replace(wanted, task=saved.task)
    if changed := list(_changes(saved, wanted)):
        raise ValueError(f"{folder} is another run: {'; '.join(changed)}. Nothing was changed")
    return wanted


def _changes(saved: Any, wanted: Any, prefix: str = "") -> Iterator[str]:
    """Say of every setting that has to stay what it was to what it was changed."""
    for field in dataclasses.fields(saved):
        before, after = getattr(saved, field.name), getattr(wanted, field.name)
        if dataclasses.is_dataclass(before):
            yield from _changes(before, after, f"{prefix}{field.name}.")
        elif before != after and field.name not in MUTABLE:
            yield f"{prefix}{field.name} {before} -> {after}"


@dataclass(frozen=True, kw_only=True)
class EvaluateArguments:
    """Measure return and success of a run, or of an exported policy, on fixed episodes."""

    folder: Folder
    """Run folder, or policy folder."""
    episodes: int = 50
    """Episodes per draw; the same number always means the same episodes."""
    draw: Literal["mode", "sample", "both"] = "both"
    """Take the most likely latents and action, draw them at random, or try one after the other."""
    checkpoint: str | None = None
    """Checkpoint of a run, such as step-000012000; the newest by default."""
    blank: tuple[str, ...] = ()
    """Cameras that show black, to see how much the policy depends on them."""
    json: Path | None = None
    """File to write all figures to."""


def evaluate(words: Sequence[str]) -> Job:
    """Build an evaluation."""
    arguments = parse(EvaluateArguments, "evaluate", words)
    from robodreamer.assess import prepare_evaluation
    from robodreamer_deploy.bundle import DRAWS

    return prepare_evaluation(
        arguments.folder,
        episodes=arguments.episodes,
        draws=DRAWS if arguments.draw == "both" else (arguments.draw,),
        say=_say,
        checkpoint=arguments.checkpoint,
        blank=arguments.blank,
        json_file=arguments.json,
    )


@dataclass(frozen=True, kw_only=True)
class ExportArguments:
    """Write a run's policy as three ONNX files that have been verified against torch."""

    run: Folder
    """Run folder."""
    out: Path | None = None
    """Policy folder, in which an older policy is replaced; policies/ and the run folder's name by
    default, where only one of the same run is."""
    checkpoint: str | None = None
    """Checkpoint, such as step-000012000; the newest by default."""
    opset: int = 18
    """ONNX operator set."""
    episodes: int = 10
    """Episodes to drive through onnxruntime with either draw; 0 drives none."""


def export(words: Sequence[str]) -> Job:
    """Build an export."""
    arguments = parse(ExportArguments, "export", words)
    from robodreamer.onnx_export.export import prepare_export

    return prepare_export(
        arguments.run,
        arguments.out,
        checkpoint=arguments.checkpoint,
        opset=arguments.opset,
        episodes=arguments.episodes,
        say=_say,
    )


@dataclass(frozen=True, kw_only=True)
class DreamArguments:
    """Film episodes, and what the model imagines of the first; into RUN/videos."""

    run: Folder
    """Run folder."""
    checkpoint: str | None = None
    """Checkpoint, such as step-000012000; the newest by default."""
    episodes: int = 1
    """Evaluation episodes to film, one after the other."""
    context: int = 5
    """Steps that the model watches before it imagines the others."""


def dream(words: Sequence[str]) -> Job:
    """Build what films a run."""
    arguments = parse(DreamArguments, "dream", words)
    for name in ("episodes", "context"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name} is at least 1")
    from robodreamer.pictures.films import prepare_films

    return prepare_films(
        arguments.run, arguments.checkpoint, arguments.episodes, arguments.context, _say
    )


@dataclass(frozen=True, kw_only=True)
class PlotArguments:
    """Plot return, success and losses of runs over steps and minutes.

    Runs that differ in nothing but the seed become one line with a band.
    """

    runs: Folders = ()
    """Run folders."""
    published: Path | None = None
    """CSV of published curves (suite, task, env_step, mean, std, n_seeds) to lay underneath, such
    as docs/data/dreamerv3_dmc_curves.csv."""
    out: Path | None = None
    """Folder for the pictures; plots in the first run folder by default."""


def plot(words: Sequence[str]) -> Job:
    """Build what plots runs."""
    arguments = parse(PlotArguments, "plot", words)
    if not arguments.runs:
        raise ValueError("name at least one run folder, such as runs/fetch_reach")
    from robodreamer.pictures.plot import prepare_plots

    out = arguments.out or arguments.runs[0] / "plots"
    return prepare_plots(arguments.runs, arguments.published, out, _say)


@dataclass(frozen=True, kw_only=True)
class ReportArguments:
    """Write one HTML page about a run: how it learned, what it dreams, what it achieves."""

    run: Folder
    """Run folder."""
    policy: Path | None = None
    """Policy folder that was exported from it."""
    drive: tuple[Path, ...] = ()
    """Reports that `robodreamer-deploy --report` wrote."""
    evaluation: tuple[Path, ...] = ()
    """Files that `robodreamer evaluate --json` wrote."""
    out: Path | None = None
    """The page; report.html in the run folder by default."""


def report(words: Sequence[str]) -> Job:
    """Build what writes the page."""
    arguments = parse(ReportArguments, "report", words)
    from robodreamer.report.report import prepare_report

    return prepare_report(
        arguments.run,
        policy=arguments.policy,
        drives=arguments.drive,
        evaluations=arguments.evaluation,
        out=arguments.out,
        say=_say,
    )


@dataclass(frozen=True, kw_only=True)
class TasksArguments:
    """List the tasks; tell of a few, or of one by name, all that they observe and accept."""

    filter: Annotated[str, tyro.conf.Positional] = ""
    """Only those whose name or text holds this, or the one of this name."""
    show: Path | None = None
    """Save a sheet of every camera and a short clip of a random policy, for each of a few; into
    this folder, runs/tasks if none is named."""
    randomize: str = "none"
    """With `--show`, save a sheet of 16 episodes that are randomised so: mild, strong, or a JSON
    file of a preset and entries."""


def tasks(words: Sequence[str]) -> Job:
    """Build what lists the tasks."""
    names_folder = "--show" in words[:-1] and not words[words.index("--show") + 1].startswith("-")
    if "--show" in words and not names_folder:
        words = [word for word in words if word != "--show"] + ["--show", "runs/tasks"]
    arguments = parse(TasksArguments, "tasks", words)
    from robodreamer.listing import FEW, foreign_text, format_tasks, matching
    from robodreamer_sim import list_tasks

    listed = list_tasks()
    word = arguments.filter
    chosen = {word: foreign_text(word)} if ":" in word else matching(listed, word)
    if len(chosen) > FEW:
        if arguments.show:
            raise ValueError(
                f"--show takes at most {FEW} tasks, {len(chosen)} are chosen; name one"
            )
        lines = format_tasks(chosen)
        return lambda: _say("\n".join(lines))
    from robodreamer.gallery import prepare_exhibit

    randomize = _read_randomize(arguments.randomize)
    exhibits = [prepare_exhibit(*item, arguments.show, _say, randomize) for item in chosen.items()]

    def tell() -> None:
        for exhibit in exhibits:
            exhibit()

    return tell


@dataclass(frozen=True, kw_only=True)
class DoctorArguments:
    """Examine this machine: packages, simulation, rendering, GPU, real-time rights, disk.

    Says what to do about everything that fails; the exit status is then 1.
    """

    json: Path | None = None
    """File for the findings."""


def doctor(words: Sequence[str]) -> Job:
    """Build the examination."""
    arguments = parse(DoctorArguments, "doctor", words)
    from robodreamer.doctor.examination import prepare_examination

    return prepare_examination(_say, arguments.json)


@dataclass(frozen=True, kw_only=True)
class DemoArguments:
    """Learn, evaluate, export, drive and report, one public command after the other.

    What is done already is not repeated, so the same words go on after an interruption.
    """

    minutes: float = 15.0
    """Minutes of training; everything else takes a few more."""
    task: str = "fetch_reach"
    """Task to learn."""
    out: Path = Path("runs/demo")
    """Folder for everything."""
    seed: int = 0
    """Of training."""
    fresh: bool = False
    """Delete what an earlier demo left in the folder, and begin again."""


def demo(words: Sequence[str]) -> Job:
    """Build the demonstration."""
    arguments = parse(DemoArguments, "demo", words)
    from robodreamer.demo.demo import prepare_demo

    return prepare_demo(
        arguments.task,
        arguments.out,
        minutes=arguments.minutes,
        seed=arguments.seed,
        fresh=arguments.fresh,
        say=_say,
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


COMMANDS: Mapping[str, Callable[[Sequence[str]], Job]] = {
    "train": train,
    "evaluate": evaluate,
    "export": export,
    "dream": dream,
    "plot": plot,
    "report": report,
    "tasks": tasks,
    "doctor": doctor,
    "demo": demo,
}
