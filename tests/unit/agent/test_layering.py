"""Imports go one way, and import-linter really notices when they do not."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ONBOARD = "Onboard code needs no torch, no simulator and no agent"
SIMULATOR = "The simulator knows neither the agent nor torch"
AGENT = "The agent is layered"
DEPLOY = "The onboard side is layered"
SIM = "The simulator is layered"
CIRCLES = "No package has a circle of imports"

PACKAGES = ("robodreamer", "sim/robodreamer_sim", "deploy/robodreamer_deploy")
CHANGES = ("setdefault", "update", "pop", "clear", "popitem")
"""Methods of a mapping that change it."""
VIOLATIONS = [
    (ONBOARD, "deploy/robodreamer_deploy/errors.py", "import torch"),
    (ONBOARD, "deploy/robodreamer_deploy/errors.py", "import robodreamer_sim"),
    (ONBOARD, "deploy/robodreamer_deploy/errors.py", "import robodreamer.config"),
    (SIMULATOR, "sim/robodreamer_sim/errors.py", "import torch"),
    (SIMULATOR, "sim/robodreamer_sim/errors.py", "import robodreamer.config"),
    (
        DEPLOY,
        "deploy/robodreamer_deploy/policy/golden.py",
        "import robodreamer_deploy.control.loop",
    ),
    (DEPLOY, "deploy/robodreamer_deploy/planted.py", "import numpy"),  # in no layer
    (SIM, "sim/robodreamer_sim/options.py", "import robodreamer_sim.env"),
    (SIM, "sim/robodreamer_sim/planted.py", "import numpy"),
    (AGENT, "robodreamer/config.py", "import robodreamer.models.layers"),
    (AGENT, "robodreamer/planted.py", "import torch"),
]

# A module of each package, and one above it that it must not import.
PLANTED_CIRCLES = {
    "robodreamer/cli/parsing": "robodreamer.cli.train",
    "robodreamer/training/schedule": "robodreamer.training.train",
    "robodreamer/evaluation/evaluate": "robodreamer.evaluation.report",
    "robodreamer/export/graphs": "robodreamer.export.export",
    "robodreamer/visualization/video": "robodreamer.visualization.run_videos",
    "robodreamer/doctor/checks": "robodreamer.doctor.report",
    "robodreamer/tasks/figures": "robodreamer.tasks.check",
    "robodreamer/runs/files": "robodreamer.runs.checkpoint",
    "robodreamer/data/ring_buffer": "robodreamer.data.replay",
    "robodreamer/learning/actor_critic": "robodreamer.learning.agent",
    "robodreamer/models/layers": "robodreamer.models.encoder",
    "sim/robodreamer_sim/cameras/renderer": "robodreamer_sim.cameras.warp.renderer",
    "sim/robodreamer_sim/randomization/spec": "robodreamer_sim.randomization.sampling",
    "sim/robodreamer_sim/tasks/catalog": "robodreamer_sim.tasks.arm",
    "sim/robodreamer_sim/tasks/gymnasium_robotics/base": (
        "robodreamer_sim.tasks.gymnasium_robotics.fetch"
    ),
    "sim/robodreamer_sim/vector/progress": "robodreamer_sim.vector.shard",
    "sim/robodreamer_sim/robots/virtual_hardware/sensors": (
        "robodreamer_sim.robots.virtual_hardware.firmware"
    ),
    "deploy/robodreamer_deploy/cli/arguments": "robodreamer_deploy.cli.drive",
    "deploy/robodreamer_deploy/recording/format": "robodreamer_deploy.recording.reader",
    "deploy/robodreamer_deploy/control/clock": "robodreamer_deploy.control.loop",
    "deploy/robodreamer_deploy/policy/graph_spec": "robodreamer_deploy.policy.bundle",
    "deploy/robodreamer_deploy/robots/base": "robodreamer_deploy.robots.loading",
    "deploy/robodreamer_deploy/robots/remote/address": "robodreamer_deploy.robots.remote.server",
    "deploy/robodreamer_deploy/robots/ros2/settings": "robodreamer_deploy.robots.ros2.robot",
}


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Return a copy of the three packages and their contracts."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in PACKAGES:
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


def test_every_planted_violation_is_reported_under_its_contract(sources: Path) -> None:
    for _, file, line in VIOLATIONS:
        with (sources / file).open("a") as planted:
            planted.write(f"\n{line}\n")
    result = lint_imports(sources)
    assert result.returncode == 1, result.stdout + result.stderr
    sections = broken_contracts(result.stdout)
    for contract, file, line in VIOLATIONS:
        module = file.removeprefix("sim/").removeprefix("deploy/")[: -len(".py")].replace("/", ".")
        is_unlisted = module.endswith(".planted")
        found = f"- {module}\n" if is_unlisted else f"{module} -> {line.split()[-1]} (l."
        assert found in sections[contract], (contract, found)


def broken_contracts(report: str) -> dict[str, str]:
    """Return what a report says about each broken contract, by its name."""
    _, _, text = report.partition("Broken contracts\n")
    _, *parts = re.split(r"\n(.+)\n-{3,}\n", text)  # underlined names and their sections
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_a_circle_in_any_package_is_reported(sources: Path) -> None:
    for module, above in PLANTED_CIRCLES.items():
        with (sources / f"{module}.py").open("a") as planted:
            planted.write(f"\nimport {above}\n")
    result = lint_imports(sources)
    assert f"{CIRCLES} BROKEN" in result.stdout
    for module in PLANTED_CIRCLES:
        package = module.rpartition("/")[0].removeprefix("sim/").removeprefix("deploy/")
        assert package.replace("/", ".") + "." in result.stdout, package


def test_every_contract_is_broken_once() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = {contract["name"] for contract in settings["tool"]["importlinter"]["contracts"]}
    assert contracts == {CIRCLES} | {contract for contract, _, _ in VIOLATIONS}


def environment_writes(source: str) -> list[int]:
    """Return the lines on which importing a module would change the environment."""
    tree = ast.parse(source)
    lines: list[int] = []
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        target = ast.unparse(node) if isinstance(node, (ast.Subscript, ast.Attribute)) else ""
        context = getattr(node, "ctx", ast.Load())
        is_written = target.startswith("os.environ[") and not isinstance(context, ast.Load)
        if is_written or target in {f"os.environ.{name}" for name in CHANGES} | {"os.putenv"}:
            lines.append(getattr(node, "lineno", 0))
        waiting.extend(ast.iter_child_nodes(node))
    return lines


def test_importing_a_module_leaves_the_environment_as_it_is() -> None:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert len(files) > 100
    found = {str(path): lines for path in files if (lines := environment_writes(path.read_text()))}
    assert not found
    planted = "import os\nif True:\n    os.environ['A'] = 'b'\nos.environ.setdefault('A', 'c')\n"
    assert sorted(environment_writes(planted)) == [3, 4]
