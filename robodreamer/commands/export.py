"""`robodreamer export`: from a run to a policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from robodreamer.commands.words import Folder, Job, parse, say


@dataclass(frozen=True, kw_only=True)
class ExportArguments:
    """Write a run's policy as three ONNX files that have been verified against torch."""

    run: Folder
    """Run folder."""
    out: Path | None = None
    """Policy folder, in which an older policy is replaced; policies/ and the run folder's name by
    default, where only one of the same run is."""
    checkpoint: str | None = None
    """Checkpoint, such as step-000012000; the newest by default."""
    opset: int = 18
    """ONNX operator set."""
    episodes: int = 10
    """Episodes to drive through onnxruntime with either draw; 0 drives none."""


def export(words: Sequence[str]) -> Job:
    """Build an export."""
    arguments = parse(ExportArguments, "export", words)
    from robodreamer.onnx_export.export import prepare_export

    return prepare_export(
        arguments.run,
        arguments.out,
        checkpoint=arguments.checkpoint,
        opset=arguments.opset,
        episodes=arguments.episodes,
        say=say,
    )
