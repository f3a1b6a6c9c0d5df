"""`robodreamer tasks`: the list of tasks, one in detail or in pictures, and the check of a task."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from robodreamer.cli.parsing import Job, parse, say
from robodreamer.config import named_config

USUAL_FOLDER = Path("runs/tasks")


@dataclass(frozen=True, kw_only=True)
class TasksArguments:
    """List the tasks; of up to four, print all that they observe and accept.

    `robodreamer tasks check NAME ...` tests tasks, also your own, against what every task promises.
    """

    filter: Annotated[str, tyro.conf.Positional] = ""
    """Task to show, or part of the names or texts to list."""
    show: bool = False
    """Save a sheet of every camera and a short clip of a random policy, of up to four tasks."""
    out: Path | None = None
    """Folder for what `--show` saves; runs/tasks by default."""
    geom_groups: tuple[int, ...] | None = None
    """Groups of geoms that are drawn; by default the task's own choice. `train` takes the same as
    `--data.geom-groups`."""
    meshes: Literal["full", "thin"] = "full"
    """`thin` draws at most 2,000 triangles of each mesh; `train` takes it as `--data.meshes`."""
    randomize: str = "none"
    """With `--show`, save a sheet of 16 episodes that are randomised so: mild, strong, or a JSON
    file of a preset and entries."""


def tasks(words: Sequence[str]) -> Job:
    """Prepare to list the tasks, show them, or check them."""
    if words[:1] == ["check"]:
        return _check(words[1:])
    arguments = parse(TasksArguments, "tasks", words)
    from robodreamer.tasks.table import FEW, foreign_text, format_tasks, matching
    from robodreamer_sim import EnvOptions, list_tasks
    from robodreamer_sim.randomization import read_word

    randomize = read_word(arguments.randomize)
    if randomize != "none" and not arguments.show:
        raise ValueError("--randomize shows what episodes look like: it goes with --show")
    if arguments.out and not arguments.show:
        raise ValueError("--out is the folder of what --show saves: it goes with --show")
    listed = list_tasks()
    word = arguments.filter
    chosen = {word: foreign_text(word)} if ":" in word else matching(listed, word)
    if len(chosen) > FEW:
        if arguments.show:
            raise ValueError(
                f"--show takes at most {FEW} tasks, {len(chosen)} are chosen; name one"
            )
        return lambda: say(format_tasks(chosen))
    from robodreamer_sim.compat import import_mujoco

    import_mujoco()  # says in a sentence what is wrong with MUJOCO_GL; importing it does not
    from robodreamer.visualization.tasks import prepare_task_view

    folder = (arguments.out or USUAL_FOLDER) if arguments.show else None
    side = named_config("").data.image_size
    options = EnvOptions(
        image_size=(side, side),
        geom_groups=arguments.geom_groups,
        meshes=arguments.meshes,
        randomize=randomize,
    )
    views = [prepare_task_view(*item, folder, say, options) for item in chosen.items()]

    def tell() -> None:
        for view in views:
            view()

    return tell


@dataclass(frozen=True, kw_only=True)
class CheckArguments:
    """Test tasks against what every task promises: values, seeds, pictures, actions, ends.

    The exit status is 1 if a promise is broken.
    """

    names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME ...")] = ()
    """Listed tasks, gym:ID or gym:MODULE:ID, or module:Class or module:function of your own."""


def _check(words: Sequence[str]) -> Job:
    arguments = parse(CheckArguments, "tasks check", words)
    if not arguments.names:
        raise ValueError("name the tasks to check, such as arm_reach or my_module:MyTask")
    from robodreamer_sim.compat import import_mujoco

    import_mujoco()
    from robodreamer.tasks.check import prepare_check

    return prepare_check(arguments.names, say, named_config(""))
