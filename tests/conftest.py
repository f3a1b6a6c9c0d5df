"""What every test shares: one thread, no display, no traces, and how hard hypothesis tries."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

# Read when torch, numpy or a worker process starts, so it need not import torch here.
os.environ.setdefault("OMP_NUM_THREADS", "1")
if "DISPLAY" not in os.environ:
    os.environ.setdefault("MUJOCO_GL", "egl")

# Some tests import onnxruntime themselves, not through the function that switches this off.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# A shell starts what it puts into the background with Ctrl-C ignored, which children inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

IN_CI = bool(os.environ.get("CI"))
settings.register_profile("quick", max_examples=20, deadline=None)
settings.register_profile("ci", settings.get_profile("quick"), derandomize=True, database=None)
settings.register_profile(
    "deep",
    max_examples=200,
    deadline=None,
    derandomize=IN_CI,
    database=None if IN_CI else settings.get_profile("quick").database,
)
settings.load_profile("ci" if IN_CI else "quick")


@pytest.fixture(scope="session", autouse=True)
def _no_flights_at_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the drives that fail here from pushing a user's own out of the flight recorder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield
