"""Export: a verified folder or none at all, and nothing else is ever touched."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from exported import ORIGIN, Exported, corrupt, make_recording
from toy_agent import NETWORK, make_agent

from robodreamer.agent import Agent
from robodreamer.distributions import Mode
from robodreamer.evaluate import AgentPolicy, evaluate, make_evaluation_envs
from robodreamer.onnx_export import export
from robodreamer.onnx_export.export import export_policy
from robodreamer.onnx_export.policy_folder import GOLDEN_STEPS, check_target, draft_of
from robodreamer.onnx_export.traces import RECORDED_STEPS, STRETCH, record
from robodreamer.policies import OnnxPolicy, load_candidate
from robodreamer_deploy.bundle import BundleError, Manifest, load_bundle
from robodreamer_deploy.golden import load_golden
from robodreamer_deploy.policy import Policy
from robodreamer_deploy.selftest import replay_golden
from robodreamer_sim import EnvOptions, VectorEnv

TASK = "gym:Pendulum-v1"  # 200 steps an episode, no camera


@pytest.fixture(scope="module")
def envs() -> VectorEnv:
    return VectorEnv(TASK, EnvOptions(observe="proprio"), num_envs=5, num_workers=0, seed=1_000_003)


@pytest.fixture(scope="module")
def agent(envs: VectorEnv) -> Agent:
    return make_agent(envs.contract)


@pytest.fixture(scope="module")
def exported(
    agent: Agent, envs: VectorEnv, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Manifest, list[str]]:
    out, said = tmp_path_factory.mktemp("policies") / "deep" / "pendulum", list[str]()
    recording = record(agent, envs)
    manifest = export_policy(agent, recording, out, origin=ORIGIN, drive=(envs, 5), say=said.append)
    return out, manifest, said


def test_a_robot_accepts_the_folder(
    exported: tuple[Path, Manifest, list[str]], agent: Agent
) -> None:
    out, manifest, _ = exported
    bundle = load_bundle(out)
    assert bundle.manifest == manifest
    assert bundle.contract == agent.contract
    assert (manifest.run, manifest.commit) == ORIGIN
    assert manifest.state.deter == (NETWORK.deter,)
    assert manifest.token_size == agent.world_model.encoder.size
    assert not any(value.any() for value in bundle.initial)
    test = replay_golden(Policy(bundle), load_golden(bundle))
    assert (test.num_steps, test.num_ties) == (32, 0)
    assert not [path for path in out.parent.iterdir() if path != out]


def test_the_golden_steps_go_across_an_episodes_start(
    exported: tuple[Path, Manifest, list[str]],
) -> None:
    golden = load_golden(load_bundle(exported[0]))
    assert np.flatnonzero(golden.is_first).tolist() == [GOLDEN_STEPS // 2]
    assert golden.deter[GOLDEN_STEPS // 2].any()  # there is something to be dropped
    assert golden.noise_stoch.any()


def test_what_was_checked_is_said(exported: tuple[Path, Manifest, list[str]]) -> None:
    said = "\n".join(exported[2])
    assert "260 steps" in said
    assert "identical inputs" in said
    assert "worst errors: tokens" in said
    assert "free run    260 steps without a reset" in said
    assert "self-test   passed: 32 golden steps" in said
    assert "through onnxruntime" in said


def test_the_better_draw_becomes_the_default(
    exported: tuple[Path, Manifest, list[str]],
) -> None:
    manifest = exported[1]
    mode, sample = manifest.draws["mode"], manifest.draws["sample"]
    assert mode.num_episodes == sample.num_episodes == 5
    assert mode.return_mean != sample.return_mean
    better = "mode" if mode.return_mean > sample.return_mean else "sample"
    assert manifest.default_draw == better
    values = list(manifest.surprise_quantiles.values())
    assert [*manifest.surprise_quantiles] == ["0.5", "0.9", "0.99", "0.999"]
    assert 0 < values[0] < values[-1]
    assert values == sorted(values)


def test_the_folder_earns_the_returns_of_the_agent(
    exported: tuple[Path, Manifest, list[str]], agent: Agent, envs: VectorEnv
) -> None:
    onnx = evaluate(load_candidate(exported[0]).make_policy(5, "mode"), envs, 5)
    torch_ = evaluate(AgentPolicy(agent, 5, Mode()), envs, 5)
    assert len(np.unique(onnx.returns)) == 5
    np.testing.assert_allclose(onnx.returns, torch_.returns, rtol=1e-4)
    assert exported[1].draws["mode"].return_mean == onnx.returns.mean()


def test_onnx_environments_do_not_share_memory_or_noise(
    exported: tuple[Path, Manifest, list[str]], envs: VectorEnv
) -> None:
    policy = OnnxPolicy(Policy(load_bundle(exported[0])), 2, "sample")
    envs.start()
    shown = {name: np.stack([value[0]] * 2) for name, value in envs.recv().items()}
    first, second = policy.act(shown, np.array([True, True]))
    assert not np.array_equal(first, second)
    assert len(policy.surprise) == 2


def test_a_recording_holds_whole_stretches_of_every_environment(
    agent: Agent, envs: VectorEnv
) -> None:
    recording = record(agent, envs)
    assert len(recording.is_first) == RECORDED_STEPS
    assert np.flatnonzero(recording.is_first).tolist() == [STRETCH * i for i in range(5)]
    long = record(agent, envs, num_steps=5 * 120)
    starts = np.flatnonzero(long.is_first).reshape(5, -1) - 120 * np.arange(5)[:, None]
    assert starts.tolist() == [[0, STRETCH, 2 * STRETCH]] * 5
    assert all(np.isfinite(values).all() for values in long.observations.values())


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_graphs_that_are_not_the_agent_leave_nothing(
    exported_toy: Callable[[str], Exported], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = exported_toy("two cameras")
    corrupt(toy.folder, tmp_path / "corrupt", "actor.onnx", "actor.mean.bias")

    def write_corrupt(_: Agent, folder: Path, **__: object) -> Manifest:
        shutil.copytree(tmp_path / "corrupt", folder, dirs_exist_ok=True)
        return toy.manifest

    monkeypatch.setattr(export, "write_draft", write_corrupt)
    with pytest.raises(BundleError, match="action is off by"):
        export_policy(toy.agent, toy.recording, tmp_path / "out", origin=ORIGIN)
    assert [path.name for path in tmp_path.iterdir()] == ["corrupt"]


def test_too_short_a_recording_is_refused(tmp_path: Path) -> None:
    agent = make_agent()
    recording = make_recording(agent.contract).rows(slice(0, 199))
    with pytest.raises(ValueError, match="199 recorded steps"):
        export_policy(agent, recording, tmp_path / "out", origin=ORIGIN)


def test_an_older_policy_is_replaced_as_a_whole(
    exported: tuple[Path, Manifest, list[str]], tmp_path: Path
) -> None:
    out = tmp_path / "policy"
    out.mkdir()
    for name, content in snapshot(exported[0]).items():
        (out / name).write_bytes(content)
    with draft_of(out) as draft:
        (draft / "new").write_text("policy")
        assert snapshot(out) == snapshot(exported[0])
    assert snapshot(out) == {"new": b"policy"}
    assert list(tmp_path.iterdir()) == [out]


def _fail_while_writing(out: Path) -> None:
    with draft_of(out) as draft:
        (draft / "new").write_text("policy")
        raise ZeroDivisionError


def test_a_failure_leaves_the_older_policy_as_it_was(
    exported: tuple[Path, Manifest, list[str]], tmp_path: Path
) -> None:
    out = tmp_path / "policy"
    exported[0].rename(out)
    try:
        before = snapshot(out)
        with pytest.raises(ZeroDivisionError):
            _fail_while_writing(out)
        assert snapshot(out) == before
        assert list(tmp_path.iterdir()) == [out]
    finally:
        out.rename(exported[0])


def test_what_is_no_policy_is_never_replaced(
    exported: tuple[Path, Manifest, list[str]], tmp_path: Path
) -> None:
    check_target(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    check_target(tmp_path / "empty")
    check_target(exported[0])
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="is no folder"):
        check_target(tmp_path / "file")
    with pytest.raises(ValueError, match="holds files but no policy"):
        check_target(tmp_path)
    notes = exported[0] / "notes.txt"
    notes.write_text("mine")
    with pytest.raises(ValueError, match=r"holds notes\.txt"):
        check_target(exported[0])
    notes.unlink()


def test_evaluation_refuses_a_task_that_has_changed(agent: Agent) -> None:
    contract = dataclasses.replace(agent.contract, control_dt_s=0.2)
    with pytest.raises(ValueError, match="was trained: control_dt_s differ"):
        make_evaluation_envs(contract, 5, num_workers=0)
