"""What a robot computer gets: numpy, onnxruntime, the standard library, and clear words."""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from robodreamer.__main__ import TRAINING_PACKAGES

ROOT = Path(__file__).parents[2]

LIST_IMPORTED = """
import importlib, json, pkgutil, sys
import numpy, onnxruntime
def packages(): return {name.partition(".")[0] for name in sys.modules}
before = packages()
import robodreamer_deploy
for module in pkgutil.walk_packages(robodreamer_deploy.__path__, "robodreamer_deploy."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(json.dumps(sorted(packages() - before - sys.stdlib_module_names)))
"""


def run(*command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command away from the checkout; return its status and what it said."""
    return subprocess.run(
        command,
        cwd="/",
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def package_names(requirements: list[str]) -> set[str]:
    """Reduce requirements to their names: `dm-control>=1` becomes `dm_control`."""
    names = {re.split(r"[\[<>=~! ]", line)[0].replace("-", "_") for line in requirements}
    return names - {"robodreamer"}


def test_onboard_code_imports_numpy_and_onnxruntime_only() -> None:
    result = run(sys.executable, "-c", LIST_IMPORTED, PYTHONPATH=str(ROOT / "deploy"))
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == ["robodreamer_deploy"]


def test_the_base_install_is_numpy_and_onnxruntime() -> None:
    assert package_names(project()["dependencies"]) == {"numpy", "onnxruntime"}


def test_the_command_asks_for_everything_the_extra_brings() -> None:
    extras = project()["optional-dependencies"]
    assert set(TRAINING_PACKAGES) == package_names(extras["sim"] + extras["train"])


def test_training_without_the_extra_names_it_in_one_sentence() -> None:
    # -S leaves out site-packages: an interpreter as bare as can be.
    command = (sys.executable, "-S", "-m", "robodreamer", "train", "fetch_reach")
    result = run(*command, PYTHONPATH=str(ROOT))
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "torch" in result.stderr
    assert "pip install 'robodreamer[train]'" in result.stderr


def test_an_import_error_of_an_installed_package_is_shown(tmp_path: Path) -> None:
    package = tmp_path / "robodreamer"
    package.mkdir()
    package.joinpath("__init__.py").touch()
    package.joinpath("__main__.py").write_text((ROOT / "robodreamer/__main__.py").read_text())
    package.joinpath("cli.py").write_text("raise ImportError('libcuda is broken')")
    result = run(sys.executable, "-m", "robodreamer", "train", PYTHONPATH=str(tmp_path))
    assert result.returncode == 1
    assert "ImportError: libcuda is broken" in result.stderr


def test_every_pin_is_exact_and_of_no_special_build() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\d.]+(post\d+)?", pin)] == []
    names = package_names(pins)
    assert not [name for name in names if name.startswith(("nvidia", "triton"))]
    required = [r for extra in project()["optional-dependencies"].values() for r in extra]
    assert package_names(project()["dependencies"] + required) <= names


@pytest.mark.slow
def test_the_wheel_installs_bare_and_drives_without_torch(tmp_path: Path) -> None:
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation")
    built = run(*build, "--outdir", str(tmp_path), str(ROOT))
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "robodreamer",
        "robodreamer_sim",
        "robodreamer_deploy",
    }

    bare = tmp_path / "bare"
    assert run(sys.executable, "-m", "venv", str(bare)).returncode == 0
    pip = (str(bare / "bin/python"), "-m", "pip", "install", "--quiet")
    pins = str(ROOT / "constraints.txt")
    installed = run(*pip, "--constraint", pins, str(wheel), PYTHONPATH="")
    assert installed.returncode == 0, installed.stderr
    proof = run(str(ROOT / "scripts/prove_bare.sh"), str(bare / "bin"), PYTHONPATH="")
    assert proof.returncode == 0, proof.stderr
