"""From a trained run to a driven task: evaluate, export, evaluate again, drive without torch."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
import torch
from train_runs import ROOT, make_run_replay, registered

from robodreamer.cli.main import main
from robodreamer.runs.checkpoint import Checkpoints
from robodreamer_deploy.policy.bundle import load_bundle

EPISODES = 2
DRIVER = """
import sys
from robodreamer_deploy.cli.main import main
code = main(sys.argv[1:])
assert not {"torch", "robodreamer", "jaxtyping"} & sys.modules.keys(), "the agent's side is loaded"
sys.exit(code)
"""


@pytest.fixture(scope="module")
def policy(quick_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    with chdir(folder):
        assert main(["export", str(quick_run), f"--episodes={EPISODES}"]) == 0
    return folder / "policies" / quick_run.name


def evaluated(folder: Path, file: Path, *words: str) -> dict[str, Any]:
    """Evaluate by command; return the figures."""
    command = ["evaluate", str(folder), f"--episodes={EPISODES}", f"--json={file}", *words]
    assert main(command) == 0
    return json.loads(file.read_text())


@pytest.fixture(scope="module")
def figures(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `evaluate` says about the exported policy."""
    return evaluated(policy, tmp_path_factory.mktemp("figures") / "onnx.json")


def test_torch_and_onnx_earn_the_same_on_the_same_episodes(
    quick_run: Path,
    figures: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trained = evaluated(quick_run, tmp_path / "torch.json", "--draw=mode")["draws"]
    assert {*trained} == {"mode"}
    assert {*figures["draws"]} == {"mode", "sample"}
    for key in ("returns", "successes", "lengths"):
        assert figures["draws"]["mode"][key] == pytest.approx(trained["mode"][key], abs=1e-3)
    assert len(trained["mode"]["returns"]) == EPISODES
    table = capsys.readouterr().out
    for part in (f"{quick_run}/checkpoints/step-", "torch; fetch_reach, 2 fixed", "[0%, 66%]"):
        assert part in table


def test_the_manifest_tells_what_evaluation_finds(policy: Path, figures: dict[str, Any]) -> None:
    manifest = load_bundle(policy).manifest
    assert {*manifest.draws} == {*figures["draws"]}
    for draw, result in manifest.draws.items():
        assert result.return_mean == pytest.approx(figures["draws"][draw]["return"])
        assert result.success_rate == pytest.approx(figures["draws"][draw]["success"])
    assert manifest.run == "run"


@pytest.fixture
def renamed_run(
    quick_run: Path, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A run whose policy would by default go where another run's lies."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(policy, "policies/fetch_reach")
    return shutil.copytree(quick_run, tmp_path / "fetch_reach")


def test_a_policy_of_another_run_is_not_replaced(
    renamed_run: Path, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(renamed_run)]) == 2
    assert "policies/fetch_reach holds the policy of another run, run" in capsys.readouterr().err
    assert load_bundle(Path("policies/fetch_reach")).manifest == load_bundle(policy).manifest


@pytest.mark.slow
def test_a_policy_of_another_run_is_replaced_where_that_was_asked_for(renamed_run: Path) -> None:
    there = Path("policies/fetch_reach")
    assert main(["export", str(renamed_run), f"--out={there}", "--episodes=0"]) == 0
    assert load_bundle(there).manifest.run == "fetch_reach"


def test_a_blanked_camera_is_told(
    policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    black = evaluated(policy, tmp_path / "black.json", "--draw=mode", "--blank", "scene")
    assert black["blank"] == ["image/scene"]
    assert "black: image/scene" in capsys.readouterr().out


def test_the_simulator_is_driven_without_torch_in_the_process(policy: Path, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    folders = (registered(tmp_path), ROOT / "sim", ROOT / "deploy")
    drive = subprocess.run(
        [
            sys.executable, "-c", DRIVER, policy, "--robot", "sim:fetch_reach", "--fast",
            "--episodes", "2", "--report", figures,
        ],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, folders))},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert drive.returncode == 0, drive.stdout + drive.stderr
    report = json.loads(figures.read_text())
    assert (report["num_episodes"], report["ticks"], report["held_ticks"]) == (2, 20, 0)
    assert "self-test   passed: 32 golden steps" in drive.stdout


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["evaluate", "{policy}", "--blank", "scnee"], "unknown camera 'scnee'; there is scene"),
        (["evaluate", "{run}", "--checkpoint", "step-1"], "unknown checkpoint 'step-1'; there is"),
        (["evaluate", "{run}/checkpoints"], "is neither a run"),
        (["evaluate", "{run}", "--episodes", "0"], "--episodes is at least 1"),
        (["evaluate", "{run}", "--darw", "mode"], "does not know '--darw'; the closest are --draw"),
        (["export", "{policy}"], "is not a run folder: config.json is missing"),
        (["export", "{run}", "--opset", "17"], "opset 17 is not among 18 to 23"),
        (["export", "{run}", "--episodes", "-1"], "-1 episodes cannot be driven"),
        (["export", "{run}", "--half", "--episodes", "2"], "float16 is judged by its return"),
        (["export", "{run}", "--half", "--quantize", "int8"], "exclude each other"),
        (["export", "{run}", "--out", "{run}"], "holds files but no policy"),
    ],
)
def test_a_users_mistake_is_told_in_one_sentence_and_changes_nothing(
    quick_run: Path,
    policy: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    reason: str,
) -> None:
    before = {path: path.stat().st_mtime_ns for path in quick_run.rglob("*")}
    assert main([word.format(policy=policy, run=quick_run) for word in words]) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in quick_run.rglob("*")} == before


def test_a_run_that_diverged_is_neither_evaluated_nor_exported(
    quick_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(quick_run, tmp_path / "run")
    checkpoints, replay = Checkpoints(run), make_run_replay(run)
    newest = checkpoints.latest()
    assert newest is not None
    loaded = checkpoints.load(newest)
    checkpoints.restore_replay(loaded, replay)
    loaded.tensors["agent"]["actor_critic.actor.mean.bias"][1] = torch.nan
    checkpoints.save(newest.step, loaded.tensors, loaded.state, replay, wait=True)
    for command in ("evaluate", "export"):
        assert main([command, str(run)]) == 2
        assert "holds NaN or infinity in actor_critic.actor.mean.bias" in capsys.readouterr().err


def test_a_changed_file_is_not_evaluated(
    policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(policy, tmp_path / "copy")
    actor = bytearray((copy / "actor.onnx").read_bytes())
    actor[-100] ^= 1
    (copy / "actor.onnx").write_bytes(actor)
    assert main(["evaluate", str(copy), "--episodes=5"]) == 2
    assert "its sha256 is not the manifest's" in capsys.readouterr().err
