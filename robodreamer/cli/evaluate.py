"""`robodreamer evaluate`: return and success of a run or a policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from robodreamer.cli.parsing import Folder, Job, parse, say


@dataclass(frozen=True, kw_only=True)
class EvaluateArguments:
    """Measure return and success of a run, or of an exported policy, on fixed episodes."""

    folder: Folder
    """Run folder, or policy folder."""
    episodes: int = 50
    """Episodes per draw; the same number always means the same episodes."""
    draw: Literal["mode", "sample", "both"] = "both"
    """Take the most likely latents and action, draw them at random, or try one after the other."""
    checkpoint: str | None = None
    """Checkpoint of a run, such as step-000012000, or best, the one that evaluated best during
    training; by default the newest."""
    blank: tuple[str, ...] = ()
    """Cameras that show black, to see how much the policy depends on them."""
    randomize: str | None = None
    """Randomise the task otherwise than in training: none, mild, strong, or a JSON file."""
    json: Path | None = None
    """File to write all figures to."""


def evaluate(words: Sequence[str]) -> Job:
    """Prepare an evaluation."""
    arguments = parse(EvaluateArguments, "evaluate", words)
    from robodreamer import api

    return api.evaluate.prepare(
        arguments.folder,
        episodes=arguments.episodes,
        draw=arguments.draw,
        checkpoint=arguments.checkpoint,
        blank=arguments.blank,
        randomize=arguments.randomize,
        json_file=arguments.json,
        log=say,
    )
