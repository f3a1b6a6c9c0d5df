"""The program `robodreamer-deploy`: runs the command that is named, prints mistakes as one line."""

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from robodreamer_deploy.utils.streams import open_closed_streams
from robodreamer_deploy.utils.suggest import printable

USER_ERROR = 2
INTERRUPTED = 130
DRIVE = "drive"
COMMANDS = {
    "inspect": "inspect",
    "check-robot": "check_robot",
    "label": "label",
    "serve": "serve",
    "keys": "keys",
}
"""Module by first word; whatever is none of these is a policy to drive with."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0, 1 fault, 2 user error, 128 + signal."""
    open_closed_streams()
    command, words = find_command(sys.argv[1:] if argv is None else argv)
    arguments = command.parser().parse_args(words)
    from robodreamer_deploy.errors import BundleError, RobotError
    from robodreamer_deploy.utils.async_logging import ThreadHandler

    handler = ThreadHandler()
    logging.basicConfig(format="%(levelname)s %(message)s", handlers=[handler])
    try:
        return command.run(arguments, say)
    except (BundleError, RobotError, OSError) as error:  # OSError: a file that cannot be read
        with contextlib.suppress(OSError):  # the exit code tells it all the same
            print(f"robodreamer-deploy: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:  # before the robot is connected, or long after a first one
        return INTERRUPTED
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


def find_command(words: Sequence[str]) -> tuple[ModuleType, Sequence[str]]:
    """Return the module of the command that is meant, and the words that are left for it."""
    name = COMMANDS.get(words[0]) if words else None
    module = importlib.import_module(f"robodreamer_deploy.cli.{name or DRIVE}")
    return module, words[1:] if name else words


def say(line: str) -> None:
    """Print a line; where nobody reads any more, go on in silence: a robot may be moving."""
    encoding = sys.stdout.encoding or "utf-8"
    shown = printable(line).encode(encoding, "backslashreplace").decode(encoding)
    try:
        print(shown, flush=True)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # what is still in the buffer goes there too
        os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
