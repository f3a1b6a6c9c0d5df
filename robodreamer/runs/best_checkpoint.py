"""Best checkpoint: the agent of a run that evaluated best, stored beside the checkpoints.

    RUN/best/step-000017432/   agent.safetensors, state.json

Agents are ranked by success where the task reports it, then by return, and of equals the newer one
counts. A resumed run goes on with the best one before its checkpoint, so the best one before every
checkpoint stays as long as that checkpoint does.
"""

import json
import math
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from robodreamer.runs.checkpoint import Checkpoints
from robodreamer.runs.files import (
    copy_tensors,
    read_checked,
    read_tensors,
    tensor_bytes,
    write_checked,
)
from robodreamer.utils.formatting import format_success
from robodreamer_deploy.utils.atomic_write import replacing, write_durable

FOLDER = "best"
WEIGHTS = "agent.safetensors"


class Evaluated(NamedTuple):
    """Figures of an evaluated state."""

    step: int
    return_mean: float
    success: float | None
    """Share of successful episodes; None where the task does not report success."""

    @classmethod
    def of(cls, step: int, summary: Mapping[str, float]) -> "Evaluated":
        """Build it from the summary of an evaluation."""
        return cls(step, summary["return"], summary.get("success"))

    @property
    def rank(self) -> tuple[float, float, int]:
        """Sort key: the larger one is better."""
        return (self.success or 0.0, self.return_mean, self.step)

    def is_better_than(self, other: "Evaluated") -> bool:
        """Compare the figures alone; a newer state with equal figures is not better."""
        return self.rank[:2] > other.rank[:2]

    def __str__(self) -> str:
        figures = {} if self.success is None else {"success": self.success}
        return f"return {self.return_mean:.1f}{format_success(figures)} at step {self.step:,}"


class BestStates:
    """Store of the best states of one run folder."""

    def __init__(self, run: Path) -> None:
        self.folder = run / FOLDER
        self._checkpoints = Checkpoints(run)

    def best(self) -> Evaluated | None:
        """Return the best state, if there is any."""
        return max(self._all(), key=lambda state: state.rank, default=None)

    def path(self, state: Evaluated) -> Path:
        """Return the folder of a state."""
        return self.folder / f"step-{state.step:09d}"

    def offer(self, state: Evaluated, weights: Mapping[str, Tensor]) -> bool:
        """Keep the weights of a state if it is the best so far; return whether it is.

        Raises:
            OSError: The disk is full or failed; the best state before is still there.
        """
        before = self.best()
        if not math.isfinite(state.return_mean) or (before and before.rank > state.rank):
            return False
        self._write(state, weights)
        # The best one before stays, too: a checkpoint from before this one may still be in writing.
        self._prune({state, before or state})
        return True

    def resume(self, step: int) -> None:
        """Delete all states after the checkpoint of this step."""
        for state in self._all():
            if state.step > step:
                self._delete(state)

    def load(self, state: Evaluated) -> dict[str, Tensor]:
        """Return the agent's weights.

        Raises:
            ValueError: They cannot be read or are damaged.
        """
        path = self.path(state)
        checksum = json.loads(read_checked(path / "state.json"))["checksum"]
        return read_tensors(path / WEIGHTS, checksum)

    def _all(self) -> list[Evaluated]:
        """Return all complete states; drafts are hidden, and training may be deleting some."""
        found: list[Evaluated] = []
        for path in sorted(self.folder.glob("step-*/state.json")):
            with suppress(FileNotFoundError):
                found.append(Evaluated(*json.loads(path.read_text())["evaluated"]))
        return found

    def _write(self, state: Evaluated, weights: Mapping[str, Tensor]) -> None:
        target = self.path(state)
        with replacing(target) as draft:  # an older one of the same step has the same weights
            draft.mkdir(parents=True)
            checksum = write_checked(draft / WEIGHTS, tensor_bytes(copy_tensors(weights)))
            record = {"evaluated": state, "checksum": checksum}
            write_durable(draft / "state.json", json.dumps(record).encode())

    def _prune(self, kept: Iterable[Evaluated]) -> None:
        """Delete all states but those in `kept` and the best one before each checkpoint."""
        states = self._all()
        needed = set(kept)
        for checkpoint in self._checkpoints.history():
            before = [state for state in states if state.step <= checkpoint.step]
            needed |= {max(before, key=lambda state: state.rank)} if before else set()
        for state in set(states) - needed:
            self._delete(state)

    def _delete(self, state: Evaluated) -> None:
        """Hide a state, then delete it, so that readers see all of it or nothing."""
        path = self.path(state)
        hidden = path.with_name(f".{path.name}")
        shutil.rmtree(hidden, ignore_errors=True)
        shutil.rmtree(path.replace(hidden))
