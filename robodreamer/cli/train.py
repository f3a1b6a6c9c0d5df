"""`robodreamer train`: a new run with the settings that words name, or one that is resumed."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from robodreamer.cli.parsing import Job, parse
from robodreamer.config import TrainConfig, folder_name, named_config

if TYPE_CHECKING:
    from robodreamer.runs.run import Run

Task = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TASK")]


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
    camera_from: Path | None = None
    """Folder that `robodreamer vae` wrote: the camera's encoder of a new run starts from its."""


def train(words: Sequence[str]) -> Job:
    """Prepare a new run, or one that is resumed."""
    arguments = parse_train(words)
    if arguments.resume and arguments.camera_from:
        raise ValueError("--camera-from starts a new run; --resume goes on with what was learnt")
    if arguments.resume:
        return _resume(arguments, words)
    if not arguments.task:
        raise ValueError("name a task, such as fetch_reach; `robodreamer tasks` lists them")
    config = config_of(arguments)
    from robodreamer import api

    return _interruptible(
        api.train.prepare(
            config, run=arguments.run, view=arguments.view, camera_from=arguments.camera_from
        )
    )


def _resume(arguments: "TrainArguments", words: Sequence[str]) -> Job:
    """Prepare to go on with the run's own settings, over which those of `words` are laid."""
    if not (arguments.run or arguments.task):
        raise ValueError("name the run to go on with: --run FOLDER, or a task for runs/TASK")
    folder = arguments.run or Path("runs") / folder_name(arguments.task)
    from robodreamer import api
    from robodreamer.runs.run import Run

    run = Run(folder)
    wanted = config_of(parse_train(words, base=run.config))
    changes = {
        field.name: value
        for field in dataclasses.fields(TrainConfig)
        if (value := getattr(wanted, field.name)) != getattr(run.config, field.name)
    }
    if not wanted.task:
        changes.pop("task")
    return _interruptible(api.resume.prepare(run, view=arguments.view, **changes))


def _interruptible(job: "Callable[[], Run]") -> Job:
    """Return a job that ends as Ctrl-C does if it was told to stop, so that no script goes on."""

    def train_to_the_end() -> None:
        if job().was_stopped:
            raise KeyboardInterrupt

    return train_to_the_end


def parse_train(words: Sequence[str], base: TrainConfig | None = None) -> TrainArguments:
    """Read the words over the defaults that --size, --preset and --protocol choose."""
    defaults = base or named_config("", **chosen_names(words))
    fields = {f.name: getattr(defaults, f.name) for f in dataclasses.fields(TrainConfig)}
    return parse(TrainArguments, "train", words, TrainArguments(**fields))


def chosen_names(words: Sequence[str]) -> dict[str, str]:
    """Return what --size, --preset and --protocol are set to, which all other defaults hang on."""
    names: dict[str, str] = {}
    for position, word in enumerate(words):
        name, separator, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and name in {"size", "preset", "protocol"}:
            names[name] = value if separator else "".join(words[position + 1 : position + 2])
    return names


def config_of(arguments: TrainArguments) -> TrainConfig:
    """Return the settings among the arguments, with what a file of randomisation holds."""
    from robodreamer.training.run_settings import change_settings

    fields = {f.name: getattr(arguments, f.name) for f in dataclasses.fields(TrainConfig)}
    return change_settings(TrainConfig(**fields), {})
