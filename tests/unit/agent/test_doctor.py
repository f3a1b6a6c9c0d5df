"""The doctor names each failure and its remedy, and examines a bare machine as well."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from robodreamer.cli.main import main
from robodreamer.doctor import checks
from robodreamer.doctor.checks import (
    Finding,
    check_disk,
    check_families,
    check_packages,
    check_real_time,
    check_rendering,
)
from robodreamer.doctor.report import format_finding, format_summary
from robodreamer_sim.cameras import gl_backend
from robodreamer_sim.cameras.gl_backend import BackEndProbe

ROOT = Path(__file__).parents[3]
METADATA = """\
Metadata-Version: 2.4
Name: robodreamer
Version: 9.9
Requires-Python: >=3.10
Requires-Dist: numpy<1,>=0.1
Requires-Dist: onnxruntime>=1.20
Requires-Dist: a-base>=1
Requires-Dist: a-simulator>=2; extra == "sim"
Requires-Dist: torch>=2.11; extra == "train"
Requires-Dist: a-simulator>=2; extra == "train"
Requires-Dist: a-linter; extra == "dev"
"""
EGL = BackEndProbe(
    back_end="egl",
    works=True,
    renderer="llvmpipe (LLVM 15.0.6, 256 bits)",
    pictures_per_second=3000.0,
    reason="",
)
OSMESA = EGL._replace(back_end="osmesa")
FORBIDDEN = """
import os, resource
from robodreamer.doctor.checks import check_real_time
resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
if os.geteuid() == 0:
    os.setuid(65534)
print(check_real_time())
"""


def run_python(*words: str, path: Sequence[str] = sys.path) -> subprocess.CompletedProcess[str]:
    """Run an interpreter that sees what this one sees, unless `path` says otherwise."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False, env=env
    )


def broken(name: str) -> BackEndProbe:
    return EGL._replace(back_end=name, works=False, reason=f"{name} is broken")


def test_a_failure_gives_exit_status_1_and_a_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "crayons")
    assert main(["doctor", f"--json={tmp_path / 'findings.json'}"]) == 1
    page = capsys.readouterr().out
    assert max(map(len, page.splitlines())) <= 80
    rows = [Finding(**row) for row in json.loads((tmp_path / "findings.json").read_text())]
    assert all(format_finding(row) in page for row in rows)
    failed = [row for row in rows if row.status == "failure"]
    assert [row.name for row in failed] == [*checks.FAMILIES, "GL: crayons"]
    assert all("unset MUJOCO_GL" in row.advice for row in failed)
    assert {"GL: egl", "GPU", "cores", "memory", "real time", "disk"} <= {row.name for row in rows}
    assert "4 failures" in page


def test_the_bare_computer_of_a_robot_is_examined_too() -> None:
    path = [str(ROOT / part) for part in (".", "sim", "deploy")]
    done = run_python("-S", "-m", "robodreamer", "doctor", path=path)
    assert done.stderr == ""
    assert done.returncode == 1  # not even onnxruntime is there
    assert "pip install --force-reinstall onnxruntime" in done.stdout
    assert "real time" in done.stdout


def test_packages_are_compared_with_the_metadata(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "robodreamer-9.9.dist-info"
    folder.mkdir()
    folder.joinpath("METADATA").write_text(METADATA)
    monkeypatch.syspath_prepend(tmp_path)
    findings = {finding.name: finding for finding in check_packages()}
    assert [*findings] == ["Python", "numpy", "onnxruntime", "a-base", "torch", "training"]
    assert {name for name, f in findings.items() if f.status == "ok"} == {
        "Python", "onnxruntime", "torch",
    }  # fmt: skip
    assert findings["numpy"].status == findings["a-base"].status == "failure"
    assert findings["numpy"].found.endswith(", but >=0.1, <1 is needed")
    assert findings["numpy"].advice == "pip install 'numpy<1,>=0.1'"
    assert findings["a-base"].advice == "pip install 'a-base>=1'"
    assert findings["training"].status == "warning"
    assert findings["training"].found == "not installed: a-simulator"


def test_incompatible_versions_fail_in_their_own_family_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "dm_control"
    package.mkdir()
    package.joinpath("__init__.py").write_text("import mujoco; mujoco.mj_forwards")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(checks.FAMILIES, "fetch_reach")
    bad, good = check_families()
    assert (bad.name, bad.status) == ("dmc_cartpole_swingup", "failure")
    assert bad.found.startswith("dm-control 1.")
    assert "does not work with mujoco 3." in bad.found
    assert "no attribute 'mj_forwards'" in bad.found
    assert bad.advice.startswith("`pip install mujoco==3.17.0 dm-control==1.0.50` ")
    assert good.status == "ok"


RENDERING = {
    "both work": ("", False, [EGL, OSMESA], ["ok", "ok"]),
    "software beside a GPU": ("", True, [EGL, OSMESA], ["warning", "ok"]),
    "OSMesa is not needed": ("", False, [EGL, broken("osmesa")], ["ok", "ok"]),
    "OSMesa steps in": ("", False, [broken("egl"), OSMESA], ["warning", "ok"]),
    "nothing draws": ("", False, [broken("egl"), broken("osmesa")], ["failure", "failure"]),
    "a wish that fails": ("osmesa", False, [EGL, broken("osmesa")], ["ok", "failure"]),
    "a wish that works": ("osmesa", False, [broken("egl"), OSMESA], ["ok", "ok"]),
    "a slow wish": ("osmesa", True, [EGL, OSMESA], ["ok", "warning"]),
}


@pytest.mark.parametrize("case", RENDERING)
def test_a_back_end_matters_if_it_is_named_or_the_last(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish, has_gpu, probes, expected = RENDERING[case]
    monkeypatch.setenv("MUJOCO_GL", wish)
    monkeypatch.setattr(checks, "has_nvidia_driver", lambda: has_gpu)
    monkeypatch.setattr(gl_backend, "probe_back_end", lambda *_: probes.pop(0))
    findings = list(check_rendering())
    assert [finding.status for finding in findings] == expected
    for finding in findings:
        assert bool(finding.advice) == (finding.status != "ok")


def test_real_time_privileges_are_requested_and_given_back() -> None:
    before = os.sched_getscheduler(0)
    check_real_time()
    assert os.sched_getscheduler(0) == before
    output = run_python("-c", FORBIDDEN).stdout
    assert "status='warning'" in output
    assert "FIFO: Operation not permitted" in output
    assert "USER - rtprio 80" in output


def test_little_disk_space_is_a_warning_and_none_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "AMPLE_DISK", 0)
    assert check_disk(tmp_path).status == "ok"
    monkeypatch.setattr(checks, "AMPLE_DISK", 2**80)
    assert check_disk(tmp_path).status == "warning"
    monkeypatch.setattr(checks, "LEAST_DISK", 2**80)
    assert check_disk(tmp_path).status == "failure"


def test_advice_stands_below_the_finding_within_80_columns() -> None:
    page = format_finding(Finding("disk", "failure", "w " * 60, "make room " * 12))
    assert page.startswith("FAILURE  disk     ")
    assert page.split() == ["FAILURE", "disk", *["w"] * 60, "->", *["make", "room"] * 12]
    assert max(map(len, page.splitlines())) <= 80


def test_the_last_line_counts_failures_and_warnings() -> None:
    good, bad = Finding("x", "ok", ""), Finding("x", "failure", "")
    assert format_summary([good]) == "Everything works."
    assert format_summary([bad, good, bad]).startswith("2 failures; ")
    assert format_summary([bad, bad._replace(status="warning")]).startswith("1 failure and 1 warn")
