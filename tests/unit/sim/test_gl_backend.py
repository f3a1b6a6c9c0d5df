"""The back end: found by probes that may hang or crash, and settled once for all processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robodreamer_sim.cameras import gl_backend
from robodreamer_sim.cameras.gl_backend import (
    choose_back_end,
    make_gl_context,
    probe_back_end,
)
from robodreamer_sim.compat import OWN_VARIABLE, VARIABLE
from robodreamer_sim.errors import GraphicsError
from robodreamer_sim.utils.probe_process import PROBES

HANGS = (
    "import os, pathlib, time; pathlib.Path({pid!r}).write_text(str(os.getpid())); time.sleep(99)"
)


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody have chosen a back end."""
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setenv(OWN_VARIABLE, "")


@pytest.fixture
def another_mujoco(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file that child processes import as MuJoCo."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "mujoco.py"


def is_running(process: int) -> bool:
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_back_end_that_hangs_is_killed_when_its_time_is_up(
    another_mujoco: Path, tmp_path: Path
) -> None:
    another_mujoco.write_text(HANGS.format(pid=str(tmp_path / "pid")))
    begin = time.monotonic()
    probed = probe_back_end("egl", timeout_s=1)
    assert time.monotonic() - begin < 20
    assert not probed.works
    assert "hangs" in probed.reason
    started = tmp_path / "pid"  # on a loaded machine it may not even have come so far
    assert not started.exists() or not is_running(int(started.read_text()))


def test_a_hanging_probe_ends_by_itself_if_nobody_is_left_to_kill_it(another_mujoco: Path) -> None:
    another_mujoco.write_text("import time; time.sleep(99)")
    command = [sys.executable, "-m", PROBES, "1", "draw"]
    path = os.pathsep.join(sys.path)
    done = subprocess.run(command, env={"PYTHONPATH": path}, timeout=20, check=False)
    assert done.returncode == -signal.SIGALRM


def test_a_back_end_that_crashes_takes_nobody_along(another_mujoco: Path) -> None:
    another_mujoco.write_text("import os; os.abort()")
    assert probe_back_end("egl").reason == "it crashed with SIGABRT"


def test_a_back_end_that_does_not_exist_is_told_in_words() -> None:
    probed = probe_back_end("crayons")
    assert not probed.works
    assert "MUJOCO_GL: crayons" in probed.reason


@pytest.mark.usefixtures("unset")
def test_the_first_back_end_that_draws_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gl_backend, "LIBRARIES", {"crayons": "Crayons", "egl": "EGL"})
    name, why = choose_back_end()
    assert name == "egl"
    assert why.startswith("crayons does not work: libCrayons is not installed; its probe drew ")


@pytest.mark.usefixtures("unset")
def test_where_nothing_draws_nothing_is_set_and_the_reason_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gl_backend, "LIBRARIES", {"crayons": "Crayons"})
    monkeypatch.setattr(gl_backend, "has_warp", lambda: False)
    with pytest.raises(GraphicsError) as raised:
        make_gl_context(8, 8)
    assert "(crayons does not work: libCrayons is not installed)" in str(raised.value)
    assert "apt-get install libegl1" in str(raised.value)
    assert not os.environ[VARIABLE]


def test_a_users_choice_is_taken_without_a_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "Crayons")
    assert choose_back_end() == ("crayons", "as MUJOCO_GL says")


@pytest.mark.usefixtures("unset")
def test_the_first_context_settles_the_back_end_for_all_that_follow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_gl_context(8, 8).free()
    assert os.environ[VARIABLE] in gl_backend.LIBRARIES
    monkeypatch.setattr(gl_backend, "run_probe", None)
    make_gl_context(8, 8).free()


def test_software_is_told_from_a_gpu() -> None:
    assert gl_backend.is_software("llvmpipe (LLVM 15.0.6, 256 bits)")
    assert not gl_backend.is_software("NVIDIA H200/PCIe/SSE2")
