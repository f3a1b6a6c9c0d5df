"""`robodreamer import-log`: logs of a robot into the replay of the run its policy came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from robodreamer.cli.parsing import Job, parse, say

Logs = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="LOG ...")]


@dataclass(frozen=True, kw_only=True)
class ImportLogArguments:
    """Add what a robot recorded to a run's replay, so that training goes on with it."""

    logs: Logs
    """Logs that `robodreamer-deploy --log` wrote."""
    run: Path
    """Run folder; no process may train it at the same time."""


def import_log(words: Sequence[str]) -> Job:
    """Prepare an import."""
    arguments = parse(ImportLogArguments, "import-log", words)
    if not arguments.logs:
        raise ValueError("name a log, such as drive.mcap")
    from robodreamer.runs.import_episodes import prepare_import

    return prepare_import(arguments.logs, arguments.run, say)
