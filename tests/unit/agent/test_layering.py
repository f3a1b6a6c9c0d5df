"""Imports go one way, and import-linter really notices when they do not."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ONBOARD = "Onboard code needs no torch, no simulator and no agent"
SIMULATOR = "The simulator knows neither the agent nor torch"
LAYERS = "The agent is layered"

VIOLATIONS = [
    (ONBOARD, "deploy/robodreamer_deploy/planted.py", "import torch"),
    (ONBOARD, "deploy/robodreamer_deploy/planted.py", "import robodreamer_sim"),
    (ONBOARD, "deploy/robodreamer_deploy/planted.py", "import robodreamer.config"),
    (SIMULATOR, "sim/robodreamer_sim/planted.py", "import torch"),
    (SIMULATOR, "sim/robodreamer_sim/planted.py", "import robodreamer.config"),
    (
        "The onboard side is layered", "deploy/robodreamer_deploy/policy/golden.py",
        "import robodreamer_deploy.control.loop",
    ),
    (LAYERS, "robodreamer/config.py", "import robodreamer.models.layers"),
    (LAYERS, "robodreamer/planted.py", "import robodreamer.config"),  # in no layer
    (
        "Exporting is layered", "robodreamer/export/graphs.py",
        "import robodreamer.export.export",
    ),
    (
        "Pictures are layered", "robodreamer/visualization/video.py",
        "import robodreamer.visualization.run_videos",
    ),
    ("The doctor is layered", "robodreamer/doctor/page.py", "import robodreamer.doctor.simulation"),
    (
        "Logs of robots are layered", "robodreamer/data/datasets/robot_log.py",
        "import robodreamer.data.episode_records",
    ),
    ("The report is layered", "robodreamer/visualization/page.py", "import robodreamer.visualization.report"),
]  # fmt: skip


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Return a copy of the three packages and their contracts."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in ("robodreamer", "sim/robodreamer_sim", "deploy/robodreamer_deploy"):
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    return tmp_path


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the packages under `folder`, which go before installed ones."""
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    path = os.pathsep.join(str(folder / part) for part in (".", "sim", "deploy"))
    return subprocess.run(
        [sys.executable, "-c", command, "--no-cache", "--no-logo"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_sources_keep_every_contract(sources: Path) -> None:
    result = lint_imports(sources)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(("contract", "file", "line"), VIOLATIONS)
def test_a_planted_violation_is_reported(
    sources: Path, contract: str, file: str, line: str
) -> None:
    with (sources / file).open("a") as planted:
        planted.write(f"\n{line}\n")
    result = lint_imports(sources)
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"{contract} BROKEN" in result.stdout


def test_every_contract_is_broken_once() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = {contract["name"] for contract in settings["tool"]["importlinter"]["contracts"]}
    assert contracts == {contract for contract, _, _ in VIOLATIONS}
