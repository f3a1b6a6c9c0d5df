"""The viewer: shows the newest policy no faster than in reality, and changes nothing."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from train_runs import QUICK, ROOT, differences, launch, metrics_of, result_of, train

SCRIPT = """
import sys
from pathlib import Path
from robodreamer.runs.run_folder import load_run
from robodreamer.training.viewer import Viewer

class FakeClock:
    now = 50.0
    def __call__(self):
        return self.now

loaded = load_run(Path(sys.argv[1]))
clock = FakeClock()
viewer = Viewer(loaded.agent, clock)
model, data = viewer._env.mujoco_handles
period, began, shown = loaded.contract.control_dt_s, data.time, 0
for _ in range(32):
    shown += viewer.step()
    clock.now += period / 4
assert shown == 8, shown
assert abs(data.time - began - 8 * period) < 1e-6, (data.time, began)
clock.now += 1000  # the learner was busy: one step, and no burst after it
assert viewer.step()
assert not viewer.step()
for _ in range(10):  # into the next episode
    clock.now += 2 * period
    assert viewer.step()
repeat, length = loaded.config.data.action_repeat, loaded.contract.max_episode_steps
assert viewer._env._steps == repeat * (8 + 1 + 10 - length - 1)
assert viewer.is_open
viewer.close()
print("closed")
"""


@pytest.fixture
def display() -> Iterator[str]:
    """A display that nobody looks at."""
    if shutil.which("Xvfb") is None:
        pytest.skip("needs Xvfb")
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "640x480x24", "-nolisten", "tcp"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as number:
        yield f":{number.readline().strip()}"
    server.terminate()
    server.wait()


def test_without_a_display_one_line_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert train(tmp_path / "run", "--view") == 2
    assert capsys.readouterr().err == (
        "robodreamer: --view needs a display, but neither DISPLAY nor WAYLAND_DISPLAY is set\n"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_viewer_keeps_to_real_time_and_starts_new_episodes(
    display: str, quick_run: Path
) -> None:
    path = os.pathsep.join(str(ROOT / folder) for folder in (".", "sim", "deploy"))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(quick_run)],
        env=os.environ | {"PYTHONPATH": path, "DISPLAY": display},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout == "closed\n", done.stderr


@pytest.mark.slow
def test_a_run_that_is_watched_is_the_same_run(
    display: str, quick_run: Path, tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    with log.open("wb") as file:
        process = launch(
            "fetch_reach", f"--run={run}", "--view", *QUICK,
            output=file, environment={"DISPLAY": display},
        )  # fmt: skip
        assert process.wait() == 0, log.read_text()
    assert differences(result_of(run), result_of(quick_run)) == []
    assert metrics_of(run) == metrics_of(quick_run)
