"""What each subcommand reads and builds: the composition root.

A command turns its words into a job and complains about what is wrong with them; the job does the
work. Nothing but these modules decides what is built from what.
"""

from collections.abc import Callable, Mapping, Sequence

from robodreamer.cli.dataset import import_log
from robodreamer.cli.export import export
from robodreamer.cli.machine import demo, doctor, robot
from robodreamer.cli.parsing import Job, say
from robodreamer.cli.results import dream, evaluate, plot, report
from robodreamer.cli.tasks import tasks
from robodreamer.cli.train import train


def print_completion(words: Sequence[str]) -> Job:
    """Build what prints the script that completes words in a shell; bash's where none is named."""
    from robodreamer.cli.completion import completion_script

    script = completion_script(words[0] if words else "bash")
    return lambda: say(script)


COMMANDS: Mapping[str, Callable[[Sequence[str]], Job]] = {
    "train": train,
    "evaluate": evaluate,
    "export": export,
    "dream": dream,
    "plot": plot,
    "report": report,
    "import-log": import_log,
    "tasks": tasks,
    "doctor": doctor,
    "demo": demo,
    "robot": robot,
}
