"""A dry run says what would stop a drive in its first minute, or spoil it."""

from collections.abc import Callable
from pathlib import Path

import pytest

import toy_policy
from robodreamer_deploy.control.loop_stats import LoopStats
from robodreamer_deploy.drive_summary import format_loop, summarize_loop

Command = Callable[..., tuple[int, str, str]]
HEAD = "import time\nimport numpy as np\nfrom toy_robot import Bench, Point\n"


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_policy.write_bundle(tmp_path_factory.mktemp("policies") / "toy")


BLACK = """(Point):
    def get_observation(self):
        return {**super().get_observation(), "image/eye": np.zeros((8, 6, 3), np.uint8)}
"""
BLIND = """(Point):
    number = 0
    def get_observation(self):
        self.number += 1
        seen = super().get_observation()
        return {k: v for k, v in seen.items() if k != "image/eye" or self.number % 8 == 1}
"""
DEAF = """(Point):
    number = 0
    def get_observation(self):
        self.number += 1
        if self.number % 4 == 0: raise OSError("no answer")
        return super().get_observation()
"""
SLOW = """(Bench):
    def get_observation(self):
        time.sleep(0.03)
        return super().get_observation()
"""


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (BLACK, "not ready: image/eye was all one colour: is the lens covered, or the light off?"),
        (BLIND, "image/eye: no frame to trust in"),
        (DEAF, "not ready: 25 of 100 ticks were held (observation 25)"),
        (SLOW, "periods were skipped: this computer and this robot reach"),
    ],
)
def test_what_would_stop_a_drive_is_found(
    said: Command, policy: Path, tmp_path: Path, body: str, words: str
) -> None:
    robot = tmp_path / "unready.py"
    robot.write_text(f"{HEAD}class Unready{body}")
    pace = ["--fast"] if "(Point)" in body else ["--watchdog", 500]
    code, out, _ = said(policy, "--robot", f"{robot}:Unready", "--dry-run", "--seconds", 2, *pace)
    told = " ".join(out.split())
    assert (code, words in told) == (1, True), out


def test_surprise_is_compared_with_the_evaluations() -> None:
    report = LoopStats()
    for nats in (1.0, 2.0, 30.0, 31.0):
        report.surprise.append(nats)
    figures = summarize_loop(report, 0.02, {"0.99": 4.0, "0.999": 12.303})
    assert figures["surprise_beyond"] == {"quantile": 0.999, "limit_nats": 12.303, "share": 0.5}
    told = " ".join(" ".join(format_loop(figures, is_paced=True)).split())
    assert "50.0% of the steps above 12.30, 0.1% in the evaluation" in told
    assert summarize_loop(report, 0.02)["surprise_beyond"] is None
