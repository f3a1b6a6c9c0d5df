"""`robodreamer train`: the settings of a run, from words, or from a run that is resumed."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from robodreamer.cli.parsing import Job, parse
from robodreamer.config import TrainConfig, default_words, folder_name, named_config

Task = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TASK")]

MUTABLE = {
    "steps", "minutes", "threads", "num_workers", "checkpoint_minutes", "keep_checkpoints",
    "evaluate_minutes", "evaluate_steps", "evaluate_episodes", "log_seconds", "log_steps", "device",
    "on_crash", "env_timeout_s",
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
    arguments = parse_train(words)
    if not arguments.task and not (arguments.resume and arguments.run):
        raise ValueError("name a task, such as fetch_reach; `robodreamer tasks` lists them")
    folder = arguments.run or Path("runs") / folder_name(arguments.task)
    if arguments.resume:
        from robodreamer.runs.run_folder import read_run

        resumed = read_run(folder)
        config = resumed_config(folder, resumed.config, words)
    else:
        resumed, config = None, config_of(arguments)
    from robodreamer.training.builder import make_training_job

    return make_training_job(config, folder, resumed=resumed, view=arguments.view)


def parse_train(words: Sequence[str], base: TrainConfig | None = None) -> TrainArguments:
    """Read the words over the defaults that --size, --preset and --protocol choose."""
    defaults = base or usual_config(words)
    fields = {f.name: getattr(defaults, f.name) for f in dataclasses.fields(TrainConfig)}
    return parse(TrainArguments, "train", words, TrainArguments(**fields))


def usual_config(words: Sequence[str] = ()) -> TrainConfig:
    """Return the settings that the three words stand for, or their defaults on this machine."""
    names = default_words()
    for position, word in enumerate(words):
        name, separator, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and name in names:
            names[name] = value if separator else "".join(words[position + 1 : position + 2])
    return named_config("", **names)


def config_of(arguments: TrainArguments) -> TrainConfig:
    """Return the settings among the arguments, with what a file of randomisation holds."""
    from robodreamer_sim.randomization import read_word

    fields = {f.name: getattr(arguments, f.name) for f in dataclasses.fields(TrainConfig)}
    fields["randomize"] = read_word(arguments.randomize)
    return TrainConfig(**fields)


def resumed_config(folder: Path, saved: TrainConfig, words: Sequence[str]) -> TrainConfig:
    """Return the run's own settings, with those of `words` that a resumed run may change.

    Raises:
        ValueError: A setting would make it another run; all such settings are listed.
    """
    wanted = config_of(parse_train(words, base=saved))
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
