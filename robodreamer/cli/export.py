"""`robodreamer export`: from a run to a policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from robodreamer.cli.parsing import Folder, Job, parse, say


@dataclass(frozen=True, kw_only=True)
class ExportArguments:
    """Write a run's policy as ONNX files that have been verified against torch."""

    run: Folder
    """Run folder."""
    out: Path | None = None
    """Policy folder, in which an older policy is replaced; by default policies/ and the run
    folder's name, where only a policy of the same run is replaced."""
    checkpoint: str | None = None
    """Checkpoint, such as step-000012000, or best, the one that evaluated best during training; by
    default the newest."""
    opset: int = 18
    """ONNX operator set, 18 to 23."""
    quantize: Literal["int8"] | None = None
    """Keep the weights of matrix products in int8; refused if it costs too much return."""
    half: bool = False
    """Keep weights in float16; refused likewise."""
    accept_loss: bool = False
    """Write a policy of reduced precision also if its return is below float32's 95 % interval."""
    episodes: int = 10
    """Episodes to drive through onnxruntime with either draw; 0 drives none."""


def export(words: Sequence[str]) -> Job:
    """Prepare an export."""
    arguments = parse(ExportArguments, "export", words)
    if arguments.quantize and arguments.half:
        raise ValueError("--quantize and --half exclude each other")
    from robodreamer import api

    return api.export_policy.prepare(
        arguments.run,
        arguments.out,
        checkpoint=arguments.checkpoint,
        precision="float16" if arguments.half else arguments.quantize or "float32",
        accept_loss=arguments.accept_loss,
        episodes=arguments.episodes,
        opset=arguments.opset,
        log=say,
    )
