"""A run to save and resume, for the tests of checkpoints."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from replay_records import assert_equal, content, make_replay, newer_latents, step_of_all
from robodreamer.runs.checkpoint import Checkpoint, Checkpoints

Everything = tuple[dict[str, Tensor], Any]


class Run:
    """A training run without the training: it adds, samples, and writes latents back."""

    def __init__(
        self, folder: Path, keep: int = 2, num_envs: int = 2, steps_per_env: int = 12
    ) -> None:
        self.checkpoints = Checkpoints(folder, keep)
        self.replay = make_replay(num_envs=num_envs, steps_per_env=steps_per_env)
        self.weight = torch.zeros(3)
        self.step = 0

    def advance(self, num_steps: int = 3) -> list[dict[str, Tensor]]:
        """Train on; return the batches that were drawn."""
        batches = []
        for _ in range(num_steps):
            self.replay.add(step_of_all(self.step, self.replay.num_envs))
            self.step += 1
            self.weight += torch.tensor([1.0, self.step, 0.5])
            if self.replay.is_ready:
                batch = self.replay.sample(2)
                latents = newer_latents(batch, 1, 3, version=self.step)
                self.replay.write_latents(batch, latents, 1)
                batches.append(batch.data)
        return batches

    def save(self, *, wait: bool = True) -> float:
        tensors = {"agent": {"weight": self.weight}, "optimizer": {"momentum": self.weight / 2}}
        return self.checkpoints.save(
            self.step, tensors, {"step": self.step}, self.replay, wait=wait
        )

    def resume(self, checkpoint: Checkpoint | None = None) -> "Run":
        """Load, as a new process would."""
        checkpoint = checkpoint or self.checkpoints.latest()
        assert checkpoint is not None
        loaded = self.checkpoints.load(checkpoint)
        self.checkpoints.restore_replay(loaded, self.replay)
        weight = loaded.tensors["agent"]["weight"]
        assert torch.equal(loaded.tensors["optimizer"]["momentum"], weight / 2)
        self.weight = weight
        self.step = loaded.state["step"]
        return self

    def everything(self) -> Everything:
        """Return all that a resumed run must agree on."""
        records, state = content(self.replay)
        return records | {"weight": self.weight.clone()}, state | {"step": self.step}


def assert_same(found: Run, expected: Everything) -> None:
    records, state = found.everything()
    assert state == expected[1]
    assert_equal(records, expected[0])


def saved_run(folder: Path, keep: int) -> tuple[Run, Everything]:
    """Return a run that was saved twice, and what the second checkpoint holds."""
    run = Run(folder, keep=keep, steps_per_env=8)
    for _ in range(2):
        run.advance(5)
        run.save()
    return run, run.everything()


def hidden(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".")]


def all_files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
