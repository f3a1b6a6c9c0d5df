"""What each subcommand reads and builds: the composition root.

A command turns its words into a job and complains about what is wrong with them; the job does the
work. Nothing but this module decides what is built from what.
"""

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import tyro

from robodreamer.config import PRESETS, PROTOCOLS, SIZES, TrainConfig, check_settings, choose

Job = Callable[[], None]
Task = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TASK")]
Folder = Annotated[Path, tyro.conf.Positional]
Arguments = TypeVar("Arguments")

MUTABLE = {
    "steps", "minutes", "threads", "num_workers", "checkpoint_minutes", "keep_checkpoints",
    "evaluate_minutes", "evaluate_steps", "evaluate_episodes", "log_seconds", "log_steps", "device",
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
    folder = arguments.run or Path("runs") / re.sub(r"[:/]", "_", arguments.task)
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
        "preset": "dreamer_v3",
        "protocol": "default" if has_gpu else "cpu",
    }
    for position, word in enumerate(words):
        name, separator, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and name in names:
            names[name] = value if separator else "".join(words[position + 1 : position + 2])
    return TrainConfig(
        task="",
        size=names["size"],
        preset=names["preset"],
        protocol=names["protocol"],
        network=choose("size", names["size"], SIZES),
        algorithm=choose("preset", names["preset"], PRESETS),
        data=choose("protocol", names["protocol"], PROTOCOLS),
    )


def _config_of(arguments: TrainArguments) -> TrainConfig:
    fields = {f.name: getattr(arguments, f.name) for f in dataclasses.fields(TrainConfig)}
    return TrainConfig(**fields)


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


COMMANDS: Mapping[str, Callable[[Sequence[str]], Job]] = {"train": train}
