"""Handle of a run folder, for people: its settings, how far it came and how good it is."""

import os
from pathlib import Path
from typing import Any

from robodreamer.runs.best_checkpoint import BestStates, Evaluated
from robodreamer.runs.checkpoint import Checkpoints
from robodreamer.runs.metrics import read_metrics
from robodreamer.runs.run_folder import newest_evaluation, read_run
from robodreamer.utils.formatting import format_duration
from robodreamer_sim.env import TaskEnv
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.registry import make


class Run(os.PathLike[str]):
    """Run folder, which stands wherever a path to it may stand.

    Everything is read from the files when it is asked for, so that a handle stays true while the
    run trains on, also in another process.
    """

    def __init__(self, folder: str | os.PathLike[str], *, was_stopped: bool = False) -> None:
        """Read settings and contract.

        Raises:
            ValueError: The folder holds no run.
        """
        self.folder = Path(folder)
        self.record = read_run(self.folder)
        self.config, self.contract = self.record.config, self.record.contract
        self.was_stopped = was_stopped
        """Whether the training that returned this handle was interrupted, after which it saved."""

    @property
    def steps(self) -> int:
        """Environment steps up to the newest checkpoint; 0 before there is one."""
        newest = Checkpoints(self.folder).latest()
        return newest.step if newest else 0

    @property
    def minutes(self) -> float:
        """Minutes of training, without evaluations."""
        return float(self.metrics[-1]["minutes"]) if self.metrics else 0.0

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Every report and evaluation of training, as `pandas.DataFrame` takes them.

        docs/metrics.md explains the names.
        """
        return read_metrics(self.folder) if (self.folder / "metrics.jsonl").exists() else []

    @property
    def newest(self) -> Evaluated | None:
        """Newest evaluation of training; None before there is one."""
        return newest_evaluation(self.folder)

    @property
    def best(self) -> Evaluated | None:
        """Best evaluation, the state of which is kept as checkpoint `best`; None before any."""
        return BestStates(self.folder).best()

    def make_env(self) -> TaskEnv:
        """Return the task exactly as the agent sees it: signals, size of pictures, action repeat.

        Raises:
            ValueError: There is no such task any more.
        """
        return make(self.contract.task, EnvOptions.from_dict(self.contract.options))

    def __fspath__(self) -> str:
        """Return the folder."""
        return str(self.folder)

    def __repr__(self) -> str:
        parts = [
            f"{self.config.task}, {self.steps:,} steps in {format_duration(60 * self.minutes)}"
        ]
        parts += [f"best {self.best}"] if self.best else []
        parts += ["stopped early"] if self.was_stopped else []
        return f"Run({str(self.folder)!r}: {'; '.join(parts)})"
