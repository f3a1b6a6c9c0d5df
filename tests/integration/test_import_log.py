"""From a robot back to the learner: a log is imported into a run, which resumes with it."""

import dataclasses
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from train_runs import QUICK, ROOT, differences, result_of, resume, train

from robodreamer.cli.main import main
from robodreamer.learning.learner import Learner
from robodreamer.runs.run_folder import read_run
from robodreamer_deploy.contract import Array, Contract
from robodreamer_deploy.control.events import EpisodeEnd, EpisodeStart, Tick
from robodreamer_deploy.policy.manifest import Manifest, derive
from robodreamer_deploy.recording.event_stream import LogEvent
from robodreamer_deploy.recording.format import WallClock
from robodreamer_deploy.recording.labels import EpisodeLabel, write_label
from robodreamer_deploy.recording.log_metadata import LogMetadata
from robodreamer_deploy.recording.writer import LogWriter
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.registry import make

STEPS, LONGER = 24, 40
EPISODE_TICKS = 8
CAPACITY = 80  # of the replay of a quick run
NUM_COPIES = 2  # of 3 episodes in 2 environments: a step that is cut at, and one that fills up
FAR_M = 31.4
"""Place of the robot's gripper, which distinguishes its steps from simulated ones."""
GRIPPER = "proprio/gripper_position"
Step = tuple[Mapping[str, Array], Array]


def random_steps(contract: Contract, num_steps: int = EPISODE_TICKS) -> list[Step]:
    random = np.random.default_rng(0)
    observation = {s.name: np.full(s.shape, FAR_M, s.dtype) for s in contract.inputs}
    actions = random.uniform(-1, 1, (num_steps, contract.action.size)).astype(np.float32)
    return [(observation, action) for action in actions]


def write_log(path: Path, contract: Contract, episodes: list[list[Step]], **options: Any) -> Path:
    """Write a log of a robot with a contract."""
    manifest = Manifest.from_json((ROOT / "policies/fetch_reach/manifest.json").read_text())
    follows = derive(contract, manifest.state, manifest.token_size, manifest.validity)
    text = dataclasses.replace(manifest, contract=contract, **follows).to_json()
    metadata = LogMetadata(
        manifest=text, manifest_sha256="", robot="bench", options=options, safety={}, versions={}
    )
    payloads: list[Any] = []
    for number, steps in enumerate(episodes):
        payloads.append(EpisodeStart(number, number, "sample"))
        payloads.extend(tick(i, *step) for i, step in enumerate(steps))
        payloads.append(EpisodeEnd("over"))
    with path.open("wb") as file:
        writer = LogWriter(file, metadata, WallClock(time.time_ns(), 0.0))
        for number, payload in enumerate(payloads):
            writer.write(LogEvent(number, 0.04 * number, payload))
        writer.finish(0)
    return path


