"""Run folder: its records, and loading an agent from it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from robodreamer.config import named_config
from robodreamer.data.replay import make_replay
from robodreamer.runs import run_folder as run_module
from robodreamer.runs.best_checkpoint import BestStates, Evaluated
from robodreamer.runs.checkpoint import Checkpoint, CheckpointError, Checkpoints, LoadedCheckpoint
from robodreamer.runs.run_folder import (
    git_commit,
    installed_packages,
    load_run,
    make_agent,
    read_run,
    require_new,
    write_run,
)
from robodreamer_deploy.contract import ActionSpec, Contract, Signal

CONFIG = replace(named_config("toy", "debug", "dreamer_v3", "debug"), cameras=("a", "b"), seed=3)
CONTRACT = Contract(
    task="toy",
    observations=(Signal(name="proprio/position", shape=(3,), dtype="float32", unit="m"),),
    action=ActionSpec(size=2, low=(-1.0, -1.0), high=(1.0, 1.0)),
    control_dt_s=0.05,
)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A run with checkpoints at steps 7 and 9, whose weights tell the step."""
    write_run(tmp_path / "run", CONFIG, CONTRACT)
    agent = make_agent(CONFIG, CONTRACT)
    replay = make_replay(
        CONTRACT, agent, num_envs=1, capacity=20, sequence_length=4, seed=0,
        device=torch.device("cpu"),
    )  # fmt: skip
    checkpoints = Checkpoints(tmp_path / "run")
    for step in (7, 9):
        with torch.no_grad():
            for parameter in agent.parameters():
                parameter.fill_(step)
        checkpoints.save(step, {"agent": agent.state_dict()}, {}, replay, wait=True)
    return tmp_path / "run"


def test_settings_contract_and_origin_are_read_as_written(tmp_path: Path) -> None:
    write_run(tmp_path / "a" / "run", CONFIG, CONTRACT)
    config, contract, provenance = read_run(tmp_path / "a" / "run")
    assert (config, contract) == (CONFIG, CONTRACT)
    assert provenance["commit"] == git_commit()
    assert provenance["packages"] == installed_packages()
    assert provenance["packages"]["torch"] == torch.__version__


def test_a_machine_without_git_can_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    write_run(tmp_path / "run", CONFIG, CONTRACT)
    assert read_run(tmp_path / "run")[2]["commit"] == ""


def test_a_package_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "PACKAGES", ("torch", "no-such-package"))
    assert installed_packages() == {"torch": torch.__version__}


def test_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    one = make_agent(CONFIG, CONTRACT).state_dict()
    after_one = torch.rand(1)
    torch.manual_seed(1)
    assert torch.rand(1) == after_one, "the process's own generator was used up"
    two = make_agent(CONFIG, CONTRACT).state_dict()
    other = make_agent(replace(CONFIG, seed=4), CONTRACT).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_the_newest_checkpoint_is_loaded_unless_another_is_named(trained: Path) -> None:
    newest, named = load_run(trained), load_run(trained, "step-000000007")
    assert (newest.checkpoint.step, named.checkpoint.step) == (9, 7)
    for loaded in (newest, named):
        assert not loaded.agent.training
        assert all((p == loaded.checkpoint.step).all() for p in loaded.agent.parameters())
        assert (loaded.config, loaded.contract) == (CONFIG, CONTRACT)


def test_a_checkpoint_that_training_deletes_while_it_is_read_is_no_error(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Checkpoints.load

    def overtaken(self: Checkpoints, chosen: Checkpoint) -> LoadedCheckpoint:
        if chosen.step == 9:
            shutil.rmtree(chosen.path)
        return load(self, chosen)

    monkeypatch.setattr(Checkpoints, "load", overtaken)
    assert load_run(trained).checkpoint.step == 7


def test_the_best_state_is_loaded_where_one_was_evaluated(trained: Path) -> None:
    with pytest.raises(ValueError, match="has not been evaluated yet; --checkpoint newest is"):
        load_run(trained, "best")
    assert load_run(trained, "newest").checkpoint.step == 9
    agent = make_agent(CONFIG, CONTRACT)
    with torch.no_grad():
        for parameter in agent.parameters():
            parameter.fill_(8)
    BestStates(trained).offer(Evaluated(8, 1.0, None), agent.state_dict())
    best = load_run(trained, "best")
    assert best.checkpoint.step == 8
    assert all((p == 8).all() for p in best.agent.parameters())


def test_an_unknown_checkpoint_is_answered_with_those_that_exist(trained: Path) -> None:
    with pytest.raises(ValueError, match=r"'step-000000008'; there is step-00000000[79], step-"):
        load_run(trained, "step-000000008")


def test_a_run_without_a_checkpoint_has_no_agent(tmp_path: Path) -> None:
    write_run(tmp_path, CONFIG, CONTRACT)
    with pytest.raises(ValueError, match="has no checkpoint yet"):
        load_run(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "checkpoints", "metrics.jsonl"])
def test_a_folder_with_anything_of_a_run_is_not_new(name: str, trained: Path) -> None:
    (trained / "metrics.jsonl").touch()
    for other in {"config.json", "checkpoints", "metrics.jsonl"} - {name}:
        (trained / other).rename(trained / f"elsewhere-{other}")
    with pytest.raises(ValueError, match="choose another --run"):
        require_new(trained)
    (trained / name).rename(trained / "notes")
    require_new(trained)


def test_another_run_format_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path, CONFIG, CONTRACT)
    record = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(record | {"run_version": 99}))
    with pytest.raises(ValueError, match="run format 99, this release reads 3"):
        read_run(tmp_path)


def test_settings_with_another_latent_do_not_fit_a_checkpoint(trained: Path) -> None:
    config = trained / "config.json"
    config.write_text(config.read_text().replace('"categorical"', '"gaussian"'))
    with pytest.raises(CheckpointError, match=r"holds another agent than the settings .*has shape"):
        load_run(trained)
