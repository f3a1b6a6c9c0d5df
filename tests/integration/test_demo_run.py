"""The demo with its real commands, on a task of three steps."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TASK = "gym:toy_env:Toy-v0"


def run_demo(out: Path) -> subprocess.CompletedProcess[str]:
    folders = (
        ROOT,
        ROOT / "sim",
        ROOT / "deploy",
        ROOT / "tests/stand_ins",
        os.environ.get("PYTHONPATH"),
    )
    path = os.pathsep.join(str(folder) for folder in folders if folder)
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
def test_the_demo_ends_with_a_page_about_a_policy_that_drives(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    result = run_demo(out)
    assert result.returncode == 0, result.stdout + result.stderr
    page = (out / "report.html").read_text()
    assert "after training, ONNX, onboard loop" in page
    assert "camera camera black" in page
    assert page.count("data:video/mp4") == 2
    assert "== 8: write the page" in result.stdout
    assert f"Look at {out / 'report.html'}" in result.stdout
    again = run_demo(out)
    assert again.stdout.count("done before") == 8, again.stdout
