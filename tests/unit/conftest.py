"""Toys made once for all tests that look at them, and the onboard command as users run it."""

from collections.abc import Callable

import pytest

from exported import CONTRACTS, Exported, export_toy
from robodreamer_deploy.cli import main


@pytest.fixture(scope="session")
def exported_toy(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Exported]:
    """Return the export of one of `CONTRACTS`; only to be read."""
    done: dict[str, Exported] = {}

    def get(name: str) -> Exported:
        if name not in done:
            done[name] = export_toy(tmp_path_factory.mktemp("toy"), CONTRACTS[name])
        return done[name]

    return get


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `robodreamer-deploy`; return its exit code, output and error output."""

    def run(*words: object) -> tuple[int, str, str]:
        code = main.main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
