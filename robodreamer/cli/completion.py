"""`robodreamer --print-completion SHELL`: a script by which a shell completes words.

tyro prints one, too, which completes neither tasks nor the words of `robodreamer robot`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from robodreamer.cli.dataset import ImportLogArguments, ImportReferenceArguments
from robodreamer.cli.demo import DemoArguments
from robodreamer.cli.doctor import DoctorArguments
from robodreamer.cli.evaluate import EvaluateArguments
from robodreamer.cli.export import ExportArguments
from robodreamer.cli.parsing import options_of
from robodreamer.cli.tasks import TasksArguments
from robodreamer.cli.train import TrainArguments
from robodreamer.cli.vae import VaeArguments
from robodreamer.cli.visualize import (
    DreamArguments,
    InspectArguments,
    PlotArguments,
    ReportArguments,
)
from robodreamer.config import choose

ARGUMENTS: Mapping[str, Any] = {
    "train": TrainArguments,
    "evaluate": EvaluateArguments,
    "export": ExportArguments,
    "dream": DreamArguments,
    "inspect": InspectArguments,
    "plot": PlotArguments,
    "report": ReportArguments,
    "vae": VaeArguments,
    "import-log": ImportLogArguments,
    "import-reference": ImportReferenceArguments,
    "tasks": TasksArguments,
    "doctor": DoctorArguments,
    "demo": DemoArguments,
}
TASK_COMMANDS = ("train", "tasks", "robot", "vae")
"""Commands whose first word is a task."""
SHELLS = {"bash": "", "zsh": "autoload -U +X bashcompinit && bashcompinit\n"}
"""Line in front of bash's script that makes a shell understand it."""
SCRIPT = """\
# completion of robodreamer's commands, options, tasks and files
{first}_robodreamer() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" options="" tasks=""
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{commands}" -- "$word"))
    return
  fi
  case "${{COMP_WORDS[1]}}" in
{cases}
  esac
  case "$word" in
    -*) COMPREPLY=($(compgen -W "$options" -- "$word")) ;;
    *) COMPREPLY=($(compgen -W "$tasks" -- "$word") $(compgen -f -- "$word")) ;;
  esac
}}
complete -o filenames -F _robodreamer robodreamer
"""


def completion_script(shell: str) -> str:
    """Return the script for a shell.

    Raises:
        ValueError: There is none for this shell.
    """
    first = choose("shell", shell, SHELLS)
    return SCRIPT.format(
        first=first,
        commands=" ".join(["--version", "--help", *_options()]),
        cases="\n".join(_cases()),
    )


def _cases() -> Iterator[str]:
    from robodreamer_sim import list_tasks

    tasks = " ".join(sorted(list_tasks()))
    for command, options in _options().items():
        shown = f' tasks="{tasks}"' if command in TASK_COMMANDS else ""
        yield f'    {command}) options="{" ".join(options)} --help"{shown} ;;'


def _options() -> dict[str, list[str]]:
    """Return the options of every command, by its name."""
    from robodreamer_sim.robots.virtual_hardware.arguments import parser

    found = {name: list(options_of(kind)) for name, kind in ARGUMENTS.items()}
    words = parser("robodreamer robot").format_usage().replace("[", " ").replace("]", " ").split()
    return found | {"robot": [word for word in words if word.startswith("--")]}
