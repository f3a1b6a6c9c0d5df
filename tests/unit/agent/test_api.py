"""The Python interface: cheap to import, typed, and it refuses in sentences."""

import inspect
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import robodreamer
from robodreamer import api
from robodreamer.config import named_config
from robodreamer.training.run_settings import change_settings
from robodreamer.utils.two_steps import Job, in_two_steps
from toy_run import make_run

ROOT = Path(__file__).parents[3]
CONFIG = named_config("fetch_reach", "debug", "dreamer_v3", "debug")
TOY: dict[str, Any] = {
    "size": "debug", "protocol": "debug", "preset": "dreamer_v3", "observe": "proprio",
    "evaluate_minutes": 0, "num_workers": 0, "device": "cpu", "log_seconds": 0.01,
    "data": {"train_ratio": 1},
}  # fmt: skip


def test_importing_the_package_costs_neither_torch_nor_numpy() -> None:
    code = "import robodreamer, sys; sys.exit(bool({'torch', 'numpy', 'tyro'} & set(sys.modules)))"
    path = os.pathsep.join(str(ROOT / folder) for folder in ("", "sim", "deploy"))
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}, check=False)
    assert done.returncode == 0


def test_every_public_name_is_there_and_explains_itself() -> None:
    assert set(robodreamer.__all__) <= set(dir(robodreamer))
    for name in set(robodreamer.__all__) - {"__version__"}:
        assert inspect.getdoc(getattr(robodreamer, name)), name
    assert inspect.signature(robodreamer.train).return_annotation is robodreamer.Run
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        robodreamer.__getattr__("trian")


def test_where_a_package_is_missing_the_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def import_module(name: str) -> Any:
        raise ModuleNotFoundError(f"no {name}", name="torch")

    monkeypatch.setattr(robodreamer, "import_module", import_module)
    with pytest.raises(ImportError, match=r"robodreamer.train needs torch: .*robodreamer\[train\]"):
        robodreamer.__getattr__("train")


def test_a_job_is_prepared_first_and_done_later_or_both_at_once() -> None:
    done: list[int] = []

    @in_two_steps
    def add(number: int) -> Job[int]:
        """Add a number."""
        if number < 0:
            raise ValueError("too small")
        return lambda: done.append(number) or sum(done)

    with pytest.raises(ValueError, match="too small"):
        add.prepare(-1)
    job = add.prepare(3)
    assert done == []
    assert (job(), add(4)) == (3, 7)
    assert str(inspect.signature(add)) == "(number: int) -> int"
    assert inspect.getdoc(add) == "Add a number."


def test_settings_of_parts_are_changed_together_and_lists_become_tuples() -> None:
    network = {"deter": 30, "blocks": 3, "decoder_blocks": 5}  # either alone would not fit
    changed = change_settings(CONFIG, {"network": network, "cameras": ["scene"], "minutes": 3})
    expected = replace(CONFIG.network, deter=30, blocks=3, decoder_blocks=5)
    assert changed == replace(CONFIG, network=expected, cameras=("scene",), minutes=3.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: api.train("x", minuts=3), "there is no setting 'minuts'; there is minutes, "),
        (lambda: api.train("x", data={"num_env": 3}), "no setting 'num_env'; there is num_envs, "),
        (lambda: api.train("x", size="12x"), "unknown size '12x'; there is 12m, "),
        (lambda: api.train("fetch_reech", size="debug"), "the closest are fetch_reach, "),
        (lambda: api.train(CONFIG, steps=3, size="cpu"), "leave out steps, size"),
        (lambda: api.resume("nowhere"), "nowhere is not a run folder"),
        (lambda: api.evaluate("nowhere"), "nowhere is neither a run"),
        (lambda: api.dream("nowhere", context=0), "--context is at least 1, got 0"),
        (lambda: robodreamer.Run("nowhere"), "nowhere is not a run folder"),
        (lambda: robodreamer.load("nowhere"), "nowhere"),
    ],
)
def test_a_mistake_raises_a_sentence(
    call: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
    assert not list(tmp_path.iterdir())


def test_a_resumed_run_stays_the_run_that_it_is(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with pytest.raises(ValueError, match=r"network.deter 32 -> 64; seed 0 -> 1\. "):
        api.resume(run, seed=1, network={"deter": 64}, steps=3)


def test_a_run_says_where_it_lies_and_how_good_it_is(tmp_path: Path) -> None:
    run = robodreamer.Run(make_run(tmp_path / "run", returns=(2.0, 1.0)))
    assert (os.fspath(run), run.steps, run.minutes) == (str(tmp_path / "run"), 120, 2.0)
    assert run.best is None  # its weights were not kept
    assert run.newest is not None
    assert (run.newest.return_mean, run.newest.success, run.newest.step) == (1.0, 0.25, 120)
    assert [line["evaluation/return"] for line in run.metrics[1::2]] == [2.0, 1.0]
    assert repr(run).startswith(f"Run('{tmp_path}/run': gym:toy_env:Toy-v0, 120 steps in 2 min")
    env = run.make_env()
    assert env.contract == run.contract
    env.close()


def test_ctrl_c_in_a_notebook_saves_and_returns_the_run_which_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    torch.set_num_threads(before := torch.get_num_threads())

    def interrupt() -> None:
        while not (folder / "metrics.jsonl").exists() or not (folder / "metrics.jsonl").read_text():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    run = robodreamer.train("gym:toy_env:Toy-v0", run=folder, **TOY)
    thread.join()
    assert run.was_stopped
    assert repr(run).endswith("stopped early)")
    assert torch.get_num_threads() == before
    more = robodreamer.resume(run, steps=run.steps + 8, log_seconds=10.0)
    assert not more.was_stopped
    assert more.steps >= run.steps
    results = robodreamer.evaluate(more, episodes=2, draw="mode")
    assert list(results) == ["mode"]
    assert np.isfinite(results["mode"].returns).all()
