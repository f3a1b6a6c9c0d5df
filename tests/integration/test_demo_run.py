"""The demo with its real commands, on a task of three steps."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from train_runs import ROOT, registered

TASK = "gym:toy_env:Toy-v0"


def run_demo(out: Path, home: Path) -> subprocess.CompletedProcess[str]:
    folders = (home, ROOT, ROOT / "sim", ROOT / "deploy", ROOT / "tests" / "stand_ins")
    path = os.pathsep.join([*map(str, folders), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "robodreamer", "demo", "--task", TASK, "--minutes", "0.1",
         "--out", str(out)],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_ends_with_a_page_about_a_policy_that_drives(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    out, home = tmp_path / "demo", registered(tmp_path_factory.mktemp("installed"))
    result = run_demo(out, home)
    assert result.returncode == 0, result.stdout + result.stderr
    page = (out / "report.html").read_text()
    assert "after training, ONNX, onboard loop" in page
    assert "camera camera black" in page
    assert page.count("data:video/mp4") == 2
    assert "== 8: write the page" in result.stdout
    assert f"Look at {out / 'report.html'}" in result.stdout
    again = run_demo(out, home)
    assert again.stdout.count("done before") == 8, again.stdout