def tick(index: int, observation: Mapping[str, Array], action: Array) -> Tick:
    return Tick(
        index=index, skipped=0, time_s=0.04 * index, lateness_s=0.0, sense_to_act_s=0.0,
        is_first=index == 0, observation=observation, stamps={}, missing=(), step=None,
        sent=None, executed=action, limits=(), fault=None,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("trained") / "run"
    assert train(run, f"--steps={STEPS}", "--num-workers=0") == 0
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_training_goes_on_with_what_a_robot_recorded(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = run.parent / "drive.mcap"
    write_log(log, contract := read_run(run)[1], [random_steps(contract)] * 3)
    write_label(log, 1, EpisodeLabel(outcome="success", reward=2.0))
    before = result_of(run)
    assert main(["import-log", str(log), f"--run={run}"]) == 0
    said = capsys.readouterr().out
    assert f"drive.mcap: {3 * EPISODE_TICKS} steps, {EPISODE_TICKS} of them with a reward" in said
    assert f"{3 * EPISODE_TICKS} steps added and {NUM_COPIES} copies without a reward" in said
    imported = result_of(run)
    assert imported["step"] == before["step"] + 3 * EPISODE_TICKS + NUM_COPIES
    changed = [name for name in differences(before, imported) if not name.startswith("replay/")]
    assert changed == ["replay", "state", "step"]  # the agent is what it was
    learned_from = watch_updates(monkeypatch)
    assert resume(run, f"--steps={LONGER + 3 * EPISODE_TICKS}", "--num-workers=0") == 0
    trained = result_of(run)
    moved = differences(imported, trained)
    weights = [name for name in imported if name.startswith("agent/")]
    assert sum(name in moved for name in weights) > len(weights) / 2
    assert all(trained[name].isfinite().all() for name in weights)
    assert learned_from["robot"] > 0
    assert learned_from["unknown"] > 0
    assert learned_from["labelled"] > 0


@pytest.mark.parametrize("num_steps", [1, 5])
def test_the_last_step_of_every_log_arrives_with_its_label(run: Path, num_steps: int) -> None:
    contract = read_run(run)[1]
    logs = [run.parent / f"{i}.mcap" for i in range(3)]
    for reward, log in enumerate(logs, start=2):
        write_log(log, contract, [random_steps(contract, num_steps)])
        write_label(log, 0, EpisodeLabel(outcome="success", reward=reward, is_terminal=True))
    before = result_of(run)["step"]
    assert main(["import-log", *map(str, logs), f"--run={run}"]) == 0
    result = result_of(run)

    def added(name: str) -> torch.Tensor:
        held = torch.cat([v for k, v in sorted(result.items()) if k.endswith(f"/{name}")])
        return held[before - result["step"] :]

    reward, is_terminal = added("reward"), added("is_terminal").bool()
    told = reward[~reward.isnan()]
    assert sorted(told.tolist()) == sorted([0.0] * 3 * (num_steps - 1) + [2.0, 3.0, 4.0])
    assert is_terminal[reward >= 2.0].all()
    assert not is_terminal[reward == 0.0].any()


def watch_updates(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Count the steps of all updates by their origin."""
    counts = {"robot": 0, "unknown": 0, "labelled": 0}
    update = Learner.update

    def counting(self: Learner, batch: Any, sampler: Any) -> Any:
        is_robots = batch[GRIPPER][..., 0] == np.float32(FAR_M)
        counts["robot"] += int(is_robots.sum())
        counts["unknown"] += int((is_robots & batch["reward"].isnan()).sum())
        counts["labelled"] += int((is_robots & (batch["reward"] == 2.0)).sum())
        assert not (~is_robots & batch["reward"].isnan()).any()
        return update(self, batch, sampler)

    monkeypatch.setattr(Learner, "update", counting)
    return counts


def test_a_log_that_does_not_fit_is_refused_and_changes_nothing(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contract = read_run(run)[1]
    before = result_of(run)
    steps, folder = random_steps(contract), run.parent
    slow = dataclasses.replace(contract, control_dt_s=0.1)
    log = write_log(folder / "other.mcap", slow, [steps])
    dry = write_log(folder / "dry.mcap", contract, [steps], dry_run=True)
    empty = write_log(folder / "empty.mcap", contract, [])
    long = write_log(folder / "long.mcap", contract, [random_steps(contract, CAPACITY + 2)])
    cut = folder / "cut.mcap"
    cut.write_bytes(dry.read_bytes()[:60])
    for path, words in {
        log: "is of another robot than the run: control_dt_s is 0.1, expected ",
        dry: "is of a dry run",
        empty: "the logs hold 0 steps",
        long: f"the logs hold {CAPACITY + 2} steps, the replay of {run} {CAPACITY} at most",
        cut: "ends before it names its policy",
        folder / "none.mcap": "cannot be read: No such file",
    }.items():
        assert main(["import-log", str(path), f"--run={run}"]) == 2
        assert words in capsys.readouterr().err
    assert main(["import-log", f"--run={run}"]) == 2
    assert not differences(before, result_of(run))


@pytest.mark.slow
def test_an_imported_drive_is_what_the_simulator_would_have_recorded(tmp_path: Path) -> None:
    """Rewards and privileged signals follow from the measured ones, where the task can judge."""
    run = tmp_path / "run"
    words = [word for word in QUICK if "action-repeat" not in word and "--steps" not in word]
    assert main(["train", "fetch_reach", f"--run={run}", *words, f"--steps={STEPS}"]) == 0
    contract, num_envs = read_run(run)[1], read_run(run)[0].data.num_envs
    env = make("fetch_reach", EnvOptions.from_dict(contract.options))
    names = ["reward", "privileged/achieved_goal"]
    episodes, expected = [], {name: [] for name in names}
    for seed in range(num_envs):
        observation, _ = env.reset(seed=seed)
        reward, steps = 0.0, []
        for _, action in random_steps(contract, 20):
            steps.append(({s.name: observation[s.name] for s in contract.inputs}, action))
            for name, value in {**observation, "reward": reward}.items():
                expected.get(name, []).append(value)
            observation, reward, *_ = env.step(action)
        episodes.append(steps)
    env.close()
    log = write_log(tmp_path / "sim.mcap", contract, episodes)
    assert main(["import-log", str(log), f"--run={run}"]) == 0
    result = result_of(run)
    assert not result["state"]["has_unknown"]
    for name in names:
        held = torch.cat([v for k, v in sorted(result.items()) if k.endswith(f"/{name}")])
        found = held[-20 * num_envs :].unflatten(0, (20, num_envs)).transpose(0, 1).flatten(0, 1)
        np.testing.assert_allclose(found, np.array(expected[name]), atol=1e-5, err_msg=name)
