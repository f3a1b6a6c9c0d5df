"""Nobody is told that a policy runs: no file at home, no socket, unless the user wants it."""

import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from toy_policy import write_bundle

ROOT = Path(__file__).parents[3]
SOCKET = {"x86_64": 41, "aarch64": 198}.get(platform.machine())
"""The number of the system call, where the kernel can be told to end whoever makes it."""
WATCHED = f"""
import ctypes, struct, sys

def die_of_sockets():
    load, jump, end = 0x20, 0x15, 0x06  # a seccomp filter: if the call is socket, kill
    kill, allow = (end, 0, 0, 0x80000000), (end, 0, 0, 0x7FFF0000)
    steps = (load, 0, 0, 0), (jump, 0, 1, {SOCKET}), kill, allow
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # no new privileges, which the filter asks for
    assert libc.prctl(22, 2, ctypes.create_string_buffer(program), 0, 0) == 0

die_of_sockets()
"""
DRIVE = "from robodreamer_deploy.cli.main import main\nassert main(sys.argv[1:]) == 0\n"
TRAIN = (
    "import robodreamer.export.export\n"
    "from robodreamer_deploy.policy.providers import import_onnxruntime\n"
    "import_onnxruntime()\n"
    "import onnxruntime.quantization\n"
    "import robodreamer.cli.train\n"
)
OFFENDER = "import socket\nsocket.socket()\n"


def run(script: str, home: Path, *words: object, **variables: str) -> int:
    """Return how a script ends that must not open a socket, with an empty home."""
    home.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ORT_", "XDG_"))}
    return subprocess.run(
        [sys.executable, "-c", WATCHED + script, *map(str, words)],
        env={**kept, "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path), **variables},
        cwd=ROOT, check=False, timeout=120,
    ).returncode  # fmt: skip


@pytest.mark.skipif(SOCKET is None, reason="the number of the system call is not known here")
def test_driving_and_training_leave_no_file_at_home_and_open_no_socket(tmp_path: Path) -> None:
    policy = write_bundle(tmp_path / "policy")
    words = (policy, "--bench", "--seconds", "0.2")
    assert run(OFFENDER, tmp_path / "caught") == -signal.SIGSYS
    assert run(DRIVE, tmp_path / "driving", *words) == 0
    assert run(TRAIN, tmp_path / "training") == 0
    for home in ("driving", "training"):
        assert not [path for path in (tmp_path / home).rglob("*") if path.is_file()]


def test_who_wants_onnxruntime_to_report_is_not_overruled(tmp_path: Path) -> None:
    script = (
        "import os\n"
        "from robodreamer_deploy.policy.providers import import_onnxruntime\n"
        "import_onnxruntime()\n"
        "sys.exit(os.environ['ORT_DISABLE_TELEMETRY'] != '0')"
    )
    assert run(script, tmp_path / "home", ORT_DISABLE_TELEMETRY="0") == 0
