"""What a robot computer gets: numpy, onnxruntime, the standard library, and clear words."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import metadata, version
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from robodreamer.__main__ import TRAINING_PACKAGES

ROOT = Path(__file__).parents[3]

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
    lines = [line.lower().replace("-", "_") for line in requirements]
    names = {re.split(r"[\[<>=~! ]", line)[0] for line in lines}
    return names - {"robodreamer"}


def test_onboard_code_imports_numpy_and_onnxruntime_only() -> None:
    result = run(sys.executable, "-c", LIST_IMPORTED, PYTHONPATH=str(ROOT / "deploy"))
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == ["robodreamer_deploy"]


def test_the_base_install_is_numpy_and_onnxruntime() -> None:
    assert package_names(project()["dependencies"]) == {"numpy", "onnxruntime"}


def test_the_command_asks_for_everything_the_extra_brings() -> None:
    extras = project()["optional-dependencies"]
    brought = package_names(extras["sim"] + extras["train"]) - {"pyyaml"}
    assert set(TRAINING_PACKAGES) == brought | {"yaml"}  # as it is imported


def test_the_wheel_holds_templates_and_type_markers_beside_the_modules() -> None:
    packages = [ROOT / name for name in ("robodreamer", "sim/robodreamer_sim", "deploy")]
    others = {
        str(path)
        for package in packages
        for path in package.rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"}
    }
    packed = {file.path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert {Path(path).suffix for path in others} >= {".jinja", ".typed"}
    assert others <= packed


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
    exact = r'[\w.-]+==[\d.]+(post\d+)?(; python_version (<|>=) "3.11")?'
    assert [pin for pin in pins if not re.fullmatch(exact, pin)] == []
    names = package_names(pins)
    assert not [name for name in names if name.startswith(("nvidia", "triton"))]
    required = [r for extra in project()["optional-dependencies"].values() for r in extra]
    assert package_names(project()["dependencies"] + required) <= names


def pins_for(python: str) -> dict[str, str]:
    """Return the versions that constraints.txt asks of a Python."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    wanted = [Requirement(line) for line in lines if not line.startswith("#")]
    found = [r for r in wanted if r.marker is None or r.marker.evaluate({"python_version": python})]
    assert len({r.name for r in found}) == len(found), "no package is pinned twice"
    return {r.name: str(r.specifier) for r in found}


@pytest.mark.parametrize("package", ["numpy", "onnxruntime"])
def test_a_robot_with_an_older_python_gets_releases_that_it_can_run(package: str) -> None:
    assert project()["requires-python"] == ">=3.10"
    newer, older = pins_for("3.11")[package], pins_for("3.10")[package]
    assert newer == f"=={version(package)}"
    if not SpecifierSet(metadata(package)["Requires-Python"]).contains("3.10"):
        assert older != newer


def write_script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def find_python(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Look for a Python where there are only those of a folder."""
    return run("/bin/sh", str(ROOT / "scripts/find_python.sh"), PATH=str(folder), **env)


BARE = f"""case "$2" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@\""""
COMPLETE = f'exec {sys.executable} "$@"'
OTHER = """[ "$1" = --version ] && echo Python 3.13.1 && exit\nexit 1"""


def test_a_python_without_venv_is_passed_over_for_one_that_has_it(tmp_path: Path) -> None:
    write_script(tmp_path / "python3.11", BARE)
    write_script(tmp_path / "python3.12", COMPLETE)
    assert find_python(tmp_path, PYTHON="").stdout == "python3.12\n"


def test_where_no_python_has_venv_the_package_of_the_right_version_is_named(tmp_path: Path) -> None:
    write_script(tmp_path / "python3.12", BARE)
    found = find_python(tmp_path, PYTHON="")
    assert (found.returncode, found.stdout) == (1, "")
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    assert found.stderr == (
        f"python3.12 cannot create virtual environments: apt-get install {package}\n"
    )


@pytest.mark.parametrize(("name", "what"), [("other", "Python 3.13.1"), ("gone", "no Python")])
def test_an_unsuitable_choice_of_python_is_refused(tmp_path: Path, name: str, what: str) -> None:
    write_script(tmp_path / "python3.11", COMPLETE)
    write_script(tmp_path / "other", OTHER)
    choice = str(tmp_path / name)
    found = find_python(tmp_path, PYTHON=choice)
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr.startswith(f"PYTHON={choice} is {what}")


def test_a_gl_library_without_a_driver_is_not_enough(tmp_path: Path) -> None:
    command = ("/bin/sh", str(ROOT / "scripts/install_gl.sh"), sys.executable)
    nowhere = {"LIBGL_DRIVERS_PATH": str(tmp_path), "GBM_BACKENDS_PATH": str(tmp_path)}
    nowhere |= {"__EGL_VENDOR_LIBRARY_FILENAMES": str(tmp_path / "gone")}
    result = run(*command, PATH=str(tmp_path), **nowhere)  # nor is there any apt-get
    assert result.returncode == 0
    assert "libgl1-mesa-dri" in result.stderr


@pytest.mark.parametrize(
    ("prepare", "environment", "is_installed"),
    [
        ("git init --quiet", "", True),
        ("true", "", False),
        ("git init --quiet", "CI", False),
        ("git init --quiet && mkdir -p .git/hooks && touch .git/hooks/pre-commit", "", False),
        ("git init --quiet && git config core.hooksPath mine", "", False),
    ],
)
def test_hooks_are_installed_only_where_they_disturb_nobody(
    tmp_path: Path, prepare: str, environment: str, is_installed: bool
) -> None:
    write_script(tmp_path / ".venv/bin/pre-commit", "echo asked to $1")
    hooks = f"cd {tmp_path} && {prepare} && {ROOT}/scripts/install_hooks.sh .venv"
    config = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    result = run("/bin/sh", "-c", hooks, CI="true" if environment else "", **config)
    assert result.returncode == 0, result.stderr
    assert result.stdout == ("asked to install\n" if is_installed else "")


@pytest.mark.parametrize(
    ("missing", "message"),
    [("manifest.json", "there is no policy to drive"), ("my_robot", "was not driven")],
)
def test_the_proof_of_a_bare_install_fails_without_policy_or_robot(
    tmp_path: Path, missing: str, message: str
) -> None:
    root, binaries = tmp_path / "checkout", tmp_path / "bin"
    script = write_script(
        root / "scripts/prove_bare.sh", (ROOT / "scripts/prove_bare.sh").read_text()
    )
    policy = root / "policies/fetch_reach"
    shutil.copytree(ROOT / "policies/fetch_reach", policy)
    (policy / missing).unlink(missing_ok=True)
    (root / "docs").mkdir()
    (root / "docs/your-robot.md").touch()
    deploy = "import sys; from robodreamer_deploy.cli.main import main; sys.exit(main())"
    write_script(binaries / "python", f'case "$3" in import*) exit 1;; esac\n{COMPLETE}')
    write_script(binaries / "robodreamer-deploy", f"exec {sys.executable} -c '{deploy}' \"$@\"")
    needs = "run pip install 'robodreamer[train]'"
    write_script(binaries / "robodreamer", f'echo "{needs}"\nexit 2')
    result = run(str(script), str(binaries), PYTHONPATH=str(ROOT / "deploy"))
    assert result.returncode == 1
    assert message in result.stderr


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
