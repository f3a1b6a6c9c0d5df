"""What an operator says of the episodes of a log: beside it, in LOG.marks.json.

The log itself is left as it was recorded.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.utils.strict_json import parse_json, read_record

Outcome = Literal["success", "failure"]
OUTCOMES: tuple[Outcome, ...] = ("success", "failure")


@dataclass(frozen=True, kw_only=True)
class Mark:
    """How one episode went."""

    outcome: Outcome
    reward: float
    """For arriving at its last step; all others earned nothing."""
    is_terminal: bool = False
    """Whether nothing could have been earned afterwards."""


@dataclass(frozen=True, kw_only=True)
class Marks:
    """How the episodes of a log went, by number; those of which nothing is said are left out."""

    episodes: Mapping[str, Mark] = field(default_factory=dict[str, Mark])

    def of(self, episode: int) -> Mark | None:
        """Return what is said of an episode."""
        return self.episodes.get(str(episode))


def marks_path(log: Path) -> Path:
    """Return where the marks of a log are."""
    return log.with_name(f"{log.name}.marks.json")


def read_marks(log: Path) -> Marks:
    """Return the marks of a log; none if there is no such file.

    Raises:
        RobotError: The file is malformed or cannot be read.
    """
    path = marks_path(log)
    try:
        return read_record(Marks, parse_json(path.read_text(encoding="utf-8")), "marks")
    except FileNotFoundError:
        return Marks()
    except OSError as error:
        raise RobotError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise RobotError(f"{path}: {error}") from error


def write_mark(log: Path, episode: int, mark: Mark) -> None:
    """Say how an episode went, in place of what was said before.

    Raises:
        RobotError: The marks cannot be read or written.
    """
    episodes = {**read_marks(log).episodes, str(episode): mark}
    ordered = dict(sorted(episodes.items(), key=lambda item: int(item[0])))
    text = json.dumps(dataclasses.asdict(Marks(episodes=ordered)), indent=2, allow_nan=False)
    path = marks_path(log)
    draft = path.with_name(f".{path.name}.tmp")
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise RobotError(f"{path} cannot be written: {error.strerror}") from error
