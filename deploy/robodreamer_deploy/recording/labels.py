"""Labels of an operator for the episodes of a log, in a file beside it: LOG.labels.json.

The log itself stays as it was recorded.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.utils.atomic_write import write_atomic
from robodreamer_deploy.utils.strict_json import parse_json, read_record

Outcome = Literal["success", "failure"]
OUTCOMES: tuple[Outcome, ...] = ("success", "failure")


@dataclass(frozen=True, kw_only=True)
class EpisodeLabel:
    """Outcome of one episode."""

    outcome: Outcome
    reward: float
    """Reward of its last step; all others earn nothing."""
    is_terminal: bool = False
    """Whether no reward could have followed."""


@dataclass(frozen=True, kw_only=True)
class EpisodeLabels:
    """Labels by the number of their episode; episodes without one are missing."""

    episodes: Mapping[str, EpisodeLabel] = field(default_factory=dict[str, EpisodeLabel])

    def of(self, episode: int) -> EpisodeLabel | None:
        """Return the label of an episode, or None."""
        return self.episodes.get(str(episode))


def labels_path(log: Path) -> Path:
    """Return the path of a log's labels."""
    return log.with_name(f"{log.name}.labels.json")


def read_labels(log: Path) -> EpisodeLabels:
    """Return the labels of a log; none where the file does not exist.

    Raises:
        RobotError: The file is malformed or cannot be read.
    """
    path = labels_path(log)
    try:
        return read_record(EpisodeLabels, parse_json(path.read_text(encoding="utf-8")), "labels")
    except FileNotFoundError:
        return EpisodeLabels()
    except OSError as error:
        raise RobotError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise RobotError(f"{path}: {error}") from error


def write_label(log: Path, episode: int, label: EpisodeLabel) -> None:
    """Add the label of an episode, or replace the one it has.

    Raises:
        RobotError: The labels cannot be read or written.
    """
    episodes = {**read_labels(log).episodes, str(episode): label}
    ordered = dict(sorted(episodes.items(), key=lambda item: int(item[0])))
    text = json.dumps(
        dataclasses.asdict(EpisodeLabels(episodes=ordered)), indent=2, allow_nan=False
    )
    path = labels_path(log)
    try:
        write_atomic(path, f"{text}\n".encode())
    except OSError as error:
        raise RobotError(f"{path} cannot be written: {error.strerror}") from error
