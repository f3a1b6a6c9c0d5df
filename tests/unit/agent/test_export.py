"""Export: a verified folder or none at all, and nothing else is ever touched."""

import dataclasses
import errno
import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from exported import ORIGIN, Exported, corrupt, make_recording
from robodreamer.evaluation.evaluate import evaluate, make_evaluation_envs
from robodreamer.evaluation.policies import AgentPolicy, OnnxPolicy
from robodreamer.evaluation.targets import load_target
from robodreamer.export import export
from robodreamer.export.export import better_draw, export_policy, prepare_export
from robodreamer.export.folder import GOLDEN_STEPS, check_target, draft_of
from robodreamer.export.torch_trace import RECORDED_STEPS, SEGMENT, record
from robodreamer.learning.agent import Agent
from robodreamer.models.sampling import ModeSampler
from robodreamer.runs.best_checkpoint import BestStates, Evaluated
from robodreamer.runs.run_folder import load_run
from robodreamer_deploy.errors import BundleError
from robodreamer_deploy.policy.bundle import (
    load_bundle,
)
from robodreamer_deploy.policy.golden import load_golden
from robodreamer_deploy.policy.manifest import DrawResult, Manifest
from robodreamer_deploy.policy.policy import Policy
from robodreamer_deploy.policy.selftest import replay_golden
from robodreamer_sim import EnvOptions, VectorEnv
from toy_agent import NETWORK, make_agent
from toy_policy import write_bundle
from toy_run import make_run

TASK = "gym:Pendulum-v1"  # 200 steps an episode, no camera


@pytest.fixture(scope="module")
def envs() -> VectorEnv:
    return VectorEnv(TASK, EnvOptions(observe="proprio"), num_envs=2, num_workers=0, seed=1_000_003)


@pytest.fixture(scope="module")
def agent(envs: VectorEnv) -> Agent:
    return make_agent(envs.contract)


@pytest.fixture(scope="module")
def exported(
    agent: Agent, envs: VectorEnv, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Manifest, list[str]]:
    out, said = tmp_path_factory.mktemp("policies") / "deep" / "pendulum", list[str]()
    recording = record(agent, envs)
    manifest = export_policy(agent, recording, out, origin=ORIGIN, drive=(envs, 2), say=said.append)
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
    assert "free run    260 steps in one go" in said
    assert "self-test   passed: 32 golden steps" in said
    assert "through onnxruntime" in said


def test_the_better_draw_becomes_the_default(
    exported: tuple[Path, Manifest, list[str]],
) -> None:
    manifest = exported[1]
    mode, sample = manifest.draws["mode"], manifest.draws["sample"]
    assert mode.num_episodes == sample.num_episodes == 2
    assert mode.return_mean != sample.return_mean
    better = "mode" if mode.return_mean > sample.return_mean else "sample"
    assert manifest.default_draw == better
    values = list(manifest.surprise_quantiles.values())
    assert [*manifest.surprise_quantiles] == ["0.5", "0.9", "0.99", "0.999"]
    assert 0 < values[0] < values[-1]
    assert values == sorted(values)


@pytest.mark.parametrize(
    ("mode", "sample", "expected"),
    [
        ((-2.59, 0.2), (-2.78, 0.8), "sample"),  # as it was with fetch_reach
        ((-2.78, 0.8), (-2.59, 0.2), "mode"),
        ((-2.0, 0.5), (-1.0, 0.5), "sample"),
        ((-1.0, 0.5), (-1.0, 0.5), "mode"),
        ((1.0, None), (2.0, None), "sample"),
    ],
)
def test_success_decides_which_draw_is_the_default_and_the_return_breaks_ties(
    mode: tuple[float, float | None], sample: tuple[float, float | None], expected: str
) -> None:
    def result(mean: float, success: float | None) -> DrawResult:
        return DrawResult(num_episodes=10, return_mean=mean, return_std=1.0, success_rate=success)

    assert better_draw({"mode": result(*mode), "sample": result(*sample)}) == expected


