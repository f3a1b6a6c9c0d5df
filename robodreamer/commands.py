"""What each subcommand reads and builds: the composition root.

A command turns its words into a job and complains about what is wrong with them; the job does the
work. Nothing but this module decides what is built from what.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from robodreamer import config as configs
from robodreamer.config import PRESETS, PROTOCOLS, SIZES, TrainConfig, choose

Job = Callable[[], None]
Task = Annotated[str, tyro.conf.Positional]
Folder = Annotated[Path, tyro.conf.Positional]

MUTABLE = {
    "steps", "minutes", "threads", "num_workers", "checkpoint_minutes", "keep_checkpoints",
    "evaluate_minutes", "evaluate_episodes", "log_seconds", "device",
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


def train(words: Sequence[str]) -> Job:
    """Build a training session, new or resumed."""
    arguments = _parse_train(words)
    if not arguments.task and not (arguments.resume and arguments.run):
        raise ValueError("name a task, such as fetch_reach; `robodreamer tasks` lists them")
    folder = arguments.run or Path("runs") / re.sub(r"[:/]", "_", arguments.task)
    config = _resumed_config(folder, words) if arguments.resume else _config_of(arguments)
    from robodreamer.session import prepare_training

    return prepare_training(config, folder, resume=arguments.resume)


def _parse_train(words: Sequence[str], base: TrainConfig | None = None) -> TrainArguments:
    """Read the words over the defaults that --size, --preset and --protocol choose."""
    defaults = base or _named_defaults(words)
    fields = {f.name: getattr(defaults, f.name) for f in dataclasses.fields(TrainConfig)}
    return tyro.cli(
        TrainArguments,
        args=words,
        prog="robodreamer train",
        default=TrainArguments(**fields),
    )


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
        **names,
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
    changed = [
        f"{f.name} {getattr(saved, f.name)!r} -> {getattr(wanted, f.name)!r}"
        for f in dataclasses.fields(TrainConfig)
        if f.name not in MUTABLE and getattr(saved, f.name) != getattr(wanted, f.name)
    ]
    if changed:
        raise ValueError(f"{folder} is another run: {'; '.join(changed)}. Nothing was changed")
    return wanted


COMMANDS: Mapping[str, Callable[[Sequence[str]], Job]] = {"train": train}
