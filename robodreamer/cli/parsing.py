"""Words of the command line into arguments; the one place that all commands share.

tyro reads the words of one command. Its own subcommands and its own suggestions are not used: a
mistake has to be one sentence with the closest word, on one line of a log, and tyro answers with a
box of several lines, names no command that is close, and of `evaluate --epsiodes` suggests the
`--episodes` of every command (tyro 1.0.16).
"""

import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import tyro

from robodreamer_deploy.utils.suggest import printable_lines, similar

Job = Callable[[], object]
"""Work of a command, prepared; an int that it returns is the exit status, all else means 0."""
Folder = Annotated[Path, tyro.conf.Positional]
Folders = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN ...")]
Arguments = TypeVar("Arguments")


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
        close = similar(word, options_of(kind))
        hint = f"the closest are {', '.join(close)}; " if close else ""
        raise ValueError(f"{command} does not know {word!r}; {hint}{program} --help lists all")
    return arguments


def options_of(kind: Any, prefix: str = "--") -> Iterator[str]:
    """Yield the names of all options of a dataclass and of those in it."""
    types = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        option = prefix + field.name.replace("_", "-")
        if dataclasses.is_dataclass(types[field.name]):
            yield from options_of(types[field.name], f"{option}.")
        else:
            yield option


def say(line: str) -> None:
    """Print a line at once; what in it would steer the terminal is escaped."""
    sys.stdout.write(f"{printable_lines(line)}\n")
    sys.stdout.flush()