@pytest.mark.parametrize(("scores", "is_warned"), [((500.0, 159.0), True), ((1.0, 2.0), False)])
def test_a_newest_state_that_is_not_the_best_is_exported_with_a_warning(
    scores: tuple[float, float], is_warned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", observe="proprio", returns=scores)
    agent = load_run(run).agent
    with torch.no_grad():
        next(agent.parameters()).fill_(0.5)
    states = BestStates(run)
    for number, score in enumerate(scores, 1):
        states.offer(Evaluated(60 * number, score, 0.25), agent.state_dict())
    said, handed_on = list[str](), list[Agent]()
    monkeypatch.setattr(export, "export_policy", lambda agent, *_, **__: handed_on.append(agent))
    prepare_export(run, tmp_path / "policy", episodes=0, say=said.append)()
    (newest,) = handed_on
    assert not (next(newest.parameters()) == 0.5).all()
    warnings = [line for line in said if line.startswith("warning")]
    assert bool(warnings) == is_warned
    if is_warned:
        assert "return 500.0, success 25% at step 60 was better than" in warnings[0]
        assert "return 159.0, success 25% at step 120; --checkpoint best" in warnings[0]
    best = load_run(run, "best")
    assert best.checkpoint.step == (60 if is_warned else 120)
    assert (next(best.agent.parameters()) == 0.5).all()


def test_the_folder_earns_the_returns_of_the_agent(
    exported: tuple[Path, Manifest, list[str]], agent: Agent, envs: VectorEnv
) -> None:
    onnx = evaluate(load_target(exported[0]).make_policy(2, "mode"), envs, 2)
    torch_ = evaluate(AgentPolicy(agent, 2, ModeSampler()), envs, 2)
    assert len(np.unique(onnx.returns)) == 2
    np.testing.assert_allclose(onnx.returns, torch_.returns, rtol=1e-4)
    assert exported[1].draws["mode"].return_mean == onnx.returns.mean()


def test_onnx_environments_do_not_share_memory_or_noise(
    exported: tuple[Path, Manifest, list[str]], envs: VectorEnv
) -> None:
    policy = OnnxPolicy(Policy(load_bundle(exported[0])), 2, "sample", seed=0)
    envs.start()
    shown = {name: np.stack([value[0]] * 2) for name, value in envs.recv().items()}
    first, second = policy.act(shown, np.array([True, True]))
    assert not np.array_equal(first, second)
    assert len(policy.surprise) == 2


def test_a_recording_is_one_environments_and_can_be_cut(agent: Agent, envs: VectorEnv) -> None:
    recording = record(agent, envs)
    assert len(recording.is_first) == RECORDED_STEPS
    assert np.flatnonzero(recording.is_first).tolist() == [0, 201]
    starts = np.flatnonzero(recording.in_segments().is_first).tolist()
    assert starts == [*range(0, 201, SEGMENT), 201, 201 + SEGMENT]
    assert all(np.isfinite(values).all() for values in recording.observations.values())


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
    monkeypatch.setattr(export, "make_reference_steps", lambda *_: toy.reference)
    with pytest.raises(BundleError, match=r"actor\.onnx: action is off by"):
        export_policy(toy.agent, toy.recording, tmp_path / "out", origin=ORIGIN)
    assert [path.name for path in tmp_path.iterdir()] == ["corrupt"]


def test_too_short_a_recording_is_refused(tmp_path: Path) -> None:
    agent = make_agent()
    recording = make_recording(agent.contract).rows(slice(0, 199))
    with pytest.raises(ValueError, match="199 recorded steps"):
        export_policy(agent, recording, tmp_path / "out", origin=ORIGIN)


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """Return an older policy, alone in its folder."""
    return write_bundle(tmp_path / "policies" / "policy")


def _fail_while_writing(out: Path) -> None:
    with draft_of(out) as draft:
        (draft / "new").write_text("policy")
        raise ZeroDivisionError


def test_an_older_policy_is_replaced_as_a_whole(older: Path) -> None:
    before = snapshot(older)
    with draft_of(older) as draft:
        (draft / "new").write_text("policy")
        assert snapshot(older) == before
    assert snapshot(older) == {"new": b"policy"}
    assert list(older.parent.iterdir()) == [older]


def test_a_failure_leaves_the_older_policy_as_it_was(older: Path) -> None:
    before = snapshot(older)
    with pytest.raises(ZeroDivisionError):
        _fail_while_writing(older)
    assert snapshot(older) == before
    assert list(older.parent.iterdir()) == [older]


def test_a_draft_that_cannot_take_its_place_leaves_the_older_policy(
    older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, rename = snapshot(older), os.replace

    def faulty(source: Path, target: Path) -> None:
        if Path(source).name == ".policy.draft":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(source, target)

    monkeypatch.setattr(os, "replace", faulty)
    with pytest.raises(OSError, match="Input/output error"), draft_of(older):
        pass
    assert snapshot(older) == before
    assert list(older.parent.iterdir()) == [older]


def test_what_a_killed_export_left_is_put_in_order(older: Path) -> None:
    before = snapshot(older)
    older.rename(older.with_name(".policy.old"))  # killed between the two renames
    (older.with_name(".policy.draft")).mkdir()
    (older.with_name(".policy.draft") / "half").write_text("written")
    with pytest.raises(ZeroDivisionError):
        _fail_while_writing(older)
    assert snapshot(older) == before
    (older.with_name(".policy.draft")).mkdir()
    (older.with_name(".policy.draft") / "half").write_text("written")
    with draft_of(older) as draft:
        (draft / "new").write_text("policy")
    assert snapshot(older) == {"new": b"policy"}
    assert list(older.parent.iterdir()) == [older]


def test_a_second_export_to_the_same_folder_is_refused(older: Path) -> None:
    with draft_of(older) as draft:
        (draft / "new").write_text("policy")
        with pytest.raises(ValueError, match=r"another export to .* is under way"):
            _fail_while_writing(older)
        with draft_of(older.with_name("other")) as other:
            (other / "new").write_text("another one")
    assert snapshot(older) == {"new": b"policy"}
    assert {path.name for path in older.parent.iterdir()} == {"policy", "other"}


@pytest.mark.parametrize("phase", [pytest.param("recorded", marks=pytest.mark.slow), "wrote"])
def test_a_full_disk_leaves_the_older_policy_as_it_was(
    exported_toy: Callable[[str], Exported],
    older: Path,
    monkeypatch: pytest.MonkeyPatch,
    phase: str,
) -> None:
    """The disk is full when the graphs are to be written, or when the golden steps are."""
    toy, before = exported_toy("two cameras"), snapshot(older)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def write_again(_: Agent, folder: Path, **__: object) -> Manifest:
        for path in toy.folder.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        return toy.manifest

    def fill(line: str) -> None:
        if line.startswith(phase):
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))

    monkeypatch.setattr(export, "write_draft", write_again)
    monkeypatch.setattr(export, "make_reference_steps", lambda *_: toy.reference)
    try:
        with pytest.raises(OSError, match="File too large"):  # what the limit says for ENOSPC
            export_policy(toy.agent, toy.recording, older, origin=ORIGIN, say=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert snapshot(older) == before
    assert list(older.parent.iterdir()) == [older]


def test_what_is_no_policy_is_never_replaced(older: Path, tmp_path: Path) -> None:
    check_target(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    check_target(tmp_path / "empty")
    check_target(older)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="is no folder"):
        check_target(tmp_path / "file")
    with pytest.raises(ValueError, match="holds files but no policy"):
        check_target(tmp_path)
    notes = older / "notes.txt"
    notes.write_text("mine")
    with pytest.raises(ValueError, match=r"holds notes\.txt"):
        check_target(older)


@pytest.mark.parametrize("text", ["not JSON", "[]", "{}", '{"files": 3}'])
def test_a_manifest_that_tells_nothing_is_named_and_kept(older: Path, text: str) -> None:
    manifest = older / "manifest.json"
    manifest.write_text(text)
    with pytest.raises(ValueError, match=rf"^{manifest} is no .*; choose another --out$"):
        check_target(older)


def test_a_policy_of_another_format_can_be_replaced(older: Path) -> None:
    data = json.loads((older / "manifest.json").read_text())
    data |= {"format_version": 99, "something": "new"}
    (older / "manifest.json").write_text(json.dumps(data))
    check_target(older)
    check_target(older, ORIGIN)
    (older / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds notes\.txt"):
        check_target(older)


def test_a_policy_of_another_run_is_replaced_only_where_that_was_asked_for(older: Path) -> None:
    check_target(older, ORIGIN)
    for other in (ORIGIN._replace(run="other"), ORIGIN._replace(commit="89abcdef")):
        words = rf"another run, toy of commit 0123456; choose another --out, or --out {older} to"
        with pytest.raises(ValueError, match=words):
            check_target(older, other)
    check_target(older)


def test_evaluation_refuses_a_task_that_has_changed(agent: Agent) -> None:
    contract = dataclasses.replace(agent.contract, control_dt_s=0.2)
    with pytest.raises(ValueError, match="was trained: control_dt_s is "):
        make_evaluation_envs(contract, 5, num_workers=0)
